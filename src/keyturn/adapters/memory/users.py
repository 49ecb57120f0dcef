"""The users and roles of an in-memory service."""

from dataclasses import replace
from datetime import datetime

from keyturn.adapters.memory.store import MemoryStore, StagedWrite, give_way
from keyturn.domain.errors import EmailTaken, LastAdministrator, RoleNotFound, StaleRole, StaleUser
from keyturn.domain.events import Origin
from keyturn.domain.ids import UserId
from keyturn.domain.mail import QueuedMail
from keyturn.domain.policies import revoked_until
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import Role, User, canonical_email, fold_address
from keyturn.ports.persistence import RoleRepository, UserFilter, UserRepository


class MemoryUserRepository(UserRepository):
    """The users in a `MemoryStore`."""

    def __init__(
        self, store: MemoryStore, staged: list[StagedWrite], checks: list[StagedWrite]
    ) -> None:
        self._store = store
        self._staged = staged
        self._checks = checks

    async def get(self, user_id: UserId) -> User | None:
        await give_way()
        return self._store.user(user_id)

    async def get_by_email(self, email: str) -> User | None:
        key = canonical_email(email)
        await give_way()
        for user in self._store.users.values():
            if canonical_email(user.email) == key:
                return self._store.user(user.id)
        return None

    def add(self, user: User) -> None:
        def apply(store: MemoryStore) -> None:
            _claim_email(store, user)
            _require_roles(store, user)
            store.users[user.id] = user

        self._staged.append(apply)

    def save(self, user: User) -> None:
        def apply(store: MemoryStore) -> None:
            stored = store.users.get(user.id)
            if stored is None or stored.version != user.version - 1:
                raise StaleUser
            _claim_email(store, user)
            _require_roles(store, user)
            store.users[user.id] = user

        self._staged.append(apply)

    def note_failed_login(
        self, user_id: UserId, at: datetime, *, at_most: int, when_reached: QueuedMail
    ) -> None:
        def apply(store: MemoryStore) -> None:
            stored = store.users.get(user_id)
            if stored is None:
                return
            noted = stored.failed_to_log_in(at, at_most=at_most)
            store.users[user_id] = noted
            if noted.failed_logins == at_most > stored.failed_logins:
                store.mails[when_reached.id] = when_reached

        self._staged.append(apply)

    def erase(self, user: User) -> None:
        def apply(store: MemoryStore) -> None:
            stored = store.users.get(user.id)
            if stored is None or stored.version != user.version:
                raise StaleUser
            key = canonical_email(stored.email)
            del store.users[user.id]
            store.families = {k: f for k, f in store.families.items() if f.user_id != user.id}
            store.one_time_tokens = {
                k: t for k, t in store.one_time_tokens.items() if t.user_id != user.id
            }
            store.mails = {
                k: m
                for k, m in store.mails.items()
                if m.user_id != user.id and fold_address(m.address) != key
            }
            for event in list(store.audit_events.values()):
                if event.subject == user.id and event.actor in {None, user.id}:
                    store.audit_events[event.id] = replace(event, origin=Origin())

        self._staged.append(apply)

    async def list_due(self, now: datetime, limit: int) -> list[User]:
        await give_way()
        users = (self._store.user(user_id) for user_id in sorted(self._store.users))
        return [
            user
            for user in users
            if user is not None and user.deletion_due_at is not None and user.deletion_due_at <= now
        ][:limit]

    async def list_page(self, which: UserFilter, *, after: UserId | None, limit: int) -> list[User]:
        await give_way()
        part = None if which.email is None else fold_address(which.email)
        page = []
        for user_id in sorted(self._store.users):
            user = self._store.user(user_id)
            if (
                user is not None
                and (after is None or user_id > after)
                and (part is None or part in canonical_email(user.email))
                and which.status in {None, user.status}
                and (which.role is None or which.role in user.role_names)
            ):
                page.append(user)
        return page[:limit]

    def require_holder(self, role: str) -> None:
        def check(store: MemoryStore) -> None:
            if not any(user.is_active and role in user.role_names for user in store.users.values()):
                raise LastAdministrator

        self._checks.append(check)

    def raise_epochs(self, role: str, at: datetime) -> None:
        def apply(store: MemoryStore) -> None:
            until = revoked_until(at, store.longest_access_ttl)
            for user in list(store.users.values()):
                if role in user.role_names:
                    changed = user.logged_out_everywhere(at)
                    store.users[user.id] = changed
                    store.add_revocation(Revocation.of_user(user.id, changed.epoch, until))

        self._staged.append(apply)


class MemoryRoleRepository(RoleRepository):
    """The roles in a `MemoryStore`."""

    def __init__(self, store: MemoryStore, staged: list[StagedWrite]) -> None:
        self._store = store
        self._staged = staged

    async def get_many(self, names: frozenset[str]) -> frozenset[Role]:
        await give_way()
        return frozenset(role for role in self._store.roles.values() if role.name in names)

    async def list_all(self) -> list[Role]:
        await give_way()
        return [role for _, role in sorted(self._store.roles.items())]

    def put(self, role: Role) -> None:
        def apply(store: MemoryStore) -> None:
            if _stored_version(store, role) != role.version - 1:
                raise StaleRole
            store.roles[role.name] = role

        self._staged.append(apply)

    def delete(self, role: Role) -> None:
        def apply(store: MemoryStore) -> None:
            if _stored_version(store, role) != role.version:
                raise StaleRole
            del store.roles[role.name]
            for user in list(store.users.values()):
                if role.name in user.role_names:
                    kept = frozenset(held for held in user.roles if held.name != role.name)
                    store.users[user.id] = replace(user, roles=kept)

        self._staged.append(apply)

    def require_unchanged(self, roles: frozenset[Role]) -> None:
        def check(store: MemoryStore) -> None:
            if any(_stored_version(store, role) != role.version for role in roles):
                raise StaleRole

        self._staged.append(check)


def _stored_version(store: MemoryStore, role: Role) -> int:
    """Return the version that is stored of a role, 0 where there is none."""
    stored = store.roles.get(role.name)
    return 0 if stored is None else stored.version


def _claim_email(store: MemoryStore, user: User) -> None:
    key = canonical_email(user.email)
    for other in store.users.values():
        if other.id != user.id and canonical_email(other.email) == key:
            raise EmailTaken


def _require_roles(store: MemoryStore, user: User) -> None:
    unknown = user.role_names - store.roles.keys()
    if unknown:
        raise RoleNotFound(f"There is no role {min(unknown)!r}.")
