"""Access tokens that must die before they expire."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from keyturn.domain.claims import AccessClaims
from keyturn.domain.ids import FamilyId, TokenId, UserId


class RevocationKind(StrEnum):
    """Which access tokens an entry kills; named after the claim that it looks at."""

    TOKEN = "jti"
    SESSION = "sid"
    USER = "sub"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry of the revocation list.

    Attributes:
        subject: the token's, the session's or the user's id.
        epoch: for a user, tokens of an epoch below this are dead; 0 otherwise.
        expires_at: aware UTC; by then every token that it kills has expired by itself.
    """

    kind: RevocationKind
    subject: UUID
    epoch: int
    expires_at: datetime

    @staticmethod
    def of_token(token_id: TokenId, expires_at: datetime) -> "Revocation":
        """Return the entry that kills one access token."""
        return Revocation(RevocationKind.TOKEN, token_id, 0, expires_at)

    @staticmethod
    def of_session(family_id: FamilyId, expires_at: datetime) -> "Revocation":
        """Return the entry that kills every access token of a session."""
        return Revocation(RevocationKind.SESSION, family_id, 0, expires_at)

    @staticmethod
    def of_user(user_id: UserId, epoch: int, expires_at: datetime) -> "Revocation":
        """Return the entry that kills a user's access tokens of every epoch below `epoch`."""
        return Revocation(RevocationKind.USER, user_id, epoch, expires_at)


class RevocationSet:
    """The entries that still matter, looked up without any I/O.

    Adding is idempotent and in any order: of two entries for one subject the one that kills more
    and the one that lives longer both count.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        """Start empty."""
        self._entries: dict[tuple[RevocationKind, UUID], Revocation] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Take on entries."""
        for new in revocations:
            key = (new.kind, new.subject)
            known = self._entries.get(key, new)
            self._entries[key] = Revocation(
                new.kind,
                new.subject,
                max(known.epoch, new.epoch),
                max(known.expires_at, new.expires_at),
            )

    def kills(self, claims: AccessClaims) -> bool:
        """Return whether any entry kills the token of these claims."""
        entries = self._entries
        if not entries:
            return False
        if (RevocationKind.SESSION, claims.family_id) in entries:
            return True
        if (RevocationKind.TOKEN, claims.token_id) in entries:
            return True
        user = entries.get((RevocationKind.USER, claims.user_id))
        return user is not None and claims.epoch < user.epoch

    def forget_expired(self, now: datetime) -> None:
        """Drop the entries that can no longer matter."""
        self._entries = {
            key: entry for key, entry in self._entries.items() if entry.expires_at > now
        }
