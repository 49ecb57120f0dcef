"""A delivery rejected a request that tried to get around a control."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from keyturn.domain.errors import TooManyAttempts
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.source import source_of
from keyturn.ports.persistence import UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator
from keyturn.ports.throttling import Throttle, ThrottledAction


@dataclass(frozen=True, slots=True)
class RecordRefusalCommand:
    """What was rejected, and who tried it.

    Attributes:
        type: `CSRF_REJECTED`, `CLIENT_REJECTED` or `PERMISSION_DENIED`.
        actor: the authenticated caller, None for none.
        subject: the user on whom it was tried, None for none.
        details: short texts that hold nothing that the caller chose.
    """

    type: AuditEventType
    origin: Origin
    actor: UserId | None = None
    subject: UserId | None = None
    session: FamilyId | None = None
    details: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class RecordRefusal:
    """Writes a rejected request into the audit trail (OWASP ASVS 5.0 V16.3.2, V16.3.3)."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        ids: IdGenerator,
        throttle: Throttle,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids
        self._throttle = throttle

    async def execute(self, command: RecordRefusalCommand) -> None:
        """Record the refusal, unless the source or the actor has had many recorded lately.

        The bound keeps an attacker from filling the audit trail, and from hiding among so many
        events.

        Raises:
            StoreUnavailable: the store does not answer, so nothing is recorded.
        """
        try:
            await self._throttle.admit(
                ThrottledAction.REFUSAL,
                source=source_of(command.origin.ip),
                account=None if command.actor is None else str(command.actor),
            )
        except TooManyAttempts:
            return
        async with self._unit_of_work() as uow:
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    self._clock.now(),
                    command.type,
                    actor=command.actor,
                    subject=command.subject,
                    session=command.session,
                    origin=command.origin,
                    details=command.details,
                )
            )
            await uow.commit()
