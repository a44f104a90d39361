"""What the console's pages read: one statement a page part, however many rows it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from backend.base.db import db

WEEK = 7
MAX_SILENT = 100
SILENT_AFTER = timedelta(hours=24)
FAILING_FOR = timedelta(minutes=10)

# Counted once over the week's rows (an index by day), so that years of history cost nothing.
_BY_BUILDING = """
WITH live AS (
    SELECT building_id, count(*) AS meters FROM meter WHERE removed_on IS NULL GROUP BY 1
), counted AS (
    SELECT m.building_id, s.day, sum(s.asked) AS asked, sum(s.answered) AS answered,
           count(*) FILTER (WHERE s.asked > 0 AND s.answered = 0) AS dumb
      FROM read_success s JOIN meter m ON m.id = s.meter_id AND m.removed_on IS NULL
     WHERE s.day = ANY(CAST(:days AS date[]))
     GROUP BY 1, 2
)
SELECT b.id, b.name, r.name AS region, d.day, live.meters,
       coalesce(c.asked, 0)::bigint AS asked, coalesce(c.answered, 0)::bigint AS answered,
       coalesce(c.dumb, 0) AS dumb
  FROM live
  JOIN building b ON b.id = live.building_id
  JOIN region r ON r.id = b.region_id
 CROSS JOIN unnest(CAST(:days AS date[])) AS d(day)
  LEFT JOIN counted c ON c.building_id = b.id AND c.day = d.day
 ORDER BY b.id, d.day
"""

_SILENT = """
SELECT m.id, m.kind, m.address, m.protocol, b.name AS building, h.unit_no, bus.name AS bus,
       t.last_ok_at, t.last_error_at, t.last_error, count(*) OVER () AS total
  FROM meter m
  JOIN building b ON b.id = m.building_id
  JOIN bus ON bus.id = m.bus_id
  LEFT JOIN household h ON h.id = m.household_id
  LEFT JOIN meter_state t ON t.meter_id = m.id
 WHERE m.removed_on IS NULL
   AND (t.last_ok_at IS NULL OR t.last_ok_at < :since OR t.last_error_at > t.last_ok_at + :failing)
 ORDER BY t.last_ok_at NULLS FIRST, b.name, h.unit_no, m.id
 LIMIT :limit
"""

_STRIP = """
SELECT d.day, f.closed_at, f.reason, s.name AS closed_by,
       bool_or(r.state = 'breaks') AS breaks, bool_and(r.state = 'agreed') AS agreed
  FROM unnest(CAST(:days AS date[])) AS d(day)
  LEFT JOIN finance_day f ON f.day = d.day
  LEFT JOIN staff s ON s.id = f.closed_by
  LEFT JOIN reconciliation r ON r.day = d.day
 GROUP BY d.day, f.closed_at, f.reason, s.name
 ORDER BY d.day
"""

_RUNS = """
SELECT r.id, r.scope, r.title, r.what, r.frozen_on, r.state, r.created_at,
       s.name AS asked_by, count(i.*) AS total,
       count(*) FILTER (WHERE i.state = 'read') AS read,
       count(*) FILTER (WHERE i.state = 'missed') AS missed
  FROM (SELECT * FROM reading_run ORDER BY created_at DESC, id DESC LIMIT :limit) r
  LEFT JOIN reading_run_item i ON i.run_id = r.id
  LEFT JOIN staff s ON s.id = r.asked_by
 GROUP BY r.id, r.scope, r.title, r.what, r.frozen_on, r.state, r.created_at, s.name
 ORDER BY r.created_at DESC, r.id DESC
"""

_COMMANDS = """
SELECT c.*, m.address, a.name AS asker, b.name AS approver
  FROM meter_command c
  JOIN meter m ON m.id = c.meter_id
  JOIN staff a ON a.id = c.asked_by
  LEFT JOIN staff b ON b.id = c.approved_by
 WHERE (CAST(:meter_id AS bigint) IS NULL OR c.meter_id = :meter_id)
   AND (CAST(:state AS text) IS NULL OR c.state = :state)
 ORDER BY c.asked_at DESC, c.id DESC LIMIT :limit
"""


@dataclass
class BuildingReads:
    """One building's reading success: the day shown last in `week`, as (day, asked, answered)."""

    name: str
    region: str
    meters: int = 0
    dumb: int = 0  # meters that were asked on the day shown and never answered
    week: list[tuple[date, int, int]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Questions on the day shown."""
        return self.week[-1][1]

    @property
    def answered(self) -> int:
        """Answers on the day shown."""
        return self.week[-1][2]

    @property
    def share(self) -> float:
        """Answers a question, 0..1; a building nobody asked counts as worst."""
        return self.answered / self.asked if self.asked else -1.0


def days_until(day: date, count: int) -> list[date]:
    """The `count` days that end with `day`, oldest first."""
    return [day - timedelta(days=back) for back in reversed(range(count))]


def _rows(sql: str, **values: Any) -> Sequence[Any]:
    return db.session.execute(db.text(sql), values).all()


def reading_success(day: date) -> list[BuildingReads]:
    """Every building's week of reading success, the worst of the day first."""
    found: dict[int, BuildingReads] = {}
    for row in _rows(_BY_BUILDING, days=days_until(day, WEEK)):
        building = found.setdefault(row.id, BuildingReads(row.name, row.region))
        building.meters, building.dumb = row.meters, row.dumb
        building.week.append((row.day, row.asked, row.answered))
    return sorted(found.values(), key=lambda b: (b.share, b.name))


def silent_meters(now: datetime) -> tuple[list[Any], int]:
    """Meters that need a person, the longest silent first, and how many there are in all.

    Never heard, not heard for SILENT_AFTER, or still failing FAILING_FOR after the last answer.
    """
    rows = list(_rows(_SILENT, since=now - SILENT_AFTER, failing=FAILING_FOR, limit=MAX_SILENT))
    return rows, rows[0].total if rows else 0


def latest_runs(limit: int = 30) -> Sequence[Any]:
    """The newest reading runs with who asked for them and how far they have come."""
    return _rows(_RUNS, limit=limit)


def supply_commands(
    *, meter_id: int | None = None, state: str | None = None, limit: int = 50
) -> Sequence[Any]:
    """Orders to valves and relays, the newest first: of one meter, or in one state."""
    return _rows(_COMMANDS, meter_id=meter_id, state=state, limit=limit)


def finance_strip(last: date, count: int = 14) -> list[dict[str, Any]]:
    """The finance days that end with `last`: state closed, signed, agreed, breaks or open."""
    return [
        {**row._mapping, "state": _strip_state(row)}
        for row in _rows(_STRIP, days=days_until(last, count))
    ]


def _strip_state(row: Any) -> str:
    if row.closed_at:
        return "signed" if row.reason else "closed"
    if row.breaks:
        return "breaks"
    return "agreed" if row.agreed else "open"
