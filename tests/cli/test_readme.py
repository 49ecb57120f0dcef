"""What the README shows is what happens."""

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


class Ended(Protocol):
    code: int
    out: str


Run = Callable[..., Ended]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_session_on_the_first_screen_says_what_it_is_said_to_say(served: str) -> None:
    session = blocks("sh")[1]
    address = re.search(r"http://127\.0\.0\.1:\d+", served)
    assert address is not None
    said = subprocess.run(
        ["sh", "-eu", "-c", session.replace("http://127.0.0.1:8000", address[0])],
        env=os.environ | {"no_proxy": "*"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = re.findall(r"# (\w+)$", session, re.MULTILINE)
    assert len(expected) == 4
    assert said.stdout.split()[1:] == expected


def test_the_unit_test_that_it_shows_passes() -> None:
    (shown,) = (block for block in blocks("python") if "async def test_" in block)
    names: dict[str, object] = {}
    exec(shown, names)  # noqa: S102 - the README is ours
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    assert callable(test)
    asyncio.run(test())


def test_the_other_service_that_it_shows_knows_who_may_read(
    keyturn: Run,
    environment: pytest.MonkeyPatch,
    serving: Callable[..., AbstractContextManager[str]],
) -> None:
    (shown,) = (block for block in blocks("python") if "TokenVerifier" in block)
    environment.setenv("NO_PROXY", "*")
    (command,) = re.findall(r"`keyturn (clients add .*)` prints the secret", README)
    environment.setenv("NOTES_CLIENT_SECRET", keyturn(*command.split()).out.strip())

    (command,) = re.findall(r"`keyturn (resources add \S+)`", README)
    assert keyturn(*command.split()).code == 0
    (resource,) = re.findall(r"`\"resource\": \"(\S+)\"`", README)

    async def status_of(token: str, issuer: str) -> int:
        names: dict[str, Any] = {}
        with pytest.MonkeyPatch.context() as patch:
            # For our own commands it would be a misspelt setting.
            patch.setenv("AUTH_URL", issuer)
            exec(shown, names)  # noqa: S102 - the README is ours
        transport = httpx.ASGITransport(names["app"])
        async with (
            names["verifier"],
            httpx.AsyncClient(transport=transport, base_url="https://notes.example") as notes,
        ):
            answer = await notes.get("/notes", headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

    with serving() as banner:
        address = re.search(r"http://127\.0\.0\.1:\d+", banner)
        assert address is not None
        ada = {"email": "ada@example.com", "password": "a passphrase of my own"}
        assert httpx.post(f"{address[0]}/v1/auth/register", json=ada).status_code == 201

        def log_in() -> str:
            answer = httpx.post(f"{address[0]}/v1/auth/login", json=ada | {"resource": resource})
            return str(answer.json()["access_token"])

        assert asyncio.run(status_of(log_in(), address[0])) == 403
        assert keyturn("roles", "define", "author", "notes:read").code == 0
        assert keyturn("users", "set-roles", ada["email"], "user", "author").code == 0
        assert asyncio.run(status_of(log_in(), address[0])) == 200
        assert asyncio.run(status_of("nonsense", address[0])) == 401


def test_the_service_for_production_starts_as_printed(
    keyturn: Run,
    environment: pytest.MonkeyPatch,
    serving: Callable[..., AbstractContextManager[str]],
    empty_postgres_url: str,
) -> None:
    lines = blocks("sh")[2].splitlines()
    for line in lines:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            environment.setenv(name, shlex.split(value)[0])
    environment.setenv("KEYTURN_DATABASE_URL", empty_postgres_url)
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("keyturn ")]
    assert [command[0] for command in commands] == ["migrate", "create-admin", "serve"]
    migrate, create_admin, serve = commands
    assert keyturn(*migrate).code == 0
    environment.setattr("sys.stdin", StringIO("a passphrase of my own\n"))
    assert keyturn(*create_admin).code == 0
    with serving(*serve[1:]) as banner:
        address = re.search(r"keyturn is at (http://\S+)", banner)
        assert address is not None
        person = {"email": "root@example.com", "password": "a passphrase of my own"}
        answer = httpx.post(f"{address[1]}/v1/auth/login", json=person, timeout=60)
        assert answer.status_code == 200


def test_every_page_that_it_names_is_there() -> None:
    linked = re.findall(r"\]\(([^)h][^)]*)\)", README)
    assert linked
    assert [page for page in linked if not (ROOT / page).exists()] == []
