"""The tables, as the newest migration leaves them."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.types import TypeDecorator


class UtcTimestamp(TypeDecorator[datetime]):
    """A moment as aware UTC with microseconds.

    PostgreSQL stores `timestamptz`. SQLite has no such type: it stores UTC as text of one fixed
    width, which sorts and compares as the moments do.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what the driver is given.

        Raises:
            ValueError: the time is naive, so nobody knows which moment it means.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time must be aware")
        if dialect.name == "sqlite":
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored moment as aware UTC."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    # `canonical_email` of the address: what makes two spellings one.
    Column("email_key", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("display_name", Text),
    Column("status", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("updated_at", UtcTimestamp, nullable=False),
    Column("last_login_at", UtcTimestamp),
    Index(None, "status", "id"),
    # Room on each page for the next version of a row: a login then writes no index either.
    postgresql_with={"fillfactor": 80},
)

roles = Table(
    "roles",
    metadata,
    Column("name", Text, primary_key=True),
    Column("permissions", JSON, nullable=False),
)

user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("role", ForeignKey(roles.c.name, ondelete="CASCADE"), primary_key=True),
    # Who holds a role.
    Index(None, "role", "user_id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("client_id", Text, nullable=False),
    # NULL: not limited to a part of the user's permissions; [] is limited to none.
    Column("scope", JSON(none_as_null=True)),
    Column("current_jti", Uuid, nullable=False),
    Column("previous_jti", Uuid),
    Column("generation", Integer, nullable=False),
    Column("device_name", Text),
    Column("user_agent", Text),
    Column("ip", Text),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("rotated_at", UtcTimestamp, nullable=False),
    Column("expires_at", UtcTimestamp, nullable=False),
    Column("absolute_expires_at", UtcTimestamp, nullable=False),
    Column("revoked_at", UtcTimestamp),
    Column("revoke_reason", Text),
    # NULL: any bearer of the token may refresh.
    Column("key_thumbprint", Text),
    # No index on what a rotation changes, and room on the page for the new version of the row:
    # together they make a rotation a heap-only update on PostgreSQL.
    Index(None, "user_id"),
    Index(None, "absolute_expires_at"),
    postgresql_with={"fillfactor": 70},
)

revocations = Table(
    "revocations",
    metadata,
    # On SQLite the order of the commits; never used twice, also when the last entry is removed.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    # On PostgreSQL the transaction that wrote the entry; NULL on SQLite.
    Column("transaction_id", BigInteger),
    Column("kind", Text, nullable=False),
    Column("subject", Uuid, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("expires_at", UtcTimestamp, nullable=False),
    Index(None, "transaction_id"),
    Index(None, "expires_at"),
    sqlite_autoincrement=True,
)

# No foreign keys: what happened outlives those whom it happened to.
audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", UtcTimestamp, nullable=False),
    Column("type", Text, nullable=False),
    Column("actor", Uuid),
    Column("subject", Uuid),
    Column("session", Uuid),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("request_id", Text),
    Column("details", JSON, nullable=False),
    Index(None, "at"),
    Index(None, "type", "id"),
    Index(None, "actor", "id"),
    Index(None, "subject", "id"),
)

leaders = Table(
    "leaders",
    metadata,
    Column("task", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", UtcTimestamp, nullable=False),
)
