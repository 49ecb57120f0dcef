"""The client for asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import httpx

from keyturn.adapters.system.clock import SystemClock
from keyturn.bounded_bodies import UNCOMPRESSED, UnacceptableBody, read_bounded
from keyturn.client.errors import ClientError, NotLoggedIn, ServiceUnavailable, SessionEnded
from keyturn.client.exchange import (
    LARGEST_ANSWER,
    LOGIN_PATH,
    LOGIN_TIMEOUT,
    LOGOUT_PATH,
    REFRESH_PATH,
    REFRESH_TIMEOUT,
    REST_AFTER_FAILURE,
    HeldToken,
    HeldTokens,
    RefreshAttempts,
    bear,
    device_token_of_login,
    is_for_another_resource,
    is_repeatable,
    login_body,
    refresh_body,
    rejects_access_token,
    require_logged_out,
    require_safe,
    tokens_of_login,
    tokens_of_refresh,
)
from keyturn.client.token_storage import MemoryTokenStorage, Tokens, TokenStorage
from keyturn.domain.secret import Secret
from keyturn.ports.system import Clock


class AsyncKeyturnClient:
    """Logs in, keeps tokens fresh and logs out; for the tasks of one event loop.

    Of any number of requests that need a refresh, one does it and the others wait for it. A task
    that is cancelled meanwhile does not cancel the refresh: its answer would be lost.
    """

    def __init__(
        self,
        base_url: str,
        *,
        storage: TokenStorage | None = None,
        grace: timedelta = timedelta(seconds=10),
        allow_plain_http: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Speak with the service at `base_url`.

        Args:
            storage: where tokens are kept; in memory by default.
            grace: the service's `KEYTURN_REFRESH_GRACE`: for as long, a refresh whose answer was
                lost is tried again.
            allow_plain_http: whether passwords may be sent without TLS to another machine.
            transport, clock, sleep: for tests.

        Raises:
            ValueError: `base_url` is no URL, or one without TLS.
        """
        require_safe(base_url, allow_plain_http=allow_plain_http)
        self.auth = AsyncKeyturnAuth(self)
        """What `httpx.AsyncClient(auth=...)` takes; only for services that may see the token.

        It sends tokens for the default audience; `auth_for` sends those for a resource.
        """
        self._http = httpx.AsyncClient(base_url=base_url, transport=transport)
        self._storage = storage or MemoryTokenStorage()
        self._grace = grace
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._held = HeldTokens()
        self._refreshing: asyncio.Task[HeldToken] | None = None
        self._refreshing_for: str | None = None
        self._rests_until: datetime | None = None

    async def login(
        self, email: str, password: Secret | str, *, device_name: str | None = None
    ) -> None:
        """Start a session and keep its tokens; one that was there before is left to end.

        The client sends the device token of its last login and keeps the new one, so that nobody
        makes its user wait by guessing passwords.

        Raises:
            LoginRefused: the service does not accept it.
            ServiceUnavailable: there is no answer.
            UnexpectedAnswer: this is not how keyturn answers.
        """
        asked_at = self._clock.now()
        body = login_body(email, password, device_name, self._storage.load_device_token())
        answer = await self._post(LOGIN_PATH, body, within=LOGIN_TIMEOUT)
        tokens = tokens_of_login(answer, asked_at)
        device_token = device_token_of_login(answer)
        await self._settled()
        self._held.clear()
        self._storage.save(tokens)
        if device_token is not None:
            self._storage.save_device_token(device_token)
        self._rests_until = None

    async def access_token(self, *, rejected: Secret | None = None) -> Secret:
        """Return an access token for the default audience that is good for a while.

        It is refreshed if it is time.

        Args:
            rejected: one that a service refused, and that must not be returned again.

        Raises:
            NotLoggedIn: there are no tokens.
            SessionEnded: there were, and they are good no more.
            ServiceUnavailable: there is no answer, and no token that has not expired.
            UnexpectedAnswer: this is not how keyturn answers.
        """
        return await self._token(None, rejected)

    async def token_for(self, resource: str, *, rejected: Secret | None = None) -> Secret:
        """Return an access token for one resource, such as `https://notes.example` (RFC 8707).

        The token is cached, and refreshed if it is time. The service that `resource` names can use
        it nowhere else.

        Args:
            resource: a resource that is declared at keyturn, or the issuer.
            rejected: one that a service refused, and that must not be returned again.

        Raises:
            ResourceRefused: there is no such resource, or this client may not ask for it.
            NotLoggedIn: there are no tokens.
            SessionEnded: there were, and they are good no more.
            ServiceUnavailable: there is no answer, and no token that has not expired.
            UnexpectedAnswer: this is not how keyturn answers.
        """
        return await self._token(resource, rejected)

    def auth_for(self, resource: str) -> "AsyncKeyturnAuth":
        """Return what `httpx.AsyncClient(auth=...)` takes to send tokens for a resource."""
        return AsyncKeyturnAuth(self, resource)

    async def logout(self) -> None:
        """End the session; its tokens are forgotten when the service has confirmed it.

        Raises:
            ServiceUnavailable: there is no answer; the session may live on.
            UnexpectedAnswer: this is not how keyturn answers.
        """
        await self._settled()
        tokens = self._storage.load()
        if tokens is None:
            return
        require_logged_out(
            await self._post(LOGOUT_PATH, refresh_body(tokens), within=REFRESH_TIMEOUT)
        )
        self._held.clear()
        self._storage.clear()

    async def aclose(self) -> None:
        """Close the connections, after a refresh that is under way; the session goes on."""
        await self._settled()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def _settled(self) -> None:
        """Wait for a refresh that is under way, however it ends: what follows comes after it."""
        while self._refreshing is not None:
            await asyncio.wait([self._refreshing])

    async def _token(self, resource: str | None, rejected: Secret | None) -> Secret:
        while True:
            tokens = self._storage.load()
            if tokens is None:
                raise NotLoggedIn
            held = self._held.find(tokens, resource)
            if held is not None and not held.is_due(self._clock.now(), rejected):
                return held.token
            if self._refreshing is None or self._refreshing_for == resource:
                break
            # Each refresh uses up the refresh token: one for another resource comes first.
            await asyncio.wait([self._refreshing])
        try:
            if self._refreshing is None:
                self._refreshing = self._begin_refresh(tokens, resource)
                self._refreshing_for = resource
            return (await asyncio.shield(self._refreshing)).token
        except ServiceUnavailable:
            if held is None or not held.still_serves(self._clock.now(), rejected):
                raise
            return held.token

    def _begin_refresh(self, tokens: Tokens, resource: str | None) -> asyncio.Task[HeldToken]:
        if self._rests_until is not None and self._clock.now() < self._rests_until:
            raise ServiceUnavailable
        refreshing = asyncio.create_task(self._refresh(tokens, resource))
        refreshing.add_done_callback(self._forget_refreshing)
        return refreshing

    def _forget_refreshing(self, refreshing: asyncio.Task[HeldToken]) -> None:
        self._refreshing = None
        # Whoever waited has it; if all were cancelled, nobody is to be told of it.
        if not refreshing.cancelled():
            refreshing.exception()

    async def _refresh(self, tokens: Tokens, resource: str | None) -> HeldToken:
        attempts = RefreshAttempts(self._clock.now(), self._grace)
        while True:
            asked_at = self._clock.now()
            try:
                answer = await self._post(
                    REFRESH_PATH, refresh_body(tokens, resource), within=REFRESH_TIMEOUT
                )
                refreshed = tokens_of_refresh(answer, asked_at, resource)
            except SessionEnded:
                if self._keeps(tokens):
                    self._held.clear()
                    self._storage.clear()
                raise
            except ServiceUnavailable:
                pause = attempts.next_pause(self._clock.now())
                if pause is None:
                    # Whoever comes next shall not wait as long for the same nothing.
                    self._rests_until = self._clock.now() + REST_AFTER_FAILURE
                    raise
            else:
                # After a log-out meanwhile there must be none again.
                if self._keeps(tokens):
                    self._storage.save(self._held.add(tokens, refreshed, resource))
                return HeldToken.of(refreshed)
            await self._sleep(pause.total_seconds())

    def _keeps(self, tokens: Tokens) -> bool:
        kept = self._storage.load()
        return kept is not None and kept.refresh_token == tokens.refresh_token

    async def _post(self, path: str, body: dict[str, str], *, within: timedelta) -> httpx.Response:
        try:
            async with self._http.stream(
                "POST", path, json=body, headers=UNCOMPRESSED, timeout=within.total_seconds()
            ) as answer:
                try:
                    content = await read_bounded(answer, LARGEST_ANSWER)
                except UnacceptableBody:
                    # The status alone counts: a success without tokens is an unexpected answer.
                    content = b""
                return httpx.Response(answer.status_code, content=content)
        except httpx.TransportError:
            # Raised out here, the error does not hold the request, whose body is a secret.
            pass
        raise ServiceUnavailable


class AsyncKeyturnAuth(httpx.Auth):
    """Sends a client's access token with each request of an `httpx.AsyncClient`.

    A request whose token was refused is sent once more with a new one: a change of roles ends
    tokens before their time. A token for the wrong resource is refused for good: the caller gets
    the 401.
    """

    def __init__(self, client: AsyncKeyturnClient, resource: str | None = None) -> None:
        """Send the tokens of `client` for a resource, or for the default audience."""
        self._client = client
        self._resource = resource

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request, twice if need be."""
        token = await self._token()
        bear(request, token)
        repeatable = is_repeatable(request)
        answer = yield request
        if repeatable and rejects_access_token(answer):
            await answer.aread()
            if is_for_another_resource(answer):
                return
            bear(request, await self._token(rejected=token))
            yield request

    async def _token(self, rejected: Secret | None = None) -> Secret:
        if self._resource is None:
            return await self._client.access_token(rejected=rejected)
        return await self._client.token_for(self._resource, rejected=rejected)

    def sync_auth_flow(
        self,
        request: httpx.Request,  # noqa: ARG002 - httpx's signature
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Refuse: this client needs an event loop.

        Raises:
            ClientError: always; `KeyturnClient` is meant.
        """
        raise ClientError("use KeyturnClient with httpx.Client")
