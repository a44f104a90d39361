"""A prepaid day keeps its energy by the hour's prices.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add prepaid_day.detail."""
    op.execute("ALTER TABLE prepaid_day ADD detail jsonb NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE prepaid_day DROP detail")
