"""Making an account and logging in."""

from collections.abc import Callable
from uuid import UUID

import httpx
import pytest
from tests.delivery.http.conftest import but_for_its_id

from keyturn.domain.errors import HashingBusy, StoreUnavailable
from keyturn.domain.secret import Secret
from keyturn.domain.source import UNKNOWN_SOURCE, Source
from keyturn.domain.user import UserStatus
from keyturn.testing.doubles import PlainPasswordHasher
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

LOGIN = {"email": ADA, "password": PASSWORD.reveal()}


async def test_registering_answers_with_the_user_and_no_secret(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/auth/register", json={**LOGIN, "display_name": " Ada "})
    assert answer.status_code == 201
    assert answer.json() == {
        "id": "10000000-0000-0000-0000-000000000001",
        "email": ADA,
        "email_verified": False,
        "display_name": "Ada",
        "status": "active",
        "roles": ["user"],
        "permissions": ["profile:read", "profile:write"],
        "created_at": "2030-01-01T12:00:00Z",
        "last_login_at": None,
        "deletion_due_at": None,
    }


async def test_an_address_can_be_registered_once_however_it_is_written(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await client.post("/v1/auth/register", json=LOGIN)
    body = {"email": "ADA@EXAMPLE.com", "password": "another one altogether"}
    again = await client.post("/v1/auth/register", json=body)
    # Nobody is told here, but nobody else gets in either.
    assert again.status_code == 201
    assert [user.email for user in keyturn.store.users.values()] == [ADA]
    assert (await client.post("/v1/auth/login", json=body)).status_code == 401
    assert (await client.post("/v1/auth/login", json=LOGIN)).status_code == 200


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "password_too_short"),
        ("x" * 1025, "password_too_long"),
        ("Password Password", "password_too_common"),
        ("with a \0 inside of it", "password_not_text"),
    ],
)
async def test_a_password_that_the_policy_refuses_is_named_by_its_code_and_field(
    client: httpx.AsyncClient, password: str, code: str
) -> None:
    answer = await client.post("/v1/auth/register", json={"email": ADA, "password": password})
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert [error["field"] for error in answer.json()["errors"]] == ["password"]


@pytest.mark.parametrize(
    "email",
    ["", "ada", "ada@", "@example.com", "ada@localhost", "a b@example.com", "ada@exa_mple.com",
     "ada@example.com\0", "ada@[192.0.2.7]", "Ada <ada@example.com>", f"{'a' * 250}@example.com"],
)  # fmt: skip
async def test_what_is_no_address_can_not_be_registered(
    client: httpx.AsyncClient, email: str
) -> None:
    answer = await client.post("/v1/auth/register", json={**LOGIN, "email": email})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == ["email"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "two\nlines", "\x1b[31mred", "\u202eadA"])
async def test_a_display_name_is_one_line_that_can_be_printed(
    client: httpx.AsyncClient, name: str
) -> None:
    answer = await client.post("/v1/auth/register", json={**LOGIN, "display_name": name})
    assert [error["field"] for error in answer.json()["errors"]] == ["display_name"]


@pytest.mark.parametrize("name", ["Ada Lovelace", "می\u200cخواهم", "👩\u200d💻", "林 愛"])
async def test_a_display_name_may_be_of_any_script(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/v1/auth/register", json={**LOGIN, "display_name": name})
    assert answer.json()["display_name"] == name


async def test_a_login_hands_out_all_that_a_client_needs(client: httpx.AsyncClient) -> None:
    await client.post("/v1/auth/register", json=LOGIN)
    answer = await client.post("/v1/auth/login", json=LOGIN)
    assert answer.status_code == 200
    tokens = answer.json()
    assert set(tokens) == {
        "access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in",
        "refresh_after", "session_id", "device_token",
    }  # fmt: skip
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 900
    assert tokens["refresh_after"] == 720
    assert tokens["refresh_expires_in"] == 7 * 24 * 3600
    assert str(UUID(tokens["session_id"])) == tokens["session_id"]
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


async def test_every_bad_login_is_answered_alike(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    disabled = await keyturn.register("eve@example.com")
    await keyturn.set_status(disabled, UserStatus.DISABLED)
    answers = [
        await client.post(
            "/v1/auth/login",
            json={"email": email, "password": password},
        )
        for email, password in (
            ("nobody@example.com", PASSWORD.reveal()),
            (ADA, "not her password"),
            ("eve@example.com", PASSWORD.reveal()),
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({but_for_its_id(answer) for answer in answers}) == 1
    assert answers[0].json()["code"] == "invalid_credentials"
    assert answers[0].headers["www-authenticate"] == 'Bearer realm="keyturn"'
    assert answers[0].headers["cache-control"] == "no-store"


async def test_an_address_that_an_operator_registered_can_log_in_whatever_it_looks_like(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register("admin@localhost")
    answer = await client.post("/v1/auth/login", json={**LOGIN, "email": "Admin@localhost"})
    assert answer.status_code == 200


async def test_both_spellings_of_an_international_domain_log_in(client: httpx.AsyncClient) -> None:
    written = "ada@bücher.example"
    await client.post("/v1/auth/register", json={**LOGIN, "email": written})
    for email in (written, "ada@xn--bcher-kva.example", "ada@BÜCHER.example"):
        answer = await client.post("/v1/auth/login", json={**LOGIN, "email": email})
        assert answer.status_code == 200, email


async def test_what_can_be_nobodys_address_is_said_to_be_none(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/auth/login", json={**LOGIN, "email": "ada"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_email")


async def test_a_session_remembers_the_device_that_it_was_started_on(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    await client.post(
        "/v1/auth/login",
        json={**LOGIN, "device_name": "Ada's phone"},
        headers={"User-Agent": "Browser\t\x7f/1 " + "x" * 1000},
    )
    (family,) = keyturn.store.families.values()
    assert family.device.name == "Ada's phone"
    assert family.device.ip == "192.0.2.7"
    assert family.device.user_agent == ("Browser/1 " + "x" * 1000)[:512]


async def test_an_address_that_is_none_is_not_stored(
    connect: Callable[..., httpx.AsyncClient], keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    await connect(address="unix socket").post("/v1/auth/login", json=LOGIN)
    (family,) = keyturn.store.families.values()
    assert family.device.ip is None


@pytest.mark.parametrize("name", ["", "x" * 101, "a\tb", 7])
async def test_a_device_name_is_one_short_line(client: httpx.AsyncClient, name: object) -> None:
    answer = await client.post("/v1/auth/login", json={**LOGIN, "device_name": name})
    assert [error["field"] for error in answer.json()["errors"]] == ["device_name"]


async def test_the_transport_is_said_and_never_guessed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/auth/login", json={**LOGIN, "transport": "header"})
    assert [error["field"] for error in answer.json()["errors"]] == ["transport"]


class BusyHasher(PlainPasswordHasher):
    async def verify(
        self, password_hash: str | None, password: Secret, *, source: Source = UNKNOWN_SOURCE
    ) -> bool:
        raise HashingBusy


async def test_too_many_logins_at_once_are_told_to_come_back(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    client = connect(keyturn=InMemoryKeyturn(hasher=BusyHasher()))
    answer = await client.post("/v1/auth/login", json=LOGIN)
    assert (answer.status_code, answer.json()["code"]) == (503, "hashing_busy")
    assert answer.headers["retry-after"] == "1"


async def test_a_store_that_is_down_is_never_a_wrong_password(
    client: httpx.AsyncClient,
    keyturn: InMemoryKeyturn,
    ada: TokenPair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unavailable(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(
        "keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", unavailable
    )
    bearer = {"Authorization": f"Bearer {ada.access_token.reveal()}"}
    refresh = {"refresh_token": ada.refresh_token.reveal()}
    answers = [
        await client.post("/v1/auth/login", json=LOGIN),
        await client.post("/v1/auth/refresh", json=refresh),
        await client.post("/v1/auth/logout", json=refresh),
        await client.get("/v1/users/me", headers=bearer),
        await client.get("/v1/sessions", headers=bearer),
        await client.delete("/v1/sessions/30000000-0000-0000-0000-000000000001", headers=bearer),
    ]
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"store_unavailable"}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
