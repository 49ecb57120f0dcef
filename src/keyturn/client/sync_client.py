"""The client for programs with threads, or none."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import httpx

from keyturn.adapters.system.clock import SystemClock
from keyturn.client.errors import ClientError, NotLoggedIn, ServiceUnavailable, SessionEnded
from keyturn.client.exchange import (
    LOGIN_PATH,
    LOGIN_TIMEOUT,
    LOGOUT_PATH,
    REFRESH_PATH,
    REFRESH_TIMEOUT,
    REST_AFTER_FAILURE,
    RefreshAttempts,
    bear,
    device_token_of_login,
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
        """What `httpx.Client(auth=...)` takes; only for services that may see the token."""
        self._http = httpx.Client(base_url=base_url, transport=transport)
        self._storage = storage or MemoryTokenStorage()
        self._grace = grace
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._lock = threading.Lock()
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
            self._storage.save(tokens)
            if device_token is not None:
                self._storage.save_device_token(device_token)
            self._rests_until = None

    def access_token(self, *, rejected: Secret | None = None) -> Secret:
        """Return an access token that is good for a while, refreshed if it is time.

        Args:
            rejected: one that a service refused, and that must not be returned again.

        Raises:
            NotLoggedIn: there are no tokens.
            SessionEnded: there were, and they are good no more.
            ServiceUnavailable: there is no answer, and no token that has not expired.
            UnexpectedAnswer: this is not how keyturn answers.
        """
        tokens = self._load()
        if not self._is_due(tokens, rejected):
            return tokens.access_token
        with self._lock:
            # Whoever had the lock before may have refreshed, and so may another process.
            tokens = self._load()
            if not self._is_due(tokens, rejected):
                return tokens.access_token
            return self._refreshed(tokens, rejected).access_token

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

    def _is_due(self, tokens: Tokens, rejected: Secret | None) -> bool:
        return tokens.access_token == rejected or self._clock.now() >= tokens.refresh_at

    def _refreshed(self, tokens: Tokens, rejected: Secret | None) -> Tokens:
        try:
            refreshed = self._refresh(tokens)
        except ServiceUnavailable:
            if tokens.access_token == rejected or self._clock.now() >= tokens.expires_at:
                raise
            return tokens
        except SessionEnded:
            self._storage.clear()
            raise
        self._storage.save(refreshed)
        return refreshed

    def _refresh(self, tokens: Tokens) -> Tokens:
        if self._rests_until is not None and self._clock.now() < self._rests_until:
            raise ServiceUnavailable
        attempts = RefreshAttempts(self._clock.now(), self._grace)
        while True:
            asked_at = self._clock.now()
            try:
                answer = self._post(REFRESH_PATH, refresh_body(tokens), within=REFRESH_TIMEOUT)
                return tokens_of_refresh(answer, asked_at)
            except ServiceUnavailable:
                pause = attempts.next_pause(self._clock.now())
                if pause is None:
                    # Whoever comes next shall not wait as long for the same nothing.
                    self._rests_until = self._clock.now() + REST_AFTER_FAILURE
                    raise
            self._sleep(pause.total_seconds())

    def _post(self, path: str, body: dict[str, str], *, within: timedelta) -> httpx.Response:
        try:
            return self._http.post(path, json=body, timeout=within.total_seconds())
        except httpx.TransportError:
            # Raised out here, the error does not hold the request, whose body is a secret.
            pass
        raise ServiceUnavailable


class KeyturnAuth(httpx.Auth):
    """Sends a client's access token with each request of an `httpx.Client`.

    A request whose token was refused is sent once more with a new one: a change of roles ends
    tokens before their time.
    """

    def __init__(self, client: KeyturnClient) -> None:
        """Send the tokens of `client`."""
        self._client = client

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request, twice if need be."""
        token = self._client.access_token()
        bear(request, token)
        repeatable = is_repeatable(request)
        answer = yield request
        if repeatable and rejects_access_token(answer):
            bear(request, self._client.access_token(rejected=token))
            yield request

    def async_auth_flow(
        self,
        request: httpx.Request,  # noqa: ARG002 - httpx's signature
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Refuse: this client would block the event loop.

        Raises:
            ClientError: always; `AsyncKeyturnClient` is meant.
        """
        raise ClientError("use AsyncKeyturnClient with httpx.AsyncClient")
