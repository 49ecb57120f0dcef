"""The token endpoint, as a strict OAuth 2 client expects it."""

import base64
from collections.abc import Callable

import httpx
import pytest

from keyturn.delivery.http.services import HttpOptions
from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

TOKEN = "/oauth/token"
LOGIN = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def assert_error(answer: httpx.Response, status: int, error: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


async def test_the_password_grant_logs_in(client: httpx.AsyncClient, ada: TokenPair) -> None:
    answer = await client.post(TOKEN, data=LOGIN)
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["expires_in"] == 900
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    me = await client.get(
        "/v1/users/me", headers={"Authorization": f"Bearer {answer.json()['access_token']}"}
    )
    assert me.json()["email"] == ADA


async def test_the_refresh_token_grant_rotates(client: httpx.AsyncClient, ada: TokenPair) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": ada.refresh_token.reveal()}
    answer = await client.post(TOKEN, data=form)
    assert answer.status_code == 200
    assert answer.json()["refresh_token"] != form["refresh_token"]


async def test_swaggers_empty_client_counts_as_none(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    answer = await client.post(TOKEN, data=LOGIN, headers={"Authorization": "Basic Og=="})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        (basic("keyturn:"), {}),
        ({}, {"client_id": "keyturn"}),
        (basic("keyturn:"), {"client_id": "keyturn"}),
        ({}, {"client_id": "", "client_secret": "", "scope": ""}),
        ({}, {"unknown": "parameter"}),
    ],
)
async def test_a_public_client_may_be_named_or_not(
    client: httpx.AsyncClient, ada: TokenPair, headers: dict[str, str], form: dict[str, str]
) -> None:
    answer = await client.post(TOKEN, data={**LOGIN, **form}, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        (basic("nobody:"), {}),
        ({}, {"client_id": "nobody"}),
        (basic("keyturn:guess"), {}),
        ({}, {"client_secret": "guess"}),
        (basic("keyturn"), {}),
        ({"Authorization": "Basic ???"}, {}),
        ({"Authorization": "Basic /w=="}, {}),
        ({"Authorization": "Basic é".encode()}, {}),
        ({"Authorization": "Bearer token"}, {}),
    ],
)
async def test_an_unknown_client_is_refused_before_anything_else(
    client: httpx.AsyncClient, headers: dict[str, str | bytes], form: dict[str, str]
) -> None:
    raw = {
        name.encode(): text.encode() if isinstance(text, str) else text
        for name, text in headers.items()
    }
    answer = await client.post(TOKEN, data={"grant_type": "password", **form}, headers=raw)
    assert_error(answer, 401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


async def test_two_names_for_one_client_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(TOKEN, data={**LOGIN, "client_id": "app"}, headers=basic("keyturn:"))
    assert_error(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "PASSWORD"}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "invalid_request"),
        ({"grant_type": "password", "username": ADA}, "invalid_request"),
        ({"grant_type": "password", "username": ADA, "password": ""}, "invalid_request"),
        ({**LOGIN, "password": "not her password"}, "invalid_grant"),
        ({**LOGIN, "username": "nobody@example.com"}, "invalid_grant"),
        ({**LOGIN, "username": "nobody"}, "invalid_grant"),
        ({**LOGIN, "username": "a" * 5000}, "invalid_grant"),
        ({**LOGIN, "password": "x" * 5000}, "invalid_grant"),
        ({**LOGIN, "password": "with a \0 inside of it"}, "invalid_grant"),
        ({**LOGIN, "scope": "users:read"}, "invalid_scope"),
        ({**LOGIN, "scope": "   "}, "invalid_scope"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, "invalid_grant"),
    ],
)
async def test_every_mistake_has_its_error(
    client: httpx.AsyncClient, ada: TokenPair, form: dict[str, str], error: str
) -> None:
    answer = await client.post(TOKEN, data=form, headers=FORM)
    assert_error(answer, 400, error)
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    "content",
    [
        b"grant_type=password&grant_type=password",
        b"grant_type=password&username=a@b.example&password=x&unknown=1&unknown=1",
        b"grant_type=password&username=a&password=%ff",
        b"grant_type=password&username=a&password=\xff",
        b"&".join(b"p%d=x" % number for number in range(51)),
    ],
)
async def test_a_form_that_is_not_clear_is_refused(
    client: httpx.AsyncClient, content: bytes
) -> None:
    assert_error(await client.post(TOKEN, content=content, headers=FORM), 400, "invalid_request")


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "application/json"}, {"Content-Type": "multipart/form-data"}]
)
async def test_the_body_must_be_a_form(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.post(TOKEN, content=b"grant_type=password", headers=headers)
    assert_error(answer, 400, "invalid_request")


async def test_parameters_in_the_query_do_not_count(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    answer = await client.post(TOKEN, params=LOGIN, headers=FORM)
    assert_error(answer, 400, "invalid_request")


async def test_a_password_of_any_script_logs_in(client: httpx.AsyncClient) -> None:
    await client.post("/v1/auth/register", json={"email": ADA, "password": "пароль из многих слов"})
    raw = f"grant_type=password&username={ADA}&password=пароль+из+многих+слов"
    encoded = str(httpx.QueryParams({**LOGIN, "password": "пароль из многих слов"}))
    for content in (raw, encoded):
        answer = await client.post(
            TOKEN,
            content=content.encode(),
            headers={"Content-Type": "Application/X-WWW-Form-urlencoded; charset=utf-8"},
        )
        assert answer.status_code == 200


async def test_a_disabled_user_gets_no_tokens(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    await keyturn.set_status(keyturn.store.users[ada.user_id], UserStatus.DISABLED)
    assert_error(await client.post(TOKEN, data=LOGIN), 400, "invalid_grant")


async def test_a_scope_limits_the_tokens_and_may_be_narrowed_but_not_widened(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    both = "profile:write profile:read"
    first = (await client.post(TOKEN, data={**LOGIN, "scope": f"{both} users:read"})).json()
    assert first["scope"] == "profile:read profile:write"
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    narrowed = (await client.post(TOKEN, data={**form, "scope": "profile:read"})).json()
    assert narrowed["scope"] == "profile:read"
    form["refresh_token"] = narrowed["refresh_token"]
    widened = await client.post(TOKEN, data={**form, "scope": "profile:read users:read"})
    assert_error(widened, 400, "invalid_scope")


async def test_a_refresh_token_works_only_for_its_client(
    connect: Callable[..., httpx.AsyncClient], ada: TokenPair
) -> None:
    client = connect(options=HttpOptions(public_clients=frozenset({"keyturn", "app"})))
    own = (await client.post(TOKEN, data={**LOGIN, "client_id": "app"})).json()["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": own}
    assert_error(await client.post(TOKEN, data=form), 400, "invalid_grant")
    assert (await client.post(TOKEN, data={**form, "client_id": "app"})).status_code == 200


async def test_the_password_grant_can_be_turned_off(
    connect: Callable[..., httpx.AsyncClient], ada: TokenPair
) -> None:
    client = connect(options=HttpOptions(password_grant=False))
    assert_error(await client.post(TOKEN, data=LOGIN), 400, "unsupported_grant_type")
    form = {"grant_type": "refresh_token", "refresh_token": ada.refresh_token.reveal()}
    assert (await client.post(TOKEN, data=form)).status_code == 200


async def test_a_store_that_is_down_says_so(
    client: httpx.AsyncClient, ada: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(
        "keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", unavailable
    )
    answer = await client.post(TOKEN, data=LOGIN)
    assert_error(answer, 503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_errors_around_the_route_are_told_the_same_way(client: httpx.AsyncClient) -> None:
    assert_error(await client.get(TOKEN), 405, "invalid_request")
    assert_error(await client.post("/oauth/nothing"), 404, "invalid_request")
    large = await client.post(TOKEN, content=b"x" * 70_000, headers=FORM)
    assert_error(large, 413, "invalid_request")


async def test_what_nobody_expected_is_told_the_same_way(
    client: httpx.AsyncClient, ada: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.delivery.http.routes_oauth._log_in", None)
    assert_error(await client.post(TOKEN, data=LOGIN), 500, "server_error")
