"""The request id that a trusted proxy sent, beside the one that keyturn makes.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; earlier events keep the id that they have."""
    op.add_column("audit_events", sa.Column("client_request_id", sa.Text()))


def downgrade() -> None:
    """Drop it again."""
    op.drop_column("audit_events", "client_request_id")
