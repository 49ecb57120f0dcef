"""What both clients do: log in, keep tokens fresh, log out, and keep secrets."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from keyturn.client import (
    AsyncKeyturnClient,
    ClientError,
    FileTokenStorage,
    KeyturnClient,
    LoginRefused,
    MemoryTokenStorage,
    NotLoggedIn,
    ResourceRefused,
    ServiceUnavailable,
    SessionEnded,
    Tokens,
    TokenStorage,
    UnexpectedAnswer,
)
from keyturn.domain.secret import Secret
from keyturn.testing.doubles import ManualClock

REFRESH = "/v1/auth/refresh"
NOTES, PHOTOS = "https://notes.example", "https://photos.example"
LOST = httpx.ReadTimeout("no answer")


class Client(Protocol):
    itself: KeyturnClient | AsyncKeyturnClient

    async def login(self, password: str = ...) -> None: ...
    async def access_token(self) -> Secret: ...
    async def token_for(self, resource: str, rejected: Secret | None = ...) -> Secret: ...
    async def post_for(self, resource: str) -> httpx.Response: ...
    async def logout(self) -> None: ...
    async def post(self, content: bytes) -> httpx.Response: ...
    async def post_stream(self, content: bytes) -> httpx.Response: ...
    async def close(self) -> None: ...


class Service(Protocol):
    generation: int
    ended: bool
    asked: list[str]
    failures: list[object]
    rotates_before_failing: bool
    dead: set[str]
    wrong_audience: bool
    device_tokens: list[object]
    issues_device_tokens: bool


async def test_a_login_gives_tokens_until_it_is_time_to_refresh(
    client: Client, service: Service, clock: ManualClock
) -> None:
    await client.login()
    clock.advance(timedelta(seconds=719))
    assert (await client.access_token()).reveal() == "access-10"
    clock.advance(timedelta(seconds=1))
    assert (await client.access_token()).reveal() == "access-11"
    assert service.asked == ["/v1/auth/login", REFRESH]


async def test_requests_to_other_services_carry_the_token(client: Client) -> None:
    await client.login()
    answer = await client.post(b'{"text": "hello"}')
    assert answer.json() == {"token": "access-10", "body": {"text": "hello"}}


async def test_many_requests_at_once_refresh_once(
    client: Client, service: Service, clock: ManualClock
) -> None:
    await client.login()
    clock.advance(timedelta(seconds=720))
    tokens = await asyncio.gather(*(client.access_token() for _ in range(30)))
    assert {token.reveal() for token in tokens} == {"access-11"}
    assert service.asked.count(REFRESH) == 1


@pytest.mark.parametrize("failure", [LOST, httpx.RemoteProtocolError("cut off"), 502, 503, 429])
async def test_a_lost_answer_is_asked_for_again_with_the_same_token(
    client: Client, service: Service, clock: ManualClock, failure: object
) -> None:
    await client.login()
    clock.advance(timedelta(seconds=720))
    service.failures, service.rotates_before_failing = [failure, failure], True
    assert (await client.access_token()).reveal() == "access-11"
    assert service.asked.count(REFRESH) == 3
    assert not service.ended


async def test_nobody_tries_again_when_the_grace_window_may_be_over(
    client: Client, service: Service, clock: ManualClock
) -> None:
    await client.login()
    clock.advance(timedelta(seconds=720))
    began = clock.now()
    service.failures = [LOST] * 50
    assert (await client.access_token()).reveal() == "access-10"
    assert clock.now() - began < timedelta(seconds=7)
    asked = len(service.asked)
    assert (await client.access_token()).reveal() == "access-10"
    assert len(service.asked) == asked
    clock.advance(timedelta(seconds=5))
    service.failures = []
    assert (await client.access_token()).reveal() == "access-11"


async def test_without_an_answer_a_token_serves_until_it_expires(
    client: Client, service: Service, clock: ManualClock
) -> None:
    await client.login()
    clock.advance(timedelta(seconds=900))
    service.failures = [503] * 50
    with pytest.raises(ServiceUnavailable):
        await client.access_token()
    service.failures = []
    clock.advance(timedelta(seconds=5))
    assert (await client.access_token()).reveal() == "access-11"


async def test_a_token_that_was_refused_is_replaced_and_the_request_sent_again(
    client: Client, service: Service
) -> None:
    await client.login()
    service.dead = {"access-10"}
    answers = await asyncio.gather(*(client.post(b"{}") for _ in range(10)))
    assert {answer.json()["token"] for answer in answers} == {"access-11"}
    assert service.asked.count(REFRESH) == 1


async def test_a_body_that_is_gone_is_not_sent_again(client: Client, service: Service) -> None:
    await client.login()
    service.dead = {"access-10"}
    assert (await client.post_stream(b"{}")).status_code == 401
    assert service.asked.count("/notes") == 1


async def test_a_session_that_ended_is_told_and_forgotten(
    client: Client, service: Service, clock: ManualClock
) -> None:
    await client.login()
    service.ended = True
    clock.advance(timedelta(seconds=720))
    with pytest.raises(SessionEnded):
        await client.access_token()
    with pytest.raises(NotLoggedIn):
        await client.access_token()
    await client.login()
    assert (await client.access_token()).reveal().startswith("access-")


async def test_a_logout_ends_the_session_and_may_be_repeated(
    client: Client, service: Service
) -> None:
    await client.login()
    await client.logout()
    assert service.ended
    with pytest.raises(NotLoggedIn):
        await client.access_token()
    await client.logout()
    assert service.asked.count("/v1/auth/logout") == 1


async def test_a_logout_that_was_not_confirmed_can_be_tried_again(
    client: Client, service: Service
) -> None:
    await client.login()
    service.failures = [LOST]
    with pytest.raises(ServiceUnavailable):
        await client.logout()
    await client.logout()
    assert service.ended


async def test_a_refused_login_says_why_and_keeps_what_was_there(client: Client) -> None:
    await client.login()
    with pytest.raises(LoginRefused) as refused:
        await client.login("a wrong passphrase")
    assert refused.value.code == "invalid_credentials"
    assert (await client.access_token()).reveal() == "access-10"


@pytest.mark.parametrize(
    ("failure", "error"),
    [(LOST, ServiceUnavailable), (503, ServiceUnavailable), (418, UnexpectedAnswer)],
)
async def test_a_login_without_an_answer_is_not_tried_again(
    client: Client, service: Service, failure: object, error: type[ClientError]
) -> None:
    service.failures = [failure]
    with pytest.raises(error):
        await client.login()
    assert len(service.asked) == 1


async def test_no_error_and_no_log_tells_a_secret(
    client: Client,
    service: Service,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = []
    with caplog.at_level(logging.DEBUG):
        await client.login()
        told += [repr(client.itself), str(vars(client.itself))]
        clock.advance(timedelta(days=1))
        service.failures = [LOST] * 50
        with pytest.raises(ServiceUnavailable) as unavailable:
            await client.access_token()
        error: BaseException | None = unavailable.value
        while error is not None:
            assert not isinstance(error, httpx.HTTPError)
            told += [repr(error), str(vars(error))]
            error = error.__cause__ or error.__context__
        service.failures = []
        with pytest.raises(LoginRefused) as refused:
            await client.login("a wrong passphrase")
        told.append(repr(refused.value))
    for text in [*told, caplog.text]:
        assert "access-" not in text
        assert "refresh-" not in text
        assert "passphrase" not in text


async def test_clients_that_share_a_file_share_the_login(
    connect: Callable[..., Client], service: Service, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.json"
    one, other = connect(FileTokenStorage(file)), connect(FileTokenStorage(file))
    await one.login()
    assert (await other.access_token()).reveal() == "access-10"
    clock.advance(timedelta(seconds=720))
    tokens = await asyncio.gather(one.access_token(), other.access_token(), one.access_token())
    assert {token.reveal() for token in tokens} == {"access-11"}
    assert not service.ended
    await one.logout()
    with pytest.raises(NotLoggedIn):
        await other.access_token()


async def test_each_resource_has_a_token_of_its_own_until_it_is_time_to_refresh(
    client: Client, service: Service, clock: ManualClock
) -> None:
    await client.login()
    for _ in range(3):
        assert (await client.token_for(NOTES)).reveal() == f"access-11@{NOTES}"
        assert (await client.token_for(PHOTOS)).reveal() == f"access-12@{PHOTOS}"
        assert (await client.access_token()).reveal() == "access-10"
    assert service.asked.count(REFRESH) == 2
    clock.advance(timedelta(seconds=720))
    assert (await client.token_for(NOTES)).reveal() == f"access-13@{NOTES}"
    assert (await client.access_token()).reveal() == "access-14"
    assert not service.ended


async def test_many_requests_for_several_resources_refresh_once_for_each(
    client: Client, service: Service
) -> None:
    await client.login()
    resources = [NOTES, PHOTOS] * 15
    tokens = await asyncio.gather(*(client.token_for(resource) for resource in resources))
    assert len(set(tokens)) == 2
    for resource, token in zip(resources, tokens, strict=True):
        assert token.reveal().endswith(f"@{resource}")
    assert service.asked.count(REFRESH) == 2
    assert not service.ended


async def test_a_rejected_token_for_a_resource_is_replaced(
    client: Client, service: Service
) -> None:
    await client.login()
    service.dead = {f"access-11@{NOTES}"}
    assert (await client.post_for(NOTES)).json()["token"] == f"access-12@{NOTES}"
    token = await client.token_for(NOTES)
    assert (await client.token_for(NOTES, token)).reveal() == f"access-13@{NOTES}"


async def test_a_token_for_the_wrong_resource_makes_no_client_go_in_circles(
    client: Client, service: Service
) -> None:
    await client.login()
    service.wrong_audience = True
    for _ in range(3):
        answer = await client.post(b"{}")
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong_audience")
    assert service.asked.count(REFRESH) == 0
    for _ in range(3):
        answer = await client.post_for(NOTES)
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong_audience")
    # What the service says to ask for is never asked for: it would choose which token it gets.
    assert service.asked.count(REFRESH) == 1


async def test_an_unknown_resource_is_refused_and_the_session_goes_on(
    client: Client, service: Service
) -> None:
    await client.login()
    with pytest.raises(ResourceRefused, match="unknown"):
        await client.token_for("https://unknown.example")
    assert (await client.token_for(NOTES)).reveal() == f"access-11@{NOTES}"


async def test_a_new_login_or_a_logout_forgets_the_tokens_for_resources(client: Client) -> None:
    await client.login()
    await client.token_for(NOTES)
    await client.login()
    assert (await client.token_for(NOTES)).reveal() == f"access-22@{NOTES}"
    await client.logout()
    with pytest.raises(NotLoggedIn):
        await client.token_for(NOTES)


async def test_without_an_answer_a_token_for_a_resource_serves_until_it_expires(
    client: Client, service: Service, clock: ManualClock
) -> None:
    await client.login()
    await client.token_for(NOTES)
    service.failures = [503] * 50
    clock.advance(timedelta(seconds=720))
    assert (await client.token_for(NOTES)).reveal() == f"access-11@{NOTES}"
    with pytest.raises(ServiceUnavailable):
        await client.token_for(PHOTOS)


@pytest.mark.parametrize("url", ["auth.example.com", "ftp://x.example", "http://auth.example.com"])
def test_passwords_are_sent_nowhere_in_the_clear(url: str) -> None:
    for kind in (KeyturnClient, AsyncKeyturnClient):
        with pytest.raises(ValueError):
            kind(url)
    KeyturnClient("http://auth.internal", allow_plain_http=True).close()
    KeyturnClient("http://127.0.0.1:8000").close()


async def test_each_client_refuses_the_requests_of_the_other_kind() -> None:
    blocking = KeyturnClient("https://auth.example.com")
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with AsyncKeyturnClient("https://auth.example.com") as asynchronous:
        with httpx.Client(transport=transport) as http, pytest.raises(ClientError):
            await asyncio.to_thread(http.get, "https://notes.example.com", auth=asynchronous.auth)
    async with httpx.AsyncClient(transport=transport) as http:
        with pytest.raises(ClientError):
            await http.get("https://notes.example.com", auth=blocking.auth)
    blocking.close()


async def test_a_cancelled_task_does_not_lose_the_answer(clock: ManualClock) -> None:
    gate, arrived = asyncio.Event(), asyncio.Event()
    handed_in = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == REFRESH:
            handed_in.append(request.content)
            arrived.set()
            await gate.wait()
        n = len(handed_in)
        return httpx.Response(
            200,
            json={
                "access_token": f"access-{n}",
                "refresh_token": f"refresh-{n}",
                "session_id": "s",
                "expires_in": 900,
                "refresh_after": 720,
            },
        )

    transport = httpx.MockTransport(answer)
    async with AsyncKeyturnClient(
        "https://auth.example.com", transport=transport, clock=clock
    ) as client:
        await client.login("ada@example.com", "a passphrase of my own")
        clock.advance(timedelta(seconds=720))
        impatient = asyncio.ensure_future(client.access_token())
        await arrived.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        gate.set()
        assert (await client.access_token()).reveal() == "access-1"
    assert len(handed_in) == 1


@pytest.mark.parametrize("in_file", [False, True])
async def test_the_device_token_of_a_login_is_sent_with_the_next_one_also_after_a_logout(
    connect: Callable[..., Client],
    service: Service,
    clock: ManualClock,
    tmp_path: Path,
    *,
    in_file: bool,
) -> None:
    storage = FileTokenStorage(tmp_path / "tokens.json") if in_file else MemoryTokenStorage()
    client = connect(storage)
    await client.login()
    clock.advance(timedelta(seconds=720))
    await client.access_token()
    await client.logout()
    with pytest.raises(LoginRefused):
        await client.login("a wrong password")
    await client.login()
    await connect(storage).login()
    assert service.device_tokens == [None, "device-10", "device-21"]


async def test_a_service_that_issues_no_device_token_is_no_problem(
    client: Client, service: Service
) -> None:
    service.issues_device_tokens = False
    await client.login()
    await client.login()
    assert service.device_tokens == [None, None]


async def test_a_storage_of_ones_own_that_keeps_no_device_token_still_works(
    connect: Callable[..., Client], service: Service
) -> None:
    class OldStorage(TokenStorage):
        tokens: Tokens | None = None

        def load(self) -> Tokens | None:
            return self.tokens

        def save(self, tokens: Tokens) -> None:
            self.tokens = tokens

        def clear(self) -> None:
            self.tokens = None

    client = connect(OldStorage())
    await client.login()
    await client.login()
    assert service.device_tokens == [None, None]
