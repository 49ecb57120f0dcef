"""Mails that wait to be sent, one-time tokens, and what is known of an account's state.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NEW_USER_COLUMNS = (
    "email_verified_at",
    "credentials_version",
    "failed_logins",
    "last_failed_login_at",
    "deletion_due_at",
)
NEW_EVENTS = (
    "user_imported",
    "email_verified",
    "email_change_requested",
    "email_changed",
    "password_reset_requested",
    "password_reset",
    "data_exported",
    "deletion_requested",
    "deletion_cancelled",
    "user_erased",
)


def upgrade() -> None:
    """Create the tables, columns and indexes; nobody who is there has a verified address."""
    op.add_column("users", sa.Column("email_verified_at", sa.DateTime(timezone=True)))
    op.add_column(
        "users", sa.Column("credentials_version", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column(
        "users", sa.Column("failed_logins", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("users", sa.Column("last_failed_login_at", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("deletion_due_at", sa.DateTime(timezone=True)))
    _create_index("users", ["deletion_due_at"], where="deletion_due_at IS NOT NULL")
    op.create_table(
        "one_time_tokens",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("credentials_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_one_time_tokens"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_one_time_tokens_user_id_users", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_one_time_tokens_user_id", "one_time_tokens", ["user_id"])
    op.create_index("ix_one_time_tokens_expires_at", "one_time_tokens", ["expires_at"])
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("credentials_version", sa.Integer()),
        sa.Column("ip", sa.Text()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("dead_at", sa.DateTime(timezone=True)),
        sa.Column("failure", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_mails"),
    )
    _create_index("mails", ["next_attempt_at", "id"], where="dead_at IS NULL")
    _create_index("mails", ["dead_at"], where="dead_at IS NOT NULL")


def downgrade() -> None:
    """Drop them again.

    Who is leaving stays, disabled. Events of kinds that the version before does not know go: it
    could not read the trail any more.
    """
    op.execute("UPDATE users SET status = 'disabled' WHERE status = 'deleting'")
    events = sa.table("audit_events", sa.column("type", sa.Text()))
    op.execute(sa.delete(events).where(events.c.type.in_(NEW_EVENTS)))
    op.drop_table("mails")
    op.drop_table("one_time_tokens")
    op.drop_index("ix_users_deletion_due_at", "users")
    for name in reversed(NEW_USER_COLUMNS):
        op.drop_column("users", name)


def _create_index(table: str, columns: list[str], *, where: str) -> None:
    op.create_index(
        f"ix_{table}_{'_'.join(columns)}",
        table,
        columns,
        postgresql_where=sa.text(where),
        sqlite_where=sa.text(where),
    )
