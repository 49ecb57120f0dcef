"""Tokens for one resource over HTTP: asked for at a login and a refresh."""

import httpx
import pytest

from keyturn.domain.resource import Resources
from keyturn.testing.in_memory import ADA, AUDIENCE, ISSUER, PASSWORD, InMemoryKeyturn

NOTES = "https://notes.example"
LOGIN = {"email": ADA, "password": PASSWORD.reveal()}
FORM = {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()}


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    return InMemoryKeyturn(resources=Resources(ISSUER, AUDIENCE, frozenset({NOTES})))


async def audience(client: httpx.AsyncClient, answer: httpx.Response) -> str:
    """The one audience that `/v1/auth/verify` finds the answer's token to be for."""
    assert answer.status_code == 200, answer.text
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    found = []
    for each in (AUDIENCE, NOTES, ISSUER):
        verified = await client.get("/v1/auth/verify", params={"audience": each}, headers=headers)
        if verified.status_code == 204:
            found.append(each)
    (only,) = found
    return only


@pytest.mark.parametrize("resource", [None, AUDIENCE, NOTES, ISSUER])
async def test_a_login_and_a_refresh_give_a_token_for_the_resource_that_they_name(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, resource: str | None
) -> None:
    await keyturn.register()
    named = {} if resource is None else {"resource": resource}
    by_login = await client.post("/v1/auth/login", json=LOGIN | named)
    assert await audience(client, by_login) == (resource or AUDIENCE)
    by_oauth = await client.post("/oauth/token", data=FORM | named)
    assert await audience(client, by_oauth) == (resource or AUDIENCE)
    body = {"refresh_token": by_login.json()["refresh_token"], **named}
    assert await audience(client, await client.post("/v1/auth/refresh", json=body)) == (
        resource or AUDIENCE
    )
    form = {
        "grant_type": "refresh_token",
        "refresh_token": by_oauth.json()["refresh_token"],
        **named,
    }
    assert await audience(client, await client.post("/oauth/token", data=form)) == (
        resource or AUDIENCE
    )


async def test_a_refresh_that_names_nothing_gives_the_default_audience_again(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    answer = await client.post("/v1/auth/login", json=LOGIN | {"resource": NOTES})
    body = {"refresh_token": answer.json()["refresh_token"]}
    assert await audience(client, await client.post("/v1/auth/refresh", json=body)) == AUDIENCE


async def test_a_session_in_a_cookie_gets_tokens_for_resources(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    login = LOGIN | {"transport": "cookie", "resource": NOTES}
    answer = await client.post("/v1/auth/login", json=login)
    assert await audience(client, answer) == NOTES
    assert "refresh_token" not in answer.json()
    answer = await client.post(
        "/v1/auth/refresh", json={"resource": ISSUER}, headers={"X-Requested-With": "fetch"}
    )
    assert await audience(client, answer) == ISSUER
    assert "refresh_token" not in answer.json()


async def test_a_parameter_without_a_value_counts_as_left_out(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    answer = await client.post("/oauth/token", data=FORM | {"resource": ""})
    assert await audience(client, answer) == AUDIENCE
