"""The thread that commits for all: what is one commit, and what stays atomic by itself."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, event, text

import keyturn
from keyturn.adapters.sqlalchemy.database import Database, StagedWrite
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.domain.errors import EmailTaken, StaleFamily, StoreUnavailable
from keyturn.domain.ids import FamilyId
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import User
from keyturn.ports.revocations import RevocationFeed
from keyturn.testing.builders import make_family, make_revocation, make_user, rotate
from keyturn.testing.steps import NOW, stage_revocation

SOURCES = str(Path(keyturn.__file__).parents[1])

ROTATE_FOR_EVER = """
import asyncio, sys
from uuid import UUID
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.testing.builders import rotate

async def main(url, ids):
    database = Database(url)
    async def rotate_for_ever(family_id):
        while True:
            async with SqlUnitOfWork(database) as uow:
                family, _ = await uow.families.get_with_user(family_id)
                successor = rotate(family)
                uow.families.save(successor)
                await uow.commit()
            print(family_id, successor.generation, flush=True)
    await asyncio.gather(*(rotate_for_ever(UUID(family_id)) for family_id in ids))

asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""


async def test_what_waits_for_one_commit_is_one_commit_and_fails_alone(sqlite: Database) -> None:
    user, families = await _with_families(sqlite, 4)
    told = await _listen(sqlite)
    async with _held(sqlite):
        told.clear()
        rotated = [rotate(family) for family in families]
        waiting = [
            _save(sqlite, rotated[0]),
            _save(sqlite, rotate(rotated[1])),
            _save(sqlite, rotated[1]),
            _revoke_and_add(sqlite, families[2], make_user(2, email=user.email)),
            _revoke_and_add(sqlite, families[3], make_user(3)),
            # Of what the first one has done in the same group.
            _save(sqlite, rotate(families[0])),
        ]
        tasks = [asyncio.create_task(commit) for commit in waiting]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        StaleFamily,
        type(None),
        EmailTaken,
        type(None),
        StaleFamily,
    ]
    # That of the one who held the others up, and theirs.
    assert told.count("COMMIT") == 2
    stored = [await _stored(sqlite, family.id) for family in families]
    assert stored[:3] == [rotated[0], rotated[1], families[2]]
    assert stored[3].revoke_reason is RevokeReason.LOGOUT


async def test_nobody_is_answered_before_the_commit(sqlite: Database) -> None:
    _, families = await _with_families(sqlite, 2)
    async with _held(sqlite):
        tasks = [asyncio.create_task(_save(sqlite, rotate(family))) for family in families]
        await asyncio.sleep(0)
        assert [await _stored(sqlite, family.id) for family in families] == families
        assert not any(task.done() for task in tasks)
    await asyncio.gather(*tasks)
    assert [(await _stored(sqlite, family.id)).generation for family in families] == [1, 1]


async def test_who_is_cancelled_before_the_turn_leaves_nothing_done(sqlite: Database) -> None:
    _, (family,) = await _with_families(sqlite, 1)
    async with _held(sqlite):
        task = asyncio.create_task(_save(sqlite, rotate(family)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()
    await _save(sqlite, rotate(family))


async def test_who_is_cancelled_in_the_middle_waits_until_the_others_are_told(
    sqlite: Database,
) -> None:
    _, (family,) = await _with_families(sqlite, 1)
    feed = _SlowFeed()

    async def revoke() -> None:
        async with SqlUnitOfWork(sqlite, feed=feed) as uow:
            stage_revocation(uow, make_revocation())
            uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
            await uow.commit()

    task = asyncio.create_task(revoke())
    await feed.asked.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    feed.answer.set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert feed.announced == [make_revocation()]
    assert (await _stored(sqlite, family.id)).revoke_reason is RevokeReason.LOGOUT


async def test_to_dispose_finishes_what_was_asked_for(sqlite: Database) -> None:
    _, families = await _with_families(sqlite, 3)
    tasks = [asyncio.create_task(_save(sqlite, rotate(family))) for family in families]
    await asyncio.sleep(0)
    await sqlite.dispose()
    await asyncio.gather(*tasks)
    # And what is asked for later opens it again.
    assert [(await _stored(sqlite, family.id)).generation for family in families] == [1, 1, 1]


async def test_an_error_of_the_disk_is_unavailable_for_all_and_the_next_commit_works(
    sqlite: Database,
) -> None:
    _, families = await _with_families(sqlite, 2)

    def fail(_: Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    def give_up(connection: Connection) -> None:
        # As SQLite itself does when it can't go on.
        connection.exec_driver_sql("ROLLBACK")
        fail(connection)

    async with _held(sqlite):
        tasks = [
            asyncio.create_task(_save(sqlite, rotate(families[0]))),
            asyncio.create_task(sqlite.commit([StagedWrite(give_up, is_single_statement=False)])),
            asyncio.create_task(_save(sqlite, rotate(families[1]))),
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert [await _stored(sqlite, family.id) for family in families] == families
    await asyncio.gather(*(_save(sqlite, rotate(family)) for family in families))


async def test_a_process_that_is_killed_loses_nothing_that_it_has_acknowledged(
    sqlite: Database, sqlite_url: str
) -> None:
    _, families = await _with_families(sqlite, 8)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ROTATE_FOR_EVER, sqlite_url),
        *(str(family.id) for family in families),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": SOURCES},
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(200)]
    process.kill()
    lines += (await process.stdout.read()).splitlines()
    await process.wait()
    acknowledged = {family.id: 0 for family in families}
    for line in lines:
        family_id, _, generation = line.decode().partition(" ")
        # The last line may have been cut off.
        if generation.strip().isdigit():
            acknowledged[FamilyId(UUID(family_id))] = int(generation)
    assert await sqlite.fetch(text("PRAGMA integrity_check"), {}) == [("ok",)]
    for family in families:
        stored = await _stored(sqlite, family.id)
        # One that was committed may not have been acknowledged yet.
        assert stored.generation - acknowledged[family.id] in {0, 1}
        await _save(sqlite, rotate(stored))


class _SlowFeed(RevocationFeed):
    """Tells others when it is let."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.announced: list[Revocation] = []

    async def announce(self, revocations: Sequence[Revocation]) -> str:
        self.asked.set()
        await self.answer.wait()
        self.announced.extend(revocations)
        return "receipt"

    async def confirm(self, revocations: Sequence[Revocation], receipt: str) -> None:
        pass

    async def get_id(self) -> str | None:
        return None

    async def ensure_id(self, known: str | None) -> str:
        raise NotImplementedError


@asynccontextmanager
async def _held(database: Database) -> AsyncIterator[None]:
    """Keep the thread that writes in the middle of a commit of its own."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await end.wait()

    nothing = StagedWrite(lambda _: None, is_single_statement=False)
    task = asyncio.create_task(database.commit([nothing], before_commit=wait))
    await begun.wait()
    try:
        yield
    finally:
        end.set()
        await task


async def _listen(database: Database) -> list[str]:
    """Have the connections that are opened from now on tell what they execute."""
    told: list[str] = []

    def listen(connection: sqlite3.Connection, _: object) -> None:
        connection.set_trace_callback(told.append)

    await database.dispose()
    event.listen(database._store._engine, "connect", listen)
    return told


async def _with_families(database: Database, count: int) -> tuple[User, list[RefreshTokenFamily]]:
    user = make_user()
    families = [make_family(user, number) for number in range(1, count + 1)]
    async with SqlUnitOfWork(database) as uow:
        uow.users.add(user)
        for family in families:
            uow.families.add(family)
        await uow.commit()
    return user, families


async def _save(database: Database, family: RefreshTokenFamily) -> None:
    async with SqlUnitOfWork(database) as uow:
        uow.families.save(family)
        await uow.commit()


async def _revoke_and_add(database: Database, family: RefreshTokenFamily, user: User) -> None:
    async with SqlUnitOfWork(database) as uow:
        uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
        uow.users.add(user)
        await uow.commit()


async def _stored(database: Database, family_id: FamilyId) -> RefreshTokenFamily:
    async with SqlUnitOfWork(database) as uow:
        family = await uow.families.get(family_id)
    assert family is not None
    return family
