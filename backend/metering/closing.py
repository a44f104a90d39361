"""A metering day closed: what each meter counted between two midnights, from its readings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Meter
from backend.archive.rules import THERMOMETERS
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.exact import exact
from backend.metering import late, quality, rules
from backend.metering.models import DailyUsage
from backend.metering.quality import USABLE
from backend.metering.rules import Boundary

# How far back a register is looked for, and how far ahead.
REACH = late.REACH
BAD_RATIO = "ratio_invalid"
# Flags that say where a day's usage comes from: where they change, the day is counted again.
SOURCE_FLAGS = {rules.ESTIMATED, rules.STALE, rules.NO_PAIR, rules.NEGATIVE_DELTA, BAD_RATIO}

# Around each meter's instant: what was frozen then, the last usable reading up to it and the
# first after it, and the flags of the newest unusable one since.  Of one moment
# corrections win over originals, and what a person wrote down over what a wire said.
AROUND = sa.text(f"""
    SELECT m.id AS meter_id, f.id AS frozen_id, f.read_at AS frozen_at, f.register AS frozen,
           b.id AS before_id, b.read_at AS before_at, b.register AS before,
           a.id AS after_id, a.read_at AS after_at, a.register AS after,
           (SELECT r.flags FROM reading r
             WHERE r.meter_id = m.id AND r.read_at <= m.at
               AND r.read_at > coalesce(b.read_at, m.at - CAST(:reach AS interval))
               AND NOT {USABLE}
             ORDER BY r.read_at DESC LIMIT 1) AS unused
      FROM unnest(CAST(:meters AS bigint[]), CAST(:ats AS timestamptz[])) AS m(id, at)
      LEFT JOIN LATERAL (
           SELECT id, read_at, register FROM reading r
            WHERE meter_id = m.id AND kind = 'freeze' AND {USABLE} AND register IS NOT NULL
              AND read_at BETWEEN m.at - CAST(:within AS interval)
                              AND m.at + CAST(:within AS interval)
            ORDER BY abs(extract(epoch FROM read_at - m.at)), corrects_id DESC LIMIT 1) f ON true
      LEFT JOIN LATERAL (
           SELECT id, read_at, register FROM reading r
            WHERE meter_id = m.id AND read_at <= m.at AND read_at > m.at - CAST(:reach AS interval)
              AND register IS NOT NULL AND {USABLE}
            ORDER BY read_at DESC, corrects_id DESC, author_id IS NULL LIMIT 1) b ON true
      LEFT JOIN LATERAL (
           SELECT id, read_at, register FROM reading r
            WHERE meter_id = m.id AND read_at > m.at AND read_at < m.at + CAST(:reach AS interval)
              AND register IS NOT NULL AND {USABLE}
            ORDER BY read_at, corrects_id DESC, author_id IS NULL LIMIT 1) a ON true
""")


@dataclass(frozen=True, slots=True)
class Around:
    """What is known around an instant: see `rules.register_at`; `unused`: flags left out."""

    frozen: Boundary | None = None
    before: Boundary | None = None
    after: Boundary | None = None
    unused: tuple[str, ...] = ()


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
            **self._more(),
        }

    def _more(self) -> dict[str, Any]:
        """What only few spans have: a ratio, and the readings an estimate lies between."""
        more: dict[str, Any] = {}
        if self.meter.options.get("ratio") is not None:
            more["ratio"] = str(self.meter.options["ratio"])
        between = [
            reading_id
            for boundary in (self.open, self.close)
            if boundary is not None and rules.ESTIMATED in boundary.flags
            for reading_id in boundary.reading_ids
        ]
        return more | ({"estimated_between": between} if between else {})


def around(moments: Mapping[int, datetime]) -> dict[int, Around]:
    """meter id -> what is known around its instant, in one statement."""
    rows = db.session.execute(
        AROUND,
        {
            "meters": list(moments),
            "ats": list(moments.values()),
            "reach": REACH,
            "within": rules.FREEZE_WITHIN,
        },
    )
    return {
        row.meter_id: Around(
            _boundary(row.frozen_id, row.frozen_at, row.frozen),
            _boundary(row.before_id, row.before_at, row.before),
            _boundary(row.after_id, row.after_at, row.after),
            tuple(row.unused or ()),
        )
        for row in rows
    }


def _boundary(reading_id: int | None, at: datetime, register: int) -> Boundary | None:
    return None if reading_id is None else Boundary(at, register, (reading_id,))


def last_register(meter_id: int, at: datetime) -> Boundary | None:
    """The last usable register at or before an instant, as it was read."""
    return around({meter_id: at})[meter_id].before


def in_service(meters: Sequence[Meter], begin: datetime, end: datetime) -> list[Meter]:
    """The meters which hung on the wall at some moment of [begin, end)."""
    return [m for m in meters if installed_at(m) < end and begin < (removed_at(m) or end)]


def spans(meters: Sequence[Meter], begin: datetime, end: datetime) -> list[Span]:
    """What each meter counted in [begin, end), as far as it was in service: two statements."""
    present = in_service(meters, begin, end)
    opens = {m.id: max(begin, installed_at(m)) for m in present}
    closes = {m.id: min(end, removed_at(m) or end) for m in present}
    opening, closing = around(opens), around(closes)
    return [_span(m, opening[m.id], closing[m.id], opens[m.id], closes[m.id]) for m in present]


def _span(meter: Meter, opening: Around, closing: Around, begin: datetime, end: datetime) -> Span:
    """One meter's span; one that came or went at its ends has its own first or final value."""
    try:
        ratio, register = ratio_of(meter), register_of(meter)
    except ValueError:
        return Span(meter, None, None, None, [BAD_RATIO])
    ends_here = end == removed_at(meter)
    first = meter.first_register if begin == installed_at(meter) else None
    final = meter.final_register if ends_here else None
    opened = _register_at(begin, opening, first, register)
    closed = _register_at(end, closing, final, register)
    if opened is None or closed is None or closed.at <= opened.at:
        # Also where no reading came in between: that is not known, not zero.
        return Span(meter, opened, closed, None, _flags([rules.NO_PAIR], closing.unused))
    used = rules.usage(
        [
            rules.Reading(opened.at, opened.register),
            rules.Reading(closed.at, closed.register),
        ],
        register,
    )
    flags = _flags(used.flags, opened.flags, closed.flags)
    if ends_here:
        flags.append(rules.METER_REPLACED)
    if used.amount is None:
        return Span(meter, opened, closed, None, _flags(flags, closing.unused))
    counted = rules.scaled(opened.register, closed.register, register, used.amount, ratio)
    return Span(meter, opened, closed, counted, flags)


def _register_at(
    at: datetime, known: Around, said: int | None, register: rules.Register
) -> Boundary | None:
    """The register at an instant; what the archive `said` it was then stands for want of one."""
    if said is not None and known.frozen is None and (known.before is None or known.before.at < at):
        return Boundary(at, said)
    return rules.register_at(at, known.frozen, known.before, known.after, register)


def _flags(*parts: Iterable[str]) -> list[str]:
    """All flags in order, each once."""
    return list(dict.fromkeys(flag for part in parts for flag in part))


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


def ratio_of(meter: Meter) -> Fraction:
    """What a step of the register stands for: `options["ratio"]`, an exact decimal above 0.

    A current transformer's ratio ("40"), a pulse constant ("0.1"); 1 where nothing is said.
    Raises ValueError for anything else.
    """
    return quality.ratio(meter.options.get("ratio"))


def register_of(meter: Meter) -> rules.Register:
    """The meter's register with what it can plausibly count in a day, in the register's unit."""
    return quality.register_of(
        meter.kind, meter.scope, meter.register_max, meter.max_per_day, meter.options.get("ratio")
    )


def most_per_day(meter: Meter) -> int:
    """The most this meter can plausibly count in a day, in the register's unit."""
    return int(exact(register_of(meter).max_per_day))


def counted(building_id: int, day: date) -> list[Span]:
    """What every meter of a building counted in a day, as far as is known now."""
    meters = db.session.scalars(
        sa.select(Meter).where(
            Meter.building_id == building_id,
            Meter.kind.not_in(THERMOMETERS),
            Meter.installed_on <= day,
            sa.or_(Meter.removed_on.is_(None), Meter.removed_on >= day),
        )
    ).all()
    return spans(meters, day_start(day), day_start(day + timedelta(days=1)))


def close_usage(building_id: int, day: date, leave: Collection[int] = ()) -> int:
    """Write the day's usage of every meter of a building; again gives the same rows.

    Meters in `leave` keep the row they have.  Returns how many meters have a known usage.
    """
    found = [span for span in counted(building_id, day) if span.meter.id not in leave]
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


def changed_since(building_id: int, day: date) -> list[int]:
    """Meters whose usage of a closed day would be counted otherwise today; two statements more."""
    rows = db.session.execute(
        sa.select(DailyUsage.meter_id, DailyUsage.usage, DailyUsage.flags)
        .join(Meter, Meter.id == DailyUsage.meter_id)
        .where(Meter.building_id == building_id, DailyUsage.day == day)
    )
    held = {row.meter_id: (row.usage, set(row.flags) & SOURCE_FLAGS) for row in rows}
    now = {s.meter.id: (s.usage, set(s.flags) & SOURCE_FLAGS) for s in counted(building_id, day)}
    return sorted(m for m in held.keys() | now.keys() if held.get(m) != now.get(m))


def _row(span: Span, day: date) -> dict[str, object]:
    return {
        "meter_id": span.meter.id,
        "day": day,
        "usage": span.usage,
        "open_reading_id": span.open.reading_id if span.open else None,
        "close_reading_id": span.close.reading_id if span.close else None,
        "flags": span.flags,
    }
