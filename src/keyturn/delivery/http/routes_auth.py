"""Registering, logging in and out, refreshing, and asking who somebody is."""

from functools import lru_cache
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response

from keyturn.delivery.http.authorization import Demand, Held, check_demand
from keyturn.delivery.http.cookies import (
    check_origin,
    clear_refresh_cookie,
    device_token_from_cookie,
    refresh_token_from_cookie,
    refresh_tokens_from_cookies,
    replaced_refresh_tokens,
    set_login_cookies,
    set_refresh_cookie,
)
from keyturn.delivery.http.dependencies import (
    AccessTokenScheme,
    CurrentPrincipal,
    check_scope,
    checked_proof_of,
    origin_of,
    principal_of,
    required_principal_of,
    services_of,
)
from keyturn.delivery.http.device_names import device_name
from keyturn.delivery.http.error_answers import error_answer
from keyturn.delivery.http.errors import (
    AmbiguousRefreshCookie,
    CsrfRejected,
    FieldProblem,
    ValidationFailed,
)
from keyturn.delivery.http.openapi import (
    BAD_ACCESS_TOKEN,
    BAD_JSON,
    BAD_NEW_PASSWORD,
    OPTIONAL_TOKEN,
    operation_id,
    problems,
)
from keyturn.delivery.http.schemas import (
    Login,
    Logout,
    Reauthentication,
    RecentAccess,
    Refresh,
    RefreshedTokens,
    Registration,
    Tokens,
    UserProfile,
)
from keyturn.domain.errors import (
    AuthenticationRequired,
    HashingBusy,
    InvalidAccessToken,
    InvalidCredentials,
    InvalidEmail,
    InvalidProof,
    InvalidRefreshToken,
    InvalidTarget,
    PasswordNotText,
    PasswordTooLong,
    PermissionDenied,
    ProofNonceRequired,
    RevocationsUnknown,
    StoreUnavailable,
    TooManyAttempts,
    WrongCurrentPassword,
)
from keyturn.domain.principal import Principal
from keyturn.domain.resource import AccessRule
from keyturn.domain.secret import Secret
from keyturn.use_cases.login_user import LoginUserCommand
from keyturn.use_cases.reauthenticate import ReauthenticateCommand
from keyturn.use_cases.register_user import RegisterUserCommand
from keyturn.use_cases.revoke_all_families import RevokeAllFamiliesCommand
from keyturn.use_cases.revoke_family import RevokeFamilyCommand
from keyturn.use_cases.rotate_refresh import RotateRefreshCommand, RotateRefreshResult

router = APIRouter(prefix="/v1/auth", tags=["Signing in"], generate_unique_id_function=operation_id)


async def proxied_principal_of(request: Request) -> Principal:
    """Return the caller whose token a proxy is about to hand on.

    Accepts tokens for the default audience, or for the one resource that `?audience=` names. The
    service behind the proxy receives the token, so a token for the issuer passes only where
    `?audience=` names the issuer.

    Raises:
        AuthenticationRequired: nothing was presented.
        WrongAudience: the token is for another resource.
        InvalidAccessToken: what was presented is not good.
        ValidationFailed: the audience is no resource, or is named more than once.
        RevocationsUnknown: nobody can tell at the moment whether the token is revoked.
    """
    resources = services_of(request).resources
    rule = resources.proxied
    if request.scope["query_string"] and (named := request.query_params.getlist("audience")):
        if len(named) > 1 or named[0] not in resources.audiences:
            # Rejected before the token is looked at: a proxy that is configured wrongly shows it
            # at the first request, and never lets a request through.
            problem = FieldProblem("audience", "One declared resource, once, is expected.")
            raise ValidationFailed([problem])
        rule = AccessRule.only(named[0])
    return await required_principal_of(request, rule)


class _ProxiedPrincipal(AccessTokenScheme):
    async def __call__(self, request: Request) -> Principal:
        return await proxied_principal_of(request)


# First of all routes, because they are tried in order and proxies ask it at every request.
@router.get(
    "/verify",
    status_code=204,
    summary="Say who is calling, for a proxy",
    response_description="The token is good. The headers say whose it is.",
    responses=problems(*BAD_ACCESS_TOKEN, PermissionDenied, ValidationFailed, StoreUnavailable),
    openapi_extra={
        "parameters": [
            {
                "name": name,
                "in": "query",
                "description": f"The {name} that the caller must have; all of them, if repeated.",
                "schema": {"type": "array", "items": {"type": "string"}},
                "example": [example],
            }
            for name, example in (("role", "admin"), ("permission", "posts:delete"))
        ]
        + [
            {
                "name": "audience",
                "in": "query",
                "description": "The one resource that the token must be for; without it, the "
                "default audience.",
                "schema": {"type": "string", "format": "uri"},
                "example": "https://notes.example",
            }
        ],
        "responses": {
            "204": {
                "headers": {
                    name: {"description": description, "schema": {"type": "string"}}
                    for name, description in {
                        "X-Auth-Subject": "The user's id.",
                        "X-Auth-Session": "The session's id.",
                        "X-Auth-Roles": "Role names, sorted, separated by commas.",
                        "X-Auth-Permissions": "Permissions, sorted, separated by commas.",
                    }.items()
                }
            }
        },
    },
)
async def verify(
    request: Request, principal: Annotated[Principal, Depends(_ProxiedPrincipal())]
) -> Response:
    """Check an access token, without any database.

    Only a token for the default audience is accepted or, with `audience`, only one for that
    resource: the service behind the proxy receives the token. A token for the issuer could act on
    the account there, so it passes only where `audience` names the issuer.

    For nginx `auth_request`, Traefik ForwardAuth and the like. Names in the headers are sorted and
    separated by commas; what could be mistaken for more than one name is percent-encoded. All four
    headers are always there, so that none that a client sends gets past the proxy. They say what
    the token tells: roles and permissions are empty where the claims policy keeps them out of it,
    and the roles of a token that is limited to a scope are, too. Only then does a demanded `role`
    or `permission` cost a look-up, whose answer is remembered for a short while. Another parameter
    than these is refused: a misspelt one must not let everybody through.

    A 503 means that nobody can tell at the moment whether the token is revoked, or what its user
    may do. nginx turns it into a 500.
    """
    if request.scope["query_string"]:
        await _check_demands(request, principal)
    return Response(
        status_code=204,
        headers={
            "X-Auth-Subject": str(principal.user_id),
            "X-Auth-Session": str(principal.session_id),
            "X-Auth-Roles": _listed(principal.roles if principal.scope is None else frozenset()),
            "X-Auth-Permissions": _listed(_effective_permissions(principal)),
        },
    )


@router.post(
    "/register",
    status_code=201,
    summary="Make an account",
    responses=problems(
        *BAD_JSON,
        InvalidEmail,
        *BAD_NEW_PASSWORD,
        TooManyAttempts,
        HashingBusy,
        StoreUnavailable,
    ),
)
async def register(body: Registration, request: Request) -> UserProfile:
    """Register with an e-mail address and a password; log in afterwards.

    A mail with a link goes to the address, which verifies it. Where somebody has the address
    already, the answer is the same, nothing is made, and the owner is told by mail.

    A password has 15 to 1024 characters (the minimum is a setting), is not on the list of common
    ones, is not made of the address or the name of the service, and needs nothing else: any
    character of any script counts.
    """
    user = await services_of(request).register_user.execute(
        RegisterUserCommand(
            email=body.email,
            password=body.password,
            display_name=body.display_name,
            hides_taken_address=True,
            origin=origin_of(request),
        )
    )
    return UserProfile.of(user)


@router.post(
    "/login",
    summary="Log in",
    response_model_exclude_none=True,
    responses=problems(
        *BAD_JSON,
        InvalidCredentials,
        InvalidProof,
        InvalidEmail,
        InvalidTarget,
        PasswordTooLong,
        PasswordNotText,
        CsrfRejected,
        TooManyAttempts,
        HashingBusy,
        StoreUnavailable,
    ),
)
async def login(body: Login, request: Request, response: Response) -> Tokens:
    """Start a session on this device.

    An unknown address, a wrong password, a disabled account, an address that must be verified and
    is not, and too many wrong passwords before are answered alike. A login takes back that the
    account was to be deleted. With
    `transport: "cookie"` the refresh token is only in a cookie that no script can read, and the
    answer has no `refresh_token`; a browser's request must then come from this site or from an
    allowed origin. Such a login ends the session of a refresh cookie that came with it. Beyond the
    limit of sessions per user the least recently used one ends.

    The access token is for `resource`: a declared resource, the issuer, or else the default
    audience. Administration and deleting or exporting the account need a token for the issuer.

    The answer has a `device_token`, or with `transport: "cookie"` a cookie of its own. Send it with
    the next login of this user: the device then does not wait after wrong passwords of others. One
    that is not valid counts as none.
    """
    in_cookie = body.transport == "cookie"
    if in_cookie:
        # Without this, another site could log its visitor in as somebody else.
        check_origin(request)
    origin = origin_of(request)
    pair = await services_of(request).login_user.execute(
        LoginUserCommand(
            email=body.email,
            password=body.password,
            device_name=body.device_name or await device_name(origin.user_agent),
            origin=origin,
            proof=checked_proof_of(request),
            resource=body.resource,
            device_token=device_token_from_cookie(request) if in_cookie else body.device_token,
            replaced=replaced_refresh_tokens(request) if in_cookie else (),
        )
    )
    if in_cookie:
        set_login_cookies(request, response, pair)
    return Tokens.of(pair, in_cookie=in_cookie)


@router.post(
    "/refresh",
    summary="Trade the refresh token for new tokens",
    response_model_exclude_none=True,
    responses=problems(
        *BAD_JSON,
        AuthenticationRequired,
        InvalidRefreshToken,
        InvalidTarget,
        InvalidProof,
        AmbiguousRefreshCookie,
        CsrfRejected,
        TooManyAttempts,
        StoreUnavailable,
    ),
)
async def refresh(
    request: Request, response: Response, body: Refresh | None = None
) -> RefreshedTokens:
    """Hand in the refresh token, from the body or the cookie, and get the next one.

    A token in the body wins over the cookie; the successor comes back the way the token came. If
    the answer is lost, the same token may be handed in again for a few seconds and gives the same
    successor (`outcome: "replayed"`). Later than that, it is taken for stolen and the session
    ends. A 429 or 503 has not used the token up, and neither has an unknown `resource`.

    The access token is for `resource`, whatever the one before was for. A session gets tokens for
    several resources by refreshing once for each.
    """
    presented = body.refresh_token if body else None
    in_cookie = presented is None
    if presented is None:
        presented = refresh_token_from_cookie(request)
    if presented is None:
        raise AuthenticationRequired
    result = await rotate(request, presented, body.resource if body else None)
    if in_cookie:
        set_refresh_cookie(request, response, result.tokens)
    return RefreshedTokens.after(result, in_cookie=in_cookie)


async def rotate(
    request: Request, presented: Secret, resource: str | None = None
) -> RotateRefreshResult:
    """Trade the refresh token that a request presents."""
    return await services_of(request).rotate_refresh.execute(
        RotateRefreshCommand(
            refresh_token=presented,
            origin=origin_of(request),
            proof=checked_proof_of(request),
            resource=resource,
        )
    )


@router.post(
    "/reauthenticate",
    summary="Prove again who I am",
    responses=problems(
        *BAD_JSON,
        *BAD_ACCESS_TOKEN,
        WrongCurrentPassword,
        InvalidTarget,
        PasswordTooLong,
        PasswordNotText,
        TooManyAttempts,
        HashingBusy,
        StoreUnavailable,
    ),
)
async def reauthenticate(
    body: Reauthentication, request: Request, principal: CurrentPrincipal
) -> RecentAccess:
    """Get an access token that deletes or exports the account (RFC 9470).

    The token is for the issuer and belongs to the same session. Its scope is that of the presented
    token, and its `auth_time` is now. A refresh keeps the `auth_time` of the login, so the client
    uses this token for the request that asked for it and then forgets it. A wrong password counts
    as a failed login.
    """
    token = await services_of(request).reauthenticate.execute(
        ReauthenticateCommand(principal, body.password, origin_of(request))
    )
    return RecentAccess.of(token)


@router.post(
    "/logout",
    status_code=204,
    summary="Log out of this session",
    responses=problems(
        *BAD_JSON,
        AuthenticationRequired,
        InvalidAccessToken,
        InvalidRefreshToken,
        CsrfRejected,
        RevocationsUnknown,
        StoreUnavailable,
    ),
    openapi_extra=OPTIONAL_TOKEN,
)
async def logout(request: Request, body: Logout | None = None) -> Response:
    """End the session that the access token, the refresh token or the cookie belongs to.

    One of them is enough; a refresh token makes up for an access token that has expired. The
    cookie, if there is one, is cleared even if the token in it was no good. Of several refresh
    cookies the session of each ends. An access token alone must be for the default audience or the
    issuer; beside a refresh token it may be for any resource.
    """
    in_body = body.refresh_token if body else None
    refresh_tokens = _named_by_cookies(request) if in_body is None else [in_body]
    refresh_token = refresh_tokens[0] if refresh_tokens else None
    command = RevokeFamilyCommand(
        principal=await _principal_if_needed(request, refresh_token),
        refresh_token=refresh_token,
        more_refresh_tokens=tuple(refresh_tokens[1:]),
        origin=origin_of(request),
    )
    answer: Response
    try:
        await services_of(request).revoke_family.execute(command)
        answer = Response(status_code=204)
    except InvalidRefreshToken as error:
        answer = error_answer(request.scope, error)
    clear_refresh_cookie(request, answer)
    return answer


def _named_by_cookies(request: Request) -> list[Secret]:
    return [token for token in refresh_tokens_from_cookies(request) if token.reveal()]


async def _principal_if_needed(request: Request, refresh_token: Secret | None) -> Principal | None:
    try:
        return await principal_of(request)
    except (InvalidAccessToken, InvalidProof, ProofNonceRequired, RevocationsUnknown):
        if refresh_token is None:
            raise
        return None


@router.post(
    "/logout-all",
    status_code=204,
    summary="Log out everywhere",
    responses=problems(*BAD_ACCESS_TOKEN, PermissionDenied, StoreUnavailable),
)
async def logout_all(request: Request, principal: CurrentPrincipal) -> Response:
    """End every session of the caller, this one too."""
    check_scope(principal, "profile:write")
    await services_of(request).revoke_all_families.execute(
        RevokeAllFamiliesCommand(
            principal.user_id,
            actor=principal,
            origin=origin_of(request),
        )
    )
    answer = Response(status_code=204)
    clear_refresh_cookie(request, answer)
    return answer


async def _check_demands(request: Request, principal: Principal) -> None:
    try:
        demands = [
            Demand(Held(key), (name,))
            for key, name in request.query_params.multi_items()
            if key != "audience"
        ]
    except ValueError:
        problem = FieldProblem("query", "Only role, permission and audience are known.")
        raise ValidationFailed([problem]) from None
    for demand in demands:
        principal = await check_demand(request, principal, demand)


def _effective_permissions(principal: Principal) -> frozenset[str]:
    permissions = principal.permissions or frozenset()
    return permissions if principal.scope is None else permissions & principal.scope


@lru_cache(maxsize=256)
def _listed(names: frozenset[str]) -> str:
    return ",".join(quote(name, safe=":/.*~") for name in sorted(names))
