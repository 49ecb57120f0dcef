"""What people do by mail: show that an address is theirs, and set a password that they forgot."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from keyturn.delivery.http.dependencies import (
    check_scope,
    origin_of,
    principal_of,
    services_of,
)
from keyturn.delivery.http.error_answers import call_field
from keyturn.delivery.http.openapi import (
    BAD_JSON,
    BAD_NEW_PASSWORD,
    OPTIONAL_TOKEN,
    operation_id,
    problems,
)
from keyturn.delivery.http.schemas_accounts import (
    AddressedRequest,
    EmailConfirmation,
    PasswordIdea,
    PasswordReset,
    PasswordStrength,
)
from keyturn.domain.errors import (
    Contention,
    CurrentPasswordRequired,
    EmailTaken,
    HashingBusy,
    InvalidAccessToken,
    InvalidEmail,
    InvalidOneTimeToken,
    InvalidProof,
    PasswordRequired,
    PermissionDenied,
    RevocationsUnknown,
    StoreUnavailable,
    TooManyAttempts,
    WrongAudience,
    WrongCurrentPassword,
)
from keyturn.domain.principal import Principal
from keyturn.use_cases.confirm_email import ConfirmEmailCommand
from keyturn.use_cases.estimate_strength import EstimateStrengthCommand
from keyturn.use_cases.request_email_verification import RequestEmailVerificationCommand
from keyturn.use_cases.request_password_reset import RequestPasswordResetCommand
from keyturn.use_cases.reset_password import ResetPasswordCommand

router = APIRouter(prefix="/v1/auth", tags=["Accounts"], generate_unique_id_function=operation_id)


async def _presented_principal(request: Request) -> Principal | None:
    return await principal_of(request)


# OpenAPI is told by `OPTIONAL_TOKEN`: with `OptionalPrincipal` it would say it twice.
_PresentedPrincipal = Annotated[Principal | None, Depends(_presented_principal)]

_ASKED_FOR = problems(*BAD_JSON, InvalidEmail, TooManyAttempts, StoreUnavailable)


@router.post(
    "/email-verification",
    status_code=202,
    response_class=Response,
    summary="Ask for the mail that verifies an address",
    responses=_ASKED_FOR,
)
async def request_email_verification(body: AddressedRequest, request: Request) -> Response:
    """Have the link sent once more; registering sends the first one.

    The answer is the same whether or not somebody has the address, and whether or not it is
    verified already.
    """
    await services_of(request).request_email_verification.execute(
        RequestEmailVerificationCommand(body.email, origin_of(request))
    )
    return Response(status_code=202)


@router.post(
    "/email-verification/confirm",
    status_code=204,
    summary="Show that an address is one's own",
    openapi_extra=OPTIONAL_TOKEN,
    responses=problems(
        *BAD_JSON,
        InvalidAccessToken,
        WrongAudience,
        InvalidProof,
        PermissionDenied,
        InvalidOneTimeToken,
        PasswordRequired,
        CurrentPasswordRequired,
        WrongCurrentPassword,
        *BAD_NEW_PASSWORD,
        EmailTaken,
        TooManyAttempts,
        HashingBusy,
        RevocationsUnknown,
        StoreUnavailable,
        Contention,
    ),
)
async def confirm_email(
    body: EmailConfirmation, request: Request, principal: _PresentedPrincipal
) -> None:
    """Hand in the token of the link, once: it verifies the address, or makes a new one one's own.

    The first proof of an address takes `password`, or sets `new_password` and ends every session;
    with neither, the answer is `password_required`. A link that changes the address takes
    `password` or an access token of the account, else the answer is `current_password_required`;
    every session ends but that of the access token. What is refused does not use up the link.

    A link is good for 24 hours (a setting), and void once the password or the address has changed.
    """
    if principal is not None:
        check_scope(principal, "profile:write")
    if body.new_password is not None:
        call_field(request.scope, "password", "new_password")
    call_field(request.scope, "current_password", "password")
    await services_of(request).confirm_email.execute(
        ConfirmEmailCommand(
            body.token, body.password, body.new_password, principal, origin_of(request)
        )
    )


@router.post(
    "/password-reset",
    status_code=202,
    response_class=Response,
    summary="Ask for the mail that resets a password",
    responses=_ASKED_FOR,
)
async def request_password_reset(body: AddressedRequest, request: Request) -> Response:
    """Have a link sent that sets a new password.

    The answer is the same whether or not there is an account.
    """
    await services_of(request).request_password_reset.execute(
        RequestPasswordResetCommand(body.email, origin_of(request))
    )
    return Response(status_code=202)


@router.post(
    "/password-reset/confirm",
    status_code=204,
    summary="Set a new password by the link in a mail",
    responses=problems(
        *BAD_JSON,
        InvalidOneTimeToken,
        *BAD_NEW_PASSWORD,
        TooManyAttempts,
        HashingBusy,
        StoreUnavailable,
        Contention,
    ),
)
async def reset_password(body: PasswordReset, request: Request) -> None:
    """Hand in the token of the link, once, with the new password: every session ends.

    A link is good for 30 minutes (a setting), and void once the password or the address has
    changed. A password that is refused does not use it up.
    """
    call_field(request.scope, "password", "new_password")
    await services_of(request).reset_password.execute(
        ResetPasswordCommand(body.token, body.new_password, origin_of(request))
    )


@router.post(
    "/password-strength",
    summary="Estimate a password",
    responses=problems(*BAD_JSON, TooManyAttempts, HashingBusy),
)
async def estimate_password(body: PasswordIdea, request: Request) -> PasswordStrength:
    """Say how hard a password is to guess, while somebody thinks of it; nothing is stored.

    The score is a hint. `problems` are the codes for which the password would be refused now.
    """
    result = await services_of(request).estimate_strength.execute(
        EstimateStrengthCommand(body.password, body.email, origin_of(request))
    )
    return PasswordStrength.of(result)
