"""One of the workers removes what is over and erases who is due, every hour."""

import asyncio
import logging
from datetime import timedelta

from keyturn.delivery.background.repetition import Repetition, Sleep
from keyturn.ports.persistence import Housekeeping
from keyturn.ports.system import Clock
from keyturn.use_cases.erase_due_users import EraseDueUsers
from keyturn.use_cases.purge_expired import PurgeExpired

INTERVAL = timedelta(hours=1)
"""How often it is purged; the one who purges leads for as long."""

_TASK = "purge"
_TIMEOUT = timedelta(minutes=30)

_log = logging.getLogger("keyturn.background")


class PurgeRegularly:
    """Purges every hour, unless another worker does."""

    def __init__(
        self,
        purge_expired: PurgeExpired,
        erase_due_users: EraseDueUsers,
        housekeeping: Housekeeping,
        clock: Clock,
        holder: str,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Purge under the name `holder`, which no other process has."""
        self._purge_expired = purge_expired
        self._erase_due_users = erase_due_users
        self._housekeeping = housekeeping
        self._clock = clock
        self._holder = holder
        self._repetition = Repetition(
            "purging", self._purge_if_leading, pause=INTERVAL, timeout=_TIMEOUT, sleep=sleep
        )

    async def forever(self) -> None:
        """Purge now and then again and again, until cancelled."""
        await self._repetition.once()
        await self._repetition.forever()

    async def _purge_if_leading(self) -> None:
        now = self._clock.now()
        if not await self._housekeeping.lead(_TASK, self._holder, now, now + INTERVAL):
            return
        erased = await self._erase_due_users.execute()
        purged = await self._purge_expired.execute()
        _log.info(
            "erased %d users; purged %d sessions, %d revocations, %d audit events, "
            "%d links of mails and %d dead mails",
            erased,
            purged.families,
            purged.revocations,
            purged.audit_events,
            purged.one_time_tokens,
            purged.mails,
        )
