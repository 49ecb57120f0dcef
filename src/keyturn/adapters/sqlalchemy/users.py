"""Users and roles in SQL."""

from typing import Any

from sqlalchemy import JSON, Connection, ScalarSelect, bindparam, delete, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from keyturn.adapters.sqlalchemy.database import Database, SqlRow, StagedWrite
from keyturn.adapters.sqlalchemy.tables import roles, user_roles, users
from keyturn.domain.errors import StaleUser
from keyturn.domain.ids import UserId
from keyturn.domain.user import Role, User, UserStatus, canonical_email
from keyturn.ports.persistence import RoleRepository, UserRepository


class _PermissionsByRole(FunctionElement[Any]):
    """Aggregates roles into one JSON object: `{"admin": ["users:read", ...], ...}`."""

    type = JSON()
    inherit_cache = True

    def __init__(self) -> None:
        super().__init__(roles.c.name, roles.c.permissions)


@compiles(_PermissionsByRole, "postgresql")
def _on_postgresql(element: _PermissionsByRole, compiler: SQLCompiler, **options: object) -> str:
    name, permissions = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_object_agg({name}, {permissions})"


@compiles(_PermissionsByRole, "sqlite")
def _on_sqlite(element: _PermissionsByRole, compiler: SQLCompiler, **options: object) -> str:
    name, permissions = (compiler.process(clause, **options) for clause in element.clauses)
    # Without json() the text of the permissions would become a string inside the object.
    return f"json_group_object({name}, json({permissions}))"


_roles_of_user: ScalarSelect[Any] = (
    select(_PermissionsByRole())
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
    _roles_of_user.label("roles"),
)
"""What `to_user` takes, in its order."""

_GET = select(*USER_COLUMNS).where(users.c.id == bindparam("user_id"))
_GET_BY_EMAIL = select(*USER_COLUMNS).where(users.c.email_key == bindparam("key"))
_INSERT = insert(users)
_UPDATE = update(users).where(
    users.c.id == bindparam("user_id"), users.c.version == bindparam("version_before")
)
_ROLE_NAMES = select(user_roles.c.role).where(user_roles.c.user_id == bindparam("user_id"))
_REMOVE_ROLES = delete(user_roles).where(user_roles.c.user_id == bindparam("owner_id"))
_GIVE_ROLES = insert(user_roles).from_select(
    ["user_id", "role"],
    select(bindparam("owner_id", type_=users.c.id.type), roles.c.name).where(
        roles.c.name.in_(bindparam("names", expanding=True))
    ),
)
_GET_ROLES = select(roles.c.name, roles.c.permissions).where(
    roles.c.name.in_(bindparam("names", expanding=True))
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
        permissions_by_role,
    ) = row
    return User(
        id=user_id,
        email=email,
        password_hash=password_hash,
        display_name=display_name,
        status=UserStatus(status),
        roles=frozenset(
            Role(name, frozenset(permissions))
            for name, permissions in (permissions_by_role or {}).items()
        ),
        epoch=epoch,
        version=version,
        created_at=created_at,
        updated_at=updated_at,
        last_login_at=last_login_at,
    )


class SqlUserRepository(UserRepository):
    """The users in a `Database`."""

    def __init__(self, database: Database, staged: list[StagedWrite]) -> None:
        """Read from `database` and note writes in `staged`."""
        self._database = database
        self._staged = staged

    async def get(self, user_id: UserId) -> User | None:
        """Return the user, or None."""
        rows = await self._database.fetch(_GET, {"user_id": user_id})
        return to_user(rows[0]) if rows else None

    async def get_by_email(self, email: str) -> User | None:
        """Return the user with this address, or None."""
        rows = await self._database.fetch(_GET_BY_EMAIL, {"key": canonical_email(email)})
        return to_user(rows[0]) if rows else None

    def add(self, user: User) -> None:
        """Stage a new user."""
        values = _values(user) | {"id": user.id, "created_at": user.created_at}

        def apply(connection: Connection) -> None:
            connection.execute(_INSERT, values)
            _give_roles(connection, user)

        self._staged.append(StagedWrite(apply, is_single_statement=False))

    def save(self, user: User) -> None:
        """Stage the next version of a user."""
        values = _values(user) | {"user_id": user.id, "version_before": user.version - 1}

        def apply(connection: Connection) -> None:
            saved = connection.execute(_UPDATE, values)
            if saved.rowcount != 1:
                raise StaleUser
            # Nobody changes the user's roles in between: the update holds the row until the end.
            stored_names = connection.scalars(_ROLE_NAMES, {"user_id": user.id})
            if set(stored_names) != user.role_names:
                connection.execute(_REMOVE_ROLES, {"owner_id": user.id})
                _give_roles(connection, user)

        self._staged.append(StagedWrite(apply, is_single_statement=False))


class SqlRoleRepository(RoleRepository):
    """The roles in a `Database`."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def get_many(self, names: frozenset[str]) -> frozenset[Role]:
        """Return those of the named roles that exist."""
        rows = await self._database.fetch(_GET_ROLES, {"names": sorted(names)})
        return frozenset(Role(name, frozenset(permissions)) for name, permissions in rows)


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
    }


def _give_roles(connection: Connection, user: User) -> None:
    if user.roles:
        names = sorted(user.role_names)
        connection.execute(_GIVE_ROLES, {"owner_id": user.id, "names": names})
