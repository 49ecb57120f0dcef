"""Reauthentication over HTTP: for every kind of client, and nothing of it is cached."""

from collections.abc import Callable

import httpx
import pytest
from tests.delivery.http.test_dpop import ISSUER as DPOP_ISSUER
from tests.delivery.http.test_dpop import Holder, taking_proofs

from keyturn.delivery.http.services import HttpOptions
from keyturn.testing.in_memory import ADA, ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

PATH, EXPORT = "/v1/auth/reauthenticate", "/v1/users/me/export"
BODY = {"password": PASSWORD.reveal()}
LOGIN = {"email": ADA, "password": PASSWORD.reveal()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_answer_holds_an_access_token_and_nothing_else(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_ada: dict[str, str]
) -> None:
    keyturn.advance(minutes=6)
    answer = await client.post(PATH, json=BODY, headers=as_ada)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 900)
    headers = bearer(answer.json()["access_token"])
    assert (await client.get(EXPORT, headers=headers)).status_code == 200


async def test_a_client_finds_its_way_by_the_answers_alone(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    keyturn.advance(minutes=6)
    refused = await client.get(EXPORT, headers=as_ada)
    assert (refused.status_code, refused.json()["code"]) == (401, "wrong_audience")
    body = {
        "refresh_token": ada.refresh_token.reveal(),
        "resource": refused.json()["resource"],
    }
    refreshed = await client.post("/v1/auth/refresh", json=body)
    headers = bearer(refreshed.json()["access_token"])
    refused = await client.get(EXPORT, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (
        401,
        "insufficient_user_authentication",
    )
    answer = await client.post(PATH, json=BODY, headers=headers)
    headers = bearer(answer.json()["access_token"])
    assert (await client.get(EXPORT, headers=headers)).status_code == 200


async def test_a_fresh_login_for_the_issuer_needs_no_second_proof(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    tokens = (await client.post("/v1/auth/login", json={**LOGIN, "resource": ISSUER})).json()
    answer = await client.get(EXPORT, headers=bearer(tokens["access_token"]))
    assert answer.status_code == 200


async def test_a_session_in_a_cookie_reauthenticates_with_its_access_token(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    tokens = (await client.post("/v1/auth/login", json={**LOGIN, "transport": "cookie"})).json()
    answer = await client.post(PATH, json=BODY, headers=bearer(tokens["access_token"]))
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    # The cookie alone is not enough.
    assert (await client.post(PATH, json=BODY)).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"password": "not the right password"}, 422, "wrong_current_password"),
        ({"password": "x" * 5000}, 422, "password_too_long"),
        ({}, 422, "validation_failed"),
        ({**BODY, "resource": "https://notes.example"}, 422, "validation_failed"),
    ],
)
async def test_what_is_no_proof_is_refused(
    client: httpx.AsyncClient,
    as_ada: dict[str, str],
    body: dict[str, str],
    status: int,
    code: str,
) -> None:
    answer = await client.post(PATH, json=body, headers=as_ada)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert body.get("password", "nothing") not in answer.text


async def test_a_bound_session_stays_bound(connect: Callable[..., httpx.AsyncClient]) -> None:
    keyturn = taking_proofs()
    client = connect(keyturn=keyturn, options=HttpOptions(issuer=DPOP_ISSUER, dpop=True))
    owner = Holder(keyturn)
    await keyturn.register()
    headers = {"DPoP": owner.prove("POST", "/v1/auth/login")}
    token = (await client.post("/v1/auth/login", json=LOGIN, headers=headers)).json()[
        "access_token"
    ]
    keyturn.advance(minutes=6)
    assert (await client.post(PATH, json=BODY, headers=bearer(token))).status_code == 401
    answer = await client.post(PATH, json=BODY, headers=owner.bearing(token, "POST", PATH))
    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
    recent = answer.json()["access_token"]
    assert (await client.get(EXPORT, headers=bearer(recent))).status_code == 401
    headers = owner.bearing(recent, "GET", EXPORT)
    assert (await client.get(EXPORT, headers=headers)).status_code == 200
    # A challenge for a bound token names the scheme that it came with.
    keyturn.advance(minutes=6)
    answer = await client.get(EXPORT, headers=owner.bearing(recent, "GET", EXPORT))
    assert answer.headers["www-authenticate"].startswith(
        'DPoP realm="keyturn", error="insufficient_user_authentication"'
    )
    assert 'max_age="300"' in answer.headers["www-authenticate"]
    answer = await client.get(EXPORT, headers=owner.bearing(token, "GET", EXPORT))
    assert answer.json()["code"] == "wrong_audience"
    assert answer.headers["www-authenticate"].startswith(
        'DPoP realm="keyturn", error="invalid_token"'
    )
