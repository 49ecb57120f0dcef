"""The client for programs with threads, or none."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import httpx

from keyturn.adapters.system.clock import SystemClock
from keyturn.bounded_bodies import UNCOMPRESSED, UnacceptableBody, read_bounded_sync
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


class KeyturnClient:
    """Logs in, keeps tokens fresh and logs out; any number of threads may use one.

    Of any number of requests that need a refresh, one does it and the others wait for it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        storage: TokenStorage | None = None,
        grace: timedelta = timedelta(seconds=10),
        allow_plain_http: bool = False,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
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
        self.auth = KeyturnAuth(self)
        """What `httpx.Client(auth=...)` takes; only for services that may see the token.

        It sends tokens for the default audience; `auth_for` sends those for a resource.
        """
        self._http = httpx.Client(base_url=base_url, transport=transport)
        self._storage = storage or MemoryTokenStorage()
        self._grace = grace
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._lock = threading.Lock()
        self._held = HeldTokens()
        self._rests_until: datetime | None = None

    def login(self, email: str, password: Secret | str, *, device_name: str | None = None) -> None:
        """Start a session and keep its tokens; one that was there before is left to end.

        The client sends the device token of its last login and keeps the new one, so that nobody
        makes its user wait by guessing passwords.

        Raises:
            LoginRefused: the service does not accept it.
            ServiceUnavailable: there is no answer.
            UnexpectedAnswer: this is not how keyturn answers.
        """
        asked_at = self._clock.now()
        with self._lock:
            known_by = self._storage.load_device_token()
        body = login_body(email, password, device_name, known_by)
        answer = self._post(LOGIN_PATH, body, within=LOGIN_TIMEOUT)
        tokens = tokens_of_login(answer, asked_at)
        device_token = device_token_of_login(answer)
        with self._lock:
            self._held.clear()
            self._storage.save(tokens)
            if device_token is not None:
                self._storage.save_device_token(device_token)
            self._rests_until = None

    def access_token(self, *, rejected: Secret | None = None) -> Secret:
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
        return self._token(None, rejected)

    def token_for(self, resource: str, *, rejected: Secret | None = None) -> Secret:
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
        return self._token(resource, rejected)

    def auth_for(self, resource: str) -> "KeyturnAuth":
        """Return what `httpx.Client(auth=...)` takes to send tokens for a resource."""
        return KeyturnAuth(self, resource)

    def logout(self) -> None:
        """End the session; its tokens are forgotten when the service has confirmed it.

        Raises:
            ServiceUnavailable: there is no answer; the session may live on.
            UnexpectedAnswer: this is not how keyturn answers.
        """
        with self._lock:
            tokens = self._storage.load()
            if tokens is None:
                return
            require_logged_out(
                self._post(LOGOUT_PATH, refresh_body(tokens), within=REFRESH_TIMEOUT)
            )
            self._held.clear()
            self._storage.clear()

    def close(self) -> None:
        """Close the connections; the session goes on."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def _load(self) -> Tokens:
        tokens = self._storage.load()
        if tokens is None:
            raise NotLoggedIn
        return tokens

    def _token(self, resource: str | None, rejected: Secret | None) -> Secret:
        held = self._held.find(self._load(), resource)
        if held is not None and not held.is_due(self._clock.now(), rejected):
            return held.token
        with self._lock:
            # Whoever had the lock before may have refreshed, and so may another process.
            tokens = self._load()
            held = self._held.find(tokens, resource)
            if held is not None and not held.is_due(self._clock.now(), rejected):
                return held.token
            return self._refreshed(tokens, resource, held, rejected).token

    def _refreshed(
        self,
        tokens: Tokens,
        resource: str | None,
        held: HeldToken | None,
        rejected: Secret | None,
    ) -> HeldToken:
        try:
            refreshed = self._refresh(tokens, resource)
        except ServiceUnavailable:
            if held is None or not held.still_serves(self._clock.now(), rejected):
                raise
            return held
        except SessionEnded:
            self._held.clear()
            self._storage.clear()
            raise
        self._storage.save(self._held.add(tokens, refreshed, resource))
        return HeldToken.of(refreshed)

    def _refresh(self, tokens: Tokens, resource: str | None) -> Tokens:
        if self._rests_until is not None and self._clock.now() < self._rests_until:
            raise ServiceUnavailable
        attempts = RefreshAttempts(self._clock.now(), self._grace)
        while True:
            asked_at = self._clock.now()
            try:
                body = refresh_body(tokens, resource)
                answer = self._post(REFRESH_PATH, body, within=REFRESH_TIMEOUT)
                return tokens_of_refresh(answer, asked_at, resource)
            except ServiceUnavailable:
                pause = attempts.next_pause(self._clock.now())
                if pause is None:
                    # Whoever comes next shall not wait as long for the same nothing.
                    self._rests_until = self._clock.now() + REST_AFTER_FAILURE
                    raise
            self._sleep(pause.total_seconds())

    def _post(self, path: str, body: dict[str, str], *, within: timedelta) -> httpx.Response:
        try:
            with self._http.stream(
                "POST", path, json=body, headers=UNCOMPRESSED, timeout=within.total_seconds()
            ) as answer:
                try:
                    content = read_bounded_sync(answer, LARGEST_ANSWER)
                except UnacceptableBody:
                    # The status alone counts: a success without tokens is an unexpected answer.
                    content = b""
                return httpx.Response(answer.status_code, content=content)
        except httpx.TransportError:
            # Raised out here, the error does not hold the request, whose body is a secret.
            pass
        raise ServiceUnavailable


class KeyturnAuth(httpx.Auth):
    """Sends a client's access token with each request of an `httpx.Client`.

    A request whose token was refused is sent once more with a new one: a change of roles ends
    tokens before their time. A token for the wrong resource is refused for good: the caller gets
    the 401.
    """

    def __init__(self, client: KeyturnClient, resource: str | None = None) -> None:
        """Send the tokens of `client` for a resource, or for the default audience."""
        self._client = client
        self._resource = resource

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request, twice if need be."""
        token = self._token()
        bear(request, token)
        repeatable = is_repeatable(request)
        answer = yield request
        if repeatable and rejects_access_token(answer):
            answer.read()
            if is_for_another_resource(answer):
                return
            bear(request, self._token(rejected=token))
            yield request

    def _token(self, rejected: Secret | None = None) -> Secret:
        if self._resource is None:
            return self._client.access_token(rejected=rejected)
        return self._client.token_for(self._resource, rejected=rejected)

    def async_auth_flow(
        self,
        request: httpx.Request,  # noqa: ARG002 - httpx's signature
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Refuse: this client would block the event loop.

        Raises:
            ClientError: always; `AsyncKeyturnClient` is meant.
        """
        raise ClientError("use AsyncKeyturnClient with httpx.AsyncClient")
