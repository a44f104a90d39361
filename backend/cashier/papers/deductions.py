"""What was deducted from prepaid accounts and can be invoiced: a line a month and utility.

A prepaid household makes no bills; what taxes its consumption is each night's deduction.  Every
invoice line names the days it stands for and how much of each (paper_deduction), so that no
deduction is invoiced twice.  What an overdraft stands for is not paid yet: the newest days wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from backend.base.clock import add_months, month_start
from backend.base.db import db
from backend.base.energy import kwh_from_wh
from backend.base.errors import Problem
from backend.billing import ahead, handover
from backend.billing.explain import bill_title
from backend.cashier.papers import rules, tax
from backend.cashier.papers.models import TaxRate
from backend.cashier.papers.rules import Line

COMPONENT = "prepaid"  # a tax rate may name it; else the utility's own holds
REACH_MONTHS = 36  # deductions before that are invoiced no more
TITLE = "（预付费）"

Key = tuple[str, date]  # utility, first day of the month

_DAYS = sa.text("""
SELECT d.utility, d.day, d.deduction_fen, d.used,
       coalesce((SELECT sum(i.amount_fen) FROM paper_deduction i
                  WHERE i.household_id = d.household_id AND i.utility = d.utility
                    AND i.day = d.day AND NOT EXISTS (
                        SELECT 1 FROM paper_void v WHERE v.paper_id = i.paper_id)
       ), 0)::bigint AS invoiced_fen
  FROM prepaid_day d
 WHERE d.household_id = :household AND d.day >= :since
 ORDER BY d.utility, d.day
""")


@dataclass(frozen=True, slots=True)
class Night:
    """A day's deduction (below zero where it corrects earlier ones) and what is invoiced of it."""

    day: date
    deduction_fen: int
    used: int
    invoiced_fen: int


@dataclass(frozen=True, slots=True)
class Month:
    """What is left to be invoiced of a utility's month, day by day; `used` in Wh or litres.

    `used` is None where a part has been invoiced already or is not paid yet.
    """

    utility: str
    month: date
    deducted_fen: int
    days: tuple[tuple[date, int], ...]
    used: int | None

    @property
    def left_fen(self) -> int:
        """The sum of the days."""
        return sum(fen for _, fen in self.days)


def months(utility: str, nights: Sequence[Night], unpaid_fen: int) -> list[Month]:
    """The months of a utility of which something is left, from its nights in order of days.

    `unpaid_fen`: the overdraft; it stands for the newest deductions.  A month never offers more
    than its own deductions come to, corrections and all.
    """
    unpaid = _unpaid(nights, unpaid_fen)
    by_month: dict[date, list[Night]] = {}
    for night in nights:
        by_month.setdefault(month_start(night.day), []).append(night)
    made = [_month(utility, month, mine, unpaid) for month, mine in by_month.items()]
    return [month for month in made if month.days]


def _unpaid(nights: Sequence[Night], unpaid_fen: int) -> dict[date, int]:
    found = {}
    for night in reversed(nights):
        part = min(max(0, night.deduction_fen), unpaid_fen)
        if part <= 0 and unpaid_fen <= 0:
            break
        found[night.day] = part
        unpaid_fen -= part
    return found


def _month(utility: str, month: date, nights: Sequence[Night], unpaid: Mapping[date, int]) -> Month:
    deducted_fen = sum(night.deduction_fen for night in nights)
    closed_fen = sum(night.invoiced_fen + unpaid.get(night.day, 0) for night in nights)
    free_fen = max(0, deducted_fen - closed_fen)
    days = []
    for night in nights:
        part = night.deduction_fen - night.invoiced_fen - unpaid.get(night.day, 0)
        part = min(free_fen, max(0, part))
        if part:
            days.append((night.day, part))
            free_fen -= part
    used = sum(night.used for night in nights) if not closed_fen else None
    return Month(utility, month, deducted_fen, tuple(days), used)


def left(household_id: int, today: date) -> list[Month]:
    """What is left of a household's deductions, the newest month first.

    Those of the time before its owner took it over are not his, and are left out.
    """
    first = add_months(month_start(today), -REACH_MONTHS)
    since = handover.since(household_id)
    values = {"household": household_id, "since": max(first, since or first)}
    nights: dict[str, list[Night]] = {}
    for row in db.session.execute(_DAYS, values):
        night = Night(row.day, row.deduction_fen, row.used, row.invoiced_fen)
        nights.setdefault(row.utility, []).append(night)
    found = [
        month
        for utility, mine in nights.items()
        for month in months(utility, mine, max(0, -ahead.held_fen(household_id, utility)))
    ]
    return sorted(found, key=lambda m: (m.month, m.utility), reverse=True)


def invoiceable(household_id: int, today: date) -> list[dict[str, Any]]:
    """The same, as it is shown to whoever chooses."""
    return [
        {
            "utility": month.utility,
            "month": f"{month.month:%Y-%m}",
            "title": _title(month),
            "deducted_fen": month.deducted_fen,
            "left_fen": month.left_fen,
        }
        for month in left(household_id, today)
    ]


def month_of(text: str) -> date:
    """'2026-11' as its first day; Problem validation."""
    try:
        if len(text) != len("2026-11"):
            raise ValueError(text)
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise Problem("validation", "月份格式应为 2026-11。", field="months") from None


def lines(
    household_id: int,
    wanted: Sequence[Key],
    rates: dict[tuple[str, str], TaxRate],
    today: date,
) -> list[Line]:
    """A line for each of these months; Problem nothing_to_invoice where nothing is left of one.

    The caller holds the household's papers.
    """
    found = {(month.utility, month.month): month for month in left(household_id, today)}
    if not found.keys() >= set(wanted):
        raise Problem("nothing_to_invoice", field="months")
    return [_line(found[key], rates) for key in sorted(set(wanted))]


def _line(month: Month, rates: dict[tuple[str, str], TaxRate]) -> Line:
    quantity, unit = _quantity(month)
    line = Line(_title(month), month.left_fen, month.utility, None, quantity, unit, days=month.days)
    return rules.taxed(line, *tax.rate_for(rates, month.utility, COMPONENT))


def _quantity(month: Month) -> tuple[Decimal | None, str]:
    """What the month used, where the line stands for all of it."""
    if not month.used or month.used < 0 or month.left_fen != month.deducted_fen:
        return None, ""
    unit = "kWh" if month.utility in ("heat", "electricity") else "m³"
    return kwh_from_wh(month.used), unit  # litres to m³ is the same thousandth


def _title(month: Month) -> str:
    first, last = month.days[0][0], month.days[-1][0]
    return bill_title(month.utility, first, last + timedelta(1)) + TITLE
