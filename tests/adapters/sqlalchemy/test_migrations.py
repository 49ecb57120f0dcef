"""Migrations on both databases: up, down, and many at once."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, select, text

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
from keyturn.adapters.sqlalchemy.tables import metadata, user_roles, users
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.events import AuditEventType
from keyturn.domain.user import User, UserStatus
from keyturn.testing.builders import (
    make_event,
    make_family,
    make_mail,
    make_one_time_token,
    make_user,
)
from keyturn.testing.steps import NOW

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


async def test_accounts_of_before_go_on_and_survive_the_way_back(
    empty_database: Database, empty_database_url: str
) -> None:
    user, leaver = make_user(1), make_user(2)
    family = make_family(user)
    await migrate(empty_database_url, "0003")
    await empty_database.read(lambda c: _insert_as_of_0003(c, user, leaver))
    async with SqlUnitOfWork(empty_database) as uow:
        uow.families.add(family)
        await uow.commit()
    await migrate(empty_database_url)
    leaving = leaver.leaving(NOW, due=NOW)
    async with SqlUnitOfWork(empty_database) as uow:
        assert await uow.families.get_with_user(family.id) == (family, user)
        assert await uow.users.get(leaver.id) == leaver
        uow.users.save(leaving)
        uow.users.note_failed_login(user.id, NOW, at_most=100, when_reached=make_mail())
        uow.one_time_tokens.add(make_one_time_token(user))
        uow.outbox.add(make_mail(user=user))
        uow.audit.add(make_event(1, type=AuditEventType.LOGIN_FAILED))
        uow.audit.add(make_event(2, type=AuditEventType.DELETION_REQUESTED))
        await uow.commit()
    await downgrade(empty_database_url, "0003")
    stored = await empty_database.fetch(text("SELECT email, status FROM users ORDER BY email"), {})
    assert stored == [(user.email, "active"), (leaver.email, "disabled")]
    # The version of before could not even read the other one.
    assert await empty_database.fetch(text("SELECT type FROM audit_events"), {}) == [
        ("login_failed",)
    ]
    await migrate(empty_database_url)
    async with SqlUnitOfWork(empty_database) as uow:
        returned = replace(user, version=user.version + 1)
        assert await uow.families.get_with_user(family.id) == (family, returned)
        # What the older version can't hold begins anew; its links are gone anyway.
        disabled = replace(
            leaving, status=UserStatus.DISABLED, deletion_due_at=None, credentials_version=0
        )
        assert await uow.users.get(leaver.id) == disabled
        assert await uow.one_time_tokens.get(make_one_time_token(user).digest) is None


async def test_a_worker_of_before_can_still_add_users(database: Database) -> None:
    user = make_user()
    await database.read(lambda c: _insert_as_of_0003(c, user))
    async with SqlUnitOfWork(database) as uow:
        assert await uow.users.get(user.id) == user


async def test_a_new_database_holds_no_account(sqlite: Database) -> None:
    assert await sqlite.read(lambda connection: connection.execute(select(users)).all()) == []


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


def _insert_as_of_0003(connection: Connection, *added: User) -> None:
    for user in added:
        values = {
            "id": user.id,
            "email": user.email,
            "email_key": user.email,
            "password_hash": user.password_hash,
            "status": user.status.value,
            "epoch": user.epoch,
            "version": user.version,
            "created_at": user.created_at,
            "updated_at": user.updated_at,
        }
        connection.execute(insert(users), values)
        for role in user.role_names:
            connection.execute(insert(user_roles), {"user_id": user.id, "role": role})
