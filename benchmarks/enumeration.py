"""Whether the service tells who has an account: by its time, its status or its body, in one run.

    python benchmarks/enumeration.py [requests of each kind, 300] [postgresql://... or sqlite:///...]

A real server with real Argon2 parameters is asked about addresses that are registered and about
ones that are not, in pairs of a random order: to log in, to register, to reset a password and to
verify an address. Throttling is off, as it would answer before anything else does. It fails if the
medians differ by more than a tenth, or the answers at all.
"""

import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

LARGEST_DIFFERENCE = 0.1
PASSWORD = "nine purple anvils"

OF_ONE_ANSWER = ("id", "email", "created_at", "request_id")
"""What is another one in every answer, or was sent."""

QUESTIONS: dict[str, tuple[str, Callable[[str], dict[str, str]]]] = {
    "login": ("/v1/auth/login", lambda email: {"email": email, "password": "not the right one"}),
    "register": ("/v1/auth/register", lambda email: {"email": email, "password": PASSWORD}),
    "reset": ("/v1/auth/password-reset", lambda email: {"email": email}),
    "verify": ("/v1/auth/email-verification", lambda email: {"email": email}),
}


@contextmanager
def serving(database_url: str | None) -> Iterator[str]:
    """Serve on a database of its own, or on the one named, and say where."""
    with TemporaryDirectory() as folder:
        said = Path(folder) / "output"
        variables = {"KEYTURN_THROTTLE": "off", "KEYTURN_LOG_LEVEL": "warning"}
        if database_url is not None:
            variables["KEYTURN_DATABASE_URL"] = database_url
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


def ask(client: httpx.Client, name: str, known: list[str], unknown: list[str]) -> bool:
    """Ask about all of them, print what came of it, and return whether nothing can be told."""
    path, body_of = QUESTIONS[name]
    order: list[tuple[str, bool]] = []
    for pair in zip(known, unknown, strict=True):
        # Side by side, so that a machine that is busy for a while is so for both.
        order += random.sample([(pair[0], True), (pair[1], False)], 2)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    answers: dict[bool, set[str]] = {True: set(), False: set()}
    for email, is_known in order:
        start = time.perf_counter()
        answer = client.post(path, json=body_of(email))
        seconds[is_known].append(time.perf_counter() - start)
        answers[is_known].add(told(answer))
    medians = {is_known: statistics.median(times) for is_known, times in seconds.items()}
    ratio = medians[True] / medians[False]
    identical = answers[True] == answers[False] and len(answers[True]) == 1
    print(
        f"{name:9} known {medians[True] * 1000:7.2f} ms  unknown {medians[False] * 1000:7.2f} ms  "
        f"ratio {ratio:.3f}  answers {'identical' if identical else 'DIFFER'}"
    )
    if not identical:
        print(*sorted(answers[True] ^ answers[False])[:4], sep="\n")
    return identical and abs(ratio - 1) <= LARGEST_DIFFERENCE


def addresses(kind: str, number: int) -> list[str]:
    """Return as many addresses, all of the same length, that nobody else has."""
    run = random.randrange(10**9)
    return [f"{kind}-{run:09}-{each:06}@example.com" for each in range(number)]


def main() -> None:
    """Measure."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    database_url = sys.argv[2] if len(sys.argv) > 2 else None
    with (
        serving(database_url) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        known = addresses("aa", number)
        for email in known:
            client.post("/v1/auth/register", json={"email": email, "password": PASSWORD})
        print(f"{number} requests of each kind, medians:")
        good = [ask(client, name, known, addresses("bb", number)) for name in QUESTIONS]
    if not all(good):
        raise SystemExit("the service tells who has an account")


if __name__ == "__main__":
    main()
