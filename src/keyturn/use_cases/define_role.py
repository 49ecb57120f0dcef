"""An administrator defines what a role permits."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from keyturn.domain.errors import PermissionDenied, RoleChanged, RoleProtected, StaleRole
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.principal import Principal
from keyturn.domain.user import ADMIN_ROLE, Role
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.use_cases.grants import authority_of


@dataclass(frozen=True, slots=True)
class DefineRoleCommand:
    """The role, and who defines it.

    Attributes:
        actor: None for the operator's command line.
        assignable_by: the names of the roles whose holders may grant this one; None leaves them
            as they are.
        expected: accepts the stored role, None where there is none, as the one that the caller
            has seen. The default accepts any.
    """

    name: str
    permissions: frozenset[str]
    actor: Principal | None
    origin: Origin = field(default_factory=Origin)
    assignable_by: frozenset[str] | None = None
    expected: Callable[[Role | None], bool] = lambda _: True


class DefineRole:
    """Makes or changes a role; a change of its permissions ends its holders' access tokens."""

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

        Raises:
            InvalidRole: a name is malformed.
            RoleProtected: a built-in permission would be taken out of the role `admin`.
            RoleChanged: the role is not the one that the caller has seen, or it is changed by
                another request at the same time. Nothing is overwritten.
            PermissionDenied: the actor lacks `roles:write`, or a permission that the role had or
                gets, or changes `assignable_by` without being an administrator.
            InvalidAccessToken: the actor is gone or disabled.
            StoreUnavailable: the store does not answer.
        """
        defined = Role.define(
            command.name, command.permissions, command.assignable_by or frozenset()
        )
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            authority = await authority_of(uow, command.actor, "roles:write")
            stored = next(iter(await uow.roles.get_many(frozenset({defined.name}))), None)
            if not command.expected(stored):
                raise RoleChanged
            role = defined if stored is None else stored.redefined(defined)
            if command.assignable_by is None and stored is not None:
                role = replace(role, assignable_by=stored.assignable_by)
            before = Role(role.name, frozenset()) if stored is None else stored
            if role.assignable_by != before.assignable_by and not authority.is_full:
                raise PermissionDenied("Only an administrator says who may assign a role.")
            if not authority.holds(before.permissions | role.permissions):
                raise PermissionDenied("Nobody changes a permission that they do not hold.")
            if stored is not None and role == stored.redefined(stored):
                return stored
            if role.name == ADMIN_ROLE.name and not role.permissions >= ADMIN_ROLE.permissions:
                raise RoleProtected("The role `admin` keeps every built-in permission.")
            uow.roles.put(role)
            if role.permissions != before.permissions and stored is not None:
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
                        "from": " ".join(sorted(before.permissions)),
                        "to": " ".join(sorted(role.permissions)),
                        "assignable_by": " ".join(sorted(role.assignable_by)),
                    },
                )
            )
            try:
                await uow.commit()
            except StaleRole:
                # Not repeated: the caller decided by a role that is not there any more.
                raise RoleChanged from None
        return role
