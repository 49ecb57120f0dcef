"""Of all workers one purges, once an hour."""

import asyncio
from datetime import timedelta

import pytest

from keyturn.adapters.memory.housekeeping import MemoryHousekeeping
from keyturn.delivery.background.purge_regularly import PurgeRegularly
from keyturn.domain.errors import StoreUnavailable
from keyturn.ports.persistence import Purged
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.purge_expired import PurgeExpired


class Watched(MemoryHousekeeping):
    """Remembers when somebody purged; can be cut off."""

    purges = 0
    cut_off = False

    async def purge(self, **what: object) -> Purged:
        if self.cut_off:
            raise StoreUnavailable
        self.purges += 1
        return Purged()


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


@pytest.fixture
def housekeeping(keyturn: InMemoryKeyturn) -> Watched:
    return Watched(keyturn.store)


class Worker:
    """A worker whose hours a test counts."""

    def __init__(self, name: str, keyturn: InMemoryKeyturn, housekeeping: Watched) -> None:
        self._hour_is_over = asyncio.Event()
        self._idle = asyncio.Event()
        days = timedelta(days=30)
        purge = PurgeExpired(housekeeping, keyturn.clock, days, days)
        self.purging = PurgeRegularly(
            purge, keyturn.erase_due_users, housekeeping, keyturn.clock, name, self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 3600
        self._idle.set()
        await self._hour_is_over.wait()
        self._hour_is_over.clear()

    async def an_hour_later(self) -> None:
        self._idle.clear()
        self._hour_is_over.set()
        await self._idle.wait()

    async def start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.purging.forever())
        await self._idle.wait()
        return task


async def test_it_purges_at_once_and_every_hour(
    keyturn: InMemoryKeyturn, housekeeping: Watched
) -> None:
    worker = Worker("one", keyturn, housekeeping)
    task = await worker.start()
    assert housekeeping.purges == 1
    keyturn.advance(hours=1)
    await worker.an_hour_later()
    assert housekeeping.purges == 2
    task.cancel()


async def test_only_one_of_two_workers_purges(
    keyturn: InMemoryKeyturn, housekeeping: Watched
) -> None:
    one, other = (Worker(name, keyturn, housekeeping) for name in ("one", "other"))
    tasks = [await one.start(), await other.start()]
    assert housekeeping.purges == 1
    for task in tasks:
        task.cancel()


async def test_another_worker_takes_over_when_the_leader_is_gone(
    keyturn: InMemoryKeyturn, housekeeping: Watched
) -> None:
    one, other = (Worker(name, keyturn, housekeeping) for name in ("one", "other"))
    leader, follower = await one.start(), await other.start()
    leader.cancel()
    keyturn.advance(hours=1)
    await other.an_hour_later()
    assert housekeeping.purges == 2
    follower.cancel()


async def test_a_store_that_does_not_answer_costs_a_turn_and_not_the_task(
    keyturn: InMemoryKeyturn, housekeeping: Watched
) -> None:
    worker = Worker("one", keyturn, housekeeping)
    housekeeping.cut_off = True
    task = await worker.start()
    housekeeping.cut_off = False
    keyturn.advance(hours=1)
    await worker.an_hour_later()
    assert housekeeping.purges == 1
    task.cancel()
