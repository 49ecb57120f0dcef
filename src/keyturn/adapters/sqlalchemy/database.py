"""A connection pool, and what is done with it: read, commit, ping."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, literal, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from keyturn.adapters.sqlalchemy.engine import create_engine, transactional
from keyturn.adapters.sqlalchemy.failures import domain_errors
from keyturn.domain.revocation import Revocation

STATEMENT_TIMEOUT = 5.0
"""Seconds that a statement may take, its wait for locks included."""

_PING = select(literal(1))

T = TypeVar("T")

Parameters = Mapping[str, object]
"""Values for a statement, by the names that it gives them."""

SqlRow = Sequence[Any]
"""The values of one row, in the order of the columns; no driver says of what type."""


@dataclass(frozen=True, slots=True)
class StagedWrite:
    """A change that waits for the commit.

    Args:
        apply: executes it; raises `StaleUser` or `StaleFamily` if what is stored is not what it
            was based on.
        is_single_statement: whether it is atomic without a transaction around it.
    """

    apply: Callable[[Connection], None]
    is_single_statement: bool


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
        """Keep at most `pool_size` connections; the first is opened when it is needed.

        Args:
            url: `sqlite:///path/to/file` or `postgresql://user:password@host:port/name`.
            pool_size: connections at most.
            pool_timeout: seconds to wait for one of them, or for the turn to write to SQLite.

        Raises:
            ValueError: the URL is of neither kind.
        """
        self._engine = create_engine(
            url,
            pool_size=pool_size,
            pool_timeout=pool_timeout,
            statement_timeout=STATEMENT_TIMEOUT,
        )
        self._autocommitting = self._engine.sync_engine
        self._transactional = transactional(self._engine).sync_engine
        self._turn_timeout = pool_timeout
        # SQLite has one writer at a time, and who waits for it inside SQLite polls.
        self._write_turn = asyncio.Lock() if self._engine.dialect.name == "sqlite" else None

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file, which has one writer at a time."""
        return self._write_turn is not None

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[SqlRow]:
        """Return the rows of a query, read as of one moment."""
        return await self.read(lambda connection: connection.execute(statement, parameters).all())

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` reads; it may be called twice."""
        with domain_errors():
            try:
                return await greenlet_spawn(self._autocommit, function)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # The server had closed idle connections, by a restart for example. They have all
                # been thrown away by now, so that this opens a new one.
                return await greenlet_spawn(self._autocommit, function)

    async def commit(self, writes: Sequence[StagedWrite]) -> None:
        """Apply the writes in their order, or none of them.

        Raises:
            StaleUser, StaleFamily, EmailTaken, LastAdministrator, RoleNotFound: as
                `UnitOfWork.commit`.
        """
        if not writes:
            return
        with domain_errors():
            async with self._turn_to_write():
                if len(writes) == 1 and writes[0].is_single_statement:
                    await greenlet_spawn(self._autocommit, writes[0].apply)
                else:
                    await greenlet_spawn(self._transact, writes)

    async def execute(self, statement: Executable, parameters: Parameters) -> int:
        """Execute one statement that changes rows, and return how many it changed."""

        def execute(connection: Connection) -> int:
            return connection.execute(statement, parameters).rowcount

        with domain_errors():
            async with self._turn_to_write():
                return await greenlet_spawn(self._autocommit, execute)

    async def ping(self) -> None:
        """Return if the database answers."""
        await self.fetch(_PING, {})

    async def dispose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    # What follows runs in one greenlet from the pool and back to it. SQLAlchemy's asyncio classes
    # start one for each step, which costs a read half as much again.

    def _autocommit(self, function: Callable[[Connection], T]) -> T:
        with self._autocommitting.connect() as connection:
            return function(connection)

    def _transact(self, writes: Sequence[StagedWrite]) -> None:
        with self._transactional.begin() as connection:
            for write in writes:
                write.apply(connection)

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        if self._write_turn is None:
            yield
            return
        async with asyncio.timeout(self._turn_timeout):
            await self._write_turn.acquire()
        try:
            yield
        finally:
            self._write_turn.release()
