"""An attacker wants to leave no trace, or a trace that leads to others."""

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from tests.delivery.http.conftest import client, connect, services  # noqa: F401 - fixtures

from keyturn.adapters.limits.process_windows import ProcessWindows
from keyturn.adapters.limits.throttle import DEFAULT_RATES, LimitsThrottle
from keyturn.adapters.memory.clients import MemoryClients
from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.client import Client, secret_digest
from keyturn.domain.errors import StoreUnavailable, WrongCurrentPassword
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.secret import Secret
from keyturn.testing.builders import make_principal
from keyturn.testing.in_memory import ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.erase_user import EraseUserCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.record_refusal import RecordRefusalCommand
from keyturn.use_cases.register_user import RegisterUserCommand

THERE = Origin("198.51.100.66", "Attack/1", "5f0c6a1e9b7d4c2f8a3e1d0b6c9f2a47")
LOGIN = {"email": "ada@example.com", "password": "not the password"}


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


def origins(keyturn: InMemoryKeyturn) -> list[Origin]:
    return [event.origin for event in keyturn.store.audit_events.values()]


@pytest.mark.parametrize("sent", ["a", "A-1_b.c", "x" * 128, "", "x" * 129, "<script>"])
async def test_an_attacker_can_not_choose_the_id_of_a_request(
    client: httpx.AsyncClient,  # noqa: F811 - the imported fixture
    keyturn: InMemoryKeyturn,
    sent: str,
) -> None:
    answers = [
        await client.post("/v1/auth/login", json=LOGIN, headers={"X-Request-ID": sent})
        for _ in range(2)
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len({*ids, sent}) == 3
    assert ids == [answer.json()["request_id"] for answer in answers]
    assert [origin.request_id for origin in origins(keyturn)] == ids
    assert {origin.client_request_id for origin in origins(keyturn)} == {None}


async def test_a_trusted_proxys_id_is_kept_beside_ours(
    connect: Callable[..., httpx.AsyncClient],  # noqa: F811 - the imported fixture
    services: Callable[..., Services],  # noqa: F811 - the imported fixture
    keyturn: InMemoryKeyturn,
) -> None:
    app = build_app(services(keyturn), HttpOptions(trusted_proxies=("192.0.2.0/24",)))
    headers = {"X-Request-ID": "proxy-7", "X-Forwarded-For": "198.51.100.66"}
    for address, kept in (("192.0.2.7", "proxy-7"), ("203.0.113.9", None)):
        answer = await connect(app=app, address=address).post(
            "/v1/auth/login", json=LOGIN, headers=headers
        )
        origin = origins(keyturn)[-1]
        assert origin.client_request_id == kept
        assert origin.request_id == answer.headers["x-request-id"] != "proxy-7"


async def test_an_attacker_can_not_have_their_traces_removed_by_asking_for_erasure(
    keyturn: InMemoryKeyturn,
) -> None:
    root = await keyturn.register_user.execute(
        RegisterUserCommand(
            "root@example.com",
            PASSWORD,
            roles=frozenset({"user", "admin"}),
            email_is_verified=True,
        )
    )
    attacker = await keyturn.register_user.execute(
        RegisterUserCommand(
            "eve@example.com",
            PASSWORD,
            roles=frozenset({"user", "admin"}),
            email_is_verified=True,
            origin=THERE,
        )
    )
    victim = await keyturn.register()
    actor = make_principal(attacker.id)
    await keyturn.change_user.execute(
        ChangeUserCommand(victim.id, actor, rename=True, display_name="x", origin=THERE)
    )
    await keyturn.define_role.execute(
        DefineRoleCommand("back-door", frozenset({"posts:delete"}), actor, THERE)
    )
    await keyturn.login_user.execute(LoginUserCommand(attacker.email, PASSWORD, origin=THERE))
    await keyturn.erase_user.execute(EraseUserCommand(attacker.id, make_principal(root.id)))

    kept = {
        event.type: event.origin
        for event in keyturn.store.audit_events.values()
        if event.actor == attacker.id
    }
    assert kept[AuditEventType.PROFILE_CHANGED] == THERE
    assert kept[AuditEventType.ROLE_DEFINED] == THERE
    # What says where the person lived goes with the person.
    assert kept[AuditEventType.LOGIN_SUCCEEDED] == Origin()


# --- rejected requests ----------------------------------------------------------------------------

CLIENTS = MemoryClients(
    Client("notes", secret_sha256=secret_digest(Secret("s" * 43)), introspects=True)
)


def refusals(keyturn: InMemoryKeyturn) -> list[AuditEvent]:
    kinds = {
        AuditEventType.CSRF_REJECTED,
        AuditEventType.CLIENT_REJECTED,
        AuditEventType.PERMISSION_DENIED,
        AuditEventType.WRONG_CURRENT_PASSWORD,
    }
    return [event for event in keyturn.store.audit_events.values() if event.type in kinds]


def app_of(keyturn: InMemoryKeyturn, make: Callable[..., Services]) -> FastAPI:
    return build_app(make(keyturn), HttpOptions())


async def test_an_attacker_can_not_guess_the_current_password_unseen() -> None:
    keyturn = InMemoryKeyturn()
    user = await keyturn.register()
    tokens = await keyturn.login()
    command = ChangePasswordCommand(
        user.id, tokens.session_id, Secret("a guess"), Secret("another long password"), THERE
    )
    with pytest.raises(WrongCurrentPassword):
        await keyturn.change_password.execute(command)
    [event] = refusals(keyturn)
    assert event.type is AuditEventType.WRONG_CURRENT_PASSWORD
    assert (event.actor, event.subject, event.origin) == (None, user.id, THERE)


async def test_an_attacker_can_not_send_requests_from_another_site_unseen(
    client: httpx.AsyncClient,  # noqa: F811 - the imported fixture
    keyturn: InMemoryKeyturn,
) -> None:
    headers = {"Origin": "https://evil.example", "X-Requested-With": "fetch"}
    client.cookies.set("__Host-keyturn_refresh", "stolen", domain="auth.example.com")
    answer = await client.post("/v1/auth/refresh", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
    [event] = refusals(keyturn)
    assert event.type is AuditEventType.CSRF_REJECTED
    assert event.origin.request_id == answer.headers["x-request-id"]
    assert event.details == {}


@pytest.mark.parametrize(
    ("path", "name", "details"),
    [
        ("/oauth/introspect", "notes", {"client_id": "notes"}),
        ("/oauth/token", "notes", {"client_id": "notes"}),
        # What names no client may be anything, also a secret in the wrong place.
        ("/oauth/introspect", "hunter2", {}),
    ],
)
async def test_an_attacker_can_not_guess_the_secret_of_a_client_unseen(
    connect: Callable[..., httpx.AsyncClient],  # noqa: F811 - the imported fixture
    services: Callable[..., Services],  # noqa: F811 - the imported fixture
    path: str,
    name: str,
    details: dict[str, str],
) -> None:
    keyturn = InMemoryKeyturn(clients=CLIENTS)
    client = connect(app=app_of(keyturn, services))  # noqa: F811 - of another app
    answer = await client.post(
        path, data={"token": "x", "grant_type": "refresh_token"}, auth=(name, "guess")
    )
    assert answer.status_code == 401
    [event] = refusals(keyturn)
    assert (event.type, dict(event.details)) == (AuditEventType.CLIENT_REJECTED, details)
    feed = await client.get("/v1/revocations", auth=(name, "guess"))
    assert feed.status_code == 401
    assert len(refusals(keyturn)) == 2


async def test_an_attacker_can_not_try_to_promote_themselves_unseen(
    client: httpx.AsyncClient,  # noqa: F811 - the imported fixture
    keyturn: InMemoryKeyturn,
) -> None:
    eve = await keyturn.register("eve@example.com")
    tokens = await keyturn.login("eve@example.com", resource=ISSUER)
    headers = {"Authorization": f"Bearer {tokens.access_token.reveal()}"}
    path = f"/v1/admin/users/{eve.id}/roles"
    answer = await client.put(path, json={"roles": ["admin"]}, headers=headers)
    assert answer.status_code == 403
    [event] = refusals(keyturn)
    assert event.type is AuditEventType.PERMISSION_DENIED
    assert (event.actor, event.subject, event.session) == (eve.id, eve.id, tokens.session_id)
    assert event.details == {"route": "PUT /v1/admin/users/{user_id}/roles"}
    assert (await client.get("/v1/admin/users", headers=headers)).status_code == 403
    assert refusals(keyturn)[-1].details == {"route": "GET /v1/admin/users"}


async def test_an_attacker_can_not_fill_the_audit_trail_with_rejected_requests(
    connect: Callable[..., httpx.AsyncClient],  # noqa: F811 - the imported fixture
    services: Callable[..., Services],  # noqa: F811 - the imported fixture
) -> None:
    keyturn = InMemoryKeyturn(
        clients=CLIENTS, throttle=LimitsThrottle(ProcessWindows(), DEFAULT_RATES)
    )
    client = connect(app=app_of(keyturn, services))  # noqa: F811 - of another app
    answers = [
        await client.post("/oauth/introspect", data={"token": "x"}, auth=("notes", "guess"))
        for _ in range(50)
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len(refusals(keyturn)) == 20


async def test_a_store_that_is_down_lets_no_attacker_in(
    client: httpx.AsyncClient,  # noqa: F811 - the imported fixture
    keyturn: InMemoryKeyturn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def down(_: RecordRefusalCommand) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(keyturn.record_refusal, "execute", down)
    answer = await client.post("/oauth/introspect", data={"token": "x"}, auth=("notes", "guess"))
    assert answer.status_code == 401
    assert "a refusal is not recorded" in caplog.text
