"""Passwords hashed with Argon2id, in a bounded pool of threads beside the event loop."""

import asyncio
import os
import secrets
import sys
import threading
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import argon2
from argon2.exceptions import (
    Argon2Error,
    HashingError,
    InvalidHashError,
    VerificationError,
    VerifyMismatchError,
)
from argon2.low_level import error_to_str

from keyturn.adapters.argon2.fair_queue import FairQueue
from keyturn.domain.errors import HashingBusy
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source, queueing_source
from keyturn.ports.passwords import ForeignHashes, PasswordHasher

NICENESS = 5
"""How much nicer the threads that hash are than the others: they get a quarter of a busy core."""

_NO_RESOURCES = {error_to_str(code) for code in (-22, -33)}
"""What Argon2 says when it gets no memory and no thread; argon2-cffi passes on only the text."""

T = TypeVar("T")

_LEAST_MEMORY_KIB = {1: 47104, 2: 19456, 3: 12288, 4: 9216}
_LEAST_MEMORY_KIB_BEYOND = 7168

_MOST_STORED_MEMORY_KIB = 262144
_MOST_STORED_PASSES = 16
_MOST_STORED_LANES = 16
_SHORTEST_STORED_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """What one hash costs; the default is the second recommendation of RFC 9106 §4.

    The least that is allowed is what OWASP's Password Storage Cheat Sheet gives as equivalent:
    46 MiB in one pass, 19 in two, 12 in three, 9 in four, 7 in five or more.

    Args:
        time_cost: passes over the memory.
        memory_kib: memory of one hash, in KiB; the pool uses as many times this as it has threads.
        parallelism: lanes, each computed by a thread of its own.

    Raises:
        ValueError: the hashes would be too cheap to protect a stolen database.
    """

    time_cost: int = 3
    memory_kib: int = 65536
    parallelism: int = 4

    def __post_init__(self) -> None:
        if self.time_cost < 1 or self.parallelism < 1:
            raise ValueError("Argon2 needs at least one pass and one lane")
        least = _LEAST_MEMORY_KIB.get(self.time_cost, _LEAST_MEMORY_KIB_BEYOND)
        if self.memory_kib < least:
            raise ValueError(
                f"Argon2 with {self.time_cost} passes needs at least {least} KiB of memory"
            )
        if self.memory_kib < 8 * self.parallelism:
            raise ValueError("Argon2 needs at least 8 KiB of memory for each lane (RFC 9106 §3.1)")


def default_threads() -> int:
    """Return one for each core that the process may use, but one, which is left to the loop."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, cores - 1)


class Argon2PasswordHasher(PasswordHasher):
    """Hashes with Argon2id; at most `threads` hashes run and `queue_size` wait.

    Its memory is thereby bounded by `threads` times that of one hash. A call that is cancelled
    while it waits leaves the queue; once it runs it can't be stopped and keeps its thread. The
    queue is a `FairQueue`: 80 waiting calls of one source delay a call of another by one hash.
    """

    def __init__(
        self,
        parameters: Argon2Parameters | None = None,
        *,
        threads: int | None = None,
        queue_size: int = 64,
        imported: ForeignHashes | None = None,
    ) -> None:
        """Make the pool; its threads start when they are needed.

        Args:
            parameters: the cost of new hashes; RFC 9106's by default.
            threads: hashes that run at once; `default_threads()` by default.
            queue_size: hashes that may wait beyond those, of all sources together.
            imported: what else is verified, by the same threads and with the same places.

        Raises:
            ValueError: the pool is empty or the queue negative.
        """
        parameters = parameters or Argon2Parameters()
        threads = default_threads() if threads is None else threads
        if threads < 1 or queue_size < 0:
            raise ValueError("hashing needs at least one thread and no negative queue")
        self._imported = imported
        self._argon2 = argon2.PasswordHasher(
            parameters.time_cost, parameters.memory_kib, parameters.parallelism
        )
        self._hash_of_nobody = _hash_of_nobody(parameters)
        self._executor = ThreadPoolExecutor(
            threads, thread_name_prefix="argon2", initializer=_let_others_go_first
        )
        self._places = threads + queue_size
        self._lock = threading.Lock()
        self._queue: FairQueue[_Job[Any]] = FairQueue()
        self._calls = 0
        self._running = 0
        self._is_closed = False

    @property
    def running(self) -> int:
        """Hashes being computed now."""
        return self._running

    @property
    def waiting(self) -> int:
        """Hashes that wait for a thread."""
        with self._lock:
            return len(self._queue)

    async def hash(self, password: Secret, *, source: Source = UNKNOWN_SOURCE) -> str:
        """Return a salted Argon2id hash in PHC string format.

        Raises:
            HashingBusy: too many wait already.
        """
        secret = _encoded(password)
        return await self._beside_the_loop(lambda: self._argon2.hash(secret), source)

    async def verify(
        self, password_hash: str | None, password: Secret, *, source: Source = UNKNOWN_SOURCE
    ) -> bool:
        """Return whether `password` is the one that was hashed.

        For None, and for a hash that can't be read or would cost far more than one of today's,
        the password is checked against a hash of nobody's, which takes as long.

        Raises:
            HashingBusy: too many wait already.
        """
        secret = _encoded(password)
        return await self._beside_the_loop(lambda: self._verify(password_hash, secret), source)

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than today's, or elsewhere."""
        try:
            return self._argon2.check_needs_rehash(password_hash)
        except InvalidHashError:
            return True

    def can_verify(self, password_hash: str) -> bool:
        """Return whether it is a hash of Argon2 that is affordable, or an imported one."""
        if self._imported is not None and self._imported.recognises(password_hash):
            return True
        return self._is_affordable(password_hash)

    def close(self) -> None:
        """Refuse new work, drop what waits and wait for what runs."""
        with self._lock:
            self._is_closed = True
            dropped = []
            while (job := self._queue.take()) is not None:
                dropped.append(job)
        for job in dropped:
            job.future.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _beside_the_loop(self, work: Callable[[], T], source: Source = UNKNOWN_SOURCE) -> T:
        job = _Job(work, queueing_source(source))
        with self._lock:
            is_full = self._running + len(self._queue) >= self._places
            evicted = self._queue.make_room_for(job.source) if is_full else None
            if self._is_closed or (is_full and evicted is None):
                raise HashingBusy
            self._queue.put(job.source, job)
            # One call of `_run_next` for each waiting job: those of cancelled jobs are used again.
            needs_call = self._calls < len(self._queue)
            self._calls += needs_call
        # Outside the lock: what waits for a future is called back by whoever ends it.
        if evicted is not None:
            evicted.turn_away()
        if needs_call:
            self._call_a_thread(job)
        # Called when the work is done, and at once when it is cancelled before it started.
        job.future.add_done_callback(lambda _: self._withdraw(job))
        return await asyncio.wrap_future(job.future)

    def _call_a_thread(self, job: "_Job[T]") -> None:
        try:
            self._executor.submit(self._run_next)
        except RuntimeError:
            # Closed, or the machine has no thread to give.
            with self._lock:
                self._calls -= 1
            if self._withdraw(job):
                raise HashingBusy from None

    def _run_next(self) -> None:
        while True:
            with self._lock:
                job = self._queue.take()
                if job is None:
                    self._calls -= 1
                    return
                if job.future.set_running_or_notify_cancel():
                    self._calls -= 1
                    self._running += 1
                    break
        job.run(self._end_of_run)

    def _end_of_run(self) -> None:
        with self._lock:
            self._running -= 1

    def _withdraw(self, job: "_Job[T]") -> bool:
        with self._lock:
            return self._queue.remove(job.source, job)

    def _verify(self, password_hash: str | None, secret: bytes) -> bool:
        if (
            password_hash is not None
            and self._imported is not None
            and self._imported.recognises(password_hash)
        ):
            return self._imported.verify(password_hash, secret)
        if password_hash is not None and self._is_affordable(password_hash):
            try:
                return self._argon2.verify(password_hash, secret)
            except VerifyMismatchError:
                return False
            except (Argon2Error, InvalidHashError) as error:
                if str(error) in _NO_RESOURCES:
                    raise
                # Rejected before any work: fall through, so that this takes as long as a mismatch.
        with suppress(VerifyMismatchError):
            self._argon2.verify(self._hash_of_nobody, secret)
        return False

    def _is_affordable(self, password_hash: str) -> bool:
        try:
            stored = argon2.extract_parameters(password_hash)
        except InvalidHashError:
            return False
        return (
            password_hash.isascii()
            and stored.hash_len >= _SHORTEST_STORED_DIGEST
            and stored.memory_cost <= max(_MOST_STORED_MEMORY_KIB, self._argon2.memory_cost)
            and stored.time_cost <= max(_MOST_STORED_PASSES, self._argon2.time_cost)
            and stored.parallelism <= max(_MOST_STORED_LANES, self._argon2.parallelism)
        )


class _Job(Generic[T]):
    """Work that waits for a thread, and where its result goes.

    Attributes:
        source: whose turn it is executed in.
        future: cancelled by whoever no longer waits.
    """

    __slots__ = ("_work", "future", "source")

    def __init__(self, work: Callable[[], T], source: str) -> None:
        self._work = work
        self.source = source
        self.future: Future[T] = Future()

    def run(self, when_over: Callable[[], None]) -> None:
        """Do the work; `when_over` is called before the result is known to anybody."""
        try:
            result = self._work()
        except (HashingError, VerificationError) as error:
            when_over()
            # The machine has no memory or thread to give: nothing is known of the password.
            self.future.set_exception(HashingBusy() if str(error) in _NO_RESOURCES else error)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, as by an executor
            when_over()
            self.future.set_exception(error)
        else:
            when_over()
            self.future.set_result(result)

    def turn_away(self) -> None:
        """Let the call fail as busy, unless it was cancelled meanwhile."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(HashingBusy())


def _let_others_go_first() -> None:
    # Linux has a niceness for each thread, and Argon2's own threads take it over: a login waits a
    # little so that whoever only verifies a token does not wait for logins. Elsewhere it would be
    # that of the whole process.
    if sys.platform == "linux":
        nicer = min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)
        # A sandbox may forbid it: then all threads are equal.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nicer)


def _hash_of_nobody(parameters: Argon2Parameters) -> str:
    """Return what no password hashes to: to check one against it takes as long as against another.

    Salt and digest are drawn: to compute them would hold up the start for as long as a login.
    """
    drawn = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    cost = f"m={parameters.memory_kib},t={parameters.time_cost},p={parameters.parallelism}"
    return "$".join(("", "argon2id", "v=19", cost, *drawn))


def _encoded(password: Secret) -> bytes:
    # A lone surrogate is no reason to fail here, least of all with an error that quotes the text.
    return password.reveal().encode("utf-8", "surrogatepass")
