"""Attempts that are counted.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; everybody begins with no attempt."""
    op.create_table(
        "throttle_windows",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_throttle_windows"),
    )
    op.create_index("ix_throttle_windows_expires_at", "throttle_windows", ["expires_at"])


def downgrade() -> None:
    """Drop it again."""
    op.drop_table("throttle_windows")
