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
from keyturn.ports.throttling import Throttle, ThrottledAction

_PAGE = 500

MAX_EVENTS = 5_000
"""Audit events in an export, the latest of them; an administrator can read the others."""

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
        has_all_events: whether there are no more than `MAX_EVENTS` of them.
    """

    exported_at: datetime
    user: User
    sessions: tuple[RefreshTokenFamily, ...]
    events: tuple[AuditEvent, ...]
    has_all_events: bool


class ExportAccount:
    """Collects a user's own data (GDPR Art. 15 and 20)."""

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

    async def execute(self, command: ExportAccountCommand) -> AccountExport:
        """Return the data; that they were asked for is audited.

        Raises:
            InvalidAccessToken: the user is gone or disabled.
            TooManyAttempts: it was asked for too often.
            Unavailable: the store does not answer.
        """
        await self._throttle.admit(
            ThrottledAction.EXPORT, source=None, account=str(command.user_id)
        )
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
                for event in await self._latest_events(uow, which)
            }
            await uow.commit()
        latest = sorted(events, reverse=True)[:MAX_EVENTS]
        return AccountExport(
            now,
            user,
            tuple(sessions),
            tuple(_as_told_to(user.id, events[event_id]) for event_id in latest),
            has_all_events=len(events) <= MAX_EVENTS,
        )

    async def _latest_events(self, uow: UnitOfWork, which: AuditFilter) -> list[AuditEvent]:
        """Return one more than an export holds, where there are so many."""
        events: list[AuditEvent] = []
        before: EventId | None = None
        while len(events) <= MAX_EVENTS:
            page = await uow.audit.list_page(which, before=before, limit=_PAGE)
            events += page
            if len(page) < _PAGE:
                break
            before = page[-1].id
        return events


def _as_told_to(user_id: UserId, event: AuditEvent) -> AuditEvent:
    if event.actor in {None, user_id}:
        return event
    return replace(event, actor=None, session=None, origin=Origin())
