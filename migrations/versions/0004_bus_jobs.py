"""Work on a whole bus; a bus's state and signal; meters' clocks; refused frames explained."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime(timezone=True)
OPEN_JOB = "state IN ('queued', 'running')"


def upgrade() -> None:
    _jobs()
    _buses()
    _meters()
    _refused()


def _jobs() -> None:
    op.create_table(
        "bus_job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("bus_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parameters", pg.JSONB(), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("result", pg.JSONB(), server_default="{}", nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("asked_by", sa.BigInteger()),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("deadline_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("lease", sa.Text()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["bus_id"], ["bus.id"], name="fk_bus_job_bus_id"),
        sa.ForeignKeyConstraint(["asked_by"], ["staff.id"], name="fk_bus_job_asked_by"),
        sa.PrimaryKeyConstraint("id", name="pk_bus_job"),
        sa.CheckConstraint(
            "kind IN ('search', 'clock', 'download', 'read_back')", name=op.f("ck_bus_job_kind")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'expired')",
            name=op.f("ck_bus_job_state"),
        ),
    )
    op.create_index("ix_bus_job_bus_id", "bus_job", ["bus_id"])
    op.create_index("ix_bus_job_asked_at", "bus_job", ["asked_at"])
    op.create_index(
        "uq_bus_job_open",
        "bus_job",
        ["bus_id", "kind"],
        unique=True,
        postgresql_where=sa.text(OPEN_JOB),
    )
    op.create_index(
        "ix_bus_job_due", "bus_job", ["bus_id", "due_at"], postgresql_where=sa.text(OPEN_JOB)
    )


def _buses() -> None:
    op.add_column("bus", sa.Column("state_since", MOMENT))
    op.add_column("bus", sa.Column("cycle", pg.JSONB(), server_default="{}", nullable=False))
    op.add_column("bus", sa.Column("signal_dbm", sa.Integer()))
    op.add_column("bus", sa.Column("signal_at", MOMENT))
    op.execute("UPDATE bus SET state = 'idle' WHERE state = 'partly_silent' OR state = 'reading'")
    op.create_check_constraint(
        op.f("ck_bus_state"), "bus", "state IN ('idle', 'reading', 'overload', 'no_load', 'silent')"
    )


def _meters() -> None:
    op.add_column("meter_state", sa.Column("clock_drift_s", sa.Integer()))
    op.add_column("meter_state", sa.Column("clock_at", MOMENT))
    op.add_column("meter_state", sa.Column("signal_dbm", sa.Integer()))
    op.add_column("meter_state", sa.Column("snr_ddb", sa.Integer()))
    op.add_column("meter_state", sa.Column("signal_at", MOMENT))


def _refused() -> None:
    op.add_column("refused_frame", sa.Column("meter_id", sa.BigInteger()))
    op.add_column("refused_frame", sa.Column("protocol", sa.Text()))
    op.add_column(
        "refused_frame", sa.Column("explained", pg.JSONB(), server_default="[]", nullable=False)
    )
    op.create_foreign_key(
        "fk_refused_frame_meter_id", "refused_frame", "meter", ["meter_id"], ["id"]
    )
    op.create_table(
        "refused_count",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("bus_id", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "code", "bus_id", name="pk_refused_count"),
    )


def downgrade() -> None:
    op.drop_table("refused_count")
    op.drop_constraint("fk_refused_frame_meter_id", "refused_frame")
    for column in ("explained", "protocol", "meter_id"):
        op.drop_column("refused_frame", column)
    for column in ("signal_at", "snr_ddb", "signal_dbm", "clock_at", "clock_drift_s"):
        op.drop_column("meter_state", column)
    op.drop_constraint(op.f("ck_bus_state"), "bus")
    for column in ("signal_at", "signal_dbm", "cycle", "state_since"):
        op.drop_column("bus", column)
    op.drop_table("bus_job")
