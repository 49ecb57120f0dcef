"""An administrator looks at what happened."""

from dataclasses import dataclass, field

from keyturn.domain.events import AuditEvent
from keyturn.domain.ids import EventId
from keyturn.ports.persistence import AuditFilter, UnitOfWorkFactory
from keyturn.use_cases.list_users import MAX_PAGE


@dataclass(frozen=True, slots=True)
class ListAuditEventsQuery:
    """Which events, from where on back in time, and how many (1 to 200)."""

    which: AuditFilter = field(default_factory=AuditFilter)
    before: EventId | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some events; `next_before` is None on the last page."""

    events: list[AuditEvent]
    next_before: EventId | None


class ListAuditEvents:
    """Lists audit events, latest first."""

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self._unit_of_work = unit_of_work

    async def execute(self, query: ListAuditEventsQuery) -> AuditPage:
        """Return a page of events.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        limit = max(1, min(query.limit, MAX_PAGE))
        async with self._unit_of_work() as uow:
            events = await uow.audit.list_page(query.which, before=query.before, limit=limit + 1)
        more = len(events) > limit
        return AuditPage(events[:limit], events[limit - 1].id if more else None)
