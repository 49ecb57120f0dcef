"""A task that goes on whatever happens, and says once what keeps it from its work."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""

_log = logging.getLogger("keyturn.background")


class Repetition:
    """Does one thing again and again, with the same pause after each time."""

    def __init__(
        self,
        name: str,
        act: Callable[[], Awaitable[None]],
        *,
        pause: timedelta,
        timeout: timedelta,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Do `act`.

        Args:
            name: what the log calls it.
            act: what is done.
            pause: between the end of one time and the begin of the next.
            timeout: what takes longer counts as failed, and is tried again.
            sleep: how the pause is waited for.
        """
        self._name = name
        self._act = act
        self._pause = pause.total_seconds()
        self._timeout = timeout.total_seconds()
        self._sleep = sleep
        self._fails = False

    async def once(self) -> None:
        """Do it once; a failure is logged if the time before was none, and so is its end."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next time may go well
            if not self._fails:
                _log.warning(
                    "%s fails, and is tried again until it works: %s",
                    self._name,
                    type(error).__name__,
                    exc_info=error,
                )
            self._fails = True
            return
        if self._fails:
            _log.warning("%s works again", self._name)
        self._fails = False

    async def forever(self) -> None:
        """Pause and do it, until cancelled."""
        while True:
            await self._sleep(self._pause)
            await self.once()
