"""Differences of a day in a person's hands: proven by asking, put aside, taken back, written off.

What the channel can prove repairs itself (cashier.reconcile); here is the rest.  What is put aside
(挂账) is 长款, money the channel has and nobody has explained, or 短款, money we count on and the
channel has not: clearing then says what the channel says, and the difference stands by itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests
from backend.billing.models import BillingRequest
from backend.cashier import aside, cases, reconcile
from backend.cashier.case_models import MoneyCase
from backend.cashier.channels import CHANNELS, channel_for
from backend.cashier.models import Break, FinanceDay, PaymentOrder, Reconciliation, Refund
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal
from payments.channel import ChannelError

# Where the channel has more (+) or less (-) than the ledger cleared, by kind of difference.
_SIDES = {"missing_here": 1, "missing_there": 1, "refund": -1}


def about(one: MoneyCase) -> tuple[Break, Reconciliation]:
    """A case's difference and its day; Problem case_not_so for another kind of case."""
    if one.kind != "break":
        raise Problem("case_not_so")
    found = db.session.get_one(Break, int(one.reference), populate_existing=True)
    return found, db.session.get_one(Reconciliation, found.reconciliation_id)


def apply(case_id: int, actor: Principal, now: datetime) -> str:
    """Ask the channel about a difference and examine its day again; commits.

    Returns what the channel said, as a sentence.  Problems not_found, case_ended, case_not_so,
    channel_unavailable, day_already_closed.
    """
    one = cases.still_open(case_id)
    found, day = about(one)
    if one.state == "suspense":
        raise Problem("case_not_so", "差异已挂账，请先转回再处理。")
    if day.channel not in CHANNELS:
        raise Problem("case_not_so", "银行不能联机询问：请导入回盘或流水后重新对账。")
    if db.session.get(FinanceDay, day.day) is not None:
        raise Problem("day_already_closed", "该日已日结，差异请挂账处理或补登后转出。")
    said = _asked(day.channel, found)
    reconcile.reconcile(day.channel, day.day, now)
    db.session.refresh(found)
    outcome = "已相符" if found.resolved_at is not None else "仍有差异"
    cases.note(one, actor, "repaired", f"{said}；重新对账：{outcome}", now)
    db.session.commit()
    return f"{said}；{outcome}。"


def _asked(channel: str, found: Break) -> str:
    """What the channel says of the order or refund now; no transaction is held meanwhile."""
    number = found.reference
    refund = db.session.scalar(sa.select(Refund).where(Refund.out_refund_no == number))
    order = db.session.get(PaymentOrder, refund.order_id) if refund is not None else None
    db.session.commit()
    try:
        if refund is not None and order is not None:
            told = channel_for(channel).query_refund(order.out_trade_no, number)
            return f"渠道答复：退款 {_STATES.get(str(told.status), str(told.status))}"
        trade = channel_for(channel).query(number)
    except ValueError:
        return "这不是本系统的订单号，渠道无法查询"
    except ChannelError as error:
        if error.code in ("order_not_found", "refund_not_found"):
            return "渠道答复：没有这个单号"
        raise Problem("channel_unavailable", f"渠道没有答复：{error}") from error
    return f"渠道答复：订单 {_STATES.get(str(trade.status), str(trade.status))}"


_STATES = {
    "success": "成功",
    "processing": "处理中",
    "closed": "已关闭",
    "abnormal": "异常",
    "paid": "已付款",
    "pending": "未付款",
    "refunded": "已转入退款",
    "failed": "失败",
}


def gap_fen(found: Break) -> int:
    """What the channel has more than the ledger cleared; 0 where nothing is to be put aside."""
    return _SIDES.get(found.kind, 0) * ((found.theirs_fen or 0) - (found.ours_fen or 0))


def put_aside(case_id: int, reason: str, actor: Principal, now: datetime) -> MoneyCase:
    """长款 or 短款: the difference leaves clearing and stands by itself; the caller commits.

    Problems not_found, case_ended, case_not_so, reason_missing.
    """
    text = cases.words(reason)
    one = cases.still_open(case_id)
    found, day = about(one)
    amount_fen = gap_fen(found)
    if one.state != "open" or not amount_fen or day.channel not in CHANNELS:
        raise Problem("case_not_so", "这类差异不用挂账：请询问渠道，或写明原因办结。")
    step = cases.note(one, actor, "put_aside", text, now, amount_fen=amount_fen)
    aside.put(one, step, amount_fen, text, now)
    one.state, one.amount_fen = "suspense", amount_fen
    found.resolved_at = now
    found.resolution = f"{'长款' if amount_fen > 0 else '短款'}挂账：{text}"
    db.session.flush()
    return one


def take_back(case_id: int, reason: str, actor: Principal, now: datetime) -> MoneyCase:
    """Out of suspense again, because the difference has been explained after all.

    The difference is open again, and goes by itself where the day agrees now.
    """
    text = cases.words(reason)
    one = _aside(case_id)
    found, _day = about(one)
    aside.take_back(one, cases.note(one, actor, "taken_back", text, now), text, now)
    one.state, one.amount_fen = "open", None
    found.resolved_at = found.resolution = None
    db.session.flush()
    return one


def ask_write_off(case_id: int, reason: str, actor: Principal, now: datetime) -> BillingRequest:
    """Ask a second person to let the difference go: into 长短款损益.  Problem case_not_so."""
    one = _aside(case_id)
    params = {"case_id": one.id, "amount_fen": one.amount_fen}
    made = requests.ask("write_off", one.id, reason, actor, now, one.household_id, params)
    cases.note(one, actor, "write_off_asked", reason, now)
    return made


def write_off(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """Approved: what stood aside is gain or loss."""
    one = _aside(request.subject_id)
    amount_fen = one.amount_fen or 0
    standing = aside.account(one.channel, amount_fen)
    lines = [(standing, amount_fen), (chart.over_short(one.channel), -amount_fen)]
    ledger.post(f"break:{one.reference}:written_off", "write_off", now, lines, request.reason)
    cases.end(one, "written_off", request.reason, actor, now, amount_fen=amount_fen)
    return {"case_id": one.id}


def sign(case_id: int, reason: str, actor: Principal, now: datetime) -> MoneyCase:
    """Explain a difference under one's name; it keeps no day open any more."""
    text = cases.words(reason)
    one = cases.still_open(case_id)
    found, _day = about(one)
    if one.state == "suspense":
        raise Problem("case_not_so", "已挂账的差异请转回或核销。")
    reconcile.resolve_break(found.id, actor.id, text, now)
    cases.end(one, "signed", text, actor, now)
    return one


def _aside(case_id: int) -> MoneyCase:
    one = cases.still_open(case_id)
    if one.state != "suspense":
        raise Problem("case_not_so", "这项差异没有挂账。")
    return one


requests.KINDS["write_off"] = requests.Kind("长短款核销", requests.MONEY, write_off)
