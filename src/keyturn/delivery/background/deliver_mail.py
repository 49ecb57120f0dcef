"""Every worker sends the mails that are due."""

import asyncio
import logging
from datetime import timedelta

from keyturn.delivery.background.repetition import Repetition, Sleep
from keyturn.domain.mail import QueuedMail
from keyturn.use_cases.deliver_mail import BATCH, CLAIMED_FOR, DeliverMail

PAUSE = timedelta(seconds=1)
"""Between one look at the queue and the next."""

GRACE = timedelta(seconds=5)
"""A worker that is told to stop may finish the batch in hand for so long."""


_log = logging.getLogger("keyturn.mail")


def log_failed_mail(mail: QueuedMail) -> None:
    """Tell the operator of a mail that could not be sent, and why, but not to whom."""
    outcome = "tried again later" if mail.dead_at is None else "given up: see keyturn outbox"
    _log.warning("mail %s (%s) is %s: %s", mail.id, mail.kind, outcome, mail.failure)


class DeliverMailRegularly:
    """Looks for mails every second, and at once again while there are more than a batch."""

    def __init__(
        self, deliver_mail: DeliverMail, sleep: Sleep = asyncio.sleep, grace: timedelta = GRACE
    ) -> None:
        """Send by `deliver_mail`."""
        self._deliver_mail = deliver_mail
        self._sleep = sleep
        self._grace = grace.total_seconds()
        self._more_are_due = False
        self._repetition = Repetition(
            "sending mails",
            self._deliver,
            pause=PAUSE,
            # From then on another worker may claim the same mails.
            timeout=CLAIMED_FOR,
        )

    async def forever(self) -> None:
        """Send again and again, until cancelled."""
        while True:
            await self._once()
            if not self._more_are_due:
                await self._sleep(PAUSE.total_seconds())

    async def _once(self) -> None:
        batch = asyncio.ensure_future(self._repetition.once())
        try:
            await asyncio.shield(batch)
        except asyncio.CancelledError:
            # A mail that was handed over and not yet removed from the queue would be sent twice.
            await asyncio.wait([batch], timeout=self._grace)
            batch.cancel()
            await asyncio.gather(batch, return_exceptions=True)
            raise

    async def _deliver(self) -> None:
        self._more_are_due = False
        self._more_are_due = await self._deliver_mail.execute() == BATCH
