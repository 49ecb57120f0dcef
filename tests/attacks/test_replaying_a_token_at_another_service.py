"""A service that is shown a token replays it, at keyturn or at another service."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from tests.delivery.http.conftest import connect, no_keys, services  # noqa: F401

from keyturn.adapters.memory.clients import MemoryClients
from keyturn.delivery.http import short_paths
from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.authorization import require_role
from keyturn.delivery.http.dependencies import CurrentPrincipal
from keyturn.delivery.http.error_answers import handle_keyturn_errors
from keyturn.delivery.http.routes_keys import PublishedKeys
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.claims import LONG_AGO
from keyturn.domain.client import Client, secret_digest
from keyturn.domain.errors import InvalidAccessToken, InvalidTarget, WrongAudience
from keyturn.domain.resource import Resources
from keyturn.domain.secret import Secret
from keyturn.testing.in_memory import ADA, AUDIENCE, ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.testing.tokens import TEST_ISSUER, make_token, make_verifier
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand

NOTES, PHOTOS = "https://notes.example", "https://photos.example"
ROOT = "root@example.com"
VERIFY = "/v1/auth/verify"
SECRET = "0123456789abcdef0123456789abcdef"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LEVELS = {"ordinary", "sensitive", "administration", "proxy", "none"}
PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")

Connect = Callable[..., httpx.AsyncClient]


def in_memory() -> InMemoryKeyturn:
    """A service with two resources, and clients that may ask for some of them or none."""
    digest = secret_digest(Secret(SECRET))
    return InMemoryKeyturn(
        resources=Resources(ISSUER, AUDIENCE, frozenset({NOTES, PHOTOS})),
        clients=MemoryClients(
            Client("mobile"),
            Client("notebook", resources=frozenset({NOTES})),
            Client("introspects", digest, introspects=True),
            Client("notes", digest, introspects=True, audience=NOTES),
            Client("inside", digest, introspects=True, audience=ISSUER),
        ),
    )


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return in_memory()


@pytest.fixture
async def root(keyturn: InMemoryKeyturn) -> None:
    """An administrator is registered."""
    await keyturn.register_user.execute(
        RegisterUserCommand(
            ROOT, PASSWORD, roles=frozenset({"admin", "user"}), email_is_verified=True
        )
    )


@pytest.fixture
def client(connect: Connect) -> httpx.AsyncClient:  # noqa: F811 - the imported fixture
    return connect()


def bearer(token: Secret | str) -> dict[str, str]:
    text = token if isinstance(token, str) else token.reveal()
    return {"Authorization": f"Bearer {text}"}


async def token_for(keyturn: InMemoryKeyturn, resource: str | None, email: str = ROOT) -> Secret:
    return (await keyturn.login(email, resource=resource)).access_token


def wants(answer: httpx.Response) -> str | None:
    """The resource that a rejected client must ask for, None where the audience was right."""
    if answer.status_code != 401 or answer.json()["code"] != "wrong_audience":
        return None
    assert answer.headers["www-authenticate"].startswith('Bearer realm="keyturn", error="invalid_t')
    resource: str = answer.json()["resource"]
    return resource


# Every route


@dataclass(frozen=True)
class Row:
    """A route and its level, as the table in docs/security.md has it."""

    level: str
    method: str
    path: str

    @property
    def url(self) -> str:
        return re.sub(r"\{[a-z_]+\}", "00000000-0000-4000-8000-000000000000", self.path)


def rows() -> Iterator[Row]:
    """Read the table in docs/security.md."""
    section = PAGE.partition("### Which token each route accepts")[2].partition("\n## ")[0]
    for level, routes in re.findall(r"^\| \*?(\w+)\*? \|[^|]*\| (.*) \|$", section, re.MULTILINE):
        for methods, path in re.findall(r"`([A-Z, ]+) (/\S*)`", routes):
            yield from (Row(level, method, path) for method in methods.split(", "))


@pytest.fixture
def app(
    services: Callable[..., Services],  # noqa: F811 - the imported fixture
    keyturn: InMemoryKeyturn,
    no_keys: PublishedKeys,  # noqa: F811 - the imported fixture
) -> FastAPI:
    return build_app(services(keyturn), HttpOptions(), published_keys=no_keys)


def test_no_route_escapes_the_table(app: FastAPI) -> None:
    listed = [(row.method, row.path) for row in rows()]
    assert len(listed) == len(set(listed))
    routes = {
        (method, route.path)
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or set()) - {"HEAD"}
    }
    # The page also lists routes that an app has only where it is set up so.
    assert routes <= set(listed)
    assert set(listed) <= routes
    assert {row.level for row in rows()} == LEVELS


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row.method} {row.path}")
@pytest.mark.parametrize("audience", [AUDIENCE, ISSUER, NOTES])
async def test_a_service_can_use_a_token_only_where_the_table_says(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, root: None, row: Row, audience: str
) -> None:
    token = await token_for(keyturn, audience)
    answer = await client.request(row.method, row.url, headers=bearer(token))
    expected = {
        "ordinary": {NOTES: AUDIENCE},
        "sensitive": {NOTES: ISSUER, AUDIENCE: ISSUER},
        "administration": {NOTES: ISSUER, AUDIENCE: ISSUER},
        "proxy": {NOTES: AUDIENCE, ISSUER: AUDIENCE},
        "none": {},
    }
    assert wants(answer) == expected[row.level].get(audience)


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row.method} {row.path}")
async def test_a_thief_of_an_old_token_for_the_issuer_is_asked_for_the_password(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, root: None, row: Row
) -> None:
    keyturn.advance(seconds=0.5)
    pair = await keyturn.login(ROOT, resource=ISSUER)
    keyturn.advance(minutes=5)
    refreshed = await keyturn.refresh(pair.refresh_token, resource=ISSUER)
    for token in (pair.access_token, refreshed.tokens.access_token):
        answer = await client.request(row.method, row.url, headers=bearer(token))
        told = answer.json() if answer.status_code == 401 else {}
        too_old = told.get("code") == "insufficient_user_authentication"
        assert too_old is (row.level == "sensitive")
        if too_old:
            assert told["max_age"] == 300
            challenge = answer.headers["www-authenticate"]
            assert 'error="insufficient_user_authentication"' in challenge
            assert challenge.endswith(', max_age="300"')


# At keyturn itself


async def test_a_service_can_not_promote_another_account_with_an_administrators_token(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, root: None
) -> None:
    ada = await keyturn.register(verified=True)
    path = f"/v1/admin/users/{ada.id}/roles"
    for resource in (NOTES, None):
        token = await token_for(keyturn, resource)
        answer = await client.put(path, json={"roles": ["admin"]}, headers=bearer(token))
        assert wants(answer) == ISSUER
    token = await token_for(keyturn, ISSUER)
    answer = await client.put(path, json={"roles": ["admin"]}, headers=bearer(token))
    assert answer.status_code == 200


async def test_a_service_can_not_end_the_session_of_a_token_that_it_was_shown(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    pair = await keyturn.login(resource=NOTES)
    answer = await client.post("/v1/auth/logout", headers=bearer(pair.access_token))
    assert wants(answer) == AUDIENCE
    # The owner also has the refresh token, which names the session without any audience.
    answer = await client.post(
        "/v1/auth/logout",
        json={"refresh_token": pair.refresh_token.reveal()},
        headers=bearer(pair.access_token),
    )
    assert answer.status_code == 204


async def test_a_service_can_not_reauthenticate_with_a_token_that_it_was_shown(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    token = await token_for(keyturn, NOTES, ADA)
    body = {"password": PASSWORD.reveal()}
    answer = await client.post("/v1/auth/reauthenticate", json=body, headers=bearer(token))
    assert wants(answer) == AUDIENCE


async def test_a_token_of_before_the_upgrade_is_never_recent(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    now, issuer = keyturn.clock.now(), frozenset({ISSUER})
    claims = keyturn.codec.decode_access(
        await token_for(keyturn, ISSUER, ADA), now, audiences=issuer
    )
    # That a token without the claim is read so: tests/adapters/pyjwt/test_attacks.py.
    headers = bearer(await keyturn.codec.encode_access(replace(claims, auth_time=LONG_AGO)))
    assert (await client.get("/v1/users/me", headers=headers)).status_code == 200
    answer = await client.get("/v1/users/me/export", headers=headers)
    assert answer.json()["code"] == "insufficient_user_authentication"


# What a stolen refresh token gives


async def test_a_stolen_refresh_token_never_becomes_recent(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    pair = await keyturn.login()
    keyturn.advance(minutes=6)
    body = {"password": PASSWORD.reveal()}
    tokens = (await keyturn.refresh(pair.refresh_token)).tokens
    recent = await client.post(
        "/v1/auth/reauthenticate", json=body, headers=bearer(tokens.access_token)
    )
    assert recent.status_code == 200
    assert (await keyturn.refresh(tokens.refresh_token)).tokens.session_id == pair.session_id
    # The owner has just proved who they are. The thief of the refresh token gains nothing by it.
    refreshed = await client.post(
        "/v1/auth/refresh",
        json={"refresh_token": tokens.refresh_token.reveal(), "resource": ISSUER},
    )
    stolen = bearer(refreshed.json()["access_token"])
    answer = await client.delete("/v1/users/me", headers=stolen)
    assert answer.json()["code"] == "insufficient_user_authentication"
    owner = bearer(recent.json()["access_token"])
    assert (await client.delete("/v1/users/me", headers=owner)).status_code == 204


# Asking for more


async def ask(client: httpx.AsyncClient, route: str, resource: str | list[str]) -> httpx.Response:
    login = {"email": ADA, "password": PASSWORD.reveal()}
    if route == "login":
        return await client.post("/v1/auth/login", json={**login, "resource": resource})
    tokens = (await client.post("/v1/auth/login", json=login)).json()
    refresh = {"refresh_token": tokens["refresh_token"]}
    if route == "refresh":
        return await client.post("/v1/auth/refresh", json={**refresh, "resource": resource})
    form: dict[str, str | list[str]] = {"grant_type": "refresh_token", **refresh}
    if route == "password":
        form = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}
    return await client.post("/oauth/token", data={**form, "resource": resource})


@pytest.mark.parametrize("route", ["login", "refresh", "password", "oauth refresh"])
@pytest.mark.parametrize(
    "resource",
    [
        "https://evil.example",
        NOTES + "/",
        NOTES.upper(),
        NOTES + "#fragment",
        ISSUER + "/",
        f"{NOTES} {PHOTOS}",
        f"{NOTES},{PHOTOS}",
        [NOTES, PHOTOS],
        [NOTES, NOTES],
        ["", NOTES],
        "*",
        "x" * 5000,
    ],
)
async def test_an_attacker_gains_nothing_by_an_unknown_resource_or_several(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, route: str, resource: str | list[str]
) -> None:
    await keyturn.register()
    answer = await ask(client, route, resource)
    if route in ("login", "refresh"):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_target")
    else:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize(
    "repeated", [f"{NOTES}&resource={PHOTOS}", f"&resource={NOTES}", "&resource="]
)
async def test_a_repeated_parameter_is_invalid_whichever_way_the_request_takes(
    client: httpx.AsyncClient,
    keyturn: InMemoryKeyturn,
    monkeypatch: pytest.MonkeyPatch,
    repeated: str,
    short: bool,
) -> None:
    if not short:
        monkeypatch.setattr(short_paths, "_SHORT_PATHS", {})
    await keyturn.register()
    pair = await keyturn.login()
    form = f"grant_type=refresh_token&refresh_token={pair.refresh_token.reveal()}"
    answer = await client.post("/oauth/token", content=f"{form}&resource={repeated}", headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


async def test_a_refused_resource_has_not_used_up_the_refresh_token(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    pair = await keyturn.login()
    for _ in range(3):
        with pytest.raises(InvalidTarget):
            await keyturn.refresh(pair.refresh_token, resource="https://evil.example")
        keyturn.advance(minutes=1)
    await keyturn.refresh(pair.refresh_token, resource=NOTES)


@pytest.mark.parametrize(
    ("client_id", "resource", "may"),
    [
        ("keyturn", None, True),
        ("keyturn", AUDIENCE, True),
        ("keyturn", NOTES, True),
        ("keyturn", PHOTOS, True),
        ("keyturn", ISSUER, True),
        ("mobile", None, True),
        ("mobile", AUDIENCE, True),
        ("mobile", NOTES, False),
        ("mobile", ISSUER, False),
        ("notebook", None, True),
        ("notebook", NOTES, True),
        ("notebook", PHOTOS, False),
        ("notebook", ISSUER, False),
        ("unknown", None, True),
        ("unknown", NOTES, False),
    ],
)
async def test_a_client_can_not_get_a_token_for_a_resource_that_is_not_its_own(
    keyturn: InMemoryKeyturn, client_id: str, resource: str | None, may: bool
) -> None:
    await keyturn.register()
    login = LoginUserCommand(ADA, PASSWORD, client_id=client_id, resource=resource)
    pair = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, client_id=client_id))
    refresh = RotateRefreshCommand(pair.refresh_token, client_id=client_id, resource=resource)
    if not may:
        with pytest.raises(InvalidTarget):
            await keyturn.login_user.execute(login)
        with pytest.raises(InvalidTarget):
            await keyturn.rotate_refresh.execute(refresh)
        return
    expected = frozenset({resource or AUDIENCE})
    now = keyturn.clock.now()
    for token in (
        (await keyturn.login_user.execute(login)).access_token,
        (await keyturn.rotate_refresh.execute(refresh)).tokens.access_token,
    ):
        assert keyturn.codec.decode_access(token, now, audiences=expected).client_id == client_id


async def test_a_client_that_may_not_ask_for_the_issuer_does_not_get_it_by_reauthenticating(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    pair = await keyturn.login_user.execute(LoginUserCommand(ADA, PASSWORD, client_id="mobile"))
    body = {"password": PASSWORD.reveal()}
    answer = await client.post(
        "/v1/auth/reauthenticate", json=body, headers=bearer(pair.access_token)
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_target")


async def test_a_replay_gives_the_same_refresh_token_for_another_resource(
    keyturn: InMemoryKeyturn,
) -> None:
    await keyturn.register()
    pair = await keyturn.login()
    notes = (await keyturn.refresh(pair.refresh_token, resource=NOTES)).tokens
    photos = (await keyturn.refresh(pair.refresh_token, resource=PHOTOS)).tokens
    assert notes.refresh_token == photos.refresh_token
    now = keyturn.clock.now()
    for tokens, resource, other in ((notes, NOTES, PHOTOS), (photos, PHOTOS, NOTES)):
        keyturn.codec.decode_access(tokens.access_token, now, audiences=frozenset({resource}))
        with pytest.raises(WrongAudience):
            keyturn.codec.decode_access(tokens.access_token, now, audiences=frozenset({other}))


# Behind a proxy, at another service, in a mounted app


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize(
    ("query", "accepted", "resource"),
    [
        ("", {AUDIENCE}, AUDIENCE),
        (f"?audience={NOTES}", {NOTES}, NOTES),
        (f"?audience={PHOTOS}&role=user", {PHOTOS}, PHOTOS),
        (f"?role=user&audience={ISSUER}", {ISSUER}, ISSUER),
        (f"?audience={AUDIENCE}", {AUDIENCE}, AUDIENCE),
        (f"?audience={NOTES}&audience={ISSUER}", set(), None),
        (f"?audience={ISSUER}&audience={ISSUER}", set(), None),
        ("?audience=", set(), None),
        ("?audience=https://evil.example", set(), None),
        (f"?audience={ISSUER}/", set(), None),
        (f"?Audience={ISSUER}", set(), None),
        (f"?audience={NOTES}%20{ISSUER}", set(), None),
    ],
)
async def test_a_proxied_service_can_not_be_handed_a_token_for_anything_else(
    client: httpx.AsyncClient,
    keyturn: InMemoryKeyturn,
    root: None,
    monkeypatch: pytest.MonkeyPatch,
    query: str,
    accepted: set[str],
    resource: str | None,
    short: bool,
) -> None:
    if not short:
        monkeypatch.setattr(short_paths, "_SHORT_PATHS", {})
    for audience in (AUDIENCE, ISSUER, NOTES, PHOTOS):
        token = await token_for(keyturn, audience)
        answer = await client.get(VERIFY + query, headers=bearer(token))
        if audience in accepted:
            assert answer.status_code == 204
        elif resource is not None:
            assert wants(answer) == resource
        else:
            assert answer.status_code == 422 or wants(answer) == AUDIENCE


async def test_a_mounted_app_is_not_fooled_by_a_token_for_a_service(
    services: Callable[..., Services],  # noqa: F811 - the imported fixture
    connect: Connect,  # noqa: F811 - the imported fixture
    keyturn: InMemoryKeyturn,
    root: None,
) -> None:
    host = FastAPI()
    host.state.keyturn = services(keyturn)
    handle_keyturn_errors(host)

    @host.get("/mine")
    async def mine(principal: CurrentPrincipal) -> str:
        return principal.audience

    @host.get("/theirs", dependencies=[Depends(require_role("admin"))])
    async def theirs() -> None: ...

    client = connect(app=host)
    for path in ("/mine", "/theirs"):
        for audience in (AUDIENCE, ISSUER):
            headers = bearer(await token_for(keyturn, audience))
            assert (await client.get(path, headers=headers)).status_code == 200
        headers = bearer(await token_for(keyturn, NOTES))
        assert wants(await client.get(path, headers=headers)) == AUDIENCE


async def test_a_service_can_not_replay_a_token_at_another_service() -> None:
    photos, inside = make_verifier(audience=PHOTOS), make_verifier(audience=TEST_ISSUER)
    for audience in (NOTES, AUDIENCE, TEST_ISSUER):
        with pytest.raises(WrongAudience) as caught:
            await photos.authenticate(make_token(audience=audience))
        assert caught.value.resource == PHOTOS
    await photos.authenticate(make_token(audience=PHOTOS))
    # Only a verifier that is told so takes the issuer.
    await inside.authenticate(make_token(audience=TEST_ISSUER))


async def test_a_client_sees_no_token_of_another_audience_at_introspection(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    pair = await keyturn.login()
    tokens = {
        audience: (await keyturn.login(resource=audience)).access_token
        for audience in (AUDIENCE, NOTES, PHOTOS, ISSUER)
    }
    for name, audience in (("introspects", AUDIENCE), ("notes", NOTES), ("inside", ISSUER)):
        for of_token, token in tokens.items():
            form = {"token": token.reveal()}
            answer = await client.post("/oauth/introspect", data=form, auth=(name, SECRET))
            if of_token == audience:
                assert (answer.json()["active"], answer.json()["aud"]) == (True, audience)
            else:
                assert answer.json() == {"active": False}
        form = {"token": pair.refresh_token.reveal()}
        answer = await client.post("/oauth/introspect", data=form, auth=(name, SECRET))
        assert answer.json()["active"] is (audience == ISSUER)


async def test_the_error_about_a_forged_token_names_no_resource(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/users/me", headers=bearer("a.b.c"))
    assert answer.json()["code"] == InvalidAccessToken.code
    assert "resource" not in answer.json()


# Names that look alike


@pytest.mark.parametrize(
    ("issuer", "audience", "declared"),
    [
        (ISSUER, ISSUER, ()),
        ("https://auth.example.com", "https://auth.example.com/", ()),
        ("https://auth.example.com/", "HTTPS://Auth.Example.com", ()),
        ("https://auth.example.com/auth", "https://AUTH.example.com/auth/", ()),
        ("https://auth.example.com", "keyturn", ("https://auth.example.com/",)),
        ("https://auth.example.com", "keyturn", ("https://AUTH.example.com",)),
        ("https://auth.example.com", NOTES, (NOTES + "/",)),
        ("https://auth.example.com", NOTES, (NOTES,)),
        ("https://auth.example.com", "keyturn", ("notes",)),
        ("https://auth.example.com", "keyturn", ("https://notes.example#x",)),
        ("https://auth.example.com", "keyturn", ("//notes.example",)),
        ("https://auth.example.com", "keyturn", ("https://",)),
        ("https://auth.example.com", "keyturn", ('https://notes.example"',)),
        ("https://auth.example.com", "keyturn", ("https://notes.example\n",)),
    ],
)
def test_no_resource_can_pass_for_the_issuer(
    issuer: str, audience: str, declared: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError):
        Resources(issuer, audience, frozenset(declared))
