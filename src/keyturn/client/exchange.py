"""What client and service say to each other, without any I/O."""

from datetime import datetime, timedelta
from typing import TypeGuard
from urllib.parse import urlsplit

import httpx

from keyturn.client.errors import (
    LoginRefused,
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


def refresh_body(tokens: Tokens) -> dict[str, str]:
    """Return the body of a refresh or a log-out."""
    return {"refresh_token": tokens.refresh_token.reveal()}


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


def tokens_of_refresh(answer: httpx.Response, asked_at: datetime) -> Tokens:
    """Return the tokens of a refresh.

    Raises:
        SessionEnded: the refresh token is good no more.
        ServiceUnavailable: it can't be answered now; the token is not used up.
        UnexpectedAnswer: this is not how keyturn answers.
    """
    if _is_unavailable(answer):
        raise ServiceUnavailable
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise SessionEnded
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
