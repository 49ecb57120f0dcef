"""Somebody wants to know all that is stored of them."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from keyturn.domain.errors import InvalidAccessToken
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import EventId, FamilyId, UserId
from keyturn.domain.refresh_token_family import RefreshTokenFamily
from keyturn.domain.user import User
from keyturn.ports.persistence import AuditFilter, UnitOfWork, UnitOfWorkFactory
from keyturn.ports.system import Clock, IdGenerator

_PAGE = 500
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ExportAccountCommand:
    """Whose data, and from which session."""

    user_id: UserId
    session_id: FamilyId
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, slots=True)
class AccountExport:
    """All that is stored of a user but the password's hash.

    Attributes:
        sessions: live ones first.
        events: what the user did, and what was done to the user, latest first; where another
            person did it, without where that person was.
    """

    exported_at: datetime
    user: User
    sessions: tuple[RefreshTokenFamily, ...]
    events: tuple[AuditEvent, ...]


class ExportAccount:
    """Collects a user's own data (GDPR Art. 15 and 20)."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock, ids: IdGenerator) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._ids = ids

    async def execute(self, command: ExportAccountCommand) -> AccountExport:
        """Return the data; that they were asked for is audited.

        Raises:
            InvalidAccessToken: the user is gone or disabled.
            Unavailable: the store does not answer.
        """
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            user = await uow.users.get(command.user_id)
            if user is None or not user.is_active:
                raise InvalidAccessToken
            uow.audit.add(
                AuditEvent(
                    self._ids.event_id(),
                    now,
                    AuditEventType.DATA_EXPORTED,
                    actor=user.id,
                    subject=user.id,
                    session=command.session_id,
                    origin=command.origin,
                )
            )
            sessions = await uow.families.list_live(user.id, now)
            sessions += await uow.families.list_ended(user.id, now, _EVER)
            events = {
                event.id: event
                for which in (AuditFilter(subject=user.id), AuditFilter(actor=user.id))
                for event in await self._all_events(uow, which)
            }
            await uow.commit()
        return AccountExport(
            now,
            user,
            tuple(sessions),
            tuple(
                _as_told_to(user.id, events[event_id]) for event_id in sorted(events, reverse=True)
            ),
        )

    async def _all_events(self, uow: UnitOfWork, which: AuditFilter) -> list[AuditEvent]:
        events: list[AuditEvent] = []
        before: EventId | None = None
        while True:
            page = await uow.audit.list_page(which, before=before, limit=_PAGE)
            events += page
            if len(page) < _PAGE:
                return events
            before = page[-1].id


def _as_told_to(user_id: UserId, event: AuditEvent) -> AuditEvent:
    if event.actor in {None, user_id}:
        return event
    return replace(event, actor=None, session=None, origin=Origin())
