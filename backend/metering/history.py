"""What a household looks back on: its temperatures, and what its own meters counted each day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from backend.base.db import db
from backend.metering import rules
from backend.metering.rules import MISSING, Slots
from backend.metering.series import INTERVAL_S, QUANTITIES

MAX_DAYS = 31

_SERIES = """
SELECT d.day, d.quantity, d.samples
  FROM meter m JOIN day_series d ON d.meter_id = m.id AND d.day BETWEEN %s AND %s
 WHERE m.household_id = %s AND m.kind IN ('room', 'heat')
 ORDER BY d.day, m.id
"""

_COUNTED = """
SELECT d.day,
       CASE WHEN bool_and(d.usage IS NOT NULL) THEN sum(d.usage)::bigint END AS used,
       array_agg(d.flags::text) AS flags
  FROM meter m JOIN daily_usage d ON d.meter_id = m.id AND d.day BETWEEN %s AND %s
 WHERE m.household_id = %s AND m.kind = %s AND m.scope = 'household'
 GROUP BY d.day ORDER BY d.day
"""


@dataclass(frozen=True, slots=True)
class DayUsage:
    """One day: Wh or litres, None where it is not known; the flags say why."""

    day: date
    used: int | None
    flags: list[str]


@dataclass(frozen=True, slots=True)
class Temperatures:
    """`days` of {day, room_cdeg, supply_cdeg, return_cdeg}; each 144 numbers or None."""

    days: list[dict[str, Any]]
    stats: dict[str, int | None]


def temperature(household_id: int, day_from: date, day_to: date, target_cdeg: int) -> Temperatures:
    """A household's temperatures over [day_from, day_to], both included, in hundredths of a degree.

    Ten-minute slots; `below_target_s` counts the slots of room temperature under `target_cdeg`.
    One statement.  Of several meters of a kind the later installed one stands.
    """
    rows = db.session.connection().exec_driver_sql(_SERIES, (day_from, day_to, household_id))
    found: dict[tuple[date, str], Slots] = {}
    for day, quantity, samples in rows:
        slots = _ten_minutes(rules.unpack_day(bytes(samples)))
        before = found.get((day, quantity))
        found[day, quantity] = slots if before is None else _over(before, slots)
    wanted = [day_from + timedelta(n) for n in range((day_to - day_from).days + 1)]
    days = [{"day": day, **{q: _plain(found.get((day, q))) for q in QUANTITIES}} for day in wanted]
    room = [slots for (_, quantity), slots in found.items() if quantity == "room_cdeg"]
    return Temperatures(days, _stats(room, target_cdeg))


def counted(household_id: int, kind: str, day_from: date, day_to: date) -> list[DayUsage]:
    """What the household's own meters of a kind counted, days without a closing left out."""
    rows = db.session.connection().exec_driver_sql(_COUNTED, (day_from, day_to, household_id, kind))
    return [DayUsage(row.day, row.used, _flags(row.flags)) for row in rows]


def _flags(arrays: Sequence[str]) -> list[str]:
    """Postgres arrays as text ('{a,b}') of the day's meters -> each flag once."""
    names = (name for array in arrays for name in array.strip("{}").split(",") if name)
    return list(dict.fromkeys(names))


def _ten_minutes(slots: Slots) -> Slots:
    """Slots of another interval read at the start of each ten minutes."""
    wanted = rules.DAY_S // INTERVAL_S
    if len(slots) == wanted:
        return slots
    return slots[np.arange(wanted) * len(slots) // wanted]


def _over(before: Slots, slots: Slots) -> Slots:
    return np.where(slots == MISSING, before, slots)


def _plain(slots: Slots | None) -> list[int | None]:
    if slots is None:
        return [None] * (rules.DAY_S // INTERVAL_S)
    return [None if value == MISSING else value for value in slots.tolist()]


def _stats(room: Sequence[Slots], target_cdeg: int) -> dict[str, int | None]:
    known = np.concatenate(room) if room else np.array([], dtype=np.int16)
    known = known[known != MISSING].astype(np.int64)
    if not len(known):
        return {"min_cdeg": None, "max_cdeg": None, "mean_cdeg": None, "below_target_s": 0}
    return {
        "min_cdeg": int(known.min()),
        "max_cdeg": int(known.max()),
        "mean_cdeg": round(float(known.mean())),
        "below_target_s": int((known < target_cdeg).sum()) * INTERVAL_S,
    }
