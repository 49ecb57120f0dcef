"""An administrator does away with a role."""

from dataclasses import dataclass, field

from keyturn.domain.errors import RoleNotFound, RoleProtected
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.principal import Principal
from keyturn.domain.user import BUILT_IN_ROLES
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.grants import require_grantable


@dataclass(frozen=True, slots=True)
class DeleteRoleCommand:
    """Which role, and who says so; no actor is the operator's command line."""

    name: str
    actor: Principal | None
    origin: Origin = field(default_factory=Origin)


class DeleteRole:
    """Takes a role from everybody who holds it; their access tokens die."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: DeleteRoleCommand) -> None:
        """Delete the role.

        Raises:
            RoleNotFound: there is none.
            RoleProtected: it is built in.
            PermissionDenied, InvalidAccessToken: the actor may not (any more).
            StoreUnavailable: the store does not answer.
        """
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            await require_grantable(uow, command.actor, "roles:write", frozenset())
            if command.name in {role.name for role in BUILT_IN_ROLES}:
                raise RoleProtected
            if not await uow.roles.get_many(frozenset({command.name})):
                raise RoleNotFound
            uow.users.raise_epochs(command.name, now)
            uow.roles.delete(command.name)
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.ROLE_DELETED,
                    actor=None if command.actor is None else command.actor.user_id,
                    session=None if command.actor is None else command.actor.session_id,
                    origin=command.origin,
                    details={"role": command.name},
                )
            )
            await uow.commit()
