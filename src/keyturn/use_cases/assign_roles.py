"""An administrator decides which roles a user has."""

from dataclasses import dataclass, field

from keyturn.domain.errors import (
    Contention,
    PermissionDenied,
    RoleNotFound,
    StaleRole,
    StaleUser,
    UserNotFound,
)
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import UserId
from keyturn.domain.principal import Principal
from keyturn.domain.user import ADMIN_ROLE, User, permissions_of, require_verified_administrator
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.grants import authority_of, require_over


@dataclass(frozen=True, slots=True)
class AssignRolesCommand:
    """Whose roles, what they become, and who says so; no actor is the operator's command line."""

    user_id: UserId
    roles: frozenset[str]
    actor: Principal | None
    origin: Origin = field(default_factory=Origin)


class AssignRoles:
    """Replaces a user's roles; their access tokens die, their sessions go on with new claims."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: AssignRolesCommand) -> User:
        """Assign the roles and return the user as it now is.

        Raises:
            UserNotFound, RoleNotFound: there is none such.
            PermissionDenied: the actor lacks `roles:assign`, or a permission that is granted, or
                may not assign a role that is granted or taken away, or the user has a role or a
                permission that the actor does not have.
            AdministratorUnverified: the role `admin` is granted to a user whose address nobody
                has verified.
            InvalidAccessToken: the actor is gone or disabled.
            LastAdministrator: nobody active would hold the role `admin`.
            Unavailable: the store does not answer.
        """
        for _ in range(MAX_ATTEMPTS):
            now = self._clock.now()
            async with self._unit_of_work() as uow:
                authority = await authority_of(uow, command.actor, "roles:assign")
                user = await uow.users.get(command.user_id)
                if user is None:
                    raise UserNotFound
                require_over(authority, user)
                roles = await uow.roles.get_many(command.roles)
                unknown = command.roles - {role.name for role in roles}
                if unknown:
                    raise RoleNotFound(f"There is no role {min(unknown)!r}.")
                if command.roles == user.role_names:
                    return user
                granted = frozenset(role for role in roles if role.name not in user.role_names)
                taken = frozenset(role for role in user.roles if role.name not in command.roles)
                if not authority.may_assign(granted | taken):
                    raise PermissionDenied("Nobody assigns a role that is not theirs to assign.")
                if not authority.holds(permissions_of(granted)):
                    raise PermissionDenied("Nobody grants a permission that they do not hold.")
                require_verified_administrator(granted, user.email_verified_at)
                changed = user.with_roles(roles, now)
                # A role that gains a permission now is granted by somebody who may not hold it.
                uow.roles.require_unchanged(granted)
                uow.users.save(changed)
                uow.revocations.add_user(user.id, changed.epoch, now)
                if ADMIN_ROLE.name in user.role_names - changed.role_names:
                    uow.users.require_holder(ADMIN_ROLE.name)
                uow.audit.add(
                    AuditEvent(
                        self._ids.event_id(),
                        now,
                        AuditEventType.ROLES_CHANGED,
                        actor=None if command.actor is None else command.actor.user_id,
                        subject=user.id,
                        session=None if command.actor is None else command.actor.session_id,
                        origin=command.origin,
                        details={
                            "from": " ".join(sorted(user.role_names)),
                            "to": " ".join(sorted(changed.role_names)),
                        },
                    )
                )
                try:
                    await uow.commit()
                except (StaleUser, StaleRole):
                    continue
                return changed
        raise Contention
