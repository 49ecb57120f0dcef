"""What somebody may see and change of themselves."""

from fastapi import APIRouter, Request, Response

from keyturn.delivery.http.dependencies import (
    CurrentPrincipal,
    CurrentUser,
    RecentPrincipal,
    check_scope,
    origin_of,
    services_of,
)
from keyturn.delivery.http.error_answers import call_field
from keyturn.delivery.http.openapi import (
    BAD_ACCESS_TOKEN,
    BAD_JSON,
    BAD_NEW_PASSWORD,
    operation_id,
    problems,
)
from keyturn.delivery.http.schemas import PasswordChange, ProfileChange, UserProfile
from keyturn.delivery.http.schemas_accounts import EmailChange, ExportedAccount
from keyturn.domain.errors import (
    Contention,
    HashingBusy,
    InvalidEmail,
    LastAdministrator,
    LoginTooOld,
    PasswordNotText,
    PasswordTooLong,
    PermissionDenied,
    StoreUnavailable,
    TooManyAttempts,
    WrongCurrentPassword,
)
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.delete_account import DeleteAccountCommand
from keyturn.use_cases.export_account import ExportAccountCommand
from keyturn.use_cases.request_email_change import RequestEmailChangeCommand
from keyturn.use_cases.update_profile import UpdateProfileCommand

router = APIRouter(prefix="/v1/users", tags=["Profile"], generate_unique_id_function=operation_id)


@router.get(
    "/me",
    summary="Show my profile",
    responses=problems(*BAD_ACCESS_TOKEN, PermissionDenied, StoreUnavailable),
)
async def show_profile(principal: CurrentPrincipal, user: CurrentUser) -> UserProfile:
    """Return the caller, as stored: roles and permissions are those of now, not of the token."""
    check_scope(principal, "profile:read")
    return UserProfile.of(user)


@router.patch(
    "/me",
    summary="Change my profile",
    responses=problems(
        *BAD_JSON,
        *BAD_ACCESS_TOKEN,
        PermissionDenied,
        TooManyAttempts,
        StoreUnavailable,
        Contention,
    ),
)
async def change_profile(
    body: ProfileChange, request: Request, principal: CurrentPrincipal
) -> UserProfile:
    """Change the display name; `null` removes it."""
    check_scope(principal, "profile:write")
    user = await services_of(request).update_profile.execute(
        UpdateProfileCommand(
            principal.user_id,
            body.display_name,
            principal.session_id,
            origin=origin_of(request),
        )
    )
    return UserProfile.of(user)


@router.post(
    "/me/password",
    status_code=204,
    summary="Change my password",
    responses=problems(
        *BAD_JSON,
        *BAD_ACCESS_TOKEN,
        PermissionDenied,
        WrongCurrentPassword,
        *BAD_NEW_PASSWORD,
        TooManyAttempts,
        HashingBusy,
        StoreUnavailable,
        Contention,
    ),
)
async def change_password(
    body: PasswordChange, request: Request, principal: CurrentPrincipal
) -> None:
    """Replace the password. Every other session ends; this one stays and must refresh."""
    check_scope(principal, "profile:write")
    call_field(request.scope, "password", "new_password")
    await services_of(request).change_password.execute(
        ChangePasswordCommand(
            user_id=principal.user_id,
            session_id=principal.session_id,
            current_password=body.current_password,
            new_password=body.new_password,
            origin=origin_of(request),
        )
    )


@router.post(
    "/me/email",
    status_code=202,
    response_class=Response,
    summary="Ask for another e-mail address",
    responses=problems(
        *BAD_JSON,
        *BAD_ACCESS_TOKEN,
        PermissionDenied,
        WrongCurrentPassword,
        InvalidEmail,
        PasswordTooLong,
        PasswordNotText,
        TooManyAttempts,
        HashingBusy,
        StoreUnavailable,
    ),
)
async def request_email_change(
    body: EmailChange, request: Request, principal: CurrentPrincipal
) -> Response:
    """Have a link sent to the new address; the old one is told, and stays until it is followed.

    `POST /v1/auth/email-verification/confirm` takes the token of the link. Whether somebody else
    has the new address is not said: its owner is told by mail.
    """
    check_scope(principal, "profile:write")
    call_field(request.scope, "email", "new_email")
    call_field(request.scope, "password", "current_password")
    await services_of(request).request_email_change.execute(
        RequestEmailChangeCommand(
            user_id=principal.user_id,
            session_id=principal.session_id,
            current_password=body.current_password,
            new_email=body.new_email,
            origin=origin_of(request),
        )
    )
    return Response(status_code=202)


@router.get(
    "/me/export",
    summary="Get all that is stored of me",
    responses=problems(
        *BAD_ACCESS_TOKEN, LoginTooOld, PermissionDenied, TooManyAttempts, StoreUnavailable
    ),
)
async def export_account(
    request: Request, response: Response, principal: RecentPrincipal
) -> ExportedAccount:
    """Return the account, its sessions and its audit events, as a file to keep (GDPR Art. 15, 20).

    The hash of the password is not in it. That it was asked for is audited. Needs a token for the
    issuer whose `auth_time` is recent: see `POST /v1/auth/reauthenticate`.
    """
    check_scope(principal, "profile:read")
    export = await services_of(request).export_account.execute(
        ExportAccountCommand(principal.user_id, principal.session_id, origin_of(request))
    )
    response.headers["Content-Disposition"] = 'attachment; filename="account.json"'
    return ExportedAccount.of(export)


@router.delete(
    "/me",
    status_code=204,
    summary="Delete my account",
    responses=problems(
        *BAD_ACCESS_TOKEN,
        LoginTooOld,
        PermissionDenied,
        LastAdministrator,
        TooManyAttempts,
        StoreUnavailable,
        Contention,
    ),
)
async def delete_account(request: Request, principal: RecentPrincipal) -> None:
    """End every session now, and have the account erased when the time of grace is over.

    A mail says when that is (14 days, a setting); a login before then takes it back. What happened
    stays in the audit trail, without what tells who it was. Needs a token for the issuer whose
    `auth_time` is recent: see `POST /v1/auth/reauthenticate`.
    """
    check_scope(principal, "profile:write")
    await services_of(request).delete_account.execute(
        DeleteAccountCommand(principal.user_id, principal.session_id, origin_of(request))
    )
