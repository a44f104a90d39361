"""What the dispatcher looks at: buses with their success, jobs, refused frames; a page at a time.

One statement a list, however many rows it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.paging import Page, page_of

MAX_METERS: Final = 500
WEEK: Final = 7

_BELOW = """
WITH RECURSIVE below AS (
    SELECT id FROM region WHERE id = CAST(:region AS bigint)
     UNION SELECT r.id FROM region r JOIN below ON r.parent_id = below.id
)
"""
_CHOSEN = """
  FROM bus b JOIN building h ON h.id = b.building_id JOIN region r ON r.id = h.region_id
 WHERE (CAST(:region AS bigint) IS NULL OR h.region_id IN (SELECT id FROM below))
   AND (CAST(:bus AS bigint) IS NULL OR b.id = :bus)
"""
# Of the page's buses only: their meters by the index of live addresses, a week by primary key.
_BUSES = f"""{_BELOW}
SELECT b.*, n.meters, s.asked, s.answered, s.asked_week, s.answered_week, j.jobs
  FROM (SELECT b.id, b.code, b.name, b.link, b.read_every_s, b.state, b.state_since, b.cycle,
               b.last_seen_at, b.signal_dbm, b.signal_at, h.name AS building, r.name AS region
        {_CHOSEN} AND (CAST(:state AS text) IS NULL OR b.state = :state)
         ORDER BY array_position(ARRAY['silent', 'overload', 'no_load', 'reading', 'idle'],
                                 b.state), b.code, b.id
         LIMIT :limit OFFSET :offset) b
  CROSS JOIN LATERAL (
       SELECT count(*) AS meters FROM meter m WHERE m.bus_id = b.id AND m.removed_on IS NULL) n
  CROSS JOIN LATERAL (
       SELECT coalesce(sum(s.asked) FILTER (WHERE s.day = :today), 0)::bigint AS asked,
              coalesce(sum(s.answered) FILTER (WHERE s.day = :today), 0)::bigint AS answered,
              coalesce(sum(s.asked), 0)::bigint AS asked_week,
              coalesce(sum(s.answered), 0)::bigint AS answered_week
         FROM meter m JOIN read_success s ON s.meter_id = m.id AND s.day > :week_ago
        WHERE m.bus_id = b.id AND m.removed_on IS NULL) s
  CROSS JOIN LATERAL (
       SELECT count(*) AS jobs FROM bus_job j
        WHERE j.bus_id = b.id AND j.state IN ('queued', 'running')) j
 ORDER BY array_position(ARRAY['silent', 'overload', 'no_load', 'reading', 'idle'], b.state),
          b.code, b.id
"""
_STATES = f"{_BELOW} SELECT b.state, count(*) AS buses {_CHOSEN} GROUP BY b.state"

_METERS = """
SELECT m.id, m.kind, m.protocol, m.address, h.unit_no, t.last_ok_at, t.last_error, t.last_error_at,
       t.clock_drift_s, t.clock_at, t.signal_dbm, t.snr_ddb,
       coalesce(s.asked, 0)::bigint AS asked, coalesce(s.answered, 0)::bigint AS answered,
       count(*) OVER () AS total
  FROM meter m
  LEFT JOIN household h ON h.id = m.household_id
  LEFT JOIN meter_state t ON t.meter_id = m.id
  LEFT JOIN LATERAL (
       SELECT sum(asked) AS asked, sum(answered) AS answered FROM read_success
        WHERE meter_id = m.id AND day > :week_ago) s ON true
 WHERE m.bus_id = :bus AND m.removed_on IS NULL
 ORDER BY h.unit_no NULLS FIRST, m.kind, m.address LIMIT :limit
"""

_JOBS = """
SELECT j.id, j.bus_id, j.kind, j.parameters, j.state, j.done, j.total, j.note, j.error,
       j.asked_at, j.started_at, j.ended_at, b.code AS bus, h.name AS building, s.name AS asked_by,
       coalesce(jsonb_array_length(j.result -> 'found'), 0) AS found
  FROM bus_job j
  JOIN bus b ON b.id = j.bus_id
  JOIN building h ON h.id = b.building_id
  LEFT JOIN staff s ON s.id = j.asked_by
 WHERE (CAST(:bus AS bigint) IS NULL OR j.bus_id = :bus)
   AND (CAST(:state AS text) IS NULL OR j.state = :state)
 ORDER BY j.asked_at DESC, j.id DESC LIMIT :limit OFFSET :offset
"""

_FRAMES = """
SELECT f.id, f.at, f.bus_id, f.meter_id, f.protocol, f.code, f.reason, f.frame, f.explained,
       b.code AS bus, m.address
  FROM refused_frame f
  LEFT JOIN bus b ON b.id = f.bus_id
  LEFT JOIN meter m ON m.id = f.meter_id
 WHERE (CAST(:bus AS bigint) IS NULL OR f.bus_id = :bus)
   AND (CAST(:code AS text) IS NULL OR f.code = :code)
 ORDER BY f.at DESC, f.id DESC LIMIT :limit OFFSET :offset
"""

_COUNTS = """
SELECT code, day, sum(count)::bigint AS count FROM refused_count
 WHERE day > :week_ago AND (CAST(:bus AS bigint) IS NULL OR bus_id = :bus)
 GROUP BY code, day ORDER BY code, day
"""


def _rows(sql: str, **values: Any) -> Sequence[Any]:
    return db.session.execute(db.text(sql), values).all()


def _days(now: datetime) -> dict[str, Any]:
    today = business_day(now)
    return {"today": today, "week_ago": today - timedelta(days=WEEK)}


def buses(
    now: datetime, *, region_id: int | None = None, state: str | None = None, page: int = 1
) -> Page:
    """Buses of a region and all below it, in a state; what needs a person first."""
    return page_of(_BUSES, page, region=region_id, state=state, bus=None, **_days(now))


def bus(bus_id: int, now: datetime) -> Any:
    """One bus as the list shows it; Problem not_found."""
    found = page_of(_BUSES, 1, region=None, state=None, bus=bus_id, **_days(now)).rows
    if not found:
        raise Problem("not_found")
    return found[0]


def states(region_id: int | None = None) -> dict[str, int]:
    """How many buses of a region are in each state."""
    return {row.state: row.buses for row in _rows(_STATES, region=region_id, bus=None)}


def meters(bus_id: int, now: datetime) -> Sequence[Any]:
    """The meters of a bus with their week's success, clock and signal, up to MAX_METERS."""
    week_ago = _days(now)["week_ago"]
    return _rows(_METERS, bus=bus_id, week_ago=week_ago, limit=MAX_METERS)


def jobs(*, bus_id: int | None = None, state: str | None = None, page: int = 1) -> Page:
    """Jobs on buses, the newest first."""
    return page_of(_JOBS, page, bus=bus_id, state=state)


def frames(*, bus_id: int | None = None, code: str | None = None, page: int = 1) -> Page:
    """Refused frames, the newest first."""
    return page_of(_FRAMES, page, bus=bus_id, code=code)


@dataclass(frozen=True, slots=True)
class CodeWeek:
    """How often a code was refused on each of the last seven days, oldest first."""

    code: str
    days: list[int]

    @property
    def total(self) -> int:
        return sum(self.days)


def refused_week(now: datetime, bus_id: int | None = None) -> tuple[list[date], list[CodeWeek]]:
    """(the last seven business days, each code's counts in them), the most frequent first."""
    today = business_day(now)
    days = [today - timedelta(days=back) for back in reversed(range(WEEK))]
    counts: dict[str, dict[date, int]] = {}
    for row in _rows(_COUNTS, week_ago=today - timedelta(days=WEEK), bus=bus_id):
        counts.setdefault(row.code, {})[row.day] = row.count
    weeks = [CodeWeek(code, [of.get(day, 0) for day in days]) for code, of in counts.items()]
    return days, sorted(weeks, key=lambda week: (-week.total, week.code))
