"""The machine's clock and ids."""

import base64
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

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


def test_a_token_for_a_link_has_256_random_bits() -> None:
    made = [
        base64.urlsafe_b64decode(UuidGenerator().one_time_token().reveal() + "=")
        for _ in range(1000)
    ]
    assert {len(one) for one in made} == {32}
    assert len(set(made)) == 1000
    # Every bit takes both values.
    ones, zeros = 0, 0
    for one in made:
        ones |= int.from_bytes(one)
        zeros |= ~int.from_bytes(one)
    everything = (1 << 256) - 1
    assert ones & everything == zeros & everything == everything


def test_a_forked_worker_makes_ids_of_its_own() -> None:
    # In a process of its own: this one may have threads, which a fork would not take along.
    script = """
import os
from keyturn.adapters.system.ids import UuidGenerator

ids = UuidGenerator()
ids.user_id()
child = os.fork()
os.write(1, f"{ids.user_id()} {ids.token_id()}\\n".encode())
if child:
    os.waitpid(child, 0)
"""
    source = Path(__file__).parents[3] / "src"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    parent, child = (line.split() for line in finished.stdout.splitlines())
    # The last 62 bits of a UUIDv7 are random; the time before them may be the same.
    assert parent[0][19:] != child[0][19:]
    assert parent[1] != child[1]
