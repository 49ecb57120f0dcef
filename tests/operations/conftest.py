"""Clients of a running service, and ways to wait for what must come to pass."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

SOURCE = Path(__file__).parents[2] / "src"

LIMIT = 30.0
"""Seconds after which a test gives up; far beyond what is promised, for slow machines."""

PERSON = {"email": "ada@example.com", "password": "a passphrase of my own"}


class Api:
    """A service, each request on a connection of its own, so that all workers get to answer."""

    def __init__(self, banner: str) -> None:
        found = re.search(r"keyturn is at (http://\S+)", banner)
        assert found
        self.url = found[1]

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.request(method, self.url + path, headers=headers, json=body, timeout=60)

    def register_and_log_in(self) -> dict[str, str]:
        assert self.call("POST", "/v1/auth/register", body=PERSON).status_code == 201
        return self.log_in()

    def log_in(self) -> dict[str, str]:
        tokens: dict[str, str] = self.call("POST", "/v1/auth/login", body=PERSON).json()
        return tokens

    def verdicts(self, token: str, times: int = 8) -> set[int]:
        """What `/v1/auth/verify` says, asked so often that every worker has had its say."""
        return {self.call("GET", "/v1/auth/verify", token).status_code for _ in range(times)}


@pytest.fixture
def api() -> Callable[[str], Api]:
    """Makes a client from what a service says when it starts."""
    return Api


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds, which each time asks a server and so takes its time."""

    def wait(condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < give_up, "it has not come to pass"

    return wait


@pytest.fixture
def keyturn_command(environment: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Carries out a command as an operator would, beside the service that runs."""

    def command(*arguments: str, answer: str = "") -> str:
        return subprocess.run(
            [sys.executable, "-m", "keyturn", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            input=answer,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    return command
