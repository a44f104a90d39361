"""A prepaid day keeps its energy by the hour's prices.

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add prepaid_day.detail."""
    op.execute("ALTER TABLE prepaid_day ADD detail jsonb NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE prepaid_day DROP detail")
