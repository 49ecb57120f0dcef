"""DPoP proofs, from the side of whoever would like to forge one."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyturn.adapters.pyjwt.key_ring import Key, KeyRing
from keyturn.adapters.pyjwt.proofs import PROOF_LIFETIME, PyJwtProofChecker
from keyturn.domain.errors import InvalidProof, ProofNonceRequired, ProofsBusy
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.ports.proofs import Proof
from keyturn.testing.doubles import START

URL = "https://auth.example.com/oauth/token"
TOKEN = Secret("an.access.token")
ATH = base64.urlsafe_b64encode(hashlib.sha256(b"an.access.token").digest()).rstrip(b"=").decode()
PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = Key(PRIVATE)
RING = KeyRing([KEY], KEY.kid)


def public(key: Key = KEY) -> dict[str, str]:
    jwk = key.public_jwk()
    assert jwk is not None
    return {name: value for name, value in jwk.items() if name not in ("alg", "kid", "use")}


def proof(
    header: dict[str, Any] | None = None,
    *,
    private: Any = PRIVATE,
    algorithm: str = "ES256",
    url: str = URL,
    **claims: Any,
) -> Proof:
    said = {"jti": "one", "htm": "POST", "htu": URL, "iat": int(START.timestamp())} | claims
    said = {name: value for name, value in said.items() if value is not None}
    headers = {"typ": "dpop+jwt", "jwk": public()} | (header or {})
    text = jwt.encode(said, private, algorithm=algorithm, headers=headers)
    return Proof(Secret(text), "POST", url)


@pytest.fixture
def checker() -> PyJwtProofChecker:
    return PyJwtProofChecker(RING)


def test_a_proof_names_the_key_that_made_it(checker: PyJwtProofChecker) -> None:
    assert checker.check(proof(), START).key_thumbprint == KEY.kid


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("EdDSA", Ed25519PrivateKey.generate),
        ("RS256", lambda: rsa.generate_private_key(65537, 2048)),
    ],
)
def test_keys_of_other_kinds_are_taken(
    checker: PyJwtProofChecker, algorithm: str, make: Callable[[], Any]
) -> None:
    private = make()
    key = Key(private)
    made = proof({"jwk": public(key)}, private=private, algorithm=algorithm)
    assert checker.check(made, START).key_thumbprint == key.kid


def test_a_proof_is_good_once(checker: PyJwtProofChecker) -> None:
    checker.use(checker.check(proof(), START), START)
    with pytest.raises(InvalidProof):
        checker.check(proof(), START + timedelta(seconds=30))
    with pytest.raises(InvalidProof):
        checker.check(proof(), START + PROOF_LIFETIME)
    checker.check(proof(jti="two"), START)


def test_a_proof_from_a_clock_that_is_ahead_is_remembered_for_as_long_as_it_is_good(
    checker: PyJwtProofChecker,
) -> None:
    ahead = int((START + MAX_CLOCK_SKEW).timestamp())
    checker.use(checker.check(proof(iat=ahead), START), START)
    almost_over = START + MAX_CLOCK_SKEW + PROOF_LIFETIME - timedelta(seconds=1)
    with pytest.raises(InvalidProof):
        checker.check(proof(iat=ahead), almost_over)


@pytest.mark.parametrize(
    "claims",
    [
        {"htm": "GET"},
        {"htm": None},
        {"htu": "https://auth.example.com/oauth/revoke"},
        {"htu": "https://evil.example.com/oauth/token"},
        {"htu": "http://auth.example.com/oauth/token"},
        {"htu": "https://ada@auth.example.com/oauth/token"},
        {"htu": "https://auth.example.com:8443/oauth/token"},
        {"htu": "https://[oauth/token"},
        {"htu": 7},
        {"htu": None},
        {"iat": int((START - PROOF_LIFETIME).timestamp())},
        {"iat": int((START + MAX_CLOCK_SKEW).timestamp()) + 1},
        {"iat": True},
        {"iat": None},
        {"jti": ""},
        {"jti": "j" * 257},
        {"jti": None},
    ],
    ids=str,
)
def test_a_proof_for_something_else_is_refused(
    checker: PyJwtProofChecker, claims: dict[str, Any]
) -> None:
    with pytest.raises(InvalidProof):
        checker.check(proof(**claims), START)


@pytest.mark.parametrize(
    "htu",
    [
        "HTTPS://AUTH.example.com/oauth/token",
        "https://auth.example.com:443/oauth/token",
        "https://auth.example.com/oauth/token?a=b#c",
        "https://auth.example.com/oauth/%74oken",
    ],
)
def test_two_spellings_of_a_url_are_one(checker: PyJwtProofChecker, htu: str) -> None:
    assert checker.check(proof(htu=htu), START).key_thumbprint == KEY.kid


@pytest.mark.parametrize("ath", [None, "", "x" * 43, ATH + "="])
def test_a_proof_for_another_access_token_is_refused(
    checker: PyJwtProofChecker, ath: str | None
) -> None:
    with pytest.raises(InvalidProof):
        checker.check(proof(ath=ath), START, TOKEN)


def test_a_proof_for_this_access_token_is_good(checker: PyJwtProofChecker) -> None:
    assert checker.check(proof(ath=ATH), START, TOKEN).key_thumbprint == KEY.kid


OTHER = Key(ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"jwk": KEY.to_jwk()},
        {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
        {"jwk": public(OTHER)},
        {"jwk": public() | {"x": "n" * 500}},
        {"jwk": public() | {"x": 7}},
        {"jwk": {}},
        {"jwk": "a key"},
        {"kid": KEY.kid},
        {"crit": ["exp"]},
        {"jku": "https://evil.example.com/keys"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_a_hostile_header_is_refused(checker: PyJwtProofChecker, header: dict[str, Any]) -> None:
    with pytest.raises(InvalidProof):
        checker.check(proof(header), START)


@pytest.mark.parametrize(
    ("algorithm", "private", "jwk"),
    [
        ("none", None, public()),
        ("HS256", b"s" * 32, public()),
        ("HS256", b"s" * 32, {"kty": "oct", "k": "c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M"}),
    ],
    ids=["none", "HS256", "HS256 with its secret inside"],
)
def test_only_asymmetric_algorithms_count(
    checker: PyJwtProofChecker, algorithm: str, private: bytes | None, jwk: dict[str, str]
) -> None:
    with pytest.raises(InvalidProof):
        checker.check(proof({"jwk": jwk}, private=private, algorithm=algorithm), START)


def test_a_good_signature_under_the_name_of_another_algorithm_is_refused(
    checker: PyJwtProofChecker,
) -> None:
    def signed(algorithm: object) -> Proof:
        claims = {"jti": "one", "htm": "POST", "htu": URL, "iat": int(START.timestamp())}
        header = {"typ": "dpop+jwt", "jwk": public(), "alg": algorithm}
        segments = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
            for part in (header, claims)
        ]
        signature = base64.urlsafe_b64encode(KEY.sign(b".".join(segments))).rstrip(b"=")
        return Proof(Secret(b".".join((*segments, signature)).decode()), "POST", URL)

    assert checker.check(signed("ES256"), START).key_thumbprint == KEY.kid
    for name in ("none", "HS256", "RS256", "EdDSA", "es256", "", None, 7):
        with pytest.raises(InvalidProof):
            checker.check(signed(name), START)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "e30.e30.e30", "é", "x" * 100_000])
def test_what_is_no_proof_is_refused(checker: PyJwtProofChecker, text: str) -> None:
    with pytest.raises(InvalidProof):
        checker.check(Proof(Secret(text), "POST", URL), START)


def test_when_no_more_can_be_remembered_no_more_is_used() -> None:
    checker = PyJwtProofChecker(RING, max_remembered=1)
    first, second = checker.check(proof(), START), checker.check(proof(jti="two"), START)
    checker.use(first, START)
    with pytest.raises(ProofsBusy):
        checker.use(second, START)
    later = START + PROOF_LIFETIME
    checker.use(checker.check(proof(jti="three", iat=int(later.timestamp())), later), later)


def test_a_proof_that_two_requests_have_checked_is_used_by_one(checker: PyJwtProofChecker) -> None:
    one, other = checker.check(proof(), START), checker.check(proof(), START)
    checker.use(one, START)
    with pytest.raises(InvalidProof):
        checker.use(other, START)


def test_a_proof_that_expires_before_its_use_is_used_by_nobody(checker: PyJwtProofChecker) -> None:
    checked = checker.check(proof(), START)
    for _ in range(2):
        with pytest.raises(InvalidProof):
            checker.use(checked, START + PROOF_LIFETIME)


async def test_a_nonce_of_any_worker_is_good_while_it_is_fresh() -> None:
    one, other = (PyJwtProofChecker(RING, asks_for_nonce=True) for _ in range(2))
    nonce = await one.nonce(START)
    assert other.check(proof(nonce=nonce), START).key_thumbprint == KEY.kid
    late = START + timedelta(minutes=5)
    for stale in (None, "", "made up", nonce, proof().text.reveal()):
        with pytest.raises(ProofNonceRequired):
            other.check(proof(nonce=stale, iat=int(late.timestamp())), late)
