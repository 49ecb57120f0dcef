"""Roles and permissions that a route of any app asks for."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI

from keyturn.delivery.http import (
    ACCESS_PROBLEMS,
    Services,
    handle_keyturn_errors,
    require_any_permission,
    require_any_role,
    require_permission,
    require_role,
)
from keyturn.domain.policies import ClaimsPolicy
from keyturn.domain.principal import Principal
from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.token_pair import TokenPair

router = APIRouter(responses=ACCESS_PROBLEMS)

Admin = Annotated[Principal, Depends(require_role("admin"))]


@router.get("/admin")
async def show_admin(principal: Admin) -> str:
    return str(principal.user_id)


DEMANDS = {
    "/every-role": require_role("editor", "user"),
    "/any-role": require_any_role("editor", "admin"),
    "/permission": require_permission("posts:delete"),
    "/every-permission": require_permission("posts:delete", "posts:write"),
    "/any-permission": require_any_permission("posts:delete", "users:read"),
}
for path, demand in DEMANDS.items():
    router.add_api_route(path, lambda: "done", dependencies=[Depends(demand)])

Enter = Callable[..., Awaitable[TokenPair]]


@pytest.fixture
def posts(
    connect: Callable[..., httpx.AsyncClient], services: Callable[..., Services]
) -> Callable[[InMemoryKeyturn], httpx.AsyncClient]:
    """Makes an app of somebody else that holds a keyturn's services."""

    def posts(keyturn: InMemoryKeyturn) -> httpx.AsyncClient:
        app = FastAPI()
        app.state.keyturn = services(keyturn)
        handle_keyturn_errors(app)
        app.include_router(router)
        return connect(app=app)

    return posts


async def define(keyturn: InMemoryKeyturn, name: str, *permissions: str) -> None:
    await keyturn.define_role.execute(DefineRoleCommand(name, frozenset(permissions), actor=None))


def bearer(pair: TokenPair) -> dict[str, str]:
    return {"Authorization": f"Bearer {pair.access_token.reveal()}"}


@pytest.mark.parametrize("policy", list(ClaimsPolicy))
@pytest.mark.parametrize(
    ("roles", "open_to_them"),
    [
        ((), set()),
        (("user",), set()),
        (("admin",), {"/admin", "/any-role", "/any-permission"}),
        (("editor",), {"/any-role", "/permission", "/any-permission"}),
        (("editor", "user"), {"/every-role", "/any-role", "/permission", "/any-permission"}),
        (
            ("editor", "writer"),
            {"/any-role", "/permission", "/every-permission", "/any-permission"},
        ),
    ],
)
async def test_a_route_is_open_to_those_who_hold_what_it_asks_for(
    posts: Callable[..., httpx.AsyncClient],
    enter: Enter,
    policy: ClaimsPolicy,
    roles: tuple[str, ...],
    open_to_them: set[str],
) -> None:
    keyturn = InMemoryKeyturn(claims_policy=policy)
    await define(keyturn, "editor", "posts:delete")
    await define(keyturn, "writer", "posts:write")
    headers = bearer(await enter("ada@example.com", *roles, keyturn=keyturn))
    client = posts(keyturn)
    answers = {path: await client.get(path, headers=headers) for path in ("/admin", *DEMANDS)}
    assert {path for path, answer in answers.items() if answer.status_code == 200} == open_to_them
    for path in answers.keys() - open_to_them:
        assert answers[path].status_code == 403
        assert answers[path].json()["code"] == "insufficient_scope"
        assert 'error="insufficient_scope"' in answers[path].headers["www-authenticate"]


async def test_the_route_is_handed_the_caller(
    posts: Callable[..., httpx.AsyncClient], keyturn: InMemoryKeyturn, root: TokenPair
) -> None:
    answer = await posts(keyturn).get("/admin", headers=bearer(root))
    assert answer.json() == str(root.user_id)


@pytest.mark.parametrize("path", ["/admin", *DEMANDS])
async def test_without_a_good_token_nobody_is_asked_for_more(
    posts: Callable[..., httpx.AsyncClient], keyturn: InMemoryKeyturn, path: str
) -> None:
    client = posts(keyturn)
    without = await client.get(path)
    bad = await client.get(path, headers={"Authorization": "Bearer nonsense"})
    assert (without.status_code, without.json()["code"]) == (401, "authentication_required")
    assert (bad.status_code, bad.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("policy", "paths"),
    [
        (ClaimsPolicy.ROLES_AND_PERMISSIONS, ["/admin", "/any-role", "/any-permission"]),
        (ClaimsPolicy.ROLES, ["/admin", "/any-role"]),
    ],
)
async def test_nothing_is_looked_up_that_the_token_tells(
    posts: Callable[..., httpx.AsyncClient], enter: Enter, policy: ClaimsPolicy,
    paths: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    keyturn = InMemoryKeyturn(claims_policy=policy)
    headers = bearer(await enter("root@example.com", "admin", keyturn=keyturn))

    async def fail(*_: object) -> None:
        raise AssertionError("the store was opened")

    monkeypatch.setattr("keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", fail)
    for path in paths:
        assert (await posts(keyturn).get(path, headers=headers)).status_code == 200


async def test_what_the_token_keeps_to_itself_is_looked_up_once_in_a_while(
    posts: Callable[..., httpx.AsyncClient], enter: Enter
) -> None:
    keyturn = InMemoryKeyturn(claims_policy=ClaimsPolicy.NONE)
    pair = await enter("root@example.com", "admin", keyturn=keyturn)
    client = posts(keyturn)
    assert (await client.get("/admin", headers=bearer(pair))).status_code == 200
    # As if the change came from another process whose revocation has not arrived yet.
    keyturn.store.users[pair.user_id] = keyturn.store.users[pair.user_id].with_status(
        UserStatus.DISABLED, keyturn.clock.now()
    )
    keyturn.advance(seconds=4)
    assert (await client.get("/admin", headers=bearer(pair))).status_code == 200
    keyturn.advance(seconds=1)
    assert (await client.get("/admin", headers=bearer(pair))).status_code == 401


@pytest.mark.parametrize("policy", list(ClaimsPolicy))
async def test_the_scope_of_a_token_limits_what_its_user_may_do(
    posts: Callable[..., httpx.AsyncClient], enter: Enter, policy: ClaimsPolicy
) -> None:
    keyturn = InMemoryKeyturn(claims_policy=policy)
    await define(keyturn, "editor", "posts:delete", "posts:write")
    narrow = await enter(
        "ada@example.com", "editor", "user", "admin",
        keyturn=keyturn, scope=frozenset({"posts:delete"}),
    )  # fmt: skip
    client = posts(keyturn)
    statuses = {
        path: (await client.get(path, headers=bearer(narrow))).status_code
        for path in ("/admin", *DEMANDS)
    }
    assert statuses == {
        "/admin": 403,
        "/every-role": 403,
        "/any-role": 403,
        "/permission": 200,
        "/every-permission": 403,
        "/any-permission": 200,
    }


async def test_a_store_that_does_not_answer_is_no_refusal(
    posts: Callable[..., httpx.AsyncClient], enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keyturn.domain.errors import StoreUnavailable

    keyturn = InMemoryKeyturn(claims_policy=ClaimsPolicy.NONE)
    pair = await enter("root@example.com", "admin", keyturn=keyturn)

    async def fail(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", fail)
    answer = await posts(keyturn).get("/admin", headers=bearer(pair))
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "require", [require_role, require_any_role, require_permission, require_any_permission]
)
@pytest.mark.parametrize("names", [(), ("",), ("Admin",), ("posts:delete:all",), ("a, b",)])
def test_a_demand_that_is_a_slip_of_the_pen_shows_at_once(
    require: Callable[..., object], names: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"role|permission"):
        require(*names)


def test_a_role_is_no_permission_and_a_permission_no_role() -> None:
    with pytest.raises(ValueError, match="'posts:delete' is no name of a role"):
        require_role("posts:delete")
    with pytest.raises(ValueError, match="'admin' is no name of a permission"):
        require_permission("admin")


async def test_another_app_describes_the_refusals_without_a_missing_reference(
    posts: Callable[..., httpx.AsyncClient], keyturn: InMemoryKeyturn
) -> None:
    answer = await posts(keyturn).get("/openapi.json")
    for path in ("/admin", *DEMANDS):
        operation = answer.json()["paths"][path]["get"]
        assert operation["security"] == [{"AccessToken": []}]
        assert {"401", "403", "503"} <= operation["responses"].keys()
        refusal = operation["responses"]["403"]["content"]["application/problem+json"]
        assert refusal["schema"]["properties"]["code"]["type"] == "string"
        assert "insufficient_scope" in refusal["examples"]
    assert "$ref" not in answer.text
