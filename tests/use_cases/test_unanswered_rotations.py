"""Rotations that the store may have made without ever saying so."""

from uuid import UUID

from keyturn.domain.ids import FamilyId
from keyturn.testing.builders import make_token_id
from keyturn.use_cases.unanswered_rotations import UnansweredRotations


def family(number: int) -> FamilyId:
    return FamilyId(UUID(int=number))


def test_the_last_successor_of_a_session_is_remembered_until_it_is_handed_out() -> None:
    unanswered = UnansweredRotations()
    unanswered.note(family(1), make_token_id(1))
    unanswered.note(family(1), make_token_id(2))
    assert unanswered.successor_of(family(1)) == make_token_id(2)
    assert unanswered.successor_of(family(2)) is None
    unanswered.forget(family(1))
    unanswered.forget(family(2))
    assert unanswered.successor_of(family(1)) is None


def test_those_who_have_waited_longest_are_forgotten_beyond_the_limit() -> None:
    unanswered = UnansweredRotations(at_most=2)
    for number in (1, 2, 1, 3):
        unanswered.note(family(number), make_token_id(number))
    assert [unanswered.successor_of(family(number)) is not None for number in (1, 2, 3)] == [
        True,
        False,
        True,
    ]
