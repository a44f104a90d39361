"""A payment the channel vouches for becomes money in the ledger, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app

from backend.base.clock import business_day
from backend.base.db import db, read_again
from backend.base.money import yuan_str
from backend.billing import service as billing
from backend.cashier import books, cases, crediting, refunds, rules
from backend.cashier.crediting import Topup
from backend.cashier.models import OrderItem, PaymentOrder
from backend.ledger import chart
from backend.ledger.chart import AccountRef
from backend.people.service import audit
from payments.channel import TradeState

log = logging.getLogger("nuan.cashier")


# Written by hand: every payment waits for these.  The lock is the order's, and one copy of a notice
# at a time holds it; what stands of the bills here never changes.
_CLAIM = """
SELECT o.id, o.amount_fen, o.transaction_id, o.expires_at, o.topup_into, o.resident_id,
       o.household_id AS payers_id, i.bill_id, i.amount_fen AS part_fen, b.utility, b.household_id
FROM payment_order o
LEFT JOIN order_item i ON i.order_id = o.id
LEFT JOIN bill b ON b.id = i.bill_id
WHERE o.out_trade_no = %s AND o.channel = %s
ORDER BY i.bill_id FOR UPDATE OF o
"""
_TAKE = """
WITH released AS (UPDATE order_item SET open = false WHERE order_id = %(id)s AND open)
UPDATE payment_order SET transaction_id = %(transaction_id)s, received_fen = %(received_fen)s,
    paid_at = %(paid_at)s, state = %(state)s, note = coalesce(%(note)s, note)
WHERE id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """An order held until commit; `parts`: {bill id: fen}, `owed`: whose receivable each is.

    `topup` is what it tops up where it pays no bill.
    """

    id: int
    channel: str
    out_trade_no: str
    amount_fen: int
    transaction_id: str | None
    expires_at: datetime
    household_id: int | None
    topup: Topup | None
    parts: dict[int, int]
    owed: dict[int, AccountRef]


def confirm(channel: str, trade: TradeState, now: datetime) -> str:
    """Post a paid trade; the caller commits.  Returns what came of it:

    posted; refunding (some of it was not owed any more and goes back by itself); repeat; parked
    (wrong amount or a second transaction: in suspense, for a person); unknown_order.  However many
    copies come at once, the order's row lets one of them through.
    """
    order = _claim(channel, trade.out_trade_no)
    if order is None:
        _unknown(channel, trade, now)
        return "unknown_order"
    transaction_id, paid_fen, paid_at = _facts(trade)
    verdict = rules.judge(order.amount_fen, order.transaction_id, paid_fen, transaction_id)
    if verdict is rules.Verdict.REPEAT:
        return "repeat"
    at = books.posting_time(paid_at, now)
    late = rules.is_late(paid_at, order.expires_at)
    if verdict is rules.Verdict.PARK or (late and _late_rule() == "park"):
        return _park(order, transaction_id, paid_fen, paid_at, at, now)
    return _credit(order, transaction_id, paid_at, at, now)


def _claim(channel: str, out_trade_no: str) -> Claim | None:
    db.session.flush()
    found = db.session.connection().exec_driver_sql(_CLAIM, (out_trade_no, channel)).all()
    if not found:
        return None
    order, items = found[0], [row for row in found if row.bill_id is not None]
    return Claim(
        id=order.id,
        channel=channel,
        out_trade_no=out_trade_no,
        amount_fen=order.amount_fen,
        transaction_id=order.transaction_id,
        expires_at=order.expires_at,
        household_id=order.payers_id,
        topup=_topup(order),
        parts={row.bill_id: row.part_fen for row in items},
        owed={row.bill_id: chart.receivable(row.utility, row.household_id) for row in items},
    )


def _topup(order: sa.Row[Any]) -> Topup | None:
    if order.topup_into is None:
        return None
    return Topup(order.payers_id, order.resident_id, order.topup_into, order.amount_fen)


def _facts(trade: TradeState) -> tuple[str, int, datetime]:
    if trade.transaction_id is None or trade.amount_fen is None or trade.paid_at is None:
        raise ValueError(f"order {trade.out_trade_no} is not paid")
    return trade.transaction_id, trade.amount_fen, trade.paid_at


def _credit(
    order: Claim, transaction_id: str, paid_at: datetime, at: datetime, now: datetime
) -> str:
    """Count the payment towards its bills; give back what is no longer owed."""
    refused = rules.is_late(paid_at, order.expires_at) and _late_rule() == "refund"
    credited = [] if refused else _credited(order, paid_at, now)
    surplus_fen = order.amount_fen - sum(amount_fen for _, amount_fen in credited)
    why, reason = rules.surplus_words(refused, order.topup is not None)
    note = f"{why} {yuan_str(surplus_fen)} 元，自动退款" if surplus_fen else None
    _take_transaction(order, transaction_id, order.amount_fen, paid_at, "paid", note)
    _post(order, transaction_id, order.amount_fen, credited, at)
    if order.topup is not None:
        crediting.after(order.topup, now)
    if not surplus_fen:
        return "posted"
    key = f"surplus:{order.out_trade_no}"
    made = db.session.get_one(PaymentOrder, order.id)
    refunds.open_refund(made, surplus_fen, key, reason, now)
    return "refunding"


def _credited(order: Claim, paid_at: datetime, now: datetime) -> list[tuple[AccountRef, int]]:
    """What each account is credited with, bills by rising id as everywhere."""
    if order.topup is not None:
        return crediting.credit(order.topup, paid_at, now)
    taken = billing.apply_payments(order.parts, paid_at)
    return [(order.owed[bill_id], order.parts[bill_id]) for bill_id in sorted(taken)]


def _late_rule() -> str:
    rule: str = current_app.extensions["nuan_settings"].late_payment
    return rule


def _unknown(channel: str, trade: TradeState, now: datetime) -> None:
    """Money of an order we never made: nothing is posted until a person has looked into it."""
    log.error("payment of an unknown order", extra={"out_trade_no": trade.out_trade_no})
    transaction_id, paid_fen, paid_at = _facts(trade)
    cases.open_case(
        "notice",
        "unknown_order",
        rules.payment_key(channel, transaction_id),
        channel,
        business_day(paid_at),
        now,
        out_trade_no=trade.out_trade_no,
        text=f"渠道收款 {yuan_str(paid_fen)} 元",
    )


def _park(
    order: Claim,
    transaction_id: str,
    paid_fen: int,
    paid_at: datetime,
    at: datetime,
    now: datetime,
) -> str:
    """Money that does not fit its order: it did arrive, so it is posted, but credited to nobody."""
    note = (
        f"渠道收款 {yuan_str(paid_fen)} 元（{transaction_id}），"
        f"订单 {yuan_str(order.amount_fen)} 元，待人工处理"
    )
    if order.transaction_id is None:
        _take_transaction(order, transaction_id, paid_fen, paid_at, "parked", note)
    else:
        _note(order, note)
    _post(order, transaction_id, paid_fen, [], at)
    cases.open_case(
        "order",
        rules.why_parked(order.amount_fen, order.transaction_id, paid_fen),
        rules.payment_key(order.channel, transaction_id),
        order.channel,
        business_day(paid_at),
        now,
        amount_fen=paid_fen,
        household_id=order.household_id,
        out_trade_no=order.out_trade_no,
        text=note,
    )
    audit("cashier.parked", "order", order.out_trade_no, None, note=note)
    log.error("payment parked", extra={"out_trade_no": order.out_trade_no, "note": note})
    return "parked"


def _post(
    order: Claim,
    transaction_id: str,
    received_fen: int,
    credited: Sequence[tuple[AccountRef, int]],
    at: datetime,
) -> None:
    books.post_payment(
        order.channel, order.out_trade_no, transaction_id, received_fen, credited, at
    )


def _take_transaction(
    order: Claim,
    transaction_id: str,
    received_fen: int,
    paid_at: datetime,
    state: str,
    note: str | None,
) -> None:
    """The order is over; it no longer holds its bills."""
    values = {
        "id": order.id,
        "transaction_id": transaction_id,
        "received_fen": received_fen,
        "paid_at": paid_at,
        "state": state,
        "note": note,
    }
    db.session.connection().exec_driver_sql(_TAKE, values)
    read_again(PaymentOrder, [order.id])
    read_again(OrderItem, [(order.id, bill_id) for bill_id in order.parts])


def _note(order: Claim, note: str) -> None:
    db.session.execute(sa.update(PaymentOrder).where(PaymentOrder.id == order.id).values(note=note))


def release(order_id: int) -> None:
    """The order no longer holds its bills: they can be paid by another one."""
    db.session.execute(
        sa.update(OrderItem)
        .where(OrderItem.order_id == order_id, OrderItem.open)
        .values(open=False)
        .execution_options(synchronize_session="fetch")
    )
