"""Argon2id, its bounded pool, and that nobody learns from it who exists."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import argon2
import pytest
from argon2.exceptions import HashingError, VerificationError
from argon2.low_level import verify_secret

from keyturn.adapters.argon2.hasher import (
    NICENESS,
    Argon2Parameters,
    Argon2PasswordHasher,
    default_threads,
)
from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.testing.cheap_argon2 import cheap_argon2_parameters
from keyturn.testing.hasher_contract import (
    PASSWORD,
    QUEUE,
    UNREADABLE_HASHES,
    FairPasswordHasherContract,
)

DIGEST = "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
"""Of 32 bytes, as a good hash has it."""

LEAST = Argon2Parameters(time_cost=5, memory_kib=7168, parallelism=1)


class TestArgon2PasswordHasher(FairPasswordHasherContract):
    @pytest.fixture
    def hasher(self) -> Iterator[Argon2PasswordHasher]:
        hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=2)
        yield hasher
        hasher.close()

    @pytest.fixture
    def retuned(self) -> Iterator[Argon2PasswordHasher]:
        hasher = Argon2PasswordHasher(LEAST, threads=1)
        yield hasher
        hasher.close()

    @pytest.fixture
    async def narrow(self, gate: "Gate") -> AsyncIterator[Argon2PasswordHasher]:
        hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=1, queue_size=QUEUE)
        running = await occupy(hasher, gate)
        yield hasher
        gate.opened.set()
        await running
        await asyncio.to_thread(hasher.close)

    @pytest.fixture
    def release(self, gate: "Gate") -> Callable[[], None]:
        return gate.opened.set


@pytest.fixture
async def hasher() -> AsyncIterator[Argon2PasswordHasher]:
    """One thread and room for two to wait."""
    hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=1, queue_size=2)
    yield hasher
    hasher.close()


class Gate:
    """Work that starts when its turn comes and ends when the test says so."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> bool:
        self.entered.set()
        return self.opened.wait(timeout=60)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


async def occupy(hasher: Argon2PasswordHasher, gate: Gate) -> asyncio.Task[bool]:
    """Keep the hasher's only thread busy until the gate opens."""
    task = asyncio.create_task(hasher._beside_the_loop(gate))
    await asyncio.to_thread(gate.entered.wait)
    return task


async def settle() -> None:
    """Let every task run until it has to wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_default_is_the_second_recommendation_of_rfc_9106() -> None:
    hasher = Argon2PasswordHasher(threads=1)
    try:
        password_hash = await hasher.hash(PASSWORD)
    finally:
        hasher.close()
    assert argon2.extract_parameters(password_hash) == argon2.profiles.RFC_9106_LOW_MEMORY


async def test_each_hash_has_a_salt_of_128_bits_of_its_own(hasher: Argon2PasswordHasher) -> None:
    salts = {(await hasher.hash(PASSWORD)).split("$")[4] for _ in range(5)}
    assert len(salts) == 5
    # In the PHC string format they are base64 without padding.
    assert {len(salt) * 6 // 8 for salt in salts} == {16}


@pytest.mark.parametrize(
    ("time_cost", "memory_kib"), [(1, 47104), (2, 19456), (3, 12288), (4, 9216), (5, 7168)]
)
def test_owasps_five_minima_are_allowed_and_nothing_below(time_cost: int, memory_kib: int) -> None:
    Argon2Parameters(time_cost, memory_kib, 1)
    with pytest.raises(ValueError, match=f"at least {memory_kib} KiB"):
        Argon2Parameters(time_cost, memory_kib - 1, 1)


@pytest.mark.parametrize(
    ("time_cost", "memory_kib", "parallelism"),
    [(0, 65536, 1), (-1, 65536, 1), (3, 65536, 0), (3, 0, 1), (99, 7167, 1), (5, 7168, 1000)],
)
def test_parameters_that_make_no_sense_are_refused(
    time_cost: int, memory_kib: int, parallelism: int
) -> None:
    with pytest.raises(ValueError, match="Argon2"):
        Argon2Parameters(time_cost, memory_kib, parallelism)


@pytest.mark.parametrize(("threads", "queue_size"), [(0, 1), (-1, 1), (1, -1)])
def test_a_pool_without_threads_is_refused(threads: int, queue_size: int) -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        Argon2PasswordHasher(cheap_argon2_parameters(), threads=threads, queue_size=queue_size)


async def test_no_hash_is_computed_on_the_event_loop(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    original = hasher._argon2

    class Recorder:
        memory_cost, time_cost, parallelism = 8, 1, 1

        def hash(self, secret: bytes) -> str:
            threads.add(threading.get_ident())
            return original.hash(secret)

        def verify(self, password_hash: str, secret: bytes) -> bool:
            threads.add(threading.get_ident())
            return original.verify(password_hash, secret)

    monkeypatch.setattr(hasher, "_argon2", Recorder())
    password_hash = await hasher.hash(PASSWORD)
    for stored in (password_hash, None, "unreadable"):
        await hasher.verify(stored, PASSWORD)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_beyond_the_queue_a_call_is_refused_at_once(
    hasher: Argon2PasswordHasher, gate: Gate
) -> None:
    running = await occupy(hasher, gate)
    waiting = [asyncio.create_task(hasher.hash(PASSWORD)) for _ in range(2)]
    await settle()
    assert (hasher.running, hasher.waiting) == (1, 2)
    with pytest.raises(HashingBusy):
        await hasher.hash(PASSWORD)
    with pytest.raises(HashingBusy):
        await hasher.verify(None, PASSWORD)
    gate.opened.set()
    assert await running is True
    assert len(await asyncio.gather(*waiting)) == 2
    assert await hasher.verify(None, PASSWORD) is False


async def test_a_hasher_without_a_queue_takes_only_what_it_can_start(gate: Gate) -> None:
    hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=1, queue_size=0)
    running = await occupy(hasher, gate)
    with pytest.raises(HashingBusy):
        await hasher.hash(PASSWORD)
    gate.opened.set()
    await running
    hasher.close()


async def test_a_call_cancelled_while_it_waits_frees_its_place(
    hasher: Argon2PasswordHasher, gate: Gate
) -> None:
    running = await occupy(hasher, gate)
    for _ in range(10):
        waiting = [asyncio.create_task(hasher.hash(PASSWORD)) for _ in range(2)]
        await settle()
        assert hasher.waiting == 2
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert all(task.cancelled() for task in waiting)
        assert (hasher.running, hasher.waiting) == (1, 0)
    gate.opened.set()
    await running


async def test_a_call_cancelled_while_it_runs_keeps_its_thread_until_it_ends(
    hasher: Argon2PasswordHasher, gate: Gate
) -> None:
    running = await occupy(hasher, gate)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert (hasher.running, hasher.waiting) == (1, 0)
    waiting = [asyncio.create_task(hasher.hash(PASSWORD)) for _ in range(2)]
    await settle()
    with pytest.raises(HashingBusy):
        await hasher.hash(PASSWORD)
    gate.opened.set()
    assert len(await asyncio.gather(*waiting)) == 2
    assert hasher.running == 0


async def test_work_that_fails_frees_its_place(hasher: Argon2PasswordHasher) -> None:
    def fail() -> bool:
        raise MemoryError

    for _ in range(10):
        with pytest.raises(MemoryError):
            await hasher._beside_the_loop(fail)
    assert await hasher.verify(None, PASSWORD) is False


async def test_never_more_than_the_pool_run_at_once() -> None:
    hasher = Argon2PasswordHasher(cheap_argon2_parameters(), threads=2, queue_size=50)
    seen: list[int] = []

    def look() -> None:
        seen.append(hasher.running)

    await asyncio.gather(*(hasher._beside_the_loop(look) for _ in range(50)))
    hasher.close()
    assert len(seen) == 50
    assert set(seen) <= {1, 2}


async def test_a_closed_hasher_is_busy_for_good(hasher: Argon2PasswordHasher) -> None:
    hasher.close()
    for _ in range(5):
        with pytest.raises(HashingBusy):
            await hasher.hash(PASSWORD)
    assert (hasher.running, hasher.waiting) == (0, 0)
    hasher.close()


async def test_closing_drops_what_waits_and_lets_what_runs_end(
    hasher: Argon2PasswordHasher, gate: Gate
) -> None:
    running = await occupy(hasher, gate)
    waiting = asyncio.create_task(hasher.hash(PASSWORD))
    await settle()
    closing = asyncio.create_task(asyncio.to_thread(hasher.close))
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert not closing.done()
    gate.opened.set()
    await closing
    assert await running is True


async def costs_of(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch, stored: str | None
) -> list[str]:
    """Return the hashes that one verification computes to its end."""
    computed: list[str] = []

    def recording(password_hash: bytes, *rest: object) -> bool:
        compute: Callable[..., bool] = verify_secret
        try:
            answer = compute(password_hash, *rest)
        except argon2.exceptions.VerifyMismatchError:
            computed.append(password_hash.decode())
            raise
        computed.append(password_hash.decode())
        return answer

    with monkeypatch.context() as patch:
        patch.setattr("argon2._password_hasher.verify_secret", recording)
        await hasher.verify(stored, Secret("wrong"))
    return computed


async def test_a_known_user_costs_exactly_one_hash(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await hasher.hash(PASSWORD)
    assert await costs_of(hasher, monkeypatch, stored) == [stored]


@pytest.mark.parametrize(
    "stored",
    [
        None,
        *UNREADABLE_HASHES.values(),
        "$argon2id$v=19$m=8,t=1,p=1$!!!!$????",
        "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNo",
        "$argon2id$v=19$m=8,t=1,p=1$c2E$aGFzaGhhc2hoYXNo",
        "$argon2id$v=19$m=-8,t=-1,p=-1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNo",
        f"$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHRzYWx0${DIGEST}",
        f"$argon2id$v=19$m=8,t=17,p=1$c2FsdHNhbHRzYWx0${DIGEST}",
        f"$argon2id$v=19$m=65536,t=1,p=17$c2FsdHNhbHRzYWx0${DIGEST}",
    ],
    ids=lambda stored: repr(stored)[:40],
)
async def test_an_unknown_user_or_an_unreadable_hash_costs_exactly_one_of_todays_hashes(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch, stored: str | None
) -> None:
    assert await costs_of(hasher, monkeypatch, stored) == [hasher._hash_of_nobody]
    assert not hasher.needs_rehash(hasher._hash_of_nobody)


async def test_a_heavier_hash_within_reason_still_verifies(hasher: Argon2PasswordHasher) -> None:
    heavier = argon2.PasswordHasher(time_cost=2, memory_cost=65536, parallelism=4)
    stored = heavier.hash(PASSWORD.reveal())
    assert await hasher.verify(stored, PASSWORD) is True
    assert hasher.needs_rehash(stored) is True


async def test_a_hash_of_another_argon2_verifies_and_needs_a_rehash(
    hasher: Argon2PasswordHasher,
) -> None:
    other = argon2.PasswordHasher(1, 8, 1, type=argon2.Type.I)
    stored = other.hash(PASSWORD.reveal())
    assert await hasher.verify(stored, PASSWORD) is True
    assert hasher.needs_rehash(stored) is True


async def test_a_lone_surrogate_in_a_password_is_no_error(hasher: Argon2PasswordHasher) -> None:
    stored = await hasher.hash(Secret("\ud800"))
    assert await hasher.verify(stored, Secret("\ud800")) is True
    assert await hasher.verify(stored, Secret("\udfff")) is False


async def test_one_hasher_serves_several_event_loops(hasher: Argon2PasswordHasher) -> None:
    def elsewhere() -> bool:
        return asyncio.run(hasher.verify(None, PASSWORD))

    assert await asyncio.to_thread(elsewhere) is False
    assert await hasher.verify(None, PASSWORD) is False


@pytest.mark.parametrize("complaint", ["Memory allocation error", "Threading failure"])
async def test_a_machine_without_memory_or_threads_is_busy_and_no_password_wrong(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch, complaint: str
) -> None:
    stored = await hasher.hash(PASSWORD)

    def fail_to_hash(*_: object) -> str:
        raise HashingError(complaint)

    def fail_to_verify(*_: object) -> bool:
        raise VerificationError(complaint)

    monkeypatch.setattr(argon2.PasswordHasher, "hash", fail_to_hash)
    monkeypatch.setattr(argon2.PasswordHasher, "verify", fail_to_verify)
    for attempt in (
        hasher.hash(PASSWORD),
        hasher.verify(stored, PASSWORD),
        hasher.verify(None, PASSWORD),
    ):
        with pytest.raises(HashingBusy):
            await attempt


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere, threads have no niceness of their own"
)
def test_hashing_lets_whoever_only_verifies_go_first(hasher: Argon2PasswordHasher) -> None:
    of_a_thread = hasher._executor.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
    here = os.getpriority(os.PRIO_PROCESS, 0)
    assert of_a_thread == min(here + NICENESS, 19)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, all cores are usable")
@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7)])
def test_by_default_hashing_leaves_a_core_to_whoever_only_verifies(
    cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert default_threads() == threads


async def test_where_niceness_is_forbidden_passwords_are_hashed_all_the_same(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.setpriority", forbid)
    password = Secret("a passphrase of my own")
    assert await hasher.verify(await hasher.hash(password), password)
