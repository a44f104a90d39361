"""The double-entry journal.  Nothing else moves money.

Debits are positive, credits negative, and every entry adds up to zero: a deferred constraint
trigger holds that at commit, and further triggers refuse UPDATE and DELETE (migrations/).
"""

from __future__ import annotations

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
