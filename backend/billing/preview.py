"""What if a draft had been the price: a past period's bills priced again, nothing kept.

The bills' own facts are priced (area, usage, days, tiers of the year), so what differs is the
price alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import sqlalchemy as sa

from backend.archive.models import Building, Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import pricing, regions, usage
from backend.billing.lines import total_fen
from backend.billing.models import Bill, Tariff
from backend.billing.season_cap import SoFar

MAX_BILLS = 50_000  # priced in one go; a larger company looks at a region at a time
SAMPLES = 5
# Borders of the change in percent: a household below -20, -10, ... of what it paid.
BORDERS = (-20, -10, -5, 0, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Again:
    """One bill, and what it would have been."""

    account_no: str
    unit: str
    bill_no: str
    was_fen: int
    would_fen: int

    @property
    def change_fen(self) -> int:
        """Above 0: it would have cost more."""
        return self.would_fen - self.was_fen


def preview(tariff_id: int, begin: date, end: date) -> dict[str, Any]:
    """The standing usage bills over [begin, end) whose price the draft would be, priced by it.

    Totals, how the changes are spread, who pays more and less, households at both ends and in the
    middle; bills that cannot be priced are counted with their reasons.
    Problems no_bills, too_many_bills.
    """
    tariff = db.session.get(Tariff, tariff_id)
    if tariff is None:
        raise Problem("not_found")
    return preview_of(tariff, begin, end)


def preview_of(tariff: Tariff, begin: date, end: date) -> dict[str, Any]:
    """The same of a price that need not be kept anywhere yet."""
    rows = _bills(tariff, begin, end)
    if not rows:
        raise Problem("no_bills")
    if len(rows) > MAX_BILLS:
        raise Problem("too_many_bills")
    again: list[Again] = []
    failed: dict[str, int] = {}
    for bill, household, building in rows:
        try:
            would_fen = total_fen(pricing.price(tariff.kind, tariff.params, _facts(bill, tariff)))
        except ValueError as error:
            failed[str(error)] = failed.get(str(error), 0) + 1
        else:
            unit = f"{building} {household.unit_no}"
            again.append(
                Again(household.account_no, unit, bill.bill_no, bill.amount_fen, would_fen)
            )
    return {**_summary(again), "failed": failed, "begin": begin, "end": end}


def _bills(tariff: Tariff, begin: date, end: date) -> Sequence[Any]:
    query = (
        sa.select(Bill, Household, Building.name)
        .join(Household, Household.id == Bill.household_id)
        .join(Building, Building.id == Household.building_id)
        .where(
            Bill.utility == tariff.utility,
            usage.standing(),
            Bill.period_from >= begin,
            Bill.period_to <= end,
            Household.customer_class == tariff.customer_class,
        )
        .order_by(Bill.id)
        .limit(MAX_BILLS + 1)
    )
    if tariff.region_id is not None:
        query = query.where(Building.region_id.in_(regions.below(tariff.region_id)))
    return db.session.execute(query).all()


def _facts(bill: Bill, tariff: Tariff) -> pricing.Facts:
    """What the bill was priced from, as it kept it; hours are read again where the draft asks."""
    facts = facts_of_basis(bill.basis)
    if "schedule" not in tariff.params:
        return facts
    used = usage.Used(facts.used, {"meters": bill.basis.get("meters", [])})
    clocked = usage.by_the_clock(
        {bill.household_id: used}, {bill.household_id: tariff}, bill.period_from, bill.period_to
    )
    return replace(facts, intervals=clocked[bill.household_id].intervals)


def facts_of_basis(basis: Mapping[str, Any]) -> pricing.Facts:
    """The facts a bill keeps; ValueError for a bill of before they were kept."""
    if "facts" not in basis:
        raise ValueError("账单没有保存计费依据，不能试算")
    kept = basis["facts"]
    return pricing.Facts(
        kept["area_dm2"],
        basis["used"],
        kept["days"],
        kept["suspended"],
        kept["persons"],
        [pricing.YearPart(*part) for part in kept["years"]],
        so_far=SoFar(*kept.get("so_far", ())),
    )


def _summary(again: Sequence[Again]) -> dict[str, Any]:
    ordered = sorted(again, key=lambda one: (one.change_fen, one.bill_no))
    was, would = sum(a.was_fen for a in again), sum(a.would_fen for a in again)
    middle = len(ordered) // 2
    return {
        "bills": len(again),
        "was_fen": was,
        "would_fen": would,
        "more": sum(a.change_fen > 0 for a in again),
        "less": sum(a.change_fen < 0 for a in again),
        "same": sum(a.change_fen == 0 for a in again),
        "spread": spread(again),
        "samples": {
            "less": [a for a in ordered[:SAMPLES] if a.change_fen < 0],
            "middle": ordered[max(0, middle - 2) : middle + 1],
            "more": [a for a in reversed(ordered[-SAMPLES:]) if a.change_fen > 0],
        },
    }


def spread(again: Sequence[Again]) -> list[dict[str, Any]]:
    """How many bills change by how much, in percent of what they were: a row a class."""
    titles = [
        f"降 {-BORDERS[0]}% 以上",
        *(f"{_signed(a)} 至 {_signed(b)}" for a, b in itertools.pairwise(BORDERS)),
        f"涨 {BORDERS[-1]}% 及以上",
    ]
    counts = [0] * len(titles)
    for one in again:
        # A bill of nothing that would cost something has no percentage: it stands at the top.
        percent = 100 if one.was_fen == 0 and one.change_fen else 0
        if one.was_fen:
            percent = one.change_fen * 100 / one.was_fen  # type: ignore[assignment]
        counts[sum(percent >= border for border in BORDERS)] += 1
    return [{"title": t, "bills": n} for t, n in zip(titles, counts, strict=True)]


def _signed(percent: int) -> str:
    return "0%" if percent == 0 else f"{percent:+d}%"
