"""Users, roles, sessions and the audit trail, as administrators see and change them."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.token_pair import TokenPair

Enter = Callable[..., Awaitable[TokenPair]]

USERS = "/v1/admin/users"
ROLES = "/v1/admin/roles"
EVENTS = "/v1/admin/audit-events"
UNKNOWN_ID = "10000000-0000-0000-0000-00000000ffff"
NO_IDS = ["nonsense", "%00", "%ff", "x" * 5000, UNKNOWN_ID]


async def walk(
    client: httpx.AsyncClient, path: str, key: str, headers: dict[str, str]
) -> list[list[Any]]:
    """Every page of a list, by its cursors."""
    pages: list[list[Any]] = []
    cursor = ""
    while True:
        answer = await client.get(f"{path}{cursor}", headers=headers)
        assert answer.status_code == 200
        pages.append(answer.json()[key])
        if answer.json()["next_cursor"] is None:
            return pages
        cursor = f"&cursor={answer.json()['next_cursor']}"


async def test_users_are_listed_page_by_page(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_root: dict[str, str]
) -> None:
    for number in range(4):
        await keyturn.register(f"user{number}@example.com")
    pages = await walk(client, f"{USERS}?limit=2", "users", as_root)
    assert [[user["email"] for user in page] for page in pages] == [
        ["root@example.com", "user0@example.com"],
        ["user1@example.com", "user2@example.com"],
        ["user3@example.com"],
    ]


async def test_a_list_that_fits_has_one_page(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_root: dict[str, str]
) -> None:
    await keyturn.register()
    assert len(await walk(client, f"{USERS}?limit=2", "users", as_root)) == 1


async def test_users_are_found_by_address_status_and_role(
    client: httpx.AsyncClient, ada: TokenPair, as_root: dict[str, str]
) -> None:
    await client.patch(f"{USERS}/{ada.user_id}", json={"status": "disabled"}, headers=as_root)

    async def found(query: str) -> list[str]:
        answer = await client.get(f"{USERS}?{query}", headers=as_root)
        return [user["email"] for user in answer.json()["users"]]

    assert await found("email=ADA@") == [ADA]
    assert await found("email=%25") == []
    assert await found("status=disabled") == [ADA]
    assert await found("role=admin") == ["root@example.com"]
    assert await found("role=nobody") == []
    assert await found("status=active&role=user&email=example.com") == ["root@example.com"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("status=gone", "status"),
        ("role=Admin", "role"),
        ("role=a%00", "role"),
        ("email=a%00b", "email"),
        ("email=", "email"),
        ("stauts=disabled", "stauts"),
        ("cursor=", "cursor"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%ff", "cursor"),
        ("cursor=" + "A" * 23, "cursor"),
        ("cursor=" + "A" * 5000, "cursor"),
        ("cursor=10000000-0000-0000-0000-000000000001", "cursor"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, as_root: dict[str, str], query: str, field: str
) -> None:
    answer = await client.get(f"{USERS}?{query}", headers=as_root)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_cursor_is_good_for_its_own_list_alone(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_root: dict[str, str]
) -> None:
    await keyturn.register()
    answer = await client.get(f"{USERS}?limit=1", headers=as_root)
    cursor = answer.json()["next_cursor"]
    assert (await client.get(f"{USERS}?cursor={cursor}", headers=as_root)).status_code == 200
    for wrong in (f"{EVENTS}?cursor={cursor}", f"{USERS}?cursor={cursor}="):
        assert (await client.get(wrong, headers=as_root)).status_code == 422


async def test_a_user_is_shown_as_they_see_themselves(
    client: httpx.AsyncClient, ada: TokenPair, as_ada: dict[str, str], as_root: dict[str, str]
) -> None:
    answer = await client.get(f"{USERS}/{ada.user_id}", headers=as_root)
    assert answer.json() == (await client.get("/v1/users/me", headers=as_ada)).json()


async def test_a_user_is_renamed_and_keeps_their_tokens(
    client: httpx.AsyncClient, ada: TokenPair, as_ada: dict[str, str], as_root: dict[str, str]
) -> None:
    path = f"{USERS}/{ada.user_id}"
    for name in ("Countess", None):
        changed = await client.patch(path, json={"display_name": name}, headers=as_root)
        assert (changed.status_code, changed.json()["display_name"]) == (200, name)
    await client.patch(path, json={"display_name": "Countess"}, headers=as_root)
    unchanged = await client.patch(path, json={}, headers=as_root)
    assert unchanged.json()["display_name"] == "Countess"
    assert (await client.get("/v1/users/me", headers=as_ada)).status_code == 200


async def test_a_disabled_user_can_be_enabled_again(
    client: httpx.AsyncClient, ada: TokenPair, as_root: dict[str, str]
) -> None:
    login = {"email": ADA, "password": PASSWORD.reveal()}
    for status, logs_in in (("disabled", 401), ("active", 200)):
        changed = await client.patch(
            f"{USERS}/{ada.user_id}", json={"status": status}, headers=as_root
        )
        assert changed.json()["status"] == status
        assert (await client.post("/v1/auth/login", json=login)).status_code == logs_in


async def test_roles_are_assigned_all_at_once(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_root: dict[str, str]
) -> None:
    user = await keyturn.register(verified=True)
    path = f"{USERS}/{user.id}/roles"
    for roles in (["admin", "user"], ["user"], []):
        answer = await client.put(path, json={"roles": [*roles, *roles]}, headers=as_root)
        assert (answer.status_code, answer.json()["roles"]) == (200, roles)


async def test_nobody_with_an_unverified_address_becomes_an_administrator(
    client: httpx.AsyncClient, ada: TokenPair, as_root: dict[str, str]
) -> None:
    path = f"{USERS}/{ada.user_id}/roles"
    answer = await client.put(path, json={"roles": ["admin", "user"]}, headers=as_root)
    assert (answer.status_code, answer.json()["code"]) == (409, "administrator_unverified")


async def test_an_unknown_role_is_not_assigned(
    client: httpx.AsyncClient, ada: TokenPair, as_root: dict[str, str]
) -> None:
    path = f"{USERS}/{ada.user_id}/roles"
    unknown = await client.put(path, json={"roles": ["user", "nobody"]}, headers=as_root)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "role_not_found")
    malformed = await client.put(path, json={"roles": ["user", "a\0b"]}, headers=as_root)
    assert (malformed.status_code, malformed.json()["code"]) == (422, "validation_failed")


async def test_the_last_administrator_stays(
    client: httpx.AsyncClient, root: TokenPair, as_root: dict[str, str]
) -> None:
    path = f"{USERS}/{root.user_id}"
    answers = [
        await client.put(f"{path}/roles", json={"roles": ["user"]}, headers=as_root),
        await client.patch(path, json={"status": "disabled"}, headers=as_root),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "last_administrator")
    assert (await client.get(USERS, headers=as_root)).status_code == 200


async def test_nobody_grants_what_they_do_not_hold(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, enter: Enter
) -> None:
    await keyturn.define_role.execute(
        DefineRoleCommand("helper", frozenset({"roles:assign", "roles:write"}), actor=None)
    )
    helper = await enter("helper@example.com", "helper", "user")
    headers = {"Authorization": f"Bearer {helper.access_token.reveal()}"}
    answers = [
        await client.put(
            f"{USERS}/{user_id}/roles", json={"roles": ["helper", "admin"]}, headers=headers
        )
        for user_id in (ada.user_id, helper.user_id)
    ]
    answers.append(
        await client.put(f"{ROLES}/helper", json={"permissions": ["users:write"]}, headers=headers)
    )
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    # What they hold themselves, they may hand on.
    path = f"{USERS}/{ada.user_id}/roles"
    handed_on = await client.put(path, json={"roles": ["helper", "user"]}, headers=headers)
    assert handed_on.status_code == 200


async def test_the_sessions_of_a_user_are_listed(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_root: dict[str, str]
) -> None:
    ended = await keyturn.login()
    await keyturn.logout(ended.refresh_token)
    path = f"{USERS}/{ada.user_id}/sessions"
    live = (await client.get(path, headers=as_root)).json()["sessions"]
    assert [(each["id"], each["current"]) for each in live] == [(str(ada.session_id), False)]
    with_ended = (await client.get(f"{path}?ended=true", headers=as_root)).json()["sessions"]
    assert [each["reason"] for each in with_ended] == [None, "logout"]


async def test_an_administrator_who_looks_at_themselves_sees_which_session_is_theirs(
    client: httpx.AsyncClient, root: TokenPair, as_root: dict[str, str]
) -> None:
    answer = await client.get(f"{USERS}/{root.user_id}/sessions", headers=as_root)
    assert [each["current"] for each in answer.json()["sessions"]] == [True]


@pytest.mark.parametrize("one", [True, False])
async def test_an_administrator_ends_sessions_and_the_user_sees_who_did(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_root: dict[str, str],
    one: bool,
) -> None:  # fmt: skip
    stays = await keyturn.login()
    path = f"{USERS}/{ada.user_id}/sessions"
    path = f"{path}/{ada.session_id}" if one else path
    answer = await client.delete(path, headers=as_root)
    assert (answer.status_code, answer.content) == (204, b"")
    reasons = {each.id: each.revoke_reason for each in keyturn.store.families.values()}
    assert reasons[ada.session_id] == "administrator"
    assert reasons[stays.session_id] == (None if one else "administrator")


@pytest.mark.parametrize("user_id", NO_IDS)
@pytest.mark.parametrize(
    ("method", "below", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"status": "disabled"}),
        ("PUT", "/roles", {"roles": []}),
        ("GET", "/sessions", None),
        ("DELETE", "/sessions", None),
    ],
)
async def test_what_is_no_user_is_not_found(
    client: httpx.AsyncClient, as_root: dict[str, str], user_id: str, method: str, below: str,
    body: dict[str, object] | None,
) -> None:  # fmt: skip
    answer = await client.request(method, f"{USERS}/{user_id}{below}", json=body, headers=as_root)
    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


@pytest.mark.parametrize("session_id", NO_IDS)
async def test_what_is_no_session_is_not_found(
    client: httpx.AsyncClient, ada: TokenPair, as_root: dict[str, str], session_id: str
) -> None:
    path = f"{USERS}/{ada.user_id}/sessions/{session_id}"
    answer = await client.delete(path, headers=as_root)
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


async def test_a_role_is_defined_changed_and_deleted(
    client: httpx.AsyncClient, ada: TokenPair, as_root: dict[str, str]
) -> None:
    path = f"{ROLES}/editor"
    for permissions in (["profile:read"], ["profile:read", "users:read"], []):
        defined = await client.put(path, json={"permissions": permissions[::-1]}, headers=as_root)
        assert defined.json() == {
            "name": "editor",
            "permissions": permissions,
            "assignable_by": [],
        }
        assert (await client.get(path, headers=as_root)).json() == defined.json()
    listed = (await client.get(ROLES, headers=as_root)).json()["roles"]
    assert [role["name"] for role in listed] == ["admin", "editor", "user"]
    assigned = f"{USERS}/{ada.user_id}"
    await client.put(f"{assigned}/roles", json={"roles": ["editor", "user"]}, headers=as_root)
    assert (await client.delete(path, headers=as_root)).status_code == 204
    assert (await client.get(assigned, headers=as_root)).json()["roles"] == ["user"]
    for method in ("GET", "DELETE"):
        gone = await client.request(method, path, headers=as_root)
        assert (gone.status_code, gone.json()["code"]) == (404, "role_not_found")


async def test_a_writer_overwrites_no_role_that_they_have_not_seen(
    client: httpx.AsyncClient, as_root: dict[str, str]
) -> None:
    path = "/v1/admin/roles/editor"
    made = await client.put(path, json={"permissions": ["posts:write"]}, headers=as_root)
    seen = made.headers["etag"]
    assert (await client.get(path, headers=as_root)).headers["etag"] == seen
    changed = await client.put(
        path, json={"permissions": []}, headers={**as_root, "If-Match": f'"other", {seen}'}
    )
    assert changed.status_code == 200
    assert changed.headers["etag"] != seen
    for stale in (seen, f"W/{changed.headers['etag']}", '"x"', "x", '"', ""):
        for method, body in (("PUT", {"permissions": ["posts:delete"]}), ("DELETE", None)):
            answer = await client.request(
                method, path, json=body, headers={**as_root, "If-Match": stale}
            )
            assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    assert (await client.get(path, headers=as_root)).json()["permissions"] == []
    # A role that is made again is another one, although its version is that of the first.
    assert (await client.delete(path, headers={**as_root, "If-Match": "*"})).status_code == 204
    again = await client.put(path, json={"permissions": []}, headers={**as_root, "If-Match": "*"})
    assert again.status_code == 412
    await client.put(path, json={"permissions": ["posts:read"]}, headers=as_root)
    answer = await client.put(path, json={"permissions": []}, headers={**as_root, "If-Match": seen})
    assert answer.status_code == 412


async def test_the_built_in_roles_stay(client: httpx.AsyncClient, as_root: dict[str, str]) -> None:
    answers = [
        await client.delete(f"{ROLES}/admin", headers=as_root),
        await client.delete(f"{ROLES}/user", headers=as_root),
        await client.put(f"{ROLES}/admin", json={"permissions": []}, headers=as_root),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "role_protected")


@pytest.mark.parametrize("name", ["Editor", "%00", "%ff", "a,b", "x" * 65])
async def test_a_malformed_role_name_is_no_role_and_makes_none(
    client: httpx.AsyncClient, as_root: dict[str, str], name: str
) -> None:
    path = f"{ROLES}/{name}"
    for method in ("GET", "DELETE"):
        answer = await client.request(method, path, headers=as_root)
        assert (answer.status_code, answer.json()["code"]) == (404, "role_not_found")
    refused = await client.put(path, json={"permissions": []}, headers=as_root)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_role")
    assert [error["field"] for error in refused.json()["errors"]] == ["name"]


async def test_a_malformed_permission_is_named(
    client: httpx.AsyncClient, as_root: dict[str, str]
) -> None:
    body = {"permissions": ["posts:delete", "posts delete"]}
    answer = await client.put(f"{ROLES}/editor", json=body, headers=as_root)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_role")
    assert [error["field"] for error in answer.json()["errors"]] == ["permissions"]
    assert "'posts delete'" in answer.json()["detail"]


@pytest.mark.parametrize("field", ["password", "new_password", "password_hash"])
async def test_no_administrator_chooses_the_password_of_another(
    client: httpx.AsyncClient, as_root: dict[str, str], ada: TokenPair, field: str
) -> None:
    body = {"display_name": "Ada", field: "seven quiet glaciers"}
    answer = await client.patch(f"{USERS}/{ada.user_id}", json=body, headers=as_root)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", f"{USERS}/{UNKNOWN_ID}"),
        ("PUT", f"{USERS}/{UNKNOWN_ID}/roles"),
        ("PUT", f"{ROLES}/editor"),
    ],
)
async def test_a_body_of_another_form_is_refused(
    client: httpx.AsyncClient, as_root: dict[str, str], method: str, path: str
) -> None:
    headers = {**as_root, "Content-Type": "application/json"}
    bodies = (
        b'{"unknown": 1}', b"[]", b"7", b'{"roles": "admin", "permissions": {}, "status": "gone"}',
        b'{"roles": ["\\ud800"], "permissions": ["\\ud800"], "display_name": "\\ud800"}',
        b'{"roles": [null], "permissions": [1], "status": 1}',
    )  # fmt: skip
    for body in bodies:
        answer = await client.request(method, path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    malformed = await client.request(method, path, content=b"{", headers=headers)
    assert malformed.status_code == 400
    form = await client.request(method, path, content=b"a=b", headers=as_root)
    assert form.status_code == 415


async def test_events_are_listed_latest_first_page_by_page(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_root: dict[str, str]
) -> None:
    await keyturn.register()
    for _ in range(3):
        await keyturn.login()
    pages = await walk(client, f"{EVENTS}?limit=2", "events", as_root)
    assert [len(page) for page in pages] == [2, 2, 2]
    types = [event["type"] for page in pages for event in page]
    registered_then_logged_in = ["user_registered", "login_succeeded"]
    assert types[::-1] == [*registered_then_logged_in * 2, *["login_succeeded"] * 2]


async def test_an_event_says_what_when_who_whom_and_from_where(
    client: httpx.AsyncClient, ada: TokenPair, root: TokenPair, as_root: dict[str, str]
) -> None:
    sent = {**as_root, "User-Agent": "Browser/1", "X-Request-ID": "my-id"}
    path = f"{USERS}/{ada.user_id}/sessions/{ada.session_id}"
    deleted = await client.delete(path, headers=sent)
    answer = await client.get(f"{EVENTS}?limit=1", headers=as_root)
    (event,) = answer.json()["events"]
    assert event == {
        "id": event["id"],
        "at": "2030-01-01T12:00:00Z",
        "type": "session_revoked",
        "actor": str(root.user_id),
        "subject": str(ada.user_id),
        "session": str(ada.session_id),
        "ip": "192.0.2.7",
        "user_agent": "Browser/1",
        "request_id": deleted.headers["x-request-id"],
        "client_request_id": None,
        "details": {"reason": "administrator"},
    }


async def test_events_are_found_by_type_actor_and_subject(
    client: httpx.AsyncClient, ada: TokenPair, root: TokenPair, as_root: dict[str, str]
) -> None:
    wrong = {"email": ADA, "password": "not at all her password"}
    await client.post("/v1/auth/login", json=wrong)
    await client.patch(f"{USERS}/{ada.user_id}", json={"status": "disabled"}, headers=as_root)

    async def found(query: str) -> list[str]:
        answer = await client.get(f"{EVENTS}?{query}", headers=as_root)
        return [event["type"] for event in answer.json()["events"]]

    assert await found("type=login_failed") == ["login_failed"]
    assert await found(f"actor={root.user_id}&subject={ada.user_id}") == ["user_disabled"]
    assert "login_failed" in await found(f"subject={ada.user_id}")
    assert await found(f"actor={UNKNOWN_ID}") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("type=nothing", "type"),
        ("actor=nobody", "actor"),
        ("subject=%00", "subject"),
        ("limit=1000", "limit"),
        ("cursor=x", "cursor"),
        ("since=yesterday", "since"),
    ],
)
async def test_a_question_about_events_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, as_root: dict[str, str], query: str, field: str
) -> None:
    answer = await client.get(f"{EVENTS}?{query}", headers=as_root)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_the_trail_tells_no_secret(
    client: httpx.AsyncClient, ada: TokenPair, as_ada: dict[str, str], as_root: dict[str, str]
) -> None:
    login = {"email": ADA, "password": "wrong-canary-7f3b", "device_name": "x"}
    await client.post("/v1/auth/login", json=login)
    change = {"current_password": PASSWORD.reveal(), "new_password": "seven quiet glaciers"}
    await client.post("/v1/users/me/password", json=change, headers=as_ada)
    answer = await client.get(f"{EVENTS}?limit=200", headers=as_root)
    for secret in (
        "canary", PASSWORD.reveal(), "glaciers", ada.refresh_token.reveal(), as_ada["Authorization"]
    ):  # fmt: skip
        assert secret not in answer.text


async def test_every_change_says_where_it_came_from(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, enter: Enter,
    as_root: dict[str, str],
) -> None:  # fmt: skip
    bob = await enter("bob@example.com", "user")
    as_bob = {"Authorization": f"Bearer {bob.access_token.reveal()}"}
    user, role = f"{USERS}/{ada.user_id}", f"{ROLES}/editor"
    before = len(keyturn.store.audit_events)
    second = await keyturn.login_user.execute(LoginUserCommand("bob@example.com", PASSWORD))
    await keyturn.login_user.execute(LoginUserCommand("bob@example.com", PASSWORD))
    login = {"email": ADA, "password": PASSWORD.reveal()}
    changes: list[tuple[str, str, object, dict[str, str]]] = [
        ("DELETE", f"/v1/sessions/{second.session_id}", None, as_bob),
        ("DELETE", "/v1/sessions?keep_current=true", None, as_bob),
        ("POST", "/v1/auth/logout", None, as_bob),
        ("POST", "/v1/auth/login", login, {}),
        ("POST", "/v1/auth/login", {**login, "password": "not at all hers"}, {}),
        ("POST", "/v1/auth/register", {**login, "email": "new@example.com"}, {}),
        ("DELETE", f"{user}/sessions/{ada.session_id}", None, as_root),
        ("DELETE", f"{user}/sessions", None, as_root),
        ("PATCH", user, {"display_name": "x", "status": "disabled"}, as_root),
        ("PUT", role, {"permissions": []}, as_root),
        ("PUT", f"{user}/roles", {"roles": ["editor"]}, as_root),
        ("DELETE", role, None, as_root),
    ]
    request_ids = set()
    for method, path, body, headers in changes:
        answer = await client.request(method, path, json=body, headers=headers)
        request_ids.add(answer.headers["x-request-id"])
        assert answer.status_code in (200, 201, 204, 401), path
    events = list(keyturn.store.audit_events.values())[before + 2 :]
    assert {event.origin.request_id for event in events} == request_ids
    assert {event.origin.ip for event in events} == {"192.0.2.7"}
