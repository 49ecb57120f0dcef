"""How claims become tokens and tokens become claims."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol

from keyturn.domain.claims import AccessClaims, DeviceClaims, RefreshClaims
from keyturn.domain.secret import Secret


class TokenSigner(Protocol):
    """Signs with one key and never hands it out: it may live in a KMS, an HSM, another process."""

    @property
    @abstractmethod
    def kid(self) -> str:
        """The thumbprint of the key (RFC 7638), by which those who verify find it."""

    @property
    @abstractmethod
    def algorithm(self) -> str:
        """The one algorithm that the key is used with (RFC 7518 §3.1)."""

    @abstractmethod
    async def sign(self, message: bytes) -> bytes:
        """Return the signature as a JWS holds it: ECDSA as r and s side by side (RFC 7518 §3.4).

        The same message should give the same signature, so that a replay answers byte for byte
        with what was handed out before. Where the key's home can't promise that, the replayed
        token has the same claims and another signature, and is as good.

        Raises:
            Unavailable: the key can't be reached.
        """


class AccessTokenReader(Protocol):
    """Verifies access tokens; it needs no key that could sign one.

    Whatever is presented, and however hostile it is, reading returns claims that a known key
    signed for this issuer and one of the accepted audiences, or raises an error. The error never
    says what was wrong with a token that is not genuine and current.
    """

    @abstractmethod
    def decode_access(
        self, token: Secret, now: datetime, *, audiences: frozenset[str]
    ) -> AccessClaims:
        """Return the claims of a valid access token, without any I/O.

        A token without the claim `auth_time` was issued by an older version. Its `auth_time` must
        be `LONG_AGO`.

        Args:
            audiences: the accepted audiences. They must be compared exactly; an empty set accepts
                no token.

        Raises:
            InvalidAccessToken: not signed by a known key with that key's algorithm, another kind
                or issuer, a claim missing or mistyped, an `aud` that names more than one audience,
                issued or not valid until (RFC 7519 §4.1.5) more than `MAX_CLOCK_SKEW` after `now`,
                or expired at `now` (`now >= expires_at`).
            WrongAudience: none of that, and the token is for another audience.
        """


class TokenCodec(AccessTokenReader, Protocol):
    """Signs and verifies access, refresh and device tokens; no kind passes for another.

    Whatever is presented, and however hostile it is, decoding returns claims that this codec's
    keys signed for this issuer, or raises an error of its kind, which never says what was wrong
    with a token that is not genuine and current.
    """

    @abstractmethod
    async def encode_access(self, claims: AccessClaims) -> Secret:
        """Return a signed access token (RFC 9068: header `typ` is `at+jwt`).

        Asynchronous, so that the key may live elsewhere.

        Raises:
            Unavailable: the key can't be reached.
        """

    @abstractmethod
    async def encode_refresh(self, claims: RefreshClaims) -> Secret:
        """Return a signed refresh token (header `typ` is `rt+jwt`).

        With the same signing key, the same claims give the same token, byte for byte: a replay
        answers with the successor that was handed out before.
        """

    @abstractmethod
    def decode_refresh(self, token: Secret) -> RefreshClaims:
        """Return the claims of a genuine refresh token, expired or not, without any I/O.

        The family says whether the token is still good. An expired one must not be turned away
        before: if somebody else has rotated it meanwhile, it is what gives the thief away.

        Raises:
            InvalidRefreshToken: not signed by a known key with that key's algorithm, another kind
                or issuer, or a claim missing or mistyped.
        """

    @abstractmethod
    async def encode_device(self, claims: DeviceClaims) -> Secret:
        """Return a signed device token (header `typ` is `dt+jwt`).

        Raises:
            Unavailable: the key can't be reached.
        """

    @abstractmethod
    def decode_device(self, token: Secret, now: datetime) -> DeviceClaims | None:
        """Return the claims of a valid device token, without any I/O.

        Returns:
            None for every other text. A login ignores a device token that is malformed, foreign
            or expired, so that there is no error that a caller could forget to catch.
        """
