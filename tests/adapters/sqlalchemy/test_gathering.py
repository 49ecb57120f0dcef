"""Who asks at the same time is answered by one statement, each as if they had asked alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.gathering import MOST, Gathering
from keyturn.adapters.sqlalchemy.postgres import PostgresStore
from keyturn.adapters.sqlalchemy.prepared import Parameters
from keyturn.adapters.sqlalchemy.tables import refresh_tokens
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.domain.errors import StaleFamily, StoreUnavailable
from keyturn.domain.events import Origin
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.user import User, UserStatus
from keyturn.testing.builders import make_family, make_token_id, make_user, rotate
from keyturn.testing.steps import NOW, add, revoke, save


class Doubling:
    """Answers each number with twice as much, and notes who asked together."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.gathering = Gathering(self._answer)
        self.asked: list[list[object]] = []
        self.begun = asyncio.Event()
        self._failure = failure

    async def _answer(self, many: Sequence[Parameters]) -> list[int | None]:
        self.asked.append([parameters["n"] for parameters in many])
        self.begun.set()
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure
        return [2 * int(str(parameters["n"])) for parameters in many]

    async def ask(self, number: int) -> int | None:
        return await self.gathering.ask({"n": number})


async def test_who_asks_alone_is_told_so() -> None:
    doubling = Doubling()
    assert await doubling.ask(1) is None
    assert await doubling.ask(2) is None
    assert doubling.asked == []


async def test_those_who_ask_at_the_same_time_are_asked_for_once() -> None:
    doubling = Doubling()
    assert await asyncio.gather(*map(doubling.ask, range(1, 6))) == [2, 4, 6, 8, 10]
    assert doubling.asked == [[1, 2, 3, 4, 5]]


async def test_no_more_than_so_many_are_asked_for_at_once() -> None:
    doubling = Doubling()
    numbers = range(1, MOST + 2)
    answers = await asyncio.gather(*map(doubling.ask, numbers))
    assert answers == [2 * number for number in numbers[:-1]] + [None]
    assert [len(together) for together in doubling.asked] == [MOST]


async def test_who_is_cancelled_before_is_not_asked_for() -> None:
    doubling = Doubling()
    tasks = [asyncio.create_task(doubling.ask(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 6)
    assert tasks[1].cancelled()
    assert doubling.asked == [[1, 3]]


async def test_who_is_cancelled_meanwhile_fails_nobody_else() -> None:
    doubling = Doubling()
    tasks = [asyncio.create_task(doubling.ask(number)) for number in (1, 2)]
    await doubling.begun.wait()
    tasks[0].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[0].cancelled()
    assert answers[1] == 4


async def test_a_failure_is_that_of_everybody() -> None:
    doubling = Doubling(OSError("gone"))
    outcomes = await asyncio.gather(*map(doubling.ask, (1, 2)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["gone", "gone"]


@pytest.fixture
async def families(postgres: Database) -> list[RefreshTokenFamily]:
    """Four sessions of two users, as they are stored."""
    users = [make_user(1), make_user(2)]
    families = [make_family(users[number % 2], number) for number in range(1, 5)]
    for user in users:
        await add(lambda: SqlUnitOfWork(postgres), user)
    for family in families:
        await add(lambda: SqlUnitOfWork(postgres), family)
    return families


@pytest.fixture
def statements(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What PostgreSQL is asked by the driver itself, while the test runs."""
    store = postgres._store
    assert isinstance(store, PostgresStore)
    asked: list[str] = []
    with_link = store._with_link

    async def noted(work: Callable[..., object], *, repeatable: bool = False) -> object:
        asked.append(work.__qualname__.split(".")[1])
        return await with_link(work, repeatable=repeatable)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(store, "_with_link", noted)
    return asked


async def test_rotations_at_the_same_time_are_two_statements(
    postgres: Database, families: list[RefreshTokenFamily], statements: list[str]
) -> None:
    read = await asyncio.gather(*(_read(postgres, family) for family in families))
    assert read == families
    await asyncio.gather(*(_save(postgres, rotate(family)) for family in families))
    assert statements == ["_fetch_together", "_fetch_together"]
    assert [await _read(postgres, family) for family in families] == list(map(rotate, families))


async def test_reads_at_the_same_time_are_planned_once_however_many_they_are(
    postgres: Database, families: list[RefreshTokenFamily]
) -> None:
    [(version,)] = await postgres.fetch(text("SHOW server_version_num"), {})
    if int(version) < 140000:
        pytest.skip("tells of its plans since version 14")
    tried_by_postgresql = 5
    for number in (2, 3, 4) * 4:
        await asyncio.gather(*[_read(postgres, family) for family in families[:number]])
    planned = text(
        "SELECT custom_plans, generic_plans FROM pg_prepared_statements"
        " WHERE statement LIKE 'SELECT refresh_tokens.id%ANY%'"
    )
    [(custom, generic)] = await postgres.fetch(planned, {})
    assert (custom, generic) == (tried_by_postgresql, 12 - tried_by_postgresql)


async def test_who_is_read_at_the_same_time_is_read_with_their_own_user(
    postgres: Database, families: list[RefreshTokenFamily], statements: list[str]
) -> None:
    disabled = make_user(2).with_status(UserStatus.DISABLED, NOW)
    await save(lambda: SqlUnitOfWork(postgres), disabled)
    statements.clear()

    async def read(family: RefreshTokenFamily) -> tuple[RefreshTokenFamily, User] | None:
        async with SqlUnitOfWork(postgres) as uow:
            return await uow.families.get_with_user(family.id)

    users = {user.id: user for user in (make_user(1), disabled)}
    read_together = await asyncio.gather(*map(read, families))
    assert read_together == [(family, users[family.user_id]) for family in families]
    assert statements == ["_fetch_together"]


async def test_one_session_that_several_read_is_read_for_each(
    postgres: Database, families: list[RefreshTokenFamily]
) -> None:
    asked = [families[0], families[1], families[0], make_family(make_user(9), 9)]
    assert await asyncio.gather(*(_read(postgres, family) for family in asked)) == [
        *asked[:3],
        None,
    ]


async def test_of_two_rotations_of_one_session_at_the_same_time_one_is_stale(
    postgres: Database, families: list[RefreshTokenFamily]
) -> None:
    first, other = families[:2]
    rivals = [rotate(first, successor=make_token_id(n)) for n in (91, 92)]
    outcomes = await asyncio.gather(
        *(_save(postgres, family) for family in (*rivals, rotate(other))), return_exceptions=True
    )
    failed = [outcome for outcome in outcomes if outcome is not None]
    assert [type(outcome) for outcome in failed] == [StaleFamily]
    assert outcomes[2] is None
    assert await _read(postgres, first) == rivals[outcomes.index(None)]
    assert await _read(postgres, other) == rotate(other)


async def test_a_stale_rotation_fails_alone(
    postgres: Database, families: list[RefreshTokenFamily]
) -> None:
    revoked, rotated, good = families[:3]
    await revoke(lambda: SqlUnitOfWork(postgres), revoked.id, NOW, RevokeReason.LOGOUT)
    await _save(postgres, rotate(rotated))
    outcomes = await asyncio.gather(
        *(_save(postgres, rotate(family)) for family in (revoked, rotated, good)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [StaleFamily, StaleFamily, type(None)]
    assert await _read(postgres, good) == rotate(good)


async def test_a_value_that_is_refused_fails_alone(
    postgres: Database, families: list[RefreshTokenFamily]
) -> None:
    refused = [
        families[0].rotated(make_token_id(91), NOW, SessionPolicy(), Origin(user_agent="\x00")),
        replace(rotate(families[1]), generation=2**70),
    ]
    outcomes = await asyncio.gather(
        *(_save(postgres, family) for family in (*refused, *map(rotate, families[2:]))),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes[:2]] == [StoreUnavailable, StoreUnavailable]
    assert outcomes[2:] == [None, None]
    assert [await _read(postgres, family) for family in families[:2]] == families[:2]
    assert [await _read(postgres, family) for family in families[2:]] == [
        rotate(family) for family in families[2:]
    ]


async def test_a_row_that_is_locked_holds_up_nobody_else(
    postgres: Database, families: list[RefreshTokenFamily]
) -> None:
    locked, *free = families
    store = postgres._store
    assert isinstance(store, PostgresStore)
    async with AsyncEngine(store._engine).connect() as connection:
        holder = await connection.execution_options(isolation_level="READ COMMITTED")
        await holder.execute(
            refresh_tokens.update().where(refresh_tokens.c.id == locked.id).values(ip="::1")
        )
        waiting = asyncio.create_task(_save(postgres, rotate(locked)))
        await asyncio.gather(*(_save(postgres, rotate(family)) for family in free))
        assert not waiting.done()
        await holder.rollback()
    await waiting
    assert [await _read(postgres, family) for family in families] == list(map(rotate, families))


async def test_a_lost_answer_is_that_of_all_and_nobody_tries_alone(
    postgres_url: str,
    postgres: Database,
    families: list[RefreshTokenFamily],
    open_database: Callable[[str], Database],
) -> None:
    """Whoever tried alone would find their own rotation, and take it for another's."""
    async with _losing_the_answer_to_an_update(postgres_url) as url:
        database = open_database(url)
        outcomes = await asyncio.gather(
            *(_save(database, rotate(family)) for family in families), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * len(families)
        await database.dispose()
    assert [await _read(postgres, family) for family in families] == list(map(rotate, families))


async def test_together_as_alone(postgres: Database, families: list[RefreshTokenFamily]) -> None:
    """Every column, whether it is empty or not."""
    origins = [Origin(), Origin(ip="::1", user_agent="a'b"), Origin(user_agent='{x,"y"}')]
    alone = []
    together = []
    for number, origin in enumerate(origins):
        successor = make_token_id(90 + number)
        family = families[number].rotated(successor, NOW, SessionPolicy(), origin)
        together.append(family)
    await asyncio.gather(*(_save(postgres, family) for family in together))
    for family in together:
        async with SqlUnitOfWork(postgres) as uow:
            alone.append(await uow.families.get(family.id))
    assert alone == together


async def _read(database: Database, family: RefreshTokenFamily) -> RefreshTokenFamily | None:
    async with SqlUnitOfWork(database) as uow:
        found = await uow.families.get_with_user(family.id)
    return None if found is None else found[0]


async def _save(database: Database, family: RefreshTokenFamily) -> None:
    await save(lambda: SqlUnitOfWork(database), family)


@asynccontextmanager
async def _losing_the_answer_to_an_update(url: str) -> AsyncIterator[str]:
    """Pass everything on to the server of `url`, and cut the client off at its first update."""
    parsed = make_url(url)
    losing = ["the first answer"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        folder = parsed.query.get("host")
        if isinstance(folder, str):
            path = f"{folder}/.s.PGSQL.{parsed.port or 5432}"
            server_reader, server_writer = await asyncio.open_unix_connection(path)
        else:
            server_reader, server_writer = await asyncio.open_connection(
                parsed.host, parsed.port or 5432
            )

        async def ask() -> None:
            while data := await reader.read(65_536):
                server_writer.write(data)
            server_writer.close()

        async def answer() -> None:
            while data := await server_reader.read(65_536):
                # The tag of a statement that is committed.
                if b"UPDATE " in data and losing:
                    losing.clear()
                    break
                writer.write(data)
            writer.close()

        await asyncio.gather(ask(), answer())

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        proxied = parsed.set(host="127.0.0.1", port=port, query={})
        yield proxied.render_as_string(hide_password=False)
