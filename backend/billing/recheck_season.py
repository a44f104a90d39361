"""What a household's season comes to today: the ground a settlement is checked against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import sqlalchemy as sa

from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive.models import Household
from backend.base.db import db
from backend.billing import season, season_rules, usage
from backend.billing.lines import Line
from backend.billing.models import Bill, Tariff


@dataclass(frozen=True, slots=True)
class Again:
    """The season's bills, its heat (None: not known), the run it was shared by where it was paid
    in advance, what is to pay (below 0: to give back) and the lines that say so."""

    billed: Sequence[Bill]
    heat_wh: int | None
    run_id: int | None
    due_fen: int
    lines: Sequence[Line]


def again(household_id: int, begin: date, end: date, tariff: Tariff) -> Again:
    """Settle one household's season once more, keeping nothing."""
    household = db.session.get_one(Household, household_id)
    billed = season.standing_bills([household_id], begin, end).get(household_id, [])
    used = [bill.basis.get("used") for bill in billed]
    run_id = None
    heat_wh: int | None = sum(used) if None not in used else None  # type: ignore[arg-type]
    if None in used:
        heat_wh, run_id = _measured(household, begin, end)
    if heat_wh is None:
        return Again(billed, None, run_id, 0, [])
    paid_fen = sum(bill.amount_fen for bill in billed)
    area, heat, paid = np.array([[household.area_dm2], [heat_wh], [paid_fen]], dtype=np.int64)
    fees = season_rules.season_fees(area, heat, paid, tariff.params)
    lines = season.season_lines(household, heat_wh, tariff, fees, 0, paid_fen)
    return Again(billed, heat_wh, run_id, int(fees.due_fen[0]), lines)


def _measured(household: Household, begin: date, end: date) -> tuple[int | None, int | None]:
    """The heat of a season paid in advance: by the building's locked run, else by its meter."""
    row = db.session.execute(
        sa.select(AllocationShare.energy_wh, AllocationRun.id)
        .join(AllocationRun, AllocationRun.id == AllocationShare.run_id)
        .where(
            AllocationShare.household_id == household.id,
            AllocationRun.purpose == "billing",
            AllocationRun.period_from == begin,
            AllocationRun.period_to == end,
            AllocationRun.superseded_by.is_(None),
            AllocationRun.locked_at.is_not(None),
        )
    ).first()
    if row is not None:
        return row[0], row[1]
    metered = usage.metered([household], "heat", begin, end).get(household.id)
    return (None if metered is None else metered.amount), None
