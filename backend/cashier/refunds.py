"""Refunds: always under the same number, asked about until the channel says how they ended.

created -> processing -> done; `failed`, `closed` and `abnormal` wait for a person, who has them
sent again, pays them out another way or takes them back (cashier.refund_desk), or has an abnormal
one sent on to a card (cashier.refund_cards): to_card -> on_card -> done.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from backend.base import ids, tasks
from backend.base.clock import business_day
from backend.base.db import changed, db
from backend.billing.models import BillingRequest
from backend.cashier import books, cases, rules, sources
from backend.cashier.channels import channel_for, notify_url
from backend.cashier.models import PaymentOrder, Refund
from backend.people.service import audit
from payments.channel import ChannelError, RefundRequest, RefundState, RefundStatus
from payments.wechat_cards import SealedCard, SendsToCards

log = logging.getLogger("nuan.cashier")

TO_CARD, ON_CARD = "to_card", "on_card"  # agreed to and not yet sent; the channel has the card
CARD = "refund_card"  # the request that agrees to one
UNDERWAY = ("created", "processing", TO_CARD, ON_CARD)
STUCK = ("failed", "closed", "abnormal")
ENDED = ("paid_out", "withdrawn")  # by a person, without the channel
MAX_REASON = 80  # what the channels take (payments.channel.RefundRequest)
FORGOTTEN = timedelta(days=1)
_STATES = {
    RefundStatus.PROCESSING: "processing",
    RefundStatus.CLOSED: "closed",
    RefundStatus.ABNORMAL: "abnormal",
}


def open_refund(
    order: PaymentOrder,
    amount_fen: int,
    business_key: str,
    reason: str,
    now: datetime,
    **more: Any,
) -> Refund:
    """Decide a refund, once a business key, and enqueue it in the caller's transaction.

    `more`: source, bill_id, case_id, asked_by, approved_by; without a source the money lies in
    suspense already.
    """
    values = {
        "out_refund_no": ids.out_trade_no("R", now),
        "order_id": order.id,
        "business_key": business_key,
        "amount_fen": amount_fen,
        "reason": reason[:MAX_REASON],
        "created_at": now,
        **more,
    }
    statement = insert(Refund).values(values).on_conflict_do_nothing().returning(Refund)
    made: Refund | None = db.session.scalar(statement)
    if made is None:
        query = sa.select(Refund).where(Refund.business_key == business_key)
        return db.session.scalars(query).one()
    sources.take(made, order, now)
    tasks.defer("cashier.send_refund", refund_id=made.id, step=0)
    return made


def send(refund_id: int, now: datetime) -> Refund:
    """Ask the channel for a refund, or what became of it; commits.  ChannelError as it says.

    No transaction is held while the channel is asked.
    """
    refund = db.session.get_one(Refund, refund_id, populate_existing=True)
    order = db.session.get_one(PaymentOrder, refund.order_id)
    db.session.commit()
    if refund.state not in UNDERWAY:
        return refund
    before = refund.state
    try:
        settle(order.channel, _ask(order, refund), now, asked_as=before)
    except ChannelError as error:
        if error.permanent:
            _fail(refund, order, error, now)
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
    if refund.state == TO_CARD:
        return _send_to_card(order, refund)
    gateway = channel_for(order.channel)
    if refund.state == ON_CARD:
        return gateway.query_refund(order.out_trade_no, refund.out_refund_no)
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


def _send_to_card(order: PaymentOrder, refund: Refund) -> RefundState:
    """Send it on to the card a second person agreed to last."""
    query = sa.select(BillingRequest.params).where(
        BillingRequest.kind == CARD,
        BillingRequest.subject_id == refund.id,
        BillingRequest.state == "approved",
    )
    params = db.session.scalars(query.order_by(BillingRequest.id.desc()).limit(1)).one()
    db.session.commit()  # nothing is held while the channel is asked
    gateway = channel_for(order.channel)
    assert isinstance(gateway, SendsToCards)  # it was when the card was sealed for it
    card = SealedCard(**params["card"])
    return gateway.refund_to_card(order.out_trade_no, refund.out_refund_no, card)


def _fail(refund: Refund, order: PaymentOrder, error: ChannelError, now: datetime) -> None:
    """A refund the channel refuses for good waits for a person; a card it refuses, as abnormal."""
    to_state = "abnormal" if refund.state in (TO_CARD, ON_CARD) else "failed"
    moved = changed(
        sa.update(Refund)
        .where(Refund.id == refund.id, Refund.state.in_(UNDERWAY))
        .values(state=to_state, said=str(error)[:200])
        .execution_options(synchronize_session="fetch")
    )
    if moved:
        _to_a_person(refund, order, to_state, now)
    audit("cashier.refund_failed", "refund", refund.out_refund_no, None, error=str(error))
    log.error("refund refused", extra={"refund": refund.out_refund_no, "why": str(error)})


def settle(channel: str, state: RefundState, now: datetime, asked_as: str = "") -> str:
    """Take the channel's word on a refund, exactly once; returns what came of it.

    `asked_as` is the state it was in when the channel was asked: only such an answer can say that
    one on its way to a card is abnormal again, for a notice may be the first failure's, repeated.
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
    if refund.done_at is not None:
        return "refund_repeat"
    stale = state.status is RefundStatus.ABNORMAL and asked_as != refund.state
    if stale and refund.state in (TO_CARD, ON_CARD):
        return "refund_underway"
    return _take(refund, order, state, now)


def _take(refund: Refund, order: PaymentOrder, state: RefundState, now: datetime) -> str:
    refund.refund_id = state.refund_id
    about_this = state.out_trade_no in ("", order.out_trade_no)
    if state.refund_fen != refund.amount_fen or not about_this:
        return _stuck(refund, order, "abnormal", state, now)
    if state.status is RefundStatus.SUCCESS:
        return _done(refund, order, state.settled_at or now, now)
    if refund.state in ENDED:
        return "refund_repeat"
    if state.status is RefundStatus.PROCESSING:
        refund.state = ON_CARD if refund.state in (TO_CARD, ON_CARD) else "processing"
        return "refund_underway"
    return _stuck(refund, order, _STATES[state.status], state, now)


def _done(refund: Refund, order: PaymentOrder, settled_at: datetime, now: datetime) -> str:
    """The channel has paid it out, whatever we thought of it: the ledger says so.

    One that a person had paid otherwise, or had taken back, meanwhile is a matter for a person.
    """
    refund.done_at = settled_at
    books.post_refund(order, refund, books.posting_time(settled_at, now))
    if refund.state in ENDED:
        books.post_paid_twice(order, refund, now)
        _to_a_person(refund, order, "paid_twice", now)
        return "refund_stuck"
    refund.state = "done"
    cases.end_of("refund", refund.out_refund_no, "ended", "渠道已退款", now)
    return "refund_done"


def _stuck(
    refund: Refund, order: PaymentOrder, to_state: str, state: RefundState, now: datetime
) -> str:
    if refund.state in ENDED:
        return "refund_repeat"
    refund.state, refund.said = to_state, f"退款{rules.status_words(state.status)}"
    _to_a_person(refund, order, to_state, now)
    audit(f"cashier.refund_{to_state}", "refund", refund.out_refund_no, None, said=state.status)
    log.error("refund stuck", extra={"refund": refund.out_refund_no, "state": to_state})
    return "refund_stuck"


def _to_a_person(refund: Refund, order: PaymentOrder, why: str, now: datetime) -> None:
    cases.open_case(
        "refund",
        why,
        refund.out_refund_no,
        order.channel,
        business_day(now),
        now,
        household_id=order.household_id,
        out_trade_no=order.out_trade_no,
        text=refund.said or "",
    )
