"""A SQLite file: threads that read, and one that writes and commits for all who wait.

SQLite has one writer at a time, and most of a commit is the wait for the disk. Whatever arrives
during one commit is applied in the next, together: as many units of work as there are for one
wait. Each is answered when that commit has returned, and is atomic by itself.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine

from keyturn.adapters.sqlalchemy.prepared import Prepared

MAX_GROUP: Final = 100
"""Jobs at most that a thread takes up at once: nobody waits for more than so many others."""

_BUSY_PAUSE: Final = 0.001
"""Seconds between two looks whether another process has finished its commit."""

_SETTINGS: Final = """
    -- Readers and one writer at a time, side by side.
    PRAGMA journal_mode = WAL;
    -- WAL is content with less, and a power cut could undo a revocation that was answered.
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
"""

T = TypeVar("T")


def create_sqlite_engine(file: Path, *, busy_timeout: float) -> Engine:
    """Return an engine for a SQLite file that keeps no connection; nothing connects yet.

    Each statement commits by itself unless a transaction is begun. A connection must be used,
    and closed, by the thread that asked for it.

    Args:
        file: where it is.
        busy_timeout: seconds to wait for another process that writes.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, timeout=busy_timeout, isolation_level=None)
        try:
            connection.executescript(_SETTINGS)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    return create_engine(
        URL.create("sqlite", database=str(file)),
        creator=connect,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        poolclass=NullPool,
    )


class _Job(Generic[T]):
    """Something to do in a thread, for somebody who waits for it in a loop."""

    def __init__(self, function: Callable[[Connection], T]) -> None:
        self._function = function
        self._tell: Callable[[], None]
        self._first = threading.Lock()
        self.loop = asyncio.get_running_loop()
        self.waiting: asyncio.Future[T] = self.loop.create_future()

    def begin(self) -> bool:
        """Return whether it is to be done; from then on it can't be withdrawn."""
        return self._first.acquire(blocking=False)

    def withdraw(self) -> bool:
        """Return whether it will not be done; it was begun otherwise."""
        if self._first.acquire(blocking=False):
            self.waiting.cancel()
        return self.waiting.cancelled()

    def perform(self, connection: Connection) -> bool:
        """Do it, in the thread, and return whether it succeeded."""
        try:
            result = self._function(connection)
        except Exception as error:  # noqa: BLE001 - raised again for whoever waits
            self.fail(error)
            return False
        self._tell = lambda: self.waiting.set_result(result)
        return True

    def fail(self, error: Exception) -> None:
        """Have it failed, in the thread."""
        self._tell = lambda: self.waiting.set_exception(error)

    def tell(self) -> None:
        """Tell whoever waits, in the loop."""
        if not self.waiting.done():
            self._tell()


_Queue = queue.SimpleQueue[_Job[Any] | None]


class _Worker:
    """A thread with a connection of its own, which takes up all that has come at once.

    It is started by its first job. Nobody has to wait for its end: what was not answered by then
    was not promised.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        work: Callable[[Connection, Sequence[_Job[Any]]], None],
    ) -> None:
        """Name the thread, and hand jobs to `work`; where it raises, it has done none of them."""
        self._name = name
        self._connect = connect
        self._work = work
        self._queue: _Queue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, job: _Job[Any]) -> None:
        """Have a job done."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(self._queue,), name=self._name, daemon=True
            )
            self._thread.start()
        self._queue.put(job)

    async def stop(self) -> None:
        """Finish what was asked for and close the connection."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            self._queue = queue.SimpleQueue()
            await asyncio.to_thread(thread.join)

    def _run(self, jobs: _Queue) -> None:
        connection: Connection | None = None
        while group := _take(jobs):
            try:
                connection = connection or self._connect()
                self._work(connection, group)
            except Exception as error:  # noqa: BLE001 - raised again for whoever waits
                for job in group:
                    job.fail(error)
                if connection is not None:
                    _close(connection)
                    connection = None
            # Whose loop is closed does not wait any more.
            with suppress(RuntimeError):
                group[0].loop.call_soon_threadsafe(_tell_all, group)
        if connection is not None:
            _close(connection)


def _take(jobs: _Queue) -> list[_Job[Any]]:
    """Wait for a job, and return those that have come, or none at the end."""
    group: list[_Job[Any]] = []
    job = jobs.get()
    while job is not None:
        group.append(job)
        if len(group) == MAX_GROUP or jobs.empty():
            return group
        job = jobs.get()
    if group:
        # For the next time.
        jobs.put(None)
    return group


def _tell_all(group: Sequence[_Job[Any]]) -> None:
    for job in group:
        job.tell()


class SqliteStore:
    """One file, whose readers and whose writer don't wait for each other."""

    driver_errors = (sqlite3.Error,)
    """What is raised besides SQLAlchemy's errors."""

    def __init__(self, engine: Engine, *, busy_timeout: float, patience: float) -> None:
        """Connect by `engine`, which keeps no connection itself.

        Args:
            engine: lets each statement commit by itself.
            busy_timeout: seconds to wait for another process that writes.
            patience: seconds to wait for the turn to write.
        """
        self._engine = engine
        self._busy_timeout = busy_timeout
        self._patience = patience
        # Two that read: a list of many users does not hold up a refresh.
        self._look_ups = _Worker("sqlite look-ups", engine.connect, _perform_each)
        self._reader = _Worker("sqlite reader", engine.connect, _perform_each)
        self._writer = _Worker("sqlite writer", self._connect_to_write, self._commit_all)

    async def look_up(
        self, query: Prepared, parameters: Mapping[str, object]
    ) -> list[Sequence[Any]]:
        """Return the rows of a prepared query."""
        compiled = query.on(self._engine.dialect)
        arguments = compiled.arguments(parameters)
        job = _Job(
            lambda connection: _driver(connection).execute(compiled.sql, arguments).fetchall()
        )
        self._look_ups.put(job)
        return [compiled.row(row) for row in await job.waiting]

    async def change(self, update: Prepared, parameters: Mapping[str, object]) -> int:
        """Execute a prepared update, and return how many rows it changed."""
        compiled = update.on(self._engine.dialect)
        arguments = compiled.arguments(parameters)
        return await self.execute(
            lambda connection: _driver(connection).execute(compiled.sql, arguments).rowcount
        )

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` reads."""
        job = _Job(function)
        self._reader.put(job)
        return await job.waiting

    async def execute(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` returns, whose statements are committed if it does not raise.

        Who is cancelled before they are begun, or waits too long, leaves nothing done; who is
        cancelled later waits for the end.
        """
        job = _Job(function)
        self._writer.put(job)
        try:
            await asyncio.wait((job.waiting,), timeout=self._patience)
        finally:
            if not job.waiting.done() and not job.withdraw():
                await _end_of(job)
        if job.waiting.cancelled():
            raise TimeoutError("waited too long for the turn to write")
        return job.waiting.result()

    async def transact(
        self,
        function: Callable[[Connection], None],
        before_commit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Let `function` execute its statements in one transaction."""
        loop = asyncio.get_running_loop()

        async def finish() -> None:
            if before_commit is not None:
                await before_commit()

        def transact(connection: Connection) -> None:
            function(connection)
            if before_commit is not None:
                asyncio.run_coroutine_threadsafe(finish(), loop).result()

        await self.execute(transact)

    async def dispose(self) -> None:
        """Finish what was asked for and close the connections."""
        for worker in (self._look_ups, self._reader, self._writer):
            await worker.stop()

    def _connect_to_write(self) -> Connection:
        connection = self._engine.connect()
        # `_begin` waits instead.
        _driver(connection).execute("PRAGMA busy_timeout = 0")
        return connection

    def _commit_all(self, connection: Connection, group: Sequence[_Job[Any]]) -> None:
        driver = _driver(connection)
        # SQLAlchemy has to know of it: after some errors it would roll back otherwise.
        with connection.begin():
            self._begin(driver)
            for job in group:
                if job.begin():
                    driver.execute("SAVEPOINT job")
                    if not job.perform(connection):
                        # There is nothing to go back to where SQLite has given up everything,
                        # on a full disk for example: this raises, and all have failed.
                        driver.execute("ROLLBACK TO job")
                    driver.execute("RELEASE job")

    def _begin(self, driver: sqlite3.Connection) -> None:
        # SQLite itself looks less and less often, up to ten times a second: between the commits
        # of another process that is busy, it would hardly ever find a gap.
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                # Who begins by reading may find that another has begun to write, and can't.
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(_BUSY_PAUSE)
            else:
                return


def _perform_each(connection: Connection, group: Sequence[_Job[Any]]) -> None:
    for job in group:
        job.perform(connection)


async def _end_of(job: _Job[Any]) -> None:
    while not job.waiting.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((job.waiting,))
    # Looked at, so that nobody is told that nobody did.
    job.waiting.exception()


def _driver(connection: Connection) -> sqlite3.Connection:
    driver: Any = connection.connection.driver_connection
    return cast("sqlite3.Connection", driver)


def _close(connection: Connection) -> None:
    # Whatever is wrong with it, the next one is another.
    with suppress(Exception):
        # SQLite ends no transaction for as long as somebody, a traceback for example, holds one
        # of its statements: nobody could write.
        _driver(connection).rollback()
    with suppress(Exception):
        connection.close()
