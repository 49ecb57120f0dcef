"""Refreshing and ending a session, with the tokens in the body."""

import httpx

from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

REFRESH = "/v1/auth/refresh"
LOGOUT = "/v1/auth/logout"


async def test_a_refresh_rotates_and_a_repeated_one_gives_the_same_successor(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    body = {"refresh_token": ada.refresh_token.reveal()}
    rotated = await client.post(REFRESH, json=body)
    replayed = await client.post(REFRESH, json=body)
    assert rotated.status_code == replayed.status_code == 200
    assert rotated.json()["outcome"] == "rotated"
    assert replayed.json()["outcome"] == "replayed"
    assert rotated.json()["refresh_token"] == replayed.json()["refresh_token"]
    assert rotated.json()["refresh_token"] != body["refresh_token"]
    assert rotated.headers["cache-control"] == "no-store"


async def test_a_refresh_token_that_comes_back_late_ends_the_session(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    body = {"refresh_token": ada.refresh_token.reveal()}
    successor = (await client.post(REFRESH, json=body)).json()["refresh_token"]
    keyturn.advance(seconds=30)
    late = await client.post(REFRESH, json=body)
    honest = await client.post(REFRESH, json={"refresh_token": successor})
    assert late.status_code == honest.status_code == 401
    assert late.json()["code"] == honest.json()["code"] == "invalid_refresh_token"
    assert late.headers["www-authenticate"].startswith(
        'Bearer realm="keyturn", error="invalid_token"'
    )


async def test_a_refresh_moves_the_address_and_keeps_the_name_of_the_device(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    await client.post(REFRESH, json={"refresh_token": ada.refresh_token.reveal()})
    (family,) = keyturn.store.families.values()
    assert family.device.ip == "192.0.2.7"


async def test_a_refresh_with_nothing_to_refresh_needs_authentication(
    client: httpx.AsyncClient,
) -> None:
    for body in (None, {}, {"refresh_token": None}):
        answer = await client.post(REFRESH, json=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")
        assert answer.headers["www-authenticate"] == 'Bearer realm="keyturn"'


async def test_an_access_token_refreshes_nothing(client: httpx.AsyncClient, ada: TokenPair) -> None:
    answer = await client.post(REFRESH, json={"refresh_token": ada.access_token.reveal()})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")


async def test_each_token_ends_its_session(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    by_access, by_refresh, by_both = [await keyturn.login() for _ in range(3)]
    answers = [
        await client.post(LOGOUT, headers=_bearer(by_access)),
        await client.post(LOGOUT, json={"refresh_token": by_refresh.refresh_token.reveal()}),
        await client.post(
            LOGOUT,
            json={"refresh_token": by_both.refresh_token.reveal()},
            headers=_bearer(by_both),
        ),
    ]
    assert [answer.status_code for answer in answers] == [204, 204, 204]
    assert {answer.content for answer in answers} == {b""}
    for pair in (by_access, by_refresh, by_both):
        refused = await client.post(REFRESH, json={"refresh_token": pair.refresh_token.reveal()})
        assert refused.status_code == 401


async def test_logging_out_twice_is_no_error(client: httpx.AsyncClient, ada: TokenPair) -> None:
    body = {"refresh_token": ada.refresh_token.reveal()}
    assert (await client.post(LOGOUT, json=body)).status_code == 204
    assert (await client.post(LOGOUT, json=body)).status_code == 204


async def test_a_logout_without_any_token_needs_authentication(client: httpx.AsyncClient) -> None:
    answer = await client.post(LOGOUT)
    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")


async def test_a_logout_with_nothing_but_a_bad_token_is_refused(client: httpx.AsyncClient) -> None:
    by_access = await client.post(LOGOUT, headers={"Authorization": "Bearer nonsense"})
    by_refresh = await client.post(LOGOUT, json={"refresh_token": "nonsense"})
    assert (by_access.status_code, by_access.json()["code"]) == (401, "invalid_token")
    assert (by_refresh.status_code, by_refresh.json()["code"]) == (401, "invalid_refresh_token")


async def test_a_refresh_token_logs_out_when_the_access_token_has_expired(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    keyturn.advance(hours=1)
    body = {"refresh_token": ada.refresh_token.reveal()}
    assert (await client.post(LOGOUT, json=body, headers=_bearer(ada))).status_code == 204
    assert (await client.post(REFRESH, json=body)).status_code == 401


async def test_logging_out_everywhere_ends_every_session(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair
) -> None:
    other = await keyturn.login()
    assert (await client.post("/v1/auth/logout-all", headers=_bearer(ada))).status_code == 204
    for pair in (ada, other):
        refused = await client.post(REFRESH, json={"refresh_token": pair.refresh_token.reveal()})
        assert refused.status_code == 401


async def test_logging_out_everywhere_needs_an_access_token(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/auth/logout-all")
    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")


def _bearer(pair: TokenPair) -> dict[str, str]:
    return {"Authorization": f"Bearer {pair.access_token.reveal()}"}
