"""What is answered before the router is answered as the router would."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

import httpx
import pytest
from tests.delivery.http.conftest import but_for_its_id

from keyturn.delivery.http import short_paths
from keyturn.delivery.http.services import HttpOptions
from keyturn.use_cases.token_pair import TokenPair

VERIFY = "/v1/auth/verify"
REFRESH = "/v1/auth/refresh"
TOKEN = "/oauth/token"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Asked(NamedTuple):
    """A request; `{access}` and `{refresh}` stand for tokens that are good."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: str | bytes = ""


@pytest.fixture
def ask(
    connect: Callable[..., httpx.AsyncClient], ada: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[object]]:
    """Asks the short way or the long one, and returns what both must have in common."""
    access, refresh = ada.access_token.reveal(), ada.refresh_token.reveal()
    client = connect(options=HttpOptions(allowed_origins=("https://app.example.com",)))

    def filled(text: str) -> str:
        return text.replace("{access}", access).replace("{refresh}", refresh)

    async def ask(asked: Asked, *, short: bool) -> object:
        headers = {name: filled(value) for name, value in asked.headers.items()}
        body = filled(asked.body) if isinstance(asked.body, str) else asked.body
        with monkeypatch.context() as patch:
            if not short:
                patch.setattr(short_paths, "_SHORT_PATHS", {})
            answer = await client.request(
                asked.method,
                asked.path,
                headers=headers,
                content=body,
            )
        content = answer.content
        told = dict(answer.headers)
        assert told.pop("x-request-id")
        if answer.is_error and b'"request_id"' in content:
            content = but_for_its_id(answer).encode()
        if answer.is_success and content:
            members = answer.json()
            # Each answer has an access token of its own.
            assert members.pop("access_token")
            content = json.dumps(members).encode()
            told.pop("content-length")
        return answer.status_code, told, content

    return ask


@pytest.mark.parametrize(
    "asked",
    [
        Asked("GET", VERIFY),
        Asked("GET", VERIFY, {"Authorization": "Bearer {access}"}),
        Asked("GET", VERIFY, {"Authorization": "Bearer {refresh}"}),
        Asked("GET", VERIFY, {"Authorization": "DPoP {access}", "DPoP": "a.b.c"}),
        Asked("GET", VERIFY + "?role=user", {"Authorization": "Bearer {access}"}),
        Asked("GET", VERIFY + "?role=admin", {"Authorization": "Bearer {access}"}),
        Asked("GET", VERIFY + "?rolle=admin", {"Authorization": "Bearer {access}"}),
        Asked("GET", VERIFY, {"Origin": "https://app.example.com"}),
        Asked("GET", VERIFY, {"Content-Length": "9999999"}),
        Asked("HEAD", VERIFY, {"Authorization": "Bearer {access}"}),
        Asked("POST", VERIFY, {"Authorization": "Bearer {access}"}),
        Asked("GET", REFRESH),
        Asked("POST", REFRESH),
        Asked("POST", REFRESH, JSON),
        Asked("POST", REFRESH, JSON, '{"refresh_token": "{refresh}"}'),
        Asked("POST", REFRESH, JSON, '{"refresh_token": "{access}"}'),
        Asked("POST", REFRESH, JSON, '{"refresh_token": ""}'),
        Asked("POST", REFRESH, JSON, '{"refresh_token": null}'),
        Asked("POST", REFRESH, JSON, '{"refresh_token": 7}'),
        Asked("POST", REFRESH, JSON, '{"refresh_token": "\\ud800"}'),
        Asked("POST", REFRESH, JSON, '{"refresh_token": "é"}'),
        Asked("POST", REFRESH, JSON, '{"refresh_token": "{refresh}", "more": 1}'),
        Asked("POST", REFRESH, JSON, "{}"),
        Asked("POST", REFRESH, JSON, "[]"),
        Asked("POST", REFRESH, JSON, "{"),
        Asked("POST", REFRESH, JSON, b'\xff\xfe{"'),
        Asked("POST", REFRESH, JSON, "[" * 20000),
        Asked("POST", REFRESH, JSON, '"' + "x" * 70000 + '"'),
        Asked("POST", REFRESH, {"Content-Type": "text/plain"}, '{"refresh_token": "{refresh}"}'),
        Asked(
            "POST",
            REFRESH,
            {"Content-Type": "application/json; charset=utf-8"},
            '{"refresh_token": "{refresh}"}',
        ),
        Asked("POST", REFRESH, JSON | {"DPoP": "a.b.c"}, '{"refresh_token": "{refresh}"}'),
        Asked("POST", TOKEN, FORM),
        Asked("POST", TOKEN, FORM, "grant_type=refresh_token&refresh_token={refresh}"),
        Asked("POST", TOKEN, FORM, "grant_type=refresh_token&refresh_token={access}"),
        Asked("POST", TOKEN, FORM, "grant_type=implicit"),
        Asked("POST", TOKEN, FORM, "x=" + "y" * 70000),
        Asked("POST", TOKEN, JSON, "{}"),
        Asked("POST", TOKEN, FORM | {"Authorization": "Basic !"}, "grant_type=password"),
        Asked("GET", TOKEN),
    ],
)
async def test_both_ways_answer_alike(asked: Asked, ask: Callable[..., Awaitable[object]]) -> None:
    # From the second time on, the same token gives the same successor.
    await ask(asked, short=True)
    assert await ask(asked, short=True) == await ask(asked, short=False)


async def test_a_body_that_comes_in_pieces_is_read_once_and_counted(
    client: httpx.AsyncClient, ada: TokenPair
) -> None:
    async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    body = json.dumps({"refresh_token": ada.refresh_token.reveal()}).encode()
    answer = await client.post(REFRESH, headers=JSON, content=pieces(body[:9], body[9:]))
    assert answer.status_code == 200
    answer = await client.post(REFRESH, headers=JSON, content=pieces(body, b" " * 70000))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
