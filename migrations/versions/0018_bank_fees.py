"""What a collecting bank keeps of each deduction.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A fee a line."""
    fee = sa.Column("fee_per_line_fen", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("collecting_bank", fee)


def downgrade() -> None:
    """As it was."""
    op.drop_column("collecting_bank", "fee_per_line_fen")
