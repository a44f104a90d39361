"""What is kept for a while only is found without reading the rest.

Revision ID: 0032
Revises: 0031
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two indexes."""
    op.create_index(
        "ix_raw_notice_rejected",
        "raw_notice",
        ["channel", "received_at"],
        postgresql_where=sa.text("outcome = 'rejected'"),
    )
    op.create_index(
        "ix_idempotency_key_created_at",
        "idempotency_key",
        ["created_at"],
        postgresql_using="brin",
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_raw_notice_rejected", "raw_notice")
    op.drop_index("ix_idempotency_key_created_at", "idempotency_key")
