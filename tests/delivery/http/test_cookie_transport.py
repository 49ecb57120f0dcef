"""The refresh token in a cookie, and who may send it."""

from collections.abc import Callable
from http.cookies import Morsel, SimpleCookie

import httpx
import pytest

from keyturn.delivery.http.services import HttpOptions
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn

LOGIN = {"email": ADA, "password": PASSWORD.reveal(), "transport": "cookie"}
REFRESH = "/v1/auth/refresh"
LOGOUT = "/v1/auth/logout"
OWN = "https://auth.example.com"
ALLOWED = "https://app.example.net"
BY_SCRIPT = {"X-Requested-With": "keyturn"}


@pytest.fixture
async def browser(
    connect: Callable[..., httpx.AsyncClient], keyturn: InMemoryKeyturn
) -> httpx.AsyncClient:
    """A client that has logged in and keeps the cookie, as a browser does."""
    await keyturn.register()
    client = connect(options=HttpOptions(allowed_origins=(ALLOWED,)))
    answer = await client.post("/v1/auth/login", json=LOGIN)
    assert answer.status_code == 200
    return client


async def test_a_login_by_cookie_keeps_the_refresh_token_out_of_the_body(
    connect: Callable[..., httpx.AsyncClient], keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    answer = await connect().post("/v1/auth/login", json=LOGIN)
    assert not {"refresh_token", "device_token"} & answer.json().keys()
    assert answer.json()["refresh_expires_in"] == 7 * 24 * 3600
    for name, days in (("__Host-keyturn_refresh", 7), ("__Host-keyturn_device", 180)):
        cookie = _set_cookie(answer, name)
        assert cookie.value
        assert cookie["httponly"] is True
        assert cookie["secure"] is True
        assert cookie["samesite"].lower() == "lax"
        assert cookie["path"] == "/"
        assert cookie["max-age"] == str(days * 24 * 3600)
        assert cookie["domain"] == ""


async def test_plain_http_development_gets_a_cookie_that_is_not_secure(
    connect: Callable[..., httpx.AsyncClient], keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    client = connect(options=HttpOptions(secure_cookies=False), base_url="http://127.0.0.1:8000")
    answer = await client.post("/v1/auth/login", json=LOGIN)
    for name in ("keyturn_refresh", "keyturn_device"):
        assert not _set_cookie(answer, name)["secure"]
    assert (await client.post(REFRESH, headers=BY_SCRIPT)).status_code == 200


async def test_a_refresh_by_cookie_answers_by_cookie(browser: httpx.AsyncClient) -> None:
    before = browser.cookies["__Host-keyturn_refresh"]
    answer = await browser.post(REFRESH, headers=BY_SCRIPT)
    assert answer.json()["outcome"] == "rotated"
    assert "refresh_token" not in answer.json()
    assert browser.cookies["__Host-keyturn_refresh"] != before


async def test_a_token_in_the_body_wins_over_the_cookie(
    browser: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    other = await keyturn.login()
    answer = await browser.post(REFRESH, json={"refresh_token": other.refresh_token.reveal()})
    assert answer.json()["session_id"] == str(other.session_id)
    assert "refresh_token" in answer.json()
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", [REFRESH, LOGOUT])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, False),
        (BY_SCRIPT, True),
        ({**BY_SCRIPT, "Origin": OWN}, True),
        ({**BY_SCRIPT, "Origin": f"{OWN}:443"}, False),
        ({**BY_SCRIPT, "Origin": "http://auth.example.com"}, False),
        ({**BY_SCRIPT, "Origin": "https://evil.example"}, False),
        ({**BY_SCRIPT, "Origin": "https://auth.example.com.evil.example"}, False),
        ({**BY_SCRIPT, "Origin": "null"}, False),
        ({**BY_SCRIPT, "Origin": ""}, False),
        ({**BY_SCRIPT, "Origin": ALLOWED}, True),
        ({"Origin": OWN}, False),
        ({"Origin": ALLOWED}, False),
        ({**BY_SCRIPT, "Sec-Fetch-Site": "same-origin"}, True),
        ({**BY_SCRIPT, "Sec-Fetch-Site": "none"}, True),
        ({**BY_SCRIPT, "Sec-Fetch-Site": "same-site"}, False),
        ({**BY_SCRIPT, "Sec-Fetch-Site": "cross-site"}, False),
        ({**BY_SCRIPT, "Sec-Fetch-Site": "nonsense"}, False),
        ({**BY_SCRIPT, "Origin": OWN, "Sec-Fetch-Site": "same-origin"}, True),
        ({**BY_SCRIPT, "Origin": OWN, "Sec-Fetch-Site": "cross-site"}, False),
        ({**BY_SCRIPT, "Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"}, True),
        ({**BY_SCRIPT, "Origin": ALLOWED, "Sec-Fetch-Site": "same-site"}, True),
        ({**BY_SCRIPT, "Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
    ],
)
async def test_a_request_with_the_cookie_must_show_where_it_comes_from(
    browser: httpx.AsyncClient, path: str, headers: dict[str, str], allowed: bool
) -> None:
    answer = await browser.post(path, headers=headers)
    if allowed:
        assert answer.status_code in (200, 204)
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
        assert "set-cookie" not in answer.headers
        # Nothing has happened: the session is still good for its owner.
        assert (await browser.post(REFRESH, headers=BY_SCRIPT)).status_code == 200


async def test_two_origins_are_none(browser: httpx.AsyncClient) -> None:
    headers = [("X-Requested-With", "x"), ("Origin", OWN), ("Origin", OWN)]
    assert (await browser.post(REFRESH, headers=headers)).status_code == 403


async def test_an_access_token_beside_the_cookie_makes_up_for_nothing(
    browser: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    bearer = {"Authorization": f"Bearer {(await keyturn.login()).access_token.reveal()}"}
    assert (await browser.post(LOGOUT, headers=bearer)).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": OWN}, 200),
        ({"Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_no_other_site_can_log_its_visitor_in(
    browser: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await browser.post("/v1/auth/login", json=LOGIN, headers=headers)
    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) is (status == 200)


async def test_no_form_can_log_anybody_in(browser: httpx.AsyncClient) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await browser.post(
            "/v1/auth/login",
            content=httpx.Request("POST", OWN, json=LOGIN).content,
            headers={"Content-Type": content_type},
        )
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_logout_ends_the_session_and_clears_the_cookie(browser: httpx.AsyncClient) -> None:
    token = browser.cookies["__Host-keyturn_refresh"]
    answer = await browser.post(LOGOUT, headers=BY_SCRIPT)
    assert answer.status_code == 204
    cookie = _set_cookie(answer, "__Host-keyturn_refresh")
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/")
    assert cookie["secure"] is True
    assert "__Host-keyturn_refresh" not in browser.cookies
    assert (await browser.post(REFRESH, json={"refresh_token": token})).status_code == 401


async def test_a_logout_clears_the_cookie_even_if_its_token_is_no_good(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    client = connect()
    headers = {**BY_SCRIPT, "Cookie": "__Host-keyturn_refresh=nonsense"}
    answer = await client.post(LOGOUT, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")
    assert _set_cookie(answer, "__Host-keyturn_refresh")["max-age"] == "0"


async def test_a_logout_with_the_token_in_the_body_clears_the_cookie_too(
    browser: httpx.AsyncClient,
) -> None:
    token = browser.cookies["__Host-keyturn_refresh"]
    answer = await browser.post(LOGOUT, json={"refresh_token": token})
    assert answer.status_code == 204
    assert "__Host-keyturn_refresh" not in browser.cookies


async def test_logging_out_everywhere_clears_the_cookie(
    browser: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    bearer = {"Authorization": f"Bearer {(await keyturn.login()).access_token.reveal()}"}
    answer = await browser.post("/v1/auth/logout-all", headers=bearer)
    assert answer.status_code == 204
    assert "__Host-keyturn_refresh" not in browser.cookies


async def test_the_cookie_is_not_touched_when_there_is_none(
    browser: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    token = (await keyturn.login()).refresh_token.reveal()
    browser.cookies.clear()
    answer = await browser.post(LOGOUT, json={"refresh_token": token})
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("value", ["", '""', "a=b", "\\303\\251", "é", "x" * 4000])
async def test_a_cookie_of_nonsense_is_a_bad_token_and_nothing_worse(
    connect: Callable[..., httpx.AsyncClient], value: str
) -> None:
    cookie = f"__Host-keyturn_refresh={value}".encode()
    headers = {b"X-Requested-With": b"x", b"Cookie": cookie}
    answer = await connect().post(REFRESH, headers=headers)
    assert answer.status_code == 401


def _set_cookie(answer: httpx.Response, name: str) -> Morsel[str]:
    lines = answer.headers.get_list("set-cookie")
    [morsel] = [SimpleCookie(line)[name] for line in lines if line.startswith(f"{name}=")]
    return morsel
