"""The double-entry journal.  Nothing else moves money.

Debits are positive, credits negative, and every entry adds up to zero: a deferred constraint
trigger holds that at commit, and further triggers refuse UPDATE and DELETE (migrations/).
"""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, Big, BigId, Created, Day, Fen, Instant, Json, ref


class Account(Base):
    """An account by code, e.g. `receivable:heat:17`; kind is its side of the balance sheet."""

    __tablename__ = "account"

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]  # asset, liability, income, expense
    household_id: Mapped[int | None] = ref("household", nullable=True)


class Balance(Base):
    """An account's running total, moved in the transaction that posts."""

    __tablename__ = "balance"

    account_id: Mapped[int] = ref("account", primary=True)
    balance_fen: Mapped[Fen] = mapped_column(server_default="0")


class Entry(Base):
    """One event, once: `business_key` is unique, so posting twice is posting once."""

    __tablename__ = "entry"

    id: Mapped[BigId]
    business_key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    at: Mapped[Instant]
    day: Mapped[Day] = mapped_column(index=True)
    memo: Mapped[str] = mapped_column(server_default="")
    detail: Mapped[Json]
    reverses_id: Mapped[int | None] = ref("entry", nullable=True)
    # The transaction that made it: a trigger lets postings join in that transaction only.
    xact: Mapped[Big] = mapped_column(server_default=sa.text("pg_current_xact_id()::text::bigint"))
    created_at: Mapped[Created]

    postings: Mapped[list[Posting]] = relationship(back_populates="entry", order_by="Posting.id")


class Posting(Base):
    """One account's part of an entry; debit > 0, credit < 0."""

    __tablename__ = "posting"
    __table_args__ = (sa.CheckConstraint("amount_fen <> 0", name="not_zero"),)

    id: Mapped[BigId]
    entry_id: Mapped[int] = ref("entry")
    account_id: Mapped[int] = ref("account")
    amount_fen: Mapped[Fen]

    entry: Mapped[Entry] = relationship(back_populates="postings")
    account: Mapped[Account] = relationship()


class LedgerMonth(Base):
    """A month of the books: once closed, a trigger lets no entry of its days in.

    `sha256` is of its trial balance, a line an account (ledger.periods.line).  Asked open again by
    one person and let open by another; `runs` counts how often it was closed.
    """

    __tablename__ = "ledger_month"
    __table_args__ = (
        sa.CheckConstraint("state IN ('closed', 'reopened')", name="state"),
        sa.CheckConstraint("reopened_by <> reopen_asked_by", name="second_person"),
    )

    month: Mapped[date] = mapped_column(primary_key=True)  # its first day
    state: Mapped[str]
    runs: Mapped[int] = mapped_column(server_default="1")
    closed_at: Mapped[Instant]
    closed_by: Mapped[int] = ref("staff")
    reason: Mapped[str | None]  # where a day of it was not closed
    entries: Mapped[Big]
    debit_fen: Mapped[Big]
    sha256: Mapped[str]
    reopen_asked_by: Mapped[int | None] = ref("staff", nullable=True)
    reopen_asked_at: Mapped[datetime | None]
    reopen_reason: Mapped[str | None]
    reopened_by: Mapped[int | None] = ref("staff", nullable=True)
    reopened_at: Mapped[datetime | None]


class MonthBalance(Base):
    """An account in a closed month: what was carried over, what moved, what is carried on."""

    __tablename__ = "month_balance"
    __table_args__ = (
        sa.CheckConstraint("opening_fen + debit_fen - credit_fen = closing_fen", name="adds_up"),
    )

    month: Mapped[date] = mapped_column(
        sa.Date, sa.ForeignKey("ledger_month.month"), primary_key=True
    )
    account_id: Mapped[int] = ref("account", primary=True)
    opening_fen: Mapped[Fen]
    debit_fen: Mapped[Fen]
    credit_fen: Mapped[Fen]
    closing_fen: Mapped[Fen]
