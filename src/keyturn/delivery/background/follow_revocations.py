"""Every worker keeps up with what the others revoke."""

import asyncio
from datetime import timedelta

from keyturn.delivery.background.repetition import Repetition, Sleep
from keyturn.domain.errors import RevocationsUnknown
from keyturn.use_cases.revocation_replica import RevocationReplica

_LOOK_TIMEOUT = timedelta(seconds=5)
"""After this, a look at the list counts as failed: one that hangs must not be waited for."""


class FollowRevocations:
    """Looks at the revocation list often enough that the copy is never older than the lag."""

    def __init__(
        self,
        replica: RevocationReplica,
        lag: timedelta,
        max_staleness: timedelta,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Keep `replica` at most `lag` behind; it is not ready once `max_staleness` behind."""
        self._replica = replica
        self._max_staleness = max_staleness
        # Half of the lag for the pause leaves the other half for the look itself.
        self._repetition = Repetition(
            "following the revocation list",
            replica.follow,
            pause=lag / 2,
            timeout=_LOOK_TIMEOUT,
            sleep=sleep,
        )

    async def once(self) -> None:
        """Look once; a failure is logged and not raised."""
        await self._repetition.once()

    async def forever(self) -> None:
        """Look again and again, until cancelled."""
        await self._repetition.forever()

    async def check(self) -> None:
        """Return if the copy is young enough to be trusted.

        Raises:
            RevocationsUnknown: it is not, and every access token is answered with a 503.
        """
        age = self._replica.age()
        if age is None or abs(age) > self._max_staleness:
            raise RevocationsUnknown
