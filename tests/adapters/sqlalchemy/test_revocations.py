"""What of revocation, purging and roles only shows on a real database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.deployment import SqlDeploymentRecord
from keyturn.adapters.sqlalchemy.housekeeping import SqlHousekeeping
from keyturn.adapters.sqlalchemy.revocations import (
    _READ_ON_POSTGRES,
    SqlRevocationList,
    insert_revocations,
)
from keyturn.adapters.sqlalchemy.tables import audit_events, roles, user_roles
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.domain.errors import (
    InvalidAccessToken,
    RevocationsUnknown,
    RoleNotFound,
    StoreUnavailable,
)
from keyturn.domain.policies import revoked_until
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import ADMIN_ROLE
from keyturn.ports.persistence import Purged
from keyturn.ports.revocations import RevocationFeed
from keyturn.testing.builders import (
    make_claims,
    make_event,
    make_family,
    make_revocation,
    make_user,
)
from keyturn.testing.doubles import ManualClock
from keyturn.testing.steps import HOUR, NOW, stage_revocation
from keyturn.use_cases.revocation_replica import RevocationReplica

MAX_STALENESS = timedelta(seconds=10)


class Wire(Protocol):
    port: int

    async def cut(self) -> None: ...

    async def mend(self) -> None: ...


LayWire = Callable[[Callable[[], Awaitable[object]]], Awaitable[Wire]]


async def test_an_entry_whose_commit_was_overtaken_is_not_skipped(postgres: Database) -> None:
    revocations = SqlRevocationList(postgres)
    slow, fast = make_revocation(1), make_revocation(2)
    async with AsyncEngine(postgres._engine).connect() as connection:
        holder = await connection.execution_options(isolation_level="READ COMMITTED")
        await holder.run_sync(insert_revocations, [slow])
        await revoke(postgres, fast)
        page = await revocations.read(None)
        assert page.revocations == (fast,)
        # Told again for as long as something older may still be committed.
        page = await revocations.read(page.cursor)
        assert page.revocations == (fast,)
        await holder.commit()
    page = await revocations.read(page.cursor)
    assert set(page.revocations) == {slow, fast}
    assert (await revocations.read(page.cursor)).revocations == ()


async def test_an_entry_is_not_skipped_that_was_begun_before_an_older_one_was_committed(
    postgres: Database,
) -> None:
    revocations = SqlRevocationList(postgres)
    cursor = (await revocations.read(None)).cursor
    entries = [make_revocation(number) for number in range(3)]
    seen: set[Revocation] = set()
    connections = [await AsyncEngine(postgres._engine).connect() for _ in entries]
    for connection, entry in zip(connections, entries, strict=True):
        holder = await connection.execution_options(isolation_level="READ COMMITTED")
        await holder.run_sync(insert_revocations, [entry])
    for number in (2, 0, 1):
        await connections[number].commit()
        await connections[number].close()
        page = await revocations.read(cursor)
        cursor = page.cursor
        seen.update(page.revocations)
        assert entries[number] in seen
    assert seen == set(entries)


async def test_a_transaction_that_is_rolled_back_holds_the_cursor_no_longer(
    postgres: Database,
) -> None:
    revocations = SqlRevocationList(postgres)
    async with AsyncEngine(postgres._engine).connect() as connection:
        holder = await connection.execution_options(isolation_level="READ COMMITTED")
        await holder.run_sync(insert_revocations, [make_revocation(1)])
        await revoke(postgres, make_revocation(2))
        cursor = (await revocations.read(None)).cursor
        await holder.rollback()
    page = await revocations.read(cursor)
    assert page.revocations == (make_revocation(2),)
    assert (await revocations.read(page.cursor)).revocations == ()


async def test_another_server_in_the_same_place_is_read_from_the_start(postgres: Database) -> None:
    revocations = SqlRevocationList(postgres)
    await revoke(postgres, make_revocation())
    server, horizon = map(int, (await revocations.read(None)).cursor.split("/"))
    for cursor in (f"{server + 1}/{horizon}", f"{server}/{horizon + 1_000_000}"):
        page = await revocations.read(cursor)
        assert page.revocations == (make_revocation(),)
        assert page.cursor.startswith(f"{server}/")
        assert (await revocations.read(page.cursor)).revocations == ()


async def test_a_look_at_a_long_list_that_is_idle_reads_an_index(postgres: Database) -> None:
    entries = [make_revocation(number) for number in range(3_000)]
    await postgres.read(lambda c: insert_revocations(c, entries))
    await postgres.read(lambda c: c.execute(text("ANALYZE revocations")))
    horizon = int((await SqlRevocationList(postgres).read(None)).cursor.split("/")[1])
    query = _READ_ON_POSTGRES.params(after=horizon).compile(
        dialect=postgres._engine.dialect, compile_kwargs={"literal_binds": True}
    )
    plan = await postgres.read(lambda c: c.exec_driver_sql(f"EXPLAIN {query}").all())
    lines = "\n".join(row[0] for row in plan)
    assert "ix_revocations_transaction_id" in lines
    assert "Seq Scan" not in lines


async def test_who_is_given_a_role_while_it_changes_loses_older_tokens_too(
    postgres: Database,
) -> None:
    user = make_user()
    async with SqlUnitOfWork(postgres) as uow:
        uow.users.add(user)
        await uow.commit()

    async def raise_epochs() -> None:
        async with SqlUnitOfWork(postgres) as uow:
            uow.roles.put(ADMIN_ROLE.redefined(ADMIN_ROLE))
            uow.users.raise_epochs(ADMIN_ROLE.name, NOW)
            await uow.commit()

    async with AsyncEngine(postgres._engine).connect() as connection:
        giver = await connection.execution_options(isolation_level="READ COMMITTED")
        await giver.execute(user_roles.insert().values(user_id=user.id, role=ADMIN_ROLE.name))
        task = asyncio.create_task(raise_epochs())
        await until_it_waits(postgres, task)
        await giver.commit()
    await task
    async with SqlUnitOfWork(postgres) as uow:
        stored = await uow.users.get(user.id)
    assert stored is not None
    assert stored.epoch == 1


async def test_a_role_that_ends_while_it_is_given_is_not_found(postgres: Database) -> None:
    user = make_user()
    async with SqlUnitOfWork(postgres) as uow:
        uow.users.add(user)
        await uow.commit()

    async def promote() -> None:
        async with SqlUnitOfWork(postgres) as uow:
            uow.users.save(user.with_roles(frozenset({ADMIN_ROLE}), NOW))
            await uow.commit()

    async with AsyncEngine(postgres._engine).connect() as connection:
        remover = await connection.execution_options(isolation_level="READ COMMITTED")
        await remover.execute(roles.delete().where(roles.c.name == ADMIN_ROLE.name))
        task = asyncio.create_task(promote())
        await until_it_waits(postgres, task)
        await remover.commit()
    with pytest.raises(RoleNotFound):
        await task


async def test_a_purge_waits_for_nobody(postgres: Database) -> None:
    async with SqlUnitOfWork(postgres) as uow:
        for number in range(3):
            uow.audit.add(make_event(number))
        await uow.commit()
    housekeeping = SqlHousekeeping(postgres)
    late = NOW + HOUR
    async with AsyncEngine(postgres._engine).connect() as connection:
        holder = await connection.execution_options(isolation_level="READ COMMITTED")
        held = audit_events.update().where(audit_events.c.id == make_event(0).id)
        await holder.execute(held.values(ip="::1"))
        purged = await housekeeping.purge(ended_before=late, now=late, events_before=late, batch=9)
        assert purged == Purged(audit_events=2)
        await holder.rollback()
    purged = await housekeeping.purge(ended_before=late, now=late, events_before=late, batch=9)
    assert purged == Purged(audit_events=1)


async def test_a_database_that_is_gone_is_unavailable() -> None:
    database = Database("postgresql://keyturn@127.0.0.1:1/keyturn")
    housekeeping = SqlHousekeeping(database)
    with pytest.raises(StoreUnavailable):
        await SqlRevocationList(database).read(None)
    with pytest.raises(StoreUnavailable):
        await housekeeping.lead("purge", "a", NOW, NOW + HOUR)
    with pytest.raises(StoreUnavailable):
        await housekeeping.purge(ended_before=NOW, now=NOW, events_before=NOW, batch=1)
    await database.dispose()


async def test_a_longer_lifetime_is_recorded_only_after_a_revocation_that_does_not_know_it(
    postgres: Database,
) -> None:
    deployment = SqlDeploymentRecord(postgres)
    session = make_family(make_user()).id
    recordings: list[asyncio.Task[None]] = []

    class RecordingFeed(NoFeed):
        """Lets another process record a longer lifetime, when only the commit is left to do."""

        async def announce(self, revocations: Sequence[Revocation]) -> str:
            recordings.append(asyncio.create_task(deployment.record_access_ttl(9 * HOUR)))
            await until_it_waits(postgres, recordings[0])
            return ""

    revoked: list[Revocation] = []
    async with SqlUnitOfWork(postgres, revoked.extend, RecordingFeed()) as uow:
        uow.revocations.add_session(session, NOW)
        await uow.commit()
    await recordings[0]
    async with SqlUnitOfWork(postgres, revoked.extend) as uow:
        uow.revocations.add_session(session, NOW)
        await uow.commit()
    assert revoked[1].expires_at == revoked_until(NOW, 9 * HOUR)
    assert revoked[0].expires_at < revoked[1].expires_at


async def test_transactions_that_revoke_do_not_wait_for_each_other(postgres: Database) -> None:
    user = make_user()
    revoked: list[Revocation] = []

    class RevokingFeed(NoFeed):
        """Lets another process revoke, when only the commit is left to do."""

        async def announce(self, revocations: Sequence[Revocation]) -> str:
            async with SqlUnitOfWork(postgres, revoked.extend) as uow:
                uow.revocations.add_user(user.id, 1, NOW)
                await uow.commit()
            return ""

    async with SqlUnitOfWork(postgres, feed=RevokingFeed()) as uow:
        uow.revocations.add_session(make_family(make_user()).id, NOW)
        await uow.commit()
    assert [entry.subject for entry in revoked] == [user.id]


async def test_without_the_record_nothing_is_revoked(database: Database) -> None:
    family = make_family(make_user())
    async with SqlUnitOfWork(database) as uow:
        uow.users.add(make_user())
        uow.families.add(family)
        await uow.commit()
    await database.execute(text("DELETE FROM deployment"), {})
    async with SqlUnitOfWork(database) as uow:
        uow.families.revoke(family.id, NOW, RevokeReason.LOGOUT)
        uow.revocations.add_session(family.id, NOW)
        with pytest.raises(StoreUnavailable):
            await uow.commit()
        assert await uow.families.get(family.id) == family


async def test_who_is_revoked_while_a_process_is_cut_off_does_not_get_back_in(
    postgres_url: str, open_database: Callable[[str], Database], lay_wire: LayWire
) -> None:
    parsed = make_url(postgres_url)

    async def connect() -> object:
        folder = parsed.query.get("host")
        if isinstance(folder, str):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{parsed.port or 5432}")
        return await asyncio.open_connection(parsed.host, parsed.port or 5432)

    wire = await lay_wire(connect)
    wired_url = parsed.set(host="127.0.0.1", port=wire.port, query={})
    one = open_database(postgres_url)
    other = open_database(wired_url.render_as_string(hide_password=False))
    clock = ManualClock()
    replica = RevocationReplica(SqlRevocationList(other), clock, MAX_STALENESS)
    await replica.follow()
    user = make_user()
    sessions = [make_family(user, number) for number in range(4)]
    claims = [make_claims(user, session) for session in sessions]

    async def end(number: int) -> None:
        async with SqlUnitOfWork(one) as uow:
            uow.revocations.add_session(sessions[number].id, clock.now())
            await uow.commit()

    def is_in(number: int) -> bool:
        try:
            replica.check(claims[number], clock.now())
        except InvalidAccessToken:
            return False
        return True

    await end(0)
    await replica.follow()
    assert [is_in(number) for number in range(4)] == [False, True, True, True]

    await wire.cut()
    await end(1)
    with pytest.raises(StoreUnavailable):
        await replica.follow()
    clock.advance(MAX_STALENESS + timedelta(seconds=1))
    await end(2)
    assert not is_in(0)
    for number in (1, 2, 3):
        with pytest.raises(RevocationsUnknown):
            is_in(number)
    with pytest.raises(StoreUnavailable):
        await replica.follow()

    await wire.mend()
    await replica.follow()
    assert [is_in(number) for number in range(4)] == [False, False, False, True]
    await other.dispose()


class NoFeed(RevocationFeed):
    """Carries nothing."""

    async def announce(self, revocations: Sequence[Revocation]) -> str:
        raise NotImplementedError

    async def confirm(self, revocations: Sequence[Revocation], receipt: str) -> None:
        pass

    async def get_id(self) -> str | None:
        return None

    async def ensure_id(self, known: str | None) -> str:
        raise NotImplementedError


async def until_it_waits(database: Database, task: asyncio.Task[None]) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while not (await database.fetch(waiting, {}))[0][0]:
        assert not task.done()


async def revoke(database: Database, *entries: Revocation) -> None:
    async with SqlUnitOfWork(database) as uow:
        for entry in entries:
            stage_revocation(uow, entry)
        await uow.commit()
