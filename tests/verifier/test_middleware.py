"""The ASGI middleware in front of a Starlette app."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from keyturn.domain.secret import Secret
from keyturn.testing import make_token, make_verifier
from keyturn.testing.tokens import TEST_AUDIENCE, TEST_ISSUER
from keyturn.verifier import KeysUnavailable, Principal, StaticTokenVerifier
from keyturn.verifier.middleware import PRINCIPAL, AccessTokenMiddleware


async def whoami(request: Request) -> PlainTextResponse:
    principal: Principal | None = request.scope[PRINCIPAL]
    return PlainTextResponse(str(principal.user_id) if principal else "nobody")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(
        routes=[Route("/me", whoami), Route("/health", whoami)],
        middleware=[
            Middleware(
                AccessTokenMiddleware,
                verifier=make_verifier(),
                is_public=lambda path: path == "/health",
            )
        ],
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://notes.example") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_good_token_is_let_through_with_its_caller(client: httpx.AsyncClient) -> None:
    answer = await client.get("/me", headers=bearer(make_token()))
    assert answer.status_code == 200
    assert len(answer.text) == 36


@pytest.mark.parametrize(
    ("headers", "code", "challenge"),
    [
        ({}, "authentication_required", 'Bearer realm="keyturn"'),
        (bearer("x.y.z"), "invalid_token", 'Bearer realm="keyturn", error="invalid_token"'),
        ({"Authorization": "Basic YTpi"}, "invalid_token", 'Bearer realm="keyturn", error='),
    ],
)
async def test_everything_else_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], code: str, challenge: str
) -> None:
    for path in ("/me", "/nothing"):
        answer = await client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["www-authenticate"].startswith(challenge)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_token_for_another_resource_is_told_what_to_ask_for(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/me", headers=bearer(make_token(audience=TEST_ISSUER)))
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_audience")
    assert answer.json()["resource"] == TEST_AUDIENCE
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_public_path_needs_no_token_but_takes_no_bad_one(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).text == "nobody"
    assert (await client.get("/health", headers=bearer("x.y.z"))).status_code == 401


async def test_a_refusal_of_a_head_request_has_no_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/me")
    assert (answer.status_code, answer.content) == (401, b"")


async def test_a_verifier_that_can_not_tell_is_a_503(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object, access_token: Secret, proof: object) -> Principal:
        raise KeysUnavailable

    monkeypatch.setattr(StaticTokenVerifier, "authenticate", fail)
    answer = await client.get("/me", headers=bearer(make_token()))
    assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(("kind", "reached"), [("websocket", False), ("lifespan", True)])
async def test_a_web_socket_is_guarded_too_and_a_lifespan_is_none_of_its_business(
    kind: str, reached: bool
) -> None:
    reached_app, sent = [], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached_app.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    middleware = AccessTokenMiddleware(app, make_verifier())
    scope: Scope = {"type": kind, "path": "/live", "headers": []}
    await middleware(scope, receive, send)
    assert bool(reached_app) is reached
    assert sent == ([] if reached else ["websocket.close"])
    if kind == "websocket":
        token = f"Bearer {make_token()}".encode()
        await middleware({**scope, "headers": [(b"authorization", token)]}, receive, send)
        assert reached_app == ["websocket"]
