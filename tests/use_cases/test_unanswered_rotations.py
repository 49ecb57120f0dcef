"""Rotations that the store may have made without ever saying so."""

from keyturn.testing.builders import make_token_id
from keyturn.use_cases.unanswered_rotations import UnansweredRotations


def test_a_successor_is_remembered_until_it_is_handed_out() -> None:
    unanswered = UnansweredRotations()
    unanswered.note(make_token_id(1))
    unanswered.note(make_token_id(2))
    assert [make_token_id(number) in unanswered for number in (1, 2, 3)] == [True, True, False]
    unanswered.forget(make_token_id(1))
    unanswered.forget(make_token_id(3))
    assert [make_token_id(number) in unanswered for number in (1, 2)] == [False, True]


def test_those_that_have_waited_longest_are_forgotten_beyond_the_limit() -> None:
    unanswered = UnansweredRotations(at_most=2)
    for number in (1, 2, 3):
        unanswered.note(make_token_id(number))
    assert [make_token_id(number) in unanswered for number in (1, 2, 3)] == [False, True, True]
