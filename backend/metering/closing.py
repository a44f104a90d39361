"""A metering day closed: what each meter counted between two midnights, from its readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Meter
from backend.archive.rules import THERMOMETERS
from backend.base.clock import day_start
from backend.base.db import db
from backend.metering import rules
from backend.metering.models import DailyUsage
from backend.metering.quality import FALLBACK_MAX_PER_DAY, REGISTER_MAX, USUAL_MAX_PER_DAY

# A boundary's register is the last one at or before it; an older one than this is flagged.
FRESH = timedelta(hours=2)
REACH = timedelta(days=40)

# The last usable register of each meter at or before its instant; corrections win over originals.
BOUNDARY = sa.text("""
    SELECT m.id AS meter_id, r.id, r.read_at, r.register
      FROM unnest(CAST(:meters AS bigint[]), CAST(:ats AS timestamptz[])) AS m(id, at)
     CROSS JOIN LATERAL (
           SELECT id, read_at, register FROM reading
            WHERE meter_id = m.id AND read_at <= m.at AND read_at > m.at - CAST(:reach AS interval)
              AND register IS NOT NULL AND NOT ('impossible' = ANY(flags))
            ORDER BY read_at DESC, corrects_id DESC LIMIT 1) r
""")


@dataclass(frozen=True, slots=True)
class Boundary:
    """A register at (or last before) an instant, and the reading it was taken from."""

    reading_id: int | None
    at: datetime
    register: int


@dataclass(frozen=True, slots=True)
class Span:
    """What a meter counted between two instants; None with a flag where it cannot be told."""

    meter: Meter
    open: Boundary | None
    close: Boundary | None
    usage: int | None
    flags: list[str]

    def basis(self) -> dict[str, Any]:
        """The span as JSON, for runs and bills to keep: registers, reading ids, flags."""
        return {
            "meter_id": self.meter.id,
            "open_reading_id": self.open.reading_id if self.open else None,
            "open": self.open.register if self.open else None,
            "close_reading_id": self.close.reading_id if self.close else None,
            "close": self.close.register if self.close else None,
            "flags": self.flags,
        }


def boundaries(moments: Mapping[int, datetime]) -> dict[int, Boundary]:
    """meter id -> its register at its instant, in one statement; meters without one left out."""
    rows = db.session.execute(
        BOUNDARY, {"meters": list(moments), "ats": list(moments.values()), "reach": REACH}
    )
    return {row.meter_id: Boundary(row.id, row.read_at, row.register) for row in rows}


def in_service(meters: Sequence[Meter], begin: datetime, end: datetime) -> list[Meter]:
    """The meters which hung on the wall at some moment of [begin, end)."""
    return [m for m in meters if installed_at(m) < end and begin < (removed_at(m) or end)]


def spans(meters: Sequence[Meter], begin: datetime, end: datetime) -> list[Span]:
    """What each meter counted in [begin, end), as far as it was in service: two statements."""
    present = in_service(meters, begin, end)
    opens = {m.id: max(begin, installed_at(m)) for m in present}
    closes = {m.id: min(end, removed_at(m) or end) for m in present}
    opening, closing = boundaries(opens), boundaries(closes)
    return [
        _span(m, opening.get(m.id), closing.get(m.id), opens[m.id], closes[m.id]) for m in present
    ]


def _span(
    meter: Meter, opened: Boundary | None, closed: Boundary | None, begin: datetime, end: datetime
) -> Span:
    """One meter's span; one that came or went at its ends has its own first or final value."""
    if opened is None and begin == installed_at(meter):
        opened = Boundary(None, begin, meter.first_register)
    ends_here = end == removed_at(meter)
    if ends_here and meter.final_register is not None and (closed is None or closed.at < end):
        closed = Boundary(None, end, meter.final_register)
    if opened is None or closed is None or closed.at <= opened.at:
        # Also where no reading came in between: that is not known, not zero.
        return Span(meter, opened, closed, None, [rules.NO_PAIR])
    register = rules.Register(meter.register_max or REGISTER_MAX, most_per_day(meter))
    used = rules.usage(
        [
            rules.Reading(opened.at, opened.register),
            rules.Reading(closed.at, closed.register),
        ],
        register,
    )
    flags = [*used.flags]
    if _stale(opened, begin) or _stale(closed, end):
        flags.append("stale_boundary")
    if ends_here:
        flags.append(rules.METER_REPLACED)
    return Span(meter, opened, closed, None if used.amount is None else int(used.amount), flags)


def installed_at(meter: Meter) -> datetime:
    """The moment a meter went into service: as written down, or the start of its first day."""
    said = meter.options.get("installed_at")
    return datetime.fromisoformat(said) if said else day_start(meter.installed_on)


def removed_at(meter: Meter) -> datetime | None:
    """The moment a meter was taken away: as written down, or the start of its last day."""
    if meter.removed_on is None:
        return None
    said = meter.options.get("removed_at")
    return datetime.fromisoformat(said) if said else day_start(meter.removed_on)


def most_per_day(meter: Meter) -> int:
    """The most this meter can plausibly count in a day."""
    usual = USUAL_MAX_PER_DAY.get((meter.kind, meter.scope), FALLBACK_MAX_PER_DAY)
    return meter.max_per_day or usual


def _stale(boundary: Boundary, at: datetime) -> bool:
    return boundary.reading_id is not None and at - boundary.at > FRESH


def close_usage(building_id: int, day: date) -> int:
    """Write the day's usage of every meter of a building; again gives the same rows.

    Returns how many meters have a known usage.
    """
    begin, end = day_start(day), day_start(day + timedelta(days=1))
    meters = db.session.scalars(
        sa.select(Meter).where(
            Meter.building_id == building_id,
            Meter.kind.not_in(THERMOMETERS),
            Meter.installed_on <= day,
            sa.or_(Meter.removed_on.is_(None), Meter.removed_on >= day),
        )
    ).all()
    found = spans(meters, begin, end)
    if not found:
        return 0
    insert = pg.insert(DailyUsage).values([_row(span, day) for span in found])
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["meter_id", "day"],
            set_={
                name: insert.excluded[name]
                for name in ("usage", "open_reading_id", "close_reading_id", "flags")
            },
        )
    )
    return sum(span.usage is not None for span in found)


def _row(span: Span, day: date) -> dict[str, object]:
    return {
        "meter_id": span.meter.id,
        "day": day,
        "usage": span.usage,
        "open_reading_id": span.open.reading_id if span.open else None,
        "close_reading_id": span.close.reading_id if span.close else None,
        "flags": span.flags,
    }
