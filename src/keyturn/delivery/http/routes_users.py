"""What somebody may see and change of themselves."""

from fastapi import APIRouter, Request

from keyturn.delivery.http.dependencies import (
    CurrentPrincipal,
    CurrentUser,
    check_scope,
    origin_of,
    services_of,
)
from keyturn.delivery.http.errors import call_field
from keyturn.delivery.http.openapi import BAD_ACCESS_TOKEN, BAD_JSON, problems
from keyturn.delivery.http.schemas import PasswordChange, ProfileChange, UserProfile
from keyturn.domain.errors import (
    Contention,
    HashingBusy,
    PasswordNotText,
    PasswordTooCommon,
    PasswordTooLong,
    PasswordTooShort,
    PermissionDenied,
    StoreUnavailable,
    WrongCurrentPassword,
)
from keyturn.use_cases.change_password import ChangePasswordCommand
from keyturn.use_cases.update_profile import UpdateProfileCommand

router = APIRouter(prefix="/v1/users", tags=["Profile"])


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
        *BAD_JSON, *BAD_ACCESS_TOKEN, PermissionDenied, StoreUnavailable, Contention
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
        PasswordTooShort,
        PasswordTooLong,
        PasswordTooCommon,
        PasswordNotText,
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
