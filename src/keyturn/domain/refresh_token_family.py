"""A session: one login on one device, and the chain of refresh tokens that keeps it alive."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from keyturn.domain.claims import RefreshClaims
from keyturn.domain.events import Origin
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import SessionPolicy

DEFAULT_CLIENT_ID = "keyturn"
"""The public OAuth client that a caller is who names none."""


class RevokeReason(StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    LOGOUT_ALL = "logout_all"
    REVOKED = "revoked"
    ADMINISTRATOR = "administrator"
    REUSE_DETECTED = "reuse_detected"
    EVICTED = "evicted"
    REPLACED = "replaced"
    PASSWORD_CHANGED = "password_changed"
    USER_DISABLED = "user_disabled"
    ACCOUNT_DELETED = "account_deleted"


class EndReason(StrEnum):
    """Why a session that nobody revoked is over."""

    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Device:
    """Where a session was last used from.

    Attributes:
        name: what the person calls it, if they said.
        user_agent: as the client sent it, shortened.
        ip: the client's address as text.
    """

    name: str | None = None
    user_agent: str | None = None
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class RefreshTokenFamily:
    """One login on one device; at any time exactly one of its refresh tokens is live.

    Attributes:
        client_id: the OAuth client that it was issued to, and the only one that may refresh it.
        scope: None where the session is not limited to a part of the user's permissions.
        current: the live token.
        previous: the one before it, None before the first rotation.
        generation: how often it was rotated; a save of one that is not the next is stale.
        rotated_at: the login or the last rotation; the grace window counts from here.
        expires_at: idle expiry, moved by each rotation, never past `absolute_expires_at`.
        absolute_expires_at: set at login, moved by nothing.
        key_thumbprint: the key (RFC 7638) that a refresh must prove to hold, None where none is
            asked for (RFC 9449 §5); set at login, moved by nothing.
    """

    id: FamilyId
    user_id: UserId
    client_id: str
    scope: frozenset[str] | None
    current: TokenId
    previous: TokenId | None
    generation: int
    device: Device
    created_at: datetime
    rotated_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime
    revoked_at: datetime | None
    revoke_reason: RevokeReason | None
    key_thumbprint: str | None = None

    @staticmethod
    def start(
        *,
        family_id: FamilyId,
        token_id: TokenId,
        user_id: UserId,
        client_id: str,
        scope: frozenset[str] | None,
        device: Device,
        now: datetime,
        policy: SessionPolicy,
        key_thumbprint: str | None = None,
    ) -> "RefreshTokenFamily":
        """Return the family of a login at `now`, with `token_id` as its live token."""
        return RefreshTokenFamily(
            id=family_id,
            user_id=user_id,
            client_id=client_id,
            scope=scope,
            current=token_id,
            previous=None,
            generation=0,
            device=device,
            created_at=now,
            rotated_at=now,
            expires_at=now + policy.idle_ttl,
            absolute_expires_at=now + policy.absolute_ttl,
            revoked_at=None,
            revoke_reason=None,
            key_thumbprint=key_thumbprint,
        )

    def is_live(self, now: datetime) -> bool:
        """Whether the family is neither revoked nor expired at `now`."""
        return self.revoked_at is None and now < self.expires_at

    def ended_at(self, now: datetime) -> datetime | None:
        """Return when the family ended, or None while it is live."""
        if self.revoked_at is not None:
            return min(self.revoked_at, self.expires_at)
        return self.expires_at if self.expires_at <= now else None

    def end_reason(self, now: datetime) -> RevokeReason | EndReason | None:
        """Return why the family ended, or None while it is live."""
        if self.revoked_at is not None and self.revoked_at < self.expires_at:
            return self.revoke_reason
        return EndReason.EXPIRED if self.expires_at <= now else None

    def rotated(
        self, successor: TokenId, now: datetime, policy: SessionPolicy, origin: Origin
    ) -> "RefreshTokenFamily":
        """Return the next generation, with `successor` as the live token.

        The idle expiry moves, the absolute expiry does not. The device keeps its name and takes
        on the address and user agent of `origin`.
        """
        return replace(
            self,
            current=successor,
            previous=self.current,
            generation=self.generation + 1,
            device=Device(self.device.name, origin.user_agent, origin.ip),
            rotated_at=now,
            expires_at=min(now + policy.idle_ttl, self.absolute_expires_at),
        )

    def live_refresh_claims(self) -> RefreshClaims:
        """Return the claims of the live refresh token.

        They follow from the row alone, so that a replay is handed the same token again.
        """
        return RefreshClaims(
            token_id=self.current,
            user_id=self.user_id,
            family_id=self.id,
            issued_at=self.rotated_at.replace(microsecond=0),
            expires_at=self.expires_at.replace(microsecond=0),
        )


@dataclass(frozen=True, slots=True)
class Rotate:
    """The live token was presented: hand out a successor."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The token before was presented inside the grace window: hand out the same successor again."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """A token that had its successor was presented again: somebody else holds a copy."""


class RefuseReason(StrEnum):
    """Why a refresh is refused; for the operator, never for the caller."""

    UNKNOWN = "unknown"
    WRONG_USER = "wrong_user"
    WRONG_CLIENT = "wrong_client"
    WRONG_KEY = "wrong_key"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Refuse:
    """The token is worth nothing (any more)."""

    reason: RefuseReason


Decision = Rotate | Replay | Reuse | Refuse


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A refresh token whose signature held, and the client that presents it.

    Attributes:
        key_thumbprint: the key that the client has proved to hold, None for no proof.
    """

    family_id: FamilyId
    user_id: UserId
    token_id: TokenId
    client_id: str
    key_thumbprint: str | None = None


def decide(
    family: RefreshTokenFamily | None,
    presented: PresentedToken,
    now: datetime,
    policy: SessionPolicy,
    *,
    unanswered: bool = False,
) -> Decision:
    """Say what a presented refresh token is worth (RFC 9700 §4.14.2, OWASP ASVS 5.0 V10.4.5).

    Args:
        family: the stored family that the token names, or None.
        presented: the token, its signature verified.
        now: aware UTC.
        policy: gives the grace window.
        unanswered: whether the live token is known to have been handed to nobody until less than
            the grace window ago.

    Returns:
        `Rotate` for the live token; `Replay` for the one before it while less than the grace
        window has passed since the rotation, or since the live one was first handed out; `Reuse`
        for any other token of a live family; `Refuse` for everything else.
    """
    if family is None or family.id != presented.family_id:
        return Refuse(RefuseReason.UNKNOWN)
    if family.user_id != presented.user_id:
        return Refuse(RefuseReason.WRONG_USER)
    if family.client_id != presented.client_id:
        return Refuse(RefuseReason.WRONG_CLIENT)
    # Before all that could end the session: a copy without the key does no harm either way.
    if family.key_thumbprint is not None and family.key_thumbprint != presented.key_thumbprint:
        return Refuse(RefuseReason.WRONG_KEY)
    if family.revoked_at is not None:
        return Refuse(RefuseReason.REVOKED)
    if not family.is_live(now):
        return Refuse(RefuseReason.EXPIRED)
    if presented.token_id == family.current:
        return Rotate()
    # Who was handed no successor can only come with the token that they have. A clock that was set
    # back must not hold the window open: distance counts, not order.
    if presented.token_id == family.previous and (
        unanswered or abs(now - family.rotated_at) < policy.grace
    ):
        return Replay()
    return Reuse()


def families_to_evict(
    families: list[RefreshTokenFamily], now: datetime, max_sessions: int
) -> list[RefreshTokenFamily]:
    """Return the live families that must end to make room for one more, least recently used."""
    live = sorted((f for f in families if f.is_live(now)), key=lambda f: (f.rotated_at, f.id))
    return live[: max(0, len(live) - max_sessions + 1)]
