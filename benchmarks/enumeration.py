"""Whether the service reveals who has an account: by its time, its status or its body, in one run.

    python -m benchmarks.enumeration [--pairs 300] [--database postgresql://... or sqlite:///...]
    python -m benchmarks.enumeration --round-trip 3

A real server with real Argon2 parameters is asked about addresses that are registered and about
ones that are not, in pairs of a random order: to log in, to register, to reset a password, to
verify an address, and to log in after having registered. Throttling is off, as it would answer
before anything else does.

With `--round-trip` there is a proxy before a real PostgreSQL that makes each round trip take so
many milliseconds longer, as a network does, and hashing is cheap, so that it hides less.

It fails if an answer differs, or if the time separates the two kinds: the AUC is the probability
that a request about a registered address took longer than one about another, 0.5 for no
difference, and must be from 0.45 to 0.55. A run has to be long enough to say so: the standard error
of an AUC is 0.024 with 300 pairs and 0.013 with 1,000.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from benchmarks.delaying_proxy import delayed
from benchmarks.processes import Stage

LEAST_AUC, LARGEST_AUC = 0.45, 0.55
OWNERS_PASSWORD = "nine purple anvils"
PASSWORD = "seven quiet glaciers"
"""That of the attacker, who registers with it too."""

WARM_UP = 5
"""Pairs that are not counted: the first request of a kind prepares statements."""

CHEAP_HASHES = {
    "KEYTURN_ARGON2_TIME_COST": "5",
    "KEYTURN_ARGON2_MEMORY_KIB": "7168",
    "KEYTURN_ARGON2_PARALLELISM": "1",
}

OF_ONE_ANSWER = ("id", "email", "created_at", "request_id")
"""What is another one in every answer, or was sent."""

QUESTIONS: dict[str, tuple[str, Callable[[str], dict[str, str]]]] = {
    "login": ("/v1/auth/login", lambda email: {"email": email, "password": "not the right one"}),
    "register": ("/v1/auth/register", lambda email: {"email": email, "password": PASSWORD}),
    "reset": ("/v1/auth/password-reset", lambda email: {"email": email}),
    "verify": ("/v1/auth/email-verification", lambda email: {"email": email}),
    "register, then login": (
        "/v1/auth/login",
        lambda email: {"email": email, "password": PASSWORD},
    ),
}


@contextmanager
def serving(variables: Mapping[str, str]) -> Iterator[str]:
    """Serve with these settings in a folder of its own, and say where."""
    with TemporaryDirectory() as folder:
        said = Path(folder) / "output"
        source = str(Path(__file__).parents[1] / "src")
        with (
            said.open("w") as output,
            subprocess.Popen(
                [sys.executable, "-m", "keyturn", "serve", "--port", "0", "--migrate"],
                cwd=folder,
                env=os.environ | variables | {"PYTHONPATH": source},
                stdout=output,
            ) as server,
        ):
            try:
                yield address_in(said, server)
            finally:
                server.send_signal(signal.SIGTERM)


def address_in(said: Path, server: "subprocess.Popen[bytes]") -> str:
    """Wait until the server has said where it is."""
    while True:
        found = re.search(r"keyturn is at (http://\S+)", said.read_text())
        if found:
            return found[1]
        if server.poll() is not None:
            raise SystemExit("the server did not start")
        time.sleep(0.1)


def told(answer: httpx.Response) -> str:
    """Return all that an answer tells, but what is another one in every answer."""
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body = {name: text for name, text in body.items() if name not in OF_ONE_ANSWER}
    headers = sorted(set(answer.headers) - {"date"})
    return json.dumps([answer.status_code, headers, answer.headers.get("content-length"), body])


def auc(longer: Sequence[float], shorter: Sequence[float]) -> float:
    """Return the probability that one of `longer` exceeds one of `shorter`; a tie is a half."""
    ordered = sorted(shorter)
    beaten = sum(bisect_left(ordered, each) + bisect_right(ordered, each) for each in longer)
    return beaten / (2 * len(longer) * len(shorter))


def ask(client: httpx.Client, name: str, known: list[str], unknown: list[str]) -> bool:
    """Ask about all of them, print what came of it, and return whether nothing is revealed."""
    path, body_of = QUESTIONS[name]
    order: list[tuple[str, bool, bool]] = []
    for number, pair in enumerate(zip(known, unknown, strict=True)):
        # Side by side, so that a machine that is busy for a while is so for both.
        counts = number >= WARM_UP
        order += random.sample([(pair[0], True, counts), (pair[1], False, counts)], 2)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    answers: dict[bool, set[str]] = {True: set(), False: set()}
    for email, is_known, counts in order:
        start = time.perf_counter()
        answer = client.post(path, json=body_of(email))
        if counts:
            seconds[is_known].append(time.perf_counter() - start)
        answers[is_known].add(told(answer))
    medians = {is_known: statistics.median(times) for is_known, times in seconds.items()}
    separation = auc(seconds[True], seconds[False])
    identical = answers[True] == answers[False] and len(answers[True]) == 1
    print(
        f"{name:20}  known {medians[True] * 1000:7.2f} ms  unknown {medians[False] * 1000:7.2f} ms"
        f"  AUC {separation:.3f}  answers {'identical' if identical else 'DIFFER'}",
        flush=True,
    )
    if not identical:
        print(*sorted(answers[True] ^ answers[False])[:4], sep="\n")
    return identical and LEAST_AUC <= separation <= LARGEST_AUC


def addresses(kind: str, number: int) -> list[str]:
    """Return as many addresses, all of the same length, that nobody else has."""
    run = random.randrange(10**9)
    return [f"{kind}-{run:09}-{each:06}@example.com" for each in range(number)]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=300, help="requests of each kind")
    parser.add_argument("--database", help="URL; by default a SQLite file")
    parser.add_argument("--round-trip", type=float, help="milliseconds that each takes longer")
    chosen = parser.parse_args()
    variables = {
        "KEYTURN_THROTTLE": "off",
        "KEYTURN_LOG_LEVEL": "warning",
        # Without this, whoever registers and then logs in knows whether the address was free.
        "KEYTURN_REQUIRE_VERIFIED_EMAIL": "true",
    }
    with ExitStack() as stack:
        database = chosen.database
        if chosen.round_trip is not None:
            stage = stack.enter_context(Stage())
            database = delayed(
                stage, database or stage.postgres_database("enumeration"), chosen.round_trip
            )
            variables |= CHEAP_HASHES
        if database is not None:
            variables["KEYTURN_DATABASE_URL"] = database
        url = stack.enter_context(serving(variables))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))
        number = chosen.pairs + WARM_UP
        known = addresses("aa", number)
        for email in known:
            client.post("/v1/auth/register", json={"email": email, "password": OWNERS_PASSWORD})
        registered = addresses("bb", number)
        print(f"{chosen.pairs} pairs of each kind, medians:")
        good = []
        for name in QUESTIONS:
            unknown = registered if "register" in name else addresses("cc", number)
            good.append(ask(client, name, known, unknown))
    if not all(good):
        raise SystemExit("the service reveals who has an account")


if __name__ == "__main__":
    main()
