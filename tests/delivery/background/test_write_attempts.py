"""Every worker writes its counts, and the last of them when it is told to stop."""

import asyncio
import logging

import pytest

from keyturn.delivery.background.write_attempts import WriteAttemptsRegularly
from keyturn.domain.errors import StoreUnavailable


class Seconds:
    """A sleep whose end the test decides."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self._over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        assert seconds == 1
        self.idle.set()
        await self._over.wait()
        self._over.clear()

    async def one_later(self) -> None:
        self.idle.clear()
        self._over.set()
        await self.idle.wait()


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_writes_every_second_and_once_more_at_the_end() -> None:
    seconds = Seconds()
    written: list[int] = []

    async def write() -> None:
        written.append(len(written))

    task = asyncio.create_task(WriteAttemptsRegularly(write, seconds.sleep).forever())
    await seconds.idle.wait()
    assert written == []
    await seconds.one_later()
    await seconds.one_later()
    assert written == [0, 1]
    await end(task)
    assert written == [0, 1, 2]


async def test_what_is_being_written_when_it_is_told_to_stop_is_written_once() -> None:
    begun, may_end, events = asyncio.Event(), asyncio.Event(), []

    async def write() -> None:
        events.append("begins")
        begun.set()
        await may_end.wait()
        events.append("ends")

    async def sleep(_: float) -> None:
        """Return at once."""

    task = asyncio.create_task(WriteAttemptsRegularly(write, sleep).forever())
    await begun.wait()
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["begins", "ends"] * 2


async def test_an_outage_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seconds = Seconds()
    answers = iter([StoreUnavailable(), StoreUnavailable(), None, None])

    async def write() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    caplog.set_level(logging.INFO)
    task = asyncio.create_task(WriteAttemptsRegularly(write, seconds.sleep).forever())
    await seconds.idle.wait()
    for _ in range(3):
        await seconds.one_later()
    await end(task)
    assert [record.getMessage() for record in caplog.records] == [
        "writing counts of attempts fails, and is tried again until it works: StoreUnavailable",
        "writing counts of attempts works again",
    ]
