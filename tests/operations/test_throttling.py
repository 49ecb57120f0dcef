"""What was counted outlives the process that counted it, also what no request waits for."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from redis import Redis
from sqlalchemy import text

from keyturn.adapters.sqlalchemy.database import Database

Serve = Callable[..., AbstractContextManager[str]]
Eventually = Callable[[Callable[[], bool]], None]
Counted = Callable[[], int]


class Api(Protocol):
    def call(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> httpx.Response: ...

    def register_and_log_in(self) -> dict[str, str]: ...


class RedisServer(Protocol):
    url: str


Connect = Callable[[str], Api]


NOBODY = {"email": "nobody@example.com"}
ATTEMPTS = {
    "login": ("/v1/auth/login", NOBODY | {"password": "no passphrase of mine"}),
    "register": ("/v1/auth/register", NOBODY | {"password": "a passphrase of my own"}),
    "reset": ("/v1/auth/password-reset", NOBODY),
    "verify": ("/v1/auth/email-verification", NOBODY),
}
"""What is counted at once."""


def refresh(service: Api, token: str = "worth nothing") -> httpx.Response:
    return service.call("POST", "/v1/auth/refresh", body={"refresh_token": token})


def counted_in_sql(url: str) -> int:
    async def count() -> int:
        database = Database(url, pool_size=1)
        try:
            statement = text("SELECT count FROM throttle_windows WHERE key LIKE '%refresh/source%'")
            return sum(count for (count,) in await database.fetch(statement, {}))
        finally:
            await database.dispose()

    return asyncio.run(count())


def counted_in_redis(url: str) -> int:
    with Redis.from_url(url) as redis:
        keys = list(redis.scan_iter(match="keyturn:throttle:*refresh/source*"))
        return sum(int(redis.get(key) or 0) for key in keys)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def counted(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch) -> Counted:
    """How many refreshes stand in the store that the service is told to use, of each kind."""
    environment.setenv("KEYTURN_ISSUER", "http://127.0.0.1:8000")
    database = "postgres" if request.param == "postgres" else "sqlite"
    url: str = request.getfixturevalue(f"{database}_url")
    environment.setenv("KEYTURN_DATABASE_URL", url)
    if request.param != "redis":
        return lambda: counted_in_sql(url)
    # Of the test's own: one that is shared knows what was counted in the hour before.
    redis: RedisServer = request.getfixturevalue("redis_server")
    environment.setenv("KEYTURN_REDIS_URL", redis.url)
    return lambda: counted_in_redis(redis.url)


def test_who_is_refused_is_refused_after_the_service_was_killed_and_started_again(
    serve_in: Serve,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    counted: Counted,
    api: Connect,
    eventually: Eventually,
) -> None:
    for action in (*ATTEMPTS, "refresh"):
        environment.setenv(f"KEYTURN_THROTTLE_{action.upper()}", "3/hour")
    with serve_in(tmp_path, ended_by=signal.SIGKILL) as banner:
        service = api(banner)
        tokens = service.register_and_log_in()
        for _ in range(3):
            answer = refresh(service, tokens["refresh_token"])
            assert answer.status_code == 200
            tokens = answer.json()
        assert refresh(service, tokens["refresh_token"]).status_code == 429
        for path, body in ATTEMPTS.values():
            statuses = [service.call("POST", path, body=body).status_code for _ in range(4)]
            assert statuses[0] < 429, path
            assert statuses[-1] == 429, path
        eventually(lambda: counted() == 3)
    with serve_in(tmp_path) as banner:
        service = api(banner)
        attempts = [service.call("POST", path, body=body) for path, body in ATTEMPTS.values()]
        for refused in (refresh(service, tokens["refresh_token"]), *attempts):
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["retry-after"]) <= 3600
    assert counted() == 3


def test_a_service_learns_of_what_another_counts(
    serve_in: Serve,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    counted: Counted,
    api: Connect,
    eventually: Eventually,
) -> None:
    environment.setenv("KEYTURN_THROTTLE_REFRESH", "20/hour")
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with serve_in(folders[0]) as first, serve_in(folders[1]) as second:
        one, other = api(first), api(second)
        # From then on it does not look up what others have counted.
        assert refresh(one).status_code == 401
        for _ in range(10):
            assert refresh(other).status_code == 401
        eventually(lambda: counted() == 10)
        assert refresh(one).status_code == 401
        eventually(lambda: counted() == 12)
        admitted = 2
        while refresh(one).status_code == 401:
            admitted += 1
        assert refresh(one).status_code == 429
        # As many as there are for one alone, had it not learnt.
        assert admitted < 20


def test_a_service_that_is_stopped_writes_what_it_has_counted(
    serve_in: Serve,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    counted: Counted,
    api: Connect,
) -> None:
    environment.setenv("KEYTURN_THROTTLE_REFRESH", "20/hour")
    with serve_in(tmp_path) as banner:
        service = api(banner)
        for _ in range(7):
            assert refresh(service).status_code == 401
    assert counted() == 7
