"""An attacker wants to leave no trace, or a trace that leads to others."""

from collections.abc import Callable

import httpx
import pytest
from tests.delivery.http.conftest import client, connect, services  # noqa: F401 - fixtures

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.events import AuditEventType, Origin
from keyturn.testing.builders import make_principal
from keyturn.testing.in_memory import PASSWORD, InMemoryKeyturn
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.erase_user import EraseUserCommand
from keyturn.use_cases.login_user import LoginUserCommand
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
