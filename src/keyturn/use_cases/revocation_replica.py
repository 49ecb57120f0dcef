"""This process's copy of the revocation list, so that verifying a token needs no I/O."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from keyturn.domain.claims import AccessClaims
from keyturn.domain.errors import InvalidAccessToken, RevocationsUnknown
from keyturn.domain.revocation import Revocation, RevocationSet
from keyturn.ports.revocations import RevocationList
from keyturn.ports.system import Clock


class RevocationReplica:
    """Follows the revocation list, answers from memory, fails closed when it has lost touch."""

    def __init__(
        self, revocations: RevocationList, clock: Clock, max_staleness: timedelta | None
    ) -> None:
        """Follow `revocations`; after `max_staleness` without a successful look, fail closed.

        None fails open: a token is good unless it is known to be revoked, however old the copy is.
        """
        self._list = revocations
        self._clock = clock
        self._max_staleness = max_staleness
        self._entries = RevocationSet()
        self._cursor: str | None = None
        self._followed_at: datetime | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def apply(self, revocations: Sequence[Revocation]) -> None:
        """Take on what this process has revoked itself, at once."""
        self._entries.add(revocations)

    async def follow(self) -> None:
        """Look once at what others have revoked.

        Raises:
            StoreUnavailable: the list can't be read; the copy grows older.
        """
        # What is true of the list when the look begins is known when it ends.
        began = self._clock.now()
        page = await self._list.read(None if self._was_ahead(began) else self._cursor)
        self._entries.add(page.revocations)
        self._entries.forget_expired(began)
        self._cursor = page.cursor
        self._followed_at = began

    def _was_ahead(self, now: datetime) -> bool:
        # By a clock that has been set back since, entries were dropped that still matter: all of
        # the list is read again.
        return self._followed_at is not None and now < self._followed_at

    def age(self) -> timedelta | None:
        """Return how old the copy is, None before the first successful look."""
        return None if self._followed_at is None else self._clock.now() - self._followed_at

    def check(self, claims: AccessClaims, now: datetime) -> None:
        """Return if the token of these claims is not revoked.

        Raises:
            InvalidAccessToken: it is revoked, which is certain however old the copy is.
            RevocationsUnknown: the copy is too old to tell.
        """
        if self._entries.kills(claims):
            raise InvalidAccessToken
        if self._max_staleness is None:
            return
        # A clock that was set back makes the copy neither young nor old: distance counts.
        if self._followed_at is None or abs(now - self._followed_at) > self._max_staleness:
            raise RevocationsUnknown
