"""A payment the channel vouches for becomes money in the ledger, exactly once."""

from __future__ import annotations

import logging
from datetime import datetime

import sqlalchemy as sa

from backend.base.db import db
from backend.base.money import yuan_str
from backend.billing import service as billing
from backend.billing.models import Bill
from backend.cashier import books, refunds, rules
from backend.cashier.models import OrderItem, PaymentOrder
from backend.ledger import chart
from backend.ledger.chart import AccountRef
from backend.people.service import audit
from payments.channel import TradeState

log = logging.getLogger("nuan.cashier")


def confirm(channel: str, trade: TradeState, now: datetime) -> str:
    """Post a paid trade; the caller commits.  Returns what came of it:

    posted; refunding (some of it was not owed any more and goes back by itself); repeat; parked
    (wrong amount or a second transaction: in suspense, for a person); unknown_order.  However many
    copies come at once, the order's row lets one of them through.
    """
    order = db.session.scalar(
        sa.select(PaymentOrder)
        .where(PaymentOrder.out_trade_no == trade.out_trade_no, PaymentOrder.channel == channel)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if order is None:
        log.error("payment of an unknown order", extra={"out_trade_no": trade.out_trade_no})
        return "unknown_order"
    transaction_id, paid_fen, paid_at = _facts(trade)
    verdict = rules.judge(order.amount_fen, order.transaction_id, paid_fen, transaction_id)
    if verdict is rules.Verdict.REPEAT:
        return "repeat"
    at = books.posting_time(paid_at, now)
    if verdict is rules.Verdict.PARK:
        return _park(order, transaction_id, paid_fen, paid_at, at)
    return _credit(order, transaction_id, paid_at, at, now)


def _facts(trade: TradeState) -> tuple[str, int, datetime]:
    if trade.transaction_id is None or trade.amount_fen is None or trade.paid_at is None:
        raise ValueError(f"order {trade.out_trade_no} is not paid")
    return trade.transaction_id, trade.amount_fen, trade.paid_at


def _credit(
    order: PaymentOrder, transaction_id: str, paid_at: datetime, at: datetime, now: datetime
) -> str:
    """Count the payment towards its bills; give back what is no longer owed."""
    credited = _apply(order, paid_at)
    _take_transaction(order, transaction_id, order.amount_fen, paid_at, "paid")
    books.post_payment(order, transaction_id, order.amount_fen, credited, at)
    surplus_fen = order.amount_fen - sum(amount_fen for _, amount_fen in credited)
    if not surplus_fen:
        return "posted"
    order.note = f"已缴清的账单重复付款 {yuan_str(surplus_fen)} 元，自动退款"
    key = f"surplus:{order.out_trade_no}"
    refunds.open_refund(order, surplus_fen, key, "账单已缴清，原路退回", now)
    return "refunding"


def _apply(order: PaymentOrder, paid_at: datetime) -> list[tuple[AccountRef, int]]:
    """What each receivable is credited with; bills are taken by rising id, as everywhere."""
    rows = db.session.execute(
        sa.select(OrderItem.bill_id, OrderItem.amount_fen, Bill.utility, Bill.household_id)
        .join(Bill, Bill.id == OrderItem.bill_id)
        .where(OrderItem.order_id == order.id)
        .order_by(OrderItem.bill_id)
    ).all()
    return [
        (chart.receivable(row.utility, row.household_id), row.amount_fen)
        for row in rows
        if billing.apply_payment(row.bill_id, row.amount_fen, paid_at)
    ]


def _park(
    order: PaymentOrder, transaction_id: str, paid_fen: int, paid_at: datetime, at: datetime
) -> str:
    """Money that does not fit its order: it did arrive, so it is posted, but credited to nobody."""
    books.post_payment(order, transaction_id, paid_fen, [], at)
    note = (
        f"渠道收款 {yuan_str(paid_fen)} 元（{transaction_id}），"
        f"订单 {yuan_str(order.amount_fen)} 元，待人工处理"
    )
    if order.transaction_id is None:
        _take_transaction(order, transaction_id, paid_fen, paid_at, "parked")
    order.note = note
    audit("cashier.parked", "order", order.out_trade_no, None, note=note)
    log.error("payment parked", extra={"out_trade_no": order.out_trade_no, "note": note})
    return "parked"


def _take_transaction(
    order: PaymentOrder, transaction_id: str, paid_fen: int, paid_at: datetime, state: str
) -> None:
    order.transaction_id, order.received_fen = transaction_id, paid_fen
    order.paid_at, order.state = paid_at, state
    release(order.id)


def release(order_id: int) -> None:
    """The order no longer holds its bills: they can be paid by another one."""
    db.session.execute(
        sa.update(OrderItem)
        .where(OrderItem.order_id == order_id, OrderItem.open)
        .values(open=False)
        .execution_options(synchronize_session="fetch")
    )
