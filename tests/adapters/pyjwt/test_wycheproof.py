"""The vectors of C2SP's project Wycheproof, through the very steps that the codec takes.

They are read from `KEYTURN_WYCHEPROOF_DIR`, by default `../shared/wycheproof` beside the checkout.
"""

import json
import os
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


def label(vector: Vector) -> str:
    return f"{vector.number} {vector.test['comment']}"


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
        verify(str(vector.test["jws"]), by_kid)
    except RejectedToken:
        return False
    return True


@pytest.mark.parametrize(
    "vector", of_our_algorithms(vectors("json_web_signature_test.json")), ids=label
)
def test_a_json_web_signature(vector: Vector) -> None:
    expected = vector.is_valid is not (vector.number in JWS_DEVIATIONS)
    assert accepts(vector, only_strong_keys=False) is expected


@pytest.mark.parametrize("vector", of_our_algorithms(vectors("json_web_key_test.json")), ids=label)
def test_a_json_web_key(vector: Vector) -> None:
    expected = vector.is_valid is not (vector.number in JWK_DEVIATIONS)
    assert accepts(vector, only_strong_keys=True) is expected


def verifies(algorithm: SigningAlgorithm, vector: Vector) -> bool:
    public = load_der_public_key(bytes.fromhex(str(vector.group["publicKeyDer"])))
    return ALGORITHMS[algorithm].verify(vector.bytes_of("msg"), public, vector.bytes_of("sig"))


@pytest.mark.parametrize("vector", vectors("ed25519_test.json"), ids=label)
def test_an_ed25519_signature(vector: Vector) -> None:
    assert verifies(SigningAlgorithm.EDDSA, vector) is vector.is_valid


@pytest.mark.parametrize("vector", vectors("ecdsa_secp256r1_sha256_p1363_test.json"), ids=label)
def test_an_ecdsa_signature(vector: Vector) -> None:
    assert verifies(SigningAlgorithm.ES256, vector) is vector.is_valid


@pytest.mark.parametrize("vector", vectors("rsa_signature_2048_sha256_test.json"), ids=label)
def test_an_rsa_signature(vector: Vector) -> None:
    # "acceptable" is a padding that only old signers write: ours is not one of them.
    assert verifies(SigningAlgorithm.RS256, vector) is vector.is_valid


@pytest.mark.parametrize("vector", vectors("hmac_sha256_test.json"), ids=label)
def test_an_hmac(vector: Vector) -> None:
    # RFC 7518 §3.2 knows no shortened tag.
    expected = vector.is_valid and vector.group["tagSize"] == 256
    algorithm = ALGORITHMS[SigningAlgorithm.HS256]
    tag = vector.bytes_of("tag")
    assert algorithm.verify(vector.bytes_of("msg"), vector.bytes_of("key"), tag) is expected
