"""The mails of an in-memory service that wait to be sent."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from keyturn.adapters.memory.store import MemoryStore, StagedWrite, give_way
from keyturn.domain.ids import MailId
from keyturn.domain.mail import QueuedMail
from keyturn.ports.mail import MailQueue
from keyturn.ports.persistence import Outbox


class MemoryOutbox(Outbox):
    """Puts mails into a `MemoryStore`."""

    def __init__(self, staged: list[StagedWrite]) -> None:
        self._staged = staged

    def add(self, mail: QueuedMail) -> None:
        def apply(store: MemoryStore) -> None:
            store.mails[mail.id] = mail

        self._staged.append(apply)


class MemoryMailQueue(MailQueue):
    """The mails in a `MemoryStore`, for those who send them."""

    def __init__(self, store: MemoryStore) -> None:
        """Take from `store`."""
        self._store = store

    async def claim(self, now: datetime, until: datetime, limit: int) -> Sequence[QueuedMail]:
        await give_way()
        due = [
            mail
            for mail in self._store.mails.values()
            if mail.dead_at is None and mail.next_attempt_at <= now
        ]
        due.sort(key=lambda mail: (mail.next_attempt_at, mail.id))
        claimed = [mail.claimed(until) for mail in due[:limit]]
        self._store.mails.update({mail.id: mail for mail in claimed})
        return claimed

    async def remove(self, mail: QueuedMail) -> bool:
        await give_way()
        if not self._is_claimed_as(mail):
            return False
        del self._store.mails[mail.id]
        return True

    async def put_back(self, mail: QueuedMail) -> bool:
        await give_way()
        if not self._is_claimed_as(mail):
            return False
        self._store.mails[mail.id] = mail
        return True

    async def list_page(
        self, *, only_dead: bool, after: MailId | None, limit: int
    ) -> Sequence[QueuedMail]:
        await give_way()
        return [
            mail
            for mail_id, mail in sorted(self._store.mails.items())
            if (after is None or mail_id > after) and (mail.dead_at is not None or not only_dead)
        ][:limit]

    async def revive(self, mail_id: MailId | None, now: datetime) -> int:
        await give_way()
        dead = [
            mail
            for mail in self._store.mails.values()
            if mail.dead_at is not None and mail_id in {None, mail.id}
        ]
        for mail in dead:
            self._store.mails[mail.id] = replace(
                mail, dead_at=None, attempts=0, next_attempt_at=now
            )
        return len(dead)

    def _is_claimed_as(self, mail: QueuedMail) -> bool:
        stored = self._store.mails.get(mail.id)
        return stored is not None and stored.attempts == mail.attempts
