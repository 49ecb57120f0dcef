"""The dependencies in apps of somebody else, and several apps in one process."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from keyturn.delivery.http import (
    CurrentPrincipal,
    CurrentUser,
    HttpOptions,
    OptionalPrincipal,
    Services,
    build_app,
    handle_keyturn_errors,
)
from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

router = APIRouter()


@router.get("/principal")
async def show_principal(principal: CurrentPrincipal) -> str:
    return str(principal.user_id)


@router.get("/user")
async def show_user(user: CurrentUser) -> str:
    return user.email


@router.get("/optional")
async def show_optional(principal: OptionalPrincipal) -> str:
    return str(principal.user_id) if principal else "nobody"


@pytest.fixture
def notes(
    connect: Callable[..., httpx.AsyncClient],
    services: Callable[..., Services],
    keyturn: InMemoryKeyturn,
) -> httpx.AsyncClient:
    """An app of somebody else that holds keyturn's services."""
    app = FastAPI()
    app.state.keyturn = services(keyturn)
    handle_keyturn_errors(app)
    app.include_router(router)
    return connect(app=app)


async def test_another_app_knows_its_caller(
    notes: httpx.AsyncClient, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    assert (await notes.get("/principal", headers=as_ada)).json() == str(ada.user_id)
    assert (await notes.get("/user", headers=as_ada)).json() == ADA
    assert (await notes.get("/optional", headers=as_ada)).json() == str(ada.user_id)


async def test_another_app_refuses_as_keyturn_does(notes: httpx.AsyncClient) -> None:
    for path in ("/principal", "/user"):
        answer = await notes.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")
        assert answer.headers["www-authenticate"] == 'Bearer realm="keyturn"'
        assert answer.json()["request_id"]


async def test_an_optional_caller_may_be_nobody_but_not_anybody(notes: httpx.AsyncClient) -> None:
    nobody = await notes.get("/optional")
    assert (nobody.status_code, nobody.json()) == (200, "nobody")
    for value in ("Bearer nonsense", "Bearer", "Basic YTpi", ""):
        answer = await notes.get("/optional", headers={"Authorization": value})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def test_a_loaded_caller_must_still_be_active(
    notes: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    await keyturn.set_status(keyturn.store.users[ada.user_id], UserStatus.DISABLED)
    assert (await notes.get("/user", headers=as_ada)).status_code == 401


async def test_a_principal_costs_no_look_up(
    notes: httpx.AsyncClient, as_ada: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise AssertionError("the store was opened")

    monkeypatch.setattr("keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", fail)
    assert (await notes.get("/principal", headers=as_ada)).status_code == 200
    assert (await notes.get("/optional", headers=as_ada)).status_code == 200


async def test_two_apps_in_one_process_know_nothing_of_each_other(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    here, there = InMemoryKeyturn(), InMemoryKeyturn()
    clients = [
        connect(keyturn=here),
        connect(keyturn=there, options=HttpOptions(password_grant=False)),
    ]
    login = {"email": ADA, "password": PASSWORD.reveal()}
    for client in clients:
        assert (await client.post("/v1/auth/register", json=login)).status_code == 201
    tokens = [
        (await client.post("/v1/auth/login", json=login)).json()["access_token"]
        for client in clients
    ]

    async def ask(asked: int, told: int) -> int:
        headers = {"Authorization": f"Bearer {tokens[told]}"}
        return (await clients[asked].get("/v1/users/me", headers=headers)).status_code

    pairs = [(asked, told) for asked in (0, 1) for told in (0, 1)] * 5
    statuses = await asyncio.gather(*(ask(*pair) for pair in pairs))
    assert statuses == [200 if asked == told else 401 for asked, told in pairs]

    form = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}
    granted = [(await client.post("/oauth/token", data=form)).status_code for client in clients]
    assert granted == [200, 400]


async def test_it_works_below_a_path_of_another_app(
    connect: Callable[..., httpx.AsyncClient],
    services: Callable[..., Services],
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    outer = FastAPI()
    outer.mount("/auth", build_app(services(keyturn), HttpOptions()))
    client = connect(app=outer)
    login = {"email": ADA, "password": PASSWORD.reveal(), "transport": "cookie"}
    answer = await client.post("/auth/v1/auth/login", json=login)
    assert "Path=/;" in answer.headers["set-cookie"]
    refreshed = await client.post("/auth/v1/auth/refresh", headers={"X-Requested-With": "x"})
    assert refreshed.status_code == 200
    assert (await client.post("/auth/oauth/token")).json()["error"] == "invalid_request"
    assert (await client.get("/auth/docs/start.js")).status_code == 200
    assert (await client.get("/auth/v1/auth/login")).headers["allow"] == "POST"
