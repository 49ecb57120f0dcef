"""How errors are told: the table, and what happens around every request."""

import re
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from keyturn.delivery.http.app import build_app
from keyturn.delivery.http.errors import HTTP_ERRORS, http_error
from keyturn.delivery.http.services import HttpOptions
from keyturn.domain.errors import KeyturnError, StoreUnavailable
from keyturn.testing.in_memory import ADA, PASSWORD

LOGIN = {"email": ADA, "password": PASSWORD.reveal()}


def concrete_errors(parent: type[KeyturnError] = KeyturnError) -> Iterator[type[KeyturnError]]:
    for error in parent.__subclasses__():
        # Those that an adapter makes are told as their parents.
        if error.__module__ in ("keyturn.domain.errors", "keyturn.delivery.http.errors"):
            if "code" in vars(error):
                yield error
            yield from concrete_errors(error)


def test_every_error_has_a_row_of_its_own() -> None:
    assert {error.__name__ for error in concrete_errors() if error not in HTTP_ERRORS} == set()


def test_every_code_is_used_once_and_reads_like_one() -> None:
    codes = [error.code for error in concrete_errors()]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_every_message_may_stand_in_a_header() -> None:
    # RFC 6749 §5.2 and RFC 6750 §3 allow no quotes, backslashes or non-ASCII.
    for error in concrete_errors():
        assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", error.message), error


def test_an_error_without_a_row_is_told_as_its_parent() -> None:
    class ReplicaUnavailable(StoreUnavailable):
        """An adapter's own."""

    class Strange(KeyturnError):
        """Of no known kind."""

    assert http_error(ReplicaUnavailable).status == 503
    assert http_error(Strange).status == 500


async def test_a_problem_says_all_that_a_problem_says(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/auth/login", json=LOGIN)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:keyturn:error:invalid_credentials",
        "title": "Wrong credentials",
        "status": 401,
        "detail": "The e-mail address or the password is wrong.",
        "code": "invalid_credentials",
        "request_id": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/v1/auth/login/", "/%00", "/%ff", "/docs/x"])
async def test_what_does_not_exist_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/auth/login", "POST"),
        ("POST", "/v1/sessions", "DELETE, GET"),
        ("POST", "/v1/users/me", "DELETE, GET, PATCH"),
        ("GET", "/v1/sessions/x", "DELETE"),
        ("OPTIONS", "/health/live", "GET"),
        ("BREW", "/health/live", "GET"),
        ("POST", "/docs", "GET"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_all_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    ["/health/live", "/v1/nothing", "/v1/auth/verify", "/oauth/token", "/docs", "/openapi.json"],
)
async def test_every_answer_is_named_and_neither_sniffed_nor_stored(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_what_nobody_expected_is_told_to_the_log_alone(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the reason")

    monkeypatch.setattr("keyturn.use_cases.login_user.LoginUser.execute", fail)
    answer = await client.post("/v1/auth/login", json=LOGIN)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "the reason" not in answer.text
    assert "the reason" in caplog.text
    assert answer.json()["request_id"] in caplog.text
    assert PASSWORD.reveal() not in caplog.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


class DiskFull(Exception):
    """Why a store did not do it, in an adapter's own words."""

    __module__ = "keyturn.adapters.of_the_test"


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (DiskFull("the disk is full"), "store_unavailable: the disk is full"),
        # What others write may quote what they were handed.
        (ValueError("ada@example.com"), "store_unavailable: ValueError"),
    ],
)
@pytest.mark.parametrize(
    ("path", "use_case", "body"),
    [
        ("/v1/auth/login", "login_user.LoginUser", LOGIN),
        ("/v1/auth/refresh", "rotate_refresh.RotateRefresh", {"refresh_token": "a.b.c"}),
    ],
)
async def test_why_the_store_does_not_answer_is_told_to_the_log_alone(
    path: str,
    use_case: str,
    body: dict[str, str],
    cause: Exception,
    told: str,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: object) -> None:
        raise StoreUnavailable from cause

    monkeypatch.setattr(f"keyturn.use_cases.{use_case}.execute", fail)
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert str(cause) not in answer.text
    [line] = [record for record in caplog.records if record.name == "keyturn.http"]
    assert line.getMessage() == f"request {answer.json()['request_id']} fails, {told}"
    assert line.levelname == "WARNING"
    assert "ada@example.com" not in caplog.text


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_read(
    client: httpx.AsyncClient,
) -> None:
    pieces = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pieces
        pieces += 1
        yield b" "

    for length, connection in (("65537", None), ("16777217", "close"), ("9" * 5000, "close")):
        answer = await client.post(
            "/v1/auth/login", content=body(), headers={"Content-Length": length}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert answer.headers.get("connection") == connection
    assert pieces == 0


async def test_a_body_that_comes_in_pieces_is_refused_at_the_piece_too_many(
    client: httpx.AsyncClient,
) -> None:
    pieces = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pieces
        while pieces < 100:
            pieces += 1
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    answer = await client.post("/v1/auth/login", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert pieces == 65


async def test_the_largest_body_that_is_allowed_is_read(
    connect: Callable[..., httpx.AsyncClient],
) -> None:
    client = connect(options=HttpOptions(max_body_bytes=100))
    headers = {"Content-Type": "application/json"}
    fits = await client.post("/v1/auth/login", content=b"{}".ljust(100), headers=headers)
    exceeds = await client.post("/v1/auth/login", content=b"{}".ljust(101), headers=headers)
    assert (fits.status_code, exceeds.status_code) == (422, 413)


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_ours(
    services: Callable[..., object], keyturn: object, caplog: pytest.LogCaptureFixture
) -> None:
    app = build_app(services(keyturn), HttpOptions())  # type: ignore[arg-type]  # the fixture's
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    for path, media_type in (
        ("/v1/auth/login", b"application/json"),
        ("/oauth/token", b"application/x-www-form-urlencoded"),
    ):
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"a"), (b"content-type", media_type)],
            "client": None,
            "server": None,
        }
        await app(scope, receive, send)
    assert caplog.text == ""
