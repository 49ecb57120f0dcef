"""What a throttle needs of the place where attempts are counted."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol


class Windows(Protocol):
    """Windows that begin with the first attempt, each under a key, and end by themselves.

    `ProcessWindows`, `RedisWindows` and `SqlThrottleWindows` have these methods.
    """

    @abstractmethod
    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count in a window of `expiry` seconds, which begins now if there is none."""

    @abstractmethod
    async def get(self, key: str) -> int:
        """Return what a window holds, 0 where there is none."""

    @abstractmethod
    async def get_expiry(self, key: str) -> float:
        """Return when a window ends, in seconds since 1970."""

    @abstractmethod
    async def take(self, windows: Sequence[tuple[str, float, int]]) -> float | None:
        """Count one attempt in all windows, or in none where one of them is full; atomic.

        Args:
            windows: of each its key, its length in seconds, and the attempts that it has.

        Returns:
            None if it was counted, otherwise the seconds until no window is full.
        """
