"""Tariffs as versioned data, bills and their lines."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, BigId, Created, Day, Fen, Json, ref


class Tariff(Base):
    """One version of one price: `params` are decimal strings, read by billing.rules."""

    __tablename__ = "tariff"
    __table_args__ = (sa.UniqueConstraint("utility", "customer_class", "effective_from"),)

    id: Mapped[BigId]
    code: Mapped[str]
    name: Mapped[str]
    utility: Mapped[str]  # heat, water, gas, electricity
    customer_class: Mapped[str]
    kind: Mapped[str]  # two_part, area, flat, components
    params: Mapped[Json]
    effective_from: Mapped[Day]
    effective_to: Mapped[date | None]


class Bill(Base):
    """What one household owes for one utility and period.

    Issued once (`business_key`), never edited: `paid_fen` follows the ledger, and a correction
    is a reversal and a new bill.
    """

    __tablename__ = "bill"
    __table_args__ = (
        sa.CheckConstraint("paid_fen >= 0 AND paid_fen <= amount_fen", name="paid_within"),
        sa.Index("ix_bill_household_issued", "household_id", "issued_at", "id"),
        sa.Index("ix_bill_open_due", "due_on", postgresql_where=sa.text("state = 'issued'")),
    )

    id: Mapped[BigId]
    bill_no: Mapped[str] = mapped_column(unique=True)
    business_key: Mapped[str] = mapped_column(unique=True)
    household_id: Mapped[int] = ref("household", index=False)
    utility: Mapped[str]
    period_from: Mapped[Day]
    period_to: Mapped[Day]
    amount_fen: Mapped[Fen]
    paid_fen: Mapped[Fen] = mapped_column(server_default="0")
    state: Mapped[str] = mapped_column(server_default="issued")  # issued, paid, reversed
    due_on: Mapped[Day]
    issued_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]
    tariff_id: Mapped[int] = ref("tariff")
    run_id: Mapped[int | None] = ref("allocation_run", nullable=True)
    basis: Mapped[Json]  # reading ids and registers the bill was made from
    created_at: Mapped[Created]

    lines: Mapped[list[BillLine]] = relationship(back_populates="bill", order_by="BillLine.seq")
    tariff: Mapped[Tariff] = relationship()


class BillLine(Base):
    """One priced line, with the sentence that lets a resident check it by hand."""

    __tablename__ = "bill_line"

    bill_id: Mapped[int] = ref("bill", primary=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]
    title: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(sa.Numeric(24, 10))
    unit: Mapped[str]
    price: Mapped[Decimal] = mapped_column(sa.Numeric(18, 8))
    amount_fen: Mapped[Fen]
    explanation: Mapped[str]

    bill: Mapped[Bill] = relationship(back_populates="lines")
