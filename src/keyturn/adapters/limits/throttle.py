"""How often somebody may try, counted in windows by the library limits."""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from limits import RateLimitItem, parse_many
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from keyturn.adapters.limits.process_windows import ProcessWindows
from keyturn.adapters.limits.windows import Windows
from keyturn.adapters.limits.write_behind import WriteBehindLimiter
from keyturn.domain.errors import StoreUnavailable, TooManyAttempts
from keyturn.domain.source import Source, counted_networks
from keyturn.ports.throttling import Throttle, ThrottledAction


class ThrottleFailure(Exception):
    """Why an attempt could not be counted, for the operator's log."""


def _parsed(text: str) -> tuple[RateLimitItem, ...]:
    if not text.strip():
        return ()
    try:
        rates = parse_many(text)
    except ValueError:
        raise ValueError(f"{text!r} is no rate such as 30/minute;300/hour") from None
    if any(rate.amount < 1 for rate in rates):
        raise ValueError(f"{text!r} lets nobody in: a rate is at least 1")
    return tuple(sorted(rates, key=RateLimitItem.get_expiry))


@dataclass(frozen=True, slots=True)
class Rates:
    """How often something may be tried.

    Attributes:
        per_source: what one source may, shortest window first; empty for as often as it likes.
        per_account: what may be tried for one account, from wherever.
    """

    per_source: tuple[RateLimitItem, ...] = ()
    per_account: tuple[RateLimitItem, ...] = ()

    @staticmethod
    def parse(per_source: str = "", per_account: str = "") -> "Rates":
        """Return rates from the notation of limits, such as `30/minute;300/hour`.

        Args:
            per_source: an empty text for as often as it likes.
            per_account: likewise.

        Raises:
            ValueError: a text is no such notation, or lets nobody in.
        """
        return Rates(_parsed(per_source), _parsed(per_account))


DEFAULT_RATES: Final[Mapping[ThrottledAction, Rates]] = MappingProxyType(
    {
        # What wrong passwords cost an account stands on its record: see `LoginPolicy`.
        ThrottledAction.LOGIN: Rates.parse("30/minute;300/hour"),
        ThrottledAction.REGISTER: Rates.parse("10/minute;60/hour", "5/hour"),
        # No longer than a link lives: who can ask for none has one that works.
        ThrottledAction.RESET: Rates.parse("10/minute;60/hour", "3/30minute"),
        ThrottledAction.VERIFY: Rates.parse("10/minute;60/hour", "5/hour"),
        ThrottledAction.REFRESH: Rates.parse("600/minute", "60/minute"),
        ThrottledAction.STRENGTH: Rates.parse("60/minute"),
        ThrottledAction.EXPORT: Rates.parse(per_account="5/hour"),
        ThrottledAction.NOTICE: Rates.parse(per_account="5/hour"),
        # Of each of these, one audit event: enough to see an attack, too few to hide in.
        ThrottledAction.REFUSAL: Rates.parse("20/minute;200/hour", "60/hour"),
    }
)

WRITTEN_BEHIND: Final = frozenset({ThrottledAction.REFRESH, ThrottledAction.STRENGTH})
"""What is so frequent, and costs so little, that counting each in the storage would be the larger
load: see `WriteBehindLimiter`."""


class LimitsThrottle(Throttle):
    """Counts in windows that begin with the first attempt and end by themselves.

    Who is refused uses up nothing, of no window: refused attempts don't lengthen the wait, and
    nobody can use up an account's attempts from a source that may not try any more. All windows of
    an attempt are checked and counted at once.
    """

    def __init__(
        self,
        storage: Windows,
        rates: Mapping[ThrottledAction, Rates] = DEFAULT_RATES,
        *,
        written_behind: frozenset[ThrottledAction] = WRITTEN_BEHIND,
    ) -> None:
        """Count in `storage`.

        Args:
            storage: `ProcessWindows`, `RedisWindows` or `SqlThrottleWindows`; the attempts of all
                processes that share it are counted together.
            rates: an action that is not named may be tried as often as anybody likes.
            written_behind: actions that each process counts for itself and adds to the storage
                at each `write`, unless the storage is nothing but its own memory.
        """
        self._rates = rates
        self._storage = storage
        self._later = WriteBehindLimiter(storage)
        self._written_behind = (
            frozenset() if isinstance(storage, ProcessWindows) else written_behind
        )

    async def admit(
        self, action: ThrottledAction, *, source: Source | None, account: str | None = None
    ) -> None:
        windows = self._windows(action, source, account)
        with _store_errors():
            if action in self._written_behind:
                await self._admit_here(windows)
                return
            wait = await self._storage.take(
                # A rate that is written twice is one window.
                list(
                    dict.fromkeys(
                        (rate.key_for(key), rate.get_expiry(), rate.amount) for rate, key in windows
                    )
                )
            )
        if wait is not None:
            raise TooManyAttempts(max(1, math.ceil(wait)))

    async def _admit_here(self, windows: "list[_Window]") -> None:
        # All of them first: nothing is waited for from the first test to the last hit.
        for window in windows:
            await self._later.look_up(*window)
        for window in windows:
            if not await self._later.test(*window):
                raise TooManyAttempts(await _seconds_until_free(self._later, windows))
        for window in windows:
            await self._later.hit(*window)

    async def write(self) -> None:
        """Exchange with the storage what is written behind; to be called about once a second.

        Raises:
            StoreUnavailable: the storage can't be reached; nothing that was counted is lost.
        """
        with _store_errors():
            await self._later.write()

    def _windows(
        self, action: ThrottledAction, source: Source | None, account: str | None
    ) -> "list[_Window]":
        rates = self._rates.get(action, Rates())
        windows = []
        if account is not None:
            key = f"{action}/account/{_digest(account)}"
            windows += [_Window(rate, key) for rate in rates.per_account]
        if source is not None:
            for network, factor in counted_networks(source):
                key = f"{action}/source/{_digest(network)}"
                windows += [_Window(_times(rate, factor), key) for rate in rates.per_source]
        return windows


@lru_cache(maxsize=256)
def _times(rate: RateLimitItem, factor: int) -> RateLimitItem:
    """Return a rate that allows `factor` times as many attempts in windows of the same length."""
    return type(rate)(rate.amount * factor, rate.multiples, rate.namespace)


class _Window(NamedTuple):
    rate: RateLimitItem
    key: str


async def _seconds_until_free(limiter: FixedWindowRateLimiter, windows: list[_Window]) -> int:
    free_at = 0.0
    for window in windows:
        stats = await limiter.get_window_stats(*window)
        if stats.remaining == 0:
            free_at = max(free_at, stats.reset_time)
    return max(1, math.ceil(free_at - time.time()))


def _digest(text: str) -> str:
    # Addresses belong neither into keys that an operator lists nor into another store's backups.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise StoreUnavailable from _failure(error.storage_error)
    except OSError as error:
        raise StoreUnavailable from _failure(error)


def _failure(error: Exception) -> ThrottleFailure:
    # What was sent, and may be quoted, holds digests alone.
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return ThrottleFailure(f"{kind}: {error}").with_traceback(error.__traceback__)
