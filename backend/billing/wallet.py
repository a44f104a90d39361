"""A household's balance: what is given back goes into it, and it pays the oldest bill first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
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


def one_at_a_time(*household_ids: int) -> None:
    """Whoever else moves these households' balances waits until our commit."""
    hold(*(f"wallet:{household_id}" for household_id in household_ids))


class Credit(NamedTuple):
    """Money to give back to a household, once for a `business_key`."""

    business_key: str
    household_id: int
    utility: str
    kind: str
    credit_fen: int
    reason: str
    asked_by: int | None = None
    approved_by: int | None = None
    detail: Mapping[str, Any] = MappingProxyType({})


def credit(wish: Credit, now: datetime) -> Adjustment:
    """Give money back; see credit_all."""
    return credit_all([wish], now)[0]


def credit_all(wishes: Sequence[Credit], now: datetime) -> list[Adjustment]:
    """Give money back: less revenue, more in the wallet, which then pays what is owed.

    The same key again returns the adjustment already made.
    """
    if any(wish.credit_fen <= 0 for wish in wishes):
        raise Problem("validation", "退费金额须大于 0。", field="credit_fen")
    keys = [wish.business_key for wish in wishes]
    found = db.session.scalars(sa.select(Adjustment).where(Adjustment.business_key.in_(keys)))
    made = {row.business_key: row for row in found}
    fresh = [wish for wish in wishes if wish.business_key not in made]
    for wish in fresh:
        values = wish._asdict() | {"detail": dict(wish.detail)}
        made[wish.business_key] = Adjustment(**values, at=now)
        db.session.add(made[wish.business_key])
    db.session.flush()
    ledger.post_many(_given_back(wish, now) for wish in fresh)
    pay_oldest_of([wish.household_id for wish in fresh], now)
    return [made[key] for key in keys]


def _given_back(wish: Credit, now: datetime) -> ledger.Draft:
    lines = [
        (chart.revenue(wish.utility), wish.credit_fen),
        (chart.wallet(wish.household_id), -wish.credit_fen),
    ]
    return ledger.Draft(
        f"adjustment:{wish.business_key}", "adjustment", now, lines, memo=wish.reason
    )


def pay_oldest(household_id: int, now: datetime) -> int:
    """Pay a household's open bills from its wallet; the fen that were used."""
    return pay_oldest_of([household_id], now)


def pay_oldest_of(household_ids: Sequence[int], now: datetime) -> int:
    """Pay open bills from the wallets, the oldest (by due day) first; the fen that were used.

    Bills of a utility whose rule says otherwise are left alone (topic balance).  One at a time a
    household: a second caller waits and then finds nothing left to do.
    """
    if not household_ids:
        return 0
    one_at_a_time(*household_ids)
    held = _held(household_ids)
    spared = _spared(list(held), business_day(now)) if held else {}
    parts: dict[OpenBill, int] = {}
    for bill in open_bills(list(held)) if held else ():
        left = held[bill.household_id]
        part = 0 if bill.utility in spared[bill.household_id] else min(left, bill.open_fen)
        if part > 0:
            parts[bill] = part
            held[bill.household_id] -= part
    taken = service.apply_payments({bill.id: part for bill, part in parts.items()}, now)
    numbers = _payments(taken)
    ledger.post_many(
        ledger.Draft(
            f"wallet:{bill.bill_no}:{numbers[bill.id]}",
            "wallet",
            now,
            [
                (chart.wallet(bill.household_id), part),
                (chart.receivable(bill.utility, bill.household_id), -part),
            ],
            memo=f"余额支付账单 {bill.bill_no}",
        )
        for bill, part in parts.items()
        if bill.id in taken
    )
    return sum(part for bill, part in parts.items() if bill.id in taken)


def _held(household_ids: Sequence[int]) -> dict[int, int]:
    """household -> what we hold for it, of those we hold something for."""
    codes = {chart.wallet(household_id).code: household_id for household_id in household_ids}
    balances = ledger.balances_fen(codes)
    return {codes[code]: -fen for code, fen in balances.items() if fen < 0}


class OpenBill(NamedTuple):
    """A bill and what is still owed on it."""

    id: int
    household_id: int
    bill_no: str
    utility: str
    open_fen: int


def open_bills(household_ids: Sequence[int], utility: str | None = None) -> list[OpenBill]:
    """What households owe, the oldest (by due day) first, held until commit."""
    left = Bill.amount_fen - Bill.paid_fen
    query = (
        sa.select(Bill.id, Bill.household_id, Bill.bill_no, Bill.utility, left)
        .where(Bill.household_id.in_(household_ids), Bill.state == "issued")
        .order_by(Bill.due_on, Bill.id)
        .with_for_update()
    )
    if utility is not None:
        query = query.where(Bill.utility == utility)
    return [OpenBill(*row) for row in db.session.execute(query)]


def _spared(household_ids: Sequence[int], today: date) -> dict[int, frozenset[str]]:
    """household -> the utilities whose bills its balance does not pay by itself."""
    rules = topics.rules_of("balance")
    if not rules:
        return dict.fromkeys(household_ids, frozenset())
    by_utility: dict[str, list[RegionRule]] = {}
    for rule in rules:
        by_utility.setdefault(rule.utility, []).append(rule)
    where = sa.select(Household.id, Household.building_id).where(Household.id.in_(household_ids))
    building = {row.id: row.building_id for row in db.session.execute(where)}
    chains = {building_id: regions.chain_of(building_id) for building_id in set(building.values())}
    by_building = {
        building_id: frozenset(
            utility
            for utility, mine in by_utility.items()
            if not topics.resolve(chain, mine, "balance", today)["pays_debts"]
        )
        for building_id, chain in chains.items()
    }
    return {household_id: by_building[building[household_id]] for household_id in household_ids}


def _payments(bill_ids: Collection[int]) -> dict[int, int]:
    """bill -> how many payments it has had: the number of the newest."""
    count = sa.select(BillPayment.bill_id, sa.func.count()).group_by(BillPayment.bill_id)
    found = db.session.execute(count.where(BillPayment.bill_id.in_(bill_ids)))
    return {row[0]: row[1] for row in found}


def carry_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved request to give money back."""
    wish = Credit(
        f"credit:{request.id}",
        request.subject_id,
        request.params["utility"],
        "correction",
        request.params["credit_fen"],
        request.reason,
        request.asked_by,
        actor.id,
    )
    made = credit(wish, now)
    return {"adjustment_id": made.id}
