"""Payment orders know through which door their payer came.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add payment_order.way; what is there came from the mini-program."""
    op.add_column(
        "payment_order", sa.Column("way", sa.Text(), server_default="mini", nullable=False)
    )


def downgrade() -> None:
    """Forget the ways."""
    op.drop_column("payment_order", "way")
