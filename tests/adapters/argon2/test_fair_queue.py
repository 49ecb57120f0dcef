"""Whose turn it is, and who gives way."""

import pytest

from keyturn.adapters.argon2.fair_queue import FairQueue


@pytest.fixture
def queue() -> FairQueue[str]:
    return FairQueue()


def put(queue: FairQueue[str], *jobs: str) -> None:
    """Add jobs such as `a1`, the first of the source `a`."""
    for job in jobs:
        queue.put(job[0], job)


def take_all(queue: FairQueue[str]) -> list[str]:
    taken = []
    while (job := queue.take()) is not None:
        taken.append(job)
    return taken


def test_sources_take_turns_and_their_jobs_keep_their_order(queue: FairQueue[str]) -> None:
    put(queue, "a1", "a2", "a3", "b1", "c1", "c2")
    assert len(queue) == 6
    assert take_all(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert (len(queue), queue.take()) == (0, None)


def test_a_source_that_comes_back_waits_behind_the_others(queue: FairQueue[str]) -> None:
    put(queue, "a1", "b1", "c1")
    assert queue.take() == "a1"
    put(queue, "a2")
    assert take_all(queue) == ["b1", "c1", "a2"]


def test_a_job_that_is_removed_loses_its_turn(queue: FairQueue[str]) -> None:
    put(queue, "a1", "a2", "b1")
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert not queue.remove("z", "z1")
    assert queue.remove("b", "b1")
    assert len(queue) == 1
    assert take_all(queue) == ["a2"]


def test_the_newest_job_of_the_source_with_the_most_gives_way(queue: FairQueue[str]) -> None:
    put(queue, "a1", "b1", "b2", "b3")
    assert queue.make_room_for("c") == "b3"
    assert queue.make_room_for("a") is None
    assert queue.make_room_for("b") is None
    assert queue.make_room_for("c") == "b2"
    assert queue.make_room_for("c") is None
    assert take_all(queue) == ["a1", "b1"]


def test_an_empty_queue_has_nothing_to_give_up(queue: FairQueue[str]) -> None:
    assert queue.make_room_for("a") is None
