"""Payment orders, their notices, statements, the proof of the day; the counter's shifts."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, Big, BigId, Created, Day, Fen, Instant, Json, ref


class PaymentOrder(Base):
    """One attempt to pay some bills, or to top a balance up, over one channel.

    created -> paying -> paid | closed; `parked` waits for a person (wrong amount).  `topup_into`
    names what is topped up: wallet, or the utility of a prepaid account; NULL where bills are
    paid.  Without a household: money of an unknown order a person has taken in.
    """

    __tablename__ = "payment_order"
    __table_args__ = (
        sa.Index(
            "uq_payment_order_open_topup",
            "household_id",
            "topup_into",
            "channel",
            "resident_id",
            unique=True,
            postgresql_where=sa.text("topup_into IS NOT NULL AND state IN ('created', 'paying')"),
        ),
        # Orders are paid about in the order they were written: a day's are found by a few pages.
        sa.Index("ix_payment_order_paid_at", "paid_at", postgresql_using="brin"),
    )

    id: Mapped[BigId]
    out_trade_no: Mapped[str] = mapped_column(unique=True)
    channel: Mapped[str]
    way: Mapped[str] = mapped_column(server_default="mini")  # payments.channel.PayWay
    household_id: Mapped[int | None] = ref("household", nullable=True)
    resident_id: Mapped[int | None] = ref("resident", nullable=True)
    topup_into: Mapped[str | None]
    amount_fen: Mapped[Fen]
    state: Mapped[str] = mapped_column(server_default="created")
    prepay_id: Mapped[str | None]
    transaction_id: Mapped[str | None]
    received_fen: Mapped[int | None] = mapped_column(sa.BigInteger)  # what the channel says came
    created_at: Mapped[Instant]
    expires_at: Mapped[Instant]
    paid_at: Mapped[datetime | None]
    note: Mapped[str | None]

    items: Mapped[list[OrderItem]] = relationship(back_populates="order")


class OrderItem(Base):
    """A bill paid by an order; at most one open order for a bill and channel."""

    __tablename__ = "order_item"
    __table_args__ = (
        sa.Index(
            "uq_order_item_open",
            "bill_id",
            "channel",
            unique=True,
            postgresql_where=sa.text("open"),
        ),
    )

    order_id: Mapped[int] = ref("payment_order", primary=True)
    bill_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("bill.id"), primary_key=True, index=True
    )
    channel: Mapped[str]
    amount_fen: Mapped[Fen]
    open: Mapped[bool] = mapped_column(server_default=sa.true())

    order: Mapped[PaymentOrder] = relationship(back_populates="items")


class Refund(Base):
    """Money given back over the channel it came by, always under the same number.

    created -> processing -> done; failed, closed and abnormal wait for a person, who sends it
    again, pays it out another way (`paid_out`, by `document`) or takes it back (`withdrawn`).
    `source` is where the money was taken from (cashier.sources) and goes back to if withdrawn.
    """

    __tablename__ = "refund"
    __table_args__ = (
        sa.CheckConstraint("approved_by <> asked_by", name="second_person"),
        sa.CheckConstraint("(state = 'paid_out') = (document IS NOT NULL)", name="document"),
    )

    id: Mapped[BigId]
    out_refund_no: Mapped[str] = mapped_column(unique=True)
    order_id: Mapped[int] = ref("payment_order")
    business_key: Mapped[str] = mapped_column(unique=True)
    amount_fen: Mapped[Fen]
    state: Mapped[str] = mapped_column(server_default="created")
    reason: Mapped[str]
    refund_id: Mapped[str | None]
    created_at: Mapped[Instant]
    done_at: Mapped[datetime | None]
    source: Mapped[str] = mapped_column(server_default="suspense")
    bill_id: Mapped[int | None] = ref("bill", nullable=True)
    case_id: Mapped[int | None] = ref("money_case", nullable=True)
    asked_by: Mapped[int | None] = ref("staff", nullable=True, index=False)
    approved_by: Mapped[int | None] = ref("staff", nullable=True, index=False)
    said: Mapped[str | None]  # the channel's last word where it did not go through
    document: Mapped[str | None]


class RawNotice(Base):
    """A channel's notice exactly as it came, stored before anything else is done."""

    __tablename__ = "raw_notice"
    __table_args__ = (
        sa.Index(
            "ix_raw_notice_rejected",
            "channel",
            "received_at",
            postgresql_where=sa.text("outcome = 'rejected'"),
        ),
    )

    id: Mapped[BigId]
    channel: Mapped[str]
    received_at: Mapped[Instant] = mapped_column(index=True)
    headers: Mapped[Json]
    body: Mapped[bytes] = mapped_column(pg.BYTEA)
    outcome: Mapped[str] = mapped_column(server_default="received")
    detail: Mapped[str | None]
    out_trade_no: Mapped[str | None] = mapped_column(index=True)

    # As the index says it: a value sent apart from the statement would not be seen to fit it.
    is_rejected = sa.text("outcome = 'rejected'")


class IdempotencyKey(Base):
    """The first answer to a POST that moves money, given again to the same key and body."""

    __tablename__ = "idempotency_key"
    __table_args__ = (
        sa.Index("ix_idempotency_key_created_at", "created_at", postgresql_using="brin"),
    )

    principal: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes] = mapped_column(pg.BYTEA)
    status: Mapped[int | None]
    response: Mapped[Json]
    created_at: Mapped[Created]


class Statement(Base):
    """A channel's statement of one day, the file kept."""

    __tablename__ = "statement"
    __table_args__ = (sa.UniqueConstraint("channel", "day"),)

    id: Mapped[BigId]
    channel: Mapped[str]
    day: Mapped[Day]
    fetched_at: Mapped[Instant]
    sha1: Mapped[str]
    file: Mapped[bytes] = mapped_column(pg.BYTEA, deferred=True)  # tens of megabytes
    rows: Mapped[int]


class StatementLine(Base):
    """One row of a statement; triggers hold them to it, all rows at once (migration 0031)."""

    __tablename__ = "statement_line"

    statement_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]  # payment, refund
    at: Mapped[Instant]
    transaction_id: Mapped[str]
    out_trade_no: Mapped[str] = mapped_column(index=True)
    out_refund_no: Mapped[str | None]
    amount_fen: Mapped[Fen]
    fee_fen: Mapped[Fen]


class Reconciliation(Base):
    """One channel's day: the three sums and whether they agree."""

    __tablename__ = "reconciliation"
    __table_args__ = (sa.UniqueConstraint("channel", "day"),)

    id: Mapped[BigId]
    channel: Mapped[str]
    day: Mapped[Day]
    state: Mapped[str]  # agreed, breaks
    checked_at: Mapped[Instant]
    ledger_fen: Mapped[Big]
    channel_fen: Mapped[Big]
    orders_fen: Mapped[Big]
    fee_fen: Mapped[Big]
    payments: Mapped[int]
    refunds: Mapped[int]


class Break(Base):
    """A difference somebody has to explain; `kind` as in cashier.rules."""

    __tablename__ = "break"
    __table_args__ = (sa.UniqueConstraint("reconciliation_id", "kind", "reference"),)

    id: Mapped[BigId]
    reconciliation_id: Mapped[int] = ref("reconciliation", index=False)
    kind: Mapped[str]
    reference: Mapped[str]  # out_trade_no or out_refund_no
    ours_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    theirs_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    # What the channel has more (+) or less (-) than the ledger, where that is money to be moved.
    gap_fen: Mapped[Fen] = mapped_column(server_default="0")
    suggestion: Mapped[str]
    owner: Mapped[str] = mapped_column(server_default="finance")
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[str | None]


class FinanceDay(Base):
    """A closed finance day; closing over open breaks needs a signed reason."""

    __tablename__ = "finance_day"

    day: Mapped[date] = mapped_column(primary_key=True)
    closed_at: Mapped[Instant]
    closed_by: Mapped[int | None] = ref("staff", nullable=True)
    reason: Mapped[str | None]
    summary: Mapped[Json]


class Drawer(Base):
    """A cash drawer (钱箱) at a business hall; its money is the ledger's `cash:<code>`."""

    __tablename__ = "drawer"

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=sa.true())


class PosTerminal(Base):
    """A card terminal and the bank behind it; what it took is the ledger's `pos:<code>`."""

    __tablename__ = "pos_terminal"

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    acquirer: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=sa.true())


_STILL_OPEN = sa.text("closed_at IS NULL")


class Shift(Base):
    """A cashier at a drawer (班次), from the counted float to the counted close.

    carried_fen: what the ledger said was in the drawer; issued_fen: float brought from the bank;
    opening_/difference_fen: counted less expected (over > 0, short < 0), each posted with a reason.
    `closing`: {counts: {denomination in fen: pieces}, pos: [{terminal, ledger_fen, slips_fen}]}.
    """

    __tablename__ = "shift"
    __table_args__ = (
        sa.Index("uq_shift_open_drawer", "drawer_id", unique=True, postgresql_where=_STILL_OPEN),
        sa.Index("uq_shift_open_cashier", "cashier_id", unique=True, postgresql_where=_STILL_OPEN),
        sa.CheckConstraint("opening_second_by <> cashier_id", name="opening_second"),
        sa.CheckConstraint("second_by <> closed_by", name="second"),
        sa.CheckConstraint(
            "(closed_at IS NULL) = (counted_fen IS NULL)"
            " AND counted_fen - expected_fen = difference_fen"
            " AND left_fen + deposited_fen = counted_fen",
            name="closed_whole",
        ),
    )

    id: Mapped[BigId]
    drawer_id: Mapped[int] = ref("drawer")
    cashier_id: Mapped[int] = ref("staff")
    day: Mapped[Day] = mapped_column(index=True)
    opened_at: Mapped[Instant]
    opening: Mapped[Json]  # {denomination in fen: pieces}
    carried_fen: Mapped[Fen]
    issued_fen: Mapped[Fen]
    opening_difference_fen: Mapped[Fen]
    opening_reason: Mapped[str | None]
    opening_second_by: Mapped[int | None] = ref("staff", nullable=True)
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[int | None] = ref("staff", nullable=True)
    expected_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    counted_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    difference_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    left_fen: Mapped[int | None] = mapped_column(sa.BigInteger)  # handed over in the drawer
    deposited_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    deposit_reference: Mapped[str | None]
    closing: Mapped[Json]
    reason: Mapped[str | None]
    second_by: Mapped[int | None] = ref("staff", nullable=True)


class CounterPayment(Base):
    """Money taken at the counter, posted in the transaction that wrote it; never edited.

    But for `slip_open`: a slip keyed to the wrong household is voided and then keyed to the right
    one.  `client_key` says which tap it came by, so the same one again is the same payment.
    """

    __tablename__ = "counter_payment"
    __table_args__ = (
        sa.CheckConstraint("amount_fen > 0 AND topup_fen >= 0", name="amount"),
        sa.CheckConstraint(
            "CASE method WHEN 'cash' THEN terminal_id IS NULL AND tendered_fen >= amount_fen"
            " WHEN 'pos' THEN terminal_id IS NOT NULL AND reference IS NOT NULL"
            " AND tendered_fen = amount_fen ELSE false END",
            name="method",
        ),
        sa.Index(
            "uq_counter_payment_slip",
            "terminal_id",
            "reference",
            unique=True,
            postgresql_where=sa.text("slip_open AND terminal_id IS NOT NULL"),
        ),
    )

    id: Mapped[BigId]
    receipt_no: Mapped[str] = mapped_column(unique=True)
    client_key: Mapped[str] = mapped_column(unique=True)
    body_hash: Mapped[bytes] = mapped_column(pg.BYTEA)
    shift_id: Mapped[int] = ref("shift")
    household_id: Mapped[int] = ref("household")
    method: Mapped[str]  # cash, pos
    amount_fen: Mapped[Fen]
    topup_fen: Mapped[Fen]  # the part that went into the household's balance
    tendered_fen: Mapped[Fen]
    terminal_id: Mapped[int | None] = ref("pos_terminal", nullable=True, index=False)
    reference: Mapped[str | None]  # the slip's number
    slip_open: Mapped[bool] = mapped_column(server_default=sa.true())  # false once given back
    taken_at: Mapped[Instant]
    day: Mapped[Day] = mapped_column(index=True)

    items: Mapped[list[CounterItem]] = relationship(
        back_populates="payment", order_by="CounterItem.bill_id"
    )


class CounterItem(Base):
    """A bill paid at the counter."""

    __tablename__ = "counter_item"

    payment_id: Mapped[int] = ref("counter_payment", primary=True)
    bill_id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.ForeignKey("bill.id"), primary_key=True, index=True
    )
    amount_fen: Mapped[Fen]

    payment: Mapped[CounterPayment] = relationship(back_populates="items")


class CounterVoid(Base):
    """A counter payment given back within its shift, by a reversing entry."""

    __tablename__ = "counter_void"
    __table_args__ = (sa.CheckConstraint("second_by <> voided_by", name="second"),)

    payment_id: Mapped[int] = ref("counter_payment", primary=True)
    voided_at: Mapped[Instant]
    day: Mapped[Day] = mapped_column(index=True)
    voided_by: Mapped[int] = ref("staff")
    second_by: Mapped[int | None] = ref("staff", nullable=True)
    reason: Mapped[str]
