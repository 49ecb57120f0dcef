"""An administrator does away with a role."""

from collections.abc import Callable
from dataclasses import dataclass, field

from keyturn.domain.errors import (
    PermissionDenied,
    RoleChanged,
    RoleNotFound,
    RoleProtected,
    StaleRole,
)
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.principal import Principal
from keyturn.domain.user import BUILT_IN_ROLES, Role
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.grants import authority_of


@dataclass(frozen=True, slots=True)
class DeleteRoleCommand:
    """Which role, and who deletes it.

    Attributes:
        actor: None for the operator's command line.
        expected: accepts the stored role as the one that the caller has seen. The default accepts
            any.
    """

    name: str
    actor: Principal | None
    origin: Origin = field(default_factory=Origin)
    expected: Callable[[Role | None], bool] = lambda _: True


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
            RoleChanged: the role is not the one that the caller has seen, or it is changed by
                another request at the same time.
            PermissionDenied: the actor lacks `roles:write` or a permission of the role, or may not
                assign it: to delete a role is to take it from everybody.
            InvalidAccessToken: the actor is gone or disabled.
            StoreUnavailable: the store does not answer.
        """
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            authority = await authority_of(uow, command.actor, "roles:write")
            if command.name in {role.name for role in BUILT_IN_ROLES}:
                raise RoleProtected
            role = next(iter(await uow.roles.get_many(frozenset({command.name}))), None)
            if not command.expected(role):
                raise RoleChanged
            if role is None:
                raise RoleNotFound
            if not (authority.may_assign({role}) and authority.holds(role.permissions)):
                raise PermissionDenied("Nobody deletes a role that is not theirs to assign.")
            uow.users.raise_epochs(role.name, now)
            uow.roles.delete(role)
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
            try:
                await uow.commit()
            except StaleRole:
                raise RoleChanged from None
