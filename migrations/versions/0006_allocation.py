"""Allocation: rules that never overlap, radiators, locked runs, settlements, calibrations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger()
MOMENT = sa.DateTime(timezone=True)
JSON = pg.JSONB()

NO_OVERLAP = """
ALTER TABLE allocation_rule ADD CONSTRAINT ex_allocation_rule_overlap EXCLUDE USING gist (
    int8range(building_id, building_id, '[]') WITH &&,
    daterange(effective_from, effective_to) WITH &&)
"""

# Until now the latest rule stood: each version ends where the next begins.
CLOSE_RULES = """
UPDATE allocation_rule r SET effective_to = following.day
  FROM (SELECT id, lead(effective_from) OVER (
               PARTITION BY building_id ORDER BY effective_from) AS day
          FROM allocation_rule) following
 WHERE following.id = r.id
"""

# A billed run may only be named by the one that corrects it; its shares stay as they are.
RUN_LOCKED = """
CREATE FUNCTION nuan_run_locked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.locked_at IS NULL THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.superseded_by IS NULL
       AND to_jsonb(NEW) - 'superseded_by' = to_jsonb(OLD) - 'superseded_by' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'allocation run % is billed: correct it with a new run', OLD.id
        USING ERRCODE = 'restrict_violation';
END $$
"""

SHARE_LOCKED = """
CREATE FUNCTION nuan_share_locked() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    run bigint := CASE TG_OP WHEN 'INSERT' THEN NEW.run_id ELSE OLD.run_id END;
BEGIN
    IF EXISTS (SELECT 1 FROM allocation_run WHERE id = run AND locked_at IS NOT NULL) THEN
        RAISE EXCEPTION 'allocation run % is billed: correct it with a new run', run
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$
"""


def upgrade() -> None:
    _rules()
    _radiators()
    _runs()
    _settlements()
    _calibrations()
    op.add_column("closed_day", sa.Column("reopened_at", MOMENT))


def _rules() -> None:
    op.add_column("allocation_rule", sa.Column("effective_to", sa.Date()))
    op.execute(CLOSE_RULES)
    op.create_check_constraint("not_empty", "allocation_rule", "effective_from < effective_to")
    op.execute(NO_OVERLAP)


def _id() -> sa.Column[int]:
    return sa.Column("id", BIG, sa.Identity(always=False), primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, BIG, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def _factor(name: str, precision: int, scale: int, default: str) -> sa.Column[object]:
    kind = sa.Numeric(precision, scale)
    return sa.Column(name, kind, server_default=default, nullable=False)


def _radiators() -> None:
    op.create_table(
        "household_factor",
        _id(),
        _ref("household_id", "household"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("value", sa.Numeric(16, 8), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.UniqueConstraint("household_id", "name", "effective_from"),
    )
    op.create_table(
        "radiator",
        _id(),
        _ref("household_id", "household"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rated_w", sa.Numeric(12, 3), nullable=False),
        sa.UniqueConstraint("household_id", "name"),
        sa.CheckConstraint("rated_w > 0", name="rated_positive"),
    )
    op.create_table(
        "radiator_device",
        sa.Column("meter_id", BIG, sa.ForeignKey("meter.id"), primary_key=True),
        _ref("radiator_id", "radiator"),
        _factor("kq", 12, 6, "1"),
        _factor("kc", 12, 6, "1"),
        _factor("kt", 12, 6, "1"),
        _factor("exponent", 8, 6, "1.15"),
        _factor("least_excess_k", 8, 4, "0"),
        _factor("per_count", 12, 6, "1"),
        _factor("cold_evaporation", 12, 6, "0"),
        sa.CheckConstraint("kq >= 0 AND kc >= 0 AND kt >= 0 AND per_count > 0", name="factors"),
    )
    op.create_index("ix_radiator_device_radiator_id", "radiator_device", ["radiator_id"])


def _runs() -> None:
    op.add_column("allocation_run", _ref("corrects_id", "allocation_run", nullable=True))
    op.add_column("allocation_run", sa.Column("reason", sa.Text()))
    op.add_column("allocation_run", sa.Column("result_sha256", sa.Text()))
    op.add_column("allocation_share", sa.Column("basis", JSON, server_default="{}", nullable=False))
    op.execute(RUN_LOCKED)
    op.execute(SHARE_LOCKED)
    op.execute(
        "CREATE TRIGGER allocation_run_locked BEFORE UPDATE OR DELETE ON allocation_run "
        "FOR EACH ROW EXECUTE FUNCTION nuan_run_locked()"
    )
    op.execute(
        "CREATE TRIGGER allocation_share_locked BEFORE INSERT OR UPDATE OR DELETE "
        "ON allocation_share FOR EACH ROW EXECUTE FUNCTION nuan_share_locked()"
    )


def _settlements() -> None:
    op.create_table(
        "settlement",
        _id(),
        _ref("region_id", "region", nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("period_from", sa.Date(), nullable=False),
        sa.Column("period_to", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        _ref("asked_by", "staff", nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.CheckConstraint("period_from < period_to", name="not_empty"),
        sa.CheckConstraint("state IN ('running', 'done', 'cancelled')", name="state"),
    )
    op.create_table(
        "settlement_item",
        sa.Column("settlement_id", BIG, sa.ForeignKey("settlement.id"), primary_key=True),
        sa.Column("building_id", BIG, sa.ForeignKey("building.id"), primary_key=True),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        _ref("run_id", "allocation_run", nullable=True),
        sa.Column("code", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("ended_at", MOMENT),
        sa.CheckConstraint("state IN ('waiting', 'done', 'refused', 'cancelled')", name="state"),
    )


def _calibrations() -> None:
    op.create_table(
        "calibration",
        _id(),
        _ref("building_id", "building"),
        sa.Column("window_from", sa.Date(), nullable=False),
        sa.Column("window_to", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("report", JSON, server_default="{}", nullable=False),
        _ref("asked_by", "staff"),
        sa.Column("asked_at", MOMENT, nullable=False),
        _ref("approved_by", "staff", nullable=True),
        sa.Column("decided_at", MOMENT),
        sa.Column("effective_from", sa.Date()),
        sa.CheckConstraint("approved_by <> asked_by", name="second_person"),
        sa.CheckConstraint(
            "state IN ('proposed', 'refused', 'approved', 'rejected')", name="state"
        ),
    )
    op.create_index("ix_calibration_building_id", "calibration", ["building_id"])
    op.create_index(
        "uq_calibration_open",
        "calibration",
        ["building_id"],
        unique=True,
        postgresql_where=sa.text("state = 'proposed'"),
    )
