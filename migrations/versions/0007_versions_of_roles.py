"""Versions of roles, and which roles may grant them.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: every role begins at version 1, and its holders alone grant it."""
    op.add_column("roles", sa.Column("assignable_by", sa.JSON()))
    op.add_column("roles", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    """Drop them again."""
    op.drop_column("roles", "version")
    op.drop_column("roles", "assignable_by")
