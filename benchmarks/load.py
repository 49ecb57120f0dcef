"""The one load generator: a process of its own that drives a server and tells what it saw.

It reads a job as JSON from standard input and writes what came of it as JSON to standard output.
Each connection sends a request as soon as the answer to the one before is there, or at a given
pace. The client reads as much of HTTP/1.1 as the servers send: a status line, `Content-Length` or
chunks, and `Connection: close`, after which it connects again.
"""

import asyncio
import gc
import json
import math
import os
import re
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

PATIENCE = 60.0
"""Seconds without an answer after which a connection is given up."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_MOST_REASONS = 5


@dataclass(frozen=True, slots=True)
class Chain:
    """Requests of which each carries the token that the answer to the one before held.

    Args:
        head: the request line and the headers, without `Content-Length` and the blank line.
        before: what the body has before the token.
        after: what the body has after it.
        member: the JSON member of the answer that holds the next token.
        tokens: for each connection the tokens that it uses in turn.
    """

    head: str
    before: str
    after: str
    member: str
    tokens: list[list[str]]


@dataclass(frozen=True, slots=True)
class Job:
    """What to do.

    Args:
        host: where the server is.
        port: its port.
        connections: how many send at the same time.
        seconds: for how long answers are counted; None until `requests` have been used up.
        warm_up: seconds before that, not counted; with `requests` used up once, the first of
            them is repeated meanwhile.
        requests: whole requests that the connections take in turn.
        chain: or requests that follow from each other's answers.
        pace: requests a second of each connection; None for one right after the other.
        nice: how much less urgent than others this process is; negative for more.
        cores: where it may run; None for anywhere.
        forever: run until standard input ends; nothing else than that ends the measurement.
    """

    host: str
    port: int
    connections: int
    seconds: float | None
    warm_up: float = 0.5
    requests: list[str] | None = None
    chain: Chain | None = None
    pace: float | None = None
    nice: int = 0
    cores: list[int] | None = None
    forever: bool = False

    def to_json(self) -> str:
        """Return what `read` understands."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> "Job":
        """Return the job that is written there."""
        values: dict[str, Any] = json.loads(text)
        if values["chain"] is not None:
            values["chain"] = Chain(**values["chain"])
        return Job(**values)


@dataclass(slots=True)
class Outcome:
    """What was seen: good answers with their latencies, and everything else."""

    latencies: list[float] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)
    first_bad: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    tokens: list[list[str]] | None = None

    def note_bad(self, kind: str, detail: str) -> None:
        """Count an answer that is none."""
        self.bad[kind] += 1
        if len(self.first_bad) < _MOST_REASONS:
            self.first_bad.append(f"{kind}: {detail[:300]}")

    def summary(self) -> dict[str, Any]:
        """Return what the harness keeps; latencies in milliseconds."""
        ordered = sorted(self.latencies)
        count = len(ordered)
        return {
            "count": count,
            "seconds": round(self.seconds, 6),
            "rate": round(count / self.seconds, 2) if self.seconds else 0.0,
            "p50_ms": percentile_ms(ordered, 0.50),
            "p90_ms": percentile_ms(ordered, 0.90),
            "p99_ms": percentile_ms(ordered, 0.99),
            "max_ms": percentile_ms(ordered, 1.0),
            "load_cpu": round(self.cpu, 4),
            "bad": dict(self.bad),
            "first_bad": self.first_bad,
        }


def percentile_ms(ordered: list[float], share: float) -> float | None:
    """Return the latency in milliseconds that `share` of the sorted seconds does not exceed."""
    if not ordered:
        return None
    # The nearest rank; the little bit less is what a float may be too much.
    index = max(0, math.ceil(share * len(ordered) - 1e-9) - 1)
    return round(ordered[index] * 1000, 4)


class Connection(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, load: "Load", number: int) -> None:
        self._load = load
        self._number = number
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._began = 0.0
        self._due = 0.0
        self._waits = False
        self._places = list(range(len(load.tokens[number]))) if load.tokens is not None else [0]
        self._place = 0

    async def connect(self) -> None:
        """Connect, and ask for the first time."""
        job = self._load.job
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, job.host, job.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask; a request that was begun before goes on counting its time."""
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self._received = b""
        if self._waits:
            self._transport.write(self._request)  # type: ignore[union-attr]
        elif self._load.job.pace is not None and not self._due:
            # Spread over the first interval, so that they do not come in bursts.
            interval = 1 / self._load.job.pace
            offset = interval * self._number / self._load.job.connections
            self._due = time.perf_counter() + offset
            self._load.loop.call_later(offset, self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        request = self._load.next_request(self._number, self._place)
        if request is None:
            self._load.end_connection()
            return
        self._request = request
        self._waits = True
        # With a pace, a request that is sent late counts from when it was due.
        self._began = self._due or time.perf_counter()
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take the answer when it is whole, and ask again."""
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            self._received = received
            return
        head = received[: end + 2]
        length = _LENGTH.search(head)
        if length is not None:
            body = received[end + 4 :]
            if len(body) < int(length[1]):
                self._received = received
                return
        elif _CHUNKED.search(head):
            if not received.endswith(b"0\r\n\r\n"):
                self._received = received
                return
            body = received[end + 4 :]
        else:
            body = b""
        self._received = b""
        self._waits = False
        load = self._load
        if load.answered(self._number, self._place, head, body, self._began):
            self._place = (self._place + 1) % len(self._places)
        if _CLOSE.search(head):
            assert self._transport is not None
            self._transport.close()
            return
        self._go_on()

    def _go_on(self) -> None:
        load = self._load
        if load.ended:
            load.end_connection()
        elif load.job.pace is None:
            self._ask()
        else:
            self._due += 1 / load.job.pace
            load.loop.call_later(max(0.0, self._due - time.perf_counter()), self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        """Connect again, unless it is over; a request that got no answer is sent again."""
        self._transport = None
        load = self._load
        if load.ended:
            load.end_connection()
            return
        if exc is not None:
            load.outcome.note_bad("connection lost", repr(exc))
        elif self._waits:
            load.outcome.note_bad("connection closed", "before an answer")
        load.reconnect(self)


class Load:
    """All connections of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.outcome = Outcome()
        self.ended = False
        self.loop = asyncio.get_running_loop()
        self.tokens: list[list[str]] | None = None
        self._counts = False
        self._open = job.connections
        self._over: asyncio.Future[None] = self.loop.create_future()
        self._once: Iterator[bytes] | None = None
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._last_answer = time.perf_counter()
        if job.chain is not None:
            self.tokens = [list(tokens) for tokens in job.chain.tokens]
            self._head = job.chain.head.encode()
            self._before, self._after = job.chain.before.encode(), job.chain.after.encode()
            self._surrounding = len(self._before) + len(self._after)
            self._member = re.compile(rb'"%s": *"([^"]+)"' % job.chain.member.encode())
        else:
            assert job.requests
            self._fixed = [request.encode() for request in job.requests]
            self._turns = [
                self._fixed[number :: job.connections] or self._fixed[:1]
                for number in range(job.connections)
            ]
            self._next = [0] * job.connections

    def next_request(self, number: int, place: int) -> bytes | None:
        """Return what the connection sends now, None when there is nothing left to send."""
        if self.tokens is not None:
            token = self.tokens[number][place].encode()
            length = b"\r\nContent-Length: %d\r\n\r\n" % (self._surrounding + len(token))
            return b"".join((self._head, length, self._before, token, self._after))
        if self.job.seconds is None:
            return next(self._once, None) if self._once is not None else self._fixed[0]
        turn = self._turns[number]
        index = self._next[number]
        self._next[number] = (index + 1) % len(turn)
        return turn[index]

    def answered(self, number: int, place: int, head: bytes, body: bytes, began: float) -> bool:
        """Count an answer; return whether the next request is another one."""
        now = time.perf_counter()
        self._last_answer = now
        outcome = self.outcome
        if head[9:10] != b"2":
            outcome.note_bad(
                head[9:12].decode(errors="replace"), (head + body).decode("utf-8", "replace")
            )
            return False
        if self.tokens is not None:
            found = self._member.search(body)
            if found is None:
                outcome.note_bad("no token", body.decode("utf-8", "replace"))
                return False
            self.tokens[number][place] = found[1].decode()
        if self._counts:
            outcome.latencies.append(now - began)
        return True

    def reconnect(self, connection: Connection) -> None:
        """Connect again."""
        task = self.loop.create_task(connection.connect())
        self._reconnecting.add(task)
        task.add_done_callback(self._reconnected)

    def _reconnected(self, task: asyncio.Task[None]) -> None:
        self._reconnecting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.outcome.note_bad("can't connect", repr(task.exception()))
            self.end_connection()

    def end_connection(self) -> None:
        """Note that one connection has nothing more to do."""
        self._open -= 1
        if self._open <= 0 and not self._over.done():
            self._over.set_result(None)

    async def run(self) -> Outcome:
        """Do the job and return what came of it."""
        await asyncio.gather(*(Connection(self, n).connect() for n in range(self.job.connections)))
        await asyncio.sleep(self.job.warm_up)
        gc.collect()
        gc.freeze()
        cpu, began = _cpu_seconds(), time.perf_counter()
        self._counts = True
        if self.job.forever:
            await asyncio.to_thread(sys.stdin.read)
        elif self.job.seconds is None:
            self._once = iter(self._fixed)
            await self._until_over()
        else:
            ending = began + self.job.seconds
            while not self._over.done() and (left := ending - time.perf_counter()) > 0:
                await asyncio.sleep(min(left, 0.5))
                self._check_patience()
        self.outcome.seconds = time.perf_counter() - began
        self.outcome.cpu = _cpu_seconds() - cpu
        self._counts = False
        self.ended = True
        # What is under way comes to its end: a chain would otherwise lose its next token.
        if self.tokens is not None:
            await self._until_over()
        self.outcome.tokens = self.tokens
        return self.outcome

    async def _until_over(self) -> None:
        while not self._over.done():
            await asyncio.wait({self._over}, timeout=0.5)
            self._check_patience()

    def _check_patience(self) -> None:
        if time.perf_counter() - self._last_answer > PATIENCE:
            self.outcome.note_bad("no answer", f"for {PATIENCE:.0f} s")
            if not self._over.done():
                self._over.set_result(None)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def hash_for(seconds: float, threads: int, password_hash: str, password: str) -> dict[str, Any]:
    """Verify a password again and again, with no server around it, and return what that took."""
    import argon2  # noqa: PLC0415 - who sends requests does without

    # As polite as the threads that hash in keyturn: on a busy machine it counts.
    os.nice(5)
    hasher = argon2.PasswordHasher()
    outcome = Outcome()
    ending = time.perf_counter() + seconds

    def work() -> None:
        while (began := time.perf_counter()) < ending:
            hasher.verify(password_hash, password)
            outcome.latencies.append(time.perf_counter() - began)

    cpu, began = _cpu_seconds(), time.perf_counter()
    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    outcome.seconds = time.perf_counter() - began
    outcome.cpu = _cpu_seconds() - cpu
    return outcome.summary()


def _runner() -> Callable[..., Any]:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.run
    run: Callable[..., Any] = uvloop.run
    return run


async def _run(job: Job) -> dict[str, Any]:
    outcome = await Load(job).run()
    return outcome.summary() | {"tokens": outcome.tokens}


def main() -> None:
    """Read a job from standard input and write what came of it."""
    # One line, so that what follows can tell the end of a job without one.
    text = sys.stdin.readline()
    described: dict[str, Any] = json.loads(text)
    if "hash" in described:
        json.dump(hash_for(**described["hash"]), sys.stdout)
        return
    job = Job.read(text)
    if job.cores:
        os.sched_setaffinity(0, job.cores)
    if job.nice:
        try:
            os.nice(job.nice)
        except PermissionError:
            print("the load generator may not be made more urgent", file=sys.stderr)
    json.dump(_runner()(_run(job)), sys.stdout)


if __name__ == "__main__":
    main()
