"""From a database URL to an engine."""

import asyncio
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import aiosqlite
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT: Final = 5.0
"""Seconds that a PostgreSQL server may take to accept a connection."""

_SQLITE_SETTINGS = """
    -- Readers and one writer at a time, side by side.
    PRAGMA journal_mode = WAL;
    -- WAL is content with less, and a power cut could undo a revocation that was answered.
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
"""

_POSTGRESQL_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_SQLITE_SCHEMES = frozenset({"sqlite", "sqlite+aiosqlite"})


def sqlite_file(url: str) -> Path | None:
    """Return the file that a SQLite URL names, or None for a PostgreSQL URL.

    Args:
        url: `sqlite:///relative/file`, `sqlite:////absolute/file`, or a PostgreSQL connection URI
            as libpq takes it (`postgresql://user:password@host:5432/name?sslmode=require`).

    Raises:
        ValueError: it is neither. The message repeats no part of it: it may hold a password.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in _POSTGRESQL_SCHEMES:
        return None
    if scheme not in _SQLITE_SCHEMES:
        raise ValueError("the database URL must begin with sqlite:/// or postgresql://")
    try:
        name = make_url(url).database
    except (ArgumentError, ValueError):
        name = None
    if not name or name == ":memory:" or name.startswith("file:"):
        raise ValueError("a SQLite database URL must name a file: sqlite:///path/to/file")
    return Path(name)


def create_engine(
    url: str, *, pool_size: int, pool_timeout: float, statement_timeout: float
) -> AsyncEngine:
    """Return an engine; nothing connects before the first statement.

    Each statement commits by itself unless a transaction is begun: a read then costs one round
    trip instead of three.

    Args:
        url: see `sqlite_file`.
        pool_size: how many connections there are at most.
        pool_timeout: seconds to wait for one of them.
        statement_timeout: seconds that a statement may take, its wait for locks included; for
            SQLite, where reading a few rows waits for nothing, the seconds to wait for another
            process that writes.

    Raises:
        ValueError: see `sqlite_file`.
    """
    create = partial(
        create_async_engine,
        isolation_level="AUTOCOMMIT",
        # Otherwise the text of an error would hold the parameters: password hashes among them.
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
    )
    file = sqlite_file(url)
    if file is not None:
        connect = partial(_connect_to_sqlite, file, statement_timeout)
        return create(URL.create("sqlite+aiosqlite", database=str(file)), async_creator=connect)
    # The driver reads the URL itself: it knows what libpq knows (sslmode, sockets, several
    # hosts), and the engine's own URL, which gets printed, holds no password.
    dsn = "postgresql:" + url.partition(":")[2]
    timeouts = {"timeout": CONNECT_TIMEOUT, "command_timeout": statement_timeout}
    return create("postgresql+asyncpg://", connect_args={"dsn": dsn, **timeouts})


def transactional(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine, with the same connections, for statements that belong together."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="READ COMMITTED")
    for_transactions = engine.execution_options()
    event.listen(for_transactions.sync_engine, "begin", _begin_immediate)
    return for_transactions


def _begin_immediate(connection: Connection) -> None:
    # Who begins by reading may find that another has begun to write, and can't write any more.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _connect_to_sqlite(file: Path, busy_timeout: float) -> aiosqlite.Connection:
    opening = asyncio.create_task(_open_sqlite(file, busy_timeout))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        # The thread goes on opening it: somebody must be there to close it.
        await asyncio.wait({opening})
        if opening.exception() is None:
            await opening.result().close()
        raise


async def _open_sqlite(file: Path, busy_timeout: float) -> aiosqlite.Connection:
    connection = aiosqlite.connect(file, timeout=busy_timeout, factory=_SqliteConnection)
    thread = connection._thread  # noqa: SLF001 - nothing public leads to it
    thread.daemon = True
    try:
        connection = await connection
        await connection.executescript(_SQLITE_SETTINGS)
    except Exception:
        await connection.close()
        # It reports its end to this loop, which the caller may close as soon as it knows.
        await asyncio.to_thread(thread.join)
        raise
    return connection


class _SqliteConnection(sqlite3.Connection):
    """Ends its transaction when it is closed.

    SQLite itself does not while a statement of the connection exists, and the traceback of a
    cancelled commit may hold one: nobody could write to the file for as long.
    """

    def close(self) -> None:
        """Roll back and close."""
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()

    def __del__(self) -> None:
        # One that was opened for somebody who was cancelled meanwhile reaches nobody's hands.
        with suppress(sqlite3.Error):
            super().close()
