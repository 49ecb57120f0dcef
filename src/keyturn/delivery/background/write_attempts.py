"""Every worker tells the others, about once a second, what it has counted by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from keyturn.delivery.background.repetition import Repetition, Sleep

PAUSE = timedelta(seconds=1)
"""Between one time and the next."""

_TIMEOUT = timedelta(seconds=5)
"""After this, a time counts as failed: one that hangs must not be waited for."""


class WriteAttemptsRegularly:
    """Writes every second, and once more when it is told to stop."""

    def __init__(self, write: Callable[[], Awaitable[None]], sleep: Sleep = asyncio.sleep) -> None:
        """Write by `write`."""
        self._sleep = sleep
        self._repetition = Repetition(
            "writing counts of attempts", write, pause=PAUSE, timeout=_TIMEOUT
        )

    async def forever(self) -> None:
        """Write again and again, until cancelled."""
        writing = None
        try:
            while True:
                await self._sleep(PAUSE.total_seconds())
                writing = asyncio.ensure_future(self._repetition.once())
                # What is cancelled in the middle would be written twice.
                await asyncio.shield(writing)
        finally:
            if writing is not None:
                await writing
            await self._repetition.once()
