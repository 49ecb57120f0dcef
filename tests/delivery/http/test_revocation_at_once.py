"""What ends a session or changes its rights kills the access tokens of before, at once."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest

from keyturn.domain.policies import ClaimsPolicy
from keyturn.testing.in_memory import ADA, ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

Enter = Callable[..., Awaitable[TokenPair]]

# All tokens here are for the issuer, so that administration accepts them, too.
VERIFY = f"/v1/auth/verify?audience={ISSUER}"
NEW_PASSWORD = "seven quiet glaciers"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Session:
    """A client's tokens."""

    def __init__(self, client: httpx.AsyncClient, pair: TokenPair) -> None:
        self.client = client
        self.user_id = pair.user_id
        self.id = pair.session_id
        self.access_token = pair.access_token.reveal()
        self.refresh_token = pair.refresh_token.reveal()

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.access_token)

    async def lives(self) -> bool:
        """Whether the access token is good; everywhere, or nowhere."""
        answers = [
            await self.client.get(path, headers=self.headers)
            for path in (VERIFY, "/v1/users/me", "/v1/sessions")
        ]
        statuses = {answer.is_success or answer.json()["code"] for answer in answers}
        assert statuses in ({True}, {"invalid_token"})
        return statuses == {True}

    async def refreshes(self) -> bool:
        """Whether a refresh gives new tokens; takes them."""
        body = {"refresh_token": self.refresh_token, "resource": ISSUER}
        answer = await self.client.post("/v1/auth/refresh", json=body)
        if answer.status_code == 200:
            self.access_token = answer.json()["access_token"]
            self.refresh_token = answer.json()["refresh_token"]
        return answer.status_code == 200

    async def told(self) -> tuple[str, str]:
        """The roles and permissions that a proxy is told."""
        answer = await self.client.get(VERIFY, headers=self.headers)
        return answer.headers["x-auth-roles"], answer.headers["x-auth-permissions"]


@pytest.fixture
async def ada(keyturn: InMemoryKeyturn) -> TokenPair:
    """The tokens of a user who has registered and logged in, for the issuer."""
    await keyturn.register(verified=True)
    return await keyturn.login(resource=ISSUER)


@pytest.fixture
def hers(client: httpx.AsyncClient, ada: TokenPair) -> Session:
    return Session(client, ada)


@pytest.fixture
async def elsewhere(client: httpx.AsyncClient, keyturn: InMemoryKeyturn, hers: Session) -> Session:
    """The same user on another device."""
    session = Session(client, await keyturn.login(resource=ISSUER))
    assert session.user_id == hers.user_id
    return session


@pytest.mark.parametrize("by", ["access token", "refresh token", "both"])
async def test_logging_out_ends_this_session(
    client: httpx.AsyncClient, hers: Session, elsewhere: Session, by: str
) -> None:
    body = None if by == "access token" else {"refresh_token": hers.refresh_token}
    headers = {} if by == "refresh token" else hers.headers
    assert (await client.post("/v1/auth/logout", json=body, headers=headers)).status_code == 204
    assert not await hers.lives()
    assert not await hers.refreshes()
    assert await elsewhere.lives()
    assert await elsewhere.refreshes()


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/auth/logout-all"), ("DELETE", "/v1/sessions")]
)
async def test_logging_out_everywhere_ends_every_session(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, hers: Session, elsewhere: Session,
    method: str, path: str,
) -> None:  # fmt: skip
    assert (await client.request(method, path, headers=hers.headers)).status_code == 204
    for session in (hers, elsewhere):
        assert not await session.lives()
        assert not await session.refreshes()
    assert await Session(client, await keyturn.login(resource=ISSUER)).lives()


async def test_ending_the_other_sessions_leaves_this_one(
    client: httpx.AsyncClient, hers: Session, elsewhere: Session
) -> None:
    await client.delete("/v1/sessions?keep_current=true", headers=hers.headers)
    assert (await hers.lives(), await hers.refreshes()) == (True, True)
    assert (await elsewhere.lives(), await elsewhere.refreshes()) == (False, False)


async def test_ending_one_session_leaves_the_others(
    client: httpx.AsyncClient, hers: Session, elsewhere: Session
) -> None:
    await client.delete(f"/v1/sessions/{elsewhere.id}", headers=hers.headers)
    assert (await hers.lives(), await hers.refreshes()) == (True, True)
    assert (await elsewhere.lives(), await elsewhere.refreshes()) == (False, False)


async def test_a_login_too_many_ends_the_session_that_was_used_least(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, hers: Session
) -> None:
    login = {"email": ADA, "password": PASSWORD.reveal()}
    for _ in range(keyturn.session_policy.max_sessions):
        assert await hers.lives()
        keyturn.advance(seconds=1)
        assert (await client.post("/v1/auth/login", json=login)).status_code == 200
    assert (await hers.lives(), await hers.refreshes()) == (False, False)


async def test_a_stolen_refresh_token_costs_both_their_access_tokens(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, hers: Session
) -> None:
    thief = Session(client, ada)
    assert await thief.refreshes()
    keyturn.advance(minutes=1)
    assert not await hers.refreshes()
    assert (await hers.lives(), await thief.lives()) == (False, False)


async def test_a_new_password_ends_the_others_and_asks_this_session_to_refresh(
    client: httpx.AsyncClient, hers: Session, elsewhere: Session
) -> None:
    body = {"current_password": PASSWORD.reveal(), "new_password": NEW_PASSWORD}
    answer = await client.post("/v1/users/me/password", json=body, headers=hers.headers)
    assert answer.status_code == 204
    assert not await hers.lives()
    assert await hers.refreshes()
    assert await hers.lives()
    assert (await elsewhere.lives(), await elsewhere.refreshes()) == (False, False)


async def test_a_promotion_takes_effect_at_the_next_refresh(
    client: httpx.AsyncClient, hers: Session, as_root: dict[str, str]
) -> None:
    assert (await client.get("/v1/admin/users", headers=hers.headers)).status_code == 403
    path = f"/v1/admin/users/{hers.user_id}/roles"
    await client.put(path, json={"roles": ["admin", "user"]}, headers=as_root)
    assert not await hers.lives()
    assert await hers.refreshes()
    assert (await hers.told())[0] == "admin,user"
    assert (await client.get("/v1/admin/users", headers=hers.headers)).status_code == 200


async def test_a_demoted_administrator_does_nothing_more(
    client: httpx.AsyncClient, enter: Enter, as_root: dict[str, str]
) -> None:
    other = Session(client, await enter("other@example.com", "admin"))
    assert (await client.get("/v1/admin/users", headers=other.headers)).status_code == 200
    path = f"/v1/admin/users/{other.user_id}/roles"
    await client.put(path, json={"roles": ["user"]}, headers=as_root)
    assert (await client.get("/v1/admin/users", headers=other.headers)).status_code == 401
    assert await other.refreshes()
    assert (await client.get("/v1/admin/users", headers=other.headers)).status_code == 403
    assert (await other.told())[0] == "user"


async def test_a_role_that_changes_changes_the_rights_of_whoever_has_it(
    client: httpx.AsyncClient, hers: Session, elsewhere: Session, as_root: dict[str, str]
) -> None:
    permissions = ["audit:read", "profile:read"]
    await client.put("/v1/admin/roles/user", json={"permissions": permissions}, headers=as_root)
    for session in (hers, elsewhere):
        assert not await session.lives()
        assert await session.refreshes()
        assert await session.told() == ("user", "audit:read,profile:read")


async def test_a_role_that_is_deleted_is_gone_from_the_next_token(
    client: httpx.AsyncClient, hers: Session, as_root: dict[str, str]
) -> None:
    await client.put("/v1/admin/roles/editor", json={"permissions": []}, headers=as_root)
    path = f"/v1/admin/users/{hers.user_id}/roles"
    await client.put(path, json={"roles": ["editor", "user"]}, headers=as_root)
    assert await hers.refreshes()
    assert (await hers.told())[0] == "editor,user"
    await client.delete("/v1/admin/roles/editor", headers=as_root)
    assert not await hers.lives()
    assert await hers.refreshes()
    assert (await hers.told())[0] == "user"


async def test_a_disabled_user_is_out_and_stays_out_by_what_they_had(
    client: httpx.AsyncClient, hers: Session, elsewhere: Session, as_root: dict[str, str]
) -> None:
    path = f"/v1/admin/users/{hers.user_id}"
    for status in ("disabled", "active"):
        await client.patch(path, json={"status": status}, headers=as_root)
        for session in (hers, elsewhere):
            assert (await session.lives(), await session.refreshes()) == (False, False)


@pytest.mark.parametrize("one", [True, False])
async def test_an_administrator_logs_somebody_out(
    client: httpx.AsyncClient, hers: Session, elsewhere: Session, as_root: dict[str, str], one: bool
) -> None:
    path = f"/v1/admin/users/{hers.user_id}/sessions"
    await client.delete(f"{path}/{hers.id}" if one else path, headers=as_root)
    assert (await hers.lives(), await hers.refreshes()) == (False, False)
    assert (await elsewhere.lives(), await elsewhere.refreshes()) == (one, one)


async def test_with_a_policy_that_tells_nothing_new_rights_count_at_once_too(
    connect: Callable[..., httpx.AsyncClient], enter: Enter
) -> None:
    keyturn = InMemoryKeyturn(claims_policy=ClaimsPolicy.NONE)
    client = connect(keyturn=keyturn)
    root = Session(client, await enter("root@example.com", "admin", keyturn=keyturn))
    other = Session(client, await enter("other@example.com", "admin", keyturn=keyturn))
    assert (await client.get("/v1/admin/users", headers=other.headers)).status_code == 200
    path = f"/v1/admin/users/{other.user_id}/roles"
    await client.put(path, json={"roles": ["user"]}, headers=root.headers)
    assert (await client.get("/v1/admin/users", headers=other.headers)).status_code == 401
    assert await other.refreshes()
    assert (await client.get("/v1/admin/users", headers=other.headers)).status_code == 403


async def test_who_has_lost_touch_with_the_revocations_trusts_no_token(
    connect: Callable[..., httpx.AsyncClient], enter: Enter
) -> None:
    keyturn = InMemoryKeyturn(max_staleness=timedelta(seconds=5))
    client = connect(keyturn=keyturn)
    root = Session(client, await enter("root@example.com", "admin", keyturn=keyturn))
    keyturn.advance(seconds=6)
    for path in (VERIFY, f"{VERIFY}&role=admin", "/v1/users/me", "/v1/admin/users"):
        answer = await client.get(path, headers=root.headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "revocations_unknown")
        assert answer.headers["retry-after"] == "1"
    # What is certainly bad is still refused, and what needs no access token still works.
    assert (await client.get(VERIFY, headers=bearer("nonsense"))).status_code == 401
    assert (await client.get(VERIFY)).status_code == 401
    assert await root.refreshes()
    await keyturn.revocations.follow()
    assert await root.lives()


async def test_who_has_lost_touch_can_still_log_out_by_the_refresh_token(
    connect: Callable[..., httpx.AsyncClient], enter: Enter
) -> None:
    keyturn = InMemoryKeyturn(max_staleness=timedelta(seconds=5))
    client = connect(keyturn=keyturn)
    hers = Session(client, await enter(ADA, "user", keyturn=keyturn))
    keyturn.advance(seconds=6)
    by_access_token = await client.post("/v1/auth/logout", headers=hers.headers)
    assert by_access_token.status_code == 503
    body = {"refresh_token": hers.refresh_token}
    answer = await client.post("/v1/auth/logout", json=body, headers=hers.headers)
    assert answer.status_code == 204
    # A token that is known to be revoked is refused, however old the knowledge is.
    assert (await client.get(VERIFY, headers=hers.headers)).status_code == 401
