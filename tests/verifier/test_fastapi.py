"""Routes of another service, tested as its own people would: without a server."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import httpx
import pytest
from fastapi import Depends, FastAPI

from keyturn.domain.secret import Secret
from keyturn.testing import make_token, make_verifier
from keyturn.verifier import KeysUnavailable, PermissionDenied, Principal, StaticTokenVerifier
from keyturn.verifier.fastapi import (
    CurrentPrincipal,
    OptionalPrincipal,
    protect,
    require_any_permission,
    require_any_role,
    require_permission,
    require_role,
)


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> str:
        return str(principal.user_id)

    @app.get("/maybe")
    async def maybe(principal: OptionalPrincipal) -> str:
        return "somebody" if principal else "nobody"

    @app.get("/notes", dependencies=[Depends(require_permission("notes:read"))])
    async def notes() -> str:
        return "notes"

    @app.get("/any-permission")
    async def any_permission(
        principal: Annotated[Principal, Depends(require_any_permission("a:b", "c:d"))],
    ) -> str:
        return str(principal.user_id)

    @app.get("/editor", dependencies=[Depends(require_role("editor"))])
    async def editor() -> str:
        return "edited"

    @app.get("/any-role", dependencies=[Depends(require_any_role("editor", "author"))])
    async def any_role() -> str:
        return "written"

    @app.get("/refuse")
    async def refuse(principal: CurrentPrincipal) -> str:
        raise PermissionDenied

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = make_app()
    protect(app, make_verifier())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://notes.example") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_route_knows_its_caller(client: httpx.AsyncClient) -> None:
    user_id = uuid4()
    answer = await client.get("/me", headers=bearer(make_token(user_id=user_id)))
    assert answer.json() == str(user_id)


async def test_without_a_good_token_it_answers_as_keyturn_does(client: httpx.AsyncClient) -> None:
    nothing = await client.get("/me")
    assert (nothing.status_code, nothing.json()["code"]) == (401, "authentication_required")
    assert nothing.headers["www-authenticate"] == 'Bearer realm="keyturn"'
    expired = make_token(issued_at=datetime.now(UTC) - timedelta(days=1))
    answer = await client.get("/me", headers=bearer(expired))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_optional_caller_may_be_nobody_but_not_anybody(client: httpx.AsyncClient) -> None:
    assert (await client.get("/maybe")).json() == "nobody"
    assert (await client.get("/maybe", headers=bearer(make_token()))).json() == "somebody"
    assert (await client.get("/maybe", headers=bearer("x.y.z"))).status_code == 401


@pytest.mark.parametrize(
    ("path", "claims", "status"),
    [
        ("/notes", {"permissions": {"notes:read"}}, 200),
        ("/notes", {"permissions": {"notes:write"}}, 403),
        ("/notes", {"permissions": {"notes:read"}, "scope": {"a:b"}}, 403),
        ("/notes", {"permissions": None}, 403),
        ("/any-permission", {"permissions": {"c:d"}}, 200),
        ("/any-permission", {"permissions": {"e:f"}}, 403),
        ("/editor", {"roles": {"editor"}}, 200),
        ("/editor", {"roles": {"author"}}, 403),
        ("/editor", {"roles": {"author"}, "permissions": None}, 403),
        ("/any-role", {"roles": {"author"}}, 200),
        ("/any-role", {}, 403),
        ("/refuse", {}, 403),
    ],
)
async def test_what_is_demanded_must_be_in_the_token(
    client: httpx.AsyncClient, path: str, claims: dict[str, set[str]], status: int
) -> None:
    answer = await client.get(path, headers=bearer(make_token(**claims)))  # type: ignore[arg-type]  # by name
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "insufficient_scope"


async def test_a_verifier_that_can_not_tell_is_a_503(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object, access_token: Secret, proof: object) -> Principal:
        raise KeysUnavailable

    monkeypatch.setattr(StaticTokenVerifier, "authenticate", fail)
    answer = await client.get("/me", headers=bearer(make_token()))
    assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_two_apps_in_one_process_trust_different_issuers() -> None:
    here, there = make_app(), make_app()
    protect(here, make_verifier(issuer="https://here.test"))
    protect(there, make_verifier(issuer="https://there.test"))
    token = make_token(issuer="https://here.test")
    statuses = []
    for app in (here, there):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://x.test") as client:
            statuses.append((await client.get("/me", headers=bearer(token))).status_code)
    assert statuses == [200, 401]
