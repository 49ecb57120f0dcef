"""The revocation list of an in-memory service."""

import re
from datetime import datetime

from keyturn.adapters.memory.store import MemoryStore, StagedWrite, give_way
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import MAX_CLOCK_SKEW, revoked_until
from keyturn.domain.revocation import Revocation
from keyturn.ports.persistence import RevocationWriter
from keyturn.ports.revocations import RevocationList, RevocationPage

_CURSOR = re.compile(r"[0-9]{1,18}")


class MemoryRevocationWriter(RevocationWriter):
    """The revocations in a `MemoryStore`."""

    def __init__(self, staged: list[StagedWrite]) -> None:
        self._staged = staged

    def add_token(self, token_id: TokenId, expires_at: datetime) -> None:
        entry = Revocation.of_token(token_id, expires_at + MAX_CLOCK_SKEW)
        self._staged.append(lambda store: store.add_revocation(entry))

    def add_session(self, family_id: FamilyId, at: datetime) -> None:
        def apply(store: MemoryStore) -> None:
            until = revoked_until(at, store.longest_access_ttl)
            store.add_revocation(Revocation.of_session(family_id, until))

        self._staged.append(apply)

    def add_user(self, user_id: UserId, epoch: int, at: datetime) -> None:
        def apply(store: MemoryStore) -> None:
            until = revoked_until(at, store.longest_access_ttl)
            store.add_revocation(Revocation.of_user(user_id, epoch, until))

        self._staged.append(apply)


class MemoryRevocationList(RevocationList):
    """The revocations in a `MemoryStore`, for those who follow them."""

    def __init__(self, store: MemoryStore) -> None:
        """Read from `store`."""
        self._store = store

    async def read(self, after: str | None) -> RevocationPage:
        await give_way()
        start = int(after) if after is not None and _CURSOR.fullmatch(after) else 0
        if start > self._store.last_position:
            start = 0
        added = tuple(r for position, r in self._store.revocations.items() if position > start)
        return RevocationPage(added, str(self._store.last_position))
