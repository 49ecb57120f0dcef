"""Who may call which route: every route, by everybody, from one table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.routes_keys import PublishedKeys
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.policies import ClaimsPolicy
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, UserStatus
from keyturn.testing.in_memory import ADA, ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.token_pair import TokenPair

Json = dict[str, object]

NOBODY_ASKED = "nobody is asked who they are"
CLIENTS = "a client of OAuth, which an access token does not make anybody"
CLIENTS_WITH_A_SECRET = "a client of OAuth that proves who it is, which nobody here is"
ANYBODY = "whoever has a good access token"


@dataclass(frozen=True)
class Own:
    """Whoever has a good access token whose scope, if it has one, leaves this permission."""

    permission: str


@dataclass(frozen=True)
class Row:
    """A route, who may call it, and a call that succeeds for those who may.

    Attributes:
        who: a permission, unless it says something else.
        path: instead of the route's own; what stands in braces is the bystander's, or the
            caller's where it begins with `my_`.
    """

    route: str
    who: str | Own
    path: str = ""
    json: Json | None = None
    form: Json = field(default_factory=dict)


LOGIN: Json = {"email": ADA, "password": PASSWORD.reveal()}
NEW_PASSWORD = "seven quiet glaciers"

TABLE = [
    Row("GET /health/live", NOBODY_ASKED),
    Row("GET /health/ready", NOBODY_ASKED),
    Row("GET /.well-known/jwks.json", NOBODY_ASKED),
    Row("GET /docs", NOBODY_ASKED),
    Row("GET /docs/{name}", NOBODY_ASKED, "/docs/start.js"),
    Row("GET /account/verify-email", NOBODY_ASKED),
    Row("GET /account/reset-password", NOBODY_ASKED),
    Row("GET /account/assets/{name}", NOBODY_ASKED, "/account/assets/account.js"),
    Row("GET /openapi.json", NOBODY_ASKED),
    Row("POST /v1/auth/register", NOBODY_ASKED, json={**LOGIN, "email": "new@example.com"}),
    Row("POST /v1/auth/login", NOBODY_ASKED, json=LOGIN),
    Row("POST /v1/auth/refresh", NOBODY_ASKED, json={"refresh_token": "{refresh_token}"}),
    Row("POST /v1/auth/email-verification", NOBODY_ASKED, json={"email": ADA}),
    Row(
        "POST /v1/auth/email-verification/confirm",
        NOBODY_ASKED,
        json={"token": "{verification_token}"},
    ),
    Row("POST /v1/auth/password-strength", NOBODY_ASKED, json={"password": NEW_PASSWORD}),
    Row("POST /v1/auth/password-reset", NOBODY_ASKED, json={"email": ADA}),
    Row(
        "POST /v1/auth/password-reset/confirm",
        NOBODY_ASKED,
        json={"token": "{reset_token}", "new_password": NEW_PASSWORD},
    ),
    Row(
        "POST /oauth/token",
        CLIENTS,
        form={"grant_type": "refresh_token", "refresh_token": "{refresh_token}"},
    ),
    Row("POST /oauth/revoke", CLIENTS, form={"token": "{refresh_token}"}),
    Row("POST /oauth/introspect", CLIENTS_WITH_A_SECRET, form={"token": "{refresh_token}"}),
    Row("GET /v1/revocations", CLIENTS_WITH_A_SECRET),
    Row("GET /.well-known/oauth-authorization-server", NOBODY_ASKED),
    Row("GET /v1/auth/verify", ANYBODY, f"/v1/auth/verify?audience={ISSUER}"),
    Row(
        "GET /v1/auth/verify",
        "audit:read",
        f"/v1/auth/verify?permission=audit:read&audience={ISSUER}",
    ),
    Row("POST /v1/auth/reauthenticate", ANYBODY, json={"password": PASSWORD.reveal()}),
    Row("POST /v1/auth/logout", ANYBODY),
    Row("POST /v1/auth/logout-all", Own("profile:write")),
    Row("GET /v1/users/me", Own("profile:read")),
    Row("PATCH /v1/users/me", Own("profile:write"), json={"display_name": "Me"}),
    Row(
        "POST /v1/users/me/password",
        Own("profile:write"),
        json={"current_password": PASSWORD.reveal(), "new_password": NEW_PASSWORD},
    ),
    Row(
        "POST /v1/users/me/email",
        Own("profile:write"),
        json={"current_password": PASSWORD.reveal(), "new_email": "other@example.com"},
    ),
    Row("GET /v1/users/me/export", Own("profile:read")),
    Row("DELETE /v1/users/me", Own("profile:write")),
    Row("GET /v1/sessions", Own("profile:read")),
    Row("DELETE /v1/sessions", Own("profile:write")),
    Row("DELETE /v1/sessions/{session_id}", Own("profile:write"), "/v1/sessions/{my_session_id}"),
    Row("GET /v1/admin/users", "users:read"),
    Row("GET /v1/admin/users/{user_id}", "users:read"),
    # Nobody acts on a user who has a role or a permission that they do not have.
    Row(
        "PATCH /v1/admin/users/{user_id}",
        "users:write",
        "/v1/admin/users/{roleless_id}",
        json={"status": "disabled"},
    ),
    Row("DELETE /v1/admin/users/{user_id}", "users:write", "/v1/admin/users/{roleless_id}"),
    Row(
        "PUT /v1/admin/users/{user_id}/roles",
        "roles:assign",
        "/v1/admin/users/{roleless_id}/roles",
        json={"roles": []},
    ),
    Row("GET /v1/admin/users/{user_id}/sessions", "sessions:revoke"),
    Row(
        "DELETE /v1/admin/users/{user_id}/sessions",
        "sessions:revoke",
        "/v1/admin/users/{roleless_id}/sessions",
    ),
    Row(
        "DELETE /v1/admin/users/{user_id}/sessions/{session_id}",
        "sessions:revoke",
        "/v1/admin/users/{roleless_id}/sessions/{roleless_session_id}",
    ),
    Row("GET /v1/admin/roles", "roles:write"),
    Row("GET /v1/admin/roles/{name}", "roles:write", "/v1/admin/roles/editor"),
    Row(
        "PUT /v1/admin/roles/{name}",
        "roles:write",
        "/v1/admin/roles/editor",
        json={"permissions": []},
    ),
    Row("DELETE /v1/admin/roles/{name}", "roles:write", "/v1/admin/roles/editor"),
    Row("GET /v1/admin/audit-events", "audit:read"),
]


@dataclass(frozen=True)
class Caller:
    """Somebody who calls.

    Attributes:
        permissions: what their role permits, None for those whom nothing makes somebody.
        ended: how their token lost its worth.
    """

    name: str
    permissions: frozenset[str] | None = None
    scope: frozenset[str] | None = None
    ended: str | None = None


EVERYTHING = ADMIN_ROLE.permissions
CALLERS = [
    Caller("anonymous"),
    Caller("a user", USER_ROLE.permissions),
    Caller("an administrator", EVERYTHING),
    *(Caller(f"only {each}", frozenset({each})) for each in sorted(EVERYTHING)),
    Caller("somebody without any permission", frozenset()),
    Caller("an administrator who may only read", EVERYTHING, frozenset({"profile:read"})),
    Caller("an administrator for the audit", EVERYTHING, frozenset({"audit:read"})),
    Caller("an administrator with a bad token", EVERYTHING, ended="forged"),
    Caller("an administrator who was disabled", EVERYTHING, ended="disabled"),
    Caller("an administrator who logged out", EVERYTHING, ended="logged out"),
    Caller("an administrator who was demoted", EVERYTHING, ended="demoted"),
    Caller("an administrator whose token expired", EVERYTHING, ended="expired"),
]


def expected(row: Row, caller: Caller) -> str:
    """The class of the answer."""
    if row.who is NOBODY_ASKED:
        return "2xx"
    if row.who is CLIENTS_WITH_A_SECRET:
        return "401"
    if row.who is CLIENTS:
        return "2xx" if caller.permissions is None else "401"
    if caller.permissions is None or caller.ended:
        return "401"
    if row.who is ANYBODY:
        return "2xx"
    in_scope = EVERYTHING if caller.scope is None else caller.scope
    if isinstance(row.who, Own):
        return "2xx" if row.who.permission in in_scope else "403"
    return "2xx" if row.who in caller.permissions & in_scope else "403"


@pytest.fixture
def app(
    services: Callable[..., Services], keyturn: InMemoryKeyturn, no_keys: PublishedKeys
) -> FastAPI:
    return build_app(services(keyturn), HttpOptions(), published_keys=no_keys)


def test_every_route_has_a_row(app: FastAPI) -> None:
    routes = {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {row.route for row in TABLE} == routes


@pytest.mark.parametrize("policy", [ClaimsPolicy.ROLES_AND_PERMISSIONS, ClaimsPolicy.NONE])
@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
async def test_each_caller_gets_what_the_table_says(
    app: FastAPI,
    services: Callable[..., Services],
    connect: Callable[..., httpx.AsyncClient],
    enter: Callable[..., Awaitable[TokenPair]],
    caller: Caller,
    policy: ClaimsPolicy,
) -> None:
    client = connect(app=app)
    answers = {}
    # What the token tells matters only where a permission is asked for.
    rows = [row for row in TABLE if policy is not ClaimsPolicy.NONE or row.who in EVERYTHING]
    for row in rows:
        keyturn = InMemoryKeyturn(claims_policy=policy)
        app.state.keyturn = services(keyturn)
        bystander = await enter(ADA, "user", keyturn=keyturn)
        links = {
            "verification_token": (await keyturn.token_of_next_mail()).reveal(),
            "reset_token": (await keyturn.forget_password()).reveal(),
        }
        roleless = await enter("roleless@example.com", keyturn=keyturn)
        known, headers = await arrive(keyturn, enter, caller)
        known |= links | {
            "user_id": str(bystander.user_id),
            "roleless_id": str(roleless.user_id),
            "roleless_session_id": str(roleless.session_id),
            "session_id": str(bystander.session_id),
            "refresh_token": bystander.refresh_token.reveal(),
        }
        method, _, template = row.route.partition(" ")
        answer = await client.request(
            method,
            (row.path or template).format_map(known),
            json=None if row.json is None else filled(row.json, known),
            data=filled(row.form, known),
            headers=headers,
        )
        answers[row.route, row.path] = told(answer)
    assert answers == {(row.route, row.path): expected(row, caller) for row in rows}


def filled(body: Json, known: dict[str, str]) -> Json:
    """Put what is known into the braces of a body's texts."""
    return {
        name: value.format_map(known) if isinstance(value, str) else value
        for name, value in body.items()
    }


def told(answer: httpx.Response) -> str:
    """The class of an answer, which must be what goes with its status."""
    if answer.is_success:
        return "2xx"
    challenge = answer.headers.get("www-authenticate", "")
    if answer.status_code == 403:
        assert answer.json()["code"] == "insufficient_scope"
        assert 'error="insufficient_scope"' in challenge
    if answer.status_code == 401:
        assert challenge.partition(",")[0] in ('Bearer realm="keyturn"', 'Basic realm="keyturn"')
    return str(answer.status_code)


async def arrive(
    keyturn: InMemoryKeyturn, enter: Callable[..., Awaitable[TokenPair]], caller: Caller
) -> tuple[dict[str, str], dict[str, str]]:
    """Make the caller; return what is known of them, and the headers that they send."""
    await enter("root@example.com", "admin", keyturn=keyturn)
    await keyturn.define_role.execute(
        DefineRoleCommand("editor", frozenset(), actor=None, assignable_by=frozenset({"theirs"}))
    )
    if caller.permissions is not None:
        await keyturn.define_role.execute(
            DefineRoleCommand("theirs", caller.permissions, actor=None)
        )
    if caller.permissions is None:
        return {"my_session_id": "20000000-0000-0000-0000-00000000ffff"}, {}
    pair = await enter("caller@example.com", "theirs", keyturn=keyturn, scope=caller.scope)
    token = pair.access_token.reveal()
    match caller.ended:
        case "forged":
            token = f"{token}x"
        case "disabled":
            await keyturn.change_user.execute(
                ChangeUserCommand(pair.user_id, actor=None, status=UserStatus.DISABLED)
            )
        case "logged out":
            await keyturn.logout(pair.refresh_token)
        case "demoted":
            await keyturn.assign_roles.execute(
                AssignRolesCommand(pair.user_id, frozenset({"user"}), actor=None)
            )
        case "expired":
            keyturn.advance(minutes=15)
        case _:
            assert caller.ended is None
    return {"my_session_id": str(pair.session_id)}, {"Authorization": f"Bearer {token}"}
