"""Whatever is sent: a clear 4xx, never a 500, and no secret in an answer or the log."""

import json
import logging
from collections.abc import Iterator

import httpx
import pytest

from keyturn.testing.in_memory import ADA, PASSWORD

CANARY = "Canary-7f3b"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

BODY_ROUTES = [
    ("POST", "/v1/auth/register"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/refresh"),
    ("POST", "/v1/auth/logout"),
    ("PATCH", "/v1/users/me"),
    ("POST", "/v1/users/me/password"),
]
OTHER_ROUTES = [
    ("POST", "/v1/auth/logout-all"),
    ("DELETE", "/v1/sessions"),
    ("DELETE", f"/v1/sessions/{CANARY}"),
    ("POST", "/oauth/token"),
]


def every_field(value: object) -> dict[str, object]:
    """One value for whatever fields a route has; a route ignores none of the others."""
    names = ("email", "password", "display_name", "device_name", "transport", "refresh_token")
    return dict.fromkeys((*names, "current_password", "new_password"), value)


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


MALFORMED = {
    "cut off": b'{"password": "%s"' % CANARY.encode(),
    "not JSON": CANARY.encode(),
    "not UTF-8": b'{"password": "%s\xff\xfe"}' % CANARY.encode(),
    "too deep": b"[" * 30_000,
    "too long a number": b'{"password": %s}' % (b"9" * 5000),
    "two values": b"{}{}",
    "single quotes": b"{'password': '%s'}" % CANARY.encode(),
}
INVALID = {
    "a list": dumped([CANARY]),
    "a string": dumped(CANARY),
    "a number": b"7",
    "not a number": b"NaN",
    "true": b"true",
    "numbers": dumped(every_field(7)),
    "lists": dumped(every_field([CANARY])),
    "objects": dumped(every_field({CANARY: CANARY})),
    "an unknown field": dumped({"unknown": CANARY}),
    "a secret for a name": dumped({CANARY: "x", f"{CANARY} with spaces": 1}),
    "a surrogate for a name": dumped({"\ud800": CANARY}),
    "lone surrogates": b'{"password": "\\ud800", "email": "\\udfff", "display_name": "\\ud800",'
    b' "refresh_token": "\\ud800", "current_password": "\\ud800", "new_password": "\\ud800"}',
    "encoded surrogates": b'{"password": "\xed\xa0\x80%s"}' % CANARY.encode(),
    "repeated fields": b'{"password": 1, "password": [1], "email": {}, "refresh_token": 1,'
    b' "display_name": 1, "new_password": 1}',
    "nested, not too deep": dumped({"password": json.loads("[" * 200 + "]" * 200)}),
    "UTF-16": json.dumps({"unknown": CANARY}).encode("utf-16"),
}


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert CANARY not in caplog.text


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert CANARY not in answer.text
    assert CANARY not in str(answer.headers)


@pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_json_is_malformed(
    client: httpx.AsyncClient, as_ada: dict[str, str], method: str, path: str, body: bytes
) -> None:
    headers = {**as_ada, "Content-Type": JSON}
    answer = await client.request(method, path, content=body, headers=headers)
    assert_problem(answer, 400, "malformed_json")


@pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
async def test_what_has_another_form_is_invalid(
    client: httpx.AsyncClient, as_ada: dict[str, str], method: str, path: str, body: bytes
) -> None:
    headers = {**as_ada, "Content-Type": JSON}
    answer = await client.request(method, path, content=body, headers=headers)
    assert_problem(answer, 422, "validation_failed")
    assert answer.json()["errors"]


@pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
@pytest.mark.parametrize(
    "content_type", [None, "text/plain", FORM, "multipart/form-data", "nonsense", "application/xml"]
)
async def test_what_is_not_said_to_be_json_is_not_read_as_json(
    client: httpx.AsyncClient,
    as_ada: dict[str, str],
    method: str,
    path: str,
    content_type: str | None,
) -> None:
    headers = {**as_ada, **({"Content-Type": content_type} if content_type else {})}
    answer = await client.request(method, path, content=dumped({"x": CANARY}), headers=headers)
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(("method", "path"), [*BODY_ROUTES, *OTHER_ROUTES])
async def test_a_password_of_a_megabyte_is_not_even_read(
    client: httpx.AsyncClient, as_ada: dict[str, str], method: str, path: str
) -> None:
    body = dumped(every_field(CANARY * 100_000))
    headers = {**as_ada, "Content-Type": JSON}
    answer = await client.request(method, path, content=body, headers=headers)
    assert answer.status_code == 413
    assert CANARY not in answer.text


@pytest.mark.parametrize(("method", "path"), OTHER_ROUTES)
@pytest.mark.parametrize("body", [*MALFORMED.values(), *INVALID.values()])
async def test_routes_without_json_take_no_notice_of_it_or_refuse_it(
    client: httpx.AsyncClient, as_ada: dict[str, str], method: str, path: str, body: bytes
) -> None:
    for content_type in (JSON, FORM):
        headers = {"Content-Type": content_type, **as_ada}
        answer = await client.request(method, path, content=body, headers=headers)
        assert answer.status_code in (204, 400, 401, 404)
        assert CANARY not in answer.text


@pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
async def test_nothing_where_something_is_needed_is_a_clear_refusal(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    for body in (b"", b"null", b"{}"):
        answer = await client.request(method, path, content=body, headers={"Content-Type": JSON})
        assert answer.status_code in (401, 422), body


async def test_each_field_that_is_wrong_is_named(client: httpx.AsyncClient) -> None:
    body = {"email": CANARY, "password": 7, "display_name": "", "is_admin": True}
    answer = await client.post("/v1/auth/register", json=body)
    assert {error["field"]: error["message"] for error in answer.json()["errors"]} == {
        "email": "This is not a valid e-mail address.",
        "password": "Input should be a valid string",
        "display_name": "String should have at least 1 character",
        "is_admin": "This route does not know this field.",
    }


async def test_a_missing_field_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/auth/login", json={"email": ADA})
    assert answer.json()["errors"] == [{"field": "password", "message": "This field is required."}]


async def test_no_refusal_tells_the_password_that_was_sent(
    client: httpx.AsyncClient, as_ada: dict[str, str]
) -> None:
    long = CANARY * 500
    answers = [
        await client.post("/v1/auth/register", json={"email": ADA, "password": CANARY}),
        await client.post("/v1/auth/register", json={"email": CANARY, "password": long}),
        await client.post("/v1/auth/login", json={"email": ADA, "password": CANARY}),
        await client.post("/v1/auth/login", json={"email": CANARY, "password": CANARY}),
        await client.post("/v1/auth/login", json={"email": ADA, "password": f"{CANARY}\0"}),
        await client.post("/v1/auth/refresh", json={"refresh_token": CANARY}),
        await client.post("/v1/auth/logout", json={"refresh_token": CANARY}),
        await client.get("/v1/users/me", headers={"Authorization": f"Bearer {CANARY}"}),
        await client.get(f"/v1/auth/verify?role={CANARY}&{CANARY}=1", headers=as_ada),
        await client.get(f"/v1/sessions?ended={CANARY}", headers=as_ada),
        await client.get(f"/{CANARY}"),
        await client.post(
            "/v1/users/me/password",
            json={"current_password": CANARY, "new_password": "seven quiet glaciers"},
            headers=as_ada,
        ),
        await client.post(
            "/v1/users/me/password",
            json={"current_password": PASSWORD.reveal(), "new_password": CANARY},
            headers=as_ada,
        ),
        await client.post(
            "/oauth/token",
            data={
                "grant_type": "password",
                "username": ADA,
                "password": CANARY,
                "client_id": CANARY,
            },
        ),
        await client.post("/oauth/token", data={"grant_type": CANARY}),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500
        assert CANARY not in answer.text
        assert CANARY not in str(answer.headers)
