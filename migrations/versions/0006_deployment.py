"""What all processes of a deployment have in common.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Seconds: the default of the versions before, whose tokens may still be in use. A service that was
# set to more records that when it starts.
DEFAULT_ACCESS_TTL = 900


def upgrade() -> None:
    """Create the table and its one row."""
    deployment = op.create_table(
        "deployment",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("longest_access_ttl", sa.BigInteger(), nullable=False),
        sa.Column("revocation_feed", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_deployment"),
    )
    op.bulk_insert(deployment, [{"id": 1, "longest_access_ttl": DEFAULT_ACCESS_TTL}])


def downgrade() -> None:
    """Drop it again."""
    op.drop_table("deployment")
