"""The persistence port in plain dictionaries, with the same guarantees as a database."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Self

from keyturn.domain.errors import EmailTaken, StaleFamily, StaleUser
from keyturn.domain.ids import FamilyId, UserId
from keyturn.domain.refresh_token_family import RefreshTokenFamily, RevokeReason
from keyturn.domain.user import BUILT_IN_ROLES, Role, User, canonical_email
from keyturn.ports.persistence import (
    FamilyRepository,
    RoleRepository,
    UnitOfWork,
    UserRepository,
)


@dataclass
class MemoryStore:
    """What is committed; shared by the units of work of one event loop."""

    users: dict[UserId, User] = field(default_factory=dict)
    roles: dict[str, Role] = field(
        default_factory=lambda: {role.name: role for role in BUILT_IN_ROLES}
    )
    families: dict[FamilyId, RefreshTokenFamily] = field(default_factory=dict)

    def copy(self) -> "MemoryStore":
        """Return a store that can be changed without changing this one; entities are immutable."""
        return MemoryStore(dict(self.users), dict(self.roles), dict(self.families))

    def replace_by(self, other: "MemoryStore") -> None:
        """Take over everything that `other` holds."""
        self.users, self.roles, self.families = other.users, other.roles, other.families

    def user(self, user_id: UserId) -> User | None:
        """Return a user with its roles as they are defined now."""
        user = self.users.get(user_id)
        if user is None:
            return None
        return replace(
            user,
            roles=frozenset(self.roles[name] for name in user.role_names if name in self.roles),
        )


StagedWrite = Callable[[MemoryStore], None]


class MemoryUserRepository(UserRepository):
    """The users in a `MemoryStore`."""

    def __init__(self, store: MemoryStore, staged: list[StagedWrite]) -> None:
        self._store = store
        self._staged = staged

    async def get(self, user_id: UserId) -> User | None:
        await _give_way()
        return self._store.user(user_id)

    async def get_by_email(self, email: str) -> User | None:
        key = canonical_email(email)
        await _give_way()
        for user in self._store.users.values():
            if canonical_email(user.email) == key:
                return self._store.user(user.id)
        return None

    def add(self, user: User) -> None:
        def apply(store: MemoryStore) -> None:
            _claim_email(store, user)
            store.users[user.id] = user

        self._staged.append(apply)

    def save(self, user: User) -> None:
        def apply(store: MemoryStore) -> None:
            stored = store.users.get(user.id)
            if stored is None or stored.version != user.version - 1:
                raise StaleUser
            _claim_email(store, user)
            store.users[user.id] = user

        self._staged.append(apply)


class MemoryRoleRepository(RoleRepository):
    """The roles in a `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def get_many(self, names: frozenset[str]) -> frozenset[Role]:
        await _give_way()
        return frozenset(role for role in self._store.roles.values() if role.name in names)


class MemoryFamilyRepository(FamilyRepository):
    """The families in a `MemoryStore`."""

    def __init__(self, store: MemoryStore, staged: list[StagedWrite]) -> None:
        self._store = store
        self._staged = staged

    async def get(self, family_id: FamilyId) -> RefreshTokenFamily | None:
        await _give_way()
        return self._store.families.get(family_id)

    async def get_with_user(self, family_id: FamilyId) -> tuple[RefreshTokenFamily, User] | None:
        await _give_way()
        family = self._store.families.get(family_id)
        user = None if family is None else self._store.user(family.user_id)
        return None if family is None or user is None else (family, user)

    async def list_live(self, user_id: UserId, now: datetime) -> list[RefreshTokenFamily]:
        await _give_way()
        live = [f for f in self._of(user_id) if f.is_live(now)]
        return sorted(live, key=lambda f: (f.rotated_at, f.id), reverse=True)

    async def list_ended(
        self, user_id: UserId, now: datetime, since: datetime
    ) -> list[RefreshTokenFamily]:
        await _give_way()
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


class MemoryUnitOfWork(UnitOfWork):
    """One atomic change of a `MemoryStore`.

    Every read and every commit gives way to other tasks once, as a database would, so that a
    race between use-cases shows in memory too.
    """

    def __init__(self, store: MemoryStore) -> None:
        """Work on `store`."""
        self._store = store
        self._staged: list[StagedWrite] = []
        self._users = MemoryUserRepository(store, self._staged)
        self._roles = MemoryRoleRepository(store)
        self._families = MemoryFamilyRepository(store, self._staged)

    @property
    def users(self) -> UserRepository:
        return self._users

    @property
    def roles(self) -> RoleRepository:
        return self._roles

    @property
    def families(self) -> FamilyRepository:
        return self._families

    async def commit(self) -> None:
        await _give_way()
        # Applied to a copy without giving way: a write that fails leaves the store as it was.
        changed = self._store.copy()
        for apply in self._staged:
            apply(changed)
        self._store.replace_by(changed)
        self._staged.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._staged.clear()


def _claim_email(store: MemoryStore, user: User) -> None:
    key = canonical_email(user.email)
    for other in store.users.values():
        if other.id != user.id and canonical_email(other.email) == key:
            raise EmailTaken


async def _give_way() -> None:
    await asyncio.sleep(0)
