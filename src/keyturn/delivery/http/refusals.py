"""Which rejected requests go into the audit trail."""

import logging
from uuid import UUID

from fastapi import Request
from starlette.routing import Route

from keyturn.delivery.http.dependencies import origin_of
from keyturn.delivery.http.errors import CsrfRejected
from keyturn.delivery.http.observation import caller_of
from keyturn.delivery.http.request_ids import request_id
from keyturn.delivery.http.services import Services
from keyturn.domain.errors import InvalidClient, KeyturnError, PermissionDenied, StoreUnavailable
from keyturn.domain.events import AuditEventType
from keyturn.domain.ids import FamilyId, UserId
from keyturn.use_cases.record_refusal import RecordRefusalCommand

_log = logging.getLogger("keyturn.http")


async def record_refusal(request: Request, error: KeyturnError) -> None:
    """Record what an error says about an attack; other errors are nobody's attack.

    These are a request of another site that rests on a cookie, a client that does not prove who it
    is, and a caller who is denied something in the administration. A store that does not answer is
    logged: the request is rejected all the same.
    """
    services = request.app.state.keyturn
    if not isinstance(services, Services):
        # An app of your own that verifies tokens has no audit trail.
        return
    command = _command(request, error)
    if command is None:
        return
    try:
        await services.record_refusal.execute(command)
    except StoreUnavailable:
        _log.warning("request %s: a refusal is not recorded", request_id(request.scope))


def _command(request: Request, error: KeyturnError) -> RecordRefusalCommand | None:
    origin = origin_of(request)
    match error:
        case CsrfRejected():
            return RecordRefusalCommand(AuditEventType.CSRF_REJECTED, origin)
        case InvalidClient():
            details = {} if error.client_id is None else {"client_id": error.client_id}
            return RecordRefusalCommand(AuditEventType.CLIENT_REJECTED, origin, details=details)
        case PermissionDenied() if _is_administration(request):
            user_id, session_id = caller_of(request.scope)
            return RecordRefusalCommand(
                AuditEventType.PERMISSION_DENIED,
                origin,
                actor=None if user_id is None else UserId(user_id),
                subject=_named_user(request),
                session=None if session_id is None else FamilyId(session_id),
                details={"route": f"{request.method} {_template(request)}"},
            )
        case _:
            return None


def _is_administration(request: Request) -> bool:
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")).startswith("/v1/admin/")


def _template(request: Request) -> str:
    route = request.scope.get("route")
    return route.path if isinstance(route, Route) else ""


def _named_user(request: Request) -> UserId | None:
    try:
        return UserId(UUID(request.path_params.get("user_id", "")))
    except ValueError:
        return None
