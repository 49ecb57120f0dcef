"""Windows in the memory of one process."""

import time
from collections.abc import Sequence
from typing import Final

from limits.aio.storage import MemoryStorage

FEWEST_BEFORE_CLEARING: Final = 1000
"""Windows; with fewer, nothing is cleared."""


class ProcessWindows(MemoryStorage):
    """The library's own, but for when it clears up.

    That looks at every window whenever one is counted in: ten thousand of them, which one client
    with many addresses can make, would cost each attempt 2 ms of the event loop. This looks when
    their number has doubled.
    """

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__(wrap_exceptions=True)
        self._clears_at = FEWEST_BEFORE_CLEARING

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count in a window, which begins now if there is none.

        Args:
            key: of the window.
            expiry: seconds that a window lasts.
            amount: what is added.

        Returns:
            What it then holds.
        """
        now = time.time()
        if self.expirations.get(key, 0.0) <= now:
            self.begin(key, 0, now + expiry)
        self.storage[key] += amount
        return self.storage[key]

    async def take(self, windows: Sequence[tuple[str, float, int]]) -> float | None:
        """Count one attempt in all windows, or in none where one of them is full.

        Args:
            windows: of each its key, its length in seconds, and the attempts that it has.

        Returns:
            None if it was counted, otherwise the seconds until no window is full.
        """
        now = time.time()
        full = [
            self.expirations[key] - now
            for key, _, most in windows
            if self.expirations.get(key, 0.0) > now and self.storage[key] >= most
        ]
        if full:
            return max(full)
        for key, expiry, _ in windows:
            await self.incr(key, expiry)
        return None

    def begin(self, key: str, count: int, ends_at: float) -> None:
        """Make a window, in place of one that has ended.

        Args:
            key: of the window.
            count: what it holds.
            ends_at: in seconds since 1970.
        """
        if len(self.expirations) >= self._clears_at:
            self._clear_ended()
        self.storage[key] = count
        self.expirations[key] = ends_at

    def _clear_ended(self) -> None:
        now = time.time()
        for key in [key for key, end in self.expirations.items() if end <= now]:
            del self.expirations[key]
            del self.storage[key]
        self._clears_at = max(FEWEST_BEFORE_CLEARING, 2 * len(self.expirations))
