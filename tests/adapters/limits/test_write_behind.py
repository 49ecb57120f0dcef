"""What each process counts by itself is told to the others soon, and outlives the process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from dependency_injector import providers
from limits import parse
from redis.asyncio import Redis
from sqlalchemy import Connection, Executable, text

from keyturn.adapters.limits.process_windows import ProcessWindows
from keyturn.adapters.limits.redis_windows import RedisWindows
from keyturn.adapters.limits.throttle import LimitsThrottle, Rates
from keyturn.adapters.limits.write_behind import noticeable
from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite
from keyturn.adapters.sqlalchemy.prepared import Parameters, Prepared
from keyturn.adapters.sqlalchemy.throttle_storage import SqlThrottleWindows
from keyturn.container import Container
from keyturn.domain.errors import StoreUnavailable, TooManyAttempts
from keyturn.domain.events import Origin
from keyturn.domain.source import Source, source_of
from keyturn.ports.throttling import Throttle, ThrottledAction
from keyturn.settings import Settings
from keyturn.testing.in_memory import ADA, PASSWORD
from keyturn.testing.throttle_contract import (
    HERE,
    LOGIN,
    PER_ACCOUNT,
    PER_SOURCE,
    RESET,
    THERE,
    VERIFY,
    EndWindows,
    ThrottleContract,
    refusals,
)
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand

T = TypeVar("T")

BOTH = Rates.parse(f"{PER_SOURCE}/hour", f"{PER_ACCOUNT}/hour")
RATES = {LOGIN: Rates.parse(f"{PER_SOURCE}/hour"), RESET: BOTH, VERIFY: BOTH}
REFRESH = ThrottledAction.REFRESH
HOUR = 3600.0
NOWHERE = "redis://127.0.0.1:1"


class Moment:
    """The time, which the test moves; it stands still otherwise."""

    def __init__(self) -> None:
        self.now = float(round(time.time()))

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Moment:
    moment = Moment()
    monkeypatch.setattr(time, "time", moment)
    return moment


class WatchedDatabase(Database):
    """Counts what it is asked, and can be gone."""

    asked = 0
    is_gone = False

    async def look_up(self, query: Prepared, parameters: Parameters) -> Sequence[SqlRow]:
        self._ask()
        return await super().look_up(query, parameters)

    async def read(self, function: Callable[[Connection], T]) -> T:
        self._ask()
        return await super().read(function)

    async def commit(
        self,
        writes: Sequence[StagedWrite],
        before_commit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._ask()
        await super().commit(writes, before_commit)

    async def execute(self, statement: Executable, parameters: Parameters) -> int:
        self._ask()
        return await super().execute(statement, parameters)

    def _ask(self) -> None:
        self.asked += 1
        if self.is_gone:
            raise StoreUnavailable


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[WatchedDatabase]:
    database = WatchedDatabase(sqlite_url)
    yield database
    await database.dispose()


Start = Callable[..., LimitsThrottle]


@pytest.fixture
def start(database: WatchedDatabase, moment: Moment) -> Start:
    """Makes the throttle of a process that starts now, with rates for refreshes."""

    def start(per_source: str = "", per_account: str = "") -> LimitsThrottle:
        rates = {REFRESH: Rates.parse(per_source, per_account)}
        return LimitsThrottle(SqlThrottleWindows(database), rates)

    return start


async def stored(database: Database) -> list[int]:
    """What each window in the store holds."""
    rows = await database.fetch(text("SELECT count FROM throttle_windows ORDER BY key"), {})
    return [count for (count,) in rows]


async def admitted(throttle: Throttle, times: int, source: Source = HERE) -> int:
    return times - await refusals(throttle, REFRESH, times, source=source)


async def wait_of(throttle: Throttle, source: Source = HERE) -> int:
    """For how many seconds somebody is refused."""
    with pytest.raises(TooManyAttempts) as refused:
        await throttle.admit(REFRESH, source=source)
    return refused.value.retry_after


# A restart.


async def test_who_is_refused_before_a_restart_is_refused_after_it_for_as_long_as_was_said(
    start: Start, moment: Moment
) -> None:
    before = start("3/hour")
    assert await admitted(before, 4) == 3
    await before.write()
    moment.now += 600
    after = start("3/hour")
    assert await wait_of(after) == 3000
    moment.now += 3000
    assert await admitted(after, 4) == 3


async def test_after_a_restart_there_is_as_much_left_as_before(start: Start) -> None:
    before = start("10/hour")
    await admitted(before, 7)
    await before.write()
    assert await admitted(start("10/hour"), 10) == 3


async def test_what_was_counted_after_a_restart_is_added_to_what_was_before(
    start: Start, database: WatchedDatabase
) -> None:
    for _ in range(3):
        throttle = start("10/hour")
        await admitted(throttle, 2)
        await throttle.write()
    assert await stored(database) == [6]


async def test_without_a_write_nothing_is_known_after_a_restart(start: Start) -> None:
    await admitted(start("3/hour"), 3)
    assert await admitted(start("3/hour"), 3) == 3


async def test_each_window_is_looked_up_once_even_by_who_is_refused(
    start: Start, database: WatchedDatabase, moment: Moment
) -> None:
    before = start("100/hour", "2/minute")
    assert await refusals(before, REFRESH, 3, source=HERE, account="a session") == 1
    await before.write()
    after = start("100/hour", "2/minute")
    database.asked = 0
    assert await refusals(after, REFRESH, 50, source=HERE, account="a session") == 50
    # What it holds and when it ends; the source has no window there.
    assert database.asked == 3
    await after.admit(REFRESH, source=HERE, account="another")
    assert database.asked == 4
    # The window for an account has ended, and so has any from before the start.
    moment.now += 60
    await after.admit(REFRESH, source=HERE, account="a session")
    await after.admit(REFRESH, source=HERE, account="a third")
    assert database.asked == 4
    # An IPv6 source is counted in three networks.
    await after.admit(REFRESH, source=THERE)
    assert database.asked == 7


async def test_a_look_up_without_the_store_fails_closed(
    start: Start, database: WatchedDatabase, moment: Moment
) -> None:
    throttle = start("3/hour")
    database.is_gone = True
    with pytest.raises(StoreUnavailable):
        await throttle.admit(REFRESH, source=HERE)
    database.is_gone = False
    assert await admitted(throttle, 1) == 1
    database.is_gone = True
    assert await admitted(throttle, 3) == 2
    moment.now += HOUR
    assert await admitted(throttle, 4) == 3


async def test_a_redis_that_is_gone_at_the_start_fails_closed(moment: Moment) -> None:
    throttle = LimitsThrottle(RedisWindows(NOWHERE))
    with pytest.raises(StoreUnavailable):
        await throttle.admit(REFRESH, source=None, account="a session")
    moment.now += 60
    assert await refusals(throttle, REFRESH, 70, account="a session") == 10
    with pytest.raises(StoreUnavailable):
        await throttle.write()


async def test_of_many_at_once_after_a_restart_exactly_those_are_admitted_who_may(
    start: Start,
) -> None:
    before = start("10/hour")
    await admitted(before, 7)
    await before.write()
    after = start("10/hour")
    verdicts = await asyncio.gather(*(admitted(after, 1) for _ in range(20)))
    assert sum(verdicts) == 3


# Several processes.


async def test_two_processes_know_of_each_other_once_both_have_written(start: Start) -> None:
    one, other = start("10/hour"), start("10/hour")
    assert [await admitted(one, 1), await admitted(other, 1)] == [1, 1]
    assert [await admitted(one, 3), await admitted(other, 3)] == [3, 3]
    await one.write()
    await other.write()
    assert await admitted(other, 10) == 2
    await other.write()
    # The one has not asked since.
    assert await admitted(one, 1) == 1
    await one.write()
    assert await admitted(one, 10) == 0


async def test_what_is_counted_during_a_write_is_written_by_the_next(
    start: Start, database: WatchedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start("100/hour")
    await admitted(one, 20)
    commit = database.commit

    async def commit_slowly(writes: Sequence[StagedWrite]) -> None:
        await commit(writes)
        await admitted(one, 5)

    with monkeypatch.context() as slow:
        slow.setattr(database, "commit", commit_slowly)
        await one.write()
    assert await stored(database) == [20]
    await one.write()
    assert await stored(database) == [25]
    assert await admitted(one, 100) == 75


async def test_a_window_ends_everywhere_when_the_first_that_was_written_ends(
    start: Start, moment: Moment
) -> None:
    one, other = start("10/hour"), start("10/hour")
    await admitted(one, 5)
    moment.now += 100
    await admitted(other, 5)
    await one.write()
    await other.write()
    assert await wait_of(other) == 3500
    moment.now += 3500
    assert [await admitted(one, 11), await admitted(other, 11)] == [10, 10]


async def test_no_window_is_made_longer_by_what_others_count(start: Start, moment: Moment) -> None:
    one, other = start("10/hour"), start("10/hour")
    await admitted(one, 1)
    moment.now += 100
    await admitted(other, 5)
    await other.write()
    moment.now += 100
    await admitted(one, 1)
    await one.write()
    assert await admitted(one, 10) == 3
    assert await wait_of(one) == 3400
    moment.now += 3400
    assert await admitted(one, 1) == 1


async def test_a_store_that_was_emptied_makes_nobody_forget(
    start: Start, database: WatchedDatabase
) -> None:
    one = start("10/hour")
    await admitted(one, 5)
    await one.write()
    await database.execute(text("DELETE FROM throttle_windows"), {})
    await admitted(one, 2)
    await one.write()
    assert await stored(database) == [2]
    assert await admitted(one, 10) == 3


# What it costs.


@pytest.mark.parametrize(
    ("rate", "attempts"),
    [
        ("1/hour", 1),
        ("2/hour", 2),
        ("10/hour", 2),
        ("20/hour", 2),
        ("21/hour", 3),
        ("60/minute", 6),
        ("600/minute", 60),
    ],
)
def test_a_tenth_of_a_window_is_noticeable_and_no_single_attempt_of_many(
    rate: str, attempts: int
) -> None:
    assert noticeable(parse(rate)) == attempts


async def test_who_comes_now_and_then_is_never_written(
    start: Start, database: WatchedDatabase, moment: Moment
) -> None:
    throttle = start("600/minute", "60/minute")
    moment.now += 60
    database.asked = 0
    for number in range(59):
        await throttle.admit(REFRESH, source=HERE, account=f"session {number}")
    for _ in range(4):
        await throttle.admit(REFRESH, source=None, account="session 0")
        await throttle.write()
    assert database.asked == 0
    await throttle.admit(REFRESH, source=None, account="session 0")
    await throttle.write()
    await throttle.write()
    assert await stored(database) == [6]


async def test_what_ends_before_it_is_written_never_is(
    start: Start, database: WatchedDatabase, moment: Moment
) -> None:
    throttle = start("10/minute")
    await admitted(throttle, 5)
    moment.now += 60
    database.asked = 0
    await throttle.write()
    assert database.asked == 0
    # Nor is it taken for the next one of the same source.
    await admitted(throttle, 5)
    moment.now += 60
    await admitted(throttle, 3)
    await throttle.write()
    assert await stored(database) == [3]


async def test_a_usual_rotation_asks_the_store_nothing_for_the_throttle(
    database_url: str, tmp_path: Path, moment: Moment
) -> None:
    container = Container(settings=Settings(data_dir=tmp_path))
    database = WatchedDatabase(database_url)
    container.database.override(providers.Object(database))
    origin = Origin(ip="192.0.2.1")
    await container.register_user().execute(RegisterUserCommand(ADA, PASSWORD, origin=origin))
    login = await container.login_user().execute(LoginUserCommand(ADA, PASSWORD, origin=origin))
    token = login.refresh_token
    moment.now += 60
    throttle = container.throttle()
    assert isinstance(throttle, LimitsThrottle)
    for _ in range(5):
        database.asked = 0
        rotated = await container.rotate_refresh().execute(RotateRefreshCommand(token, origin))
        await throttle.write()
        # One to read and one to write.
        assert database.asked == 2
        token = rotated.tokens.refresh_token
    await asyncio.to_thread(container.hasher().close)
    await database.dispose()


# A store that is gone.


async def test_while_the_store_is_gone_counting_goes_on_and_afterwards_nothing_is_missing(
    start: Start, database: WatchedDatabase
) -> None:
    one = start("100/hour")
    await admitted(one, 20)
    await one.write()
    database.is_gone = True
    for _ in range(3):
        await admitted(one, 10)
        with pytest.raises(StoreUnavailable):
            await one.write()
    assert await admitted(one, 60) == 50
    database.is_gone = False
    await one.write()
    assert await stored(database) == [100]
    assert await admitted(start("100/hour"), 1) == 0


async def test_where_there_is_no_time_to_write_all_the_others_are_next(
    start: Start, database: WatchedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle = start("100/hour")
    commit = database.commit

    async def commit_once(writes: Sequence[StagedWrite]) -> None:
        if database.asked > 0:
            raise StoreUnavailable
        await commit(writes)

    monkeypatch.setattr(database, "commit", commit_once)
    for _ in range(3):
        for number in range(3):
            await admitted(throttle, 10, source_of(f"192.0.2.{number}"))
        database.asked = 0
        with pytest.raises(StoreUnavailable):
            await throttle.write()
    assert sorted(await stored(database)) == [10, 20, 30]


async def test_while_the_store_is_gone_windows_that_end_are_forgotten(
    start: Start, database: WatchedDatabase, moment: Moment
) -> None:
    throttle = start("10/hour")
    for number in range(100):
        await admitted(throttle, 5, source_of(f"192.0.2.{number}"))
    database.is_gone = True
    with pytest.raises(StoreUnavailable):
        await throttle.write()
    moment.now += HOUR
    database.asked = 0
    await throttle.write()
    assert throttle._later._told == {}


async def test_in_memory_alone_nothing_is_written_behind() -> None:
    windows = ProcessWindows()
    throttle = LimitsThrottle(windows)
    assert await refusals(throttle, REFRESH, 70, account="a session") == 10
    await throttle.write()
    assert list(windows.storage.values()) == [60]


# In Redis.


async def test_a_window_in_redis_ends_as_exactly_as_here(
    open_windows: Callable[[], RedisWindows], redis_url: str
) -> None:
    windows = open_windows()
    assert [await windows.incr("a", 1000.25, 7), await windows.incr("a", 5000.0, 2)] == [7, 9]
    async with Redis.from_url(redis_url) as redis:
        assert 0 < await redis.pttl(windows.bridge.prefixed_key("a")) <= 1_000_250
    assert await windows.incr("over", 0.0) == 1


async def test_who_is_refused_before_a_restart_is_refused_after_it_by_redis_too(
    open_windows: Callable[[], RedisWindows],
) -> None:
    rates = {REFRESH: Rates.parse("3/hour")}
    before = LimitsThrottle(open_windows(), rates)
    assert await admitted(before, 4) == 3
    await before.write()
    after = LimitsThrottle(open_windows(), rates)
    assert 3000 < await wait_of(after) <= 3600


# Whatever is written behind, one process keeps to the contract.


class TestBehindSql(ThrottleContract):
    @pytest.fixture
    async def throttle(self, database_url: str, moment: Moment) -> AsyncIterator[LimitsThrottle]:
        database = Database(database_url)
        yield LimitsThrottle(
            SqlThrottleWindows(database), RATES, written_behind=frozenset(ThrottledAction)
        )
        await database.dispose()

    @pytest.fixture
    def end_windows(self, moment: Moment) -> EndWindows:
        async def end() -> None:
            moment.now += HOUR

        return end


class TestBehindRedis(ThrottleContract):
    @pytest.fixture
    def throttle(self, open_windows: Callable[[], RedisWindows], moment: Moment) -> LimitsThrottle:
        return LimitsThrottle(open_windows(), RATES, written_behind=frozenset(ThrottledAction))

    @pytest.fixture
    def end_windows(self, moment: Moment) -> EndWindows:
        async def end() -> None:
            moment.now += HOUR

        return end
