"""The vectors of C2SP's project Wycheproof, through the very steps that the codec takes.

They are read from `KEYTURN_WYCHEPROOF_DIR`, by default `../shared/wycheproof` beside the checkout.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.adapters.pyjwt.compact_jws import RejectedToken, verify
from keyturn.adapters.pyjwt.key_ring import ALGORITHMS, Key, KeyRing, SigningAlgorithm

CHECKOUT = Path(__file__).parents[3]
FOLDER = Path(os.environ.get("KEYTURN_WYCHEPROOF_DIR", CHECKOUT.parent / "shared" / "wycheproof"))

Json = dict[str, object]

if not FOLDER.is_dir():
    pytest.skip(
        f"no Wycheproof vectors in {FOLDER}: KEYTURN_WYCHEPROOF_DIR names another folder",
        allow_module_level=True,
    )

OUR_ALGORITHMS = {algorithm.value for algorithm in SigningAlgorithm}

JWS_DEVIATIONS = {
    349: "its key_ops hold the one text 'sign, verify', which is no operation (RFC 7517 §4.3)",
    367: "the same text as the valid vector 357",
    370: "the same text as the valid vector 357",
    372: "holds a question mark, which is not base64url (RFC 7515 §2)",
    373: "holds a question mark, which is not base64url (RFC 7515 §2)",
}

JWK_DEVIATIONS = {
    7: "a key that an operator brings is not examined for the ROCA flaw",
    13: "its secret counts up from zero, and such a secret is refused as a pattern",
}


@dataclass(frozen=True)
class Vector:
    """One test of a file, with what its group says."""

    number: int
    test: Json
    group: Json

    @property
    def is_valid(self) -> bool:
        return self.test["result"] == "valid"

    def bytes_of(self, name: str) -> bytes:
        return bytes.fromhex(str(self.test[name]))


def vectors(file_name: str) -> list[Vector]:
    return [
        Vector(test["tcId"], test, group)
        for group in json.loads((FOLDER / file_name).read_text())["testGroups"]
        for test in group["tests"]
    ]


def private_jwks(group: Json) -> list[Json]:
    private = group["private"]
    assert isinstance(private, dict)
    jwks = private.get("keys", [private])
    assert isinstance(jwks, list)
    return jwks


def of_our_algorithms(vectors: list[Vector]) -> list[Vector]:
    """Return the vectors whose keys name one of our algorithms or none at all."""
    return [
        vector
        for vector in vectors
        if all(jwk.get("alg") in {*OUR_ALGORITHMS, None} for jwk in private_jwks(vector.group))
    ]


@cache
def load(jwk: str) -> Key:
    members = json.loads(jwk)
    # Our own names are thumbprints, which those of the vectors are not.
    del members["kid"]
    return Key.from_jwk(members)


def accepts(vector: Vector, *, only_strong_keys: bool) -> bool:
    """Whether the vector's keys are taken and, under the names that it gives them, verify it."""
    jwks = private_jwks(vector.group)
    try:
        keys = [load(json.dumps(jwk)) for jwk in jwks]
        if only_strong_keys:
            KeyRing(keys, keys[0].kid)
    except ValueError:
        return False
    by_kid = {str(jwk["kid"]): key for jwk, key in zip(jwks, keys, strict=True)}
    if len(by_kid) < len(keys):
        return False
    try:
        verify(str(vector.test["jws"]), by_kid.get)
    except RejectedToken:
        return False
    return True


def disagreements(vectors: list[Vector], judge: Callable[[Vector], bool]) -> set[int]:
    """Return the numbers of the vectors that are judged otherwise than their file says."""
    assert vectors
    return {vector.number for vector in vectors if judge(vector) is not vector.is_valid}


def test_json_web_signatures_are_judged_as_the_file_says_but_for_known_exceptions() -> None:
    ours = of_our_algorithms(vectors("json_web_signature_test.json"))
    found = disagreements(ours, lambda vector: accepts(vector, only_strong_keys=False))
    assert found == set(JWS_DEVIATIONS)


def test_json_web_keys_are_judged_as_the_file_says_but_for_known_exceptions() -> None:
    ours = of_our_algorithms(vectors("json_web_key_test.json"))
    found = disagreements(ours, lambda vector: accepts(vector, only_strong_keys=True))
    assert found == set(JWK_DEVIATIONS)


@pytest.mark.parametrize(
    ("algorithm", "file_name"),
    [
        (SigningAlgorithm.EDDSA, "ed25519_test.json"),
        (SigningAlgorithm.ES256, "ecdsa_secp256r1_sha256_p1363_test.json"),
        # Its one "acceptable" padding is what only old signers write: ours is none of them.
        (SigningAlgorithm.RS256, "rsa_signature_2048_sha256_test.json"),
    ],
)
def test_signatures_are_judged_as_the_file_says(
    algorithm: SigningAlgorithm, file_name: str
) -> None:
    def verifies(vector: Vector) -> bool:
        public = load_der_public_key(bytes.fromhex(str(vector.group["publicKeyDer"])))
        message, signature = vector.bytes_of("msg"), vector.bytes_of("sig")
        return ALGORITHMS[algorithm].verify(message, public, signature)

    assert disagreements(vectors(file_name), verifies) == set()


def test_hmacs_are_judged_as_the_file_says_and_shortened_ones_refused() -> None:
    def verifies(vector: Vector) -> bool:
        key, message, tag = (vector.bytes_of(name) for name in ("key", "msg", "tag"))
        return ALGORITHMS[SigningAlgorithm.HS256].verify(message, key, tag)

    # RFC 7518 §3.2 knows no shortened tag.
    both = vectors("hmac_sha256_test.json")
    whole = [vector for vector in both if vector.group["tagSize"] == 256]
    shortened = [vector for vector in both if vector.group["tagSize"] != 256]
    assert disagreements(whole, verifies) == set()
    assert shortened
    assert not any(map(verifies, shortened))
