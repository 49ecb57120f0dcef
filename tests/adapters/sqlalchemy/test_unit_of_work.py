"""What only shows on a real database; the contract kits run in `test_contracts.py`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

import keyturn
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.postgres import PostgresStore
from keyturn.adapters.sqlalchemy.tables import refresh_tokens, roles, users
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.domain.errors import EmailTaken, StaleFamily
from keyturn.domain.user import BUILT_IN_ROLES, USER_ROLE, User
from keyturn.testing.builders import (
    make_event,
    make_family,
    make_mail,
    make_token_id,
    make_user,
    rotate,
)
from keyturn.testing.steps import NOW

READY_FOR_QUERY = b"Z\x00\x00\x00\x05"
"""How PostgreSQL ends its answer to each thing that the client waited for."""

SOURCES = str(Path(keyturn.__file__).parents[1])

ADD_USERS = """
import asyncio, sys
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.testing.builders import make_user

async def main(url, first, last):
    database = Database(url)
    print("ready", flush=True)
    sys.stdin.readline()
    async def add(number):
        async with SqlUnitOfWork(database) as uow:
            uow.users.add(make_user(number))
            await uow.commit()
    await asyncio.gather(*(add(number) for number in range(first, last)))
    await database.dispose()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_of_fifty_rotations_by_two_workers_one_succeeds(
    database_url: str, open_database: Callable[[str], Database]
) -> None:
    workers = [open_database(database_url) for _ in range(2)]
    user = make_user()
    family = make_family(user)
    await _add(workers[0], user)
    async with SqlUnitOfWork(workers[0]) as uow:
        uow.families.add(family)
        await uow.commit()
    rivals = [rotate(family, successor=make_token_id(number)) for number in range(1, 51)]

    async def rotate_on(worker: Database, number: int) -> None:
        async with SqlUnitOfWork(worker) as uow:
            assert await uow.families.get_with_user(family.id) is not None
            uow.families.save(rivals[number])
            await uow.commit()

    outcomes = await asyncio.gather(
        *(rotate_on(workers[number % 2], number) for number in range(50)), return_exceptions=True
    )
    assert [type(o) for o in outcomes if o is not None] == [StaleFamily] * 49
    async with SqlUnitOfWork(workers[1]) as uow:
        assert await uow.families.get(family.id) == rivals[outcomes.index(None)]
    assert [_in_use(worker) for worker in workers] == [0, 0]


async def test_two_processes_write_to_one_sqlite_file(sqlite_url: str, sqlite: Database) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ADD_USERS, sqlite_url, str(first), str(first + 40)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": SOURCES},
        )
        for first in (100, 200)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    results = await asyncio.gather(
        *(process.communicate(b"go\n") for process in processes),
        *(_add(sqlite, make_user(number)) for number in range(300, 340)),
    )
    assert [process.returncode for process in processes] == [0, 0]
    assert len(results) == 42
    assert await sqlite.read(lambda c: c.scalar(text("SELECT count(*) FROM users"))) == 120


async def test_a_rotation_on_postgres_costs_two_round_trips(
    postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    user = make_user()
    family = make_family(user)
    async with _counting_proxy(postgres_url) as (proxy_url, replies):
        database = open_database(proxy_url)
        await _add(database, user)
        async with SqlUnitOfWork(database) as uow:
            uow.families.add(family)
            await uow.commit()
        for _ in range(2):
            # The first one prepares the statements for this connection.
            replies.clear()
            async with SqlUnitOfWork(database) as uow:
                found = await uow.families.get_with_user(family.id)
                assert found is not None
                uow.families.save(rotate(found[0]))
                await uow.commit()
        await database.dispose()
    # On closing, the connection says nothing that is answered.
    assert b"".join(replies).count(READY_FOR_QUERY) == 2


async def test_a_login_on_postgres_costs_seven_round_trips(
    postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    user = make_user()
    async with _counting_proxy(postgres_url) as (proxy_url, replies):
        database = open_database(proxy_url)
        await _add(database, user)
        for number in range(2):
            # The first one prepares the statements for this connection.
            replies.clear()
            async with SqlUnitOfWork(database) as uow:
                found = await uow.users.get_by_email(user.email)
                assert found is not None
            async with SqlUnitOfWork(database) as uow:
                await uow.families.list_live(user.id, NOW)
                uow.users.save(found.logged_in(NOW, password_hash=found.password_hash))
                uow.families.add(make_family(user, number))
                uow.audit.add(make_event(number))
                await uow.commit()
        await database.dispose()
    # Two look-ups, and a transaction of three statements.
    assert b"".join(replies).count(READY_FOR_QUERY) == 7


async def test_rotations_and_logins_write_no_index_on_postgres(postgres_url: str) -> None:
    user = make_user()
    family = make_family(user)
    # One connection, so that its statistics are those of all the work.
    database = Database(postgres_url, pool_size=1)
    await _add(database, user)
    async with SqlUnitOfWork(database) as uow:
        uow.families.add(family)
        await uow.commit()
    for _ in range(200):
        user = user.failed_to_log_in(NOW, at_most=100).logged_in(
            NOW, password_hash=user.password_hash
        )
        family = rotate(family, at=NOW)
        async with SqlUnitOfWork(database) as uow:
            uow.users.note_failed_login(user.id, NOW, at_most=100, when_reached=make_mail())
            uow.users.save(user)
            uow.families.save(family)
            await uow.commit()
    await database.read(lambda c: c.execute(text("SELECT pg_stat_force_next_flush()")))
    counts = await database.fetch(
        text(
            "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
            " WHERE relname IN ('refresh_tokens', 'users') ORDER BY relname"
        ),
        {},
    )
    await database.dispose()
    assert counts == [("refresh_tokens", 200, 200), ("users", 400, 400)]


async def test_a_user_who_is_deleted_takes_sessions_along(database: Database) -> None:
    user = make_user()
    family = make_family(user)
    await _add(database, user)
    async with SqlUnitOfWork(database) as uow:
        uow.families.add(family)
        await uow.commit()
        await database.read(lambda c: c.execute(delete(users)))
        assert await uow.families.get(family.id) is None
        assert await uow.families.list_live(user.id, NOW) == []


async def test_a_role_that_is_deleted_gives_nothing_any_more(database: Database) -> None:
    user = make_user(roles=frozenset(BUILT_IN_ROLES))
    await _add(database, user)
    await database.read(lambda c: c.execute(delete(roles).where(roles.c.name == "admin")))
    async with SqlUnitOfWork(database) as uow:
        stored = await uow.users.get(user.id)
    assert stored is not None
    assert stored.roles == {USER_ROLE}


async def test_no_connection_stays_checked_out_after_a_failed_commit(database: Database) -> None:
    user = make_user()
    family = make_family(user)
    await _add(database, user)
    with pytest.raises(EmailTaken):
        await _add(database, make_user(2, email=user.email))
    async with SqlUnitOfWork(database) as uow:
        uow.families.save(rotate(family))
        with pytest.raises(StaleFamily):
            await uow.commit()
    assert _in_use(database) == 0


async def test_no_connection_stays_checked_out_after_a_cancellation(
    database_url: str, open_database: Callable[[str], Database]
) -> None:
    database = open_database(database_url)
    user = make_user()
    await _add(database, user)

    async def work(number: int) -> None:
        async with SqlUnitOfWork(database) as uow:
            await uow.users.get(user.id)
            uow.families.add(make_family(user, number))
            uow.users.save(user.with_display_name(str(number), NOW))
            await uow.commit()

    # More of them than there are connections, so that some are cancelled while they wait.
    for moment in range(0, 100, 10):
        tasks = [asyncio.create_task(work(100 * moment + number)) for number in range(1, 21)]
        for _ in range(moment):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert _in_use(database) == 0
    await database.ping()


async def test_a_commit_that_is_cancelled_while_it_waits_for_a_lock_lets_go(
    postgres: Database,
) -> None:
    user = make_user()
    family = make_family(user)
    await _add(postgres, user)
    async with SqlUnitOfWork(postgres) as uow:
        uow.families.add(family)
        await uow.commit()

    async def rotate_it() -> None:
        async with SqlUnitOfWork(postgres) as uow:
            uow.families.save(rotate(family))
            await uow.commit()

    async def until_waiting(*, for_a_lock: bool) -> None:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while bool((await postgres.fetch(waiting, {}))[0][0]) is not for_a_lock:
            pass

    async with AsyncEngine(postgres._engine).connect() as connection:
        holder = await connection.execution_options(isolation_level="READ COMMITTED")
        await holder.execute(refresh_tokens.update().values(ip="::1"))
        task = asyncio.create_task(rotate_it())
        await until_waiting(for_a_lock=True)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert _in_use(postgres) == 0
        await holder.rollback()
    await until_waiting(for_a_lock=False)
    await rotate_it()
    assert _in_use(postgres) == 0


async def _add(database: Database, user: User) -> None:
    async with SqlUnitOfWork(database) as uow:
        uow.users.add(user)
        await uow.commit()


def _in_use(database: Database) -> int:
    """How many connections somebody holds; threads hold their own."""
    store = database._store
    return 10 - store._turns if isinstance(store, PostgresStore) else 0


@asynccontextmanager
async def _counting_proxy(url: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Pass everything on to the server of `url`; yield a URL of its own and what was answered."""
    parsed = make_url(url)
    replies: list[bytes] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = parsed.query.get("host")
        if isinstance(folder, str):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{parsed.port or 5432}")
        return await asyncio.open_connection(parsed.host, parsed.port or 5432)

    async def forward(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, log: list[bytes]
    ) -> None:
        while data := await source.read(65_536):
            log.append(data)
            target.write(data)
        target.close()
        await target.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await connect()
        await asyncio.gather(
            forward(reader, server_writer, []), forward(server_reader, writer, replies)
        )

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        proxy_url = parsed.set(host="127.0.0.1", port=port, query={})
        yield proxy_url.render_as_string(hide_password=False), replies
