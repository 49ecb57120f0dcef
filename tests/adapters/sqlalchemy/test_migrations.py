"""Migrations on both databases: up, down, and many at once."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

import keyturn
from keyturn.adapters.sqlalchemy import migrations
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.migrations import (
    current_revision,
    downgrade,
    head_revision,
    migrate,
    require_newest_schema,
)
from keyturn.adapters.sqlalchemy.tables import metadata
from keyturn.domain.errors import StoreUnavailable

PACKAGE = Path(keyturn.__file__).parent

MIGRATE = """
import asyncio, sys
from keyturn.adapters.sqlalchemy.migrations import migrate

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(migrate(sys.argv[1]))
"""


@pytest.fixture
def empty_database(empty_database_url: str, open_database: Callable[[str], Database]) -> Database:
    return open_database(empty_database_url)


async def test_migrations_go_up_and_down_one_by_one(
    empty_database: Database, empty_database_url: str
) -> None:
    scripts = ScriptDirectory(str(migrations._folder()))
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    before = "base"
    for revision in revisions:
        await migrate(empty_database_url, revision)
        above = await empty_database.read(_tables)
        await downgrade(empty_database_url, before)
        await migrate(empty_database_url, revision)
        assert await empty_database.read(_tables) == above
        before = revision
    assert await current_revision(empty_database) == head_revision() == revisions[-1]
    for revision in [*revisions[-2::-1], "base"]:
        await downgrade(empty_database_url, revision)
    assert await current_revision(empty_database) is None
    assert await empty_database.read(_tables) == {"alembic_version"}


async def test_the_tables_are_those_that_the_migrations_make(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found: list[object] = compare_metadata(context, metadata)
        return found

    assert await database.read(differences) == []


async def test_a_database_tells_its_revision(
    empty_database: Database, empty_database_url: str
) -> None:
    assert await current_revision(empty_database) is None
    with pytest.raises(StoreUnavailable) as raised:
        await require_newest_schema(empty_database)
    assert "keyturn migrate" in str(raised.value.__cause__)
    await migrate(empty_database_url)
    assert await current_revision(empty_database) == head_revision()
    await require_newest_schema(empty_database)


async def test_ten_migrations_at_once_migrate_once(
    empty_database: Database, empty_database_url: str
) -> None:
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(10)))
    await require_newest_schema(empty_database)
    assert await empty_database.fetch(text("SELECT count(*) FROM roles"), {}) == [(2,)]


async def test_processes_that_migrate_at_once_migrate_once(
    empty_database: Database, empty_database_url: str
) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MIGRATE, empty_database_url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(PACKAGE.parent)},
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0]
    await require_newest_schema(empty_database)
    assert await empty_database.fetch(text("SELECT count(*) FROM roles"), {}) == [(2,)]


async def test_a_migration_that_fails_leaves_nothing_behind(
    empty_database: Database, empty_database_url: str
) -> None:
    def fail(config: Config) -> None:
        command.upgrade(config, "head")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        await migrations._in_thread(empty_database_url, fail)
    assert await empty_database.read(_tables) == set()
    await migrate(empty_database_url)
    await require_newest_schema(empty_database)


async def test_a_migration_that_breaks_a_foreign_key_on_sqlite_is_undone(sqlite_url: str) -> None:
    def break_it(config: Config) -> None:
        connection: Connection = config.attributes["connection"]
        connection.execute(text("INSERT INTO user_roles VALUES ('nobody', 'user')"))

    with pytest.raises(RuntimeError, match="1 rows that point to nothing"):
        await migrations._in_thread(sqlite_url, break_it)
    await migrate(sqlite_url)


async def test_a_database_that_is_gone_can_not_be_migrated() -> None:
    with pytest.raises(StoreUnavailable):
        await migrate("postgresql://keyturn@127.0.0.1:1/keyturn")


async def test_a_new_sqlite_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keyturn.sqlite"
    await migrate(f"sqlite:///{file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_migrations_are_found_where_a_wheel_puts_them(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "keyturn", ignore=ignored)
    shutil.copytree(migrations._folder(), tmp_path / "keyturn" / "migrations", ignore=ignored)
    code = "from keyturn.adapters.sqlalchemy import migrations as m; print(m.head_revision())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert found.stdout.strip() == head_revision()


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())
