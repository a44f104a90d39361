"""Vouchers for the ERP (凭证): which of its accounts ours are, and what was exported."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.base.db import Base, BigId, Instant, Json, ref


class VoucherAccount(Base):
    """Accounts of ours that begin with `prefix` are this one in the ERP; the longest wins."""

    __tablename__ = "voucher_account"

    prefix: Mapped[str] = mapped_column(primary_key=True)
    erp_code: Mapped[str]
    erp_name: Mapped[str]
    aux: Mapped[str] = mapped_column(server_default="")  # auxiliary dimensions
    set_by: Mapped[int | None] = ref("staff", nullable=True, index=False)
    set_at: Mapped[Instant]


class VoucherRun(Base):
    """A closed month's vouchers in one format, as first exported; the same bytes ever after.

    `fixed` is what they were made by: the ERP's accounts and the company's name at that moment.
    """

    __tablename__ = "voucher_run"
    __table_args__ = (sa.UniqueConstraint("month", "month_run", "format"),)

    id: Mapped[BigId]
    month: Mapped[date] = mapped_column(sa.ForeignKey("ledger_month.month"))
    month_run: Mapped[int]  # ledger_month.runs when it was made: a month closed again is another
    format: Mapped[str]
    sha256: Mapped[str]
    vouchers: Mapped[int]
    lines: Mapped[int]
    fixed: Mapped[Json]
    exports: Mapped[int] = mapped_column(server_default="1")
    made_at: Mapped[Instant]
    made_by: Mapped[int] = ref("staff", index=False)
