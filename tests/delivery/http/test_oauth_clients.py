"""What OAuth clients may do besides asking for tokens: revoke, introspect, follow revocations."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI

from keyturn.adapters.memory.clients import MemoryClients
from keyturn.adapters.memory.store import MemoryStore
from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.client import Client, secret_digest
from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.policies import ClaimsPolicy
from keyturn.domain.secret import Secret
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, UserStatus
from keyturn.ports.persistence import UnitOfWork
from keyturn.testing.in_memory import ADA, ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.token_pair import TokenPair

TOKEN, REVOKE, INTROSPECT = "/oauth/token", "/oauth/revoke", "/oauth/introspect"
VERIFY = f"/v1/auth/verify?audience={ISSUER}"
FEED = "/v1/revocations"
SECRETS = {name: f"{name}-0123456789abcdef0123456789" for name in ("notes", "plain", "all")}
NOTES, PLAIN, ALL = SECRETS.items()
LOGIN = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}
INACTIVE = {"active": False}

Enter = Callable[..., Awaitable[TokenPair]]


def clients() -> MemoryClients:
    def digest(name: str) -> str:
        return secret_digest(Secret(SECRETS[name]))

    return MemoryClients(
        # With the issuer as its audience, a client also sees refresh tokens.
        Client("notes", digest("notes"), introspects=True, audience=ISSUER),
        Client("plain", digest("plain"), resources=frozenset({ISSUER})),
        Client("all", digest("all"), introspects=True, reads_revocations=True, audience=ISSUER),
        Client("mobile"),
    )


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    """A service in memory that knows the clients above."""
    return InMemoryKeyturn(clients=clients())


@pytest.fixture
async def ada(keyturn: InMemoryKeyturn) -> TokenPair:
    """The tokens of a user who has registered and logged in, for the issuer."""
    await keyturn.register()
    return await keyturn.login(resource=ISSUER)


def copied(store: MemoryStore) -> tuple[object, ...]:
    return (
        dict(store.users),
        dict(store.families),
        dict(store.revocations),
        len(store.audit_events),
    )


def assert_error(answer: httpx.Response, status: int, error: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store"


class Asking:
    """Asks about tokens as `notes`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def __call__(self, token: Secret | str) -> dict[str, object]:
        text = token if isinstance(token, str) else token.reveal()
        answer = await self.client.post(INTROSPECT, data={"token": text}, auth=NOTES)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        told: dict[str, object] = answer.json()
        return told


@pytest.fixture
def asked(client: httpx.AsyncClient) -> Asking:
    return Asking(client)


# Who a client is


@pytest.mark.parametrize("path", [TOKEN, REVOKE, INTROSPECT])
@pytest.mark.parametrize(
    ("auth", "form"),
    [
        (("notes", "wrong"), {}),
        (("notes", ""), {}),
        (("nobody", SECRETS["notes"]), {}),
        (("", SECRETS["notes"]), {}),
        (("mobile", "a secret"), {}),
        (("keyturn", SECRETS["notes"]), {}),
        (None, {"client_id": "notes"}),
        (None, {"client_id": "notes", "client_secret": SECRETS["notes"]}),
        (NOTES, {"client_secret": SECRETS["notes"]}),
        (None, {"client_id": "ä" * 500}),
    ],
)
async def test_a_client_must_prove_who_it_is_in_the_header(
    client: httpx.AsyncClient,
    ada: TokenPair,
    path: str,
    auth: tuple[str, str] | None,
    form: dict[str, str],
) -> None:
    form = {**LOGIN, "token": ada.access_token.reveal(), **form}
    headers = {} if auth is None else {"Authorization": httpx.BasicAuth(*auth)._auth_header}
    answer = await client.post(path, data=form, headers=headers)
    assert_error(answer, 401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_a_client_with_a_secret_gets_tokens_that_work_for_it_alone(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    answer = await client.post(TOKEN, data=LOGIN, auth=PLAIN)
    assert answer.status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
    assert_error(await client.post(TOKEN, data=form), 400, "invalid_grant")
    assert_error(await client.post(TOKEN, data=form, auth=NOTES), 400, "invalid_grant")
    assert_error(
        await client.post(TOKEN, data={**form, "client_id": "plain"}), 401, "invalid_client"
    )
    assert (await client.post(TOKEN, data=form, auth=PLAIN)).status_code == 200


async def test_a_public_client_of_the_file_names_itself(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    answer = await client.post(TOKEN, data={**LOGIN, "client_id": "mobile"})
    assert answer.status_code == 200


# Revocation


@pytest.mark.parametrize(
    "hint", [{}, {"token_type_hint": "access_token"}, {"token_type_hint": "x"}]
)
async def test_a_refresh_token_ends_its_session_with_all_its_tokens(
    client: httpx.AsyncClient,
    keyturn: InMemoryKeyturn,
    ada: TokenPair,
    as_ada: dict[str, str],
    hint: dict[str, str],
) -> None:
    form = {"token": ada.refresh_token.reveal(), **hint}
    answer = await client.post(REVOKE, data=form)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await client.get(VERIFY, headers=as_ada)).status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": form["token"]}
    assert_error(await client.post(TOKEN, data=refresh), 400, "invalid_grant")


async def test_an_old_refresh_token_ends_its_session_too(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, asked: Asking
) -> None:
    new = (await keyturn.refresh(ada.refresh_token)).tokens
    keyturn.advance(days=1)
    await client.post(REVOKE, data={"token": ada.refresh_token.reveal()})
    assert await asked(new.refresh_token) == INACTIVE


async def test_an_access_token_dies_alone(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    other = (await keyturn.refresh(ada.refresh_token, resource=ISSUER)).tokens
    answer = await client.post(REVOKE, data={"token": ada.access_token.reveal()})
    assert answer.status_code == 200
    assert (await client.get(VERIFY, headers=as_ada)).status_code == 401
    headers = {"Authorization": f"Bearer {other.access_token.reveal()}"}
    assert (await client.get(VERIFY, headers=headers)).status_code == 204
    await keyturn.refresh(other.refresh_token)
    [event] = [e for e in keyturn.store.audit_events.values() if e.type == "token_revoked"]
    assert (event.subject, event.session) == (ada.user_id, ada.session_id)
    assert event.details == {"client_id": "keyturn"}


async def test_a_token_that_is_dead_already_writes_nothing(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    for token in (ada.access_token, ada.refresh_token):
        await client.post(REVOKE, data={"token": token.reveal()})
        before = copied(keyturn.store)
        answer = await client.post(REVOKE, data={"token": token.reveal()})
        assert answer.status_code == 200
        assert copied(keyturn.store) == before


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "ä", "\0", "x" * 30_000])
async def test_what_is_no_token_is_no_error(client: httpx.AsyncClient, token: str) -> None:
    assert (await client.post(REVOKE, data={"token": token})).status_code == 200


async def test_an_expired_access_token_is_no_error(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    keyturn.advance(minutes=15)
    before = copied(keyturn.store)
    answer = await client.post(REVOKE, data={"token": ada.access_token.reveal()})
    assert answer.status_code == 200
    assert copied(keyturn.store) == before


async def test_a_token_of_another_client_stays_as_it_is(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, asked: Asking
) -> None:
    form = {**LOGIN, "resource": ISSUER}
    tokens = (await client.post(TOKEN, data=form, auth=PLAIN)).json()
    assert (await asked(tokens["access_token"]))["active"] is True
    before = copied(keyturn.store)
    for name in ("access_token", "refresh_token"):
        form = {"token": tokens[name]}
        assert_error(await client.post(REVOKE, data=form), 400, "invalid_grant")
        assert_error(await client.post(REVOKE, data=form, auth=NOTES), 400, "invalid_grant")
    assert copied(keyturn.store) == before
    assert (
        await client.post(REVOKE, data={"token": tokens["refresh_token"]}, auth=PLAIN)
    ).status_code == 200
    assert await asked(tokens["access_token"]) == INACTIVE


@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
async def test_a_form_without_a_token_is_refused(client: httpx.AsyncClient, path: str) -> None:
    for form in ({"x": "y"}, {"token": ""}):
        assert_error(await client.post(path, data=form, auth=NOTES), 400, "invalid_request")
    answer = await client.post(
        path,
        content="token=a&token=b",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        auth=NOTES,
    )
    assert_error(answer, 400, "invalid_request")


# Introspection


async def test_a_good_access_token_is_told_as_it_is(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, asked: Asking
) -> None:
    issued = int(ada.issued_at.timestamp())
    told = await asked(ada.access_token)
    assert set(told) == {
        *("active", "scope", "client_id", "token_type", "exp", "iat"),
        *("auth_time", "sub", "aud", "iss", "jti", "sid", "roles"),
    }
    assert told | {"jti": ""} == {
        "active": True,
        "scope": "profile:read profile:write",
        "client_id": "keyturn",
        "token_type": "Bearer",
        "exp": issued + 900,
        "iat": issued,
        "auth_time": issued,
        "sub": str(ada.user_id),
        "aud": ISSUER,
        "iss": "http://127.0.0.1:8000",
        "jti": "",
        "sid": str(ada.session_id),
        "roles": ["user"],
    }


async def test_the_live_refresh_token_is_told_and_not_touched(
    keyturn: InMemoryKeyturn, ada: TokenPair, asked: Asking
) -> None:
    before = copied(keyturn.store)
    told = await asked(ada.refresh_token)
    assert (told["active"], told["token_type"]) == (True, "refresh_token")
    assert told["aud"] == told["iss"]
    assert told["sub"] == str(ada.user_id)
    assert copied(keyturn.store) == before
    new = (await keyturn.refresh(ada.refresh_token)).tokens
    # Within the grace window it could be used once more, and is none to act upon all the same.
    before = copied(keyturn.store)
    assert await asked(ada.refresh_token) == INACTIVE
    keyturn.advance(days=1)
    assert await asked(ada.refresh_token) == INACTIVE
    assert copied(keyturn.store) == before
    assert (await asked(new.refresh_token))["active"] is True


@pytest.mark.parametrize("policy", ClaimsPolicy)
async def test_what_the_token_does_not_tell_the_store_does(
    connect: Callable[..., httpx.AsyncClient], enter: Enter, policy: ClaimsPolicy
) -> None:
    keyturn = InMemoryKeyturn(clients=clients(), claims_policy=policy)
    pair = await enter(ADA, "user", keyturn=keyturn)
    asked = Asking(connect(keyturn=keyturn))
    told = await asked(pair.access_token)
    assert (told["scope"], told["roles"]) == ("profile:read profile:write", ["user"])


async def test_a_scope_limits_what_is_told(enter: Enter, asked: Asking) -> None:
    scope = frozenset({"profile:read", "users:read"})
    pair = await enter(ADA, USER_ROLE.name, ADMIN_ROLE.name, scope=scope)
    for token in (pair.access_token, pair.refresh_token):
        told = await asked(token)
        assert (told["scope"], told["roles"]) == ("profile:read users:read", [])


async def test_who_may_do_nothing_has_no_scope(enter: Enter, asked: Asking) -> None:
    told = await asked((await enter(ADA)).access_token)
    assert told["active"] is True
    assert "scope" not in told


@pytest.mark.parametrize(
    "ending", ["logged out", "revoked", "disabled", "demoted", "expired", "evicted"]
)
async def test_a_token_that_is_good_no_more_is_exactly_inactive(
    client: httpx.AsyncClient,
    keyturn: InMemoryKeyturn,
    ada: TokenPair,
    asked: Asking,
    ending: str,
) -> None:
    match ending:
        case "logged out":
            await keyturn.logout(ada.refresh_token)
        case "revoked":
            await client.post(REVOKE, data={"token": ada.access_token.reveal()})
        case "disabled":
            await keyturn.change_user.execute(
                ChangeUserCommand(ada.user_id, actor=None, status=UserStatus.DISABLED)
            )
        case "demoted":
            await keyturn.assign_roles.execute(
                AssignRolesCommand(ada.user_id, frozenset(), actor=None)
            )
        case "expired":
            keyturn.advance(minutes=15)
        case "evicted":
            for _ in range(5):
                await keyturn.login()
        case _:
            raise AssertionError(ending)
    assert await asked(ada.access_token) == INACTIVE
    ends_the_session = ending in ("logged out", "disabled", "evicted")
    assert (await asked(ada.refresh_token))["active"] is not ends_the_session


async def test_what_another_worker_revoked_is_inactive_before_the_news_arrives(
    keyturn: InMemoryKeyturn, ada: TokenPair, asked: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    bystander = await keyturn.login(resource=ISSUER)
    monkeypatch.setattr(keyturn.revocations, "apply", lambda _: None)
    await keyturn.logout(ada.refresh_token)
    keyturn.authenticate_access.execute(ada.access_token)
    assert await asked(ada.access_token) == INACTIVE
    await keyturn.change_user.execute(
        ChangeUserCommand(ada.user_id, actor=None, status=UserStatus.DISABLED)
    )
    assert await asked(bystander.access_token) == INACTIVE


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "\0", "x" * 30_000])
async def test_what_is_no_token_is_inactive(asked: Asking, token: str) -> None:
    assert await asked(token) == INACTIVE


@pytest.mark.parametrize("auth", [None, ("", ""), ("keyturn", ""), ("mobile", "")])
async def test_who_may_be_anybody_may_not_introspect(
    client: httpx.AsyncClient, ada: TokenPair, auth: tuple[str, str] | None
) -> None:
    headers = {} if auth is None else {"Authorization": httpx.BasicAuth(*auth)._auth_header}
    form = {"token": ada.access_token.reveal()}
    assert_error(await client.post(INTROSPECT, data=form, headers=headers), 401, "invalid_client")


async def test_a_client_introspects_only_if_it_may(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    form = {"token": ada.access_token.reveal()}
    answer = await client.post(INTROSPECT, data=form, auth=PLAIN)
    assert_error(answer, 403, "unauthorized_client")


async def test_nobody_is_told_that_a_token_is_good_when_nobody_knows(
    connect: Callable[..., httpx.AsyncClient], enter: Enter
) -> None:
    keyturn = InMemoryKeyturn(clients=clients(), max_staleness=timedelta(seconds=5))
    pair = await enter(ADA, "user", keyturn=keyturn)
    keyturn.advance(seconds=6)
    client = connect(keyturn=keyturn)
    form = {"token": pair.access_token.reveal()}
    answer = await client.post(INTROSPECT, data=form, auth=NOTES)
    assert_error(answer, 503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"
    # To revoke, nothing needs to be known.
    assert (await client.post(REVOKE, data=form)).status_code == 200


@pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
async def test_a_store_that_is_down_says_so(
    client: httpx.AsyncClient, ada: TokenPair, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def unavailable(*_: object) -> UnitOfWork:
        raise StoreUnavailable

    monkeypatch.setattr(
        "keyturn.adapters.memory.unit_of_work.MemoryUnitOfWork.__aenter__", unavailable
    )
    for token in (ada.access_token, ada.refresh_token):
        auth = ("keyturn", "") if path == REVOKE else NOTES
        answer = await client.post(path, data={"token": token.reveal()}, auth=auth)
        assert_error(answer, 503, "temporarily_unavailable")


# The feed


async def feed(
    client: httpx.AsyncClient, after: str | None = None, etag: str = ""
) -> httpx.Response:
    return await client.get(
        FEED,
        params={} if after is None else {"after": after},
        headers={"If-None-Match": etag} if etag else {},
        auth=ALL,
    )


async def test_a_follower_learns_what_is_revoked(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    empty = await feed(client)
    assert empty.json()["revocations"] == []
    await keyturn.logout(ada.refresh_token)
    answer = await feed(client, empty.json()["cursor"])
    [entry] = answer.json()["revocations"]
    assert entry == {
        "kind": "sid",
        "subject": str(ada.session_id),
        "epoch": 0,
        "expires_at": entry["expires_at"],
    }
    assert entry["expires_at"].endswith("Z")
    assert (await feed(client, answer.json()["cursor"])).json()["revocations"] == []
    assert (await feed(client)).json()["revocations"] == [entry]
    assert (await feed(client, "another list's")).json()["revocations"] == [entry]


async def test_the_same_entries_are_not_sent_twice(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    first = await feed(client)
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for tag in (etag, f'"other", {etag}'):
        same = await feed(client, first.json()["cursor"], tag)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == etag
    await keyturn.logout(ada.refresh_token)
    news = await feed(client, first.json()["cursor"], etag)
    assert news.status_code == 200
    assert news.headers["etag"] != etag


async def test_what_has_expired_is_told_to_nobody(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    await keyturn.logout(ada.refresh_token)
    keyturn.advance(minutes=16)
    assert (await feed(client)).json()["revocations"] == []


@pytest.mark.parametrize(
    ("auth", "status", "code"),
    [
        (None, 401, "invalid_client"),
        (("keyturn", ""), 401, "invalid_client"),
        (("all", "wrong"), 401, "invalid_client"),
        (NOTES, 403, "unauthorized_client"),
    ],
)
async def test_only_a_client_that_may_follows_the_feed(
    client: httpx.AsyncClient, auth: tuple[str, str] | None, status: int, code: str
) -> None:
    headers = {} if auth is None else {"Authorization": httpx.BasicAuth(*auth)._auth_header}
    answer = await client.get(FEED, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_access_token_opens_no_feed(
    client: httpx.AsyncClient, as_root: dict[str, str]
) -> None:
    assert (await client.get(FEED, headers=as_root)).status_code == 401


# Metadata


@pytest.mark.parametrize(
    ("issuer", "base"),
    [
        ("https://auth.example.com", "https://auth.example.com"),
        ("https://example.com/auth", "https://example.com/auth"),
        ("https://example.com/auth/", "https://example.com/auth"),
    ],
)
async def test_the_metadata_names_the_issuer_and_what_is_below_it(
    connect: Callable[..., httpx.AsyncClient], issuer: str, base: str
) -> None:
    client = connect(options=HttpOptions(issuer=issuer))
    answer = await client.get("/.well-known/oauth-authorization-server")
    assert answer.headers["cache-control"] == "public, max-age=300"
    told = answer.json()
    assert told["issuer"] == issuer
    assert {name: url for name, url in told.items() if name.endswith(("_endpoint", "_uri"))} == {
        "token_endpoint": f"{base}/oauth/token",
        "revocation_endpoint": f"{base}/oauth/revoke",
        "introspection_endpoint": f"{base}/oauth/introspect",
        "jwks_uri": f"{base}/.well-known/jwks.json",
    }
    assert told["grant_types_supported"] == ["password", "refresh_token"]
    assert told["token_endpoint_auth_methods_supported"] == ["none", "client_secret_basic"]
    assert told["introspection_endpoint_auth_methods_supported"] == ["client_secret_basic"]
    assert told["response_types_supported"] == []
    assert {"profile:read", "profile:write"} <= set(told["scopes_supported"])
    path = issuer.removeprefix("https://").partition("/")[2].rstrip("/")
    if path:
        there = await client.get(f"/.well-known/oauth-authorization-server/{path}")
        assert there.json() == told


async def test_the_metadata_tells_no_grant_that_is_turned_off(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    client = connect(options=HttpOptions(password_grant=False))
    told = (await client.get("/.well-known/oauth-authorization-server")).json()
    assert told["grant_types_supported"] == ["refresh_token"]


def test_swagger_asks_for_tokens_below_the_path_of_the_issuer(
    services: Callable[..., Services], keyturn: InMemoryKeyturn
) -> None:
    def token_url(app: FastAPI) -> str:
        schemes = app.openapi()["components"]["securitySchemes"]
        url: str = schemes["AccessToken"]["flows"]["password"]["tokenUrl"]
        return url

    below = build_app(services(keyturn), HttpOptions(issuer="https://example.com/auth"))
    top = build_app(services(keyturn), HttpOptions(issuer="https://example.com"))
    assert [token_url(app) for app in (below, top, below)] == [
        "/auth/oauth/token",
        "/oauth/token",
        "/auth/oauth/token",
    ]


async def test_many_may_ask_about_one_token_while_it_is_refreshed(
    keyturn: InMemoryKeyturn, ada: TokenPair, asked: Asking
) -> None:
    told, *_ = await asyncio.gather(
        asked(ada.refresh_token), keyturn.refresh(ada.refresh_token), asked(ada.refresh_token)
    )
    assert told["active"] in (True, False)
    assert (await asked(ada.access_token))["active"] is True
