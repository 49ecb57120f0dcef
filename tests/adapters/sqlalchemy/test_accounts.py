"""What only shows on a real database of accounts that leave, and of mails and tokens."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Row, Select, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.mails import _FIRST_DUE, SqlMailQueue
from keyturn.adapters.sqlalchemy.tables import mails, one_time_tokens, users
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.adapters.sqlalchemy.users import _LIST_DUE
from keyturn.domain.errors import StaleUser, StoreUnavailable
from keyturn.domain.mail import MailKind
from keyturn.domain.user import UserStatus
from keyturn.testing.builders import PASSWORD_HASH, make_mail, make_one_time_token, make_user
from keyturn.testing.steps import HOUR, NOW, Stage, commit

UNTIL = NOW + HOUR
MANY = 3_000


async def test_a_store_of_mails_and_tokens_that_is_gone_is_unavailable(
    open_database: Callable[[str], Database],
) -> None:
    database = open_database("postgresql://keyturn@127.0.0.1:1/keyturn")
    queue, uow, user = SqlMailQueue(database), SqlUnitOfWork(database), make_user()
    for asking in (
        queue.claim(NOW, UNTIL, 1),
        queue.remove(make_mail()),
        queue.put_back(make_mail()),
        queue.list_page(only_dead=False, after=None, limit=1),
        queue.revive(None, NOW),
        uow.users.list_due(NOW, 1),
        uow.one_time_tokens.get("0" * 64),
    ):
        with pytest.raises(StoreUnavailable):
            await asking
    stages: list[Stage] = [
        lambda uow: uow.outbox.add(make_mail()),
        lambda uow: uow.one_time_tokens.add(make_one_time_token(user)),
        lambda uow: uow.one_time_tokens.redeem("0" * 64),
        lambda uow: uow.users.note_failed_login(
            user.id, NOW, at_most=100, when_reached=make_mail()
        ),
        lambda uow: uow.users.erase(user),
    ]
    for stage in stages:
        with pytest.raises(StoreUnavailable):
            await commit(lambda: SqlUnitOfWork(database), stage)


async def test_a_claim_on_postgres_waits_for_no_other(
    postgres: Database, postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    queued = [make_mail(number) for number in range(3)]
    other = open_database(postgres_url)
    async with SqlUnitOfWork(postgres) as uow:
        for mail in queued:
            uow.outbox.add(mail)
        await uow.commit()
    async with (
        AsyncEngine(other._engine)
        .execution_options(isolation_level="READ COMMITTED")
        .begin() as connection
    ):
        locked = mails.select().where(mails.c.id == queued[0].id).with_for_update()
        assert (await connection.execute(locked)).one().kind == queued[0].kind
        claimed = await SqlMailQueue(postgres).claim(NOW, UNTIL, 2)
    assert claimed == [mail.claimed(UNTIL) for mail in queued[1:]]
    assert await SqlMailQueue(postgres).claim(NOW, UNTIL, 2) == [queued[0].claimed(UNTIL)]


async def test_workers_with_pools_of_their_own_claim_each_mail_once(
    database_url: str, open_database: Callable[[str], Database]
) -> None:
    workers = [open_database(database_url) for _ in range(2)]
    async with SqlUnitOfWork(workers[0]) as uow:
        for number in range(50):
            uow.outbox.add(make_mail(number))
        await uow.commit()

    async def claim_all(worker: Database) -> list[int]:
        taken = []
        while batch := await SqlMailQueue(worker).claim(NOW, UNTIL, 3):
            taken += [mail.id.int for mail in batch]
        return taken

    taken = await asyncio.gather(*(claim_all(workers[number % 2]) for number in range(8)))
    ids = [mail_id for batch in taken for mail_id in batch]
    assert sorted(ids) == [make_mail(number).id.int for number in range(50)]


async def test_to_look_for_what_is_due_reads_an_index(database: Database) -> None:
    leaving = [
        {
            "id": user.id,
            "email": user.email,
            "email_key": user.email,
            "password_hash": PASSWORD_HASH,
            "status": UserStatus.ACTIVE.value,
            "epoch": 0,
            "version": 0,
            "created_at": NOW,
            "updated_at": NOW,
            "deletion_due_at": None if number % 1_000 else NOW,
        }
        for number in range(MANY)
        for user in (make_user(number),)
    ]
    queued: list[dict[str, object]] = [
        {
            "id": make_mail(number).id,
            "kind": MailKind.RESET_PASSWORD.value,
            "address": "ada@example.com",
            "address_key": "ada@example.com",
            "created_at": NOW,
            "next_attempt_at": NOW if number % 1_000 else UNTIL,
            "details": [],
            "attempts": 0,
            "dead_at": NOW if number % 1_000 else None,
        }
        for number in range(MANY)
    ]
    await database.read(lambda c: c.execute(insert(users), leaving))
    await database.read(lambda c: c.execute(insert(mails), queued))
    await database.read(lambda c: c.execute(text("ANALYZE")))
    due_users = await _plan(database, _LIST_DUE.limit(10).params(now=NOW))
    due_mails = await _plan(database, _FIRST_DUE.limit(10).params(now=NOW))
    assert "ix_users_deletion_due_at" in due_users
    assert "ix_mails_next_attempt_at_id" in due_mails


async def test_a_use_of_a_token_and_an_erasure_of_its_user_wait_in_the_same_order(
    postgres: Database, postgres_url: str, open_database: Callable[[str], Database]
) -> None:
    user = make_user()
    token = make_one_time_token(user)
    other = open_database(postgres_url)

    async def redeem() -> None:
        async with SqlUnitOfWork(postgres) as uow:
            uow.one_time_tokens.redeem(token.digest)
            uow.users.save(user.with_verified_email(NOW))
            await uow.commit()

    async def erase() -> None:
        async with SqlUnitOfWork(postgres) as uow:
            uow.users.erase(user)
            await uow.commit()

    async def until_waiting(count: int) -> None:
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while (await postgres.fetch(waiting, {}))[0][0] != count:
            pass

    async with SqlUnitOfWork(postgres) as uow:
        uow.users.add(user)
        uow.one_time_tokens.add(token)
        await uow.commit()
    # Both are held up at the token, the one that uses it before the other.
    async with (
        AsyncEngine(other._engine)
        .execution_options(isolation_level="READ COMMITTED")
        .begin() as holder
    ):
        await holder.execute(one_time_tokens.select().with_for_update())
        redeeming = asyncio.create_task(redeem())
        await until_waiting(1)
        erasing = asyncio.create_task(erase())
        await until_waiting(2)
    outcomes = await asyncio.gather(redeeming, erasing, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), StaleUser]


async def _plan(database: Database, query: Select[Any]) -> str:
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"

    def read_plan(connection: Connection) -> Sequence[Row[tuple[object, ...]]]:
        options = {"literal_binds": True}
        compiled = query.compile(dialect=connection.dialect, compile_kwargs=options)
        return connection.exec_driver_sql(f"{explain} {compiled}").all()

    rows = await database.read(read_plan)
    return "\n".join(str(row[-1]) for row in rows)
