"""What client and service say to each other, without any I/O."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeGuard
from urllib.parse import urlsplit

import httpx

from keyturn.client.errors import (
    LoginRefused,
    ResourceRefused,
    ServiceUnavailable,
    SessionEnded,
    UnexpectedAnswer,
)
from keyturn.client.token_storage import Tokens
from keyturn.domain.secret import Secret

LOGIN_PATH = "/v1/auth/login"
REFRESH_PATH = "/v1/auth/refresh"
LOGOUT_PATH = "/v1/auth/logout"

LOGIN_TIMEOUT = timedelta(seconds=30)
"""Passwords are slow to check, on purpose."""

REFRESH_TIMEOUT = timedelta(seconds=3)
"""Short, so that a lost answer is noticed while the same token may be handed in again."""

REST_AFTER_FAILURE = timedelta(seconds=5)
"""How long nobody tries to refresh when it could not be done."""

LARGEST_ANSWER = 64 * 1024
"""Bytes of the longest answer that is read: two tokens of 8 KiB and some names."""

_FIRST_PAUSE = timedelta(milliseconds=100)

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_FIRST_SERVER_ERROR = 500


def require_safe(base_url: str, *, allow_plain_http: bool) -> None:
    """Return if passwords may be sent there.

    Raises:
        ValueError: it is no URL, or one without TLS on another machine.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{base_url!r} is no URL such as https://auth.example.com")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not allow_plain_http:
        raise ValueError(
            f"{base_url!r} must be https, or allow_plain_http be True on a network that is safe"
        )


def login_body(
    email: str, password: Secret | str, device_name: str | None, device_token: Secret | None
) -> dict[str, str]:
    """Return the body of a login; the device token is that of an earlier one, None for none."""
    body = {
        "email": email,
        "password": password.reveal() if isinstance(password, Secret) else password,
    }
    if device_name is not None:
        body["device_name"] = device_name
    if device_token is not None:
        body["device_token"] = device_token.reveal()
    return body


def refresh_body(tokens: Tokens, resource: str | None = None) -> dict[str, str]:
    """Return the body of a refresh, for a resource if one is given, or of a log-out."""
    body = {"refresh_token": tokens.refresh_token.reveal()}
    return body if resource is None else {**body, "resource": resource}


@dataclass(frozen=True, slots=True)
class HeldToken:
    """An access token for one resource, and the session that it belongs to.

    Attributes:
        refresh_at: when to refresh, aware UTC.
        expires_at: when the token ends, aware UTC.
    """

    session_id: str
    token: Secret
    refresh_at: datetime
    expires_at: datetime

    @staticmethod
    def of(tokens: Tokens) -> "HeldToken":
        """Return the access token that came with a login or a refresh."""
        return HeldToken(
            tokens.session_id, tokens.access_token, tokens.refresh_at, tokens.expires_at
        )

    def is_due(self, now: datetime, rejected: Secret | None) -> bool:
        """Return whether the token must be refreshed: a service rejected it, or it is time."""
        return self.token == rejected or now >= self.refresh_at

    def still_serves(self, now: datetime, rejected: Secret | None) -> bool:
        """Return whether the token may be used when it could not be refreshed."""
        return self.token != rejected and now < self.expires_at


class HeldTokens:
    """The access tokens of one session: that of the storage, and one for each resource.

    Those for resources are kept in memory only: each can be had again by a refresh.
    """

    def __init__(self) -> None:
        """Hold none."""
        self._for_resources: dict[str, HeldToken] = {}

    def find(self, kept: Tokens, resource: str | None) -> HeldToken | None:
        """Return the token for a resource, or for the default audience where that is None.

        Args:
            kept: what the storage keeps; a token of another session is not returned.
        """
        if resource is None:
            return HeldToken.of(kept)
        held = self._for_resources.get(resource)
        return held if held is not None and held.session_id == kept.session_id else None

    def add(self, kept: Tokens, refreshed: Tokens, resource: str | None) -> Tokens:
        """Hold what a refresh for a resource gave, and return what the storage must keep now."""
        if resource is None:
            return refreshed
        self._for_resources[resource] = HeldToken.of(refreshed)
        return replace(kept, refresh_token=refreshed.refresh_token)

    def clear(self) -> None:
        """Hold none: the session is over."""
        self._for_resources.clear()


def tokens_of_login(answer: httpx.Response, asked_at: datetime) -> Tokens:
    """Return the tokens of a login.

    Raises:
        LoginRefused: it is refused.
        ServiceUnavailable: it can't be answered now.
        UnexpectedAnswer: this is not how keyturn answers.
    """
    if _is_unavailable(answer):
        raise ServiceUnavailable
    if answer.status_code in (400, 401, 403, 422):
        raise LoginRefused(_code(answer))
    return _tokens(answer, asked_at)


def device_token_of_login(answer: httpx.Response) -> Secret | None:
    """Return the device token of a login that succeeded, None from a service that issues none."""
    token = _members(answer).get("device_token")
    return Secret(token) if isinstance(token, str) else None


def tokens_of_refresh(
    answer: httpx.Response, asked_at: datetime, resource: str | None = None
) -> Tokens:
    """Return the tokens of a refresh.

    Raises:
        ResourceRefused: the service issues no token for the resource.
        SessionEnded: the refresh token is good no more.
        ServiceUnavailable: it can't be answered now; the token is not used up.
        UnexpectedAnswer: this is not how keyturn answers.
    """
    if _is_unavailable(answer):
        raise ServiceUnavailable
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise SessionEnded
    if resource is not None and _code(answer) == "invalid_target":
        raise ResourceRefused(resource)
    return _tokens(answer, asked_at)


def require_logged_out(answer: httpx.Response) -> None:
    """Return if the session has ended, by this or before.

    Raises:
        ServiceUnavailable: it can't be answered now.
        UnexpectedAnswer: this is not how keyturn answers.
    """
    if _is_unavailable(answer):
        raise ServiceUnavailable
    if answer.status_code not in (httpx.codes.NO_CONTENT, httpx.codes.UNAUTHORIZED):
        raise UnexpectedAnswer(answer.status_code)


class RefreshAttempts:
    """Until when a refresh whose answer was lost may be tried again with the same token.

    The service gives the same successor for as long as its grace window lasts, and takes the token
    for stolen after that. The window begins at the earliest with the first attempt, and the last
    one must have arrived when it ends.
    """

    def __init__(self, began: datetime, grace: timedelta) -> None:
        """Try from `began` on, aware UTC, with a service whose grace window is this long."""
        self._until = began + grace - REFRESH_TIMEOUT
        self._pause = _FIRST_PAUSE

    def next_pause(self, now: datetime) -> timedelta | None:
        """Return how long to wait before the next attempt, None if there must be no other."""
        pause = self._pause
        self._pause = pause * 2
        return pause if now + pause < self._until else None


def rejects_access_token(answer: httpx.Response) -> bool:
    """Whether a service says that the access token is good no more (RFC 6750 §3.1)."""
    return (
        answer.status_code == httpx.codes.UNAUTHORIZED
        and 'error="invalid_token"' in answer.headers.get("WWW-Authenticate", "")
    )


def is_for_another_resource(answer: httpx.Response) -> bool:
    """Whether a service says that the access token is for another resource; the body is read.

    A new token for the same resource would be rejected, too. The resource that the answer names is
    never asked for: a service must not choose which tokens it is shown.
    """
    return _code(answer) == "wrong_audience"


def is_repeatable(request: httpx.Request) -> bool:
    """Whether the request can be sent once more: its body is at hand."""
    try:
        _ = request.content
    except httpx.RequestNotRead:
        return False
    return True


def bear(request: httpx.Request, access_token: Secret) -> None:
    """Put the access token into a request (RFC 6750 §2.1)."""
    request.headers["Authorization"] = f"Bearer {access_token.reveal()}"


def _is_unavailable(answer: httpx.Response) -> bool:
    return answer.status_code >= _FIRST_SERVER_ERROR or answer.status_code in (
        httpx.codes.TOO_MANY_REQUESTS,
        httpx.codes.REQUEST_TIMEOUT,
    )


def _tokens(answer: httpx.Response, asked_at: datetime) -> Tokens:
    members = _members(answer)
    if answer.status_code != httpx.codes.OK:
        raise UnexpectedAnswer(answer.status_code)
    access_token, refresh_token, session_id = (
        members.get(name) for name in ("access_token", "refresh_token", "session_id")
    )
    expires_in, refresh_after = members.get("expires_in"), members.get("refresh_after")
    if not (
        isinstance(access_token, str)
        and isinstance(refresh_token, str)
        and isinstance(session_id, str)
        and isinstance(expires_in, int)
        and isinstance(refresh_after, int)
    ):
        raise UnexpectedAnswer(answer.status_code)
    return Tokens(
        access_token=Secret(access_token),
        refresh_token=Secret(refresh_token),
        session_id=session_id,
        # Counted from the request, so that a slow answer makes nothing live longer.
        refresh_at=asked_at + timedelta(seconds=refresh_after),
        expires_at=asked_at + timedelta(seconds=expires_in),
    )


def _code(answer: httpx.Response) -> str:
    code = _members(answer).get("code")
    return code if isinstance(code, str) else str(answer.status_code)


def _members(answer: httpx.Response) -> dict[str, object]:
    try:
        value: object = answer.json()
    except (ValueError, RecursionError):
        return {}
    return value if _is_object(value) else {}


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)
