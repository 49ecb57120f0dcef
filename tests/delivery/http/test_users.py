"""What somebody may see and change of themselves."""

import httpx
import pytest

from keyturn.domain.user import UserStatus
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

ME = "/v1/users/me"
NEW_PASSWORD = "seven quiet glaciers"


async def test_everybody_sees_themselves(
    client: httpx.AsyncClient, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    answer = await client.get(ME, headers=as_ada)
    assert answer.status_code == 200
    profile = answer.json()
    assert profile["id"] == str(ada.user_id)
    assert profile["email"] == ADA
    assert profile["status"] == "active"
    assert profile["last_login_at"] == "2030-01-01T12:00:00Z"
    assert "password" not in answer.text


async def test_a_display_name_can_be_changed_and_removed(
    client: httpx.AsyncClient, as_ada: dict[str, str]
) -> None:
    changed = await client.patch(ME, json={"display_name": "Ada L."}, headers=as_ada)
    removed = await client.patch(ME, json={"display_name": None}, headers=as_ada)
    assert (changed.status_code, changed.json()["display_name"]) == (200, "Ada L.")
    assert (removed.status_code, removed.json()["display_name"]) == (200, None)


async def test_a_change_of_nothing_is_no_change(
    client: httpx.AsyncClient, as_ada: dict[str, str]
) -> None:
    answer = await client.patch(ME, json={}, headers=as_ada)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_nobody_changes_more_of_themselves_than_their_name(
    client: httpx.AsyncClient, as_ada: dict[str, str]
) -> None:
    body = {"display_name": "Ada", "roles": ["admin"]}
    answer = await client.patch(ME, json=body, headers=as_ada)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["roles"]


async def test_a_password_change_ends_the_other_sessions_and_keeps_this_one(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    other = await keyturn.login()
    body = {"current_password": PASSWORD.reveal(), "new_password": NEW_PASSWORD}
    answer = await client.post(f"{ME}/password", json=body, headers=as_ada)
    assert (answer.status_code, answer.content) == (204, b"")
    for pair, status in ((ada, 200), (other, 401)):
        refreshed = await client.post(
            "/v1/auth/refresh", json={"refresh_token": pair.refresh_token.reveal()}
        )
        assert refreshed.status_code == status
    login = await client.post("/v1/auth/login", json={"email": ADA, "password": NEW_PASSWORD})
    assert login.status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "code", "field"),
    [
        ("not her password", NEW_PASSWORD, "wrong_current_password", "current_password"),
        (PASSWORD.reveal(), "short", "password_too_short", "new_password"),
        (PASSWORD.reveal(), "x" * 1025, "password_too_long", "new_password"),
        (PASSWORD.reveal(), "password password", "password_too_common", "new_password"),
        (PASSWORD.reveal(), "with a \0 inside of it", "password_not_text", "new_password"),
    ],
)
async def test_a_refused_password_change_names_the_field_by_the_name_it_has_here(
    client: httpx.AsyncClient, as_ada: dict[str, str], current: str, new: str, code: str, field: str
) -> None:
    body = {"current_password": current, "new_password": new}
    answer = await client.post(f"{ME}/password", json=body, headers=as_ada)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_disabled_user_sees_nothing_with_a_token_that_still_verifies(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    await keyturn.set_status(keyturn.store.users[ada.user_id], UserStatus.DISABLED)
    shown = await client.get(ME, headers=as_ada)
    changed = await client.patch(ME, json={"display_name": "Eve"}, headers=as_ada)
    assert shown.status_code == changed.status_code == 401
    assert shown.json()["code"] == changed.json()["code"] == "invalid_token"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", ME, None),
        ("PATCH", ME, {"display_name": "Ada"}),
        ("POST", f"{ME}/password", {"current_password": "x", "new_password": "y"}),
    ],
)
async def test_every_route_needs_an_access_token(
    client: httpx.AsyncClient, ada: TokenPair, method: str, path: str, body: object
) -> None:
    without = await client.request(method, path, json=body)
    with_bad_one = await client.request(
        method, path, json=body, headers={"Authorization": f"Bearer {ada.refresh_token.reveal()}"}
    )
    assert (without.status_code, without.json()["code"]) == (401, "authentication_required")
    assert (with_bad_one.status_code, with_bad_one.json()["code"]) == (401, "invalid_token")


async def test_a_token_limited_to_reading_changes_nothing(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    form = {
        "grant_type": "password",
        "username": ADA,
        "password": PASSWORD.reveal(),
        "scope": "profile:read",
    }
    token = (await client.post("/oauth/token", data=form)).json()["access_token"]
    reader = {"Authorization": f"Bearer {token}"}
    passwords = {"current_password": PASSWORD.reveal(), "new_password": NEW_PASSWORD}
    refused = [
        await client.patch(ME, json={"display_name": "Eve"}, headers=reader),
        await client.post(f"{ME}/password", json=passwords, headers=reader),
        await client.delete("/v1/sessions", headers=reader),
        await client.delete(f"/v1/sessions/{ada.session_id}", headers=reader),
        await client.post("/v1/auth/logout-all", headers=reader),
    ]
    assert {answer.status_code for answer in refused} == {403}
    assert {answer.json()["code"] for answer in refused} == {"insufficient_scope"}
    assert (await client.get(ME, headers=reader)).status_code == 200
    assert (await client.get("/v1/sessions", headers=reader)).status_code == 200
    assert (await client.post("/v1/auth/logout", headers=reader)).status_code == 204


async def test_a_token_limited_to_writing_reads_nothing(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    form = {
        "grant_type": "password",
        "username": ADA,
        "password": PASSWORD.reveal(),
        "scope": "profile:write",
    }
    token = (await client.post("/oauth/token", data=form)).json()["access_token"]
    writer = {"Authorization": f"Bearer {token}"}
    assert (await client.get(ME, headers=writer)).status_code == 403
    assert (await client.get("/v1/sessions", headers=writer)).status_code == 403
