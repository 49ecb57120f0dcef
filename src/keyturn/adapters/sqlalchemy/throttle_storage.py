"""Windows of attempts in SQL, for those who have no Redis."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from limits.aio.storage import Storage
from sqlalchemy import Connection, TextClause, bindparam, delete, select, text

from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite
from keyturn.adapters.sqlalchemy.tables import throttle_windows
from keyturn.domain.errors import TooManyAttempts

HITS_BETWEEN_PURGES: Final = 200
"""A hit adds one row at most and a purge removes more than these: what is over can't pile up."""

PURGED_AT_ONCE: Final = 1000

_row = throttle_windows.c
_now = bindparam("now", type_=_row.expires_at.type)

_COUNT = (
    " ON CONFLICT (key) DO UPDATE SET"
    " count = excluded.count + CASE WHEN throttle_windows.expires_at <= :now"
    " THEN 0 ELSE throttle_windows.count END,"
    " expires_at = CASE WHEN throttle_windows.expires_at <= :now"
    " THEN excluded.expires_at ELSE throttle_windows.expires_at END"
)
_HIT = text(
    "INSERT INTO throttle_windows (key, count, expires_at) VALUES (:key, :amount, :expires_at)"  # noqa: S608 - every value is bound
    f"{_COUNT} RETURNING count"
).bindparams(_now, bindparam("expires_at", type_=_row.expires_at.type))


@lru_cache(maxsize=64)
def _hit_all(number: int) -> TextClause:
    """Return the statement that counts one attempt in so many windows."""
    rows = ", ".join(f"(:key_{i}, 1, :expires_at_{i})" for i in range(number))
    moments = [bindparam(f"expires_at_{i}", type_=_row.expires_at.type) for i in range(number)]
    return text(
        f"INSERT INTO throttle_windows (key, count, expires_at) VALUES {rows}"  # noqa: S608 - likewise
        f"{_COUNT} RETURNING key, count"
    ).bindparams(_now, *moments)


_READ = select(_row.count, _row.expires_at).where(
    _row.key == bindparam("key"), _row.expires_at > _now
)
_READ_ALL = select(_row.key, _row.count, _row.expires_at).where(
    _row.key.in_(bindparam("keys", expanding=True)), _row.expires_at > _now
)

_ended = (
    select(_row.key)
    .where(_row.expires_at <= _now)
    .limit(PURGED_AT_ONCE)
    .with_for_update(skip_locked=True)
    .cte("ended", nesting=True)
)
_PURGE = delete(throttle_windows).where(_row.key.in_(select(_ended.c.key)))


class SqlThrottleWindows(Storage):
    """What the library limits counts with, in a `Database`: one short statement for each step.

    All processes on the database share the windows, which survive a restart. A database that does
    not answer raises `StoreUnavailable`.
    """

    def __init__(self, database: Database) -> None:
        """Count in `database`."""
        super().__init__()
        self._database = database
        self._hits = 0

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Return nothing: `Database` says itself what its errors mean."""
        return ()

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count in a window, which begins now if there is none.

        Args:
            key: of the window.
            expiry: seconds that a window lasts.
            amount: what is added.

        Returns:
            What it then holds.
        """
        await self._purge_now_and_then(1)
        now = time.time()
        parameters = {
            "key": key,
            "amount": amount,
            "now": _moment(now),
            "expires_at": _moment(now + expiry),
        }
        counted = []

        def hit(connection: Connection) -> None:
            counted.append(connection.execute(_HIT, parameters).scalar_one())

        await self._database.commit([StagedWrite(hit, is_single_statement=True)])
        return int(counted[0])

    async def take(self, windows: Sequence[tuple[str, float, int]]) -> float | None:
        """Count one attempt in all windows, or in none where one of them is full.

        Args:
            windows: of each its key, its length in seconds, and the attempts that it has.

        Returns:
            None if it was counted, otherwise the seconds until no window is full.
        """
        if not windows:
            return None
        most = {key: amount for key, _, amount in windows}
        # Read first: a flood of refused attempts must not write. The write decides.
        wait = await self._wait(most)
        if wait is not None:
            return wait
        await self._purge_now_and_then(len(windows))
        now = time.time()
        parameters: dict[str, object] = {"now": _moment(now)}
        # In one order for all: of two attempts that count in the same windows, none waits for a
        # row that the other has locked while the other waits for one of its own.
        for i, (key, expiry, _) in enumerate(sorted(windows)):
            parameters |= {f"key_{i}": key, f"expires_at_{i}": _moment(now + expiry)}

        def hit(connection: Connection) -> None:
            counted = connection.execute(_hit_all(len(windows)), parameters).all()
            if any(count > most[key] for key, count in counted):
                # Rolls back what was counted in the others.
                raise TooManyAttempts(1)

        try:
            await self._database.commit([StagedWrite(hit, is_single_statement=False)])
        except TooManyAttempts:
            # A window that has ended meanwhile is free at once.
            return await self._wait(most) or 0.0
        return None

    async def get(self, key: str) -> int:
        """Return what a window holds, 0 where there is none."""
        rows = await self._read(key)
        return int(rows[0][0]) if rows else 0

    async def get_expiry(self, key: str) -> float:
        """Return when a window ends, in seconds since 1970; now where there is none."""
        rows = await self._read(key)
        return float(rows[0][1].timestamp()) if rows else time.time()

    async def check(self) -> bool:
        """Return True if the database answers."""
        await self._database.ping()
        return True

    async def reset(self) -> int:
        """Forget every attempt, and return how many windows there were."""
        return await self._database.execute(delete(throttle_windows), {})

    async def clear(self, key: str) -> None:
        """Forget the attempts of one window."""
        await self._database.execute(
            delete(throttle_windows).where(_row.key == bindparam("key")), {"key": key}
        )

    async def _wait(self, most: Mapping[str, int]) -> float | None:
        now = time.time()
        rows = await self._database.fetch(_READ_ALL, {"keys": list(most), "now": _moment(now)})
        return max(
            (ends_at.timestamp() - now for key, count, ends_at in rows if count >= most[key]),
            default=None,
        )

    async def _purge_now_and_then(self, hits: int) -> None:
        before = self._hits
        self._hits += hits
        if self._hits // HITS_BETWEEN_PURGES > before // HITS_BETWEEN_PURGES:
            await self._database.execute(_PURGE, {"now": _moment(time.time())})

    async def _read(self, key: str) -> Sequence[SqlRow]:
        return await self._database.fetch(_READ, {"key": key, "now": _moment(time.time())})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
