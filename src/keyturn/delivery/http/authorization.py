"""What a caller must hold, for the routes of keyturn and of any FastAPI app with its services.

```python
@app.delete(
    "/posts/{post_id}",
    dependencies=[Depends(require_permission("posts:delete"))],
    responses=ACCESS_PROBLEMS,
)
async def delete_post(post_id: int) -> None: ...


Editor = Annotated[Principal, Depends(require_any_role("editor", "admin"))]
```

The access token decides, and nothing is looked up, as long as it tells what is asked for. Where
the claims policy keeps that out of the token, the store is asked and its answer remembered for a
short while. The token's scope limits all of them, whatever the user may do.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from fastapi import Request

from keyturn.delivery.http.dependencies import (
    AccessTokenScheme,
    access_checks_of,
    required_principal_of,
    services_of,
)
from keyturn.domain.errors import PermissionDenied
from keyturn.domain.principal import Principal
from keyturn.domain.user import PERMISSION_NAME, ROLE_NAME

Requirement = Callable[[Request], Awaitable[Principal]]
"""What FastAPI's `Depends` is given; returns the caller.

The caller lacks what is required: 403. No good access token: 401. Nobody can tell, because the
revocations or the store can't be read: 503.
"""


class Held(StrEnum):
    """What a caller can hold."""

    ROLE = "role"
    PERMISSION = "permission"


@dataclass(frozen=True, slots=True)
class Demand:
    """Names of roles or of permissions, and whether the caller needs all of them or one."""

    kind: Held
    names: tuple[str, ...]
    one_is_enough: bool = False

    def is_told_by(self, principal: Principal) -> bool:
        """Whether the token says enough to decide."""
        if self.kind is Held.ROLE and principal.roles:
            return True
        return principal.permissions is not None

    def is_met_by(self, principal: Principal) -> bool:
        """Whether the caller holds what is demanded."""
        has = principal.has_role if self.kind is Held.ROLE else principal.has_permission
        return (any if self.one_is_enough else all)(has(name) for name in self.names)


async def check_demand(request: Request, principal: Principal, demand: Demand) -> Principal:
    """Return the caller, with what had to be looked up filled in.

    Raises:
        PermissionDenied: the demand is not met.
        InvalidAccessToken: the store was asked, and the user is gone or disabled.
        StoreUnavailable: the store had to be asked and does not answer.
    """
    if not demand.is_told_by(principal):
        principal = await access_checks_of(request).resolve_rights(principal)
    if not demand.is_met_by(principal):
        raise PermissionDenied
    return principal


def require_role(*names: str) -> Requirement:
    """Return a dependency that lets only those through who have every one of these roles.

    A token that is limited to a scope has no role: it is good for less than any of them permits.

    Raises:
        ValueError: there is no name, or one is not of the form that a role has.
    """
    return _Require(_demand(Held.ROLE, names))


def require_any_role(*names: str) -> Requirement:
    """Return a dependency that lets those through who have one of these roles.

    Raises:
        ValueError: there is no name, or one is not of the form that a role has.
    """
    return _Require(_demand(Held.ROLE, names, one_is_enough=True))


def require_permission(*names: str) -> Requirement:
    """Return a dependency that lets only those through who have every one of these permissions.

    Raises:
        ValueError: there is no name, or one is not of the form `posts:delete`.
    """
    return _Require(_demand(Held.PERMISSION, names))


def require_administration(*names: str) -> Requirement:
    """Return what `require_permission` does, for the administration of the service itself.

    Only a token for the issuer is accepted: no service that is shown a token for itself can use it
    to administer.

    Raises:
        ValueError: there is no name, or one is not of the form `posts:delete`.
    """
    return _RequireAdministration(_demand(Held.PERMISSION, names))


def require_any_permission(*names: str) -> Requirement:
    """Return a dependency that lets those through who have one of these permissions.

    Raises:
        ValueError: there is no name, or one is not of the form `posts:delete`.
    """
    return _Require(_demand(Held.PERMISSION, names, one_is_enough=True))


class _Require(AccessTokenScheme):
    def __init__(self, demand: Demand) -> None:
        super().__init__()
        self._demand = demand

    async def __call__(self, request: Request) -> Principal:
        return await check_demand(request, await required_principal_of(request), self._demand)


class _RequireAdministration(_Require):
    async def __call__(self, request: Request) -> Principal:
        rule = services_of(request).resources.administration
        return await check_demand(request, await required_principal_of(request, rule), self._demand)


def _demand(kind: Held, names: tuple[str, ...], *, one_is_enough: bool = False) -> Demand:
    if not names:
        raise ValueError(f"name a {kind}: nothing demanded lets everybody through")
    form = ROLE_NAME if kind is Held.ROLE else PERMISSION_NAME
    for name in names:
        # A name that nobody can hold is a slip of the pen: it should show at start.
        if not form.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a {kind}")
    return Demand(kind, names, one_is_enough)
