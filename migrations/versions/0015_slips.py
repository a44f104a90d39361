"""A card slip whose payment was given back may be keyed again.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

INDEX = "CREATE UNIQUE INDEX uq_counter_payment_slip ON counter_payment (terminal_id, reference)"


def upgrade() -> None:
    """Add counter_payment.slip_open and let it decide."""
    op.execute("ALTER TABLE counter_payment ADD slip_open boolean NOT NULL DEFAULT true")
    op.execute(
        "UPDATE counter_payment SET slip_open = false"
        " WHERE id IN (SELECT payment_id FROM counter_void)"
    )
    op.execute("DROP INDEX uq_counter_payment_slip")
    op.execute(f"{INDEX} WHERE slip_open AND terminal_id IS NOT NULL")


def downgrade() -> None:
    """A slip is keyed once, whatever became of it."""
    op.execute("DROP INDEX uq_counter_payment_slip")
    op.execute("ALTER TABLE counter_payment DROP slip_open")
    op.execute(f"{INDEX} WHERE terminal_id IS NOT NULL")
