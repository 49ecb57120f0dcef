"""The key that a refresh token is bound to.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; sessions that are there stay good for any bearer."""
    op.add_column("refresh_tokens", sa.Column("key_thumbprint", sa.Text()))


def downgrade() -> None:
    """Drop it again.

    Bound sessions go first: without the column, a stolen token of theirs would be good.
    """
    op.execute("DELETE FROM refresh_tokens WHERE key_thumbprint IS NOT NULL")
    op.drop_column("refresh_tokens", "key_thumbprint")
