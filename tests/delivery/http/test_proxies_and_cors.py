"""Behind a proxy, and called by pages of other origins."""

from collections.abc import Callable

import httpx
import pytest

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn

LOGIN = {"email": ADA, "password": PASSWORD.reveal()}
APP = "https://app.example.net"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        ((), "198.51.100.9", "192.0.2.7"),
        (("203.0.113.0/24",), "198.51.100.9", "192.0.2.7"),
        (("192.0.2.7",), "198.51.100.9", "198.51.100.9"),
        (("192.0.2.0/24",), "6.6.6.6, 198.51.100.9", "198.51.100.9"),
        (("192.0.2.7",), "2001:db8::9", "2001:db8::9"),
        # A zone may be any text: in an audit event, in a mail, in a log.
        (("192.0.2.7",), "fe80::9%call 555-0100 now", "fe80::9"),
        (("192.0.2.7",), "unknown", None),
        (("192.0.2.7",), "'; drop table users", None),
    ],
)
async def test_only_a_trusted_proxy_says_who_its_client_is(
    connect: Callable[..., httpx.AsyncClient],
    keyturn: InMemoryKeyturn,
    proxies: tuple[str, ...],
    forwarded: str,
    seen: str | None,
) -> None:
    await keyturn.register()
    client = connect(options=HttpOptions(trusted_proxies=proxies))
    await client.post("/v1/auth/login", json=LOGIN, headers={"X-Forwarded-For": forwarded})
    (family,) = keyturn.store.families.values()
    assert family.device.ip == seen


@pytest.mark.parametrize(("proxies", "status"), [(("192.0.2.7",), 200), ((), 403)])
async def test_the_own_origin_is_what_a_trusted_proxy_says(
    connect: Callable[..., httpx.AsyncClient],
    keyturn: InMemoryKeyturn,
    proxies: tuple[str, ...],
    status: int,
) -> None:
    await keyturn.register()
    client = connect(
        options=HttpOptions(trusted_proxies=proxies), base_url="http://auth.example.com"
    )
    headers = {"Origin": "https://auth.example.com", "X-Forwarded-Proto": "https"}
    body = {**LOGIN, "transport": "cookie"}
    answer = await client.post("/v1/auth/login", json=body, headers=headers)
    assert answer.status_code == status


async def test_an_allowed_origin_may_read_every_answer_even_a_failed_one(
    connect: Callable[..., httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(options=HttpOptions(allowed_origins=(APP,)))
    monkeypatch.setattr("keyturn.use_cases.login_user.LoginUser.execute", None)
    for path, json in (
        ("/v1/auth/login", LOGIN),
        ("/v1/auth/login", {}),
        ("/v1/nothing", {}),
        ("/v1/auth/login", {"x": "x" * 70_000}),
    ):
        answer = await client.post(path, json=json, headers={"Origin": APP})
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


async def test_a_preflight_allows_what_a_page_needs(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    client = connect(options=HttpOptions(allowed_origins=(APP,)))
    headers = {
        "Origin": APP,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type,x-requested-with",
    }
    assert (await client.options("/v1/users/me", headers=headers)).status_code == 200
    headers["Origin"] = "https://evil.example"
    refused = await client.options("/v1/users/me", headers=headers)
    assert "access-control-allow-origin" not in refused.headers
    assert refused.headers["x-content-type-options"] == "nosniff"


async def test_no_origin_may_read_anything_unless_it_is_allowed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live", headers={"Origin": APP})
    assert "access-control-allow-origin" not in answer.headers


def test_a_wildcard_for_an_origin_is_refused_at_the_start(
    services: Callable[..., Services], keyturn: InMemoryKeyturn
) -> None:
    with pytest.raises(ValueError, match="each allowed origin must be named"):
        build_app(services(keyturn), HttpOptions(allowed_origins=("*",)))
