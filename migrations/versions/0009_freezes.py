"""Runs of frozen registers; since when a register stands still; flagged readings found fast."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column(
        "reading_run", sa.Column("what", sa.Text(), server_default="current", nullable=False)
    )
    op.add_column("reading_run", sa.Column("frozen_on", sa.Date()))
    op.create_check_constraint(
        op.f("ck_reading_run_what"),
        "reading_run",
        "what IN ('current', 'day', 'month') AND (what = 'current') = (frozen_on IS NULL)",
    )
    op.drop_constraint("uq_reading_run_plan_period_from", "reading_run")
    op.create_unique_constraint(
        "uq_reading_run_plan_period_from_what", "reading_run", ["plan", "period_from", "what"]
    )
    op.add_column("meter_state", sa.Column("register_since", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_reading_flagged", "reading", ["read_at"], postgresql_where=sa.text("flags <> '{}'")
    )


def downgrade() -> None:
    op.drop_index("ix_reading_flagged", "reading")
    op.drop_column("meter_state", "register_since")
    op.drop_constraint("uq_reading_run_plan_period_from_what", "reading_run")
    # Runs of freezes have no place in the older table.
    op.execute(
        "DELETE FROM reading_run_item WHERE run_id IN "
        "(SELECT id FROM reading_run WHERE what <> 'current')"
    )
    op.execute("DELETE FROM reading_run WHERE what <> 'current'")
    op.create_unique_constraint(
        "uq_reading_run_plan_period_from", "reading_run", ["plan", "period_from"]
    )
    op.drop_constraint(op.f("ck_reading_run_what"), "reading_run")
    op.drop_column("reading_run", "frozen_on")
    op.drop_column("reading_run", "what")
