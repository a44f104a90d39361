"""What a household used day by day: its part of the building's heat, or its own meters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from backend.base.db import db
from backend.metering import history
from backend.metering.history import DayUsage

MAX_DAYS = 400
UNITS = {"heat": "wh", "electricity": "wh", "water": "l", "gas": "l"}

_SHARED = """
SELECT r.period_from AS day, s.energy_wh AS used,
       s.flags || coalesce(ARRAY[r.building_flag], '{}') AS flags
  FROM household h
  JOIN allocation_run r ON r.building_id = h.building_id AND r.purpose = 'daily'
       AND r.superseded_by IS NULL AND r.period_from BETWEEN %s AND %s
  JOIN allocation_share s ON s.run_id = r.id AND s.household_id = h.id
 WHERE h.id = %s ORDER BY r.period_from
"""

_IS_SHARED = """
SELECT EXISTS (SELECT 1 FROM household h
                 JOIN allocation_rule a ON a.building_id = h.building_id
                WHERE h.id = %s AND a.effective_from <= %s)
"""


@dataclass(frozen=True, slots=True)
class Consumption:
    """Days in order, every one of the period; totals in Wh or litres.

    `provisional`: shares of a building's heat are settled anew when the bill is made.
    `previous_total` is that of as many closed days just before (a day not over yet counts in
    neither), None unless each of both is known.
    """

    unit: str
    provisional: bool
    days: list[DayUsage]
    total: int
    previous_total: int | None


def consumption(household_id: int, utility: str, day_from: date, day_to: date) -> Consumption:
    """What was used over [day_from, day_to], both included; two statements."""
    length = (day_to - day_from).days + 1
    shared = utility == "heat" and _is_shared(household_id, day_to)
    before = day_from - timedelta(length)
    known = _known(household_id, utility, shared, before, day_to)
    wanted = [day_from + timedelta(n) for n in range(length)]
    days = [known.get(day, DayUsage(day, None, ["not_closed"])) for day in wanted]
    return Consumption(
        UNITS[utility],
        shared,
        days,
        sum(d.used or 0 for d in days),
        _previous_total(known, day_from),
    )


def _previous_total(known: dict[date, DayUsage], day_from: date) -> int | None:
    closed = [day for day in known if day >= day_from]
    length = (max(closed) - day_from).days + 1 if closed else 0
    both = [known.get(day_from + timedelta(n)) for n in range(-length, length)]
    used = [day.used for day in both if day is not None and day.used is not None]
    if not both or len(used) < len(both):
        return None
    return sum(used[:length])


def _known(
    household_id: int, utility: str, shared: bool, day_from: date, day_to: date
) -> dict[date, DayUsage]:
    if not shared:
        rows = history.counted(household_id, utility, day_from, day_to)
        return {row.day: row for row in rows}
    found = db.session.connection().exec_driver_sql(_SHARED, (day_from, day_to, household_id))
    return {row.day: DayUsage(row.day, row.used, _present(row.flags)) for row in found}


def _present(flags: list[str | None]) -> list[str]:
    return [flag for flag in flags if flag]


def _is_shared(household_id: int, day: date) -> bool:
    """Whether the building's heat is shared out, so that no meter of the flat's own counts."""
    asked = db.session.connection().exec_driver_sql(_IS_SHARED, (household_id, day))
    return bool(asked.scalar())
