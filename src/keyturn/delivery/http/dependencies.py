"""Who is calling, for the routes of keyturn and of any FastAPI app that can check its tokens.

```python
app.state.keyturn = services  # or a TokenVerifier, in a service of its own
handle_keyturn_errors(app)


@app.get("/notes")
async def notes(principal: CurrentPrincipal) -> list[Note]: ...
```
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.types import Scope

from keyturn.delivery.http.bearer import presented_access_token, presented_proof
from keyturn.delivery.http.observation import client_ip, note_caller
from keyturn.delivery.http.request_ids import client_request_id, header_of, request_id
from keyturn.delivery.http.services import AccessChecks, HttpOptions, Services
from keyturn.domain.errors import AuthenticationRequired, PermissionDenied
from keyturn.domain.events import Origin
from keyturn.domain.principal import Principal
from keyturn.domain.resource import AccessRule
from keyturn.domain.user import User
from keyturn.ports.proofs import CheckedProof

_MAX_USER_AGENT = 512


def services_of(request: Request) -> Services:
    """Return the use-cases of the app that this request came to."""
    services: Services = request.app.state.keyturn
    return services


def access_checks_of(request: Request) -> AccessChecks:
    """Return what this request's access token is checked with: all that these dependencies need."""
    checks: AccessChecks = request.app.state.keyturn
    return checks


def options_of(request: Request) -> HttpOptions:
    """Return the options of the app that this request came to."""
    options: HttpOptions = request.app.state.keyturn_http
    return options


def url_for_clients(scope: Scope) -> str:
    """Return where clients find what a request asks for, without the query.

    The `Host` header plays no part: whoever copied a proof that was made for another host could
    send that name along. In the service itself the issuer's URL is the base. An app that the
    service is mounted in is at the issuer's scheme and host. Of any other app nothing is known;
    the empty URL matches no proof.
    """
    state = scope["app"].state
    path: str = scope["path"]
    options: HttpOptions | None = getattr(state, "keyturn_http", None)
    if options is not None:
        return options.url(quote(path.removeprefix(scope.get("root_path", ""))))
    origin: str | None = getattr(state, "keyturn_origin", None)
    return "" if origin is None else origin + quote(path)


def checked_proof_of(request: Request) -> CheckedProof | None:
    """Return the key that the client proves to hold, to bind tokens to it; None for no proof.

    The use-case that verifies the credentials uses the proof up.

    Raises:
        InvalidProof: the proof is not good, or lacks a nonce that is asked for.
    """
    proof = presented_proof(request.scope, url_for_clients)
    return None if proof is None else services_of(request).check_proof.execute(proof)


async def principal_of(request: Request, rule: AccessRule | None = None) -> Principal | None:
    """Return the verified caller, None if nothing was presented.

    Args:
        rule: which tokens are accepted; None for those of an ordinary route, which are the tokens
            for the default audience or the issuer in the service and in an app that it is mounted
            in, and the tokens for the verifier's audience in another service.

    Raises:
        WrongAudience: the token is for another resource.
        LoginTooOld: the rule asks for a more recent proof of identity.
        InvalidAccessToken: what was presented is not good.
        InvalidProof: the proof that came with it is not good.
        RevocationsUnknown: nobody can tell at the moment whether it is revoked.
    """
    presented = presented_access_token(request.scope, url_for_clients)
    if presented is None:
        return None
    if rule is None:
        principal = await access_checks_of(request).authenticate(presented.token, presented.proof)
    else:
        principal = services_of(request).authenticate_access.execute(
            presented.token, presented.proof, rule=rule
        )
    note_caller(request.scope, principal.user_id, principal.session_id)
    return principal


async def required_principal_of(request: Request, rule: AccessRule | None = None) -> Principal:
    """Return the verified caller.

    Args:
        rule: see `principal_of`.

    Raises:
        WrongAudience: the token is for another resource.
        LoginTooOld: the rule asks for a more recent proof of identity.
        AuthenticationRequired: nothing was presented.
        InvalidAccessToken: what was presented is not good.
        RevocationsUnknown: nobody can tell at the moment whether it is revoked.
    """
    principal = await principal_of(request, rule)
    if principal is None:
        raise AuthenticationRequired
    return principal


class AccessTokenScheme(SecurityBase):
    """What OpenAPI says about access tokens, and Swagger's Authorize button with it.

    A person brings a token: that holds in every app that accepts them. Where the service that
    issues them takes passwords at `/oauth/token`, `openapi.with_tokens_from` says so instead.
    """

    def __init__(self) -> None:
        self.scheme_name = "AccessToken"
        self.model = HTTPBearer(bearerFormat="JWT")


class _RequiredPrincipal(AccessTokenScheme):
    async def __call__(self, request: Request) -> Principal:
        return await required_principal_of(request)


class _OptionalPrincipal(AccessTokenScheme):
    async def __call__(self, request: Request) -> Principal | None:
        return await principal_of(request)


class _RecentPrincipal(AccessTokenScheme):
    async def __call__(self, request: Request) -> Principal:
        return await required_principal_of(request, services_of(request).resources.sensitive)


CurrentPrincipal = Annotated[Principal, Depends(_RequiredPrincipal())]
"""The verified caller of an ordinary route; 401 without a good access token. No I/O."""

RecentPrincipal = Annotated[Principal, Depends(_RecentPrincipal())]
"""The verified caller of a sensitive route of the service itself. No I/O.

401 without a token for the issuer whose `auth_time` is recent (`Resources.recent_login`).
"""

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
    user_agent = header_of(request.scope, b"user-agent") or ""
    if not user_agent.isprintable():
        user_agent = "".join(filter(str.isprintable, user_agent))
    return Origin(
        ip=client_ip(request.scope),
        user_agent=user_agent[:_MAX_USER_AGENT] or None,
        request_id=request_id(request.scope),
        client_request_id=client_request_id(request.scope),
    )
