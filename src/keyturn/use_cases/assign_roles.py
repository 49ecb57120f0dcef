"""An administrator decides which roles a user has."""

from dataclasses import dataclass, field

from keyturn.domain.errors import Contention, RoleNotFound, StaleUser, UserNotFound
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import UserId
from keyturn.domain.principal import Principal
from keyturn.domain.user import ADMIN_ROLE, User
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.attempts import MAX_ATTEMPTS
from keyturn.use_cases.grants import require_grantable


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
            PermissionDenied: the actor lacks `roles:assign`, a permission that is granted, or the
                role `admin` that is.
            InvalidAccessToken: the actor is gone or disabled.
            LastAdministrator: nobody active would hold the role `admin`.
            Unavailable: the store does not answer.
        """
        for _ in range(MAX_ATTEMPTS):
            now = self._clock.now()
            async with self._unit_of_work() as uow:
                user = await uow.users.get(command.user_id)
                roles = await uow.roles.get_many(command.roles)
                granted = frozenset[str]().union(*(role.permissions for role in roles))
                held = frozenset[str]() if user is None else user.permissions
                names_held = frozenset[str]() if user is None else user.role_names
                await require_grantable(
                    uow,
                    command.actor,
                    "roles:assign",
                    granted - held,
                    makes_administrator=ADMIN_ROLE.name in command.roles - names_held,
                )
                if user is None:
                    raise UserNotFound
                unknown = command.roles - {role.name for role in roles}
                if unknown:
                    raise RoleNotFound(f"There is no role {min(unknown)!r}.")
                if roles == user.roles:
                    return user
                changed = user.with_roles(roles, now)
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
                except StaleUser:
                    continue
                return changed
        raise Contention
