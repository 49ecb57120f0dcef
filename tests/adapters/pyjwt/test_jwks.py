"""Which keys of a published set are used, and that a reader of tokens needs no others."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.adapters.pyjwt.conftest import ISSUER

from keyturn.adapters.pyjwt.access_token_reader import PyJwtAccessTokenReader
from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.jwks import keys_from_jwks
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm
from keyturn.domain.errors import InvalidAccessToken
from keyturn.testing.codec_contract import ACCESS, AUDIENCES, ISSUED_AT

KeyOf = Callable[..., Key]
CodecOf = Callable[..., PyJwtCodec]
ASYMMETRIC = [SigningAlgorithm.RS256, SigningAlgorithm.ES256, SigningAlgorithm.EDDSA]


def _public_jwk(key: Key) -> dict[str, object]:
    jwk = key.public_jwk()
    assert jwk is not None
    return dict(jwk)


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
async def test_a_token_is_read_with_nothing_but_the_published_key(
    algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf
) -> None:
    key = key_of(algorithm)
    keys = keys_from_jwks({"keys": [_public_jwk(key)]})
    reader = PyJwtAccessTokenReader(keys, issuer=ISSUER)
    token = await codec_of(key).encode_access(ACCESS)
    assert reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == ACCESS


async def test_a_token_of_a_key_that_is_not_published_is_refused(
    key_of: KeyOf, codec_of: CodecOf
) -> None:
    keys = keys_from_jwks({"keys": [_public_jwk(key_of(SigningAlgorithm.ES256))]})
    reader = PyJwtAccessTokenReader(keys, issuer=ISSUER)
    token = await codec_of(key_of(SigningAlgorithm.ES256, 1)).encode_access(ACCESS)
    with pytest.raises(InvalidAccessToken):
        reader.decode_access(token, ISSUED_AT, audiences=AUDIENCES)


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_published_key_holds_nothing_private(algorithm: SigningAlgorithm, key_of: KeyOf) -> None:
    key = key_of(algorithm)
    private = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
    published = _public_jwk(key)
    assert not private & published.keys()
    secret_values = {value for name, value in key.to_jwk().items() if name in private}
    assert not secret_values & set(published.values())
    assert published["kid"] == key.kid
    assert published["alg"] == algorithm.value
    assert published["use"] == "sig"


def test_a_secret_has_no_public_part(key_of: KeyOf) -> None:
    assert key_of(SigningAlgorithm.HS256).public_jwk() is None


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "PS256"},
        {"kid": "another"},
        {"kid": None},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "unknown"},
        {"kty": None},
        {"n": ""},
        {"n": 1},
        {"e": "Aw"},
    ],
    ids=str,
)
def test_a_published_key_that_can_not_be_used_is_passed_over(
    change: dict[str, object], key_of: KeyOf
) -> None:
    unusable = _public_jwk(key_of(SigningAlgorithm.RS256)) | change
    good = key_of(SigningAlgorithm.ES256)
    keys = keys_from_jwks({"keys": [unusable, _public_jwk(good)]})
    assert len(keys) == 1
    assert keys.find(good.kid) is not None


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm))
def test_a_secret_in_a_published_set_is_passed_over(
    algorithm: SigningAlgorithm, key_of: KeyOf
) -> None:
    assert len(keys_from_jwks({"keys": [key_of(algorithm).to_jwk()]})) == 0


@pytest.mark.parametrize(
    "key",
    [
        Key(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - to be refused
        Key(rsa.generate_private_key(3, 2048)),
    ],
    ids=["1024 bits", "exponent 3"],
)
def test_a_weak_published_key_is_passed_over(key: Key) -> None:
    assert len(keys_from_jwks({"keys": [_public_jwk(key)]})) == 0


def test_a_published_point_off_the_curve_is_passed_over() -> None:
    jwk = _public_jwk(Key(ec.generate_private_key(ec.SECP256R1())))
    assert len(keys_from_jwks({"keys": [jwk | {"y": jwk["x"], "kid": "x"}]})) == 0
    without_kid = {name: value for name, value in jwk.items() if name != "kid"}
    assert len(keys_from_jwks({"keys": [without_kid | {"y": jwk["x"]}]})) == 0


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": "none"}], ids=str)
def test_what_is_no_key_set_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no JWK Set"):
        keys_from_jwks(document)


@pytest.mark.parametrize("member", [None, 1, "key", [], {}, {"kty": {}}, {"kty": ["RSA"]}], ids=str)
def test_a_member_that_is_no_key_is_passed_over(member: object) -> None:
    assert len(keys_from_jwks({"keys": [member]})) == 0
