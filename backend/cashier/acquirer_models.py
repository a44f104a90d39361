"""Card acquirers (收单机构): what they say they settle of the counter's card payments."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from backend.base.db import Base, BigId, Day, Fen, Instant, ref


class Acquirer(Base):
    """Whoever settles card payments; `code` is what its terminals name as their acquirer."""

    __tablename__ = "acquirer"

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    format: Mapped[str]
    since: Mapped[Day]  # from this day on each finance day is proven with it
    active: Mapped[bool] = mapped_column(server_default=sa.true())


class Settlement(Base):
    """A settlement file of an acquirer, kept."""

    __tablename__ = "acquirer_settlement"
    __table_args__ = (sa.UniqueConstraint("acquirer_id", "number"),)

    id: Mapped[BigId]
    acquirer_id: Mapped[int] = ref("acquirer", index=False)
    number: Mapped[str]
    day: Mapped[Day]
    name: Mapped[str]
    sha256: Mapped[str]
    file: Mapped[bytes] = mapped_column(pg.BYTEA)
    received_at: Mapped[Instant]
    received_by: Mapped[int] = ref("staff", index=False)
    rows: Mapped[int]


class SettlementRow(Base):
    """One card payment as the acquirer has it; `payment_id` is ours, once found and posted."""

    __tablename__ = "acquirer_row"

    settlement_id: Mapped[int] = ref("acquirer_settlement", primary=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    acquirer_id: Mapped[int] = ref("acquirer", index=False)
    terminal_no: Mapped[str]
    reference: Mapped[str]
    traded_on: Mapped[date] = mapped_column(sa.Date, index=True)
    amount_fen: Mapped[Fen]
    fee_fen: Mapped[Fen]
    payment_id: Mapped[int | None] = mapped_column(
        sa.BigInteger, sa.ForeignKey("counter_payment.id"), unique=True
    )
