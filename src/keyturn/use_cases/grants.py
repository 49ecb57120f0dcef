"""Looks up what the actor of an administrative use-case may do at this moment."""

from keyturn.domain.authority import OPERATOR, Authority
from keyturn.domain.errors import InvalidAccessToken, PermissionDenied, UserNotFound
from keyturn.domain.ids import UserId
from keyturn.domain.principal import Principal
from keyturn.domain.user import User
from keyturn.ports.persistence import UnitOfWork


async def authority_of(uow: UnitOfWork, actor: Principal | None, needed: str) -> Authority:
    """Return the authority of an actor who may do `needed`, judged by the store.

    The token may be as old as the revocation lag, so its roles and permissions do not count.

    Args:
        uow: reads the actor.
        actor: None for the operator's command line, which may do everything.
        needed: the permission that the use-case takes, such as `users:write`.

    Raises:
        InvalidAccessToken: the actor is gone or disabled.
        PermissionDenied: the actor lacks `needed`.
    """
    if actor is None:
        return OPERATOR
    user = await uow.users.get(actor.user_id)
    if user is None or not user.is_active:
        raise InvalidAccessToken
    authority = Authority.of(user, actor.scope)
    if needed not in authority.permissions:
        raise PermissionDenied
    return authority


async def require_over_user(
    uow: UnitOfWork, actor: Principal | None, needed: str, user_id: UserId
) -> User:
    """Return the user whom the actor is about to administer, if the actor may.

    Args:
        uow: reads the actor and the user.
        actor: None for the operator's command line, which may do everything.
        needed: the permission that the use-case takes.
        user_id: the target.

    Raises:
        InvalidAccessToken: the actor is gone or disabled.
        PermissionDenied: the actor lacks `needed`, or the target has a role or a permission that
            the actor does not have.
        UserNotFound: there is no such user.
    """
    authority = await authority_of(uow, actor, needed)
    user = await uow.users.get(user_id)
    if user is None:
        raise UserNotFound
    require_over(authority, user)
    return user


def require_over(authority: Authority, target: User) -> None:
    """Return if the actor may administer `target`.

    Raises:
        PermissionDenied: the target has a role or a permission that the actor does not have.
    """
    if not authority.may_act_on(target):
        raise PermissionDenied("The user has a role or a permission that you do not have.")
