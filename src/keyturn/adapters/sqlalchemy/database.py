"""A connection pool, and what is done with it: read, commit, ping."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, Executable, literal, select

from keyturn.adapters.sqlalchemy.engine import sqlite_file
from keyturn.adapters.sqlalchemy.failures import DomainErrors
from keyturn.adapters.sqlalchemy.prepared import Parameters, Prepared
from keyturn.domain.errors import KeyturnError
from keyturn.domain.revocation import Revocation

if TYPE_CHECKING:
    from keyturn.adapters.sqlalchemy.postgres import PostgresStore
    from keyturn.adapters.sqlalchemy.sqlite import SqliteStore

STATEMENT_TIMEOUT = 5.0
"""Seconds that a statement may take, its wait for locks included."""

_PING = select(literal(1))

T = TypeVar("T")

SqlRow = Sequence[Any]
"""The values of one row, in the order of the columns; no driver says of what type."""


@dataclass(frozen=True, slots=True)
class Swap:
    """An update of one row that takes place only if the row is what it was based on.

    Args:
        update: the statement.
        parameters: its values.
        stale: raised where it changes no row.
    """

    update: Prepared
    parameters: Parameters
    stale: type[KeyturnError]

    def check(self, changed: int) -> None:
        """Raise `stale` unless one row was changed."""
        if changed != 1:
            raise self.stale

    def apply(self, connection: Connection) -> None:
        """Execute it as one of several statements."""
        self.check(connection.execute(self.update.statement, self.parameters).rowcount)


@dataclass(frozen=True, slots=True)
class StagedWrite:
    """A change that waits for the commit.

    Args:
        apply: executes it; raises `StaleUser` or `StaleFamily` if what is stored is not what it
            was based on.
        is_single_statement: whether it is atomic without a transaction around it.
        swap: the same where it is all that there is to commit, as at each rotation.
    """

    apply: Callable[[Connection], None]
    is_single_statement: bool
    swap: Swap | None = None


@dataclass(slots=True)
class Staging:
    """What a unit of work notes until its commit.

    Attributes:
        locks: what is to be held before anything is changed, so that two commits that want the
            same rows in another order don't wait for each other for ever.
        writes: in the order staged.
        checks: of what the writes have led to.
        may_revoke: whether a write can put anything into `revoked`.
        revoked: filled while the writes are applied.
    """

    locks: list[StagedWrite] = field(default_factory=list)
    writes: list[StagedWrite] = field(default_factory=list)
    checks: list[StagedWrite] = field(default_factory=list)
    may_revoke: bool = False
    revoked: list[Revocation] = field(default_factory=list)

    def clear(self) -> None:
        """Forget it all."""
        self.may_revoke = False
        for noted in (self.locks, self.writes, self.checks, self.revoked):
            noted.clear()


class Database:
    """One SQLite file or PostgreSQL database; one object serves all units of work of a loop.

    Every method raises `StoreUnavailable` when the database does not answer in time.
    """

    def __init__(self, url: str, *, pool_size: int = 10, pool_timeout: float = 2.0) -> None:
        """Open nothing before it is needed.

        Args:
            url: `sqlite:///path/to/file` or `postgresql://user:password@host:port/name`.
            pool_size: connections to PostgreSQL at most.
            pool_timeout: seconds to wait for one of them, or for the turn to write to SQLite.

        Raises:
            ValueError: the URL is of neither kind.
        """
        file = sqlite_file(url)
        self._store: SqliteStore | PostgresStore
        # Each loads its driver and its dialect: nobody needs both.
        if file is not None:
            from keyturn.adapters.sqlalchemy import sqlite  # noqa: PLC0415

            self._store = sqlite.SqliteStore(
                sqlite.create_sqlite_engine(file, busy_timeout=STATEMENT_TIMEOUT),
                busy_timeout=STATEMENT_TIMEOUT,
                patience=pool_timeout,
            )
        else:
            from keyturn.adapters.sqlalchemy import postgres  # noqa: PLC0415

            self._engine = postgres.create_postgres_engine(url, statement_timeout=STATEMENT_TIMEOUT)
            self._store = postgres.PostgresStore(
                self._engine, size=pool_size, patience=pool_timeout
            )
        self._domain_errors = DomainErrors(self._store.driver_errors)
        self.is_sqlite: Final = file is not None
        """Whether this is a SQLite file, which has one writer at a time."""

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[SqlRow]:
        """Return the rows of a query, read as of one moment."""
        return await self.read(lambda connection: connection.execute(statement, parameters).all())

    async def look_up(self, query: Prepared, parameters: Parameters) -> Sequence[SqlRow]:
        """Return the rows of a prepared query, read as of one moment."""
        with self._domain_errors:
            return await self._store.look_up(query, parameters)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` reads; it may be called twice."""
        with self._domain_errors:
            return await self._store.read(function)

    async def commit(
        self,
        writes: Sequence[StagedWrite],
        before_commit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Apply the writes in their order, or none of them.

        Args:
            writes: what to apply.
            before_commit: awaited when all are applied, and nothing but the database's own
                commit can still fail.

        Raises:
            StaleUser, StaleFamily, EmailTaken, LastAdministrator, RoleNotFound: as
                `UnitOfWork.commit`.
        """
        if not writes:
            return
        first = writes[0]
        with self._domain_errors:
            if len(writes) > 1 or before_commit is not None or not first.is_single_statement:
                await self._store.transact(
                    lambda connection: _apply(writes, connection), before_commit
                )
            elif first.swap is not None:
                first.swap.check(await self._store.change(first.swap.update, first.swap.parameters))
            else:
                await self._store.execute(first.apply)

    async def execute(self, statement: Executable, parameters: Parameters) -> int:
        """Execute one statement that changes rows, and return how many it changed."""

        def execute(connection: Connection) -> int:
            return connection.execute(statement, parameters).rowcount

        with self._domain_errors:
            return await self._store.execute(execute)

    async def ping(self) -> None:
        """Return if the database answers."""
        await self.fetch(_PING, {})

    async def dispose(self) -> None:
        """Close all connections."""
        await self._store.dispose()


def _apply(writes: Sequence[StagedWrite], connection: Connection) -> None:
    for write in writes:
        write.apply(connection)
