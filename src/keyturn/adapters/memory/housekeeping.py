"""Clearing up an in-memory service."""

from datetime import datetime

from keyturn.adapters.memory.store import MemoryStore, give_way
from keyturn.ports.persistence import Housekeeping, Purged


class MemoryHousekeeping(Housekeeping):
    """Clears up a `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        """Clear up `store`."""
        self._store = store

    async def purge(
        self, *, ended_before: datetime, now: datetime, events_before: datetime, batch: int
    ) -> Purged:
        await give_way()
        store = self._store
        families = [
            family.id
            for family in store.families.values()
            if family.absolute_expires_at < ended_before
        ][:batch]
        revocations = [
            position
            for position, revocation in store.revocations.items()
            if revocation.expires_at <= now
        ][:batch]
        events = [event.id for event in store.audit_events.values() if event.at < events_before]
        events = events[:batch]
        tokens = [t.digest for t in store.one_time_tokens.values() if t.expires_at <= now][:batch]
        mails = [
            mail.id
            for mail in store.mails.values()
            if mail.dead_at is not None and mail.dead_at < events_before
        ][:batch]
        for family_id in families:
            del store.families[family_id]
        for position in revocations:
            del store.revocations[position]
        for event_id in events:
            del store.audit_events[event_id]
        for digest in tokens:
            del store.one_time_tokens[digest]
        for mail_id in mails:
            del store.mails[mail_id]
        return Purged(len(families), len(revocations), len(events), len(tokens), len(mails))

    async def lead(self, task: str, holder: str, now: datetime, until: datetime) -> bool:
        await give_way()
        leader, until_then = self._store.leaders.get(task, (holder, now))
        if leader != holder and now < until_then:
            return False
        self._store.leaders[task] = (holder, until)
        return True
