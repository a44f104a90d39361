"""How a building shares its heat, and every run that did."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, Big, BigId, Created, Day, Json, Tags, ref


class AllocationRule(Base):
    """The method a building's heat is shared by, from a day on."""

    __tablename__ = "allocation_rule"
    __table_args__ = (sa.UniqueConstraint("building_id", "effective_from"),)

    id: Mapped[BigId]
    building_id: Mapped[int] = ref("building", index=False)
    effective_from: Mapped[Day]
    method: Mapped[str]
    options: Mapped[Json]


class AllocationRun(Base):
    """One sharing of one building's heat over [period_from, period_to), repeatable.

    `purpose` is daily (a provisional day, replaced freely) or billing (locked once billed).
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

    run: Mapped[AllocationRun] = relationship(back_populates="shares")
