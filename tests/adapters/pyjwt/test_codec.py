"""What the codec writes, and that it keeps the contract with every algorithm."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken
from keyturn.testing.codec_contract import ACCESS, AUDIENCES, ISSUED_AT, REFRESH, TokenCodecContract

KeyOf = Callable[..., Key]
CodecOf = Callable[..., PyJwtCodec]


@pytest.fixture(params=list(SigningAlgorithm))
def algorithm(request: pytest.FixtureRequest) -> SigningAlgorithm:
    assert isinstance(request.param, SigningAlgorithm)
    return request.param


class TestPyJwtCodec(TokenCodecContract):
    @pytest.fixture
    def codec(self, algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf) -> PyJwtCodec:
        return codec_of(key_of(algorithm))

    @pytest.fixture
    def stranger(self, algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf) -> PyJwtCodec:
        return codec_of(key_of(algorithm, 1))


def _parts(token: str) -> tuple[object, object]:
    header, payload, _ = token.split(".")
    return _decoded(header), _decoded(payload)


def _decoded(segment: str) -> object:
    decoded: object = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return decoded


async def test_an_access_token_holds_what_rfc_9068_asks_for(
    algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf
) -> None:
    key = key_of(algorithm)
    token = await codec_of(key).encode_access(ACCESS)
    header, claims = _parts(token.reveal())
    assert header == {"alg": algorithm.value, "kid": key.kid, "typ": "at+jwt"}
    assert claims == {
        "iss": "https://auth.example.com",
        "aud": "https://api.example.com",
        "sub": "01890a5d-ac96-774b-bcce-b302099a8057",
        "auth_time": 1893240000,
        "iat": 1893499200,
        "exp": 1893500100,
        "jti": "11111111-2222-4333-8444-555555555555",
        "sid": "01890a5d-ac96-774b-bcce-b302099a8058",
        "epoch": 3,
        "client_id": "notes",
        "type": "access",
        "roles": ["user", "éditeur"],
        "permissions": ["profile:read", "profile:write"],
        "scope": "profile:read",
    }


async def test_a_bound_access_token_names_its_key_as_rfc_9449_asks_for(
    algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf
) -> None:
    thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    token = await codec_of(key_of(algorithm)).encode_access(
        replace(ACCESS, key_thumbprint=thumbprint)
    )
    _, claims = _parts(token.reveal())
    assert isinstance(claims, dict)
    assert claims.get("cnf") == {"jkt": thumbprint}


async def test_an_access_token_is_silent_about_rights_that_it_does_not_limit(
    algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf
) -> None:
    silent = replace(ACCESS, permissions=None, scope=None)
    token = await codec_of(key_of(algorithm)).encode_access(silent)
    _, claims = _parts(token.reveal())
    assert isinstance(claims, dict)
    assert not {"permissions", "scope"} & claims.keys()


async def test_a_refresh_token_is_addressed_to_its_issuer_and_holds_no_rights(
    algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf
) -> None:
    key = key_of(algorithm)
    token = await codec_of(key).encode_refresh(REFRESH)
    header, claims = _parts(token.reveal())
    assert header == {"alg": algorithm.value, "kid": key.kid, "typ": "rt+jwt"}
    assert claims == {
        "iss": "https://auth.example.com",
        "aud": "https://auth.example.com",
        "sub": "01890a5d-ac96-774b-bcce-b302099a8057",
        "iat": 1893499200,
        "exp": 1894104000,
        "jti": "11111111-2222-4333-8444-666666666666",
        "sid": "01890a5d-ac96-774b-bcce-b302099a8058",
        "type": "refresh",
    }


async def test_two_codecs_with_one_key_write_the_same_token(
    algorithm: SigningAlgorithm, key_of: KeyOf, codec_of: CodecOf
) -> None:
    key = key_of(algorithm)
    twin = Key.from_jwk(key.to_jwk())
    assert await codec_of(key).encode_access(ACCESS) == await codec_of(twin).encode_access(ACCESS)


async def test_a_token_of_a_key_that_signs_no_more_is_still_accepted(
    key_of: KeyOf, codec_of: CodecOf
) -> None:
    older, newer = key_of(SigningAlgorithm.RS256), key_of(SigningAlgorithm.ES256)
    token = await codec_of(older).encode_access(ACCESS)
    assert codec_of(newer, older).decode_access(token, ISSUED_AT, audiences=AUDIENCES) == ACCESS


async def test_a_token_of_a_key_that_left_the_ring_is_refused(
    key_of: KeyOf, codec_of: CodecOf
) -> None:
    gone, kept = key_of(SigningAlgorithm.EDDSA), key_of(SigningAlgorithm.EDDSA, 1)
    token = await codec_of(gone).encode_access(ACCESS)
    with pytest.raises(InvalidAccessToken):
        codec_of(kept).decode_access(token, ISSUED_AT, audiences=AUDIENCES)


async def test_tokens_of_another_issuer_with_the_same_key_are_refused(
    key_of: KeyOf, codec_of: CodecOf
) -> None:
    key = key_of(SigningAlgorithm.ES256)
    other = codec_of(key, issuer="https://auth.example.com/")
    with pytest.raises(InvalidAccessToken):
        codec_of(key).decode_access(
            await other.encode_access(ACCESS), ISSUED_AT, audiences=AUDIENCES
        )
    with pytest.raises(InvalidRefreshToken):
        codec_of(key).decode_refresh(await other.encode_refresh(REFRESH))


async def test_claims_that_make_too_long_a_token_are_not_signed(
    key_of: KeyOf, codec_of: CodecOf
) -> None:
    claims = replace(ACCESS, permissions=frozenset(f"thing-{n}:read" for n in range(500)))
    with pytest.raises(ValueError, match="put fewer roles and permissions into it"):
        await codec_of(key_of(SigningAlgorithm.HS256)).encode_access(claims)


@pytest.mark.parametrize("scope", ["", "a b", "admin users:write"])
async def test_a_scope_value_that_would_come_back_as_others_is_not_signed(
    key_of: KeyOf, codec_of: CodecOf, scope: str
) -> None:
    claims = replace(ACCESS, scope=frozenset({scope}))
    with pytest.raises(ValueError, match="scope value"):
        await codec_of(key_of(SigningAlgorithm.HS256)).encode_access(claims)


def test_a_codec_without_issuer_is_refused(key_of: KeyOf, codec_of: CodecOf) -> None:
    with pytest.raises(ValueError, match="needs an issuer"):
        codec_of(key_of(SigningAlgorithm.HS256), issuer="")
