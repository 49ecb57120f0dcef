"""What zxcvbn says, however odd the password, and how many may ask at once."""

import asyncio
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyturn.adapters.zxcvbn import process, strength
from keyturn.adapters.zxcvbn.strength import (
    CHARACTERS_LOOKED_AT,
    MOST_WAITING,
    ZxcvbnEstimator,
)
from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.domain.strength import Strength

Answering = Callable[[str], ZxcvbnEstimator]

PROGRAM = """
import json, os, signal, sys

def answer(score, suggestions=()):
    return json.dumps({"score": score, "warning": None, "suggestions": suggestions})

"""


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Makes an estimator of which the process does something else."""
    made = []

    def make(body: str) -> ZxcvbnEstimator:
        estimator = ZxcvbnEstimator([sys.executable, "-c", PROGRAM + body])
        made.append(estimator)
        return estimator

    yield make
    for estimator in made:
        estimator.close()


@pytest.fixture
def estimator() -> Iterator[ZxcvbnEstimator]:
    estimator = ZxcvbnEstimator()
    yield estimator
    estimator.close()


async def test_a_passphrase_is_strong_and_nothing_is_to_be_said(
    estimator: ZxcvbnEstimator,
) -> None:
    assert await estimator.estimate(Secret("nine purple anvils"), ()) == Strength(4, None, ())


async def test_a_weak_password_comes_with_what_would_make_it_better(
    estimator: ZxcvbnEstimator,
) -> None:
    found = await estimator.estimate(Secret("password1"), ())
    assert found.score == 0
    assert found.warning is not None
    assert found.suggestions != ()


async def test_a_word_of_the_persons_own_is_weak_for_them_and_nobody_else(
    estimator: ZxcvbnEstimator,
) -> None:
    password = Secret("zorglubistan")
    assert (await estimator.estimate(password, ("zorglubistan",))).score == 0
    assert (await estimator.estimate(password, ())).score > 1


async def test_no_more_than_so_many_characters_are_looked_at(estimator: ZxcvbnEstimator) -> None:
    text = "4@8({[<36!1|0$5+7%2 and so on"
    first = await estimator.estimate(Secret(text[:CHARACTERS_LOOKED_AT]), ())
    assert await estimator.estimate(Secret(text * 30), ()) == first


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=12), st.lists(st.text(max_size=8), max_size=3))
@example("", [])
@example("53617\n4a80", [""])
@example("1\r1\u20281\x851\x1c1", [])
@example("\u0130ßǅ٣²", ["ß", "\u0130"])
def test_no_text_is_an_error(text: str, words: list[str]) -> None:
    assert 0 <= process.estimate(text, words)["score"] <= 4


async def test_a_password_that_is_no_text_in_utf_8_reaches_the_process(
    estimator: ZxcvbnEstimator,
) -> None:
    assert (await estimator.estimate(Secret("\udc80\0\n" * 3), ("\udc80",))).score <= 4


async def test_the_process_knows_no_setting_of_the_service(
    environment: pytest.MonkeyPatch, answering: Answering
) -> None:
    environment.setenv("KEYTURN_DATABASE_URL", "postgresql://u:hunter2@host/n")
    estimator = answering("print(answer(any(n.startswith('KEYTURN') for n in os.environ)))")
    assert (await estimator.estimate(Secret("x"), ())).score == 0


async def test_one_is_estimated_at_a_time_and_few_wait(answering: Answering) -> None:
    estimator = answering(
        "for line in sys.stdin: print(answer(0, json.loads(line)['words']), flush=True)"
    )
    asked = [
        asyncio.create_task(estimator.estimate(Secret("x"), (str(number),)))
        for number in range(1 + MOST_WAITING)
    ]
    await asyncio.sleep(0)
    with pytest.raises(HashingBusy):
        await estimator.estimate(Secret("x"), ())
    asked[-1].cancel()
    await asyncio.wait({asked[-1]})
    asked[-1] = asyncio.create_task(estimator.estimate(Secret("x"), ("late",)))
    found = await asyncio.gather(*asked)
    assert [each.suggestions for each in found[-2:]] == [(str(MOST_WAITING - 1),), ("late",)]


async def test_an_estimate_that_takes_too_long_is_killed_and_the_next_one_is_answered(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strength, "ANSWER_SECONDS", 0.05)
    estimator = answering("signal.pause()")
    with pytest.raises(HashingBusy):
        await estimator.estimate(Secret("x"), ())
    monkeypatch.undo()
    monkeypatch.setattr(estimator, "_program", strength.PROGRAM)
    assert (await estimator.estimate(Secret("password1"), ())).score == 0


async def test_an_estimate_that_kills_the_process_is_refused(answering: Answering) -> None:
    estimator = answering("sys.stdin.readline(); os.abort()")
    for _ in range(2):
        with pytest.raises(HashingBusy):
            await estimator.estimate(Secret("x"), ())


async def test_a_process_that_ended_while_it_was_idle_is_replaced(answering: Answering) -> None:
    estimator = answering("sys.stdin.readline(); print(answer(3))")
    for _ in range(3):
        assert (await estimator.estimate(Secret("x"), ())).score == 3


async def test_a_program_that_is_not_there_is_busy() -> None:
    estimator = ZxcvbnEstimator(["/nowhere/python"])
    with pytest.raises(HashingBusy):
        await estimator.estimate(Secret("x"), ())
    estimator.close()


async def test_closing_ends_an_estimate_that_is_under_way(answering: Answering) -> None:
    estimator = answering("signal.pause()")
    asked = asyncio.create_task(estimator.estimate(Secret("x"), ()))
    await asyncio.sleep(0)
    await asyncio.to_thread(estimator.close)
    # Cancelled, if it had not even begun.
    with pytest.raises((HashingBusy, asyncio.CancelledError)):
        await asked


async def test_after_it_is_closed_it_is_busy_for_good(estimator: ZxcvbnEstimator) -> None:
    estimator.close()
    for _ in range(2 * MOST_WAITING):
        with pytest.raises(HashingBusy):
            await estimator.estimate(Secret("x"), ())
