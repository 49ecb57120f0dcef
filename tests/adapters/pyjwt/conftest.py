"""Keys, codecs and a forger's tools for the tests of this folder."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.key_files import generate_key
from keyturn.adapters.pyjwt.key_ring import Key, KeyRing, SigningAlgorithm
from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.secret import Secret
from keyturn.testing.codec_contract import ACCESS, AUDIENCES, ISSUED_AT

ISSUER = "https://auth.example.com"
AUDIENCE = "https://api.example.com"


@cache
def _key(algorithm: SigningAlgorithm, number: int) -> Key:
    # One per number and run: RSA keys are slow to find, and 2048 bits are enough here.
    if algorithm is SigningAlgorithm.RS256:
        return Key(rsa.generate_private_key(65537, 2048))
    return generate_key(algorithm)


@pytest.fixture
def key_of() -> Callable[..., Key]:
    """Return a function that gives the key of an algorithm, another one for each number."""

    def key_of(algorithm: SigningAlgorithm, number: int = 0) -> Key:
        return _key(algorithm, number)

    return key_of


@pytest.fixture
def codec_of() -> Callable[..., PyJwtCodec]:
    """Return a function that makes a codec whose first key signs."""

    def codec_of(*keys: Key, issuer: str = ISSUER) -> PyJwtCodec:
        return PyJwtCodec(KeyRing(keys, keys[0].kid), issuer=issuer)

    return codec_of


def _segment(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True)
class Forger:
    """Makes tokens by hand, with or without the real key, and presents them.

    Attributes:
        header, claims: those of a token that is accepted as it is.
    """

    key: Key
    codec: PyJwtCodec
    header: Mapping[str, object]
    claims: Mapping[str, object]

    def token(
        self,
        header: object = None,
        claims: object = None,
        *,
        signature: bytes | None = None,
        secret: bytes | None = None,
    ) -> str:
        """Return a token of these parts (bytes as they are, else as JSON), by default the good ones.

        Signed with the real key, unless a signature is given or a secret to make an HMAC with.
        """
        header = dict(self.header) if header is None else header
        claims = dict(self.claims) if claims is None else claims
        signing_input = f"{_segment(header)}.{_segment(claims)}"
        if secret is not None:
            signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
        if signature is None:
            signature = self.key.sign(signing_input.encode())
        return f"{signing_input}.{_segment(signature)}"

    def accepted(self, token: str) -> AccessClaims:
        """Return the claims that the codec takes from the token."""
        return self.codec.decode_access(Secret(token), ISSUED_AT, audiences=AUDIENCES)

    def refused(self, token: str) -> None:
        """Fail unless the codec refuses the token with its one error, whose cause says nothing."""
        with pytest.raises(InvalidAccessToken) as caught:
            self.codec.decode_access(Secret(token), ISSUED_AT, audiences=AUDIENCES)
        assert caught.value.args == (InvalidAccessToken.message,)
        assert caught.value.__context__ is None


@pytest.fixture(params=list(SigningAlgorithm))
def forger(
    request: pytest.FixtureRequest,
    key_of: Callable[..., Key],
    codec_of: Callable[..., PyJwtCodec],
) -> Forger:
    """Return a forger before a codec with one key, for each algorithm in turn."""
    key = key_of(request.param)
    codec = codec_of(key)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "auth_time": int(ACCESS.auth_time.timestamp()),
        "sub": str(ACCESS.user_id),
        "iat": int(ACCESS.issued_at.timestamp()),
        "exp": int(ACCESS.expires_at.timestamp()),
        "jti": str(ACCESS.token_id),
        "sid": str(ACCESS.family_id),
        "epoch": 3,
        "client_id": "notes",
        "type": "access",
        "roles": ["user", "éditeur"],
        "permissions": ["profile:read", "profile:write"],
        "scope": "profile:read",
    }
    header = {"alg": key.algorithm.value, "kid": key.kid, "typ": "at+jwt"}
    return Forger(key, codec, header, claims)
