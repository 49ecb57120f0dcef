"""An administrator defines what a role permits."""

from dataclasses import dataclass, field

from keyturn.domain.errors import RoleProtected
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.principal import Principal
from keyturn.domain.user import ADMIN_ROLE, Role
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.grants import require_grantable


@dataclass(frozen=True, slots=True)
class DefineRoleCommand:
    """The role, and who says so; no actor is the operator's command line."""

    name: str
    permissions: frozenset[str]
    actor: Principal | None
    origin: Origin = field(default_factory=Origin)


class DefineRole:
    """Makes or changes a role; the access tokens of everybody who holds it die."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: DefineRoleCommand) -> Role:
        """Define the role and return it.

        An administrator may take any permission out of a role, and may put in what they hold.

        Raises:
            InvalidRole: a name is malformed.
            RoleProtected: a built-in permission would be taken out of the role `admin`.
            PermissionDenied: the actor lacks `roles:write`, or a permission that is put in.
            InvalidAccessToken: the actor is gone or disabled.
            StoreUnavailable: the store does not answer.
        """
        role = Role.define(command.name, command.permissions)
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            known = await uow.roles.get_many(frozenset({role.name}))
            before = frozenset[str]().union(*(stored.permissions for stored in known))
            await require_grantable(uow, command.actor, "roles:write", role.permissions - before)
            if role in known:
                return role
            if role.name == ADMIN_ROLE.name and not role.permissions >= ADMIN_ROLE.permissions:
                raise RoleProtected("The role `admin` keeps every built-in permission.")
            uow.roles.put(role)
            if known:
                uow.users.raise_epochs(role.name, now)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.ROLE_DEFINED,
                    actor=None if command.actor is None else command.actor.user_id,
                    session=None if command.actor is None else command.actor.session_id,
                    origin=command.origin,
                    details={
                        "role": role.name,
                        "from": " ".join(sorted(before)),
                        "to": " ".join(sorted(role.permissions)),
                    },
                )
            )
            await uow.commit()
        return role
