"""What operators may see and change of everybody; each route says which permission it needs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from keyturn.delivery.http.authorization import require_administration
from keyturn.delivery.http.cursors import Listed, cursor_after, position
from keyturn.delivery.http.dependencies import origin_of, services_of
from keyturn.delivery.http.error_answers import call_field
from keyturn.delivery.http.errors import PreconditionFailed, ValidationFailed
from keyturn.delivery.http.etags import role_etag, seen_by
from keyturn.delivery.http.openapi import BAD_ACCESS_TOKEN, BAD_JSON, operation_id, problems
from keyturn.delivery.http.schemas import (
    EXAMPLE_SESSION_ID,
    EXAMPLE_USER_ID,
    SessionItem,
    SessionList,
    UserProfile,
)
from keyturn.delivery.http.schemas_admin import (
    AuditEventItem,
    AuditEventList,
    AuditSearch,
    RoleAssignment,
    RoleDefinition,
    RoleItem,
    RoleList,
    UserChange,
    UserList,
    UserSearch,
)
from keyturn.domain.errors import (
    AdministratorUnverified,
    Contention,
    InvalidRole,
    LastAdministrator,
    PermissionDenied,
    RoleChanged,
    RoleNotFound,
    RoleProtected,
    SessionNotFound,
    StoreUnavailable,
    UserNotFound,
)
from keyturn.domain.ids import EventId, FamilyId, UserId
from keyturn.domain.principal import Principal
from keyturn.domain.user import ROLE_NAME
from keyturn.ports.persistence import AuditFilter, UserFilter
from keyturn.use_cases.assign_roles import AssignRolesCommand
from keyturn.use_cases.change_user import ChangeUserCommand
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.delete_role import DeleteRoleCommand
from keyturn.use_cases.end_session import EndSessionCommand
from keyturn.use_cases.erase_user import EraseUserCommand
from keyturn.use_cases.list_audit_events import ListAuditEventsQuery
from keyturn.use_cases.list_sessions import ListSessionsQuery
from keyturn.use_cases.list_users import ListUsersQuery
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand

router = APIRouter(
    prefix="/v1/admin",
    tags=["Administration"],
    generate_unique_id_function=operation_id,
)

_REFUSED = (*BAD_ACCESS_TOKEN, PermissionDenied, ValidationFailed, StoreUnavailable)

_UserText = Annotated[
    str,
    Path(
        description="As in the list of users.",
        examples=[EXAMPLE_USER_ID],
        json_schema_extra={"format": "uuid"},
    ),
]
_SessionText = Annotated[
    str,
    Path(
        description="As in the user's list of sessions.",
        examples=[EXAMPLE_SESSION_ID],
        json_schema_extra={"format": "uuid"},
    ),
]
_RoleText = Annotated[
    str,
    Path(
        description="Lower-case letters, digits, `_` and `-`; a letter first.", examples=["editor"]
    ),
]

_IfMatch = Annotated[
    str | None,
    Header(
        description="The `ETag` of the role that you have seen; of several, one must be its. "
        "`*` accepts any role that exists.",
        examples=['"8f14e45fceea167a"'],
    ),
]

_READS_USERS = [Depends(require_administration("users:read"))]
_WRITES_ROLES = [Depends(require_administration("roles:write"))]
_READS_AUDIT = [Depends(require_administration("audit:read"))]
_UsersWriter = Annotated[Principal, Depends(require_administration("users:write"))]
_RolesAssigner = Annotated[Principal, Depends(require_administration("roles:assign"))]
_RolesWriter = Annotated[Principal, Depends(require_administration("roles:write"))]
_SessionsRevoker = Annotated[Principal, Depends(require_administration("sessions:revoke"))]


@router.get(
    "/users",
    summary="List users",
    dependencies=_READS_USERS,
    responses=problems(*_REFUSED),
)
async def list_users(
    search: Annotated[UserSearch, Query()],
    request: Request,
) -> UserList:
    """Return a page of users in the order in which they registered. Needs `users:read`.

    With `next_cursor` from one page as `cursor`, the same question gives the next one.
    """
    after = position(Listed.USERS, search.cursor)
    page = await services_of(request).list_users.execute(
        ListUsersQuery(
            UserFilter(email=search.email, status=search.status, role=search.role),
            after=None if after is None else UserId(after),
            limit=search.limit,
        )
    )
    return UserList(
        users=[UserProfile.of(user) for user in page.users],
        next_cursor=cursor_after(Listed.USERS, page.next_after),
    )


@router.get(
    "/users/{user_id}",
    summary="Show a user",
    dependencies=_READS_USERS,
    responses=problems(*_REFUSED, UserNotFound),
)
async def show_user(user_id: _UserText, request: Request) -> UserProfile:
    """Return a user, whatever the status. Needs `users:read`."""
    return UserProfile.of(await services_of(request).get_user.execute(_user_id(user_id)))


@router.patch(
    "/users/{user_id}",
    summary="Change a user",
    responses=problems(*BAD_JSON, *_REFUSED, UserNotFound, LastAdministrator, Contention),
)
async def change_user(
    user_id: _UserText, body: UserChange, request: Request, principal: _UsersWriter
) -> UserProfile:
    """Disable, enable or rename a user. Needs `users:write`, and all that the user may do.

    A disabled user loses every session and access token at once. Who is made active is not erased
    any more. The last administrator can't be disabled.
    """
    user = await services_of(request).change_user.execute(
        ChangeUserCommand(
            _user_id(user_id),
            actor=principal,
            status=body.status,
            rename="display_name" in body.model_fields_set,
            display_name=body.display_name,
            origin=origin_of(request),
        )
    )
    return UserProfile.of(user)


@router.delete(
    "/users/{user_id}",
    status_code=204,
    summary="Erase a user",
    responses=problems(*_REFUSED, UserNotFound, LastAdministrator, Contention),
)
async def erase_user(user_id: _UserText, request: Request, principal: _UsersWriter) -> None:
    """Erase a user at once, without any time of grace. Needs `users:write`.

    Needs every role and permission of the user, too. Sessions and access tokens die, a last mail
    goes to the user. What happened stays in the audit trail, without what tells who it was. The
    last administrator can't be erased.
    """
    await services_of(request).erase_user.execute(
        EraseUserCommand(_user_id(user_id), actor=principal, origin=origin_of(request))
    )


@router.put(
    "/users/{user_id}/roles",
    summary="Assign roles to a user",
    responses=problems(
        *BAD_JSON,
        *_REFUSED,
        UserNotFound,
        RoleNotFound,
        LastAdministrator,
        AdministratorUnverified,
        Contention,
    ),
)
async def assign_roles(
    user_id: _UserText, body: RoleAssignment, request: Request, principal: _RolesAssigner
) -> UserProfile:
    """Replace all roles of a user. Needs `roles:assign`, and all that the user may do.

    The caller must hold every permission that is granted. Each role that is granted or taken away
    must be held by the caller, or name a role of the caller in its `assignable_by`. The user's
    access tokens end at once; a refresh gives one with the new roles. The last administrator can't
    be demoted, and nobody with an unverified address becomes one.
    """
    user = await services_of(request).assign_roles.execute(
        AssignRolesCommand(
            _user_id(user_id),
            frozenset(body.roles),
            actor=principal,
            origin=origin_of(request),
        )
    )
    return UserProfile.of(user)


@router.get(
    "/users/{user_id}/sessions",
    summary="List a user's sessions",
    responses=problems(*_REFUSED, UserNotFound),
)
async def list_user_sessions(
    user_id: _UserText,
    request: Request,
    principal: _SessionsRevoker,
    *,
    ended: Annotated[
        bool, Query(description="Also those that ended in the last 30 days.", examples=[True])
    ] = False,
) -> SessionList:
    """Return where a user is logged in, last used first. Needs `sessions:revoke`."""
    services = services_of(request)
    user = await services.get_user.execute(_user_id(user_id))
    sessions = await services.list_sessions.execute(
        ListSessionsQuery(user_id=user.id, current=principal.session_id, with_ended=ended)
    )
    return SessionList(sessions=[SessionItem.of(session) for session in sessions])


@router.delete(
    "/users/{user_id}/sessions",
    status_code=204,
    summary="End all sessions of a user",
    responses=problems(*_REFUSED, UserNotFound, Contention),
)
async def end_user_sessions(
    user_id: _UserText, request: Request, principal: _SessionsRevoker
) -> None:
    """End all sessions and access tokens of a user. Needs `sessions:revoke`.

    Needs every role and permission of the user, too.
    """
    await services_of(request).revoke_all_families.execute(
        RevokeAllFamiliesCommand(
            _user_id(user_id),
            actor=principal,
            origin=origin_of(request),
        )
    )


@router.delete(
    "/users/{user_id}/sessions/{session_id}",
    status_code=204,
    summary="End one session of a user",
    responses=problems(*_REFUSED, UserNotFound, SessionNotFound),
)
async def end_user_session(
    user_id: _UserText, session_id: _SessionText, request: Request, principal: _SessionsRevoker
) -> None:
    """End one session of a user. Needs `sessions:revoke`.

    Needs every role and permission of the user, too.
    """
    await services_of(request).end_session.execute(
        EndSessionCommand(
            _user_id(user_id),
            _family_id(session_id),
            actor=principal,
            origin=origin_of(request),
        )
    )


@router.get(
    "/roles",
    summary="List roles",
    dependencies=_WRITES_ROLES,
    responses=problems(*BAD_ACCESS_TOKEN, PermissionDenied, StoreUnavailable),
)
async def list_roles(request: Request) -> RoleList:
    """Return every role with what it permits, by name. Needs `roles:write`."""
    roles = await services_of(request).list_roles.execute()
    return RoleList(roles=[RoleItem.of(role) for role in roles])


@router.get(
    "/roles/{name}",
    summary="Show a role",
    dependencies=_WRITES_ROLES,
    responses=problems(*_REFUSED, RoleNotFound),
)
async def show_role(name: _RoleText, request: Request, response: Response) -> RoleItem:
    """Return what a role permits, with an `ETag` for a later change. Needs `roles:write`."""
    role = await services_of(request).list_roles.one(_known_role(name))
    response.headers["ETag"] = role_etag(role)
    return RoleItem.of(role)


@router.put(
    "/roles/{name}",
    summary="Define a role",
    responses=problems(
        *BAD_JSON, *_REFUSED, InvalidRole, RoleChanged, RoleProtected, PreconditionFailed
    ),
)
async def define_role(
    name: _RoleText,
    body: RoleDefinition,
    request: Request,
    response: Response,
    principal: _RolesWriter,
    if_match: _IfMatch = None,
) -> RoleItem:
    """Make a role, or replace all that it permits. Needs `roles:write`.

    The caller must hold every permission that the role had and gets. Only an administrator changes
    `assignable_by`. Without it, the role keeps the one that it has. A change of the permissions
    ends the access tokens of all who hold the role; a refresh gives new ones. With `If-Match` the
    role is changed only if it is still the one that the caller has seen; without it, only if no
    other request changes it at the same time.
    """
    if not ROLE_NAME.fullmatch(name):
        call_field(request.scope, "permissions", "name")
    assignable_by = None if body.assignable_by is None else frozenset(body.assignable_by)
    try:
        role = await services_of(request).define_role.execute(
            DefineRoleCommand(
                name,
                frozenset(body.permissions),
                assignable_by=assignable_by,
                expected=seen_by(if_match),
                actor=principal,
                origin=origin_of(request),
            )
        )
    except RoleChanged:
        if if_match is None:
            raise
        raise PreconditionFailed from None
    response.headers["ETag"] = role_etag(role)
    return RoleItem.of(role)


@router.delete(
    "/roles/{name}",
    status_code=204,
    summary="Delete a role",
    responses=problems(*_REFUSED, RoleNotFound, RoleChanged, RoleProtected, PreconditionFailed),
)
async def delete_role(
    name: _RoleText, request: Request, principal: _RolesWriter, if_match: _IfMatch = None
) -> None:
    """Take a role from everybody who has it, and remove it. Needs `roles:write`.

    The caller must be allowed to assign the role and hold its permissions.
    """
    try:
        await services_of(request).delete_role.execute(
            DeleteRoleCommand(
                _known_role(name),
                expected=seen_by(if_match),
                actor=principal,
                origin=origin_of(request),
            )
        )
    except RoleChanged:
        if if_match is None:
            raise
        raise PreconditionFailed from None


@router.get(
    "/audit-events",
    summary="List audit events",
    dependencies=_READS_AUDIT,
    responses=problems(*_REFUSED),
)
async def list_audit_events(
    search: Annotated[AuditSearch, Query()],
    request: Request,
) -> AuditEventList:
    """Return a page of what happened, latest first. Needs `audit:read`.

    With `next_cursor` from one page as `cursor`, the same question gives the next, older one.
    """
    before = position(Listed.EVENTS, search.cursor)
    page = await services_of(request).list_audit_events.execute(
        ListAuditEventsQuery(
            AuditFilter(
                type=search.type,
                actor=None if search.actor is None else UserId(search.actor),
                subject=None if search.subject is None else UserId(search.subject),
            ),
            before=None if before is None else EventId(before),
            limit=search.limit,
        )
    )
    return AuditEventList(
        events=[AuditEventItem.of(event) for event in page.events],
        next_cursor=cursor_after(Listed.EVENTS, page.next_before),
    )


def _user_id(text: str) -> UserId:
    try:
        return UserId(UUID(text))
    except ValueError:
        # What can't be an id is no user's id: the same answer as for an unknown one.
        raise UserNotFound from None


def _family_id(text: str) -> FamilyId:
    try:
        return FamilyId(UUID(text))
    except ValueError:
        raise SessionNotFound from None


def _known_role(name: str) -> str:
    if not ROLE_NAME.fullmatch(name):
        raise RoleNotFound
    return name
