"""What keyturn promises of its speed, held against what was measured."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Results, Spread


@dataclass(frozen=True, slots=True)
class Target:
    """One promise.

    Args:
        promise: what is promised, in words.
        at_least: the least that keeps it, or None.
        at_most: the most that keeps it, or None.
        measured: what was measured of it, None if it was not.
        share: whether it is told in percent.
    """

    promise: str
    measured: Callable[[Results], Spread | None]
    at_least: float | None = None
    at_most: float | None = None
    share: bool = False

    def is_kept(self, spread: Spread) -> bool:
        """Whether the median keeps the promise."""
        if self.at_least is not None and spread.median < self.at_least:
            return False
        return self.at_most is None or spread.median <= self.at_most


def _ratio(
    work: str, level: int, subject: str, other: str, figure: str = "rate"
) -> Callable[[Results], Spread | None]:
    return lambda results: results.ratio(work, level, subject, other, figure)


def _beside_logins(results: Results) -> Spread | None:
    busy = results.values("verify-beside-logins", 32, "keyturn", "p99_ms")
    idle = results.values("verify-beside-logins", 0, "keyturn", "p99_ms")
    return Spread.of([busy[r] / idle[r] for r in sorted(busy.keys() & idle.keys())])


def _share_of_argon2(results: Results) -> Spread | None:
    """Return how much of a login's processor time is not the event loop's or the database's.

    All in the same process and the same seconds: Argon2 alone, measured before or after, had
    another share of the machine.
    """
    figures = [
        results.values("login", 1, "keyturn", figure)
        for figure in ("loop_cores", "server_cores", "database_cores")
    ]
    rounds = set.intersection(*(set(values) for values in figures))
    loop, server, database = figures
    return Spread.of(
        [1 - (loop[r] + database[r]) / (server[r] + database[r]) for r in sorted(rounds)]
    )


def _memory_of_logins(results: Results) -> Spread | None:
    """Return what logins add to the memory at rest, as a multiple of pool × hash memory."""
    figures = [
        results.values("memory", 50, "keyturn", figure)
        for figure in ("peak_uss_mib", "rest_uss_mib", "hashing_threads", "hash_mib")
    ]
    rounds = set.intersection(*(set(values) for values in figures))
    peak, rest, threads, hash_mib = figures
    return Spread.of([(peak[r] - rest[r]) / (threads[r] * hash_mib[r]) for r in sorted(rounds)])


TARGETS = [
    Target(
        "A verified request reaches 0.85 of a FastAPI route that returns a constant"
        " (32 connections)",
        _ratio("verify", 32, "keyturn", "constant"),
        at_least=0.85,
    ),
    Target(
        "A verified request is 8 × as fast as fastapi-users' JWT strategy (32 connections)",
        _ratio("verify", 32, "keyturn", "fastapi-users-jwt"),
        at_least=8,
    ),
    Target(
        "RS256 reaches 0.8 of HS256 (verify, 32 connections)",
        _ratio("verify", 32, "keyturn-rs256", "keyturn"),
        at_least=0.8,
    ),
    Target(
        "A rotation on PostgreSQL reaches 0.9 of the hand-written prototype (16 connections)",
        _ratio("rotation", 16, "keyturn", "prototype"),
        at_least=0.9,
    ),
    Target(
        "A rotation on PostgreSQL is 10 × as fast as Django + SimpleJWT (16 connections)",
        _ratio("rotation", 16, "keyturn", "django-simplejwt"),
        at_least=10,
    ),
    Target(
        "A rotation on PostgreSQL is 2 × as fast as oidc-provider (16 connections)",
        _ratio("rotation", 16, "keyturn", "oidc-provider"),
        at_least=2,
    ),
    Target(
        "A rotation takes at most two round trips to PostgreSQL",
        # A background look at the revocations may fall between two counts.
        lambda results: results.spread("round-trips", 1, "keyturn-counted", "round_trips"),
        at_most=2.05,
    ),
    Target(
        "A rotation on SQLite reaches half of PostgreSQL's, 1,000 where that is 2,000"
        " (16 connections)",
        _ratio("rotation-sqlite", 16, "keyturn-sqlite", "keyturn"),
        at_least=0.5,
    ),
    Target(
        "95 % of a login's processor time is Argon2's: all but the event loop's and the database's"
        " (1 connection)",
        _share_of_argon2,
        at_least=0.95,
        share=True,
    ),
    Target(
        "p99 of verify beside 32 parallel logins is at most 5 × its p99 at rest",
        _beside_logins,
        at_most=5,
    ),
    Target(
        "Memory at rest is at most 1.3 × a bare FastAPI + SQLAlchemy process's",
        _ratio("memory", 50, "keyturn", "bare", "rest_pss_mib"),
        at_most=1.3,
    ),
    Target(
        "50 logins add no more memory than pool × hash memory, a tenth allowed for the rest",
        _memory_of_logins,
        at_most=1.1,
    ),
    Target(
        "A rotation among a million sessions reaches 0.9 of one among ten thousand",
        _ratio("growth", 16, "keyturn-1m", "keyturn-10k"),
        at_least=0.9,
    ),
    Target(
        "From start to first answer takes at most 1.5 × a bare FastAPI + SQLAlchemy app's",
        _ratio("start", 1, "keyturn", "bare", "first_answer_ms"),
        at_most=1.5,
    ),
]
"""Everything that is promised."""


def print_targets(results: Results) -> None:
    """Print which of what was measured keeps its promise."""
    for target in TARGETS:
        spread = target.measured(results)
        if spread is not None:
            verdict = "pass" if target.is_kept(spread) else "MISS"
            print(f"  {verdict}  {spread.median:7.3f}  {target.promise}")
