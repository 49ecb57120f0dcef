"""Stand-ins for the small ports: the standard library alone, for tests only."""

import base64
import hashlib
import hmac
import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import TypeGuard
from uuid import UUID

from keyturn.domain.claims import AccessClaims, DeviceClaims, RefreshClaims
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken, WrongAudience
from keyturn.domain.ids import EventId, FamilyId, MailId, TokenId, UserId
from keyturn.domain.mail import Letter, Mail
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.strength import Strength
from keyturn.ports.mail import LetterWriter
from keyturn.ports.passwords import PasswordBlocklist, PasswordHasher, StrengthEstimator
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.tokens import TokenCodec

START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
"""Where a `ManualClock` starts unless told otherwise."""

_PLAIN_HASH = re.compile(r"\$plain-sha256\$i=([1-9][0-9]{0,2})\$([0-9a-f]{16})\$([0-9a-f]{64})")


class ManualClock(Clock):
    """A clock that stands still until a test moves it."""

    def __init__(self, start: datetime = START) -> None:
        """Show `start`, aware UTC."""
        self._now = start

    def now(self) -> datetime:
        """Return the time that the test set."""
        return self._now

    def set(self, moment: datetime) -> None:
        """Show `moment`, aware UTC; it may be earlier than now, as after a clock step."""
        self._now = moment

    def advance(self, by: timedelta) -> None:
        """Move the clock by a span, backwards if it is negative."""
        self._now += by


class SequentialIds(IdGenerator):
    """Ids that count from one, each kind in a range of its own, so that a failure reads well."""

    def __init__(self) -> None:
        """Start at one."""
        self._users = 0
        self._families = 0
        self._tokens = 0
        self._events = 0
        self._mails = 0
        self._links = 0

    def user_id(self) -> UserId:
        """Return 10000000-0000-0000-0000-000000000001 and so on."""
        self._users += 1
        return UserId(_numbered(1, self._users))

    def family_id(self) -> FamilyId:
        """Return 20000000-0000-0000-0000-000000000001 and so on."""
        self._families += 1
        return FamilyId(_numbered(2, self._families))

    def token_id(self) -> TokenId:
        """Return 30000000-0000-0000-0000-000000000001 and so on."""
        self._tokens += 1
        return TokenId(_numbered(3, self._tokens))

    def event_id(self) -> EventId:
        """Return 40000000-0000-0000-0000-000000000001 and so on."""
        self._events += 1
        return EventId(_numbered(4, self._events))

    def mail_id(self) -> MailId:
        """Return 50000000-0000-0000-0000-000000000001 and so on."""
        self._mails += 1
        return MailId(_numbered(5, self._mails))

    def one_time_token(self) -> Secret:
        """Return one-time-token-1 and so on, which anybody can guess."""
        self._links += 1
        return Secret(f"one-time-token-{self._links}")


class PlainLetterWriter(LetterWriter):
    """Writes mails whose subject is their kind, and whose text is nothing but the token."""

    def write(self, letter: Letter) -> Mail:
        """Return the mail; its text is empty if it has no token."""
        text = "" if letter.token is None else letter.token.reveal()
        return Mail(letter.to, letter.kind.value, text, "")


class OpaqueTokenCodec(TokenCodec):
    """Tokens as authenticated JSON, good for those who hold the same key."""

    def __init__(self, key: bytes | None = None) -> None:
        """Sign with `key`, or with one that nobody else has."""
        self._key = key or secrets.token_bytes(32)

    async def encode_access(self, claims: AccessClaims) -> Secret:
        """Return an access token."""
        return self._seal(
            {
                "kind": "access",
                "jti": str(claims.token_id),
                "sub": str(claims.user_id),
                "sid": str(claims.family_id),
                "client_id": claims.client_id,
                "aud": claims.audience,
                "epoch": claims.epoch,
                "roles": _listed(claims.roles),
                "permissions": _listed(claims.permissions),
                "scope": _listed(claims.scope),
                "auth_time": _seconds(claims.auth_time),
                "iat": _seconds(claims.issued_at),
                "exp": _seconds(claims.expires_at),
                "jkt": claims.key_thumbprint,
            }
        )

    async def encode_refresh(self, claims: RefreshClaims) -> Secret:
        """Return a refresh token, the same for the same claims."""
        return self._seal(
            {
                "kind": "refresh",
                "jti": str(claims.token_id),
                "sub": str(claims.user_id),
                "sid": str(claims.family_id),
                "iat": _seconds(claims.issued_at),
                "exp": _seconds(claims.expires_at),
            }
        )

    def decode_access(
        self, token: Secret, now: datetime, *, audiences: frozenset[str]
    ) -> AccessClaims:
        """Return the claims of a valid access token, or raise `InvalidAccessToken`."""
        claims = self._open(token, "access")
        if claims is None:
            raise InvalidAccessToken
        if not _moment(claims["iat"]) - MAX_CLOCK_SKEW <= now < _moment(claims["exp"]):
            raise InvalidAccessToken
        epoch = claims["epoch"]
        roles = _as_set(claims["roles"])
        if not isinstance(epoch, int) or roles is None:
            raise InvalidAccessToken
        if claims["aud"] not in audiences:
            raise WrongAudience
        return AccessClaims(
            token_id=TokenId(UUID(str(claims["jti"]))),
            user_id=UserId(UUID(str(claims["sub"]))),
            family_id=FamilyId(UUID(str(claims["sid"]))),
            client_id=str(claims["client_id"]),
            audience=str(claims["aud"]),
            epoch=epoch,
            roles=roles,
            permissions=_as_set(claims["permissions"]),
            scope=_as_set(claims["scope"]),
            auth_time=_moment(claims["auth_time"]),
            issued_at=_moment(claims["iat"]),
            expires_at=_moment(claims["exp"]),
            key_thumbprint=None if claims["jkt"] is None else str(claims["jkt"]),
        )

    def decode_refresh(self, token: Secret) -> RefreshClaims:
        """Return the claims of a genuine refresh token, or raise `InvalidRefreshToken`."""
        claims = self._open(token, "refresh")
        if claims is None:
            raise InvalidRefreshToken
        return RefreshClaims(
            token_id=TokenId(UUID(str(claims["jti"]))),
            user_id=UserId(UUID(str(claims["sub"]))),
            family_id=FamilyId(UUID(str(claims["sid"]))),
            issued_at=_moment(claims["iat"]),
            expires_at=_moment(claims["exp"]),
        )

    async def encode_device(self, claims: DeviceClaims) -> Secret:
        """Return a device token."""
        return self._seal(
            {
                "kind": "device",
                "sub": str(claims.user_id),
                "sid": str(claims.family_id),
                "credentials_version": claims.credentials_version,
                "iat": _seconds(claims.issued_at),
                "exp": _seconds(claims.expires_at),
            }
        )

    def decode_device(self, token: Secret, now: datetime) -> DeviceClaims | None:
        """Return the claims of a valid device token, None for every other text."""
        claims = self._open(token, "device")
        if claims is None:
            return None
        if not _moment(claims["iat"]) - MAX_CLOCK_SKEW <= now < _moment(claims["exp"]):
            return None
        return DeviceClaims(
            user_id=UserId(UUID(str(claims["sub"]))),
            family_id=FamilyId(UUID(str(claims["sid"]))),
            credentials_version=int(str(claims["credentials_version"])),
            issued_at=_moment(claims["iat"]),
            expires_at=_moment(claims["exp"]),
        )

    def _seal(self, claims: dict[str, object]) -> Secret:
        # Without padding, as in a JWT: a cookie would hold `=` only between quotes.
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
        return Secret(f"{body.decode()}.{self._mac(body)}")

    def _open(self, token: Secret, kind: str) -> dict[str, object] | None:
        # A lone surrogate is legal in a str and must not make the comparison fail.
        body, _, mac = token.reveal().encode("utf-8", "surrogatepass").rpartition(b".")
        if not hmac.compare_digest(mac, self._mac(body).encode()):
            return None
        claims = json.loads(base64.urlsafe_b64decode(body + b"=="))
        if not _is_object(claims) or claims["kind"] != kind:
            return None
        return claims

    def _mac(self, body: bytes) -> str:
        return hmac.digest(self._key, body, "sha256").hex()


class PlainPasswordHasher(PasswordHasher):
    """Salted hashes that cost next to nothing, so that a test of a login is fast.

    Attributes:
        verifications: how often `verify` was called, an unknown user's `None` included.
    """

    def __init__(self, rounds: int = 1) -> None:
        """Hash `rounds` times; hashes of another number need a rehash."""
        self._rounds = rounds
        self.verifications = 0

    async def hash(self, password: Secret, *, source: Source = UNKNOWN_SOURCE) -> str:  # noqa: ARG002 - nothing waits
        """Return a salted hash, another one at each call."""
        salt = secrets.token_hex(8)
        return f"$plain-sha256$i={self._rounds}${salt}${_derive(password, salt, self._rounds)}"

    async def verify(
        self,
        password_hash: str | None,
        password: Secret,
        *,
        source: Source = UNKNOWN_SOURCE,  # noqa: ARG002 - nothing waits
    ) -> bool:
        """Return whether it is the password that was hashed; False for None or another scheme."""
        self.verifications += 1
        parts = _PLAIN_HASH.fullmatch(password_hash or "")
        if parts is None:
            return False
        rounds, salt, digest = parts.groups()
        return hmac.compare_digest(digest, _derive(password, salt, int(rounds)))

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash was made with another number of rounds or by another scheme."""
        return not password_hash.startswith(f"$plain-sha256$i={self._rounds}$")

    def can_verify(self, password_hash: str) -> bool:
        """Return whether it is one of these hashes."""
        return _PLAIN_HASH.fullmatch(password_hash) is not None


class LengthEstimator(StrengthEstimator):
    """Takes long passwords for strong ones, and asks for longer ones."""

    async def estimate(self, password: Secret, words: tuple[str, ...]) -> Strength:  # noqa: ARG002 - the port names it
        """Return a point for every five characters."""
        score = min(len(password.reveal()) // 5, 4)
        return Strength(score, None, () if score == 4 else ("Make it longer.",))


class NoBlocklist(PasswordBlocklist):
    """Refuses no password."""

    async def contains(self, password: Secret) -> bool:  # noqa: ARG002 - the port names it
        """Return False."""
        return False


class FixedBlocklist(PasswordBlocklist):
    """Refuses the passwords that a test names, whatever their case."""

    def __init__(self, *passwords: str) -> None:
        """Refuse `passwords`."""
        self._passwords = frozenset(password.casefold() for password in passwords)

    async def contains(self, password: Secret) -> bool:
        """Return whether the password is one of those named."""
        return password.reveal().casefold() in self._passwords


def _numbered(kind: int, number: int) -> UUID:
    return UUID(int=kind << 124 | number)


def _listed(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _as_set(names: object) -> frozenset[str] | None:
    return frozenset(map(str, names)) if isinstance(names, list) else None


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: object) -> datetime:
    if not isinstance(seconds, int):
        raise TypeError("a signed token of this codec holds its times as integers")
    return datetime.fromtimestamp(seconds, UTC)


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _derive(password: Secret, salt: str, rounds: int) -> str:
    digest = password.reveal().encode("utf-8", "surrogatepass")
    for _ in range(rounds):
        digest = hashlib.sha256(salt.encode() + digest).digest()
    return digest.hex()
