"""Refunds: always under the same number, asked about until the channel says how they ended.

created -> processing -> done; `failed`, `closed` and `abnormal` wait for a person.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from backend.base import ids, tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import books
from backend.cashier.channels import channel_for, notify_url
from backend.cashier.models import PaymentOrder, Refund
from backend.people.service import Principal, audit
from payments.channel import ChannelError, RefundRequest, RefundState, RefundStatus

log = logging.getLogger("nuan.cashier")

UNDERWAY = ("created", "processing")
FORGOTTEN = timedelta(days=1)
_STATES = {
    RefundStatus.PROCESSING: "processing",
    RefundStatus.CLOSED: "closed",
    RefundStatus.ABNORMAL: "abnormal",
}


def open_refund(
    order: PaymentOrder, amount_fen: int, business_key: str, reason: str, now: datetime
) -> Refund:
    """Decide a refund, once a business key, and enqueue it in the caller's transaction."""
    values = {
        "out_refund_no": ids.out_trade_no("R", now),
        "order_id": order.id,
        "business_key": business_key,
        "amount_fen": amount_fen,
        "reason": reason,
        "created_at": now,
    }
    statement = insert(Refund).values(values).on_conflict_do_nothing().returning(Refund)
    made: Refund | None = db.session.scalar(statement)
    if made is None:
        query = sa.select(Refund).where(Refund.business_key == business_key)
        return db.session.scalars(query).one()
    tasks.defer("cashier.send_refund", refund_id=made.id, step=0)
    return made


def refund_parked(out_trade_no: str, staff_id: int, reason: str, now: datetime) -> Refund:
    """Give back what was parked for a wrong amount, all of it; audited.

    Problem not_found where no such order is parked.
    """
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == out_trade_no)
    order = db.session.scalar(query.with_for_update())
    if order is None or order.state != "parked":
        raise Problem("not_found")
    refund = open_refund(order, order.received_fen or 0, f"parked:{out_trade_no}", reason[:80], now)
    actor = Principal("staff", staff_id)
    audit("cashier.refund_parked", "order", out_trade_no, actor, now=now, reason=reason)
    return refund


def send(refund_id: int, now: datetime) -> Refund:
    """Ask the channel for a refund, or what became of it; commits.  ChannelError as it says.

    No transaction is held while the channel is asked.
    """
    refund = db.session.get_one(Refund, refund_id, populate_existing=True)
    order = db.session.get_one(PaymentOrder, refund.order_id)
    db.session.commit()
    if refund.state not in UNDERWAY:
        return refund
    try:
        settle(order.channel, _ask(order, refund), now)
    except ChannelError as error:
        if error.permanent:
            _fail(refund, error)
        db.session.commit()
        raise
    db.session.commit()
    return refund


def sweep(now: datetime) -> int:
    """Enqueue refunds nobody has asked about for a day; how many."""
    query = sa.select(Refund.id).where(
        Refund.state.in_(UNDERWAY), Refund.created_at <= now - FORGOTTEN
    )
    found = db.session.scalars(query.limit(1000)).all()
    for refund_id in found:
        tasks.defer("cashier.send_refund", once=f"refund:{refund_id}", refund_id=refund_id, step=0)
    return len(found)


def _ask(order: PaymentOrder, refund: Refund) -> RefundState:
    gateway = channel_for(order.channel)
    if refund.state == "processing":
        try:
            return gateway.query_refund(order.out_trade_no, refund.out_refund_no)
        except ChannelError as error:
            if error.code != "refund_not_found":
                raise  # else it never arrived, or did not go through: again under its number
    return gateway.refund(
        RefundRequest(
            out_trade_no=order.out_trade_no,
            out_refund_no=refund.out_refund_no,
            refund_fen=refund.amount_fen,
            total_fen=order.received_fen or order.amount_fen,
            reason=refund.reason,
            notify_url=notify_url(order.channel),
        )
    )


def _fail(refund: Refund, error: ChannelError) -> None:
    """A refund the channel refuses for good waits for a person."""
    db.session.execute(
        sa.update(Refund)
        .where(Refund.id == refund.id, Refund.state.in_(UNDERWAY))
        .values(state="failed")
        .execution_options(synchronize_session="fetch")
    )
    audit("cashier.refund_failed", "refund", refund.out_refund_no, None, error=str(error))
    log.error("refund refused", extra={"refund": refund.out_refund_no, "why": str(error)})


def settle(channel: str, state: RefundState, now: datetime) -> str:
    """Take the channel's word on a refund, exactly once; returns what came of it.

    refund_done, refund_repeat, refund_underway, refund_stuck (a person), unknown_refund.
    """
    found = db.session.execute(
        sa.select(Refund, PaymentOrder)
        .join(PaymentOrder, PaymentOrder.id == Refund.order_id)
        .where(Refund.out_refund_no == state.out_refund_no, PaymentOrder.channel == channel)
        .with_for_update(of=Refund)
        .execution_options(populate_existing=True)
    ).first()
    if found is None:
        return "unknown_refund"
    refund, order = found
    if refund.state == "done":
        return "refund_repeat"
    return _take(refund, order, state, now)


def _take(refund: Refund, order: PaymentOrder, state: RefundState, now: datetime) -> str:
    refund.refund_id = state.refund_id
    about_this = state.out_trade_no in ("", order.out_trade_no)
    if state.refund_fen != refund.amount_fen or not about_this:
        return _stuck(refund, "abnormal", state)
    if state.status is RefundStatus.SUCCESS:
        settled_at = state.settled_at or now
        refund.state, refund.done_at = "done", settled_at
        books.post_refund(order, refund, books.posting_time(settled_at, now))
        return "refund_done"
    if state.status is RefundStatus.PROCESSING:
        refund.state = "processing"
        return "refund_underway"
    return _stuck(refund, _STATES[state.status], state)


def _stuck(refund: Refund, to_state: str, state: RefundState) -> str:
    refund.state = to_state
    audit(f"cashier.refund_{to_state}", "refund", refund.out_refund_no, None, said=state.status)
    log.error("refund stuck", extra={"refund": refund.out_refund_no, "state": to_state})
    return "refund_stuck"
