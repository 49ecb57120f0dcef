"""Listing and ending sessions."""

import httpx
import pytest
from tests.delivery.http.conftest import but_for_its_id

from keyturn.domain.secret import Secret
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

SESSIONS = "/v1/sessions"


async def test_the_list_shows_each_device_and_marks_this_one(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    keyturn.advance(minutes=1)
    await client.post(
        "/v1/auth/login",
        json={"email": ADA, "password": PASSWORD.reveal(), "device_name": "phone"},
        headers={"User-Agent": "Browser/1"},
    )
    answer = await client.get(SESSIONS, headers=as_ada)
    assert answer.status_code == 200
    phone, this = answer.json()["sessions"]
    assert phone == {
        "id": "20000000-0000-0000-0000-000000000002",
        "device_name": "phone",
        "user_agent": "Browser/1",
        "ip": "192.0.2.7",
        "created_at": "2030-01-01T12:01:00Z",
        "last_used_at": "2030-01-01T12:01:00Z",
        "expires_at": "2030-01-08T12:01:00Z",
        "current": False,
        "ended_at": None,
        "reason": None,
    }
    assert (this["id"], this["current"]) == (str(ada.session_id), True)


async def test_ended_sessions_are_listed_when_they_are_asked_for(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_ada: dict[str, str]
) -> None:
    other = await keyturn.login()
    await keyturn.logout(other.refresh_token)
    live = (await client.get(SESSIONS, headers=as_ada)).json()["sessions"]
    with_ended = (await client.get(f"{SESSIONS}?ended=true", headers=as_ada)).json()["sessions"]
    assert len(live) == 1
    assert [(each["ended_at"], each["reason"]) for each in with_ended] == [
        (None, None),
        ("2030-01-01T12:00:00Z", "logout"),
    ]


@pytest.mark.parametrize("path", [f"{SESSIONS}?ended=perhaps", f"{SESSIONS}?ended="])
async def test_a_question_that_is_neither_yes_nor_no_is_refused(
    client: httpx.AsyncClient, as_ada: dict[str, str], path: str
) -> None:
    answer = await client.get(path, headers=as_ada)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == ["ended"]


async def test_one_session_can_be_ended(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_ada: dict[str, str]
) -> None:
    lost = await keyturn.login()
    answer = await client.delete(f"{SESSIONS}/{lost.session_id}", headers=as_ada)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not await _refreshes(client, lost)


async def test_the_session_of_somebody_else_is_as_unknown_as_none(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_ada: dict[str, str]
) -> None:
    await keyturn.register("eve@example.com", Secret("another good password"))
    eve = await keyturn.login("eve@example.com", Secret("another good password"))
    unknown = "20000000-0000-0000-0000-00000000ffff"
    answers = [
        await client.delete(f"{SESSIONS}/{session_id}", headers=as_ada)
        for session_id in (eve.session_id, unknown, "nonsense", "%00", "%ff", "x" * 5000)
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({but_for_its_id(answer) for answer in answers}) == 1
    assert answers[0].json()["code"] == "session_not_found"
    assert await _refreshes(client, eve)


@pytest.mark.parametrize(("query", "this_stays"), [("?keep_current=true", True), ("", False)])
async def test_all_sessions_can_be_ended_with_or_without_this_one(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str],
    query: str, this_stays: bool,
) -> None:  # fmt: skip
    other = await keyturn.login()
    answer = await client.delete(f"{SESSIONS}{query}", headers=as_ada)
    assert answer.status_code == 204
    assert not await _refreshes(client, other)
    assert await _refreshes(client, ada) is this_stays


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", SESSIONS), ("DELETE", SESSIONS), ("DELETE", f"{SESSIONS}/nonsense")],
)
async def test_every_route_needs_an_access_token(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    without = await client.request(method, path)
    with_bad_one = await client.request(method, path, headers={"Authorization": "Bearer x"})
    assert (without.status_code, without.json()["code"]) == (401, "authentication_required")
    assert (with_bad_one.status_code, with_bad_one.json()["code"]) == (401, "invalid_token")


async def _refreshes(client: httpx.AsyncClient, pair: TokenPair) -> bool:
    body = {"refresh_token": pair.refresh_token.reveal()}
    return (await client.post("/v1/auth/refresh", json=body)).status_code == 200
