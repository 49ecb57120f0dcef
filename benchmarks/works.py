"""The work that is measured: what each does in one round for one subject."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Job
from benchmarks.processes import Stage, cpu_seconds, pin, process_tree, run_load
from benchmarks.subjects import SUBJECTS, Running, fresh_tokens

Row = dict[str, Any]

COLD_TOKENS = 4000
"""How many tokens that the server has never seen a round presents, each once."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How long everything is measured.

    Args:
        rounds: of each measurement.
        seconds: of each round.
    """

    rounds: int
    seconds: float


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
        running.server.check()
        return running

    def dismiss(self, name: str) -> None:
        """End a server."""
        running = self._running.pop(name, None)
        if running is not None:
            running.server.stop()


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: server and load generator do not take each other's processor."""

    server: list[int] | None
    load: list[int] | None
    database: list[int] | None

    @staticmethod
    def apart() -> "Cores":
        """Return one core for the server, another for the load, the rest for the database."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return Cores(None, None, None)
        return Cores(usable[:1], usable[1:2], usable[2:] or usable[1:2])

    @staticmethod
    def shared() -> "Cores":
        """Return all cores for everybody."""
        return Cores(None, None, None)


def measure(company: Company, running: Running, job: Job, cores: Cores) -> Row:
    """Run a job, and return what the load generator saw and what the servers used for it."""
    everything = sorted(os.sched_getaffinity(0))
    postmaster = company.stage.postmaster
    database = [] if postmaster is None else process_tree(postmaster)
    server = running.server.pids()
    pin(server, cores.server or everything)
    pin(database, cores.database or everything)
    before = cpu_seconds(server), cpu_seconds(database)
    row = run_load(job)
    after = cpu_seconds(server), cpu_seconds(database)
    running.server.check()
    tokens = row.pop("tokens")
    if tokens is not None:
        running.follow(tokens)
    # The warm-up is in it: a share of the time, not of the answers.
    whole = row["seconds"] + job.warm_up
    row["server_cores"] = round((after[0] - before[0]) / whole, 3)
    row["database_cores"] = round((after[1] - before[1]) / whole, 3)
    row["load_cores"] = round(row.pop("load_cpu") / row["seconds"], 3)
    row.pop("bad")
    row.pop("first_bad")
    return row


def _verify(company: Company, running: Running, connections: int, seconds: float) -> Row:
    job = Job(
        host="127.0.0.1",
        port=running.port,
        connections=connections,
        seconds=seconds,
        requests=running.warm_requests(connections),
        cores=Cores.apart().load,
    )
    return measure(company, running, job, Cores.apart())


def _verify_cold(company: Company, running: Running, connections: int, _: float) -> Row:
    job = Job(
        host="127.0.0.1",
        port=running.port,
        connections=connections,
        seconds=None,
        requests=[running.verify_request(token) for token in fresh_tokens(running, COLD_TOKENS)],
        cores=Cores.apart().load,
    )
    return measure(company, running, job, Cores.apart())


def _rotate(company: Company, running: Running, connections: int, seconds: float) -> Row:
    job = Job(
        host="127.0.0.1",
        port=running.port,
        connections=connections,
        seconds=seconds,
        chain=running.chain(connections),
        cores=Cores.apart().load,
    )
    return measure(company, running, job, Cores.apart())


@dataclass(frozen=True, slots=True)
class Work:
    """Something that several subjects do, in turn and several times.

    Args:
        name: what the command line and the results call it.
        title: what people read.
        connections: how many of them ask at the same time; each number is measured.
        subjects: who is asked, in this order in each round.
        round: asks one of them, once.
        seconds: of a round, as a multiple of what others take.
    """

    name: str
    title: str
    connections: Sequence[int]
    subjects: Sequence[str]
    round: Callable[[Company, Running, int, float], Row]
    seconds: float = 1.0


WORKS = [
    Work(
        "verify",
        "verify, each connection one token",
        (1, 32),
        (
            "raw",
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
        ),
        _verify,
    ),
    Work(
        "verify-cold",
        "verify, each token for the first time",
        (32,),
        ("keyturn", "keyturn-rs256", "keyturn-eddsa"),
        _verify_cold,
    ),
    Work(
        "rotation",
        "rotation on PostgreSQL",
        (1, 16, 64),
        (
            "prototype",
            "keyturn",
            "keyturn-eddsa",
            "django-simplejwt",
            "flask-jwt-extended",
            "oidc-provider",
        ),
        _rotate,
    ),
    Work(
        "rotation-sqlite",
        "rotation on SQLite",
        (1, 16, 64),
        ("prototype-sqlite", "keyturn-sqlite"),
        _rotate,
    ),
]
