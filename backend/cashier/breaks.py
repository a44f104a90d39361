"""Differences of a day in a person's hands: proven by asking, put aside, taken back, written off.

What the channel can prove repairs itself (cashier.reconcile); here is the rest.  What is put aside
(挂账) is 长款, money the channel has and nobody has explained, or 短款, money we count on and the
channel has not: clearing, or the fees, then say what the channel says, and the difference stands by
itself until its owner is found (cashier.parked), it is taken back, or two let it go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests
from backend.billing.models import BillingRequest
from backend.cashier import aside, cases, reconcile, rules
from backend.cashier.case_models import MoneyCase
from backend.cashier.channels import CHANNELS, channel_for, day_ends_early
from backend.cashier.models import Break, FinanceDay, PaymentOrder, Reconciliation, Refund
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal
from payments.channel import ChannelError

# What a person can do about each kind at a channel, besides explaining it under his name.  What is
# paid twice lies in suspense already, as a case of its own; a bank's differences are explained.
REPAIRS: dict[str, tuple[str, ...]] = {
    "missing_here": ("repair", "adopt", "put_aside"),
    "missing_there": ("repair", "put_aside"),
    "amount": ("repair", "put_aside"),
    "refund": ("repair", "put_aside"),
    "fee": ("put_aside",),
    "duplicate": ("repair",),
    "cross_day": ("pair",),
}


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
            return f"渠道答复：退款 {rules.status_words(told.status)}"
        trade = channel_for(channel).query(number)
    except ValueError:
        return "这不是本系统的订单号，渠道无法查询"
    except ChannelError as error:
        if error.code in ("order_not_found", "refund_not_found"):
            return "渠道答复：没有这个单号"
        raise Problem("channel_unavailable", f"渠道没有答复：{error}") from error
    return f"渠道答复：订单 {rules.status_words(trade.status)}"


def repairs(one: MoneyCase, found: Break) -> list[str]:
    """What can be done about an open difference, by name."""
    able = REPAIRS.get(found.kind, ()) if one.channel in CHANNELS else ()
    return [*(name for name in able if name != "put_aside" or found.gap_fen), "explain"]


def put_aside(case_id: int, reason: str, actor: Principal, now: datetime) -> MoneyCase:
    """长款 or 短款: the difference leaves clearing and stands by itself; the caller commits.

    Problems not_found, case_ended, case_not_so, reason_missing.
    """
    text = cases.words(reason)
    one = cases.still_open(case_id)
    found, _day = about(one)
    if one.state != "open" or "put_aside" not in repairs(one, found):
        raise Problem("case_not_so", "这类差异不用挂账：请询问渠道，或写明原因办结。")
    amount_fen = found.gap_fen
    step = cases.note(one, actor, "put_aside", text, now, amount_fen=amount_fen)
    aside.put(one, step, amount_fen, text, now)
    found.resolved_at = now
    found.resolution = f"{'长款' if amount_fen > 0 else '短款'}挂账：{text}"
    db.session.flush()
    return one


# Both sides of what is told on two days, by its number: days and sums, refunds negative.
_BOTH_DAYS = """
SELECT told.days AS told_days, told.fen AS told_fen, ours.days AS our_days, ours.fen AS our_fen
FROM (SELECT array_agg(DISTINCT s.day ORDER BY s.day) AS days,
             sum(CASE l.kind WHEN 'payment' THEN l.amount_fen ELSE -l.amount_fen END) AS fen
      FROM statement s JOIN statement_line l ON l.statement_id = s.id
      WHERE s.channel = :channel AND s.day BETWEEN :day - 7 AND :day + 7
        AND CASE l.kind WHEN 'payment' THEN l.out_trade_no ELSE l.out_refund_no END = :number
     ) AS told,
     (SELECT array_agg(DISTINCT day ORDER BY day) AS days, sum(fen) AS fen
      FROM (SELECT (e.at AT TIME ZONE 'Asia/Shanghai' + :early)::date AS day, p.amount_fen AS fen
            FROM entry e JOIN posting p ON p.entry_id = e.id
            WHERE e.business_key IN (
                    SELECT :channel || ':refund:' || CAST(:number AS text)
                    UNION ALL
                    SELECT :channel || ':' || l.transaction_id
                    FROM statement_line l JOIN statement s ON s.id = l.statement_id
                    WHERE l.out_trade_no = :number AND l.kind = 'payment' AND s.channel = :channel)
              AND p.account_id = :clearing) AS each) AS ours
"""


def pair(case_id: int, actor: Principal, now: datetime) -> MoneyCase:
    """核对两日: the same money on two days is proven equal, and both days' differences end.

    What stands aside for it on the other day comes back.  The caller commits.  Problems not_found,
    case_ended, case_not_so (no such difference, or the sums differ).
    """
    one = cases.still_open(case_id)
    found, day = about(one)
    if "pair" not in repairs(one, found):
        raise Problem("case_not_so", "这项差异不是跨日。")
    text = _same_on_both(day, found.reference)
    for other, difference in _of_number(day.channel, found.reference):
        if other.state == "suspense":
            aside.take_back(other, cases.note(other, actor, "taken_back", text, now), text, now)
        difference.resolved_at, difference.resolution = now, text
        cases.end(other, "paired", text, actor, now)
    db.session.flush()
    return one


def _same_on_both(day: Reconciliation, number: str) -> str:
    """Which days the channel and we have it on, as a sentence; Problem where the sums differ."""
    values = {
        "channel": day.channel,
        "day": day.day,
        "number": number,
        "early": day_ends_early(day.channel),
        "clearing": ledger.account_ids([chart.clearing(day.channel).code]).popitem()[1],
    }
    row = db.session.execute(sa.text(_BOTH_DAYS), values).one()
    if row.told_fen is None or row.told_fen != row.our_fen:
        raise Problem("case_not_so", "两日合计仍不相符：请先取得另一日的对账单并对账。")
    told, ours = ("、".join(map(str, days)) for days in (row.told_days, row.our_days))
    return f"跨日核对相符：渠道记在 {told}，本方记在 {ours}"


def _of_number(channel: str, number: str) -> list[tuple[MoneyCase, Break]]:
    """Open differences about a number on any day of a channel, held until commit."""
    query = (
        sa.select(MoneyCase, Break)
        .join(Break, sa.cast(Break.id, sa.Text) == MoneyCase.reference)
        .join(Reconciliation, Reconciliation.id == Break.reconciliation_id)
        .where(
            MoneyCase.kind == "break",
            MoneyCase.state.in_(cases.OPEN_STATES),
            MoneyCase.type.in_(_OF_TWO_DAYS),
            Reconciliation.channel == channel,
            Break.reference == number,
        )
        .order_by(MoneyCase.id)
        .with_for_update(of=MoneyCase)
    )
    return [(row.MoneyCase, row.Break) for row in db.session.execute(query)]


_OF_TWO_DAYS = ("cross_day", "missing_here", "missing_there", "refund")


def take_back(case_id: int, reason: str, actor: Principal, now: datetime) -> MoneyCase:
    """Out of suspense again, because the difference has been explained after all.

    The difference is open again, and goes by itself where the day agrees now.
    """
    text = cases.words(reason)
    one = _aside(case_id)
    found, _day = about(one)
    aside.take_back(one, cases.note(one, actor, "taken_back", text, now), text, now)
    one.state = "open"
    found.resolved_at = found.resolution = None
    db.session.flush()
    return one


def ask_write_off(case_id: int, reason: str, actor: Principal, now: datetime) -> BillingRequest:
    """Ask a second person to let the difference go: into 长短款损益.  Problem case_not_so."""
    one = _aside(case_id)
    params = {"case_id": one.id, "amount_fen": aside.standing_fen(one)}
    made = requests.ask("write_off", one.id, reason, actor, now, one.household_id, params)
    cases.note(one, actor, "write_off_asked", reason, now)
    return made


def write_off(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """Approved: what stood aside is gain or loss."""
    one = _aside(request.subject_id)
    amount_fen = aside.standing_fen(one)
    standing = aside.account(one.channel, amount_fen)
    lines = [(standing, amount_fen), (chart.over_short(one.channel), -amount_fen)]
    ledger.post(f"break:{one.reference}:written_off", "write_off", now, lines, request.reason)
    one.left_fen = 0
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
