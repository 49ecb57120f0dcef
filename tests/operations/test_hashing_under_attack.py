"""Two hundred logins at once: tokens are still verified, and memory stays bounded."""

import asyncio
import os
import re
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx
import pytest

THREADS = 2
QUEUE = 8
HASH_MEMORY = 64 * 1024
"""KiB."""

SLACK = 64 * 1024
"""KiB, for two hundred connections and their requests, and for what an allocator keeps."""

PASSWORD = "a passphrase of my own"
PEOPLE = [f"person-{number}@example.com" for number in range(8)]
LOGINS = 200


class Client(Protocol):
    url: str

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response: ...


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_many_logins_at_once_neither_hold_up_tokens_nor_take_all_memory(
    environment: pytest.MonkeyPatch,
    serving: Callable[..., AbstractContextManager[str]],
    api: Callable[[str], Client],
) -> None:
    mark = uuid.uuid4().hex
    for name, value in {
        "MARK_OF_THIS_TEST": mark,
        "KEYTURN_ARGON2_TIME_COST": "1",
        "KEYTURN_ARGON2_MEMORY_KIB": str(HASH_MEMORY),
        "KEYTURN_ARGON2_PARALLELISM": "1",
        "KEYTURN_HASHING_THREADS": str(THREADS),
        "KEYTURN_HASHING_QUEUE": str(QUEUE),
        "KEYTURN_THROTTLE": "off",
    }.items():
        environment.setenv(name, value)
    with serving() as banner:
        client = api(banner)
        for email in PEOPLE:
            person = {"email": email, "password": PASSWORD}
            assert client.call("POST", "/v1/auth/register", body=person).status_code == 201
        body = {"email": PEOPLE[0], "password": PASSWORD}
        token = client.call("POST", "/v1/auth/login", body=body).json()["access_token"]
        base = peak_memory(mark)

        answers, verdicts = await storm(client.url, token)

        assert verdicts.keys() == {204}
        counted = Counter(answer.status_code for answer in answers)
        assert counted.keys() <= {200, 401, 503}, counted
        assert counted[503] > 0
        assert counted[200] + counted[401] > 0
        assert all(
            int(answer.headers["Retry-After"]) >= 1
            for answer in answers
            if answer.status_code == 503
        )
        assert {a.json()["code"] for a in answers if a.status_code == 401} == {
            "invalid_credentials"
        }
        assert peak_memory(mark) < base + THREADS * HASH_MEMORY + SLACK
        assert client.call("POST", "/v1/auth/login", body=body).status_code == 200


async def storm(url: str, token: str) -> tuple[list[httpx.Response], Counter[int]]:
    """Log in so often at once, half of it with wrong passwords; ask for the token all the while."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        logins = asyncio.gather(
            *(
                http.post(
                    "/v1/auth/login",
                    json={
                        "email": PEOPLE[number % len(PEOPLE)] if right else f"{number}@example.com",
                        "password": PASSWORD,
                    },
                )
                for number in range(LOGINS // 2)
                for right in (True, False)
            )
        )
        verdicts: Counter[int] = Counter()
        headers = {"Authorization": f"Bearer {token}"}
        while not logins.done():
            verdict = await http.get("/v1/auth/verify", headers=headers)
            verdicts[verdict.status_code] += 1
        return await logins, verdicts


def peak_memory(mark: str) -> int:
    """Return the most memory that a process of the service has ever had, in KiB."""
    return max(
        int(found[1])
        for process in Path("/proc").glob("[0-9]*")
        if process.name != str(os.getpid())
        and mark.encode() in (read(process / "environ") or b"")
        and (found := re.search(rb"VmHWM:\s+(\d+) kB", read(process / "status") or b""))
    )


def read(file: Path) -> bytes | None:
    """Return what a file holds, None if it is gone or somebody else's."""
    try:
        return file.read_bytes()
    except OSError:
        return None
