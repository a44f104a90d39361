"""A household's balance: what is given back goes into it, and it pays the oldest bill first."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db, hold
from backend.base.errors import Problem
from backend.billing import regions, service, topics
from backend.billing.models import Adjustment, Bill, BillingRequest, BillPayment, RegionRule
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal


def held_fen(household_id: int) -> int:
    """What we hold for a household, in fen (a wallet is a liability: credit side)."""
    return -ledger.balance_fen(chart.wallet(household_id).code)


def one_at_a_time(household_id: int) -> None:
    """Whoever else moves this household's balance waits until our commit."""
    hold(f"wallet:{household_id}")


def credit(
    business_key: str,
    household_id: int,
    utility: str,
    kind: str,
    credit_fen: int,
    reason: str,
    now: datetime,
    asked_by: int | None = None,
    approved_by: int | None = None,
    **detail: Any,
) -> Adjustment:
    """Give money back: less revenue, more in the wallet, which then pays what is owed.

    The same key again returns the adjustment already made.
    """
    if credit_fen <= 0:
        raise Problem("validation", "退费金额须大于 0。", field="credit_fen")
    found = db.session.scalars(
        sa.select(Adjustment).where(Adjustment.business_key == business_key)
    ).one_or_none()
    if found is not None:
        return found
    made = Adjustment(
        business_key=business_key,
        household_id=household_id,
        utility=utility,
        kind=kind,
        credit_fen=credit_fen,
        reason=reason,
        detail=detail,
        asked_by=asked_by,
        approved_by=approved_by,
        at=now,
    )
    db.session.add(made)
    db.session.flush()
    ledger.post(
        f"adjustment:{business_key}",
        "adjustment",
        now,
        [(chart.revenue(utility), credit_fen), (chart.wallet(household_id), -credit_fen)],
        memo=reason,
    )
    pay_oldest(household_id, now)
    return made


def pay_oldest(household_id: int, now: datetime) -> int:
    """Pay open bills from the wallet, the oldest (by due day) first; the fen that were used.

    Bills of a utility whose rule says otherwise are left alone (topic balance).  One at a time a
    household: a second caller waits and then finds nothing left to do.
    """
    one_at_a_time(household_id)
    left = held = held_fen(household_id)
    spared = _spared(household_id, business_day(now)) if left > 0 else frozenset()
    for bill_id, bill_no, utility, open_fen in open_bills(household_id):
        part = 0 if utility in spared else min(left, open_fen)
        if left <= 0:
            break
        if part > 0 and service.apply_payment(bill_id, part, now):
            ledger.post(
                f"wallet:{bill_no}:{_payments(bill_id)}",
                "wallet",
                now,
                [
                    (chart.wallet(household_id), part),
                    (chart.receivable(utility, household_id), -part),
                ],
                memo=f"余额支付账单 {bill_no}",
            )
            left -= part
    return held - left


class OpenBill(NamedTuple):
    """A bill and what is still owed on it."""

    id: int
    bill_no: str
    utility: str
    open_fen: int


def open_bills(household_id: int, utility: str | None = None) -> list[OpenBill]:
    """What a household owes, the oldest (by due day) first, held until commit."""
    query = (
        sa.select(Bill.id, Bill.bill_no, Bill.utility, Bill.amount_fen - Bill.paid_fen)
        .where(Bill.household_id == household_id, Bill.state == "issued")
        .order_by(Bill.due_on, Bill.id)
        .with_for_update()
    )
    if utility is not None:
        query = query.where(Bill.utility == utility)
    return [OpenBill(*row) for row in db.session.execute(query)]


def _spared(household_id: int, today: date) -> frozenset[str]:
    """The utilities whose bills the balance does not pay by itself."""
    rules = topics.rules_of("balance")
    if not rules:
        return frozenset()
    chain = regions.chain_of(db.session.get_one(Household, household_id).building_id)
    by_utility: dict[str, list[RegionRule]] = {}
    for rule in rules:
        by_utility.setdefault(rule.utility, []).append(rule)
    return frozenset(
        utility
        for utility, mine in by_utility.items()
        if not topics.resolve(chain, mine, "balance", today)["pays_debts"]
    )


def _payments(bill_id: int) -> int:
    """How many payments a bill has had: the number of the newest."""
    count = sa.select(sa.func.count()).where(BillPayment.bill_id == bill_id)
    return int(db.session.scalar(count) or 0)


def carry_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved request to give money back."""
    made = credit(
        f"credit:{request.id}",
        request.subject_id,
        request.params["utility"],
        "correction",
        request.params["credit_fen"],
        request.reason,
        now,
        request.asked_by,
        actor.id,
    )
    return {"adjustment_id": made.id}
