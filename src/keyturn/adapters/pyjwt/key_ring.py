"""The keys that sign and verify tokens, each bound to one algorithm."""

import base64
import hashlib
import hmac
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Protocol, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError
from jwt.utils import der_to_raw_signature

from keyturn.ports.tokens import TokenSigner

MIN_SECRET_BYTES = 32
"""RFC 7518 §3.2: an HMAC key is at least as long as the hash."""

MIN_RSA_BITS = 2048
"""RFC 7518 §3.3; a key that an operator brings may be as short as this."""

SMALLEST_RSA_EXPONENT = 65537
"""FIPS 186-5 §5.1: smaller ones have helped forgers before."""

_FEWEST_DISTINCT = 10

_SMALL_ORDER_ED25519 = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""Every encoding of a point of Ed25519 whose order is 8 or less, without the sign bit, as libsodium
lists them. With such a key one signature verifies for many messages, whoever made it."""


class SigningAlgorithm(StrEnum):
    """The algorithms that a key may be bound to (RFC 7518 §3.1, RFC 8037 §3.1)."""

    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


class _OneShotHMACAlgorithm(HMACAlgorithm):
    """HMAC with SHA-256 by one call, where PyJWT makes an object for each signature."""

    def sign(self, msg: bytes, key: bytes) -> bytes:
        """Return the authentication code (RFC 7518 §3.2)."""
        return hmac.digest(key, msg, "sha256")


class _DeterministicECAlgorithm(ECAlgorithm):
    """ECDSA with the nonce of RFC 6979, so that the same claims give the same token."""

    def sign(self, msg: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
        """Return the signature as r and s side by side (RFC 7518 §3.4)."""
        signature = key.sign(msg, ec.ECDSA(self.hash_alg(), deterministic_signing=True))
        return der_to_raw_signature(signature, key.curve)


ALGORITHMS: Mapping[SigningAlgorithm, Algorithm] = MappingProxyType(
    {
        SigningAlgorithm.HS256: _OneShotHMACAlgorithm(HMACAlgorithm.SHA256),
        SigningAlgorithm.RS256: RSAAlgorithm(RSAAlgorithm.SHA256),
        SigningAlgorithm.ES256: _DeterministicECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1),
        SigningAlgorithm.EDDSA: OKPAlgorithm(),
    }
)
"""PyJWT's implementation of each algorithm; no other can be reached from a token."""

PrivateKey = bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
"""What signs: an HMAC secret or a private key."""

_ASYMMETRIC = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, Ed25519PrivateKey)
_PUBLIC = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, Ed25519PublicKey)

VerifyingMaterial = bytes | rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey
"""What verifies: the same HMAC secret or a public key."""


class VerificationKey:
    """A key that only verifies, with its one algorithm and the `kid` that follows from it.

    Attributes:
        kid: the key's thumbprint (RFC 7638).
        algorithm: follows from the kind of key, never from a token.
    """

    __slots__ = ("_implementation", "_public", "algorithm", "kid")

    def __init__(self, public: VerifyingMaterial) -> None:
        """Bind the key to its algorithm.

        Raises:
            ValueError: it is of a kind or on a curve that no algorithm here uses.
        """
        self.algorithm = _algorithm_of(public)
        self._implementation = ALGORITHMS[self.algorithm]
        try:
            # Rejects a PEM that is to serve as an HMAC secret.
            self._implementation.prepare_key(public)
        except PyJWTError:
            raise ValueError("the HMAC secret is a public key or a JWK, not a secret") from None
        self._public = public
        self.kid = _thumbprint(self._members(public))

    @classmethod
    def from_public_jwk(cls, jwk: Mapping[str, object]) -> "VerificationKey":
        """Return the public key that a JWK holds (RFC 7517).

        Raises:
            ValueError: it holds a secret or none of our kinds of public key, is weak or not for
                verifying, or a member contradicts the key itself.
        """
        if jwk.get("use", "sig") != "sig":
            raise ValueError("the JWK is not for signatures: its use is not sig")
        operations = jwk.get("key_ops", ["verify"])
        if not isinstance(operations, list) or "verify" not in operations:
            raise ValueError("the JWK is not for verifying: its key_ops lack verify")
        public = _asymmetric_key_of(jwk)
        if not isinstance(public, _PUBLIC):
            # A secret that was published is nobody's any more.
            raise ValueError("the JWK holds no public key")  # noqa: TRY004 - the text is wrong
        key = VerificationKey(public)
        key.require_consistent(jwk)
        weakness = key.weakness()
        if weakness is not None:
            raise ValueError(weakness)
        return key

    def require_consistent(self, jwk: Mapping[str, object]) -> None:
        """Return if what the JWK says of its key is what follows from the key.

        Raises:
            ValueError: `alg` or `kid` are others.
        """
        if jwk.get("alg", self.algorithm) != self.algorithm:
            raise ValueError(f"the JWK's alg is not that of its key, {self.algorithm}")
        if jwk.get("kid", self.kid) != self.kid:
            raise ValueError(f"the JWK's kid is not its thumbprint (RFC 7638), {self.kid}")

    def public_jwk(self) -> dict[str, str] | None:
        """Return the public key as a JWK with its `kid`; None for an HMAC secret."""
        if isinstance(self._public, bytes):
            return None
        return self._members(self._public) | {"kid": self.kid}

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Return whether this key made the signature, with its own algorithm."""
        return self._implementation.verify(message, self._public, signature)

    def weakness(self) -> str | None:
        """Return why tokens must not rest on this key, or None if it is strong enough."""
        if isinstance(self._public, bytes):
            if len(self._public) < MIN_SECRET_BYTES:
                return "the HMAC secret is shorter than 256 bits (RFC 7518 §3.2)"
            if _is_guessable(self._public):
                return "the HMAC secret follows a pattern; take one from a random generator"
        if isinstance(self._public, rsa.RSAPublicKey):
            if self._public.key_size < MIN_RSA_BITS:
                return "the RSA key is shorter than 2048 bits (RFC 7518 §3.3)"
            if self._public.public_numbers().e < SMALLEST_RSA_EXPONENT:
                return "the RSA key's public exponent is below 65537 (FIPS 186-5 §5.1)"
            if self._public.public_numbers().n % 2 == 0:
                return "the RSA key's modulus is even, so that anybody can factor it"
        if isinstance(self._public, Ed25519PublicKey):
            encoded = bytearray(self._public.public_bytes_raw())
            encoded[-1] &= 0x7F
            if bytes(encoded) in _SMALL_ORDER_ED25519:
                return "the Ed25519 key is a point of small order (RFC 8725 §3.4)"
        return None

    def _members(self, key: "PrivateKey | VerifyingMaterial") -> dict[str, str]:
        members: dict[str, object] = self._implementation.to_jwk(key, as_dict=True)
        members.pop("key_ops", None)
        return {name: str(value) for name, value in members.items()} | {
            "alg": str(self.algorithm),
            "use": "sig",
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kid={self.kid!r}, algorithm={self.algorithm.value!r})"


class Key(VerificationKey):
    """A key that signs and verifies."""

    __slots__ = ("_private",)

    def __init__(self, private: PrivateKey) -> None:
        """Bind the key to its algorithm.

        Raises:
            ValueError: it is of a kind or on a curve that no algorithm here uses.
        """
        super().__init__(private if isinstance(private, bytes) else _public_of(private))
        self._private = private

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, object]) -> Self:
        """Return the private key that a JWK holds (RFC 7517).

        Raises:
            ValueError: it is no private key for signing, or a member contradicts the key itself.
        """
        if jwk.get("use", "sig") != "sig":
            raise ValueError("the JWK is not for signing: its use is not sig")
        operations = jwk.get("key_ops", ["sign"])
        if not isinstance(operations, list) or "sign" not in operations:
            raise ValueError("the JWK is not for signing: its key_ops lack sign")
        key = cls(_private_key_of(jwk))
        key.require_consistent(jwk)
        return key

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Return the private key that a PEM text holds (PKCS 8, without a passphrase).

        Raises:
            ValueError: it holds no such key, or one that no algorithm here uses.
        """
        try:
            private = load_pem_private_key(pem, password=None)
        except TypeError:
            raise ValueError("the PEM is encrypted; store it without a passphrase") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("the PEM holds no private key") from None
        if not isinstance(private, _ASYMMETRIC):
            raise ValueError(_UNUSABLE)  # noqa: TRY004 - the text is wrong, not the caller's type
        return cls(private)

    def to_jwk(self) -> dict[str, str]:
        """Return the private key as a JWK, without its `kid`: a secret."""
        return self._members(self._private)

    def sign(self, message: bytes) -> bytes:
        """Return the signature; the same for the same message."""
        return self._implementation.sign(message, self._private)


class LocalSigner(TokenSigner):
    """Signs with a key that this process holds."""

    def __init__(self, key: Key) -> None:
        """Sign with `key`."""
        self._key = key

    @property
    def kid(self) -> str:
        """The thumbprint of the key."""
        return self._key.kid

    @property
    def algorithm(self) -> str:
        """The algorithm of the key."""
        return self._key.algorithm.value

    async def sign(self, message: bytes) -> bytes:
        """Return the signature; the same for the same message."""
        return self._key.sign(message)


class TokenKeys(Protocol):
    """Holds the keys that tokens are verified with; what it holds may change over time."""

    @abstractmethod
    def find(self, kid: str) -> VerificationKey | None:
        """Return the key of this `kid`, which may come from anybody, or None."""


class SigningTokenKeys(TokenKeys, Protocol):
    """Holds one key, perhaps elsewhere, that tokens are signed with besides."""

    @property
    @abstractmethod
    def signer(self) -> TokenSigner:
        """What signs at the moment; `find` knows its key."""


class KeyRing(SigningTokenKeys):
    """The keys whose tokens are accepted, one of which signs; it never changes.

    Attributes:
        by_kid: the keys by their `kid`.
        signing_key: the one that signs.
    """

    def __init__(self, keys: Iterable[Key], signing_kid: str) -> None:
        """Take the keys that verify and the `kid` of the one that signs.

        Raises:
            ValueError: a key is weak or stands there twice, or none has `signing_kid`. The
                message is one sentence and names the key by its `kid`.
        """
        by_kid: dict[str, Key] = {}
        for key in keys:
            weakness = key.weakness()
            if weakness is not None:
                raise ValueError(f"key {key.kid} is refused: {weakness}")
            if key.kid in by_kid:
                raise ValueError(f"key {key.kid} is there twice")
            by_kid[key.kid] = key
        if signing_kid not in by_kid:
            raise ValueError(f"there is no key {signing_kid!r} to sign with")
        self.by_kid: Final[Mapping[str, Key]] = MappingProxyType(by_kid)
        self.signing_key: Final = by_kid[signing_kid]
        self._signer = LocalSigner(self.signing_key)

    def find(self, kid: str) -> Key | None:
        """Return the key of this `kid`, or None."""
        return self.by_kid.get(kid)

    @property
    def signer(self) -> TokenSigner:
        """What signs with the signing key."""
        return self._signer

    def __repr__(self) -> str:
        return f"KeyRing({list(self.by_kid.values())!r}, signing_kid={self.signing_key.kid!r})"


_UNUSABLE = "the key is of no kind that signs here: HMAC, RSA, EC on P-256 or Ed25519"
_UNREADABLE = "the JWK is incomplete, malformed or of an unknown kind"


def _algorithm_of(public: VerifyingMaterial) -> SigningAlgorithm:
    match public:
        case bytes():
            return SigningAlgorithm.HS256
        case rsa.RSAPublicKey():
            return SigningAlgorithm.RS256
        case ec.EllipticCurvePublicKey() if isinstance(public.curve, ec.SECP256R1):
            return SigningAlgorithm.ES256
        case Ed25519PublicKey():
            return SigningAlgorithm.EDDSA
        case _:
            raise ValueError(_UNUSABLE)


def _public_of(
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey,
) -> VerifyingMaterial:
    if not isinstance(private, _ASYMMETRIC):
        raise ValueError(_UNUSABLE)  # noqa: TRY004 - the text is wrong, not the caller's type
    return private.public_key()


def _private_key_of(jwk: Mapping[str, object]) -> PrivateKey:
    if jwk.get("kty") == "oct":
        try:
            return _decode_secret(str(jwk["k"]))
        except (KeyError, ValueError):
            raise ValueError(_UNREADABLE) from None
    private = _asymmetric_key_of(jwk)
    if not isinstance(private, _ASYMMETRIC):
        raise ValueError("the JWK holds no private key that signs here")  # noqa: TRY004 - the text is wrong
    return private


def _asymmetric_key_of(jwk: Mapping[str, object]) -> object:
    try:
        match jwk.get("kty"):
            case "RSA":
                return RSAAlgorithm.from_jwk(dict(jwk))
            case "EC":
                return ECAlgorithm.from_jwk(dict(jwk))
            case _:
                return OKPAlgorithm.from_jwk(dict(jwk))
    except (KeyError, TypeError, ValueError, PyJWTError, UnsupportedAlgorithm):
        # The cause may quote the key.
        raise ValueError(_UNREADABLE) from None


def _decode_secret(text: str) -> bytes:
    secret = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The decoder skips what is not base64url: a secret with a typing error would shrink unseen.
    if base64.urlsafe_b64encode(secret).rstrip(b"=") != text.encode():
        raise ValueError("not base64url")
    return secret


def _thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the thumbprint of the public part (RFC 7638 §3.2; of a secret, its hash)."""
    required = {"oct": ("k", "kty"), "RSA": ("e", "kty", "n")}.get(
        jwk["kty"], tuple(sorted({"crv", "kty", "x", "y"} & jwk.keys()))
    )
    canonical = json.dumps({name: jwk[name] for name in required}, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _is_guessable(secret: bytes) -> bool:
    """Whether the bytes repeat, count up or use few symbols: 32 random ones never do."""
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    repeats = any(secret[period:] == secret[:-period] for period in range(1, len(secret) // 2 + 1))
    return repeats or len(set(secret)) < _FEWEST_DISTINCT or len(steps) < _FEWEST_DISTINCT
