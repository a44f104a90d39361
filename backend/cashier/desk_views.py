"""What the finance desk looks at: cases with their facts and next steps, orders, refunds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app

from backend.archive.models import Household
from backend.base.clock import day_bounds
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.explain import bill_title
from backend.billing.models import Bill, BillingRequest
from backend.cashier import (
    aside,
    breaks,
    cases,
    notice_facts,
    refund_cards,
    refund_desk,
    refunds,
)
from backend.cashier.case_models import MoneyCase
from backend.cashier.models import OrderItem, PaymentOrder, Refund
from backend.people.models import Staff

PAGE = 50
ORDER_FIELDS = (
    *("out_trade_no", "channel", "way", "topup_into", "state", "amount_fen", "received_fen"),
    *("transaction_id", "created_at", "expires_at", "paid_at", "note"),
)
REFUND_FIELDS = (
    *("out_refund_no", "amount_fen", "state", "reason", "source", "said", "document"),
    *("refund_id", "created_at", "done_at"),
)
CASE_FIELDS = (
    *("id", "kind", "type", "reference", "channel", "day", "amount_fen", "left_fen", "state"),
    *("out_trade_no", "owner_id", "opened_at", "ended_at"),
)


def case_rows(wanted: cases.Filter, now: datetime) -> dict[str, Any]:
    """A page of cases with their owners' names and households' numbers."""
    rows = cases.listed(wanted, now)
    shown = rows[: wanted.limit]
    return {
        "cases": _case_views(shown, now),
        "next_before": shown[-1].id if len(rows) > len(shown) else None,
        "counts": cases.counts(),
    }


def _case_views(rows: Sequence[MoneyCase], now: datetime) -> list[dict[str, Any]]:
    owners = names({row.owner_id for row in rows})
    numbers = account_numbers({row.household_id for row in rows})
    return [
        {
            **{name: getattr(row, name) for name in CASE_FIELDS},
            "owner": owners.get(row.owner_id or 0),
            "account_no": numbers.get(row.household_id or 0),
            "title": cases.TYPES_ZH.get(row.type, row.type),
            "age_days": (now - row.opened_at).days,
        }
        for row in rows
    ]


def names(ids: set[int | None]) -> dict[int, str]:
    """Names of staff."""
    query = sa.select(Staff.id, Staff.name).where(Staff.id.in_(ids - {None}))
    return {row.id: row.name for row in db.session.execute(query)}


def colleagues() -> list[dict[str, Any]]:
    """Who a case can be given to."""
    query = sa.select(Staff.id, Staff.name).where(
        Staff.active, Staff.roles.overlap(["finance", "manager"])
    )
    rows = db.session.execute(query.order_by(Staff.name, Staff.id).limit(200))
    return [{"id": row.id, "name": row.name} for row in rows]


def account_numbers(ids: set[int | None]) -> dict[int, str]:
    """户号 of households."""
    query = sa.select(Household.id, Household.account_no).where(Household.id.in_(ids - {None}))
    return {row.id: row.account_no for row in db.session.execute(query)}


def case_view(case_id: int, now: datetime) -> dict[str, Any]:
    """A case: what happened, what the channel said, what can be done, what was done."""
    one = cases.case_of(case_id)
    refund = refund_desk.refund_of(one.reference) if one.kind == "refund" else None
    found = breaks.about(one)[0] if one.kind == "break" else None
    return {
        **_case_views([one], now)[0],
        "advice": found.suggestion if found else cases.ADVICE.get(one.type, ""),
        "difference": _difference(found) if found else None,
        "order": _order_row(one.out_trade_no),
        "refund": refund_view(refund) if refund else None,
        "notices": _notices(one),
        "actions": actions(one, refund),
        "waiting": _waiting(one, refund),
        "related": cases.related(one),
        "history": cases.history(one.id),
        "limit_fen": current_app.extensions["nuan_settings"].refund_limit_fen,
    }


def _difference(found: Any) -> dict[str, Any]:
    fields = ("reference", "ours_fen", "theirs_fen", "gap_fen", "resolved_at", "resolution")
    return {name: getattr(found, name) for name in fields}


def _notices(one: MoneyCase) -> list[dict[str, Any]]:
    if one.type == "rejected":
        code = one.reference.rpartition(":")[2]
        return notice_facts.rejected(one.channel, code, *day_bounds(one.day))
    return notice_facts.of_order(one.out_trade_no) if one.out_trade_no else []


def _order_row(out_trade_no: str | None) -> dict[str, Any] | None:
    if not out_trade_no:
        return None
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == out_trade_no)
    order = db.session.scalar(query)
    return {name: getattr(order, name) for name in ORDER_FIELDS} if order else None


def refund_view(refund: Refund) -> dict[str, Any]:
    """A refund as the desk shows it."""
    return {name: getattr(refund, name) for name in REFUND_FIELDS}


def actions(one: MoneyCase, refund: Refund | None) -> list[str]:
    """What can be done about a case now, by name."""
    if one.state == "done":
        return ["comment"]
    always = ["take", "assign", "comment"]
    if one.kind == "order" and one.left_fen:
        return [*always, "move", "refund"]
    if one.kind == "notice":
        return [*always, *(["adopt"] if one.type == "unknown_order" else []), "sign"]
    if one.kind == "break":
        return [*always, *_break_actions(one)]
    if refund is not None and refund.state in refunds.STUCK:
        back = [] if refund.state == "abnormal" else ["withdraw"]
        card = ["to_card"] if refund_cards.offered(refund, one.channel) else []
        return [*always, "retry", *card, "pay_out", *back]
    return [*always, "sign"]


def _break_actions(one: MoneyCase) -> list[str]:
    if one.state == "suspense":
        return [*(["move"] if aside.is_somebodys(one) else []), "take_back", "write_off"]
    return breaks.repairs(one, breaks.about(one)[0])


def _waiting(one: MoneyCase, refund: Refund | None) -> list[dict[str, Any]]:
    """What of a case waits for a second person."""
    subjects = {"parked_move": one.id, "write_off": one.id}
    if refund is not None:
        subjects |= {"refund_payout": refund.id, refunds.CARD: refund.id}
    order = sa.select(PaymentOrder.id).where(PaymentOrder.out_trade_no == one.out_trade_no)
    same = [
        (BillingRequest.kind == kind) & (BillingRequest.subject_id == subject)
        for kind, subject in subjects.items()
    ]
    same.append(
        (BillingRequest.kind == "refund") & (BillingRequest.subject_id == order.scalar_subquery())
    )
    query = sa.select(BillingRequest).where(BillingRequest.state == "open", sa.or_(*same))
    rows = db.session.scalars(query.order_by(BillingRequest.id)).all()
    asked = names({row.asked_by for row in rows})
    return [
        {"id": r.id, "kind": r.kind, "by": asked.get(r.asked_by or 0), "reason": r.reason}
        for r in rows
    ]


def order_rows(
    *,
    search: str = "",
    channel: str | None = None,
    state: str | None = None,
    topups: bool | None = None,
    before: int | None = None,
    limit: int = PAGE,
) -> dict[str, Any]:
    """A page of orders, newest first; `search` is an order's number or a 户号."""
    query = sa.select(PaymentOrder).order_by(PaymentOrder.id.desc()).limit(limit + 1)
    text = search.replace("\x00", "").strip()
    if text:
        of = sa.select(Household.id).where(Household.account_no == text).scalar_subquery()
        query = query.where(
            (PaymentOrder.out_trade_no == text)
            | (PaymentOrder.transaction_id == text)
            | (PaymentOrder.household_id == of)
        )
    for column, value in ((PaymentOrder.channel, channel), (PaymentOrder.state, state)):
        if value:
            query = query.where(column == value)
    if topups is not None:
        into = PaymentOrder.topup_into
        query = query.where(into.is_not(None) if topups else into.is_(None))
    if before is not None:
        query = query.where(PaymentOrder.id < before)
    rows = db.session.scalars(query).all()
    shown = rows[:limit]
    numbers = account_numbers({row.household_id for row in shown})
    back = _given_back([row.id for row in shown])
    return {
        "orders": [
            {
                **{name: getattr(row, name) for name in ORDER_FIELDS},
                "account_no": numbers.get(row.household_id or 0),
                "refunded_fen": back.get(row.id, 0),
            }
            for row in shown
        ],
        "next_before": shown[-1].id if len(rows) > len(shown) else None,
    }


def _given_back(ids: Sequence[int]) -> dict[int, int]:
    query = sa.select(Refund.order_id, sa.func.sum(Refund.amount_fen)).where(
        Refund.order_id.in_(ids), Refund.state != "withdrawn"
    )
    return {row[0]: int(row[1]) for row in db.session.execute(query.group_by(Refund.order_id))}


def order_view(out_trade_no: str) -> dict[str, Any]:
    """An order with its bills, refunds, cases and notices; Problem not_found."""
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == out_trade_no)
    order = db.session.scalar(query)
    if order is None:
        raise Problem("not_found")
    made = db.session.scalars(
        sa.select(Refund).where(Refund.order_id == order.id).order_by(Refund.id)
    ).all()
    waits = db.session.scalars(
        sa.select(MoneyCase)
        .where(MoneyCase.out_trade_no == out_trade_no, MoneyCase.kind != "break")
        .order_by(MoneyCase.id)
    ).all()
    return {
        **{name: getattr(order, name) for name in ORDER_FIELDS},
        "account_no": account_numbers({order.household_id}).get(order.household_id or 0),
        "bills": _bills(order),
        "refunds": [refund_view(one) for one in made],
        "refundable_fen": max(0, refund_desk.left_fen(order)),
        "cases": [
            {"id": w.id, "title": cases.TYPES_ZH.get(w.type, w.type), "state": w.state}
            for w in waits
        ],
        "notices": notice_facts.of_order(out_trade_no),
    }


def _bills(order: PaymentOrder) -> list[dict[str, Any]]:
    rows = db.session.execute(
        sa.select(OrderItem.amount_fen, Bill)
        .join(Bill, Bill.id == OrderItem.bill_id)
        .where(OrderItem.order_id == order.id)
        .order_by(Bill.id)
    )
    return [
        {
            "id": row.Bill.id,
            "bill_no": row.Bill.bill_no,
            "title": bill_title(row.Bill.utility, row.Bill.period_from, row.Bill.period_to),
            "amount_fen": row.amount_fen,
            "state": row.Bill.state,
        }
        for row in rows
    ]
