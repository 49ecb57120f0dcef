"""What is another's is as unknown as what is not there, from the attacker's side."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from tests.delivery.http.conftest import but_for_its_id

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.token_pair import TokenPair

Enter = Callable[..., Awaitable[TokenPair]]
Json = dict[str, object]

OWN_ROUTES: dict[str, Json | None] = {"DELETE /v1/sessions/{session_id}": None}
"""Where an id is that of something of the caller's own."""

ADMIN_ROUTES: dict[str, Json | None] = {
    "GET /v1/admin/users/{user_id}": None,
    "PATCH /v1/admin/users/{user_id}": {"status": "disabled", "display_name": "Mallory"},
    "DELETE /v1/admin/users/{user_id}": None,
    "PUT /v1/admin/users/{user_id}/roles": {"roles": []},
    "GET /v1/admin/users/{user_id}/sessions": None,
    "DELETE /v1/admin/users/{user_id}/sessions": None,
    "DELETE /v1/admin/users/{user_id}/sessions/{session_id}": None,
}
"""Where an id is that of anybody, for those who may."""


def bearer(pair: TokenPair) -> dict[str, str]:
    return {"Authorization": f"Bearer {pair.access_token.reveal()}"}


async def attack(
    client: httpx.AsyncClient, route: str, body: Json | None, attacker: TokenPair, victim: TokenPair
) -> httpx.Response:
    """Send the victim's ids as the attacker."""
    method, _, path = route.partition(" ")
    path = path.format(user_id=victim.user_id, session_id=victim.session_id)
    return await client.request(method, path, json=body, headers=bearer(attacker))


@pytest.fixture
def unharmed(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> Callable[[], Awaitable[None]]:
    """Checks that nothing has happened to Ada."""
    before = keyturn.store.users[ada.user_id]

    async def unharmed() -> None:
        assert keyturn.store.users[ada.user_id] == before
        answer = await client.get("/v1/users/me", headers=bearer(ada))
        assert answer.status_code == 200
        body = {"refresh_token": ada.refresh_token.reveal()}
        assert (await client.post("/v1/auth/refresh", json=body)).status_code == 200

    return unharmed


def test_every_route_with_an_id_is_attacked(
    services: Callable[..., Services], keyturn: InMemoryKeyturn
) -> None:
    app = build_app(services(keyturn), HttpOptions())
    routes = {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        if route.path is not None and "_id}" in route.path
        for method in route.methods or ()
    }
    assert OWN_ROUTES.keys() | ADMIN_ROUTES.keys() == routes


@pytest.mark.parametrize("role", ["user", "admin"])
@pytest.mark.parametrize(("route", "body"), OWN_ROUTES.items(), ids=OWN_ROUTES)
async def test_what_is_another_users_is_not_found_whatever_the_role(
    client: httpx.AsyncClient, ada: TokenPair, enter: Enter, role: str, route: str,
    body: Json | None, unharmed: Callable[[], Awaitable[None]],
) -> None:  # fmt: skip
    eve = await enter("eve@example.com", role)
    answer = await attack(client, route, body, eve, ada)
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
    await unharmed()


@pytest.mark.parametrize(("route", "body"), ADMIN_ROUTES.items(), ids=ADMIN_ROUTES)
async def test_a_user_can_not_tell_from_a_refusal_who_exists(
    client: httpx.AsyncClient, ada: TokenPair, enter: Enter, route: str, body: Json | None,
    unharmed: Callable[[], Awaitable[None]],
) -> None:  # fmt: skip
    eve = await enter("eve@example.com", "user")
    there = await attack(client, route, body, eve, ada)
    not_there = await client.request(
        route.partition(" ")[0],
        route.partition(" ")[2].format(user_id="nonsense", session_id="nonsense"),
        json=body,
        headers=bearer(eve),
    )
    assert there.status_code == not_there.status_code == 403
    assert but_for_its_id(there) == but_for_its_id(not_there)
    await unharmed()


@pytest.mark.parametrize("scope", ["profile:read", "audit:read", "profile:write"])
@pytest.mark.parametrize(
    ("route", "body"), (OWN_ROUTES | ADMIN_ROUTES).items(), ids=OWN_ROUTES | ADMIN_ROUTES
)
async def test_an_administrator_with_a_limited_token_is_no_administrator(
    client: httpx.AsyncClient, ada: TokenPair, enter: Enter, route: str, body: Json | None,
    scope: str, unharmed: Callable[[], Awaitable[None]],
) -> None:  # fmt: skip
    limited = await enter("mallory@example.com", "admin", scope=frozenset({scope}))
    answer = await attack(client, route, body, limited, ada)
    own = route in OWN_ROUTES and scope == "profile:write"
    assert answer.status_code == (404 if own else 403)
    await unharmed()


async def test_a_limited_token_hands_on_no_more_than_its_scope(
    client: httpx.AsyncClient, ada: TokenPair, enter: Enter,
    unharmed: Callable[[], Awaitable[None]],
) -> None:  # fmt: skip
    scope = frozenset({"roles:assign", "roles:write"})
    limited = await enter("mallory@example.com", "admin", scope=scope)
    roles = await client.put(
        f"/v1/admin/users/{ada.user_id}/roles", json={"roles": ["admin"]}, headers=bearer(limited)
    )
    role = await client.put(
        "/v1/admin/roles/user", json={"permissions": ["users:write"]}, headers=bearer(limited)
    )
    assert (roles.status_code, role.status_code) == (403, 403)
    await unharmed()


async def test_a_session_is_ended_only_in_the_name_of_its_user(
    client: httpx.AsyncClient, ada: TokenPair, root: TokenPair,
    unharmed: Callable[[], Awaitable[None]],
) -> None:  # fmt: skip
    path = f"/v1/admin/users/{root.user_id}/sessions/{ada.session_id}"
    answer = await client.delete(path, headers=bearer(root))
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
    await unharmed()


async def test_a_permission_of_one_kind_opens_nothing_of_another(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, enter: Enter,
    unharmed: Callable[[], Awaitable[None]],
) -> None:  # fmt: skip
    await keyturn.define_role.execute(
        DefineRoleCommand("reader", frozenset({"users:read", "audit:read"}), actor=None)
    )
    reader = await enter("reader@example.com", "reader")
    statuses = {
        route: (await attack(client, route, body, reader, ada)).status_code
        for route, body in ADMIN_ROUTES.items()
    }
    assert [route for route, status in statuses.items() if status != 403] == [
        "GET /v1/admin/users/{user_id}"
    ]
    await unharmed()


async def test_ones_own_lists_hold_nothing_of_others(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str],
    enter: Enter,
) -> None:  # fmt: skip
    eve = await enter("eve@example.com", "user")
    ended = await keyturn.login_user.execute(LoginUserCommand("eve@example.com", PASSWORD))
    await keyturn.logout(ended.refresh_token)
    mine = await client.get("/v1/sessions?ended=true", headers=as_ada)
    assert [each["id"] for each in mine.json()["sessions"]] == [str(ada.session_id)]
    theirs = await client.get("/v1/sessions?ended=true", headers=bearer(eve))
    assert {each["id"] for each in theirs.json()["sessions"]} == {
        str(eve.session_id),
        str(ended.session_id),
    }
