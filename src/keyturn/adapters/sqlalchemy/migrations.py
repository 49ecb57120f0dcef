"""Brings a database to the newest schema, however many processes start at the same time."""

import asyncio
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, column, event, func, inspect, select, table
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.util import greenlet_spawn

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.engine import sqlite_file
from keyturn.adapters.sqlalchemy.failures import DomainErrors, StoreFailure
from keyturn.domain.errors import StoreUnavailable

# Loaded where a database is migrated, and only there: a service that finds the newest schema does
# without, which is a sixth of its start and of its memory.
if TYPE_CHECKING:
    from alembic.config import Config

MIGRATION_TIMEOUT: Final = 600.0
"""Seconds that a migration may take, and that those wait who come second."""

_ADVISORY_LOCK: Final = int.from_bytes(b"keyturn")
"""A number that nobody else is likely to lock in the same PostgreSQL database."""

_VERSION: Final = table("alembic_version", column("version_num"))

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
    from alembic import command  # noqa: PLC0415 - see above

    await _in_thread(url, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`, or to nothing by `base`; otherwise as `migrate`."""
    from alembic import command  # noqa: PLC0415 - see above

    await _in_thread(url, lambda config: command.downgrade(config, revision))


async def current_revision(database: Database) -> str | None:
    """Return the revision that the database is at, or None if it was never migrated.

    Raises:
        StoreUnavailable: the database does not answer.
    """

    def read(connection: Connection) -> str | None:
        try:
            revision: str | None = connection.scalar(select(_VERSION.c.version_num))
        except (OperationalError, ProgrammingError) as error:
            # Only now: to look for the table first is another round trip at each start, and
            # whenever somebody asks whether the service is ready.
            if error.connection_invalidated or inspect(connection).has_table(_VERSION.name):
                raise
            return None
        return revision

    return await database.read(read)


@cache
def head_revision() -> str:
    """Return the revision that this version of keyturn needs."""
    # The files are named after their revisions, which count up.
    revisions = [file.stem.partition("_")[0] for file in _folder().glob("versions/[0-9]*_*.py")]
    if not revisions:
        raise LookupError(f"there are no migrations in {_folder()}")
    return max(revisions)


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


async def _in_thread(url: str, step: "Callable[[Config], None]") -> None:
    # A thread and a loop of its own: Alembic is synchronous, and what waits for the lock of
    # another process must not hold up this one's loop.
    await asyncio.to_thread(_run, url, step)


def _run(url: str, step: "Callable[[Config], None]") -> None:
    from alembic.config import Config  # noqa: PLC0415 - see above

    def apply(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
        config.attributes["connection"] = connection
        step(config)

    file = sqlite_file(url)
    with _one_at_a_time, DomainErrors(()):
        if file is None:
            asyncio.run(_on_postgres(url, apply))
        else:
            _on_sqlite(file, apply)


async def _on_postgres(url: str, apply: Callable[[Connection], None]) -> None:
    from keyturn.adapters.sqlalchemy import postgres  # noqa: PLC0415 - loads the driver

    engine = postgres.create_postgres_engine(url, statement_timeout=MIGRATION_TIMEOUT)

    def apply_alone() -> None:
        with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            apply(connection)

    await greenlet_spawn(apply_alone)


def _on_sqlite(file: Path, apply: Callable[[Connection], None]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    from keyturn.adapters.sqlalchemy.sqlite import create_sqlite_engine  # noqa: PLC0415 - the driver

    engine = create_sqlite_engine(file, busy_timeout=MIGRATION_TIMEOUT)
    event.listen(engine, "begin", _begin)
    with engine.begin() as connection:
        apply(connection)
        _check_foreign_keys(connection)


def _begin(connection: Connection) -> None:
    # SQLite alters a table by replacing it, and dropping the old one would delete, by cascade,
    # every row elsewhere that points to it.
    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    # There is one write lock, and to begin so is to take it.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"the migration left {len(broken)} rows that point to nothing")


def _folder() -> Path:
    package = Path(__file__).parents[2]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"
