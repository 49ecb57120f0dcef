"""The work that is measured: what each does in one round for one subject."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import argon2
from benchmarks.counting_proxy import read_count
from benchmarks.load import Job
from benchmarks.processes import (
    DidNotWork,
    Server,
    Stage,
    cpu_seconds,
    finish,
    free_port,
    load,
    memory_bytes,
    pin,
    process_tree,
    request,
    run_hashes,
    run_load,
    thread_cpu_seconds,
    wait_until_idle,
)
from benchmarks.subjects import ARGON2, PASSWORD, SUBJECTS, Running, fresh_tokens

from keyturn.adapters.argon2.hasher import default_threads

Row = dict[str, Any]

COLD_TOKENS = 4000
"""How many tokens that the server has never seen a round presents, each once."""

START_PATIENCE = 60.0
BESIDE_CONNECTIONS = 4
BESIDE_PACE = 50.0
"""Requests a second of each connection that verifies while others log in."""

# While logins take every core, the client that measures must not wait for one as well: it stands
# for one on another machine.
URGENT = -10


class Company:
    """The servers that run, each started when it is needed for the first time."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._running: dict[str, Running] = {}

    def get(self, name: str) -> Running:
        """Return a server that answers.

        Raises:
            DidNotWork: it can't be installed or started, or has ended.
        """
        if name not in self._running:
            subject = SUBJECTS[name]
            self._running[name] = subject.start(self.stage, subject)
        running = self._running[name]
        if running.server is not None:
            running.server.check()
        return running

    def dismiss(self, name: str) -> None:
        """End a server."""
        running = self._running.pop(name, None)
        if running is not None and running.server is not None:
            running.server.stop()


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where."""

    server: list[int]
    load: list[int]
    database: list[int]

    @staticmethod
    def apart() -> "Cores":
        """Return one core for the server, another for the load, the rest for the database."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return Cores(usable, usable, usable)
        return Cores(usable[:1], usable[1:2], usable[2:] or usable[1:2])

    @staticmethod
    def shared() -> "Cores":
        """Return all cores for everybody."""
        usable = sorted(os.sched_getaffinity(0))
        return Cores(usable, usable, usable)


@dataclass(frozen=True, slots=True)
class Work:
    """Something that several subjects do, in turn and several times.

    Args:
        name: what the command line and the results call it.
        title: what people read.
        levels: what it is measured at, mostly how many connections ask at the same time.
        subjects: who is asked, in this order in each round.
        round: asks one of them, once.
        figure: the field of a row that counts.
        unit: its unit.
        seconds: of a round, as a multiple of what others take.
        level: what a level counts.
        compared_to: the subject that the others are held against.
        quick: whether `bench-quick` measures it, and at which levels.
        alone: whether its servers end with it.
    """

    name: str
    title: str
    levels: Sequence[int]
    subjects: Sequence[str]
    round: Callable[[Company, Running, int, float], Row]
    figure: str = "rate"
    unit: str = "a second"
    seconds: float = 1.0
    level: str = "connections"
    compared_to: str | None = None
    quick: Sequence[int] = ()
    alone: bool = False


def measure(company: Company, running: Running, job: Job, cores: Cores) -> Row:
    """Run a job, and return what the load generator saw and what the servers used for it."""
    assert running.server is not None
    postmaster = company.stage.postmaster
    database = [] if postmaster is None else process_tree(postmaster)
    server = running.server.pids()
    pin(server, cores.server)
    pin(database, cores.database)
    before = cpu_seconds(server), cpu_seconds(database), thread_cpu_seconds(running.server.pid)
    row = run_load(job)
    after = cpu_seconds(server), cpu_seconds(database), thread_cpu_seconds(running.server.pid)
    running.server.check()
    if row["tokens"] is not None:
        running.follow(row["tokens"])
    # The warm-up is in it: a share of the time, not of the answers.
    whole = row["seconds"] + job.warm_up
    row["server_cores"] = round((after[0] - before[0]) / whole, 3)
    row["database_cores"] = round((after[1] - before[1]) / whole, 3)
    # Of the first thread of the first process: of one worker, its event loop.
    row["loop_cores"] = round((after[2] - before[2]) / whole, 3)
    return tidy(row)


def tidy(row: Row) -> Row:
    """Return a load generator's summary as it is kept."""
    left_out = {"tokens", "bad", "first_bad", "load_cpu"}
    kept = {name: value for name, value in row.items() if name not in left_out}
    return kept | {"load_cores": round(row["load_cpu"] / row["seconds"], 3)}


def _job(running: Running, connections: int, cores: Cores, **more: Any) -> Job:  # noqa: ANN401
    return Job("127.0.0.1", running.port, connections, cores=cores.load, **more)


def _verify(company: Company, running: Running, connections: int, seconds: float) -> Row:
    cores = Cores.apart()
    requests = running.warm_requests(connections)
    job = _job(running, connections, cores, seconds=seconds, requests=requests)
    return measure(company, running, job, cores)


def _verify_cold(company: Company, running: Running, connections: int, _: float) -> Row:
    cores = Cores.apart()
    requests = [running.verify_request(token) for token in fresh_tokens(running, COLD_TOKENS)]
    job = _job(running, connections, cores, seconds=None, requests=requests)
    return measure(company, running, job, cores)


def _verify_with_workers(
    company: Company, running: Running, connections: int, seconds: float
) -> Row:
    cores = Cores.shared()
    requests = running.warm_requests(connections)
    job = _job(running, connections, cores, seconds=seconds, requests=requests)
    return measure(company, running, job, cores)


def _rotate(company: Company, running: Running, connections: int, seconds: float) -> Row:
    cores = Cores.apart()
    job = _job(running, connections, cores, seconds=seconds, chain=running.chain(connections))
    return measure(company, running, job, cores)


def _log_in(company: Company, running: Running, connections: int, seconds: float) -> Row:
    cores = Cores.shared()
    if running.server is None:
        password_hash = argon2.PasswordHasher(*ARGON2).hash(PASSWORD)
        threads = min(connections, len(cores.server))
        return tidy(run_hashes(seconds, threads, password_hash, PASSWORD))
    job = _job(running, connections, cores, seconds=seconds, requests=running.login_requests())
    row = measure(company, running, job, cores)
    wait_until_idle(running.server.pids())
    return row


def _verify_beside_logins(company: Company, running: Running, logins: int, seconds: float) -> Row:
    cores = Cores.shared()
    verifying = _job(
        running,
        BESIDE_CONNECTIONS,
        cores,
        seconds=seconds,
        requests=running.warm_requests(BESIDE_CONNECTIONS),
        pace=BESIDE_PACE,
        nice=URGENT,
    )
    requests = running.login_requests()
    beside = _job(running, logins, cores, seconds=0, requests=requests, forever=True)
    with load(beside) if logins else nullcontext() as process:
        if process is not None:
            time.sleep(1)
        row = measure(company, running, verifying, cores)
        if process is not None:
            row["logins_rate"] = finish(process)["rate"]
    assert running.server is not None
    wait_until_idle(running.server.pids())
    return row


def _start(_: Company, running: Running, __: int, ___: float) -> Row:
    assert running.spawn is not None
    port = free_port()
    began = time.perf_counter()
    server = running.spawn(port)
    try:
        _wait_for_success(port, running.api.ready, server)
        return {"first_answer_ms": round((time.perf_counter() - began) * 1000, 2)}
    finally:
        server.stop()


def _use_memory(_: Company, running: Running, logins: int, seconds: float) -> Row:
    assert running.spawn is not None
    port = free_port()
    fresh = Running(running.subject, running.spawn(port), port, running.database_url)
    server = fresh.server
    assert server is not None
    try:
        _wait_for_success(port, running.api.ready, server)
        resting = memory_bytes(server.pids())
        row = {f"rest_{kind}_mib": _mib(size) for kind, size in resting.items()}
        if logins and running.api.login is not None:
            peak = _peak_while_logging_in(fresh, logins, seconds)
            row |= {f"peak_{kind}_mib": _mib(size) for kind, size in peak.items()}
            row["hash_mib"] = _mib(ARGON2[1] * 1024)
            row["hashing_threads"] = default_threads()
        return row
    finally:
        server.stop()


def _peak_while_logging_in(running: Running, logins: int, seconds: float) -> dict[str, int]:
    assert running.server is not None
    pids = running.server.pids()
    peak = {"pss": 0, "uss": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            for kind, size in memory_bytes(pids).items():
                peak[kind] = max(peak[kind], size)

    watching = threading.Thread(target=watch)
    cores = Cores.shared()
    requests = running.login_requests()
    job = _job(running, logins, cores, seconds=seconds, requests=requests)
    with load(job) as process:
        watching.start()
        try:
            finish(process)
        finally:
            over.set()
            watching.join()
    return peak


def _count_round_trips(company: Company, running: Running, _: int, __: float) -> Row:
    """Rotate through something that counts how often the client waits for the database."""
    file = running.counted
    assert file is not None
    # The first of each statement are prepared, which is not what is counted.
    _rotate(company, running, 1, 1)
    before, began = read_count(file), time.perf_counter()
    cores = Cores.apart()
    job = _job(running, 1, cores, seconds=1, warm_up=0, chain=running.chain(1))
    row = measure(company, running, job, cores)
    between, took = read_count(file), time.perf_counter() - began
    # What the service asks for by itself, whoever rotates.
    time.sleep(took)
    by_itself = read_count(file) - between
    # The last of a connection goes through as well, but is over too late to be counted.
    return {"round_trips": round((between - before - by_itself) / (row["count"] + 1), 3)}


def _wait_for_success(port: int, path: str, server: Server) -> None:
    deadline = time.perf_counter() + START_PATIENCE
    while time.perf_counter() < deadline:
        server.check()
        try:
            if 200 <= request(port, "GET", path)[0] < 300:
                return
        except (OSError, HTTPException):
            pass
        time.sleep(0.002)
    raise DidNotWork(f"{server.name} did not start in time: {server.said()}")


def _mib(size: int) -> float:
    return round(size / 1048576, 2)


VERIFIERS = (
    "empty",
    "constant",
    "constant-logging",
    "keyturn",
    "keyturn-rs256",
    "keyturn-eddsa",
    "keyturn-logging",
    "fastapi-users-jwt",
    "fastapi-users-database",
    "authx",
    "django-simplejwt",
    "flask-jwt-extended",
    "better-auth",
    "oidc-provider",
)

WORKS = [
    # What counts memory comes first: other processes of the same libraries share some of it.
    Work(
        "start",
        "from the start to the first answer",
        (1,),
        ("bare", "keyturn"),
        _start,
        figure="first_answer_ms",
        unit="ms",
        level="starts",
        compared_to="bare",
    ),
    Work(
        "memory",
        "memory at rest, and with 50 logins under way",
        (50,),
        ("bare", "keyturn"),
        _use_memory,
        figure="rest_pss_mib",
        unit="MiB",
        level="logins",
        compared_to="bare",
    ),
    Work(
        "ceiling",
        "the load generator against a server that does nothing",
        (1, 32),
        ("raw",),
        _verify,
        quick=(32,),
    ),
    Work(
        "verify",
        "verify, each connection its token again and again",
        (1, 32),
        VERIFIERS,
        _verify,
        compared_to="constant",
        quick=(1, 32),
    ),
    Work(
        "verify-cold",
        "verify, each token for the first time",
        (32,),
        ("keyturn", "keyturn-rs256", "keyturn-eddsa"),
        _verify_cold,
        compared_to="keyturn",
        quick=(32,),
    ),
    Work(
        "rotation",
        "rotation on PostgreSQL",
        (1, 16, 64),
        (
            "prototype-bare",
            "prototype",
            "keyturn",
            "keyturn-eddsa",
            "django-simplejwt",
            "flask-jwt-extended",
            "oidc-provider",
        ),
        _rotate,
        compared_to="prototype",
        quick=(16,),
    ),
    Work(
        "rotation-sqlite",
        "rotation on SQLite, and on PostgreSQL",
        (1, 16, 64),
        ("prototype-sqlite", "keyturn-sqlite", "keyturn"),
        _rotate,
        compared_to="prototype-sqlite",
    ),
    Work(
        "round-trips",
        "round trips to PostgreSQL for a rotation",
        (1,),
        ("prototype-counted", "keyturn-counted"),
        _count_round_trips,
        figure="round_trips",
        unit="",
        alone=True,
    ),
    Work(
        "login",
        "login",
        (1, 8, 32),
        (
            "argon2",
            "keyturn",
            "fastapi-users-jwt",
            "authx",
            "django-simplejwt",
            "flask-jwt-extended",
            "better-auth",
        ),
        _log_in,
        seconds=1.5,
        compared_to="argon2",
    ),
    Work(
        "verify-beside-logins",
        "p99 of verify beside that many logins at a time",
        (0, 32),
        ("keyturn", "fastapi-users-jwt", "authx"),
        _verify_beside_logins,
        figure="p99_ms",
        unit="ms",
        seconds=3.0,
        level="logins",
    ),
    Work(
        "workers",
        "verify with one worker and with two, on the same cores as the load",
        (32,),
        ("keyturn-1-worker", "keyturn-2-workers"),
        _verify_with_workers,
        compared_to="keyturn-1-worker",
        alone=True,
    ),
    Work(
        "growth",
        "rotation with ten thousand sessions and with a million",
        (16,),
        ("keyturn-10k", "keyturn-1m"),
        _rotate,
        compared_to="keyturn-10k",
        alone=True,
    ),
]
"""Everything that is measured, in this order."""

QUICK_SUBJECTS = {
    "raw",
    "empty",
    "constant",
    "keyturn",
    "keyturn-rs256",
    "prototype",
    "fastapi-users-jwt",
}
