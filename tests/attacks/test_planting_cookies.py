"""An attacker on a sibling host wants a browser to use a session that the attacker has planted.

And whoever used the browser before wants their session to outlive the next login there.
"""

from collections.abc import Callable
from http.cookies import SimpleCookie

import httpx
import pytest
from tests.delivery.http.conftest import connect, services  # noqa: F401

from keyturn.delivery.http.services import HttpOptions
from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.events import AuditEventType
from keyturn.domain.policies import SessionPolicy
from keyturn.domain.refresh_token_family import RevokeReason
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

NAME = b"__Host-keyturn_refresh"
DEVICE = b"__Host-keyturn_device"
LOGIN = {"email": ADA, "password": PASSWORD.reveal(), "transport": "cookie"}
REFRESH = "/v1/auth/refresh"
LOGOUT = "/v1/auth/logout"
BY_SCRIPT = (b"X-Requested-With", b"x")
EVE = "eve@example.com"

Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn()


@pytest.fixture
def client(connect: Connect) -> httpx.AsyncClient:  # noqa: F811 - the imported fixture
    return connect()


@pytest.fixture
async def mine(keyturn: InMemoryKeyturn) -> TokenPair:
    """The owner's session."""
    await keyturn.register()
    return await keyturn.login()


@pytest.fixture
async def planted(keyturn: InMemoryKeyturn) -> TokenPair:
    """The attacker's own session, which the attacker plants."""
    await keyturn.register(EVE)
    return await keyturn.login(EVE)


def token(pair: TokenPair) -> bytes:
    return pair.refresh_token.reveal().encode()


async def send(
    client: httpx.AsyncClient, path: str, *cookies: bytes, **request: object
) -> httpx.Response:
    """Send a request with these Cookie headers, byte for byte."""
    headers = [BY_SCRIPT, *((b"Cookie", cookie) for cookie in cookies)]
    return await client.post(path, headers=headers, **request)  # type: ignore[arg-type]  # httpx's own types


@pytest.mark.parametrize("planted_first", [True, False])
@pytest.mark.parametrize("headers", [1, 2])
async def test_an_attacker_cannot_plant_a_session_beside_the_owners(
    client: httpx.AsyncClient,
    keyturn: InMemoryKeyturn,
    mine: TokenPair,
    planted: TokenPair,
    *,
    planted_first: bool,
    headers: int,
) -> None:
    pairs = [NAME + b"=" + token(planted), NAME + b"=" + token(mine)]
    if not planted_first:
        pairs.reverse()
    cookies = pairs if headers == 2 else [b"; ".join(pairs)]
    answer = await send(client, REFRESH, *cookies)
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_refresh_cookie")
    assert "set-cookie" not in answer.headers
    # Nothing was used up.
    await keyturn.refresh(mine.refresh_token)


@pytest.mark.parametrize(
    "name",
    [
        b"\xa0__Host-keyturn_refresh",
        b"__Host-keyturn_refresh\xa0",
        b"\xc2\xa0__Host-keyturn_refresh",
        b"\x85__Host-keyturn_refresh",
        b"\x0b__Host-keyturn_refresh",
        b"\x0c__Host-keyturn_refresh",
        b"\x1c__Host-keyturn_refresh",
        b"\xe2\x80\x83__Host-keyturn_refresh",
        b"\xef\xbb\xbf__Host-keyturn_refresh",
        b"__host-keyturn_refresh",
        b"__HOST-KEYTURN_REFRESH",
        b'"__Host-keyturn_refresh"',
        b"__Host-keyturn_refresh\x00",
        b"__Secure-keyturn_refresh",
        b"keyturn_refresh",
        b"=__Host-keyturn_refresh",
        b"$Path=/; x__Host-keyturn_refresh",
        b"%5F_Host-keyturn_refresh",
        b"__Host-keyturn_refresh,",
    ],
)
async def test_an_attacker_cannot_plant_a_session_by_a_name_that_only_looks_like_it(
    client: httpx.AsyncClient, mine: TokenPair, planted: TokenPair, name: bytes
) -> None:
    assert (await send(client, REFRESH, name + b"=" + token(planted))).status_code == 401
    both = b"; ".join([name + b"=" + token(planted), NAME + b"=" + token(mine)])
    answer = await send(client, REFRESH, both)
    assert answer.json()["session_id"] == str(mine.session_id)


@pytest.mark.parametrize(
    "cookie",
    [
        NAME + b"=%s",
        b" \t" + NAME + b" \t= \t%s \t",
        b"a=b;" + NAME + b"=%s;c=d",
        b"a; ; =x; " + NAME + b"=%s; ",
    ],
)
async def test_the_owner_is_recognised_however_the_header_is_spaced(
    client: httpx.AsyncClient, mine: TokenPair, cookie: bytes
) -> None:
    answer = await send(client, REFRESH, cookie % token(mine))
    assert answer.json()["session_id"] == str(mine.session_id)


async def test_a_value_that_is_not_quite_the_token_is_no_token(
    client: httpx.AsyncClient, mine: TokenPair
) -> None:
    """Nothing but spaces and tabs is taken away from a value."""
    for value in (b'"%s"', b"%s\xa0", b"\xa0%s", b"%s\x0c", b"%s,"):
        answer = await send(client, REFRESH, NAME + b"=" + value % token(mine))
        assert answer.status_code == 401


async def test_the_owner_logs_in_whatever_was_planted_and_the_planted_cookies_are_gone(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair, planted: TokenPair
) -> None:
    cookies = [NAME + b"=" + token(planted), NAME + b"=" + token(mine), NAME + b"=", NAME + b"=x"]
    answer = await send(client, "/v1/auth/login", *cookies, json=LOGIN)
    assert answer.status_code == 200
    [line] = [each for each in answer.headers.get_list("set-cookie") if NAME.decode() in each]
    assert "Path=/;" in line
    assert (await send(client, REFRESH, line.partition(";")[0].encode())).status_code == 200
    for pair in (mine, planted):
        assert keyturn.store.families[pair.session_id].revoke_reason is RevokeReason.REPLACED


async def test_the_owner_logs_out_whatever_was_planted_and_every_cookie_is_gone(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair, planted: TokenPair
) -> None:
    cookies = [NAME + b"=x", NAME + b"=" + token(planted), NAME + b"=" + token(mine)]
    answer = await send(client, LOGOUT, *cookies)
    assert answer.status_code == 204
    assert f"{NAME.decode()}=" in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    for pair in (mine, planted):
        assert keyturn.store.families[pair.session_id].revoke_reason is RevokeReason.LOGOUT


@pytest.mark.parametrize("path", [REFRESH, LOGOUT])
async def test_an_attacker_gains_nothing_by_several_cookies_on_a_cross_site_request(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair, path: str
) -> None:
    cookie = b"; ".join([NAME + b"=" + token(mine)] * 2)
    for headers in ([], [BY_SCRIPT, (b"Origin", b"https://evil.example")]):
        answer = await client.post(path, headers=[(b"Cookie", cookie), *headers])
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
    assert keyturn.store.families[mine.session_id].revoked_at is None


async def test_what_was_planted_over_plain_http_is_cleared_from_every_path_and_domain(
    connect: Connect,  # noqa: F811
    keyturn: InMemoryKeyturn,
    mine: TokenPair,
    planted: TokenPair,
) -> None:
    """Without the prefix a parent domain and another path can set the cookie."""
    client = connect(
        options=HttpOptions(secure_cookies=False), base_url="http://auth.dev.example.com"
    )
    for name in (b"keyturn_refresh", b"keyturn_device"):
        cookies = [name + b"=" + token(planted), name + b"=" + token(mine)]
        for path, body in (("/v1/auth/login", LOGIN), (LOGOUT, {})):
            answer = await send(client, path, *cookies, json=body)
            if path == LOGOUT and name == b"keyturn_device":
                continue
            cleared = set()
            for line in answer.headers.get_list("set-cookie"):
                for morsel in SimpleCookie(line).values():
                    if morsel.key == name.decode() and morsel["max-age"] == "0":
                        cleared.add((morsel["domain"], morsel["path"]))
            for domain in ("", "example.com", "dev.example.com", "auth.dev.example.com"):
                for folder in ("/v1", "/v1/", "/v1/auth", "/v1/auth/", REFRESH, LOGOUT):
                    assert (domain, folder) in cleared
            assert ("example.com", "/") in cleared
            assert (("", "/") in cleared) is (path == LOGOUT)
            assert ("com", "/") not in cleared


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "a..b", "é", ""]
)
async def test_a_strange_host_names_no_domain_to_clear(
    connect: Connect,  # noqa: F811
    mine: TokenPair,
    host: str,
) -> None:
    client = connect(options=HttpOptions(secure_cookies=False))
    headers = [BY_SCRIPT, (b"Host", host.encode()), (b"Cookie", b"keyturn_refresh=" + token(mine))]
    answer = await client.post(LOGOUT, headers=headers)
    assert answer.status_code == 204
    assert "domain" not in str(answer.headers.get_list("set-cookie")).lower()


@pytest.mark.parametrize("user", [ADA, EVE])
async def test_whoever_used_the_browser_before_cannot_keep_the_session(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair, user: str
) -> None:
    """The next login by cookie ends it and its access tokens, of the same user or another."""
    await keyturn.register(EVE)
    answer = await send(
        client, "/v1/auth/login", NAME + b"=" + token(mine), json={**LOGIN, "email": user}
    )
    assert answer.status_code == 200
    family = keyturn.store.families[mine.session_id]
    assert family.revoke_reason is RevokeReason.REPLACED
    with pytest.raises(InvalidAccessToken):
        keyturn.authenticate_access.execute(mine.access_token)
    [event] = [
        event
        for event in keyturn.store.audit_events.values()
        if event.type is AuditEventType.SESSION_REVOKED
    ]
    assert (event.session, event.subject) == (mine.session_id, mine.user_id)
    assert event.details == {"reason": RevokeReason.REPLACED}


async def test_an_older_token_of_the_session_before_names_it_too(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair
) -> None:
    await keyturn.refresh(mine.refresh_token)
    await send(client, "/v1/auth/login", NAME + b"=" + token(mine), json=LOGIN)
    assert keyturn.store.families[mine.session_id].revoke_reason is RevokeReason.REPLACED


async def test_an_attacker_ends_nobodys_session_by_a_login_that_fails(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair
) -> None:
    wrong = {**LOGIN, "password": "not the right password"}
    answer = await send(client, "/v1/auth/login", NAME + b"=" + token(mine), json=wrong)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert keyturn.store.families[mine.session_id].revoked_at is None


async def test_an_attacker_ends_nobodys_session_by_a_login_from_another_site(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair
) -> None:
    for origin in ((b"Origin", b"https://evil.example"), (b"Sec-Fetch-Site", b"cross-site")):
        headers = [origin, BY_SCRIPT, (b"Cookie", NAME + b"=" + token(mine))]
        answer = await client.post("/v1/auth/login", headers=headers, json=LOGIN)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
    assert keyturn.store.families[mine.session_id].revoked_at is None


async def test_a_login_by_body_leaves_the_cookies_session_alone(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair
) -> None:
    by_body = {**LOGIN, "transport": "body"}
    answer = await send(client, "/v1/auth/login", NAME + b"=" + token(mine), json=by_body)
    assert "set-cookie" not in answer.headers
    assert keyturn.store.families[mine.session_id].revoked_at is None


async def test_a_login_that_replaces_a_session_evicts_no_other(
    connect: Connect,  # noqa: F811
) -> None:
    keyturn = InMemoryKeyturn(session_policy=SessionPolicy(max_sessions=2))
    await keyturn.register()
    kept = await keyturn.login()
    keyturn.advance(seconds=1)
    replaced = await keyturn.login()
    client = connect(keyturn=keyturn)
    await send(client, "/v1/auth/login", NAME + b"=" + token(replaced), json=LOGIN)
    assert keyturn.store.families[kept.session_id].revoked_at is None
    assert keyturn.store.families[replaced.session_id].revoke_reason is RevokeReason.REPLACED


async def guess(client: httpx.AsyncClient) -> None:
    for _ in range(6):
        await client.post(
            "/v1/auth/login", json={"email": ADA, "password": "not the right password"}
        )


async def test_the_owner_is_known_by_the_device_cookie_and_after_a_logout_too(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    answer = await client.post("/v1/auth/login", json=LOGIN)
    assert (await client.post(LOGOUT, headers={"X-Requested-With": "x"})).status_code == 204
    stranger_cookies = dict(client.cookies)
    client.cookies.clear()
    await guess(client)
    assert (await client.post("/v1/auth/login", json=LOGIN)).status_code == 401
    client.cookies.update(stranger_cookies)
    answer = await client.post("/v1/auth/login", json=LOGIN)
    assert answer.status_code == 200
    assert any(DEVICE.decode() in line for line in answer.headers.get_list("set-cookie"))


async def test_the_owner_is_known_by_the_device_token_in_the_body(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    by_body = {"email": ADA, "password": PASSWORD.reveal()}
    device = (await client.post("/v1/auth/login", json=by_body)).json()["device_token"]
    await guess(client)
    for presented, status in ((None, 401), ("", 401), ("nonsense", 401), (device, 200)):
        answer = await client.post("/v1/auth/login", json={**by_body, "device_token": presented})
        assert answer.status_code == status


async def test_an_attacker_gains_nothing_by_planting_a_second_device_cookie(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, mine: TokenPair
) -> None:
    """Several count as none: the login still works, as one from an unknown device."""
    assert mine.device_token is not None
    mine_cookie = DEVICE + b"=" + mine.device_token.reveal().encode()
    cookies = [mine_cookie, DEVICE + b"=x"]
    assert (await send(client, "/v1/auth/login", *cookies, json=LOGIN)).status_code == 200
    await guess(client)
    assert (await send(client, "/v1/auth/login", *cookies, json=LOGIN)).status_code == 401
    assert (await send(client, "/v1/auth/login", mine_cookie, json=LOGIN)).status_code == 200
