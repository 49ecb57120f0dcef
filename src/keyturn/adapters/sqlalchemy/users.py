"""Users and roles in SQL."""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Dialect,
    Executable,
    ScalarSelect,
    Text,
    bindparam,
    delete,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite, Staging
from keyturn.adapters.sqlalchemy.deployment import longest_access_ttl
from keyturn.adapters.sqlalchemy.mails import insert_mail
from keyturn.adapters.sqlalchemy.prepared import Parameters, Prepared
from keyturn.adapters.sqlalchemy.revocations import insert_revocations
from keyturn.adapters.sqlalchemy.tables import audit_events, mails, roles, user_roles, users
from keyturn.domain.errors import LastAdministrator, RoleNotFound, StaleRole, StaleUser
from keyturn.domain.ids import UserId
from keyturn.domain.mail import QueuedMail
from keyturn.domain.policies import revoked_until
from keyturn.domain.revocation import Revocation
from keyturn.domain.user import Role, User, UserStatus, canonical_email, fold_address
from keyturn.ports.persistence import RoleRepository, UserFilter, UserRepository

_ROLE_COLUMNS = (roles.c.name, roles.c.permissions, roles.c.assignable_by, roles.c.version)


# Few sets of roles are held by many users: each is read once.
@lru_cache(maxsize=256)
def _roles_in(text: str) -> frozenset[Role]:
    rows: dict[str, tuple[list[str], list[str] | None, int]] = json.loads(text)
    return frozenset(
        Role(name, frozenset(permissions), frozenset(assignable_by or ()), version)
        for name, (permissions, assignable_by, version) in rows.items()
    )


class _Roles(TypeDecorator[frozenset[Role]]):
    """Reads roles out of what `_RolesByName` aggregates; NULL is none."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, _: Dialect) -> frozenset[Role]:
        """Return the roles."""
        return frozenset() if value is None else _roles_in(value)


class _RolesByName(FunctionElement[frozenset[Role]]):
    """Aggregates roles into one JSON object: `{"admin": [["users:read", ...], [], 1], ...}`."""

    type = _Roles()
    inherit_cache = True

    def __init__(self) -> None:
        super().__init__(*_ROLE_COLUMNS)


@compiles(_RolesByName, "postgresql")
def _on_postgresql(element: _RolesByName, compiler: SQLCompiler, **options: object) -> str:
    name, *values = (compiler.process(clause, **options) for clause in element.clauses)
    # As text: the driver would read the JSON of each row anew.
    return f"CAST(json_object_agg({name}, json_build_array({', '.join(values)})) AS text)"


@compiles(_RolesByName, "sqlite")
def _on_sqlite(element: _RolesByName, compiler: SQLCompiler, **options: object) -> str:
    name, permissions, assignable_by, version = (
        compiler.process(clause, **options) for clause in element.clauses
    )
    # Without json() the text of a list would become a string inside the object.
    lists = f"json({permissions}), json({assignable_by})"
    return f"json_group_object({name}, json_array({lists}, {version}))"


_roles_of_user: ScalarSelect[Any] = (
    select(_RolesByName())
    .select_from(user_roles.join(roles))
    .where(user_roles.c.user_id == users.c.id)
    .correlate(users)
    .scalar_subquery()
)

USER_COLUMNS = (
    users.c.id,
    users.c.email,
    users.c.password_hash,
    users.c.display_name,
    users.c.status,
    users.c.epoch,
    users.c.version,
    users.c.created_at,
    users.c.updated_at,
    users.c.last_login_at,
    users.c.email_verified_at,
    users.c.credentials_version,
    users.c.failed_logins,
    users.c.last_failed_login_at,
    users.c.deletion_due_at,
    _roles_of_user.label("roles"),
)
"""What `to_user` takes, in its order."""

_GET = Prepared(select(*USER_COLUMNS).where(users.c.id == bindparam("user_id")))
_GET_BY_EMAIL = Prepared(select(*USER_COLUMNS).where(users.c.email_key == bindparam("key")))
_INSERT = insert(users)
_UPDATE = (
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.version == bindparam("version_before"))
    .returning(_roles_of_user)
)
_NOTE_FAILED_LOGIN = (
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.failed_logins < bindparam("at_most"))
    .values(
        failed_logins=users.c.failed_logins + 1,
        last_failed_login_at=bindparam("failed_at"),
        version=users.c.version + 1,
    )
    .returning(users.c.failed_logins)
)
_NOTE_FAILED_LOGIN_BEYOND = (
    update(users)
    .where(users.c.id == bindparam("user_id"), bindparam("is_beyond", type_=Boolean))
    .values(version=users.c.version + 1)
)
_ERASE = delete(users).where(
    users.c.id == bindparam("user_id"), users.c.version == bindparam("stored_version")
)
# Not indexed: few mails wait, and few users are erased.
_ERASE_MAILS = delete(mails).where(
    or_(
        mails.c.user_id == bindparam("user_id"),
        mails.c.address_key == bindparam("email_key"),
    )
)
_ERASE_ORIGINS = (
    update(audit_events)
    .where(
        audit_events.c.subject == bindparam("user_id"),
        or_(audit_events.c.actor.is_(None), audit_events.c.actor == bindparam("user_id")),
    )
    .values(ip=None, user_agent=None, request_id=None, client_request_id=None)
)
_TAKE_ROLES = delete(user_roles).where(
    user_roles.c.user_id == bindparam("owner_id"),
    user_roles.c.role.in_(bindparam("names", expanding=True)),
)
_GIVE_ROLES = insert(user_roles).from_select(
    ["user_id", "role"],
    select(bindparam("owner_id", type_=users.c.id.type), roles.c.name).where(
        roles.c.name.in_(bindparam("names", expanding=True))
    ),
)
_LIST = select(*USER_COLUMNS).order_by(users.c.id)
_LIST_DUE = (
    select(*USER_COLUMNS)
    .where(users.c.deletion_due_at <= bindparam("now"))
    .order_by(users.c.deletion_due_at, users.c.id)
    .limit(bindparam("page_size"))
)

_of_role = user_roles.c.role == bindparam("role_name")
_holders = select(user_roles.c.user_id).where(_of_role)
# Against this the foreign key's check of whoever is given the role has to wait.
_LOCK_ROLE = select(roles.c.name).where(roles.c.name == bindparam("role_name")).with_for_update()
_ACTIVE_HOLDER = (
    select(users.c.id)
    .where(users.c.id.in_(_holders), users.c.status == UserStatus.ACTIVE.value)
    .limit(1)
)
_LOCK_HOLDERS = (
    select(users.c.id)
    .where(users.c.id.in_(_holders))
    .order_by(users.c.id)
    .with_for_update(key_share=True)
)
_RAISE_EPOCHS = (
    update(users)
    .where(users.c.id.in_(_holders))
    .values(epoch=users.c.epoch + 1, version=users.c.version + 1, updated_at=bindparam("raised_at"))
    .returning(users.c.id, users.c.epoch)
)

_LIST_ROLES = select(*_ROLE_COLUMNS)
_GET_ROLES = _LIST_ROLES.where(roles.c.name.in_(bindparam("names", expanding=True)))
_ADD_ROLE = text(
    "INSERT INTO roles (name, permissions, assignable_by, version)"
    " VALUES (:name, :permissions, :assignable_by, :version) ON CONFLICT (name) DO NOTHING"
).bindparams(
    bindparam("permissions", type_=JSON),
    bindparam("assignable_by", type_=roles.c.assignable_by.type),
)
_SAVE_ROLE = update(roles).where(
    roles.c.name == bindparam("role_name"), roles.c.version == bindparam("stored_version")
)
_DELETE_ROLE = delete(roles).where(
    roles.c.name == bindparam("role_name"), roles.c.version == bindparam("stored_version")
)
# In one order, so that two commits that share roles never wait for each other.
_HOLD_ROLES = (
    select(roles.c.name, roles.c.version)
    .where(roles.c.name.in_(bindparam("names", expanding=True)))
    .order_by(roles.c.name)
    .with_for_update(read=True)
)


def to_user(row: SqlRow) -> User:
    """Return the user that the values of `USER_COLUMNS` tell of."""
    (
        user_id,
        email,
        password_hash,
        display_name,
        status,
        epoch,
        version,
        created_at,
        updated_at,
        last_login_at,
        email_verified_at,
        credentials_version,
        failed_logins,
        last_failed_login_at,
        deletion_due_at,
        roles,
    ) = row
    return User(
        id=user_id,
        email=email,
        password_hash=password_hash,
        display_name=display_name,
        status=UserStatus(status),
        roles=roles,
        epoch=epoch,
        version=version,
        created_at=created_at,
        updated_at=updated_at,
        last_login_at=last_login_at,
        email_verified_at=email_verified_at,
        credentials_version=credentials_version,
        failed_logins=failed_logins,
        last_failed_login_at=last_failed_login_at,
        deletion_due_at=deletion_due_at,
    )


class SqlUserRepository(UserRepository):
    """The users in a `Database`."""

    def __init__(self, database: Database, staging: Staging) -> None:
        """Read from `database` and note writes in `staging`."""
        self._database = database
        self._staging = staging

    async def get(self, user_id: UserId) -> User | None:
        """Return the user, or None."""
        rows = await self._database.look_up(_GET, {"user_id": user_id})
        return to_user(rows[0]) if rows else None

    async def get_by_email(self, email: str) -> User | None:
        """Return the user with this address, or None."""
        rows = await self._database.look_up(_GET_BY_EMAIL, {"key": canonical_email(email)})
        return to_user(rows[0]) if rows else None

    def add(self, user: User) -> None:
        """Stage a new user."""
        values = _values(user) | {"id": user.id, "created_at": user.created_at}

        def apply(connection: Connection) -> None:
            connection.execute(_INSERT, values)
            _give_roles(connection, user.id, user.role_names)

        self._staging.writes.append(StagedWrite(apply, is_single_statement=False))

    def save(self, user: User) -> None:
        """Stage the next version of a user."""
        values = _values(user) | {"user_id": user.id, "version_before": user.version - 1}

        def apply(connection: Connection) -> None:
            saved = connection.execute(_UPDATE, values).one_or_none()
            if saved is None:
                raise StaleUser
            # Nobody changes the user's roles in between: the update holds the row until the end.
            stored_names = frozenset(role.name for role in saved[0])
            taken = stored_names - user.role_names
            if taken:
                connection.execute(_TAKE_ROLES, {"owner_id": user.id, "names": sorted(taken)})
            _give_roles(connection, user.id, user.role_names - stored_names)

        self._staging.writes.append(StagedWrite(apply, is_single_statement=False))

    def note_failed_login(
        self, user_id: UserId, at: datetime, *, at_most: int, when_reached: QueuedMail
    ) -> None:
        """Stage the count of a wrong password."""

        def apply(connection: Connection) -> None:
            failed_logins = connection.execute(
                _NOTE_FAILED_LOGIN, {"user_id": user_id, "failed_at": at, "at_most": at_most}
            ).scalar()
            # Two statements in every case: the number of round trips must not reveal whether
            # there is an account, nor what became of its count.
            if failed_logins == at_most:
                insert_mail(connection, when_reached)
            else:
                is_beyond = failed_logins is None
                connection.execute(
                    _NOTE_FAILED_LOGIN_BEYOND, {"user_id": user_id, "is_beyond": is_beyond}
                )

        self._staging.writes.append(StagedWrite(apply, is_single_statement=False))

    def erase(self, user: User) -> None:
        """Stage the end of a user; the foreign keys take roles, families and tokens along."""

        def apply(connection: Connection) -> None:
            erased = connection.execute(
                _ERASE, {"user_id": user.id, "stored_version": user.version}
            )
            if erased.rowcount != 1:
                raise StaleUser
            key = canonical_email(user.email)
            connection.execute(_ERASE_MAILS, {"user_id": user.id, "email_key": key})
            connection.execute(_ERASE_ORIGINS, {"user_id": user.id})

        self._staging.writes.append(StagedWrite(apply, is_single_statement=False))

    async def list_due(self, now: datetime, limit: int) -> list[User]:
        """Return users whose deletion is due, those due first first."""
        rows = await self._database.fetch(_LIST_DUE, {"now": now, "page_size": limit})
        return [to_user(row) for row in rows]

    async def list_page(self, which: UserFilter, *, after: UserId | None, limit: int) -> list[User]:
        """Return a page of users, lowest id first."""
        page = _LIST.limit(limit)
        if after is not None:
            page = page.where(users.c.id > after)
        if which.email is not None:
            part = fold_address(which.email)
            if not part.isprintable():
                return []
            page = page.where(users.c.email_key.contains(part, autoescape=True))
        if which.status is not None:
            page = page.where(users.c.status == which.status.value)
        if which.role is not None:
            if not which.role.isprintable():
                return []
            page = page.where(users.c.id.in_(_holders.params(role_name=which.role)))
        return [to_user(row) for row in await self._database.fetch(page, {})]

    def require_holder(self, role: str) -> None:
        """Stage a check that an active user holds the role."""

        def check(connection: Connection) -> None:
            if connection.scalar(_ACTIVE_HOLDER, {"role_name": role}) is None:
                raise LastAdministrator

        self._lock_role(role)
        self._staging.checks.append(StagedWrite(check, is_single_statement=False))

    def raise_epochs(self, role: str, at: datetime) -> None:
        """Stage the death of the access tokens of everybody who holds the role."""
        staging = self._staging

        def apply(connection: Connection) -> None:
            connection.execute(_LOCK_HOLDERS, {"role_name": role})
            raised = connection.execute(_RAISE_EPOCHS, {"role_name": role, "raised_at": at})
            holders = raised.all()
            if holders:
                until = revoked_until(at, longest_access_ttl(connection))
                added = [Revocation.of_user(user_id, epoch, until) for user_id, epoch in holders]
                insert_revocations(connection, added)
                staging.revoked.extend(added)

        self._lock_role(role)
        staging.may_revoke = True
        staging.writes.append(StagedWrite(apply, is_single_statement=False))

    def _lock_role(self, role: str) -> None:
        def lock(connection: Connection) -> None:
            connection.execute(_LOCK_ROLE, {"role_name": role})

        self._staging.locks.append(StagedWrite(lock, is_single_statement=False))


class SqlRoleRepository(RoleRepository):
    """The roles in a `Database`."""

    def __init__(self, database: Database, staging: Staging) -> None:
        """Read from `database` and note writes in `staging`."""
        self._database = database
        self._staging = staging

    async def get_many(self, names: frozenset[str]) -> frozenset[Role]:
        """Return those of the named roles that exist."""
        # PostgreSQL can't even be asked for a text that holds a NUL.
        storable = sorted(name for name in names if name.isprintable())
        rows = await self._database.fetch(_GET_ROLES, {"names": storable})
        return frozenset(map(_to_role, rows))

    async def list_all(self) -> list[Role]:
        """Return every role, by name."""
        rows = await self._database.fetch(_LIST_ROLES, {})
        # Sorted here: a database sorts text by the rules of some language.
        return sorted(map(_to_role, rows), key=lambda role: role.name)

    def put(self, role: Role) -> None:
        """Stage the next version of a role's definition."""
        values = {
            "permissions": sorted(role.permissions),
            "assignable_by": sorted(role.assignable_by) or None,
            "version": role.version,
        }
        if role.version == 1:
            self._swap(_ADD_ROLE, values | {"name": role.name})
        else:
            stored = {"role_name": role.name, "stored_version": role.version - 1}
            self._swap(_SAVE_ROLE, values | stored)

    def delete(self, role: Role) -> None:
        """Stage the end of a role; the foreign key takes it from everybody who holds it."""
        self._swap(_DELETE_ROLE, {"role_name": role.name, "stored_version": role.version})

    def require_unchanged(self, roles: frozenset[Role]) -> None:
        """Stage a check of the versions, which holds the roles until the commit is over."""
        versions = {role.name: role.version for role in roles}

        def check(connection: Connection) -> None:
            rows = connection.execute(_HOLD_ROLES, {"names": sorted(versions)})
            if {row.name: row.version for row in rows} != versions:
                raise StaleRole

        if versions:
            self._staging.locks.append(StagedWrite(check, is_single_statement=False))

    def _swap(self, statement: Executable, values: Parameters) -> None:
        def apply(connection: Connection) -> None:
            if connection.execute(statement, values).rowcount != 1:
                raise StaleRole

        self._staging.writes.append(StagedWrite(apply, is_single_statement=False))


def _to_role(row: SqlRow) -> Role:
    name, permissions, assignable_by, version = row
    return Role(name, frozenset(permissions), frozenset(assignable_by or ()), version)


def _values(user: User) -> dict[str, object]:
    return {
        "email": user.email,
        "email_key": canonical_email(user.email),
        "password_hash": user.password_hash,
        "display_name": user.display_name,
        "status": user.status.value,
        "epoch": user.epoch,
        "version": user.version,
        "updated_at": user.updated_at,
        "last_login_at": user.last_login_at,
        "email_verified_at": user.email_verified_at,
        "credentials_version": user.credentials_version,
        "failed_logins": user.failed_logins,
        "last_failed_login_at": user.last_failed_login_at,
        "deletion_due_at": user.deletion_due_at,
    }


def _give_roles(connection: Connection, user_id: UserId, names: frozenset[str]) -> None:
    if not names:
        return
    given = connection.execute(_GIVE_ROLES, {"owner_id": user_id, "names": sorted(names)})
    if given.rowcount != len(names):
        raise RoleNotFound
