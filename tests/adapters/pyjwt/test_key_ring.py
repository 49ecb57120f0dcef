"""Which keys are taken, what they are bound to and what is never shown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from keyturn.adapters.pyjwt.key_ring import Key, KeyRing, SigningAlgorithm

KeyOf = Callable[..., Key]

RFC_7638_MODULUS = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebW"
    "KRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQM"
    "icAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcR"
    "wr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
RFC_8037_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}


def _pem(
    private: dsa.DSAPrivateKey
    | rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | x25519.X25519PrivateKey,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.fixture(params=list(SigningAlgorithm))
def key(request: pytest.FixtureRequest, key_of: KeyOf) -> Key:
    return key_of(request.param)


def test_the_kid_is_the_thumbprint_of_rfc_8037() -> None:
    assert Key.from_jwk(RFC_8037_KEY).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_kid_of_an_rsa_key_is_the_thumbprint_of_rfc_7638() -> None:
    from keyturn.adapters.pyjwt.key_ring import _thumbprint

    jwk = {"kty": "RSA", "n": RFC_7638_MODULUS, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert _thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_a_key_and_its_jwk_are_one(key: Key) -> None:
    twin = Key.from_jwk(json.loads(json.dumps(key.to_jwk() | {"kid": key.kid})))
    assert (twin.kid, twin.algorithm) == (key.kid, key.algorithm)
    assert twin.verifies(b"message", key.sign(b"message"))


def test_a_signature_is_the_same_for_the_same_message(key: Key) -> None:
    assert key.sign(b"message") == key.sign(b"message")
    assert key.sign(b"message") != key.sign(b"another")


def test_a_signature_of_rfc_6979_comes_out_as_printed_there() -> None:
    private = ec.derive_private_key(
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1()
    )
    assert Key(private).sign(b"sample").hex().upper() == (
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), SigningAlgorithm.RS256),
        (ec.generate_private_key(ec.SECP256R1()), SigningAlgorithm.ES256),
        (Ed25519PrivateKey.generate(), SigningAlgorithm.EDDSA),
    ],
    ids=["RSA", "P-256", "Ed25519"],
)
def test_a_pkcs_8_pem_is_bound_to_the_algorithm_of_its_kind(
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey,
    algorithm: SigningAlgorithm,
) -> None:
    key = Key.from_pem(_pem(private))
    assert key.algorithm is algorithm
    assert key.kid == Key(private).kid


@pytest.mark.parametrize(
    "pem",
    [
        _pem(ec.generate_private_key(ec.SECP384R1())),
        _pem(ec.generate_private_key(ec.SECP256K1())),
        _pem(ed448.Ed448PrivateKey.generate()),
        _pem(x25519.X25519PrivateKey.generate()),
    ],
    ids=["P-384", "secp256k1", "Ed448", "X25519"],
)
def test_a_key_on_another_curve_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match="no kind that signs here"):
        Key.from_pem(pem)


def test_an_encrypted_pem_is_refused_with_a_hint() -> None:
    pem = _pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"passphrase"))
    with pytest.raises(ValueError, match="store it without a passphrase"):
        Key.from_pem(pem)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"not a PEM",
        b"\xff\x00",
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["nothing", "text", "bytes", "a public key"],
)
def test_a_pem_without_a_private_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match="holds no private key"):
        Key.from_pem(pem)


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"use": None},
        {"key_ops": ["verify"]},
        {"key_ops": []},
        {"key_ops": "sign"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": None},
        {"kid": "another"},
        {"kid": None},
        {"kty": "EC"},
        {"kty": "oct"},
        {"kty": None},
        {"crv": "Ed448"},
        {"crv": "X25519"},
        {"x": "21qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"x": ""},
        {"x": 1},
        {"d": ""},
        {"d": 1},
        {"d": ["nWGxne"]},
    ],
    ids=str,
)
def test_a_jwk_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^the JWK") as caught:
        Key.from_jwk(RFC_8037_KEY | change)
    assert RFC_8037_KEY["d"] not in str(caught.value)


def test_a_public_jwk_is_refused() -> None:
    with pytest.raises(ValueError, match="no private key"):
        Key.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": RFC_8037_KEY["x"]})


@pytest.mark.parametrize("member", ["n", "e", "d", "p", "q", "dp", "dq", "qi"])
def test_an_rsa_jwk_with_a_wrong_number_is_refused(key_of: KeyOf, member: str) -> None:
    jwk = key_of(SigningAlgorithm.RS256).to_jwk()
    with pytest.raises(ValueError, match=r"^the JWK"):
        Key.from_jwk(jwk | {member: "AQAB" if member != "e" else "AAAA"})


@pytest.mark.parametrize("member", ["x", "y", "d"])
def test_an_ec_jwk_with_a_wrong_number_is_refused(key_of: KeyOf, member: str) -> None:
    jwk = key_of(SigningAlgorithm.ES256).to_jwk()
    other = key_of(SigningAlgorithm.ES256, 1).to_jwk()
    with pytest.raises(ValueError, match=r"^the JWK"):
        Key.from_jwk(jwk | {member: other[member]})


@pytest.mark.parametrize("k", ["!!!!", "AA=A", "A", "AAA B", "é", "\ud800", ""])
def test_a_secret_that_is_not_base64url_is_refused(k: str) -> None:
    with pytest.raises(ValueError, match=r"JWK|256 bits"):
        KeyRing([Key.from_jwk({"kty": "oct", "k": k})], "any")


@pytest.mark.parametrize(
    ("private", "reason"),
    [
        (bytes(range(31)), "shorter than 256 bits"),
        (b"secret", "shorter than 256 bits"),
        (bytes(32), "follows a pattern"),
        (b"0123456789abcdef" * 2, "follows a pattern"),
        (b"changeme" * 8, "follows a pattern"),
        (b"changeme-changeme-changeme-chang", "follows a pattern"),
        (bytes(range(32)), "follows a pattern"),
        (bytes(range(200, 100, -2)), "follows a pattern"),
        (b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrst", "follows a pattern"),
        (b"aabbccddeeffgg" * 2 + b"1111111111111", "follows a pattern"),
        (rsa.generate_private_key(65537, 1024), "shorter than 2048 bits"),  # noqa: S505 - to be refused
        (rsa.generate_private_key(3, 2048), "exponent is below 65537"),
    ],
    ids=[
        "31 bytes",
        "a word",
        "zeros",
        "16 bytes twice",
        "a word eight times",
        "a word again and again",
        "counting up",
        "counting down",
        "the alphabet",
        "few symbols",
        "RSA of 1024 bits",
        "RSA with exponent 3",
    ],
)
def test_a_weak_key_is_refused(private: bytes | rsa.RSAPrivateKey, reason: str) -> None:
    key = Key(private)
    with pytest.raises(ValueError, match=reason) as caught:
        KeyRing([key], key.kid)
    assert "\n" not in str(caught.value)
    assert key.kid in str(caught.value)


def test_a_weak_key_is_refused_even_if_another_signs(key_of: KeyOf) -> None:
    strong = key_of(SigningAlgorithm.EDDSA)
    with pytest.raises(ValueError, match="256 bits"):
        KeyRing([strong, Key(b"weak")], strong.kid)


def test_a_public_key_can_not_serve_as_an_hmac_secret(key_of: KeyOf) -> None:
    public = Ed25519PrivateKey.generate().public_key()
    for encoding in (Encoding.PEM, Encoding.DER):
        with pytest.raises(ValueError, match="not a secret"):
            Key(public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo))


def test_two_keys_with_one_kid_are_refused(key: Key) -> None:
    with pytest.raises(ValueError, match=f"key {key.kid} is there twice"):
        KeyRing([key, Key.from_jwk(key.to_jwk())], key.kid)


def test_a_ring_without_its_signing_key_is_refused(key: Key) -> None:
    with pytest.raises(ValueError, match="no key 'missing' to sign with"):
        KeyRing([key], "missing")


def test_a_ring_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="to sign with"):
        KeyRing([], "")


def test_a_ring_can_not_be_changed(key: Key) -> None:
    ring = KeyRing([key], key.kid)
    with pytest.raises(TypeError):
        ring.by_kid["other"] = key  # type: ignore[index]  # the point of the test


def test_no_secret_is_ever_shown(key: Key, tmp_path: Path) -> None:
    secrets = {value for name, value in key.to_jwk().items() if name in {"k", "d", "p", "q"}}
    shown = f"{key!r} {key!s} {KeyRing([key], key.kid)!r} {KeyRing([key], key.kid)!s}"
    assert key.kid in shown
    assert not any(secret in shown for secret in secrets)
    assert not hasattr(key, "__dict__")
