"""The refresh token families of an in-memory service."""

from dataclasses import replace
from datetime import datetime

from keyturn.adapters.memory.store import MemoryStore, StagedWrite, give_way
from keyturn.domain.errors import StaleFamily, StaleUser
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.user import User
from keyturn.ports.persistence import FamilyRepository


class MemoryFamilyRepository(FamilyRepository):
    """The families in a `MemoryStore`."""

    def __init__(self, store: MemoryStore, staged: list[StagedWrite]) -> None:
        self._store = store
        self._staged = staged

    async def get(self, family_id: FamilyId) -> RefreshTokenFamily | None:
        await give_way()
        return self._store.families.get(family_id)

    async def get_with_user(self, family_id: FamilyId) -> tuple[RefreshTokenFamily, User] | None:
        await give_way()
        family = self._store.families.get(family_id)
        user = None if family is None else self._store.user(family.user_id)
        return None if family is None or user is None else (family, user)

    async def list_live(self, user_id: UserId, now: datetime) -> list[RefreshTokenFamily]:
        await give_way()
        live = [f for f in self._of(user_id) if f.is_live(now)]
        return sorted(live, key=lambda f: (f.rotated_at, f.id), reverse=True)

    async def list_ended(
        self, user_id: UserId, now: datetime, since: datetime
    ) -> list[RefreshTokenFamily]:
        await give_way()
        ended = [
            (ended_at, family.id, family)
            for family in self._of(user_id)
            if (ended_at := family.ended_at(now)) is not None and ended_at >= since
        ]
        return [family for _, _, family in sorted(ended, key=lambda e: e[:2], reverse=True)]

    def add(self, family: RefreshTokenFamily) -> None:
        def apply(store: MemoryStore) -> None:
            if family.user_id not in store.users:
                raise StaleUser
            store.families[family.id] = family

        self._staged.append(apply)

    def save(self, family: RefreshTokenFamily) -> None:
        def apply(store: MemoryStore) -> None:
            stored = store.families.get(family.id)
            if (
                stored is None
                or stored.revoked_at is not None
                or stored.generation != family.generation - 1
            ):
                raise StaleFamily
            store.families[family.id] = family

        self._staged.append(apply)

    def revoke(self, family_id: FamilyId, at: datetime, reason: RevokeReason) -> None:
        def apply(store: MemoryStore) -> None:
            stored = store.families.get(family_id)
            if stored is not None and stored.revoked_at is None:
                store.families[family_id] = replace(stored, revoked_at=at, revoke_reason=reason)

        self._staged.append(apply)

    def revoke_all(
        self,
        user_id: UserId,
        at: datetime,
        reason: RevokeReason,
        *,
        keep: FamilyId | None = None,
    ) -> None:
        def apply(store: MemoryStore) -> None:
            for family in list(store.families.values()):
                if family.user_id == user_id and family.id != keep and family.revoked_at is None:
                    store.families[family.id] = replace(family, revoked_at=at, revoke_reason=reason)

        self._staged.append(apply)

    def _of(self, user_id: UserId) -> list[RefreshTokenFamily]:
        return [f for f in self._store.families.values() if f.user_id == user_id]
