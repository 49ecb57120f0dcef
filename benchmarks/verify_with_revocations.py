"""How much the revocation list costs `/v1/auth/verify`: with it and without it, in one run.

    python -m benchmarks.verify_with_revocations [rounds] [requests per round]

Both apps are the whole service in this process, called as ASGI without a network between, which
makes the difference look larger than a client would see it. Rounds alternate and count processor
time, because the machine is shared; the ratio of each pair of rounds is what counts.
"""

import asyncio
import gc
import statistics
import sys
import time
import uuid
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI

from keyturn.adapters.memory.revocations import MemoryRevocationList
from keyturn.adapters.memory.store import MemoryStore
from keyturn.container import Container
from keyturn.delivery.http.app import build_app
from keyturn.domain.claims import AccessClaims
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.revocation import Revocation
from keyturn.settings import Settings
from keyturn.use_cases.revocation_replica import RevocationReplica

ENTRIES = 10_000


class NoRevocations(RevocationReplica):
    """Asks nobody and remembers nothing."""

    def check(self, claims: AccessClaims, now: datetime) -> None:
        """Return."""


def container_in(folder: Path) -> Container:
    """Return a service of its own folder, on its embedded database."""
    return Container(settings=Settings(data_dir=folder))


def app_of(container: Container) -> FastAPI:
    """Return the container's app."""
    return build_app(container.services(), container.http_options())


async def token_of(container: Container) -> str:
    """Return an access token of somebody who is not revoked."""
    now = datetime.now(UTC).replace(microsecond=0)
    claims = AccessClaims(
        token_id=TokenId(uuid.uuid4()),
        user_id=UserId(uuid.uuid4()),
        family_id=FamilyId(uuid.uuid4()),
        client_id="keyturn",
        audience="keyturn",
        epoch=0,
        roles=frozenset({"user"}),
        permissions=frozenset({"profile:read", "profile:write"}),
        scope=None,
        auth_time=now,
        issued_at=now,
        expires_at=now + timedelta(hours=1),
    )
    return (await container.codec().encode_access(claims)).reveal()


async def requests_per_second(app: FastAPI, token: str, requests: int) -> float:
    """Call the route that often and return how fast that went."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/auth/verify",
        "raw_path": b"/v1/auth/verify",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    statuses: set[int] = set()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    gc.collect()
    began = time.process_time()
    for _ in range(requests):
        await app({**scope, "state": {}}, receive, send)
    took = time.process_time() - began
    if statuses != {204}:
        raise SystemExit(f"the route answered {statuses}")
    return requests / took


async def main(rounds: int, requests: int) -> None:
    """Measure, and print one line per round and the medians."""
    with TemporaryDirectory() as folder:
        listed = container_in(Path(folder) / "listed")
        followed = MemoryRevocationList(MemoryStore())
        replica = RevocationReplica(followed, listed.clock(), timedelta(days=1))
        await replica.follow()
        until = datetime.now(UTC) + timedelta(hours=1)
        replica.apply(
            [Revocation.of_session(FamilyId(uuid.uuid4()), until) for _ in range(ENTRIES)]
        )
        listed.revocations.override(replica)
        bare = container_in(Path(folder) / "bare")
        bare.revocations.override(NoRevocations(followed, bare.clock(), timedelta(days=1)))
        measured = [(app_of(container), await token_of(container)) for container in (listed, bare)]
        for app, token in measured:
            await requests_per_second(app, token, requests // 4)
        ratios = []
        for number in range(1, rounds + 1):
            order = measured if number % 2 else measured[::-1]
            speeds = {
                id(app): await requests_per_second(app, token, requests) for app, token in order
            }
            with_list, without = (speeds[id(app)] for app, _ in measured)
            ratios.append(with_list / without)
            print(
                f"{number:3}: {with_list:6.0f}/s with, {without:6.0f}/s without, {ratios[-1]:.3f}"
            )
        print(
            f"{ENTRIES} entries: median ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:3]]
    asyncio.run(main(*(arguments + [15, 1000][len(arguments) :])))
