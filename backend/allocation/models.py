"""How a building shares its heat, every run that did, and what settles and identifies buildings."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, Big, BigId, Created, Day, Instant, Json, Tags, ref


class AllocationRule(Base):
    """The method a building's heat is shared by over [effective_from, effective_to).

    Two versions of one building never overlap: the database refuses it.
    """

    __tablename__ = "allocation_rule"
    __table_args__ = (
        sa.UniqueConstraint("building_id", "effective_from"),
        sa.CheckConstraint("effective_from < effective_to", name="not_empty"),
        ExcludeConstraint(
            (sa.text("int8range(building_id, building_id, '[]')"), "&&"),
            (sa.text("daterange(effective_from, effective_to)"), "&&"),
            name="ex_allocation_rule_overlap",
            using="gist",
        ),
    )

    id: Mapped[BigId]
    building_id: Mapped[int] = ref("building", index=False)
    effective_from: Mapped[Day]
    effective_to: Mapped[date | None]  # None: until further notice
    method: Mapped[str]
    options: Mapped[Json]


class AllocationRun(Base):
    """One sharing of one building's heat over [period_from, period_to), repeatable.

    `purpose` is daily (a provisional day, replaced freely) or billing (locked once billed: the
    database refuses every change, and a correction is a new run which names this one).
    """

    __tablename__ = "allocation_run"
    __table_args__ = (
        sa.Index(
            "uq_allocation_run_live",
            "building_id",
            "purpose",
            "period_from",
            "period_to",
            unique=True,
            postgresql_where=sa.text("superseded_by IS NULL"),
        ),
    )

    id: Mapped[BigId]
    building_id: Mapped[int] = ref("building", index=False)
    purpose: Mapped[str]
    period_from: Mapped[Day]
    period_to: Mapped[Day]
    method: Mapped[str]
    total_wh: Mapped[Big]
    parameters: Mapped[Json]
    inputs: Mapped[Json]  # reading ids of the building meter, series days used
    building_flag: Mapped[str | None]
    created_at: Mapped[Created]
    locked_at: Mapped[datetime | None]
    superseded_by: Mapped[int | None] = mapped_column(sa.BigInteger)
    corrects_id: Mapped[int | None] = mapped_column(
        sa.BigInteger, sa.ForeignKey("allocation_run.id")
    )
    reason: Mapped[str | None]  # why it corrects that one
    result_sha256: Mapped[str | None]  # of the result's canonical bytes; see service.replay

    shares: Mapped[list[AllocationShare]] = relationship(back_populates="run")


class AllocationShare(Base):
    """One household's part of a run."""

    __tablename__ = "allocation_share"

    run_id: Mapped[int] = ref("allocation_run", primary=True)
    household_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("household.id"), primary_key=True, index=True
    )
    period_to: Mapped[date]
    energy_wh: Mapped[Big]
    weight: Mapped[float] = mapped_column(sa.Double)
    share: Mapped[Decimal] = mapped_column(sa.Numeric(24, 20))
    coverage: Mapped[Decimal | None] = mapped_column(sa.Numeric(7, 6))
    flags: Mapped[Tags]
    basis: Mapped[Json]  # what was measured of this household, from which all can be run again

    run: Mapped[AllocationRun] = relationship(back_populates="shares")


class Settlement(Base):
    """Work on many buildings for one period, building by building, each exactly once.

    `kind`: heat (shared out), advance (the season's fee by area, due on `due_on`), season (its
    account settled).
    """

    __tablename__ = "settlement"
    __table_args__ = (
        sa.CheckConstraint("period_from < period_to", name="not_empty"),
        sa.CheckConstraint("state IN ('running', 'done', 'cancelled')", name="state"),
        sa.CheckConstraint("kind IN ('heat', 'advance', 'season')", name="kind"),
        sa.CheckConstraint("(kind = 'advance') = (due_on IS NOT NULL)", name="due_on"),
    )

    id: Mapped[BigId]
    kind: Mapped[str] = mapped_column(server_default="heat")
    region_id: Mapped[int | None] = ref("region", nullable=True, index=False)
    title: Mapped[str]
    period_from: Mapped[Day]
    period_to: Mapped[Day]
    due_on: Mapped[date | None]
    state: Mapped[str] = mapped_column(server_default="running")
    asked_by: Mapped[int | None] = ref("staff", nullable=True, index=False)
    created_at: Mapped[Instant]
    ended_at: Mapped[datetime | None]


class SettlementItem(Base):
    """One building of a settlement: waiting, done, refused (and why), cancelled.

    Done, heat has its run; a season has its `outcome` (see billing.seasons.Outcome).
    """

    __tablename__ = "settlement_item"
    __table_args__ = (
        sa.CheckConstraint("state IN ('waiting', 'done', 'refused', 'cancelled')", name="state"),
    )

    settlement_id: Mapped[int] = ref("settlement", primary=True)
    building_id: Mapped[int] = ref("building", primary=True)
    state: Mapped[str] = mapped_column(server_default="waiting")
    run_id: Mapped[int | None] = ref("allocation_run", nullable=True, index=False)
    code: Mapped[str | None]
    detail: Mapped[str | None]
    outcome: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    ended_at: Mapped[datetime | None]


class Calibration(Base):
    """B and gamma of a building's flats as found from a window; used once a second person agrees.

    `report` holds the fit of every flat; `state` is proposed, refused (the data cannot carry it),
    approved or rejected.
    """

    __tablename__ = "calibration"
    __table_args__ = (
        sa.CheckConstraint("approved_by <> asked_by", name="second_person"),
        sa.CheckConstraint(
            "state IN ('proposed', 'refused', 'approved', 'rejected')", name="state"
        ),
        sa.Index(
            "uq_calibration_open",
            "building_id",
            unique=True,
            postgresql_where=sa.text("state = 'proposed'"),
        ),
    )

    id: Mapped[BigId]
    building_id: Mapped[int] = ref("building")
    window_from: Mapped[Day]
    window_to: Mapped[Day]
    state: Mapped[str]
    report: Mapped[Json]
    asked_by: Mapped[int] = ref("staff", index=False)
    asked_at: Mapped[Instant]
    approved_by: Mapped[int | None] = ref("staff", nullable=True, index=False)
    decided_at: Mapped[datetime | None]
    effective_from: Mapped[date | None]


class HeatSummary(Base):
    """A home's heat as its home screen says it, up to `as_of`, the last day known.

    `month_wh` with `before_wh`, and `year_wh` with `last_wh`, are the same number of whole days of
    two months and of two seasons; None where a day of either is not known.
    """

    __tablename__ = "heat_summary"

    household_id: Mapped[int] = ref("household", primary=True)
    as_of: Mapped[Day]
    season_from: Mapped[Day]
    season_wh: Mapped[Big]
    month_wh: Mapped[int | None] = mapped_column(sa.BigInteger)
    before_wh: Mapped[int | None] = mapped_column(sa.BigInteger)
    year_wh: Mapped[int | None] = mapped_column(sa.BigInteger)
    last_wh: Mapped[int | None] = mapped_column(sa.BigInteger)
    recent_wh: Mapped[Big]  # of the last SIMILAR_DAYS
    others: Mapped[int]  # homes of the building beside this one that were measured as long
    others_wh: Mapped[Big]
    others_dm2: Mapped[Big]
