"""What an administrator may hand on: nothing that they do not hold themselves."""

from keyturn.domain.errors import InvalidAccessToken, PermissionDenied
from keyturn.domain.principal import Principal
from keyturn.domain.user import ADMIN_ROLE
from keyturn.ports.persistence import UnitOfWork


async def require_grantable(
    uow: UnitOfWork,
    actor: Principal | None,
    needed: str,
    granted: frozenset[str],
    *,
    makes_administrator: bool = False,
) -> None:
    """Return if `actor` may, as stored at this moment, do `needed` and grant `granted`.

    The token may be as old as the revocation lag; what is handed on is judged by the store. Who
    holds the role `admin`, and does not come with a narrower scope, holds every permission as far
    as granting goes: that is how permissions of your own, such as `posts:delete`, come into being.

    Args:
        actor: None for the operator's command line, which may grant everything.
        makes_administrator: whether somebody gets the role `admin`. It stands for more than the
            permissions that it names, so that only who holds it hands it on.

    Raises:
        InvalidAccessToken: the actor is gone or disabled.
        PermissionDenied: the actor lacks `needed`, or one of `granted`.
    """
    if actor is None:
        return
    user = await uow.users.get(actor.user_id)
    if user is None or not user.is_active:
        raise InvalidAccessToken
    held = user.permissions if actor.scope is None else user.permissions & actor.scope
    if needed not in held:
        raise PermissionDenied
    is_root = actor.scope is None and ADMIN_ROLE.name in user.role_names
    if not is_root and (makes_administrator or not granted <= held):
        raise PermissionDenied("Nobody grants a permission that they do not hold.")
