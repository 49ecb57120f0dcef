"""A PostgreSQL server, over connections that are kept."""

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from asyncpg import InterfaceError, InternalClientError, PostgresConnectionError, PostgresError
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from keyturn.adapters.sqlalchemy.gathering import Gathering
from keyturn.adapters.sqlalchemy.prepared import Parameters, Prepared, Together
from keyturn.domain.errors import KeyturnError

CONNECT_TIMEOUT: Final = 5.0
"""Seconds that a server may take to accept a connection."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a server may take to give up a statement whose caller has gone."""

T = TypeVar("T")


class _Transaction(Protocol):
    async def start(self) -> None: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class _Driver(Protocol):
    """What is used of asyncpg's connection, which has no types of its own."""

    async def fetch(self, query: str, *args: object) -> list[Any]: ...

    async def execute(self, query: str, *args: object) -> str: ...

    def transaction(self, *, isolation: str) -> _Transaction: ...

    def is_closed(self) -> bool: ...

    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109 - as it is there


def create_postgres_engine(url: str, *, statement_timeout: float) -> Engine:
    """Return an engine for a PostgreSQL URL that keeps no connection; nothing connects yet.

    It is what an `AsyncEngine` wraps, for use within `greenlet_spawn`: the wrapper comes with the
    whole ORM, ten megabytes of it.

    Each statement commits by itself unless a transaction is begun: a read then costs one round
    trip instead of three.

    Args:
        url: see `sqlite_file`.
        statement_timeout: seconds that a statement may take, its wait for locks included.
    """
    # The driver reads the URL itself: it knows what libpq knows (sslmode, sockets, several
    # hosts), and the engine's own URL, which gets printed, holds no password.
    dsn = "postgresql:" + url.partition(":")[2]
    timeouts = {"timeout": CONNECT_TIMEOUT, "command_timeout": statement_timeout}
    return create_engine(
        "postgresql+asyncpg://",
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        poolclass=NullPool,
        connect_args={"dsn": dsn, **timeouts},
    )


@dataclass(frozen=True, slots=True)
class _Link:
    """One connection, as SQLAlchemy and as the driver see it."""

    connection: Connection
    driver: _Driver


class PostgresStore:
    """At most so many connections, handed out in the order in which they were asked for.

    Each statement commits by itself unless a transaction was begun. Nothing is sent but the
    statements, no ping before them and no reset behind them, and what the server has prepared
    for a connection stays prepared.
    """

    driver_errors = (PostgresError, InterfaceError, InternalClientError)
    """What is raised besides SQLAlchemy's errors."""

    def __init__(self, engine: Engine, *, size: int, patience: float) -> None:
        """Connect by `engine`, which keeps no connection itself.

        Args:
            engine: lets each statement commit by itself.
            size: connections at most.
            patience: seconds to wait for one of them.
        """
        self._engine = engine
        self._patience = patience
        # Nobody waits while a turn is left: who ends one hands it to whoever has waited longest.
        self._turns = size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: list[_Link] = []
        # Of rows, or of counts.
        self._gatherings: dict[Together, Gathering[Any]] = {}

    async def look_up(self, query: Prepared, parameters: Parameters) -> list[Sequence[Any]]:
        """Return the rows of a prepared query."""
        if query.together is not None:
            gathering = self._gathered(query, query.together, self._look_up_together)
            found = await gathering.ask(parameters)
            if found is not None:
                return found
        compiled = query.on(self._engine.dialect)
        arguments = compiled.arguments(parameters)
        rows = await self._with_link(
            lambda link: link.driver.fetch(compiled.sql, *arguments), repeatable=True
        )
        return [compiled.row(row) for row in rows]

    async def change(self, update: Prepared, parameters: Parameters) -> int:
        """Execute a prepared update, and return how many rows it changed."""
        if update.together is not None:
            gathering = self._gathered(update, update.together, self._change_together)
            changed = await gathering.ask(parameters)
            if changed is not None:
                return changed
        compiled = update.on(self._engine.dialect)
        arguments = compiled.arguments(parameters)
        # It tells "UPDATE 1", for example.
        told = await self._with_link(lambda link: link.driver.execute(compiled.sql, *arguments))
        return int(told.rpartition(" ")[2])

    def _gathered(
        self,
        statement: Prepared,
        together: Together,
        answer: Callable[[Prepared, Together, Sequence[Parameters]], Awaitable[Sequence[T | None]]],
    ) -> Gathering[T]:
        gathering = self._gatherings.get(together)
        if gathering is None:
            gathering = Gathering(functools.partial(answer, statement, together))
            self._gatherings[together] = gathering
        return gathering

    async def _look_up_together(
        self, query: Prepared, together: Together, many: Sequence[Parameters]
    ) -> list[list[Sequence[Any]] | None]:
        """Return the rows of each, read by one statement."""
        compiled = query.on(self._engine.dialect)
        found: dict[object, list[Sequence[Any]]] = {}
        for values in await self._fetch_together(query, together, many, repeatable=True):
            found.setdefault(values[0], []).append(compiled.row(values))
        return [found.get(parameters[together.key], []) for parameters in many]

    async def _change_together(
        self, update: Prepared, together: Together, many: Sequence[Parameters]
    ) -> list[int | None]:
        """Return 1 for each that was changed by one statement, None for who has to try alone.

        That is who changes the same row as another, or one that somebody has locked: nobody waits
        for the locks of others.
        """
        chosen = {parameters[together.key]: parameters for parameters in many}
        try:
            rows = await self._fetch_together(update, together, list(chosen.values()))
        except PostgresConnectionError:
            # Nobody knows whether it has changed anything: who tried alone might find their own
            # change, and take it for another's.
            raise
        except (PostgresError, InterfaceError):
            # It has changed nothing. One value that is no good must not fail the others.
            return [None] * len(many)
        done = {id(chosen[row[0]]) for row in rows}
        return [1 if id(parameters) in done else None for parameters in many]

    async def _fetch_together(
        self,
        statement: Prepared,
        together: Together,
        many: Sequence[Parameters],
        *,
        repeatable: bool = False,
    ) -> list[Any]:
        sql, places = together.on(self._engine.dialect)
        columns = statement.on(self._engine.dialect).columns(places, many)
        return await self._with_link(
            lambda link: link.driver.fetch(sql, *columns), repeatable=repeatable
        )

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` reads; it may be called twice."""
        return await self._with_link(
            lambda link: greenlet_spawn(function, link.connection), repeatable=True
        )

    async def execute(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` returns, which executes one statement."""
        return await self._with_link(lambda link: greenlet_spawn(function, link.connection))

    async def transact(
        self,
        function: Callable[[Connection], None],
        before_commit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Let `function` execute its statements in one transaction."""

        async def transact(link: _Link) -> None:
            transaction = link.driver.transaction(isolation="read_committed")
            await transaction.start()
            try:
                await greenlet_spawn(function, link.connection)
                if before_commit is not None:
                    await before_commit()
            except Exception:
                await transaction.rollback()
                raise
            await transaction.commit()

        await self._with_link(transact)

    async def dispose(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            await _close(self._idle.pop())

    async def _with_link(
        self, work: Callable[[_Link], Awaitable[T]], *, repeatable: bool = False
    ) -> T:
        if self._turns:
            self._turns -= 1
        else:
            await self._wait_for_turn()
        try:
            link = self._idle_link() or await self._connected()
            try:
                result = await work(link)
            except BaseException as error:
                lost = isinstance(error, Exception) and link.driver.is_closed()
                if lost or not _answered(error):
                    await asyncio.shield(_close(link))
                else:
                    self._idle.append(link)
                if not (lost and repeatable):
                    raise
            else:
                self._idle.append(link)
                return result
        finally:
            self._end_turn()
        # The server had closed it, by a restart for example, and the others with it.
        await self.dispose()
        return await self._with_link(work)

    async def _wait_for_turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # It came too late for whoever was given it.
                self._end_turn()
            if isinstance(error, TimeoutError):
                raise TimeoutError("waited too long for a connection of the pool") from None
            raise

    def _end_turn(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            # Who has given up is passed over.
            if not turn.done():
                turn.set_result(None)
                return
        self._turns += 1

    def _idle_link(self) -> _Link | None:
        while self._idle:
            # That which was used last: the others may be closed by whoever counts them.
            link = self._idle.pop()
            if not link.driver.is_closed():
                return link
        return None

    async def _connected(self) -> _Link:
        connection = await greenlet_spawn(self._engine.connect)
        driver: Any = connection.connection.driver_connection
        # From here on nobody but this store closes it.
        connection.detach()
        return _Link(connection, driver)


def _answered(error: BaseException) -> bool:
    """Return whether the server has refused the statement, and the connection is as before."""
    driver_error = error.driver_exception if isinstance(error, DBAPIError) else error
    return isinstance(driver_error, PostgresError | KeyturnError)


async def _close(link: _Link) -> None:
    with suppress(PostgresError, InterfaceError, OSError):
        # Whoever was cancelled may have left a statement that waits: this ends it.
        await link.driver.close(timeout=CLOSE_TIMEOUT)
