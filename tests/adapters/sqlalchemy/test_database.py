"""What happens when a database does not answer, or answers with an error."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import StatementError

from keyturn.adapters.sqlalchemy import database as database_module
from keyturn.adapters.sqlalchemy.database import Database, StagedWrite
from keyturn.adapters.sqlalchemy.engine import sqlite_file
from keyturn.adapters.sqlalchemy.tables import UtcTimestamp, refresh_tokens
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.domain.errors import EmailTaken, StoreUnavailable
from keyturn.domain.user import User
from keyturn.testing.builders import PASSWORD_HASH, make_family, make_user, rotate
from keyturn.testing.steps import NOW

SECRET = "hunter2"
ADDRESS = "ada@example.com"
TOO_LARGE = 2**40

HASH_PREFIX = PASSWORD_HASH[:10]
"""PostgreSQL shortens the long values that it quotes."""

CLOSED_PORT = f"postgresql://keyturn:{SECRET}@127.0.0.1:1/keyturn"


@pytest.fixture(params=["postgresql", "sqlite"])
def unreachable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return CLOSED_PORT if request.param == "postgresql" else f"sqlite:///{tmp_path}/no/such/folder"


async def test_a_database_that_is_gone_is_unavailable(
    unreachable_url: str, open_database: Callable[[str], Database]
) -> None:
    database = open_database(unreachable_url)
    user = make_user()
    family = make_family(user)
    async with SqlUnitOfWork(database) as uow:
        for reading in (
            uow.users.get(user.id),
            uow.users.get_by_email(user.email),
            uow.roles.get_many(frozenset({"user"})),
            uow.families.get(family.id),
            uow.families.get_with_user(family.id),
            uow.families.list_live(user.id, NOW),
            uow.families.list_ended(user.id, NOW, NOW),
        ):
            with pytest.raises(StoreUnavailable):
                await reading
        uow.families.save(rotate(family))
        with pytest.raises(StoreUnavailable):
            await uow.commit()
        uow.users.add(user)
        with pytest.raises(StoreUnavailable):
            await uow.commit()
    with pytest.raises(StoreUnavailable) as raised:
        await database.ping()
    assert SECRET not in _told(raised.value)


async def test_a_database_that_was_never_migrated_is_unavailable(
    empty_database_url: str, open_database: Callable[[str], Database]
) -> None:
    database = open_database(empty_database_url)
    with pytest.raises(StoreUnavailable) as raised:
        await _add(database, make_user())
    assert "users" in str(raised.value.__cause__)
    assert HASH_PREFIX not in _told(raised.value)


async def test_a_driver_error_does_not_tell_the_password_hash(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    without_creation = replace(make_user(), created_at=cast("datetime", None))
    with pytest.raises(StoreUnavailable) as raised:
        await _add(database, without_creation)
    assert "created_at" in str(raised.value.__cause__)
    assert HASH_PREFIX not in _told(raised.value)
    assert HASH_PREFIX not in caplog.text


async def test_a_programming_error_does_not_tell_the_password_hash(database: Database) -> None:
    with pytest.raises(StatementError, match="aware") as raised:
        await _add(database, make_user(created_at=NOW.replace(tzinfo=None)))
    assert HASH_PREFIX not in _told(raised.value)


async def test_a_value_that_the_driver_refuses_is_not_told(postgres: Database) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        await _add(postgres, replace(make_user(), password_hash=SECRET, version=TOO_LARGE))
    assert "22" in str(raised.value.__cause__)
    assert SECRET not in _told(raised.value)
    assert str(TOO_LARGE) not in _told(raised.value)


async def test_a_value_that_the_driver_refuses_at_a_rotation_is_not_told(
    database: Database,
) -> None:
    family = make_family(make_user())
    async with SqlUnitOfWork(database) as uow:
        uow.families.save(replace(family, generation=2**70))
        with pytest.raises((StoreUnavailable, OverflowError)) as raised:
            await uow.commit()
    assert str(2**70) not in _told(raised.value)


async def test_a_taken_address_is_not_told(database: Database) -> None:
    await _add(database, make_user(1, email=ADDRESS))
    with pytest.raises(EmailTaken) as raised:
        await _add(database, make_user(2, email=ADDRESS))
    assert ADDRESS not in _told(raised.value)


async def test_an_exhausted_pool_is_unavailable_after_a_bounded_wait(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=1, pool_timeout=0.01)
    await _add(database, make_user())
    async with held(database):
        with pytest.raises(StoreUnavailable):
            await database.ping()
        with pytest.raises(StoreUnavailable):
            await _add(database, make_user(2))
    await _add(database, make_user(2))
    await database.dispose()


async def test_who_waits_for_a_connection_is_served_in_turn(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=1)
    served: list[str] = []

    async def ping(name: str, times: int) -> None:
        for _ in range(times):
            await database.ping()
            served.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(ping("busy", 5))
        group.create_task(ping("patient", 1))
    assert served.index("patient") == 1
    await database.dispose()


async def test_the_turn_to_write_to_sqlite_is_awaited_for_a_bounded_time(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _add(sqlite, make_user())
    async with held(sqlite):
        with monkeypatch.context() as patch:
            patch.setattr(sqlite._store, "_patience", 0.01)
            with pytest.raises(StoreUnavailable):
                await _add(sqlite, make_user(2))
    # Nor is it done later.
    await _add(sqlite, make_user(2))


async def test_what_another_has_locked_can_be_read_but_not_written(
    database_url: str,
    open_database: Callable[[str], Database],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_module, "STATEMENT_TIMEOUT", 0.2)
    database, other = open_database(database_url), open_database(database_url)
    user = make_user()
    family = make_family(user)
    await _add(database, user)
    async with SqlUnitOfWork(database) as uow:
        uow.families.add(family)
        await uow.commit()
    async with held(other), SqlUnitOfWork(database) as uow:
        assert await uow.families.get_with_user(family.id) == (family, user)
        uow.families.save(rotate(family))
        with pytest.raises(StoreUnavailable):
            await uow.commit()
        # Again, as a transaction.
        uow.users.save(user.with_display_name("Ada", NOW))
        with pytest.raises(StoreUnavailable):
            await uow.commit()
        assert await uow.families.get_with_user(family.id) == (family, user)
    async with SqlUnitOfWork(database) as uow:
        uow.families.save(rotate(family))
        await uow.commit()


async def test_idle_connections_that_the_server_has_closed_are_not_used(
    postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    database, operator = open_database(postgres_url), open_database(postgres_url)
    user = make_user()
    await _add(database, user)
    await asyncio.gather(*(database.ping() for _ in range(5)))
    await _cut_all_others_off(operator)
    async with SqlUnitOfWork(database) as uow:
        assert await uow.users.get(user.id) == user
        uow.families.add(make_family(user))
        await uow.commit()


async def test_a_read_whose_connection_is_lost_is_repeated(
    postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    database, operator = open_database(postgres_url), open_database(postgres_url)
    asked: list[int] = []
    sleeping = asyncio.Event()

    def read(connection: Connection) -> int:
        asked.append(connection.scalar(text("SELECT pg_backend_pid()")))
        if len(asked) == 1:
            sleeping.set()
            connection.execute(text("SELECT pg_sleep(60)"))
        return asked[-1]

    reading = asyncio.create_task(database.read(read))
    await sleeping.wait()
    await _cut_all_others_off(operator)
    assert await reading == asked[1] != asked[0]


async def test_a_write_whose_connection_is_lost_is_unavailable_and_the_next_one_works(
    postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    database, other, operator = (open_database(postgres_url) for _ in range(3))
    user = make_user()
    family = make_family(user)
    await _add(database, user)
    async with SqlUnitOfWork(database) as uow:
        uow.families.add(family)
        await uow.commit()

    async def save() -> None:
        async with SqlUnitOfWork(database) as uow:
            uow.families.save(rotate(family))
            await uow.commit()

    # While the lock is held, so that nothing can have been committed.
    cut = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with held(other):
        saving = asyncio.create_task(save())
        while not await operator.fetch(cut, {}):
            assert not saving.done()
        with pytest.raises(StoreUnavailable):
            await saving
    await save()


async def test_a_change_of_the_schema_is_survived_by_open_connections(
    postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    database, operator = Database(postgres_url, pool_size=1), open_database(postgres_url)
    user = make_user()
    family = make_family(user)
    altered = text("ALTER TABLE refresh_tokens ALTER COLUMN user_agent TYPE varchar(500)")
    await _add(database, user)
    async with SqlUnitOfWork(database) as uow:
        uow.families.add(family)
        await uow.commit()
    for _ in range(2):
        async with SqlUnitOfWork(database) as uow:
            assert await uow.families.get_with_user(family.id) == (family, user)
            family = rotate(family)
            uow.families.save(family)
            await uow.commit()
        await operator.read(lambda connection: connection.execute(altered))
    await database.dispose()


async def test_a_full_disk_is_unavailable_for_all_who_wait(sqlite: Database) -> None:
    users = [make_user(number) for number in range(1, 6)]
    await _add(sqlite, users[0])

    def limit_to(pages: str) -> StagedWrite:
        def apply(connection: Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        return StagedWrite(apply, is_single_statement=True)

    pages = (await sqlite.fetch(text("PRAGMA page_count"), {}))[0][0]
    await sqlite.commit([limit_to(pages)])
    large = "x" * 100_000
    outcomes = await asyncio.gather(
        *(_add(sqlite, replace(user, display_name=large)) for user in users[1:]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
    assert await sqlite.read(lambda c: c.scalar(text("SELECT count(*) FROM users"))) == 1
    await sqlite.commit([limit_to("1000000")])
    await asyncio.gather(*(_add(sqlite, user) for user in users[1:]))
    assert await sqlite.read(lambda c: c.scalar(text("SELECT count(*) FROM users"))) == 5


async def test_sqlite_keeps_what_it_is_told_to_keep(sqlite: Database) -> None:
    pragmas = {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": 2,
        "busy_timeout": 5000,
    }
    for name, value in pragmas.items():
        assert (await sqlite.fetch(text(f"PRAGMA {name}"), {}))[0][0] == value


async def test_the_engine_does_not_show_the_password(
    open_database: Callable[[str], Database],
) -> None:
    database = open_database(CLOSED_PORT)
    assert SECRET not in repr(database._engine)
    assert SECRET not in database._engine.url.render_as_string(hide_password=False)


async def test_a_time_of_another_zone_is_stored_as_the_same_moment(database: Database) -> None:
    in_tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    user = replace(make_user(), created_at=in_tokyo, updated_at=in_tokyo)
    await _add(database, user)
    async with SqlUnitOfWork(database) as uow:
        stored = await uow.users.get(user.id)
    assert stored is not None
    assert stored.created_at == NOW
    assert stored.created_at.tzinfo == UTC


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_naive_time_is_refused(kind: str) -> None:
    dialect = make_url(f"{kind}://").get_dialect()()
    with pytest.raises(ValueError, match="aware"):
        UtcTimestamp().process_bind_param(NOW.replace(tzinfo=None), dialect)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///data/keyturn.db", "data/keyturn.db"),
        ("sqlite:////var/lib/keyturn.db", "/var/lib/keyturn.db"),
        ("sqlite+aiosqlite:///keyturn.db", "keyturn.db"),
        ("SQLite:///a folder/100%.db", "a folder/100%.db"),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, file: str) -> None:
    assert sqlite_file(url) == Path(file)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://keyturn:hunter2@db/keyturn",
        "postgres://keyturn:hunter2@db/keyturn?sslmode=require",
        "postgresql+asyncpg://keyturn:p%40ss@db:6432/keyturn",
        "postgresql://a,b:5433/keyturn?target_session_attrs=primary",
    ],
)
def test_a_postgres_url_names_no_file(url: str) -> None:
    assert sqlite_file(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keyturn.db",
        "mysql://keyturn:hunter2@db/keyturn",
        "hunter2",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared",
        "sqlite:hunter2",
        "sqlite://keyturn:hunter2@db:port/keyturn",
    ],
)
def test_a_url_of_no_known_kind_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="URL must") as raised:
        Database(url)
    assert SECRET not in _told(raised.value)


async def test_every_spelling_of_a_postgres_url_connects(
    postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    rest = postgres_url.partition(":")[2]
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg", "PostgreSQL"):
        await open_database(f"{scheme}:{rest}").ping()
    await open_database(f"{postgres_url}&sslmode=prefer&application_name=keyturn").ping()


async def _add(database: Database, user: User) -> None:
    async with SqlUnitOfWork(database) as uow:
        uow.users.add(user)
        await uow.commit()


@asynccontextmanager
async def held(database: Database) -> AsyncIterator[None]:
    """Keep every session locked by a transaction of `database` that does not end."""
    locked, end = asyncio.Event(), asyncio.Event()

    def lock(connection: Connection) -> None:
        connection.execute(refresh_tokens.update().values(ip="::1"))

    async def wait() -> None:
        locked.set()
        await end.wait()

    writes = [StagedWrite(lock, is_single_statement=False)]
    task = asyncio.create_task(database.commit(writes, before_commit=wait))
    await locked.wait()
    try:
        yield
    finally:
        end.set()
        await task


async def _cut_all_others_off(operator: Database) -> None:
    cut = text(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await operator.fetch(cut, {})


def _told(error: BaseException) -> str:
    """What a log would hold of the error, its causes and their traces included."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)
