"""Rotations that the store may have made without ever saying so."""

from datetime import UTC, datetime, timedelta

from keyturn.testing.builders import make_token_id
from keyturn.use_cases.unanswered_rotations import UnansweredRotations

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GRACE = timedelta(seconds=10)
LATE = NOW + timedelta(hours=1)


def are_open(unanswered: UnansweredRotations, at: datetime = NOW) -> list[bool]:
    return [unanswered.is_open(make_token_id(number), at) for number in (1, 2, 3)]


def test_a_successor_is_open_until_the_grace_window_after_it_was_first_handed_out() -> None:
    unanswered = UnansweredRotations(GRACE)
    for number in (1, 2):
        unanswered.note(make_token_id(number))
    assert are_open(unanswered, LATE) == [True, True, False]
    for number in (1, 3):
        unanswered.hand_out(make_token_id(number), LATE)
    unanswered.hand_out(make_token_id(1), LATE + GRACE / 2)
    assert are_open(unanswered, LATE + GRACE / 2) == [True, True, False]
    assert are_open(unanswered, LATE + GRACE) == [False, True, False]


def test_a_successor_that_the_store_has_answered_for_is_forgotten() -> None:
    unanswered = UnansweredRotations(GRACE)
    for number in (1, 2):
        unanswered.note(make_token_id(number))
    for number in (1, 3):
        unanswered.forget(make_token_id(number))
    assert are_open(unanswered) == [False, True, False]


def test_those_that_have_waited_longest_are_forgotten_beyond_the_limit() -> None:
    unanswered = UnansweredRotations(GRACE, at_most=2)
    for number in (1, 2, 3):
        unanswered.note(make_token_id(number))
    assert are_open(unanswered) == [False, True, True]


def test_without_a_grace_window_a_successor_is_open_once_the_store_has_not_answered() -> None:
    unanswered = UnansweredRotations(timedelta(0))
    for number in (1, 2):
        unanswered.note(make_token_id(number))
    unanswered.leave_open(make_token_id(2))
    assert are_open(unanswered) == [False, True, False]
    unanswered.hand_out(make_token_id(2), NOW)
    assert are_open(unanswered) == [False, False, False]
