"""Who is calling, for the routes of keyturn and of any FastAPI app that holds its services.

```python
app.state.keyturn = services
handle_keyturn_errors(app)


@app.get("/notes")
async def notes(principal: CurrentPrincipal) -> list[Note]: ...
```
"""

import re
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import OAuth2, OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase
from starlette.types import Scope

from keyturn.delivery.http.observation import note_subject
from keyturn.delivery.http.request_ids import request_id
from keyturn.delivery.http.services import HttpOptions, Services
from keyturn.domain.errors import AuthenticationRequired, InvalidAccessToken, PermissionDenied
from keyturn.domain.events import Origin
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.domain.user import USER_ROLE, User

_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
_MAX_USER_AGENT = 512


def services_of(request: Request) -> Services:
    """Return the use-cases of the app that this request came to."""
    services: Services = request.app.state.keyturn
    return services


def options_of(request: Request) -> HttpOptions:
    """Return the options of the app that this request came to."""
    options: HttpOptions = request.app.state.keyturn_http
    return options


def presented_access_token(scope: Scope) -> Secret | None:
    """Return the token of the `Authorization` header, None without one (RFC 6750 §2.1).

    Raises:
        InvalidAccessToken: there is more than one header, another scheme, or what can't be a
            token. RFC 6750 would have some of these answered with 400, but nginx turns any
            refusal of its `auth_request` that is not a 401 or 403 into a 500.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        return None
    found = _BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        raise InvalidAccessToken
    return Secret(found[1].decode("ascii"))


def principal_of(request: Request) -> Principal | None:
    """Return the verified caller, None if nothing was presented.

    Raises:
        InvalidAccessToken: what was presented is not good.
        RevocationsUnknown: nobody can tell at the moment whether it is revoked.
    """
    token = presented_access_token(request.scope)
    if token is None:
        return None
    principal = services_of(request).authenticate_access.execute(token)
    note_subject(request.scope, principal.user_id)
    return principal


def required_principal_of(request: Request) -> Principal:
    """Return the verified caller.

    Raises:
        AuthenticationRequired: nothing was presented.
        InvalidAccessToken: what was presented is not good.
        RevocationsUnknown: nobody can tell at the moment whether it is revoked.
    """
    principal = principal_of(request)
    if principal is None:
        raise AuthenticationRequired
    return principal


class AccessTokenScheme(SecurityBase):
    """What OpenAPI says about access tokens, and Swagger's Authorize button with it."""

    def __init__(self) -> None:
        self.scheme_name = "AccessToken"
        self.model = OAuth2(
            flows=OAuthFlows(
                password=OAuthFlowPassword(
                    tokenUrl="/oauth/token",
                    refreshUrl="/oauth/token",
                    scopes=dict.fromkeys(sorted(USER_ROLE.permissions), "What every user may do."),
                )
            )
        )


class _RequiredPrincipal(AccessTokenScheme):
    async def __call__(self, request: Request) -> Principal:
        return required_principal_of(request)


class _OptionalPrincipal(AccessTokenScheme):
    async def __call__(self, request: Request) -> Principal | None:
        return principal_of(request)


CurrentPrincipal = Annotated[Principal, Depends(_RequiredPrincipal())]
"""The verified caller; 401 without a good access token. No I/O."""

OptionalPrincipal = Annotated[Principal | None, Depends(_OptionalPrincipal())]
"""The verified caller, None without an `Authorization` header; 401 with a bad one. No I/O."""


async def _load_current_user(request: Request, principal: CurrentPrincipal) -> User:
    return await services_of(request).load_user.execute(principal.user_id)


CurrentUser = Annotated[User, Depends(_load_current_user)]
"""The caller as stored; 401 if the user is gone or disabled. One look-up."""


def check_scope(principal: Principal, permission: str) -> None:
    """Refuse a token that is limited to a part of its user's permissions without this one.

    Raises:
        PermissionDenied: the token's scope leaves the permission out (RFC 6750 §3.1).
    """
    if principal.scope is not None and permission not in principal.scope:
        raise PermissionDenied


def origin_of(request: Request) -> Origin:
    """Return where a request comes from.

    The user agent is cut to 512 characters and loses what can't be printed; an address that is
    none, as some proxies send, is left out.
    """
    user_agent = "".join(filter(str.isprintable, request.headers.get("user-agent", "")))
    return Origin(
        ip=_address(request),
        user_agent=user_agent[:_MAX_USER_AGENT] or None,
        request_id=request_id(request.scope),
    )


def _address(request: Request) -> str | None:
    try:
        return str(ip_address(request.client.host)) if request.client else None
    except ValueError:
        return None
