"""Windows of attempts in SQL, for those who have no Redis."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from limits.aio.storage import Storage
from sqlalchemy import Connection, bindparam, delete, select, text

from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite
from keyturn.adapters.sqlalchemy.tables import throttle_windows

HITS_BETWEEN_PURGES: Final = 200
"""A hit adds one row at most and a purge removes more than these: what is over can't pile up."""

PURGED_AT_ONCE: Final = 1000

_row = throttle_windows.c
_now = bindparam("now", type_=_row.expires_at.type)

_HIT = text(
    "INSERT INTO throttle_windows (key, count, expires_at) VALUES (:key, :amount, :expires_at)"
    " ON CONFLICT (key) DO UPDATE SET"
    " count = excluded.count + CASE WHEN throttle_windows.expires_at <= :now"
    " THEN 0 ELSE throttle_windows.count END,"
    " expires_at = CASE WHEN throttle_windows.expires_at <= :now"
    " THEN excluded.expires_at ELSE throttle_windows.expires_at END"
    " RETURNING count"
).bindparams(_now, bindparam("expires_at", type_=_row.expires_at.type))

_READ = select(_row.count, _row.expires_at).where(
    _row.key == bindparam("key"), _row.expires_at > _now
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
        self._hits += 1
        if self._hits % HITS_BETWEEN_PURGES == 0:
            await self._database.execute(_PURGE, {"now": _moment(time.time())})
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

    async def _read(self, key: str) -> Sequence[SqlRow]:
        return await self._database.fetch(_READ, {"key": key, "now": _moment(time.time())})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
