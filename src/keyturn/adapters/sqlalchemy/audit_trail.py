"""The audit trail in SQL."""

from types import MappingProxyType

from sqlalchemy import Connection, insert, select

from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite, Staging
from keyturn.adapters.sqlalchemy.tables import audit_events
from keyturn.domain.events import AuditEvent, AuditEventType, Origin
from keyturn.domain.ids import EventId
from keyturn.ports.persistence import AuditFilter, AuditTrail

_row = audit_events.c

_INSERT = insert(audit_events)
_LIST = select(
    _row.id,
    _row.at,
    _row.type,
    _row.actor,
    _row.subject,
    _row.session,
    _row.ip,
    _row.user_agent,
    _row.request_id,
    _row.client_request_id,
    _row.details,
).order_by(_row.id.desc())


def _to_event(row: SqlRow) -> AuditEvent:
    event_id, at, kind, actor, subject, session, *origin, details = row
    return AuditEvent(
        id=event_id,
        at=at,
        type=AuditEventType(kind),
        actor=actor,
        subject=subject,
        session=session,
        origin=Origin(*origin),
        details=MappingProxyType(details),
    )


class SqlAuditTrail(AuditTrail):
    """The audit events in a `Database`."""

    def __init__(self, database: Database, staging: Staging) -> None:
        """Read from `database` and note writes in `staging`."""
        self._database = database
        self._staged = staging.writes

    def add(self, event: AuditEvent) -> None:
        """Stage an event."""
        values = {
            "id": event.id,
            "at": event.at,
            "type": event.type.value,
            "actor": event.actor,
            "subject": event.subject,
            "session": event.session,
            "ip": event.origin.ip,
            "user_agent": event.origin.user_agent,
            "request_id": event.origin.request_id,
            "client_request_id": event.origin.client_request_id,
            "details": dict(event.details),
        }

        def apply(connection: Connection) -> None:
            connection.execute(_INSERT, values)

        self._staged.append(StagedWrite(apply, is_single_statement=True))

    async def list_page(
        self, which: AuditFilter, *, before: EventId | None, limit: int
    ) -> list[AuditEvent]:
        """Return a page of events, latest id first."""
        page = _LIST.limit(limit)
        if before is not None:
            page = page.where(_row.id < before)
        if which.type is not None:
            page = page.where(_row.type == which.type.value)
        if which.actor is not None:
            page = page.where(_row.actor == which.actor)
        if which.subject is not None:
            page = page.where(_row.subject == which.subject)
        return [_to_event(row) for row in await self._database.fetch(page, {})]
