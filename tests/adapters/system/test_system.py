"""The machine's clock and ids."""

import os
import uuid
from datetime import UTC, datetime, timedelta

from keyturn.adapters.system.clock import SystemClock
from keyturn.adapters.system.ids import UuidGenerator


def test_the_clock_tells_aware_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


def test_ids_are_plain_uuids_of_the_standard_library() -> None:
    ids = UuidGenerator()
    assert {type(made) for made in (ids.user_id(), ids.family_id(), ids.token_id())} == {uuid.UUID}


def test_user_and_family_ids_follow_the_order_of_time() -> None:
    ids = UuidGenerator()
    for make in (ids.user_id, ids.family_id):
        made = [make() for _ in range(1000)]
        assert {one.version for one in made} == {7}
        assert made == sorted(made)
        assert len(set(made)) == 1000


def test_token_ids_are_random_throughout() -> None:
    made = [UuidGenerator().token_id() for _ in range(1000)]
    assert {one.version for one in made} == {4}
    assert len(set(made)) == 1000
    # Every bit but version and variant takes both values.
    ones = zeros = 0
    for one in made:
        ones |= one.int
        zeros |= ~one.int
    fixed = (0xF << 76) | (0b11 << 62)
    everything = (1 << 128) - 1
    assert (ones | fixed) & everything == everything
    assert (zeros | fixed) & everything == everything


def test_a_forked_worker_makes_ids_of_its_own() -> None:
    ids = UuidGenerator()
    ids.user_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, ids.user_id().bytes[6:] + ids.token_id().bytes)
        os._exit(0)
    mine = ids.user_id().bytes[6:] + ids.token_id().bytes
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        theirs = pipe.read()
    assert len(theirs) == len(mine) == 26
    assert theirs[2:10] != mine[2:10]
    assert theirs[10:] != mine[10:]
