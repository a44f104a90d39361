"""Bank collection (银行代扣): mandates, batches, their lines, the bank's results."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from backend.base.db import Base, BigId, Day, Fen, Instant, Json, ref


class CollectingBank(Base):
    """A bank that collects for us: in which format it speaks, where its money arrives."""

    __tablename__ = "collecting_bank"

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    format: Mapped[str]  # a name of payments.flat_format.formats
    merchant: Mapped[str]
    fee_per_line_fen: Mapped[Fen] = mapped_column(server_default="0")  # kept from what it pays out
    active: Mapped[bool] = mapped_column(server_default=sa.true())


class Mandate(Base):
    """A household's agreement (代扣签约) that a bank may take its bills from an account.

    Card and holder are sealed; `card_tail` is what may be shown.  One standing a household.
    """

    __tablename__ = "mandate"
    __table_args__ = (
        sa.UniqueConstraint("bank_id", "contract_no"),
        sa.Index(
            "uq_mandate_standing",
            "household_id",
            unique=True,
            postgresql_where=sa.text("cancelled_at IS NULL"),
        ),
        sa.CheckConstraint("valid_to >= valid_from", name="not_empty"),
        sa.CheckConstraint(
            "(cancelled_at IS NULL) = (cancelled_by IS NULL)", name="cancelled_whole"
        ),
    )

    id: Mapped[BigId]
    household_id: Mapped[int] = ref("household")
    bank_id: Mapped[int] = ref("collecting_bank")
    contract_no: Mapped[str]
    holder_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    card_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    card_tail: Mapped[str]
    valid_from: Mapped[Day]
    valid_to: Mapped[date | None]  # the last day it holds
    signed_by: Mapped[int] = ref("staff")
    signed_at: Mapped[Instant]
    cancelled_by: Mapped[int | None] = ref("staff", nullable=True)
    cancelled_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]


class CollectionBatch(Base):
    """What one bank is asked to take on one day.

    drafted -> approved (by another person) -> exporting -> exported -> closed; or cancelled.
    The file is sealed, for it has card numbers; `sha256` is of its bytes in clear.
    """

    __tablename__ = "collection_batch"
    __table_args__ = (
        sa.CheckConstraint("approved_by <> drafted_by", name="second_person"),
        sa.CheckConstraint(
            "state IN ('drafted', 'approved', 'exporting', 'exported', 'closed', 'cancelled')",
            name="state",
        ),
    )

    id: Mapped[BigId]
    batch_no: Mapped[str] = mapped_column(unique=True)
    bank_id: Mapped[int] = ref("collecting_bank")
    day: Mapped[Day]
    state: Mapped[str] = mapped_column(server_default="drafted")
    chosen: Mapped[Json]  # how its bills were chosen
    drafted_by: Mapped[int] = ref("staff")
    drafted_at: Mapped[Instant]
    approved_by: Mapped[int | None] = ref("staff", nullable=True)
    approved_at: Mapped[datetime | None]
    exported_by: Mapped[int | None] = ref("staff", nullable=True)
    exported_at: Mapped[datetime | None]
    file_name: Mapped[str | None]
    file_sealed: Mapped[bytes | None] = mapped_column(pg.BYTEA)
    sha256: Mapped[str | None]
    ended_by: Mapped[int | None] = ref("staff", nullable=True)
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]


class CollectionLine(Base):
    """One deduction of a batch, of one payment order.

    waiting -> success | failed | unknown; withdrawn: left out before the file was written.  What
    the bank did not know (unknown) may still become either.
    """

    __tablename__ = "collection_line"
    __table_args__ = (
        sa.CheckConstraint(
            "state IN ('waiting', 'success', 'failed', 'unknown', 'withdrawn')", name="state"
        ),
        sa.Index("ix_collection_line_batch_state", "batch_id", "state"),
    )

    batch_id: Mapped[int] = ref("collection_batch", primary=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("payment_order.id"), unique=True
    )
    order_no: Mapped[str] = mapped_column(unique=True)  # the order's out_trade_no
    mandate_id: Mapped[int] = ref("mandate")
    household_id: Mapped[int] = ref("household")
    amount_fen: Mapped[Fen]
    state: Mapped[str] = mapped_column(server_default="waiting")
    code: Mapped[str | None]  # the bank's
    reason: Mapped[str | None]  # in plain Chinese
    serial: Mapped[str | None]
    settled_on: Mapped[date | None]
    result_id: Mapped[int | None] = ref("collection_result", nullable=True)


class CollectionResult(Base):
    """A result file as it came: taken whole, or refused with every reason; never edited."""

    __tablename__ = "collection_result"
    __table_args__ = (
        sa.Index(
            "uq_collection_result_taken",
            "bank_id",
            "sha256",
            unique=True,
            postgresql_where=sa.text("outcome = 'taken'"),
        ),
    )

    id: Mapped[BigId]
    bank_id: Mapped[int] = ref("collecting_bank")
    batch_id: Mapped[int | None] = ref("collection_batch", nullable=True)
    name: Mapped[str]
    sha256: Mapped[str]
    file_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    received_at: Mapped[Instant]
    received_by: Mapped[int] = ref("staff")
    outcome: Mapped[str]  # taken, refused
    problems: Mapped[Json]  # {"rows": [{line, code, reason}]} of a refused one
    success_count: Mapped[int] = mapped_column(server_default="0")
    success_fen: Mapped[Fen] = mapped_column(server_default="0")
    failed_count: Mapped[int] = mapped_column(server_default="0")
    unknown_count: Mapped[int] = mapped_column(server_default="0")


class BankAccount(Base):
    """An account of the company; its money is the ledger's `bank:<code>`."""

    __tablename__ = "bank_account"

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    account_no: Mapped[str]
    format: Mapped[str]
    since: Mapped[Day]  # from this day on each finance day wants its statement
    active: Mapped[bool] = mapped_column(server_default=sa.true())


class BankStatement(Base):
    """A bank account's movements of one day, the file kept."""

    __tablename__ = "bank_statement"
    __table_args__ = (sa.UniqueConstraint("account_id", "day"),)

    id: Mapped[BigId]
    account_id: Mapped[int] = ref("bank_account", index=False)
    day: Mapped[Day]
    name: Mapped[str]
    sha256: Mapped[str]
    file: Mapped[bytes] = mapped_column(pg.BYTEA)
    received_at: Mapped[Instant]
    received_by: Mapped[int] = ref("staff")
    rows: Mapped[int]


class BankLine(Base):
    """One movement; `matched` says what it was found to be (payout:…, deposit:…), if anything."""

    __tablename__ = "bank_line"
    __table_args__ = (sa.UniqueConstraint("account_id", "serial"),)

    statement_id: Mapped[int] = ref("bank_statement", primary=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = ref("bank_account", index=False)
    booked_on: Mapped[Day]
    serial: Mapped[str]
    direction: Mapped[str]  # credit: came to us; debit: went
    amount_fen: Mapped[Fen]
    counterparty: Mapped[str | None]
    summary: Mapped[str | None]
    matched: Mapped[str | None] = mapped_column(index=True)
    fee_fen: Mapped[Fen] = mapped_column(server_default="0")
