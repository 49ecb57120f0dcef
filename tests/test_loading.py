"""What a process of its own does while it loads its modules."""

import gc
from collections.abc import Iterator

import pytest

from keyturn.loading import YOUNG_OBJECTS, loading


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_no_garbage_is_collected_while_modules_are_loaded() -> None:
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_loaded_is_never_looked_at_again() -> None:
    with loading():
        loaded: list[object] = []
    assert gc.get_freeze_count() > 0
    assert not any(each is loaded for each in gc.get_objects())


def test_garbage_is_looked_for_less_often_afterwards() -> None:
    with loading():
        pass
    assert gc.get_threshold()[0] == YOUNG_OBJECTS


@pytest.mark.parametrize("young", [0, YOUNG_OBJECTS + 1])
def test_garbage_is_not_looked_for_more_often_than_somebody_has_set(young: int) -> None:
    gc.set_threshold(young)
    with loading():
        pass
    assert gc.get_threshold()[0] == young


def test_garbage_is_collected_again_after_a_failure() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
