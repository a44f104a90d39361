"""What became of an order: asked at its channel, acted on, ended when its time is over.

No transaction is held while the channel is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from backend.base import tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import refunds, rules
from backend.cashier.channels import channel_for
from backend.cashier.confirm import confirm, release
from backend.cashier.models import OrderItem, PaymentOrder
from payments.channel import ChannelError, PaymentChannel, TradeState, TradeStatus

log = logging.getLogger("nuan.cashier")

MONEY_MOVED = (TradeStatus.PAID, TradeStatus.REFUNDED)


def order_by_number(out_trade_no: str) -> PaymentOrder | None:
    """The order as the database has it now, with its bills."""
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == out_trade_no)
    query = query.options(selectinload(PaymentOrder.items))
    found: PaymentOrder | None = db.session.scalar(query.execution_options(populate_existing=True))
    return found


def refresh(out_trade_no: str, now: datetime) -> PaymentOrder:
    """Ask the channel about an order that is still open, and end it when its time is over.

    Commits.  A channel that does not answer leaves the order as it is: it is asked again later.
    """
    order = order_by_number(out_trade_no)
    if order is None:
        raise Problem("not_found")
    if order.state in rules.OPEN:
        try:
            ask(order, now, close=now >= order.expires_at)
        except ChannelError as error:
            log.warning("channel gave no word", extra={"order": out_trade_no, "why": str(error)})
    return order_by_number(out_trade_no) or order


def sweep(now: datetime) -> int:
    """Enqueue what was left behind: open orders past their time, refunds not ended; how many.

    Task chains normally see to both; this is the net below them.
    """
    overdue = sa.select(PaymentOrder.out_trade_no).where(
        PaymentOrder.state.in_(rules.OPEN), PaymentOrder.expires_at <= now
    )
    numbers = db.session.scalars(overdue.limit(1000)).all()
    for number in numbers:
        step = len(rules.ASK_AT_S)
        tasks.defer("cashier.ask_channel", once=f"ask:{number}", out_trade_no=number, step=step)
    return len(numbers) + refunds.sweep(now)


def end_open_orders(bill_ids: Sequence[int], now: datetime) -> None:
    """End every online order over these bills at its channel, or learn that it was paid; commits.

    For the counter, where the money is about to be taken: what is closed at its channel cannot be
    paid any more.  Problem order_open where the channel gives no word, bill_in_collection where
    a bank has been asked for it.
    """
    for order in open_orders(bill_ids):
        try:
            ask(order, now, close=True)
        except ChannelError as error:
            if error.code == "in_collection":
                raise Problem("bill_in_collection") from error
            log.warning("channel gave no word", extra={"order": order.out_trade_no})
            detail = "该账单有一笔线上支付正在进行，渠道暂时无法连接，请勿收款，稍后再试。"
            raise Problem("order_open", detail) from error


def open_orders(bill_ids: Sequence[int], channel: str | None = None) -> Sequence[PaymentOrder]:
    """The open orders over any of these bills, at one channel or at all."""
    holding = sa.select(OrderItem.order_id).where(OrderItem.bill_id.in_(bill_ids), OrderItem.open)
    if channel is not None:
        holding = holding.where(OrderItem.channel == channel)
    query = sa.select(PaymentOrder).where(PaymentOrder.id.in_(holding)).order_by(PaymentOrder.id)
    return db.session.scalars(query.options(selectinload(PaymentOrder.items))).all()


def ask(order: PaymentOrder, now: datetime, *, close: bool) -> None:
    """Ask what became of an order and act on it; `close` ends it where it is not paid.  Commits."""
    db.session.commit()
    gateway = channel_for(order.channel)
    try:
        _act_on(order, gateway.query(order.out_trade_no), now)
        if close and order.state in rules.OPEN:
            _close(order, gateway, now)
    except ChannelError as error:
        if error.code != "order_not_found":
            raise
        if close or now - order.created_at >= rules.UNHEARD_OF:
            end(order, note="渠道无此订单")


def _close(order: PaymentOrder, gateway: PaymentChannel, now: datetime) -> None:
    try:
        gateway.close(order.out_trade_no)
    except ChannelError as error:
        if error.code != "order_paid":
            raise
        _act_on(order, gateway.query(order.out_trade_no), now)
    else:
        end(order)


def _act_on(order: PaymentOrder, trade: TradeState, now: datetime) -> None:
    if trade.status in MONEY_MOVED:
        confirm(order.channel, trade, now)
        db.session.commit()
    elif trade.status in (TradeStatus.CLOSED, TradeStatus.FAILED):
        end(order)


def end(order: PaymentOrder, note: str | None = None) -> None:
    """Close an order of ours, unless a payment came in between."""
    if move(order, rules.OPEN, state="closed", note=note):
        release(order.id)
        db.session.commit()


def move(order: PaymentOrder, states: Sequence[str], **values: Any) -> bool:
    """Change an order that is still in one of `states`; commits, except where nothing changed."""
    changed = db.session.execute(
        sa.update(PaymentOrder)
        .where(PaymentOrder.id == order.id, PaymentOrder.state.in_(states))
        .values(**values)
        .execution_options(synchronize_session="fetch")
    )
    moved = bool(changed.rowcount)  # type: ignore[attr-defined]
    if moved and values["state"] != "closed":
        db.session.commit()
    return moved
