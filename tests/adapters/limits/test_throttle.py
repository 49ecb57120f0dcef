"""The contract kit in memory, on Redis and in SQL; how rates are written; what failing means."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from keyturn.adapters.limits.process_windows import FEWEST_BEFORE_CLEARING, ProcessWindows
from keyturn.adapters.limits.redis_windows import MOST_CONNECTIONS, RedisWindows
from keyturn.adapters.limits.throttle import DEFAULT_RATES, LimitsThrottle, Rates
from keyturn.adapters.sqlalchemy.database import Database
from keyturn.adapters.sqlalchemy.throttle_storage import (
    HITS_BETWEEN_PURGES,
    SqlThrottleWindows,
)
from keyturn.domain.errors import StoreUnavailable, TooManyAttempts
from keyturn.ports.throttling import ThrottledAction
from keyturn.testing.throttle_contract import (
    ADA,
    HERE,
    LOGIN,
    PER_ACCOUNT,
    PER_SOURCE,
    RESET,
    THERE,
    VERIFY,
    EndWindows,
    SharedThrottleContract,
    ThrottleContract,
    refusals,
    use_up,
)

BOTH = Rates.parse(f"{PER_SOURCE}/hour", f"{PER_ACCOUNT}/hour")
RATES = {LOGIN: Rates.parse(f"{PER_SOURCE}/hour"), RESET: BOTH, VERIFY: BOTH}
NOWHERE = "redis://127.0.0.1:1"


class Wire(Protocol):
    port: int

    async def cut(self) -> None: ...

    async def mend(self) -> None: ...


class TestInMemory(ThrottleContract):
    @pytest.fixture
    def windows(self) -> ProcessWindows:
        return ProcessWindows()

    @pytest.fixture
    def throttle(self, windows: ProcessWindows) -> LimitsThrottle:
        return LimitsThrottle(windows, RATES)

    @pytest.fixture
    def end_windows(self, windows: ProcessWindows) -> EndWindows:
        async def end() -> None:
            for key in windows.expirations:
                windows.expirations[key] = time.time()

        return end


class TestInRedis(SharedThrottleContract):
    @pytest.fixture
    def throttle(self, open_windows: Callable[[], RedisWindows]) -> LimitsThrottle:
        return LimitsThrottle(open_windows(), RATES)

    @pytest.fixture
    def beside(self, open_windows: Callable[[], RedisWindows]) -> LimitsThrottle:
        return LimitsThrottle(open_windows(), RATES)

    @pytest.fixture
    def end_windows(self, open_windows: Callable[[], RedisWindows], redis_url: str) -> EndWindows:
        async def end() -> None:
            async with Redis.from_url(redis_url) as redis:
                async for key in redis.scan_iter(match=f"{open_windows().bridge.key_prefix}:*"):
                    assert await redis.pttl(key) > 0
                    await redis.pexpire(key, 0)

        return end

    async def test_no_address_stands_in_a_key(
        self, throttle: LimitsThrottle, redis_url: str
    ) -> None:
        await throttle.admit(RESET, source=HERE, account=ADA)
        async with Redis.from_url(redis_url, decode_responses=True) as redis:
            keys = [key async for key in redis.scan_iter(match="keyturn-test:*")]
        assert len(keys) >= 2
        assert not any(ADA in key or "ada" in key or HERE in key for key in keys)


class TestInSql(SharedThrottleContract):
    @pytest.fixture
    async def database(self, database_url: str) -> AsyncIterator[Database]:
        database = Database(database_url)
        yield database
        await database.dispose()

    @pytest.fixture
    def throttle(self, database: Database) -> LimitsThrottle:
        return LimitsThrottle(SqlThrottleWindows(database), RATES)

    @pytest.fixture
    async def beside(self, database_url: str, database: Database) -> AsyncIterator[LimitsThrottle]:
        other = Database(database_url)
        yield LimitsThrottle(SqlThrottleWindows(other), RATES)
        await other.dispose()

    @pytest.fixture
    def end_windows(self, database: Database) -> EndWindows:
        return lambda: end_all(database)

    async def test_what_is_over_is_removed_now_and_then(self, database: Database) -> None:
        windows = SqlThrottleWindows(database)
        for number in range(HITS_BETWEEN_PURGES // 2):
            await windows.incr(f"before-{number}", 3600)
        await end_all(database)
        for number in range(HITS_BETWEEN_PURGES // 2):
            await windows.incr(f"after-{number}", 3600)
        left = await database.fetch(text("SELECT key FROM throttle_windows"), {})
        assert {key for (key,) in left} == {
            f"after-{number}" for number in range(HITS_BETWEEN_PURGES // 2)
        }

    async def test_the_library_finds_all_that_it_may_ask_for(self, database: Database) -> None:
        windows = SqlThrottleWindows(database)
        assert await windows.check() is True
        assert await windows.get("a") == 0
        assert await windows.get_expiry("a") <= time.time()
        assert [await windows.incr("a", 3600), await windows.incr("a", 3600, 2)] == [1, 3]
        assert await windows.get_expiry("a") > time.time()
        await windows.clear("a")
        assert await windows.get("a") == 0
        await windows.incr("b", 3600)
        assert await windows.reset() == 1

    async def test_a_database_that_does_not_answer_fails_closed(
        self, database_url: str, tmp_path: object
    ) -> None:
        database = Database(f"sqlite:///{tmp_path}/there-is-no-table.sqlite")
        throttle = LimitsThrottle(SqlThrottleWindows(database), RATES)
        with pytest.raises(StoreUnavailable):
            await throttle.admit(LOGIN, source=HERE)
        await database.dispose()


async def end_all(database: Database) -> None:
    """Let every window end."""
    await database.execute(
        text("UPDATE throttle_windows SET expires_at = :then"),
        {"then": datetime.now(UTC) - timedelta(hours=1)},
    )


async def test_a_refused_attempt_in_the_shorter_window_is_not_counted_in_the_longer() -> None:
    windows = ProcessWindows()
    throttle = LimitsThrottle(windows, {LOGIN: Rates.parse("4/hour;6/day")})
    assert await refusals(throttle, LOGIN, 20, source=HERE) == 16
    for key in windows.expirations:
        if key.endswith("hour"):
            windows.expirations[key] = 0.0
    assert await refusals(throttle, LOGIN, 20, source=HERE) == 18


async def test_a_refused_attempt_in_the_longer_window_is_not_counted_in_the_shorter() -> None:
    windows = ProcessWindows()
    throttle = LimitsThrottle(windows, {LOGIN: Rates.parse("4/day;2/hour")})
    assert await refusals(throttle, LOGIN, 20, source=HERE) == 18
    for key in windows.expirations:
        if key.endswith("hour"):
            windows.expirations[key] = 0.0
    assert await refusals(throttle, LOGIN, 20, source=HERE) == 18
    [hour] = [key for key in windows.expirations if key.endswith("hour")]
    assert windows.storage[hour] == 2


async def test_the_wait_is_that_of_the_longest_window_that_refuses() -> None:
    throttle = LimitsThrottle(ProcessWindows(), {RESET: Rates.parse("2/minute", "2/day")})
    await use_up(throttle, RESET, source=HERE, account=ADA)
    with pytest.raises(TooManyAttempts) as refused:
        await throttle.admit(RESET, source=HERE, account=ADA)
    assert 86_000 < refused.value.retry_after <= 86_400
    with pytest.raises(TooManyAttempts) as refused:
        await throttle.admit(RESET, source=HERE, account="eve@example.com")
    assert 1 <= refused.value.retry_after <= 60


async def test_what_is_not_named_is_not_counted() -> None:
    throttle = LimitsThrottle(ProcessWindows(), {})
    for _ in range(100):
        await throttle.admit(LOGIN, source=HERE, account=ADA)


async def test_every_action_has_a_default() -> None:
    assert set(DEFAULT_RATES) == set(ThrottledAction)
    assert all(rates.per_source or rates.per_account for rates in DEFAULT_RATES.values())
    throttle = LimitsThrottle(ProcessWindows())
    assert await refusals(throttle, LOGIN, 40, source=HERE) == 10
    assert await refusals(throttle, RESET, 10, source=THERE, account=ADA) == 7


@pytest.mark.parametrize(
    "written",
    ["30", "many", "30/fortnight", "/minute", "30/minute;", "30/minute and 3/hour", "-1/minute"],
)
def test_a_rate_that_is_none_is_refused_with_what_was_written(written: str) -> None:
    with pytest.raises(ValueError, match="no rate such as 30/minute;300/hour") as refused:
        Rates.parse(written)
    assert repr(written) in str(refused.value)
    with pytest.raises(ValueError, match="no rate such as"):
        Rates.parse("1/minute", written)


def test_a_rate_that_lets_nobody_in_is_refused() -> None:
    with pytest.raises(ValueError, match="lets nobody in"):
        Rates.parse("0/minute")


def test_a_rate_is_written_as_the_library_has_it() -> None:
    assert [
        (rate.amount, rate.get_expiry())
        for rate in Rates.parse(" 5 per 2 hours , 1/Minute ").per_source
    ] == [(1, 60), (5, 7200)]
    assert Rates.parse() == Rates.parse(" ", "") == Rates()


async def test_many_windows_that_are_over_are_forgotten() -> None:
    windows = ProcessWindows()
    for number in range(FEWEST_BEFORE_CLEARING):
        await windows.incr(f"over-{number}", 0)
    for number in range(10):
        await windows.incr(f"{number}", 3600)
    assert set(windows.storage) == set(windows.expirations) == {str(n) for n in range(10)}


async def test_windows_that_go_on_are_kept_however_many_there_are() -> None:
    windows = ProcessWindows()
    for number in range(3 * FEWEST_BEFORE_CLEARING):
        await windows.incr(f"{number}", 3600)
    assert [await windows.get(str(n)) for n in (0, 2 * FEWEST_BEFORE_CLEARING)] == [1, 1]


@pytest.mark.parametrize("url", ["http://user:hunter2@redis", "hunter2", ""])
def test_a_url_that_is_no_redis_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with redis://") as refused:
        RedisWindows(url)
    assert "hunter2" not in str(refused.value)


async def test_more_attempts_at_once_than_connections_are_all_counted(redis_url: str) -> None:
    windows = RedisWindows(redis_url, key_prefix=f"keyturn-test:{uuid.uuid4()}")
    throttle = LimitsThrottle(windows, {LOGIN: Rates.parse("1000/hour")})
    await asyncio.gather(*(throttle.admit(LOGIN, source=HERE) for _ in range(4 * MOST_CONNECTIONS)))
    await windows.aclose()


async def test_a_redis_that_is_gone_fails_closed_and_counts_again_when_it_is_back(
    redis_url: str,
    lay_wire: Callable[
        [Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]],
        Awaitable[Wire],
    ],
) -> None:
    where = urlsplit(redis_url)
    wire = await lay_wire(
        (lambda: asyncio.open_unix_connection(where.path))
        if where.scheme == "unix"
        else (lambda: asyncio.open_connection(where.hostname, where.port or 6379))
    )
    windows = RedisWindows(
        f"redis://127.0.0.1:{wire.port}", key_prefix=f"keyturn-test:{uuid.uuid4()}"
    )
    throttle = LimitsThrottle(windows, RATES)
    await throttle.admit(LOGIN, source=HERE)
    await wire.cut()
    with pytest.raises(StoreUnavailable) as failed:
        await throttle.admit(LOGIN, source=HERE)
    assert "ConnectionError" in str(failed.value.__cause__)
    await wire.mend()
    assert await refusals(throttle, LOGIN, PER_SOURCE, source=HERE) == 1
    await windows.aclose()


async def test_a_redis_that_never_answers_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.adapters.limits.redis_windows.TIMEOUT", 0.05)
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    windows = RedisWindows(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(StoreUnavailable):
        await LimitsThrottle(windows, RATES).admit(LOGIN, source=HERE)
    await windows.aclose()
    for writer in accepted:
        writer.close()
    server.close()
