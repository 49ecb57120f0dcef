"""Brings a database to the newest schema, however many processes start at the same time."""

import asyncio
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.engine import create_engine, sqlite_file, transactional
from keyturn.adapters.sqlalchemy.failures import StoreFailure, domain_errors
from keyturn.domain.errors import StoreUnavailable

MIGRATION_TIMEOUT: Final = 600.0
"""Seconds that a migration may take, and that those wait who come second."""

_ADVISORY_LOCK: Final = int.from_bytes(b"keyturn")
"""A number that nobody else is likely to lock in the same PostgreSQL database."""

# Alembic keeps the running migration in module globals.
_one_at_a_time = threading.Lock()


async def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database to `revision`, in one transaction: all of it happens, or nothing.

    Of any number of processes that do this at once, one migrates and the others wait for it. A
    SQLite file that does not exist is created, readable by its owner alone, with its folder.

    Args:
        url: as for `Database`.
        revision: a revision id, or `head`.

    Raises:
        StoreUnavailable: the database does not answer, or a statement failed.
        ValueError: the URL is of no known kind.
    """
    await _in_thread(url, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`, or to nothing by `base`; otherwise as `migrate`."""
    await _in_thread(url, lambda config: command.downgrade(config, revision))


async def current_revision(database: Database) -> str | None:
    """Return the revision that the database is at, or None if it was never migrated.

    Raises:
        StoreUnavailable: the database does not answer.
    """

    def read(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    return await database.read(read)


@cache
def head_revision() -> str:
    """Return the revision that this version of keyturn needs."""
    head = ScriptDirectory(str(_folder())).get_current_head()
    if head is None:
        raise LookupError(f"there are no migrations in {_folder()}")
    return head


async def require_newest_schema(database: Database) -> None:
    """Return if the database is at the revision that this version of keyturn needs.

    Raises:
        StoreUnavailable: it is at another, or does not answer; its cause says which.
    """
    current = await current_revision(database)
    if current != head_revision():
        raise StoreUnavailable from StoreFailure(
            f"its schema is at {current or 'no revision'} and {head_revision()} is needed: "
            "run keyturn migrate"
        )


async def _in_thread(url: str, step: Callable[[Config], None]) -> None:
    # A thread and a loop of its own: Alembic is synchronous, and what waits for the lock of
    # another process must not hold up this one's loop.
    await asyncio.to_thread(_run, url, step)


def _run(url: str, step: Callable[[Config], None]) -> None:
    with _one_at_a_time:
        asyncio.run(_in_one_transaction(url, step))


async def _in_one_transaction(url: str, step: Callable[[Config], None]) -> None:
    file = sqlite_file(url)
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
    engine = create_engine(
        url, pool_size=1, pool_timeout=MIGRATION_TIMEOUT, statement_timeout=MIGRATION_TIMEOUT
    )
    if file is not None:
        event.listen(engine.sync_engine, "connect", _suspend_foreign_keys)

    def apply(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
        config.attributes["connection"] = connection
        step(config)
        if file is not None:
            _check_foreign_keys(connection)

    try:
        with domain_errors():
            # On SQLite to begin is to take the only write lock that there is.
            async with transactional(engine).begin() as connection:
                if file is None:
                    await connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                await connection.run_sync(apply)
    finally:
        await engine.dispose()


def _suspend_foreign_keys(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # SQLite alters a table by replacing it, and dropping the old one would delete, by cascade,
    # every row elsewhere that points to it.
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = OFF")
    cursor.close()


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"the migration left {len(broken)} rows that point to nothing")


def _folder() -> Path:
    package = Path(__file__).parents[2]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"
