"""What is to be known of every request, and the line that tells it."""

import logging
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from uuid import UUID

from starlette.routing import Route
from starlette.types import Scope

from keyturn.delivery.http.request_ids import client_request_id, request_id

NO_ROUTE = "(none)"
"""Stands for the route where none has the path; the path itself may hold anything."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SUBJECT = "keyturn.subject"
_SESSION = "keyturn.session"

_log = logging.getLogger("keyturn.request")


class FinishedRequest(NamedTuple):
    """A request that has been answered, with nothing in it that a client could hide a secret in.

    Attributes:
        method: one of HTTP's own, or `OTHER`.
        route: the template, such as `/v1/sessions/{session_id}`, or `(none)`.
        seconds: from the first header to the last byte of the answer.
        subject: the user who was recognised, None if nobody was.
        client_request_id: the `X-Request-ID` that a trusted proxy sent, None for none.
    """

    request_id: str
    method: str
    route: str
    status: int
    seconds: float
    subject: UUID | None
    client_ip: str | None
    client_request_id: str | None = None


RequestObserver = Callable[[FinishedRequest], None]
"""Told of every request when it is over; must neither block nor raise."""


def log_request(request: FinishedRequest) -> None:
    """Write the one line that each request gets; what failed for a fault of ours is an error."""
    level = logging.ERROR if request.status >= 500 else logging.INFO
    if not _log.isEnabledFor(level):
        return
    extra = {
        "request_id": request.request_id,
        "method": request.method,
        "route": request.route,
        "status": request.status,
        "duration_ms": round(request.seconds * 1000, 2),
        "subject": None if request.subject is None else str(request.subject),
        "client_ip": request.client_ip,
    }
    if request.client_request_id is not None:
        extra["client_request_id"] = request.client_request_id
    # What `Logger.log` does, without its search for who called: it is always this line.
    _log.handle(_log.makeRecord(_log.name, level, __file__, 0, "request", (), None, extra=extra))


def finished_request(scope: Scope, status: int, seconds: float) -> FinishedRequest:
    """Return what is to be known of a request that is over."""
    return FinishedRequest(
        request_id=request_id(scope),
        method=scope["method"] if scope["method"] in _METHODS else "OTHER",
        route=_template(scope),
        status=status,
        seconds=seconds,
        subject=scope.get(_SUBJECT),
        client_ip=client_ip(scope),
        client_request_id=client_request_id(scope),
    )


def note_caller(scope: Scope, user_id: UUID, session_id: UUID) -> None:
    """Let observers of the request know its authenticated caller."""
    scope[_SUBJECT] = user_id
    scope[_SESSION] = session_id


def caller_of(scope: Scope) -> tuple[UUID | None, UUID | None]:
    """Return user and session of the authenticated caller, None for none."""
    return scope.get(_SUBJECT), scope.get(_SESSION)


def client_ip(scope: Scope) -> str | None:
    """Return the address that the request came from, None where what is given is none.

    Without its zone (`%eth0`), which means nothing to others and may be any text.
    """
    client = scope.get("client")
    return _address(client[0]) if client else None


@lru_cache(maxsize=1024)
def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return route.path_format if isinstance(route, Route) else NO_ROUTE
