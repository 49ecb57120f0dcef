"""The contract kit on Redis, and what becomes of revocations when Redis fails or forgets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from keyturn.adapters.redis.revocations import BATCH, RedisRevocationList
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.deployment import SqlDeploymentRecord
from keyturn.adapters.sqlalchemy.revocations import SqlRevocationList
from keyturn.adapters.sqlalchemy.unit_of_work import SqlUnitOfWork
from keyturn.domain.errors import InvalidAccessToken, RevocationsUnknown, StoreUnavailable
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import USER_ROLE
from keyturn.ports.deployment import DeploymentRecord
from keyturn.ports.revocations import RevocationList, RevocationPage
from keyturn.testing.builders import make_claims, make_family, make_revocation, make_user
from keyturn.testing.doubles import ManualClock
from keyturn.testing.revocation_contract import RevocationContract, RevokingUnitOfWorkFactory
from keyturn.testing.steps import HOUR, NOW, stage_revocation
from keyturn.use_cases.revocation_replica import RevocationReplica

OpenList = Callable[[str], RedisRevocationList]


MAX_STALENESS = timedelta(seconds=10)


class Wire(Protocol):
    port: int

    async def cut(self) -> None: ...

    async def mend(self) -> None: ...


LayWire = Callable[[Callable[[], Awaitable[object]]], Awaitable[Wire]]


class RedisServer(Protocol):
    url: str

    def start(self) -> None: ...

    def stop(self) -> None: ...


class TestRedisRevocations(RevocationContract):
    @pytest.fixture
    def revocations(self, redis_url: str, open_list: OpenList) -> RedisRevocationList:
        return open_list(redis_url)

    @pytest.fixture
    def unit_of_work(
        self, database: Database, revocations: RedisRevocationList
    ) -> RevokingUnitOfWorkFactory:
        return lambda on_revoked: SqlUnitOfWork(database, on_revoked, revocations)

    @pytest.fixture
    def deployment(self, database: Database) -> DeploymentRecord:
        return SqlDeploymentRecord(database)


async def test_what_one_worker_revokes_another_reads(
    database: Database, redis_url: str, open_list: OpenList
) -> None:
    one, other = open_list(redis_url), open_list(redis_url)
    cursor = (await other.read(None)).cursor
    await revoke(database, one, make_revocation())
    page = await other.read(cursor)
    assert page.revocations == (make_revocation(),)
    assert (await other.read(page.cursor)).revocations == ()


async def test_more_entries_than_a_batch_are_all_told(
    database: Database, redis_url: str, open_list: OpenList
) -> None:
    one, other = open_list(redis_url), open_list(redis_url)
    cursor = (await other.read(None)).cursor
    entries = [make_revocation(number) for number in range(2 * BATCH + 1)]
    await revoke(database, one, *entries)
    assert (await other.read(cursor)).revocations == tuple(entries)
    assert set((await other.read(None)).revocations) == set(entries)


async def test_nothing_is_revoked_without_redis(
    database: Database, redis_server: RedisServer, open_list: OpenList
) -> None:
    feed = open_list(redis_server.url)
    user = make_user()
    told: list[Revocation] = []
    async with SqlUnitOfWork(database) as uow:
        uow.users.add(user)
        await uow.commit()
    redis_server.stop()
    async with SqlUnitOfWork(database, told.extend, feed) as uow:
        uow.users.save(user.logged_out_everywhere(NOW))
        stage_revocation(uow, make_revocation())
        with pytest.raises(StoreUnavailable):
            await uow.commit()
    async with SqlUnitOfWork(database, told.extend, feed) as uow:
        uow.users.raise_epochs(USER_ROLE.name, NOW)
        with pytest.raises(StoreUnavailable):
            await uow.commit()
        assert await uow.users.get(user.id) == user
    assert told == []
    assert (await SqlRevocationList(database).read(None)).revocations == ()


async def test_what_revokes_nothing_needs_no_redis(
    database: Database, redis_server: RedisServer, open_list: OpenList
) -> None:
    feed = open_list(redis_server.url)
    redis_server.stop()
    user = make_user()
    async with SqlUnitOfWork(database, feed=feed) as uow:
        uow.users.add(user)
        await uow.commit()
    async with SqlUnitOfWork(database, feed=feed) as uow:
        uow.users.save(user.logged_in(NOW, password_hash=user.password_hash))
        uow.users.raise_epochs("ghost", NOW)
        await uow.commit()


async def test_a_redis_that_forgot_everything_makes_no_follower_skip_anything(
    database: Database, redis_server: RedisServer, open_list: OpenList
) -> None:
    one, other = open_list(redis_server.url), open_list(redis_server.url)
    cursor = (await other.read(None)).cursor
    before, after = make_revocation(1), make_revocation(2)
    await revoke(database, one, before)
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        await other.read(cursor)
    redis_server.start()
    await revoke(database, one, after)
    page = await other.read(cursor)
    assert set(page.revocations) == {before, after}
    assert (await other.read(page.cursor)).revocations == ()
    assert set((await open_list(redis_server.url).read(None)).revocations) == {before, after}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(("FLUSHALL",), id="emptied"),
        pytest.param(("XTRIM", "{key}", "MAXLEN", "0"), id="trimmed"),
        pytest.param(("XDEL", "{key}", "0-1"), id="beheaded"),
    ],
)
async def test_a_stream_that_somebody_damaged_makes_no_follower_skip_anything(
    database: Database, redis_server: RedisServer, open_list: OpenList, damage: Sequence[str]
) -> None:
    one, other = open_list(redis_server.url), open_list(redis_server.url)
    cursor = (await other.read(None)).cursor
    before, after = make_revocation(1), make_revocation(2)
    await revoke(database, one, before)
    async with Redis.from_url(redis_server.url) as redis:
        await redis.execute_command(  # type: ignore[no-untyped-call]  # of redis-py
            *(word.format(key=one._key) for word in damage)
        )
    await revoke(database, one, after)
    assert set((await other.read(cursor)).revocations) == {before, after}


async def test_what_redis_forgets_between_announcement_and_commit_is_told_again(
    database: Database, redis_server: RedisServer, open_list: OpenList
) -> None:
    follower = open_list(redis_server.url)
    cursor = ""

    class Forgetful(RedisRevocationList):
        async def announce(self, revocations: Sequence[Revocation]) -> str:
            nonlocal cursor
            receipt = await super().announce(revocations)
            if not cursor:
                redis_server.stop()
                redis_server.start()
                # Nothing is committed yet: neither Redis nor the database tells of it.
                page = await follower.read(None)
                assert page.revocations == ()
                cursor = page.cursor
            return receipt

    feed = Forgetful(
        redis_server.url, SqlRevocationList(database), ManualClock(), key=follower._key
    )
    await revoke(database, feed, make_revocation())
    await feed.aclose()
    assert (await follower.read(cursor)).revocations == (make_revocation(),)


async def test_what_can_not_be_confirmed_is_told_again_by_the_next_look(
    database: Database, redis_server: RedisServer, open_list: OpenList
) -> None:
    one, other = open_list(redis_server.url), open_list(redis_server.url)

    class LosingTouch(RedisRevocationList):
        async def announce(self, revocations: Sequence[Revocation]) -> str:
            receipt = await super().announce(revocations)
            redis_server.stop()
            return receipt

    feed = LosingTouch(redis_server.url, SqlRevocationList(database), ManualClock(), key=one._key)
    told: list[Revocation] = []
    async with SqlUnitOfWork(database, told.extend, feed) as uow:
        stage_revocation(uow, make_revocation())
        await uow.commit()
    assert told == [make_revocation()]
    redis_server.start()
    # As if it had looked after the restart and before the commit.
    async with Redis.from_url(redis_server.url) as redis:
        assert await redis.exists(other._key) == 0
    cursor = (await other._look("0-1")).life + "/0-1"
    feed.announce = one.announce  # type: ignore[method-assign]  # Redis stays up from now on
    await feed.read(None)
    await feed.aclose()
    assert (await other.read(cursor)).revocations == (make_revocation(),)


async def test_a_commit_that_fails_after_the_announcement_costs_a_login_at_most(
    database: Database, redis_url: str, open_list: OpenList
) -> None:
    one = open_list(redis_url)
    told: list[Revocation] = []

    class Failing(RedisRevocationList):
        async def announce(self, revocations: Sequence[Revocation]) -> str:
            await super().announce(revocations)
            raise StoreUnavailable

    feed = Failing(redis_url, SqlRevocationList(database), ManualClock(), key=one._key)
    async with SqlUnitOfWork(database, told.extend, feed) as uow:
        uow.users.add(make_user())
        stage_revocation(uow, make_revocation())
        with pytest.raises(StoreUnavailable):
            await uow.commit()
        assert await uow.users.get(make_user().id) is None
    await feed.aclose()
    assert told == []
    assert (await one.read(None)).revocations == (make_revocation(),)


async def test_a_cancelled_confirmation_is_made_up_for(
    database: Database, redis_url: str, open_list: OpenList
) -> None:
    feed = open_list(redis_url)
    task = asyncio.create_task(feed.confirm([make_revocation()], "another life"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (await feed.read(None)).revocations == (make_revocation(),)


async def test_entries_leave_the_stream_when_they_expire(
    database: Database, redis_url: str, open_list: OpenList, clock: ManualClock
) -> None:
    feed = open_list(redis_url)
    entries = [make_revocation(n, expires_at=clock.now() + n * HOUR) for n in (1, 2, 3)]
    await feed.announce(entries)
    clock.advance(2 * HOUR)
    cursor = (await feed.read(None)).cursor
    newest = make_revocation(4, expires_at=clock.now() + HOUR)
    await feed.announce([newest])
    assert (await feed.read(None)).revocations == (entries[2], newest)
    assert (await feed.read(cursor)).revocations == (newest,)


async def test_a_start_without_the_durable_list_fails(
    redis_url: str, open_list: OpenList, clock: ManualClock
) -> None:
    class Gone(RevocationList):
        async def read(self, after: str | None) -> object:  # type: ignore[override]  # never returns
            raise StoreUnavailable

    key = open_list(redis_url)._key
    feed = RedisRevocationList(redis_url, Gone(), clock, key=key)
    with pytest.raises(StoreUnavailable):
        await feed.read(None)
    await feed.aclose()


async def test_following_goes_on_without_the_database(
    database: Database, redis_url: str, open_list: OpenList
) -> None:
    one, other = open_list(redis_url), open_list(redis_url)
    cursor = (await other.read(None)).cursor
    await revoke(database, one, make_revocation())
    other._durable = None  # type: ignore[assignment]  # whoever asks it fails
    assert (await other.read(cursor)).revocations == (make_revocation(),)


async def test_a_follower_that_keeps_its_cursor_does_not_read_the_durable_list_each_time(
    database: Database, redis_url: str, open_list: OpenList, clock: ManualClock
) -> None:
    follower = open_list(redis_url)
    cursor = (await follower.read(None)).cursor
    durable = SqlRevocationList(database)
    asked: list[str | None] = []

    class Counting(RevocationList):
        async def read(self, after: str | None) -> RevocationPage:
            asked.append(after)
            return await durable.read(after)

    follower._durable = Counting()
    entry = make_revocation()
    for _ in range(30):
        clock.advance(timedelta(seconds=1))
        await follower.read(cursor)
    assert len(asked) == 6
    async with SqlUnitOfWork(database) as uow:
        stage_revocation(uow, entry)
        await uow.commit()
    clock.advance(MAX_STALENESS / 2)
    assert (await follower.read(cursor)).revocations == (entry,)


@pytest.mark.parametrize("url", ["", "http://localhost", "redis://:hunter2@host:port/0"])
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str, clock: ManualClock) -> None:
    class Unused(RevocationList):
        async def read(self, after: str | None) -> object:  # type: ignore[override]  # never called
            raise NotImplementedError

    with pytest.raises(ValueError, match="must begin with redis://") as raised:
        RedisRevocationList(url, Unused(), clock)
    assert "hunter2" not in str(raised.value)


async def test_a_redis_that_is_not_there_tells_no_secret(
    database: Database, clock: ManualClock
) -> None:
    feed = RedisRevocationList("redis://:hunter2@127.0.0.1:1/0", SqlRevocationList(database), clock)
    with pytest.raises(StoreUnavailable) as raised:
        await feed.read(None)
    assert "ConnectionError" in str(raised.value.__cause__)
    assert "hunter2" not in f"{raised.value.__cause__!r} {feed!r}"
    await feed.aclose()


async def test_who_is_revoked_while_a_process_is_cut_off_does_not_get_back_in(
    database: Database, redis_url: str, open_list: OpenList, lay_wire: LayWire, clock: ManualClock
) -> None:
    parsed = urlsplit(redis_url)

    async def connect() -> object:
        if parsed.scheme == "unix":
            return await asyncio.open_unix_connection(parsed.path)
        return await asyncio.open_connection(parsed.hostname, parsed.port or 6379)

    wire = await lay_wire(connect)
    one = open_list(redis_url)
    other = open_list(f"redis://{parsed.netloc.rpartition('@')[0]}@127.0.0.1:{wire.port}")
    replica = RevocationReplica(other, clock, MAX_STALENESS)
    await replica.follow()
    user = make_user()
    sessions = [make_family(user, number) for number in range(4)]
    claims = [make_claims(user, session) for session in sessions]

    async def end(number: int) -> None:
        async with SqlUnitOfWork(database, feed=one) as uow:
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


async def revoke(database: Database, feed: RedisRevocationList, *entries: Revocation) -> None:
    async with SqlUnitOfWork(database, feed=feed) as uow:
        for entry in entries:
            stage_revocation(uow, entry)
        await uow.commit()
