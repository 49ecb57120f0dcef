"""The audit trail of an in-memory service."""

from heapq import nlargest

from keyturn.adapters.memory.store import MemoryStore, StagedWrite, give_way
from keyturn.domain.events import AuditEvent
from keyturn.domain.ids import EventId
from keyturn.ports.persistence import AuditFilter, AuditTrail


class MemoryAuditTrail(AuditTrail):
    """The audit events in a `MemoryStore`."""

    def __init__(self, store: MemoryStore, staged: list[StagedWrite]) -> None:
        self._store = store
        self._staged = staged

    def add(self, event: AuditEvent) -> None:
        def apply(store: MemoryStore) -> None:
            store.audit_events[event.id] = event

        self._staged.append(apply)

    async def list_page(
        self, which: AuditFilter, *, before: EventId | None, limit: int
    ) -> list[AuditEvent]:
        await give_way()
        found = [
            event
            for event in self._store.audit_events.values()
            if (before is None or event.id.int < before.int)
            and which.type in (None, event.type)
            and which.actor in (None, event.actor)
            and which.subject in (None, event.subject)
        ]
        return nlargest(limit, found, key=lambda event: event.id.int)
