"""Windows that a process decides by alone, and tells the others of about once a second."""

import time
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItem
from limits.aio.strategies import FixedWindowRateLimiter

from keyturn.adapters.limits.process_windows import ProcessWindows
from keyturn.adapters.limits.windows import Windows

NOTICEABLE: Final = 10
"""A window is written once a tenth of it is used: who comes now and then costs the store nothing,
and what a process keeps to itself is never more than a tenth."""

FEWEST_NOTICEABLE: Final = 2
"""One attempt says nothing of somebody who tries often."""


def noticeable(rate: RateLimitItem) -> int:
    """Return how many attempts in a window are worth a write; all of them where there are few."""
    return min(rate.amount, max(FEWEST_NOTICEABLE, -(-rate.amount // NOTICEABLE)))


@dataclass(slots=True)
class _Told:
    """What the store knows of a window of this process.

    Attributes:
        ends_at: which window; the next one of the same key ends at another time.
        count: attempts, those of others included.
        is_aligned: whether it ends no later than in the store.
    """

    ends_at: float
    count: int = 0
    is_aligned: bool = False


class WriteBehindLimiter(FixedWindowRateLimiter):
    """Decides by the windows of its own process; a store learns of them later, and tells it more.

    In `look_up` and `write` alone is there anything to wait for: between one test and the next hit
    nobody else comes in, so that one process never admits more than the rates allow.
    """

    def __init__(self, store: Windows) -> None:
        """Begin with what `store` holds, looked up window by window as they are asked for."""
        self._own = ProcessWindows()
        super().__init__(self._own)
        self._store = store
        self._began_at = time.time()
        self._told: dict[str, _Told] = {}

    async def look_up(self, rate: RateLimitItem, key: str) -> None:
        """Learn what was counted in a window before this process began.

        That has been forgotten when the window would have ended: from then on, and of a window
        that goes on here, nothing is read.
        """
        if time.time() >= self._began_at + rate.get_expiry():
            return
        key = rate.key_for(key)
        if self._goes_on(key):
            return
        count = await self._store.get(key)
        ends_at = await self._store.get_expiry(key) if count else time.time() + rate.get_expiry()
        # Another attempt may have looked at the same time, and have been counted since.
        if self._goes_on(key):
            return
        # One that holds nothing as well: it need not be looked up again.
        self._own.begin(key, count, ends_at)
        if count:
            self._told[key] = _Told(ends_at, count, is_aligned=True)

    async def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Count in a window of this process.

        Args:
            item: the rate.
            identifiers: of the window.
            cost: what is added.

        Returns:
            Whether the rate allows it.
        """
        key = item.key_for(*identifiers)
        count = await self._own.incr(key, item.get_expiry(), cost)
        if count >= noticeable(item):
            ends_at = self._own.expirations[key]
            told = self._told.get(key)
            if told is None or told.ends_at != ends_at:
                self._told[key] = _Told(ends_at)
        return count <= item.amount

    async def write(self) -> None:
        """Add to the store what was counted since the last time, and learn what others counted.

        What could not be added is added the next time, unless its window has ended by then. What
        was cancelled in the middle may be added twice: no limit becomes laxer by that.
        """
        now = time.time()
        for key in [key for key, told in self._told.items() if told.ends_at <= now]:
            del self._told[key]
        for key, told in list(self._told.items()):
            await self._write(key, told)

    async def _write(self, key: str, told: _Told) -> None:
        left = told.ends_at - time.time()
        if left <= 0 or not self._is(key, told):
            return
        unwritten = self._own.storage[key] - told.count
        if not unwritten:
            return
        # Where it is new to the store, it ends there as it does here.
        count = await self._store.incr(key, left, unwritten)
        told.count += unwritten
        # Behind the others: where there was no time for all of them, they are next.
        self._told[key] = self._told.pop(key)
        others = count - told.count
        # A store that was emptied meanwhile knows less than we do.
        if others > 0 and self._is(key, told):
            self._own.storage[key] += others
            told.count += others
        if told.is_aligned:
            return
        if count > unwritten:
            ends_at = await self._store.get_expiry(key)
            # Never later: who was told when to come back is let in then.
            if ends_at < told.ends_at and self._is(key, told):
                self._own.expirations[key] = told.ends_at = ends_at
        told.is_aligned = True

    def _goes_on(self, key: str) -> bool:
        return self._own.expirations.get(key, 0.0) > time.time()

    def _is(self, key: str, told: _Told) -> bool:
        return self._own.expirations.get(key) == told.ends_at
