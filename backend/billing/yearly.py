"""A bill beside the same days of the year before; heat also by this year's weather."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from backend.archive.models import Household
from backend.base.db import db
from backend.base.energy import kwh_from_wh
from backend.billing.models import Bill
from backend.billing.usage import standing
from backend.metering import outdoor, series
from backend.metering.rules import MISSING, Slots

BASE_CDEG = 1800  # degree-days below 18 C
MIN_KNOWN = 0.5  # of a period's outdoor samples; fewer correct nothing


def last_year(bill: Bill) -> dict[str, Any]:
    """last_year_used (Wh or litres) and, of heat, last_year_corrected_wh; None where there were no
    bills, or no weather.

    Bills of a year ago count whole where they lie inside the same days, which must all be billed.
    """
    silent: dict[str, Any] = {"last_year_used": None, "last_year_corrected_wh": None}
    if bill.kind != "usage" or bill.basis.get("used") is None:
        return silent
    begin, end = (_year_before(day) for day in (bill.period_from, bill.period_to))
    rows = db.session.execute(
        sa.select(Bill.period_from, Bill.period_to, Bill.basis["used"].astext).where(
            Bill.household_id == bill.household_id,
            Bill.utility == bill.utility,
            standing(),
            Bill.period_from >= begin,
            Bill.period_to <= end,
            Bill.basis["used"].astext.is_not(None),
        )
    ).all()
    days = sum((upper - lower).days for lower, upper, _ in rows)
    if days < (end - begin).days:
        return silent
    used = sum(int(wh) for _, _, wh in rows)
    corrected = _corrected(bill, used, begin, end) if bill.utility == "heat" else None
    return {"last_year_used": used, "last_year_corrected_wh": corrected}


def sentence(utility: str, found: dict[str, Any]) -> str:
    """The comparison in words; '' where there is nothing to compare with."""
    if found["last_year_used"] is None:
        return ""
    text = f"去年同期用量 {amount_zh(utility, found['last_year_used'])}"
    if found["last_year_corrected_wh"] is not None:
        text += f"；按今年的天气折算为 {kwh_from_wh(found['last_year_corrected_wh']):,.0f} 千瓦时"
    return f"{text}。"


def amount_zh(utility: str, amount: float) -> str:
    """Wh or litres in words: kWh whole, m3 to a tenth."""
    if utility in ("heat", "electricity"):
        return f"{kwh_from_wh(round(amount)):,.0f} 千瓦时"
    return f"{amount / 1000:,.1f} 立方米"


def _year_before(day: date) -> date:
    return date(day.year - 1, day.month, min(day.day, 28) if day.month == 2 else day.day)


def _corrected(bill: Bill, used_wh: int, begin: date, end: date) -> int | None:
    building_id = db.session.get_one(Household, bill.household_id).building_id
    now = _degree_days(building_id, bill.period_from, bill.period_to)
    then = _degree_days(building_id, begin, end)
    return round(used_wh * now / then) if now and then else None


def _degree_days(building_id: int, begin: date, end: date) -> float | None:
    days = [begin + timedelta(n) for n in range((end - begin).days)]
    found = outdoor.series_of(building_id, days)
    if found is None:
        return None
    return degree_days(found.slots, len(days))


def degree_days(slots: Slots, days: int) -> float | None:
    """K·d below BASE_CDEG over `days`; gaps count as the mean of the rest, None with too many."""
    known = slots[slots != MISSING]
    if known.size < MIN_KNOWN * days * series.SLOTS:
        return None
    return float(np.maximum(BASE_CDEG - known.astype(float), 0).mean()) / 100 * days
