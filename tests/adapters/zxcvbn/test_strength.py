"""What zxcvbn says, however odd the password, and how many may ask at once."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyturn.adapters.zxcvbn import strength
from keyturn.adapters.zxcvbn.strength import (
    CHARACTERS_LOOKED_AT,
    MOST_WAITING,
    ZxcvbnEstimator,
)
from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.domain.strength import Strength


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
    assert 0 <= strength._estimate(Secret(text), tuple(words)).score <= 4


async def test_one_is_estimated_at_a_time_beside_the_loop_and_few_wait(
    estimator: ZxcvbnEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    under_way: list[int] = []

    def estimate(password: Secret, words: tuple[str, ...]) -> Strength:
        under_way.append(threading.get_ident())
        goes_on.wait(timeout=60)
        return Strength(len(under_way), None, words)

    monkeypatch.setattr(strength, "_estimate", estimate)
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
    await asyncio.sleep(0)
    assert len(under_way) <= 1
    goes_on.set()
    found = await asyncio.gather(*asked)
    assert [each.suggestions for each in found[-2:]] == [(str(MOST_WAITING - 1),), ("late",)]
    assert len(set(under_way)) == 1
    assert threading.get_ident() not in under_way


async def test_after_it_is_closed_it_is_busy_for_good(estimator: ZxcvbnEstimator) -> None:
    estimator.close()
    for _ in range(2 * MOST_WAITING):
        with pytest.raises(HashingBusy):
            await estimator.estimate(Secret("x"), ())
