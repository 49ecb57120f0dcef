"""Every request is observed once, by its template and never by its path."""

import logging
import re
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.observation import FinishedRequest, log_request
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def finished() -> list[FinishedRequest]:
    return []


@pytest.fixture
def observed(
    keyturn: InMemoryKeyturn,
    services: Callable[..., Services],
    connect: Connect,
    finished: list[FinishedRequest],
) -> httpx.AsyncClient:
    """A client of an app whose requests are kept."""
    app: FastAPI = build_app(
        services(keyturn),
        HttpOptions(trusted_proxies=("192.0.2.7",)),
        observers=[finished.append, log_request],
    )
    return connect(app=app)


async def test_who_asked_what_is_known(
    observed: httpx.AsyncClient,
    finished: list[FinishedRequest],
    ada: TokenPair,
    as_ada: dict[str, str],
) -> None:
    await observed.get(
        "/v1/auth/verify",
        headers=as_ada | {"X-Request-ID": "abc", "X-Forwarded-For": "198.51.100.9"},
    )
    [request] = finished
    assert (request.method, request.route, request.status) == ("GET", "/v1/auth/verify", 204)
    assert request.subject == ada.user_id
    assert request.client_request_id == "abc"
    assert re.fullmatch("[0-9a-f]{32}", request.request_id)
    assert request.client_ip == "198.51.100.9"


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("DELETE", "/v1/sessions/00000000-0000-0000-0000-000000000001", "session_id", 401),
        ("GET", "/a/secret?token=b", "(none)", 404),
        ("PUT", "/v1/auth/login", "/v1/auth/login", 405),
        ("POST", "/v1/auth/login", "/v1/auth/login", 422),
    ],
)
async def test_a_request_is_named_by_its_template(
    method: str,
    path: str,
    route: str,
    status: int,
    observed: httpx.AsyncClient,
    finished: list[FinishedRequest],
) -> None:
    await observed.request(method, path)
    [request] = finished
    assert route in request.route
    assert request.status == status
    assert "secret" not in request.route
    assert request.subject is None


async def test_a_method_of_their_own_is_one_of_many(
    observed: httpx.AsyncClient, finished: list[FinishedRequest]
) -> None:
    await observed.request("SECRET", "/v1/auth/login")
    assert finished[0].method == "OTHER"


async def test_each_request_has_one_line(
    observed: httpx.AsyncClient, as_ada: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "keyturn.request")
    await observed.get("/v1/users/me?token=secret", headers=as_ada)
    [line] = [record for record in caplog.records if record.name == "keyturn.request"]
    told = {
        name: getattr(line, name)
        for name in ("method", "route", "status", "client_ip", "request_id", "duration_ms")
    }
    assert told["route"] == "/v1/users/me"
    assert told["duration_ms"] >= 0
    assert "secret" not in repr(line.__dict__)


async def test_a_fault_of_ours_is_an_error_in_the_log(
    observed: httpx.AsyncClient, keyturn: InMemoryKeyturn, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(_: object) -> None:
        raise RuntimeError

    keyturn.login_user.execute = explode  # type: ignore[method-assign, assignment] # a fault
    person = {"email": "ada@example.com", "password": "a passphrase of my own"}
    assert (await observed.post("/v1/auth/login", json=person)).status_code == 500
    lines = [record for record in caplog.records if record.name == "keyturn.request"]
    assert [line.levelname for line in lines] == ["ERROR"]
