"""Keys are rotated beside a service that runs, and nobody notices."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

import httpx
import pytest


class Api(Protocol):
    def call(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> httpx.Response: ...

    def register_and_log_in(self) -> dict[str, str]: ...

    def verdicts(self, token: str, times: int = 8) -> set[int]: ...


Serve = Callable[..., AbstractContextManager[str]]


@pytest.mark.parametrize("algorithms", [("HS256", "HS256"), ("RS256", "ES256")], ids=" to ".join)
def test_two_rotations_beside_two_workers_log_nobody_out(
    environment: pytest.MonkeyPatch,
    postgres_url: str,
    serving: Serve,
    api: Callable[[str], Api],
    eventually: Callable[[Callable[[], bool]], None],
    keyturn_command: Callable[..., str],
    algorithms: tuple[str, str],
) -> None:
    environment.setenv("KEYTURN_DATABASE_URL", postgres_url)
    environment.setenv("KEYTURN_ALGORITHM", algorithms[0])

    def rotate_twice() -> str:
        keyturn_command("keys", "generate", "--algorithm", algorithms[1])
        keyturn_command("keys", "rotate", "--now")
        return keyturn_command("keys", "rotate", "--now").split()[0]

    with serving("--workers", "2") as banner, ThreadPoolExecutor(1) as operator:
        service = api(banner)
        tokens = service.register_and_log_in()
        first = tokens["access_token"]

        def refresh() -> None:
            answer = service.call(
                "POST", "/v1/auth/refresh", body={"refresh_token": tokens["refresh_token"]}
            )
            assert answer.status_code == 200, answer.text
            tokens.update(answer.json())
            assert service.verdicts(tokens["access_token"], times=4) == {204}

        rotating = operator.submit(rotate_twice)
        refreshed = 0
        while not rotating.done() or refreshed < 5:
            refresh()
            refreshed += 1
        last = rotating.result()
        assert service.verdicts(first) == {204}

        def published() -> list[str]:
            keys = service.call("GET", "/.well-known/jwks.json").json()["keys"]
            return [key["kid"] for key in keys]

        if algorithms[1] != "HS256":
            eventually(lambda: published()[0] == last and published()[0] == last)
            assert len(published()) == 3
        else:
            assert published() == []
        refresh()
