"""Asking who an access token belongs to, as a proxy does."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from tests.delivery.http.conftest import but_for_its_id

from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.policies import ClaimsPolicy
from keyturn.domain.user import Role
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

VERIFY = "/v1/auth/verify"


async def test_a_good_token_says_whose_it_is(
    client: httpx.AsyncClient, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    answer = await client.get(VERIFY, headers=as_ada)
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["x-auth-subject"] == str(ada.user_id)
    assert answer.headers["x-auth-session"] == str(ada.session_id)
    assert answer.headers["x-auth-roles"] == "user"
    assert answer.headers["x-auth-permissions"] == "profile:read,profile:write"


async def test_it_asks_no_database(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_ada: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async def fail(*_: object) -> None:
        raise AssertionError("the store was opened")

    monkeypatch.setattr("keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", fail)
    assert (await client.get(VERIFY, headers=as_ada)).status_code == 204


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("role=user", 204),
        ("role=admin", 403),
        ("role=user&role=admin", 403),
        ("permission=profile:read", 204),
        ("permission=profile%3Aread&role=user", 204),
        ("permission=users:read", 403),
        ("role=", 403),
        ("role", 403),
        ("roles=admin", 422),
        ("role=user&scope=x", 422),
        ("%ff=%ff", 422),
    ],
)
async def test_the_proxy_may_demand_roles_and_permissions(
    client: httpx.AsyncClient, as_ada: dict[str, str], query: str, status: int
) -> None:
    answer = await client.get(f"{VERIFY}?{query}", headers=as_ada)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "insufficient_scope"
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_a_limited_token_has_only_what_its_scope_leaves(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    limited = await client.post(
        "/oauth/token",
        data={
            "grant_type": "password",
            "username": "ada@example.com",
            "password": "correct horse battery staple",
            "scope": "profile:read",
        },
    )
    bearer = {"Authorization": f"Bearer {limited.json()['access_token']}"}
    answer = await client.get(VERIFY, headers=bearer)
    assert answer.headers["x-auth-permissions"] == "profile:read"
    refused = await client.get(f"{VERIFY}?permission=profile:write", headers=bearer)
    assert refused.status_code == 403


async def test_a_name_can_not_pass_for_two_or_break_the_header(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    keyturn.store.roles["user"] = Role("user", frozenset({"a,admin", "b\r\nX-Evil: 1", "ü"}))
    await keyturn.register()
    pair = await keyturn.login()
    answer = await client.get(
        VERIFY, headers={"Authorization": f"Bearer {pair.access_token.reveal()}"}
    )
    permissions = answer.headers["x-auth-permissions"].split(",")
    assert permissions == ["a%2Cadmin", "b%0D%0AX-Evil:%201", "%C3%BC"]


async def test_what_the_token_does_not_say_is_empty_and_never_missing(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    tells_nothing = InMemoryKeyturn(claims_policy=ClaimsPolicy.NONE)
    await tells_nothing.register()
    token = (await tells_nothing.login()).access_token.reveal()
    answer = await connect(keyturn=tells_nothing).get(
        VERIFY, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 204
    assert answer.headers["x-auth-roles"] == ""
    assert answer.headers["x-auth-permissions"] == ""


async def test_without_a_token_authentication_is_required(client: httpx.AsyncClient) -> None:
    answer = await client.get(VERIFY)
    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")
    assert answer.headers["www-authenticate"] == 'Bearer realm="keyturn"'


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_may_be_written_in_any_case(
    client: httpx.AsyncClient, ada: TokenPair, scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} {ada.access_token.reveal()} "}
    assert (await client.get(VERIFY, headers=headers)).status_code == 204


@pytest.mark.parametrize(
    "value",
    [b"", b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer a,b", b"Basic YTpi", b"nonsense",
     "Bearer tökén".encode(), b"Bearer \xff\xfe", b"Bearer \x00", b"Bearer " + b"x" * 20000],
)  # fmt: skip
async def test_a_malformed_header_is_a_bad_token(client: httpx.AsyncClient, value: bytes) -> None:
    answer = await client.get(VERIFY, headers={b"Authorization": value})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="keyturn", error="invalid_token"')


async def test_two_tokens_are_no_token(client: httpx.AsyncClient, as_ada: dict[str, str]) -> None:
    twice = [("Authorization", as_ada["Authorization"])] * 2
    assert (await client.get(VERIFY, headers=twice)).status_code == 401


async def test_expired_and_wrong_tokens_are_refused_alike(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    of_wrong_kind = {"Authorization": f"Bearer {ada.refresh_token.reveal()}"}
    wrong = await client.get(VERIFY, headers=of_wrong_kind)
    keyturn.advance(minutes=15)
    expired = await client.get(VERIFY, headers=as_ada)
    assert wrong.status_code == expired.status_code == 401
    assert but_for_its_id(wrong) == but_for_its_id(expired)


@pytest.mark.parametrize("policy", [ClaimsPolicy.NONE, ClaimsPolicy.ROLES])
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("role=admin", 204),
        ("role=admin&permission=users:read", 204),
        ("permission=users:read&permission=audit:read", 204),
        ("role=user", 403),
        ("permission=posts:delete", 403),
        ("permission=users:read&role=user", 403),
        ("permissions=users:read", 422),
    ],
)
async def test_what_is_demanded_and_not_told_is_looked_up(
    connect: Callable[..., httpx.AsyncClient], enter: Callable[..., Awaitable[TokenPair]],
    policy: ClaimsPolicy, query: str, status: int,
) -> None:  # fmt: skip
    keyturn = InMemoryKeyturn(claims_policy=policy)
    pair = await enter("root@example.com", "admin", keyturn=keyturn, resource=None)
    headers = {"Authorization": f"Bearer {pair.access_token.reveal()}"}
    answer = await connect(keyturn=keyturn).get(f"{VERIFY}?{query}", headers=headers)
    assert answer.status_code == status
    if status == 204:
        # The headers say what the token tells, whatever was demanded.
        assert answer.headers["x-auth-roles"] == ("admin" if policy is ClaimsPolicy.ROLES else "")
        assert answer.headers["x-auth-permissions"] == ""


@pytest.mark.parametrize("policy", list(ClaimsPolicy))
async def test_without_a_demand_nothing_is_ever_looked_up(
    connect: Callable[..., httpx.AsyncClient], enter: Callable[..., Awaitable[TokenPair]],
    policy: ClaimsPolicy, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    keyturn = InMemoryKeyturn(claims_policy=policy)
    pair = await enter("root@example.com", "admin", keyturn=keyturn, resource=None)
    headers = {"Authorization": f"Bearer {pair.access_token.reveal()}"}

    async def fail(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", fail)
    client = connect(keyturn=keyturn)
    assert (await client.get(VERIFY, headers=headers)).status_code == 204
    demanded = await client.get(f"{VERIFY}?role=admin&permission=users:read", headers=headers)
    if policy is ClaimsPolicy.ROLES_AND_PERMISSIONS:
        assert demanded.status_code == 204
    else:
        assert (demanded.status_code, demanded.json()["code"]) == (503, "store_unavailable")
        assert demanded.headers["retry-after"] == "1"


async def test_a_limited_token_has_no_role(
    client: httpx.AsyncClient, enter: Callable[..., Awaitable[TokenPair]]
) -> None:
    scope = frozenset({"profile:read"})
    limited = await enter("root@example.com", "admin", scope=scope, resource=None)
    headers = {"Authorization": f"Bearer {limited.access_token.reveal()}"}
    answer = await client.get(VERIFY, headers=headers)
    assert (answer.status_code, answer.headers["x-auth-roles"]) == (204, "")
    assert (await client.get(f"{VERIFY}?role=admin", headers=headers)).status_code == 403
