"""A stand-in for keyturn, and both clients of it behind one face."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial

import httpx
import pytest

from keyturn.client import AsyncKeyturnClient, KeyturnClient, TokenStorage
from keyturn.domain.secret import Secret
from keyturn.testing.doubles import ManualClock


class Service:
    """Rotates as keyturn does: one successor for each token, and none for an older one."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.generation = 0
        self.rotated_at = clock.now()
        self.ended = False
        self.asked: list[str] = []
        self.device_tokens: list[object] = []
        self.issues_device_tokens = True
        self.failures: list[object] = []
        self.rotates_before_failing = False
        self.dead: set[str] = set()
        self.wrong_audience = False
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.asked.append(request.url.path)
            return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None and not self.rotates_before_failing:
            return self._fail(failure)
        body = json.loads(request.content or b"{}")
        if request.url.path == "/v1/auth/login":
            if body["password"] != "a passphrase of my own":
                return httpx.Response(401, json={"code": "invalid_credentials"})
            self.generation, self.ended = self.generation + 10, False
            self.device_tokens.append(body.get("device_token"))
            return self._tokens(is_login=self.issues_device_tokens)
        if request.url.path == "/v1/auth/logout":
            self.ended = True
            return httpx.Response(204)
        if request.url.path == "/v1/auth/refresh":
            if body.get("resource") == "https://unknown.example":
                return httpx.Response(422, json={"code": "invalid_target"})
            answer = self._refresh(body["refresh_token"], body.get("resource", ""))
            return answer if failure is None else self._fail(failure)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.dead or self.ended or self.wrong_audience:
            challenge = 'Bearer realm="keyturn", error="invalid_token"'
            code = "wrong_audience" if self.wrong_audience else "invalid_token"
            problem = {"code": code, "resource": "https://auth.example.com"}
            return httpx.Response(401, headers={"WWW-Authenticate": challenge}, json=problem)
        return httpx.Response(200, json={"token": token, "body": body})

    def _fail(self, failure: object) -> httpx.Response:
        if isinstance(failure, int):
            return httpx.Response(failure, headers={"Retry-After": "1"})
        assert isinstance(failure, Exception)
        raise failure

    def _refresh(self, token: str, resource: str) -> httpx.Response:
        if not self.ended and token == f"refresh-{self.generation}":
            self.generation += 1
            self.rotated_at = self.clock.now()
            return self._tokens(resource)
        within_grace = self.clock.now() - self.rotated_at < timedelta(seconds=10)
        if not self.ended and token == f"refresh-{self.generation - 1}" and within_grace:
            return self._tokens(resource)
        self.ended = True
        return httpx.Response(401, json={"code": "invalid_refresh_token"})

    def _tokens(self, resource: str = "", *, is_login: bool = False) -> httpx.Response:
        device = {"device_token": f"device-{self.generation}"} if is_login else {}
        return httpx.Response(
            200,
            json={
                **device,
                "access_token": f"access-{self.generation}{resource and f'@{resource}'}",
                "token_type": "Bearer",
                "expires_in": 900,
                "refresh_token": f"refresh-{self.generation}",
                "refresh_expires_in": 604800,
                "refresh_after": 720,
                "session_id": "0198f3a2-7c40-7b02-8f6d-3c9a50d1e7aa",
            },
        )


class BlockingClient:
    """The client for threads, each call in one of its own."""

    def __init__(
        self, service: Service, clock: ManualClock, storage: TokenStorage | None = None
    ) -> None:
        transport = httpx.MockTransport(service)
        self.itself = KeyturnClient(
            "https://auth.example.com",
            storage=storage,
            transport=transport,
            clock=clock,
            sleep=lambda seconds: clock.advance(timedelta(seconds=seconds)),
        )
        self._other = httpx.Client(
            base_url="https://notes.example.com", transport=transport, auth=self.itself.auth
        )

    async def login(self, password: str = "a passphrase of my own") -> None:
        await asyncio.to_thread(self.itself.login, "ada@example.com", password, device_name="me")

    async def access_token(self) -> Secret:
        return await asyncio.to_thread(self.itself.access_token)

    async def token_for(self, resource: str, rejected: Secret | None = None) -> Secret:
        return await asyncio.to_thread(self.itself.token_for, resource, rejected=rejected)

    async def logout(self) -> None:
        await asyncio.to_thread(self.itself.logout)

    async def post(self, content: bytes) -> httpx.Response:
        return await asyncio.to_thread(self._other.post, "/notes", content=content)

    async def post_for(self, resource: str) -> httpx.Response:
        auth = self.itself.auth_for(resource)
        return await asyncio.to_thread(
            partial(self._other.post, "/notes", content=b"{}", auth=auth)
        )

    async def post_stream(self, content: bytes) -> httpx.Response:
        return await asyncio.to_thread(self._other.post, "/notes", content=iter([content]))

    async def close(self) -> None:
        self._other.close()
        self.itself.close()


class AsyncClient:
    """The client for asyncio."""

    def __init__(
        self, service: Service, clock: ManualClock, storage: TokenStorage | None = None
    ) -> None:
        async def answer(request: httpx.Request) -> httpx.Response:
            # Others get their turn while an answer is on its way.
            await request.aread()
            await asyncio.sleep(0)
            return service(request)

        async def sleep(seconds: float) -> None:
            clock.advance(timedelta(seconds=seconds))

        transport = httpx.MockTransport(answer)
        self.itself = AsyncKeyturnClient(
            "https://auth.example.com",
            storage=storage,
            transport=transport,
            clock=clock,
            sleep=sleep,
        )
        self._other = httpx.AsyncClient(
            base_url="https://notes.example.com", transport=transport, auth=self.itself.auth
        )

    async def login(self, password: str = "a passphrase of my own") -> None:
        await self.itself.login("ada@example.com", password, device_name="me")

    async def access_token(self) -> Secret:
        return await self.itself.access_token()

    async def token_for(self, resource: str, rejected: Secret | None = None) -> Secret:
        return await self.itself.token_for(resource, rejected=rejected)

    async def logout(self) -> None:
        await self.itself.logout()

    async def post(self, content: bytes) -> httpx.Response:
        return await self._other.post("/notes", content=content)

    async def post_for(self, resource: str) -> httpx.Response:
        auth = self.itself.auth_for(resource)
        return await self._other.post("/notes", content=b"{}", auth=auth)

    async def post_stream(self, content: bytes) -> httpx.Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield content

        return await self._other.post("/notes", content=pieces())

    async def close(self) -> None:
        await self._other.aclose()
        await self.itself.aclose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service(clock: ManualClock) -> Service:
    return Service(clock)


@pytest.fixture(params=[BlockingClient, AsyncClient])
async def connect(
    request: pytest.FixtureRequest, service: Service, clock: ManualClock
) -> AsyncIterator[Callable[..., object]]:
    """Makes a client of either kind, with a storage of one's own."""
    clients: list[BlockingClient | AsyncClient] = []

    def connect(storage: TokenStorage | None = None) -> object:
        clients.append(request.param(service, clock, storage))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture
def client(connect: Callable[..., object]) -> object:
    """A client of either kind in turn."""
    return connect()
