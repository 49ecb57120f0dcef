"""The operator, or a worker by itself, removes what no longer matters."""

from dataclasses import astuple
from datetime import timedelta

from keyturn.ports.persistence import Housekeeping, Purged
from keyturn.ports.system import Clock

BATCH = 1_000
"""Records of a kind that one short transaction removes."""


class PurgeExpired:
    """Removes what is expired or old for long enough, batch by batch."""

    def __init__(
        self,
        housekeeping: Housekeeping,
        clock: Clock,
        families_kept: timedelta,
        events_kept: timedelta,
        batch: int = BATCH,
    ) -> None:
        """Keep families for so long past their absolute expiry, and events since they happened."""
        self._housekeeping = housekeeping
        self._clock = clock
        self._families_kept = families_kept
        self._events_kept = events_kept
        self._batch = batch

    async def execute(self) -> Purged:
        """Remove everything that is due and return what was removed.

        Raises:
            StoreUnavailable: the store does not answer; what was removed until then stays removed.
        """
        now = self._clock.now()
        total = Purged()
        while True:
            purged = await self._housekeeping.purge(
                ended_before=now - self._families_kept,
                now=now,
                events_before=now - self._events_kept,
                batch=self._batch,
            )
            total = Purged(
                total.families + purged.families,
                total.revocations + purged.revocations,
                total.audit_events + purged.audit_events,
                total.one_time_tokens + purged.one_time_tokens,
                total.mails + purged.mails,
            )
            if max(astuple(purged)) < self._batch:
                return total
