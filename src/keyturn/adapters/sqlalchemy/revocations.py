"""The revocation list in SQL: rows that are only ever added, read from a cursor on."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    bindparam,
    cast,
    extract,
    func,
    insert,
    select,
)

from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite, Staging
from keyturn.adapters.sqlalchemy.deployment import longest_access_ttl
from keyturn.adapters.sqlalchemy.tables import revocations
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import MAX_CLOCK_SKEW, revoked_until
from keyturn.domain.revocation import Revocation, RevocationKind
from keyturn.ports.persistence import RevocationWriter
from keyturn.ports.revocations import RevocationList, RevocationPage

_row = revocations.c
_ENTRY = (_row.kind, _row.subject, _row.epoch, _row.expires_at)

_INSERT_ON_SQLITE = insert(revocations)
_INSERT_ON_POSTGRES = insert(revocations).values(
    transaction_id=cast(cast(func.pg_current_xact_id(), Text), BigInteger)
)

# One writer at a time: on SQLite the ids have the order of the commits.
_READ_ON_SQLITE = select(_row.id, *_ENTRY).where(_row.id > bindparam("after")).order_by(_row.id)
_KNOWN_ON_SQLITE = select(_row.id).where(_row.id >= bindparam("after")).limit(1)

# PostgreSQL: `horizon` is the oldest transaction that may still commit something which this very
# statement does not see. Reading on from there tells some entries twice and skips none.
_seen = select(
    cast(extract("epoch", func.pg_postmaster_start_time()) * 1_000_000, BigInteger).label("server"),
    cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger).label(
        "horizon"
    ),
).subquery()
_READ_ON_POSTGRES = select(_seen.c.server, _seen.c.horizon, *_ENTRY).select_from(
    _seen.outerjoin(revocations, _row.transaction_id >= bindparam("after", type_=BigInteger))
)

_SQLITE_CURSOR = re.compile(r"[0-9]{1,18}")
_POSTGRES_CURSOR = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")


def insert_revocations(connection: Connection, added: Sequence[Revocation]) -> None:
    """Append entries to the list, as a part of the transaction of `connection`."""
    on_postgres = connection.dialect.name == "postgresql"
    connection.execute(
        _INSERT_ON_POSTGRES if on_postgres else _INSERT_ON_SQLITE,
        [
            {
                "kind": revocation.kind.value,
                "subject": revocation.subject,
                "epoch": revocation.epoch,
                "expires_at": revocation.expires_at,
            }
            for revocation in added
        ],
    )


class SqlRevocationWriter(RevocationWriter):
    """The revocations that a unit of work adds to a `Database`."""

    def __init__(self, staging: Staging) -> None:
        """Note writes in `staging`."""
        self._staging = staging

    def add_token(self, token_id: TokenId, expires_at: datetime) -> None:
        """Stage the entry that kills one access token."""
        entry = Revocation.of_token(token_id, expires_at + MAX_CLOCK_SKEW)
        self._stage(lambda _: entry, is_single_statement=True)

    def add_session(self, family_id: FamilyId, at: datetime) -> None:
        """Stage the entry that kills every access token of a session."""
        self._stage(
            lambda connection: Revocation.of_session(
                family_id, revoked_until(at, longest_access_ttl(connection))
            ),
            is_single_statement=False,
        )

    def add_user(self, user_id: UserId, epoch: int, at: datetime) -> None:
        """Stage the entry that kills a user's access tokens of every epoch below `epoch`."""
        self._stage(
            lambda connection: Revocation.of_user(
                user_id, epoch, revoked_until(at, longest_access_ttl(connection))
            ),
            is_single_statement=False,
        )

    def _stage(
        self, make_entry: Callable[[Connection], Revocation], *, is_single_statement: bool
    ) -> None:
        staging = self._staging

        def apply(connection: Connection) -> None:
            entry = make_entry(connection)
            insert_revocations(connection, [entry])
            staging.revoked.append(entry)

        staging.may_revoke = True
        staging.writes.append(StagedWrite(apply, is_single_statement=is_single_statement))


class SqlRevocationList(RevocationList):
    """The revocations in a `Database`, for those who follow them; each look is one short read."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def read(self, after: str | None) -> RevocationPage:
        """Return what was added since, and all that is there for None."""
        if self._database.is_sqlite:
            known = _SQLITE_CURSOR.fullmatch(after or "")
            return await self._read_sqlite(int(known[0]) if known else 0)
        found = _POSTGRES_CURSOR.fullmatch(after or "")
        return await self._read_postgres(*map(int, found.groups() if found else (0, 0)))

    async def _read_sqlite(self, after: int) -> RevocationPage:
        rows = await self._database.fetch(_READ_ON_SQLITE, {"after": after})
        if (
            after
            and not rows
            and not await self._database.fetch(_KNOWN_ON_SQLITE, {"after": after})
        ):
            # Purged, or from before the file was replaced, which may use its numbers once more.
            after = 0
            rows = await self._database.fetch(_READ_ON_SQLITE, {"after": after})
        last = rows[-1][0] if rows else after
        return RevocationPage(tuple(_to_revocation(row[1:]) for row in rows), str(last))

    async def _read_postgres(self, server_before: int, position: int) -> RevocationPage:
        rows = await self._database.fetch(_READ_ON_POSTGRES, {"after": position})
        server, horizon = rows[0][:2]
        if position > 0 and (server != server_before or horizon < position):
            # A server that took over from another, or that was restored from a copy, may use the
            # numbers of transactions once more that the one before had used already.
            rows = await self._database.fetch(_READ_ON_POSTGRES, {"after": 0})
            server, horizon = rows[0][:2]
        entries = tuple(_to_revocation(row[2:]) for row in rows if row[2] is not None)
        return RevocationPage(entries, f"{server}/{horizon}")


def _to_revocation(row: SqlRow) -> Revocation:
    kind, subject, epoch, expires_at = row
    return Revocation(RevocationKind(kind), subject, epoch, expires_at)
