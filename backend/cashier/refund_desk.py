"""Refunds a person decides on: asked, agreed to by a second one above a limit, seen through.

What is given back is taken from where it lies (cashier.sources) in the transaction that decides
it, and asked of the channel by a task enqueued there: a death between the two loses neither.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app

from backend.base import tasks
from backend.base.clock import business_day
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.billing import requests, reversal
from backend.billing.models import BillingRequest
from backend.cashier import cases, channels, refunds, sources
from backend.cashier.case_models import MoneyCase
from backend.cashier.models import OrderItem, PaymentOrder, Refund
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal, audit

DUE, REVERSED = "due", "reversed"
MAX_DOCUMENT = 80


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be given back of an order, and what it is for.

    A top-up gives back from the balance it went into; `bill_id` is the bill whose payment is given
    back, which `then` is due again or reversed; `case_id` is parked money.
    """

    out_trade_no: str
    amount_fen: int
    bill_id: int | None = None
    then: str = DUE
    case_id: int | None = None


def ask(
    wanted: Wanted, reason: str, key: str, actor: Principal, now: datetime
) -> Refund | BillingRequest:
    """Give money back; beyond the limit, or with a bill's reversal, as a request for a second one.

    `key` makes the same tap the same refund.  The caller commits.  Problems: not_found,
    reason_missing, validation, refund_too_much, refund_too_late, refund_too_many, case_moved,
    request_open.
    """
    reason = cases.words(reason)
    order = _order(wanted.out_trade_no)
    business_key = f"desk:{order.out_trade_no}:{actor.id}:{key}"
    known: Refund | None = db.session.scalar(
        sa.select(Refund).where(Refund.business_key == business_key)
    )
    if known is not None:
        return known
    _source(wanted, order)
    _refuse(wanted, order, now)
    if wanted.then != REVERSED and not needs_second(order.id, wanted.amount_fen):
        return _give(wanted, order, reason, business_key, actor.id, None, now)
    params = asdict(wanted)
    return requests.ask("refund", order.id, reason, actor, now, order.household_id, params)


def carry_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved refund."""
    wanted = Wanted(**request.params)
    order = _order(wanted.out_trade_no)
    _refuse(wanted, order, now)
    key = f"request:{request.id}"
    made = _give(wanted, order, request.reason, key, request.asked_by, actor.id, now)
    if wanted.then == REVERSED and wanted.bill_id is not None:
        asked_by = Principal("staff", request.asked_by or 0)
        reversal.reverse(wanted.bill_id, request.reason, asked_by, actor, now)
    return {"out_refund_no": made.out_refund_no}


def needs_second(order_id: int, amount_fen: int) -> bool:
    """Whether a person has given back so much of an order that another one must agree.

    Several small refunds count together: nobody gets round the limit in parts.
    """
    earlier = sa.select(sa.func.coalesce(sa.func.sum(Refund.amount_fen), 0)).where(
        Refund.order_id == order_id, Refund.asked_by.is_not(None), Refund.approved_by.is_(None)
    )
    limit: int = current_app.extensions["nuan_settings"].refund_limit_fen
    return int(db.session.scalar(earlier) or 0) + amount_fen > limit


def left_fen(order: PaymentOrder) -> int:
    """What of an order's money has not been given back, nor is about to be."""
    gone = sa.select(sa.func.coalesce(sa.func.sum(Refund.amount_fen), 0)).where(
        Refund.order_id == order.id, Refund.state != "withdrawn"
    )
    return (order.received_fen or 0) - int(db.session.scalar(gone) or 0)


def _order(out_trade_no: str) -> PaymentOrder:
    """The order, held until commit: its refunds are decided one after another."""
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == out_trade_no)
    found: PaymentOrder | None = db.session.scalar(
        query.with_for_update().execution_options(populate_existing=True)
    )
    if found is None or found.transaction_id is None:
        raise Problem("not_found")
    return found


def _source(wanted: Wanted, order: PaymentOrder) -> str:
    """Where the money is taken from; Problem validation where the order has no such thing."""
    if wanted.then not in (DUE, REVERSED):
        raise Problem("validation", field="then")
    if wanted.case_id is not None:
        parked = cases.still_open(wanted.case_id)
        if parked.kind != "order" or parked.out_trade_no != order.out_trade_no:
            raise Problem("not_found")
        return sources.SUSPENSE
    if wanted.bill_id is not None:
        if db.session.get(OrderItem, (order.id, wanted.bill_id)) is None:
            raise Problem("not_found", field="bill_id")
        return sources.BILL
    if order.state != "paid" or order.topup_into is None:
        raise Problem("validation", "请选择要退哪一张账单的款。", field="bill_id")
    into = order.topup_into
    return sources.WALLET if into == sources.WALLET else f"{sources.PREPAID}:{into}"


def _refuse(wanted: Wanted, order: PaymentOrder, now: datetime) -> None:
    """Problem where so much, so late or so often cannot be given back."""
    most = left_fen(order) if wanted.case_id is None else cases.case_of(wanted.case_id).left_fen
    if wanted.bill_id is not None:
        most = min(most or 0, _bill_left_fen(order, wanted.bill_id))
    if not 0 < wanted.amount_fen <= (most or 0):
        detail = f"最多可退 {yuan_str(max(0, most or 0))} 元。"
        raise Problem("refund_too_much", detail, field="amount_fen")
    within, times = channels.refund_limits(order.channel)
    if order.paid_at is not None and now - order.paid_at > within:
        raise Problem("refund_too_late")
    made = sa.select(sa.func.count()).where(Refund.order_id == order.id)
    if times is not None and int(db.session.scalar(made) or 0) >= times:
        raise Problem("refund_too_many")


def _bill_left_fen(order: PaymentOrder, bill_id: int) -> int:
    item = db.session.get_one(OrderItem, (order.id, bill_id))
    gone = sa.select(sa.func.coalesce(sa.func.sum(Refund.amount_fen), 0)).where(
        Refund.order_id == order.id, Refund.bill_id == bill_id, Refund.state != "withdrawn"
    )
    return item.amount_fen - int(db.session.scalar(gone) or 0)


def _give(
    wanted: Wanted,
    order: PaymentOrder,
    reason: str,
    business_key: str,
    asked_by: int | None,
    approved_by: int | None,
    now: datetime,
) -> Refund:
    more = {
        "source": _source(wanted, order),
        "bill_id": wanted.bill_id,
        "case_id": wanted.case_id,
        "asked_by": asked_by,
        "approved_by": approved_by,
    }
    made = refunds.open_refund(order, wanted.amount_fen, business_key, reason, now, **more)
    if wanted.case_id is not None:
        parked = cases.case_of(wanted.case_id)
        actor = Principal("staff", asked_by) if asked_by else None
        cases.note(parked, actor, "refunded", reason, now, out_refund_no=made.out_refund_no)
        settle_parked(parked, order, "refunded", now)
    actor = Principal("staff", approved_by or asked_by or 0)
    audit(
        "cashier.refund_decided",
        "refund",
        made.out_refund_no,
        actor,
        now=now,
        reason=reason,
        amount_fen=wanted.amount_fen,
        source=made.source,
        asked_by=asked_by,
    )
    return made


def settle_parked(parked: MoneyCase, order: PaymentOrder, state: str, now: datetime) -> None:
    """Once nothing of a case's money is undecided, the case ends and its order with it."""
    if parked.left_fen:
        return
    cases.end(parked, "ended", "款项已全部处理", None, now)
    db.session.flush()
    others = sa.exists().where(
        MoneyCase.kind == "order",
        MoneyCase.out_trade_no == order.out_trade_no,
        MoneyCase.state != "done",
    )
    if order.state == "parked" and not db.session.scalar(sa.select(others)):
        order.state = state


# --- what becomes of one that is stuck


def retry(out_refund_no: str, actor: Principal, now: datetime) -> Refund:
    """Send a refused refund again under its number, or ask the channel about another that is stuck.

    The caller commits.  Problems not_found, refund_moved_on.
    """
    refund = _stuck(out_refund_no)
    state = "created" if refund.state == "failed" else "processing"
    _move(refund, state)
    tasks.defer("cashier.send_refund", refund_id=refund.id, step=0)
    _step(refund, actor, "retried", "", now)
    return refund


def ask_pay_out(
    out_refund_no: str, document: str, reason: str, actor: Principal, now: datetime
) -> BillingRequest:
    """Ask a second person to agree that the money was paid out by the bank, by a document.

    Problems not_found, refund_moved_on, validation (no document), reason_missing, request_open.
    """
    refund = _stuck(out_refund_no)
    named = document.replace("\x00", "").strip()[:MAX_DOCUMENT]
    if len(named) < cases.MIN_TEXT:
        raise Problem("validation", "请填写付款凭单号。", field="document")
    order = db.session.get_one(PaymentOrder, refund.order_id)
    params = {
        "out_refund_no": out_refund_no,
        "amount_fen": refund.amount_fen,
        "document": named,
    }
    made = requests.ask("refund_payout", refund.id, reason, actor, now, order.household_id, params)
    _step(refund, actor, "payout_asked", reason, now, document=named)
    return made


def pay_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """Approved: the refund has left by the bank; the channel is not asked for it any more."""
    refund = _stuck(str(request.params["out_refund_no"]))
    order = db.session.get_one(PaymentOrder, refund.order_id)
    _move(refund, "paid_out", document=str(request.params["document"]))
    lines = [
        (chart.suspense(order.channel), refund.amount_fen),
        (chart.bank("payout"), -refund.amount_fen),
    ]
    key = f"refund_paid_out:{refund.out_refund_no}"
    ledger.post(key, "payout", now, lines, memo=request.reason, document=refund.document)
    _end(refund, actor, "paid_out", f"凭单 {refund.document} 已另行支付", now)
    return {"document": refund.document}


def withdraw(out_refund_no: str, reason: str, actor: Principal, now: datetime) -> Refund:
    """Give a refund up that the channel has refused or closed: its money goes back to its source.

    The caller commits.  Problems not_found, refund_moved_on (also for an abnormal one: its money
    may be at the payer's bank), reason_missing.
    """
    text = cases.words(reason)
    refund = _stuck(out_refund_no)
    if refund.state == "abnormal":
        raise Problem("refund_moved_on", "退款异常时款项可能在途，不能撤回；请询问渠道或另行支付。")
    order = db.session.get_one(PaymentOrder, refund.order_id)
    _move(refund, "withdrawn")
    sources.put_back(refund, order, now)
    if refund.source == sources.SUSPENSE and refund.case_id is None:
        _undecided(refund, order, now)
    _end(refund, actor, "withdrawn", text, now)
    return refund


def _undecided(refund: Refund, order: PaymentOrder, now: datetime) -> None:
    """Money that was to go back by itself, and did not, waits for a person."""
    cases.open_case(
        "order",
        "withdrawn",
        f"refund:{refund.out_refund_no}",
        order.channel,
        business_day(refund.created_at),
        now,
        amount_fen=refund.amount_fen,
        household_id=order.household_id,
        out_trade_no=order.out_trade_no,
        text=refund.reason,
    )


def refund_of(out_refund_no: str) -> Refund:
    """The refund as the database has it; Problem not_found."""
    query = sa.select(Refund).where(Refund.out_refund_no == out_refund_no)
    found: Refund | None = db.session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise Problem("not_found")
    return found


def _stuck(out_refund_no: str) -> Refund:
    """A refund that waits for a person; Problem not_found, refund_moved_on."""
    refund = refund_of(out_refund_no)
    if refund.state not in refunds.STUCK:
        raise Problem("refund_moved_on")
    return refund


def _move(refund: Refund, state: str, **values: Any) -> None:
    moved = changed(
        sa.update(Refund)
        .where(Refund.id == refund.id, Refund.state == refund.state)
        .values(state=state, **values)
        .execution_options(synchronize_session="fetch")
    )
    if moved != 1:
        raise Problem("refund_moved_on")


def _step(
    refund: Refund, actor: Principal, verb: str, text: str, now: datetime, **detail: Any
) -> None:
    one = cases.found("refund", refund.out_refund_no)
    if one is not None:
        cases.note(one, actor, verb, text, now, **detail)
    audit(f"cashier.refund_{verb}", "refund", refund.out_refund_no, actor, now=now, reason=text)


def _end(refund: Refund, actor: Principal, verb: str, text: str, now: datetime) -> None:
    one = cases.found("refund", refund.out_refund_no)
    if one is not None and one.state != "done":
        cases.end(one, verb, text, actor, now)


requests.KINDS["refund"] = requests.Kind("渠道退款", requests.MONEY, carry_out)
requests.KINDS["refund_payout"] = requests.Kind("退款另行支付", requests.MONEY, pay_out)
