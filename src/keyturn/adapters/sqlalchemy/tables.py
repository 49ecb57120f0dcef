"""The tables, as the newest migration leaves them.

What only SQLite is told (AUTOINCREMENT, the conditions of its partial indexes) stands in the
migrations alone: named here, it would load SQLite's dialect for PostgreSQL too.
"""

from collections.abc import Callable
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

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[object], datetime | None] | None:
        """Return what reads a stored moment, None where the driver does so itself."""
        return super().result_processor(dialect, coltype) if dialect.name == "sqlite" else None


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
    # What a login changes is not indexed, here and below; see `refresh_tokens`.
    Column("email_verified_at", UtcTimestamp),
    Column("credentials_version", Integer, nullable=False, server_default="0"),
    Column("failed_logins", Integer, nullable=False, server_default="0"),
    Column("last_failed_login_at", UtcTimestamp),
    Column("deletion_due_at", UtcTimestamp),
    Index(None, "status", "id"),
    # Room on each page for the next version of a row: a login then writes no index either.
    postgresql_with={"fillfactor": 80},
)

roles = Table(
    "roles",
    metadata,
    Column("name", Text, primary_key=True),
    Column("permissions", JSON, nullable=False),
    # The names of roles whose holders may grant this one; NULL is none.
    Column("assignable_by", JSON(none_as_null=True)),
    Column("version", Integer, nullable=False, server_default="1"),
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
    Column("client_request_id", Text),
    Column("details", JSON, nullable=False),
    Index(None, "at"),
    Index(None, "type", "id"),
    Index(None, "actor", "id"),
    Index(None, "subject", "id"),
)

one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("email", Text, nullable=False),
    Column("credentials_version", Integer, nullable=False),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("expires_at", UtcTimestamp, nullable=False),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

# No foreign key: a mail may be for somebody who has no account, or has none any more.
mails = Table(
    "mails",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("address", Text, nullable=False),
    # `fold_address` of the address: finds the mails to somebody, however the address is written.
    Column("address_key", Text, nullable=False),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("next_attempt_at", UtcTimestamp, nullable=False),
    Column("user_id", Uuid),
    Column("credentials_version", Integer),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("request_id", Text),
    Column("details", JSON, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("dead_at", UtcTimestamp),
    Column("failure", Text),
)
Index(
    "ix_mails_next_attempt_at_id",
    mails.c.next_attempt_at,
    mails.c.id,
    postgresql_where=mails.c.dead_at.is_(None),
)
Index(
    "ix_mails_dead_at",
    mails.c.dead_at,
    postgresql_where=mails.c.dead_at.is_not(None),
)
# Hardly anybody is about to leave, and a login that takes it back may write to an index.
Index(
    "ix_users_deletion_due_at",
    users.c.deletion_due_at,
    postgresql_where=users.c.deletion_due_at.is_not(None),
)

# Exactly one row, which the migration adds: what all processes have in common.
deployment = Table(
    "deployment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Seconds. It must never decrease: revocation entries are kept for as long.
    Column("longest_access_ttl", BigInteger, nullable=False),
    # The identity of the feed that the service follows; NULL for none.
    Column("revocation_feed", Text),
)

leaders = Table(
    "leaders",
    metadata,
    Column("task", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", UtcTimestamp, nullable=False),
)

# Of attempts; see `SqlThrottleWindows`.
throttle_windows = Table(
    "throttle_windows",
    metadata,
    Column("key", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("expires_at", UtcTimestamp, nullable=False),
    Index(None, "expires_at"),
)
