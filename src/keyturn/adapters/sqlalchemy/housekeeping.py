"""Clearing up a SQL database, by one process at a time."""

from datetime import datetime

from sqlalchemy import ColumnElement, Delete, Table, bindparam, delete, select, text

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.tables import (
    UtcTimestamp,
    audit_events,
    leaders,
    mails,
    one_time_tokens,
    refresh_tokens,
    revocations,
)
from keyturn.ports.persistence import Housekeeping, Purged

_moment = bindparam("moment", type_=UtcTimestamp)


def _delete_batch(
    table: Table, due: ColumnElement[bool], oldest: ColumnElement[datetime]
) -> Delete:
    (key,) = table.primary_key
    # A common table expression is evaluated once; a sub-select with a limit need not be.
    batch = (
        select(key)
        .where(due)
        .order_by(oldest)
        .limit(bindparam("batch"))
        .with_for_update(skip_locked=True)
        .cte("due", nesting=True)
    )
    return delete(table).where(key.in_(select(batch)))


_FAMILIES = _delete_batch(
    refresh_tokens,
    refresh_tokens.c.absolute_expires_at < _moment,
    refresh_tokens.c.absolute_expires_at,
)
_REVOCATIONS = _delete_batch(
    revocations, revocations.c.expires_at <= _moment, revocations.c.expires_at
)
_EVENTS = _delete_batch(audit_events, audit_events.c.at < _moment, audit_events.c.at)
_ONE_TIME_TOKENS = _delete_batch(
    one_time_tokens, one_time_tokens.c.expires_at <= _moment, one_time_tokens.c.expires_at
)
_MAILS = _delete_batch(mails, mails.c.dead_at < _moment, mails.c.dead_at)

_LEAD = text(
    "INSERT INTO leaders (task, holder, until) VALUES (:task, :holder, :until)"
    " ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, until = excluded.until"
    " WHERE leaders.holder = excluded.holder OR leaders.until <= :now"
).bindparams(
    bindparam("now", type_=leaders.c.until.type), bindparam("until", type_=leaders.c.until.type)
)


class SqlHousekeeping(Housekeeping):
    """Clears up a `Database`, one short statement for each kind of record."""

    def __init__(self, database: Database) -> None:
        """Clear up `database`."""
        self._database = database

    async def purge(
        self, *, ended_before: datetime, now: datetime, events_before: datetime, batch: int
    ) -> Purged:
        """Remove at most `batch` records of each kind.

        What somebody else holds at the moment is left for the next time.
        """
        return Purged(
            families=await self._remove(_FAMILIES, ended_before, batch),
            revocations=await self._remove(_REVOCATIONS, now, batch),
            audit_events=await self._remove(_EVENTS, events_before, batch),
            one_time_tokens=await self._remove(_ONE_TIME_TOKENS, now, batch),
            mails=await self._remove(_MAILS, events_before, batch),
        )

    async def lead(self, task: str, holder: str, now: datetime, until: datetime) -> bool:
        """Return whether `holder` leads `task` until `until`."""
        parameters = {"task": task, "holder": holder, "now": now, "until": until}
        return await self._database.execute(_LEAD, parameters) == 1

    async def _remove(self, statement: Delete, moment: datetime, batch: int) -> int:
        return await self._database.execute(statement, {"moment": moment, "batch": batch})
