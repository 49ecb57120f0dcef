"""Where somebody is logged in."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request

from keyturn.delivery.http.dependencies import (
    CurrentPrincipal,
    check_scope,
    origin_of,
    services_of,
)
from keyturn.delivery.http.errors import ValidationFailed
from keyturn.delivery.http.openapi import BAD_ACCESS_TOKEN, operation_id, problems
from keyturn.delivery.http.schemas import SessionItem, SessionList
from keyturn.domain.errors import (
    Contention,
    PermissionDenied,
    SessionNotFound,
    StoreUnavailable,
)
from keyturn.domain.ids import FamilyId
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.list_sessions import ListSessionsQuery
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand

router = APIRouter(
    prefix="/v1/sessions",
    tags=["Sessions"],
    generate_unique_id_function=operation_id,
)


@router.get(
    "",
    summary="List my sessions",
    responses=problems(*BAD_ACCESS_TOKEN, PermissionDenied, ValidationFailed, StoreUnavailable),
)
async def list_sessions(
    request: Request,
    principal: CurrentPrincipal,
    *,
    ended: Annotated[
        bool, Query(description="Also those that ended in the last 30 days.", examples=[True])
    ] = False,
) -> SessionList:
    """Return where the caller is logged in, last used first."""
    check_scope(principal, "profile:read")
    sessions = await services_of(request).list_sessions.execute(
        ListSessionsQuery(user_id=principal.user_id, current=principal.session_id, with_ended=ended)
    )
    return SessionList(sessions=[SessionItem.of(session) for session in sessions])


@router.delete(
    "/{session_id}",
    status_code=204,
    summary="End one of my sessions",
    responses=problems(
        *BAD_ACCESS_TOKEN, PermissionDenied, SessionNotFound, ValidationFailed, StoreUnavailable
    ),
)
async def end_session(
    session_id: Annotated[
        str,
        Path(
            description="As in the list of sessions.",
            examples=["0198f3a2-7c40-7b02-8f6d-3c9a50d1e7aa"],
            json_schema_extra={"format": "uuid"},
        ),
    ],
    request: Request,
    principal: CurrentPrincipal,
) -> None:
    """Log a device out, as a lost phone. Another user's session is as unknown as none."""
    check_scope(principal, "profile:write")
    await services_of(request).end_session.execute(
        EndSessionCommand(
            principal.user_id,
            _family_id(session_id),
            actor=principal,
            origin=origin_of(request),
        )
    )


@router.delete(
    "",
    status_code=204,
    summary="End all my sessions",
    responses=problems(
        *BAD_ACCESS_TOKEN, PermissionDenied, ValidationFailed, StoreUnavailable, Contention
    ),
)
async def end_sessions(
    request: Request,
    principal: CurrentPrincipal,
    *,
    keep_current: Annotated[
        bool, Query(description="Whether this session stays.", examples=[True])
    ] = False,
) -> None:
    """Log every device out, or every other one."""
    check_scope(principal, "profile:write")
    await services_of(request).revoke_all_families.execute(
        RevokeAllFamiliesCommand(
            principal.user_id,
            actor=principal,
            keep=principal.session_id if keep_current else None,
            origin=origin_of(request),
        )
    )


def _family_id(text: str) -> FamilyId:
    try:
        return FamilyId(UUID(text))
    except ValueError:
        # What can't be an id is no session's id: the same answer as for an unknown one.
        raise SessionNotFound from None
