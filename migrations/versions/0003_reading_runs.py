"""Reading runs and orders to valves."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

OPEN_COMMAND = "state IN ('queued', 'approved', 'sent', 'acknowledged')"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _runs()
    _items()
    _commands()


def _runs() -> None:
    op.create_table(
        "reading_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text()),
        sa.Column("period_from", MOMENT),
        sa.Column("asked_by", sa.BigInteger()),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("deadline_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.ForeignKeyConstraint(["asked_by"], ["staff.id"], name="fk_reading_run_asked_by"),
        sa.PrimaryKeyConstraint("id", name="pk_reading_run"),
        sa.UniqueConstraint("plan", "period_from", name="uq_reading_run_plan_period_from"),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'cancelled')", name=op.f("ck_reading_run_state")
        ),
    )
    op.create_index("ix_reading_run_asked_by", "reading_run", ["asked_by"])
    op.create_index("ix_reading_run_created_at", "reading_run", ["created_at"])


def _items() -> None:
    op.create_table(
        "reading_run_item",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("bus_id", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("lease", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("reading_id", sa.BigInteger()),
        sa.Column("ended_at", MOMENT),
        sa.ForeignKeyConstraint(["run_id"], ["reading_run.id"], name="fk_reading_run_item_run_id"),
        sa.ForeignKeyConstraint(["meter_id"], ["meter.id"], name="fk_reading_run_item_meter_id"),
        sa.PrimaryKeyConstraint("run_id", "meter_id", name="pk_reading_run_item"),
        sa.CheckConstraint(
            "state IN ('waiting', 'taken', 'read', 'missed', 'cancelled')",
            name=op.f("ck_reading_run_item_state"),
        ),
    )
    op.create_index(
        "ix_reading_run_item_due",
        "reading_run_item",
        ["bus_id", "rank", "due_at"],
        postgresql_where=sa.text("state IN ('waiting', 'taken')"),
    )


def _commands() -> None:
    op.create_table(
        "meter_command",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("bus_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("approved_by", sa.BigInteger()),
        sa.Column("approved_at", MOMENT),
        sa.Column("sends", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_at", MOMENT),
        sa.Column("acknowledged_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("lease", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("reading_id", sa.BigInteger()),
        sa.ForeignKeyConstraint(["meter_id"], ["meter.id"], name="fk_meter_command_meter_id"),
        sa.ForeignKeyConstraint(["asked_by"], ["staff.id"], name="fk_meter_command_asked_by"),
        sa.ForeignKeyConstraint(["approved_by"], ["staff.id"], name="fk_meter_command_approved_by"),
        sa.PrimaryKeyConstraint("id", name="pk_meter_command"),
        sa.CheckConstraint(
            "state IN ('queued', 'approved', 'sent', 'acknowledged', 'done', 'failed', "
            "'expired', 'withdrawn')",
            name=op.f("ck_meter_command_state"),
        ),
        sa.CheckConstraint("approved_by <> asked_by", name=op.f("ck_meter_command_second_person")),
    )
    op.create_index("ix_meter_command_meter_id", "meter_command", ["meter_id"])
    op.create_index(
        "uq_meter_command_open",
        "meter_command",
        ["meter_id"],
        unique=True,
        postgresql_where=sa.text(OPEN_COMMAND),
    )
    op.create_index(
        "ix_meter_command_due",
        "meter_command",
        ["bus_id", "due_at"],
        postgresql_where=sa.text("state IN ('approved', 'sent', 'acknowledged')"),
    )


def downgrade() -> None:
    for table in ("meter_command", "reading_run_item", "reading_run"):
        op.drop_table(table)
