"""What an actor may do to users and roles: no right reaches above its holder."""

from collections.abc import Iterable
from dataclasses import dataclass

from keyturn.domain.ids import UserId
from keyturn.domain.user import ADMIN_ROLE, USER_ROLE, Role, User


@dataclass(frozen=True, slots=True)
class Authority:
    """The rights of an actor at one moment, as the store has them.

    Attributes:
        user_id: the actor, None for the operator's command line.
        roles: the names of the roles that count as held.
        permissions: the permissions that count as held.
        is_full: whether every role and every permission counts as held.
    """

    user_id: UserId | None
    roles: frozenset[str]
    permissions: frozenset[str]
    is_full: bool

    @staticmethod
    def of(user: User, scope: frozenset[str] | None) -> "Authority":
        """Return the authority of a user whose token has this scope.

        A user with the role `admin` and a token without a scope counts as holding every role and
        every permission: that is how new permissions, such as `posts:delete`, come into being. A
        token that is limited to a scope counts for the permissions in it, and for no role but
        `user`, which every user gets at registration.

        Args:
            user: the actor as stored.
            scope: the scope of the token, None for none.
        """
        if scope is None:
            is_full = ADMIN_ROLE.name in user.role_names
            return Authority(user.id, user.role_names, user.permissions, is_full)
        held = user.role_names & {USER_ROLE.name}
        return Authority(user.id, held, user.permissions & scope, is_full=False)

    def holds(self, permissions: frozenset[str]) -> bool:
        """Whether the actor holds every one of these permissions."""
        return self.is_full or permissions <= self.permissions

    def may_assign(self, roles: Iterable[Role]) -> bool:
        """Whether the actor may grant every one of these roles, and take it away.

        A role stands for more than its permissions: a service may ask for its name. So the actor
        must hold it, or hold a role that its `assignable_by` names.
        """
        return self.is_full or all(
            role.name in self.roles or role.assignable_by & self.roles for role in roles
        )

    def may_act_on(self, target: User) -> bool:
        """Whether the actor may administer this user, whatever the user's status is.

        The actor may administer themselves, and every user of whom they hold, or may assign, every
        role, and hold every permission.
        """
        return target.id == self.user_id or (
            self.may_assign(target.roles) and self.holds(target.permissions)
        )


OPERATOR = Authority(None, frozenset(), frozenset(), is_full=True)
"""The authority of the operator's command line."""
