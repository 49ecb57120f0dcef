"""Addresses, forgotten passwords, and leaving: each flow over HTTP, and who attacks it."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from keyturn.domain.errors import StoreUnavailable
from keyturn.domain.events import AuditEventType
from keyturn.domain.login_policy import LoginPolicy
from keyturn.domain.mail import MailKind
from keyturn.testing.in_memory import ADA, ISSUER, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.token_pair import TokenPair

LOGIN = {"email": ADA, "password": PASSWORD.reveal()}
NEW_PASSWORD = "seven quiet glaciers"
NEW_LOGIN = {**LOGIN, "password": NEW_PASSWORD}
OTHER = "ada.lovelace@example.com"

Enter = Callable[..., Awaitable[TokenPair]]


def code(answer: httpx.Response) -> str:
    problem: dict[str, str] = answer.json()
    return problem["code"]


def link(token: str) -> dict[str, str]:
    """The body that hands in a link, with the password of the account."""
    return {"token": token, "password": PASSWORD.reveal()}


async def mailed_to(keyturn: InMemoryKeyturn) -> list[tuple[str, str]]:
    """Send what waits, and return what went to whom."""
    before = len(keyturn.sent_mails)
    await keyturn.deliver_mail.execute()
    return [(mail.subject, mail.to) for mail in keyturn.sent_mails[before:]]


async def test_the_link_that_registering_sends_verifies_the_address(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    registered = await client.post("/v1/auth/register", json=LOGIN)
    assert registered.json()["email_verified"] is False
    token = (await keyturn.token_of_next_mail()).reveal()
    confirmed = await client.post("/v1/auth/email-verification/confirm", json=link(token))
    assert (confirmed.status_code, confirmed.content) == (204, b"")
    tokens = (await client.post("/v1/auth/login", json=LOGIN)).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.get("/v1/users/me", headers=headers)).json()["email_verified"] is True


async def test_the_mail_that_verifies_can_be_asked_for_again(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    await mailed_to(keyturn)
    asked = await client.post("/v1/auth/email-verification", json={"email": ADA.upper()})
    assert (asked.status_code, asked.content) == (202, b"")
    assert await mailed_to(keyturn) == [(MailKind.VERIFY_EMAIL, ADA)]


async def test_where_the_address_must_be_verified_nobody_logs_in_before(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    keyturn = InMemoryKeyturn(login_policy=LoginPolicy(requires_verified_email=True))
    client = connect(keyturn=keyturn)
    await client.post("/v1/auth/register", json=LOGIN)
    refused = await client.post("/v1/auth/login", json=LOGIN)
    assert (refused.status_code, code(refused)) == (401, "invalid_credentials")
    token = (await keyturn.token_of_next_mail()).reveal()
    await client.post("/v1/auth/email-verification/confirm", json=link(token))
    assert (await client.post("/v1/auth/login", json=LOGIN)).status_code == 200


async def test_a_reset_ends_every_session_and_sets_the_password(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, ada: TokenPair, as_ada: dict[str, str]
) -> None:
    await mailed_to(keyturn)
    asked = await client.post("/v1/auth/password-reset", json={"email": ADA})
    assert (asked.status_code, asked.content) == (202, b"")
    body = {"token": (await keyturn.token_of_next_mail()).reveal(), "new_password": NEW_PASSWORD}
    done = await client.post("/v1/auth/password-reset/confirm", json=body)
    assert (done.status_code, done.content) == (204, b"")
    assert (await client.get("/v1/users/me", headers=as_ada)).status_code == 401
    refresh = {"refresh_token": ada.refresh_token.reveal()}
    assert (await client.post("/v1/auth/refresh", json=refresh)).status_code == 401
    assert (await client.post("/v1/auth/login", json=LOGIN)).status_code == 401
    assert (await client.post("/v1/auth/login", json=NEW_LOGIN)).status_code == 200
    assert await mailed_to(keyturn) == [(MailKind.PASSWORD_CHANGED, ADA)]


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("short", "password_too_short"),
        ("Password Password", "password_too_common"),
        ("Ada@Example.com", "password_too_personal"),
    ],
)
async def test_a_new_password_that_is_refused_does_not_use_up_the_link(
    client: httpx.AsyncClient,
    keyturn: InMemoryKeyturn,
    ada: TokenPair,
    password: str,
    problem: str,
) -> None:
    token = (await keyturn.forget_password()).reveal()
    body = {"token": token, "new_password": password}
    refused = await client.post("/v1/auth/password-reset/confirm", json=body)
    assert (refused.status_code, code(refused)) == (422, problem)
    assert [error["field"] for error in refused.json()["errors"]] == ["new_password"]
    body["new_password"] = NEW_PASSWORD
    assert (await client.post("/v1/auth/password-reset/confirm", json=body)).status_code == 204


async def tokens_of_all_kinds(client: httpx.AsyncClient, keyturn: InMemoryKeyturn) -> list[str]:
    """Register; return tokens to verify the address, to reset, and to change the address."""
    await client.post("/v1/auth/register", json=LOGIN)
    verify = (await keyturn.token_of_next_mail()).reveal()
    reset = (await keyturn.forget_password()).reveal()
    access = (await keyturn.login()).access_token.reveal()
    answer = await client.post(
        "/v1/users/me/email",
        json={"current_password": PASSWORD.reveal(), "new_email": OTHER},
        headers={"Authorization": f"Bearer {access}"},
    )
    assert answer.status_code == 202
    return [verify, reset, (await keyturn.token_of_next_mail()).reveal()]


async def try_reset(client: httpx.AsyncClient, token: str) -> httpx.Response:
    body = {"token": token, "new_password": NEW_PASSWORD}
    return await client.post("/v1/auth/password-reset/confirm", json=body)


async def try_confirm(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/v1/auth/email-verification/confirm", json=link(token))


async def test_a_link_is_good_once_and_for_what_it_was_sent_for_only(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    verify, reset, change = await tokens_of_all_kinds(client, keyturn)
    for bad in (verify, change, reset[:-1], reset + "x", "", "\0", "x" * 5000):
        refused = await try_reset(client, bad)
        assert (refused.status_code, code(refused)) == (422, "invalid_one_time_token")
    refused = await try_confirm(client, reset)
    assert (refused.status_code, code(refused)) == (422, "invalid_one_time_token")
    assert (await try_confirm(client, verify)).status_code == 204
    assert code(await try_confirm(client, verify)) == "invalid_one_time_token"
    assert (await try_reset(client, reset)).status_code == 204
    assert code(await try_reset(client, reset)) == "invalid_one_time_token"
    # Asked for with the password that has been reset since, perhaps by a thief.
    assert code(await try_confirm(client, change)) == "invalid_one_time_token"


async def test_a_link_is_good_for_a_time_only(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await client.post("/v1/auth/register", json=LOGIN)
    verify = (await keyturn.token_of_next_mail()).reveal()
    reset = (await keyturn.forget_password()).reveal()
    keyturn.advance(minutes=30)
    assert code(await try_reset(client, reset)) == "invalid_one_time_token"
    keyturn.advance(hours=23, minutes=30)
    assert code(await try_confirm(client, verify)) == "invalid_one_time_token"


async def test_a_token_in_an_answer_that_failed_is_not_repeated(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/v1/auth/email-verification/confirm", "/v1/auth/password-reset/confirm"):
        body = {"token": "a-token-that-leaks", "new_password": NEW_PASSWORD, "surplus": 1}
        assert "a-token-that-leaks" not in (await client.post(path, json=body)).text


@pytest.fixture
def everything_but_the_moment() -> Callable[[httpx.Response], object]:
    """What an answer tells, without what is another one in every answer."""

    def told(answer: httpx.Response) -> object:
        headers = {name: text for name, text in answer.headers.items() if name != "x-request-id"}
        body = answer.content if not answer.content else answer.json()
        if isinstance(body, dict):
            body = {
                name: type(value) if name in {"id", "request_id"} else value
                for name, value in body.items()
                if name != "email"
            }
        return answer.status_code, headers, body

    return told


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/v1/auth/register", {"password": "a passphrase of mine", "display_name": "Mallory"}),
        ("/v1/auth/login", {"password": "a passphrase of mine"}),
        ("/v1/auth/password-reset", {}),
        ("/v1/auth/email-verification", {}),
    ],
)
async def test_no_answer_tells_whether_somebody_has_an_address(
    client: httpx.AsyncClient,
    enter: Enter,
    everything_but_the_moment: Callable[[httpx.Response], object],
    path: str,
    extra: dict[str, str],
) -> None:
    await enter("known01@example.com", "admin")
    answers = [
        everything_but_the_moment(await client.post(path, json={"email": email, **extra}))
        for email in ("known01@example.com", "unknown@example.com")
    ]
    assert answers[0] == answers[1]


async def test_the_owner_of_an_address_is_told_that_somebody_registers_with_it(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    token = (await keyturn.token_of_next_mail()).reveal()
    await client.post("/v1/auth/email-verification/confirm", json=link(token))
    await client.post("/v1/auth/register", json={**LOGIN, "password": "a passphrase of mine"})
    assert await mailed_to(keyturn) == [(MailKind.ALREADY_REGISTERED, ADA)]


@pytest.mark.parametrize(
    "path", ["/v1/auth/register", "/v1/auth/password-reset", "/v1/auth/email-verification"]
)
@pytest.mark.parametrize("address", ["ada", "ada@", "ada@example..com", "a\nBcc: b@example.com"])
async def test_what_is_no_address_is_refused_before_anything_else(
    client: httpx.AsyncClient, path: str, address: str
) -> None:
    body = {"email": address} | ({"password": NEW_PASSWORD} if "register" in path else {})
    answer = await client.post(path, json=body)
    assert (answer.status_code, code(answer)) == (422, "validation_failed")
    assert address not in answer.text.replace('"email"', "")  # the field's own name


async def test_another_address_takes_the_password_and_a_link_to_it(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, as_ada: dict[str, str]
) -> None:
    await mailed_to(keyturn)
    body = {"current_password": PASSWORD.reveal(), "new_email": OTHER}
    wrong = await client.post(
        "/v1/users/me/email", json={**body, "current_password": "not hers"}, headers=as_ada
    )
    assert (wrong.status_code, code(wrong)) == (422, "wrong_current_password")
    assert await mailed_to(keyturn) == []
    asked = await client.post("/v1/users/me/email", json=body, headers=as_ada)
    assert (asked.status_code, asked.content) == (202, b"")
    assert (await client.get("/v1/users/me", headers=as_ada)).json()["email"] == ADA
    token = (await keyturn.token_of_next_mail()).reveal()
    assert {(mail.subject, mail.to) for mail in keyturn.sent_mails[-2:]} == {
        (MailKind.CONFIRM_NEW_EMAIL, OTHER),
        (MailKind.EMAIL_CHANGE_REQUESTED, ADA),
    }
    assert (await try_confirm(client, token)).status_code == 204
    assert await mailed_to(keyturn) == [(MailKind.EMAIL_CHANGED, ADA)]
    assert (await client.post("/v1/auth/login", json=LOGIN)).status_code == 401
    assert (await client.post("/v1/auth/login", json={**LOGIN, "email": OTHER})).is_success


async def test_another_address_that_is_none_is_told_by_its_field(
    client: httpx.AsyncClient, as_ada: dict[str, str]
) -> None:
    body = {"current_password": PASSWORD.reveal(), "new_email": "nobody"}
    answer = await client.post("/v1/users/me/email", json=body, headers=as_ada)
    assert (answer.status_code, code(answer)) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == ["new_email"]


async def test_a_password_is_estimated_and_nothing_of_it_is_told_back(
    client: httpx.AsyncClient,
) -> None:
    body = {"password": "ada@example.com", "email": ADA}
    answer = await client.post("/v1/auth/password-strength", json=body)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.json() == {
        "score": 3,
        "warning": None,
        "suggestions": ["Make it longer."],
        "problems": ["password_too_personal"],
    }


async def test_the_export_is_a_file_with_all_but_the_hash(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    ada = await keyturn.login(resource=ISSUER)
    as_ada = {"Authorization": f"Bearer {ada.access_token.reveal()}"}
    answer = await client.get("/v1/users/me/export", headers=as_ada)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="account.json"'
    assert answer.headers["cache-control"] == "no-store"
    export = answer.json()
    assert export["user"]["email"] == ADA
    assert [session["id"] for session in export["sessions"]] == [str(ada.session_id)]
    assert [event["type"] for event in export["events"]] == ["login_succeeded", "user_registered"]
    for secret in (keyturn.store.users[ada.user_id].password_hash, ada.refresh_token.reveal()):
        assert secret not in answer.text
    assert AuditEventType.DATA_EXPORTED in {e.type for e in keyturn.store.audit_events.values()}


async def test_who_leaves_is_out_at_once_gone_when_due_and_back_by_a_login_before(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, root: TokenPair
) -> None:
    await keyturn.register()
    ada = await keyturn.login(resource=ISSUER)
    as_ada = {"Authorization": f"Bearer {ada.access_token.reveal()}"}
    as_root = {"Authorization": f"Bearer {root.access_token.reveal()}"}
    await mailed_to(keyturn)
    left = await client.delete("/v1/users/me", headers=as_ada)
    assert (left.status_code, left.content) == (204, b"")
    assert await mailed_to(keyturn) == [(MailKind.DELETION_SCHEDULED, ADA)]
    assert (await client.get("/v1/users/me", headers=as_ada)).status_code == 401
    listed = await client.get("/v1/admin/users?status=deleting", headers=as_root)
    (leaving,) = listed.json()["users"]
    assert (leaving["email"], leaving["status"]) == (ADA, "deleting")
    assert leaving["deletion_due_at"] == "2030-01-15T12:00:00Z"

    back = (await client.post("/v1/auth/login", json={**LOGIN, "resource": ISSUER})).json()
    as_ada = {"Authorization": f"Bearer {back['access_token']}"}
    profile = (await client.get("/v1/users/me", headers=as_ada)).json()
    assert (profile["status"], profile["deletion_due_at"]) == ("active", None)

    await client.delete("/v1/users/me", headers=as_ada)
    keyturn.advance(days=14)
    assert (await client.post("/v1/auth/login", json=LOGIN)).status_code == 401
    assert await keyturn.erase_due_users.execute() == 1
    assert ADA not in {user.email for user in keyturn.store.users.values()}


async def test_an_administrator_erases_at_once_and_nobody_makes_another_leave(
    client: httpx.AsyncClient, ada: TokenPair, as_ada: dict[str, str], as_root: dict[str, str]
) -> None:
    path = f"/v1/admin/users/{ada.user_id}"
    made_to_leave = await client.patch(path, json={"status": "deleting"}, headers=as_root)
    assert (made_to_leave.status_code, code(made_to_leave)) == (422, "validation_failed")
    assert (await client.delete(path, headers=as_root)).status_code == 204
    assert (await client.get("/v1/users/me", headers=as_ada)).status_code == 401
    gone = await client.delete(path, headers=as_root)
    assert (gone.status_code, code(gone)) == (404, "user_not_found")


async def test_the_last_administrator_can_not_leave(
    client: httpx.AsyncClient, root: TokenPair, as_root: dict[str, str]
) -> None:
    for path in ("/v1/users/me", f"/v1/admin/users/{root.user_id}"):
        answer = await client.delete(path, headers=as_root)
        assert (answer.status_code, code(answer)) == (409, "last_administrator")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/auth/password-reset", {"email": ADA}),
        ("/v1/auth/email-verification", {"email": ADA}),
        ("/v1/auth/email-verification/confirm", {"token": "x"}),
        ("/v1/auth/password-reset/confirm", {"token": "x", "new_password": NEW_PASSWORD}),
    ],
)
async def test_a_store_that_does_not_answer_is_a_503_and_never_a_yes(
    connect: Callable[..., httpx.AsyncClient], path: str, body: dict[str, str]
) -> None:
    def fail() -> object:
        raise StoreUnavailable

    client = connect(keyturn=InMemoryKeyturn(unit_of_work=fail))  # type: ignore[arg-type]  # fails
    answer = await client.post(path, json=body)
    assert (answer.status_code, code(answer)) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"


CONFIRM = "/v1/auth/email-verification/confirm"


async def test_the_first_proof_says_what_is_missing_or_wrong_and_the_link_stays_good(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    token = (await keyturn.token_of_next_mail()).reveal()
    for body, problem, field in (
        ({}, "password_required", "password"),
        ({"password": None, "new_password": None}, "password_required", "password"),
        ({"password": "not hers at all"}, "wrong_current_password", "password"),
        ({"password": "x" * 1025}, "password_too_long", "password"),
        ({"new_password": "short"}, "password_too_short", "new_password"),
        ({**link(token), "new_password": NEW_PASSWORD}, "validation_failed", "new_password"),
    ):
        refused = await client.post(CONFIRM, json={"token": token, **body})
        assert (refused.status_code, code(refused)) == (422, problem)
        assert [error["field"] for error in refused.json()["errors"]] == [field]
    done = await client.post(CONFIRM, json={"token": token, "new_password": NEW_PASSWORD})
    assert done.status_code == 204
    assert (await client.post("/v1/auth/login", json=NEW_LOGIN)).status_code == 200


async def test_a_change_of_address_is_confirmed_with_an_access_token_that_may_write(
    client: httpx.AsyncClient, keyturn: InMemoryKeyturn, enter: Enter
) -> None:
    await keyturn.register()
    await mailed_to(keyturn)
    reading = await enter("reader@example.com", "user", scope=frozenset({"profile:read"}))
    writing = await keyturn.login()
    headers = {"Authorization": f"Bearer {writing.access_token.reveal()}"}
    body = {"current_password": PASSWORD.reveal(), "new_email": OTHER}
    await client.post("/v1/users/me/email", json=body, headers=headers)
    token = {"token": (await keyturn.token_of_next_mail()).reveal()}
    refused = await client.post(CONFIRM, json=token)
    assert (refused.status_code, code(refused)) == (422, "current_password_required")
    limited = {"Authorization": f"Bearer {reading.access_token.reveal()}"}
    refused = await client.post(CONFIRM, json=token, headers=limited)
    assert (refused.status_code, code(refused)) == (403, "insufficient_scope")
    assert (await client.post(CONFIRM, json=token, headers=headers)).status_code == 204
