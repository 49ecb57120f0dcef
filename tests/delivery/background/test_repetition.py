"""A task that time drives goes on whatever happens, and says so once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from keyturn.delivery.background.repetition import Repetition
from keyturn.domain.errors import StoreUnavailable

SECOND = timedelta(seconds=1)


class Turns:
    """A sleep that ends at once, a given number of times, and then never."""

    def __init__(self, number: int) -> None:
        self.slept: list[float] = []
        self.over = asyncio.Event()
        self._left = number

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._left == 0:
            self.over.set()
            await asyncio.Event().wait()
        self._left -= 1


async def run(turns: Turns, act: Callable[[], Awaitable[None]]) -> None:
    repetition = Repetition("it", act, pause=SECOND / 2, timeout=SECOND, sleep=turns.sleep)
    task = asyncio.create_task(repetition.forever())
    await turns.over.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_pauses_before_each_time() -> None:
    done = []

    async def act() -> None:
        done.append(1)

    turns = Turns(3)
    await run(turns, act)
    assert len(done) == 3
    assert turns.slept == [0.5] * 4


async def test_an_outage_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = iter([None, StoreUnavailable(), ValueError(), StoreUnavailable(), None, None])

    async def act() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    caplog.set_level(logging.INFO)
    await run(Turns(6), act)
    assert [record.getMessage() for record in caplog.records] == [
        "it fails, and is tried again until it works: StoreUnavailable",
        "it works again",
    ]


async def test_what_hangs_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    tried = []

    async def act() -> None:
        tried.append(1)
        await asyncio.Event().wait()

    turns = Turns(2)
    repetition = Repetition("it", act, pause=SECOND, timeout=timedelta(0), sleep=turns.sleep)
    task = asyncio.create_task(repetition.forever())
    await turns.over.wait()
    task.cancel()
    assert len(tried) == 2
    assert "TimeoutError" in caplog.text


async def test_cancelling_it_in_the_middle_ends_it_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def act() -> None:
        begun.set()
        await asyncio.Event().wait()

    repetition = Repetition(
        "it", act, pause=SECOND, timeout=timedelta(hours=1), sleep=Turns(1).sleep
    )
    task = asyncio.create_task(repetition.forever())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caplog.text == ""
