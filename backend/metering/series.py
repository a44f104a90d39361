"""A sensor's day in one row: packed 10-minute slots, filled as readings come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from backend.base.clock import business_day, second_of_day
from backend.base.db import db
from backend.metering import reopening, rules
from backend.metering.batch import literal
from backend.metering.models import DaySeries

if TYPE_CHECKING:
    from backend.metering.service import NewReading

INTERVAL_S = 600
SLOTS = rules.DAY_S // INTERVAL_S
QUANTITIES = ("supply_cdeg", "return_cdeg", "room_cdeg")

Key = tuple[int, str, date]


def fill(readings: Iterable[NewReading]) -> None:
    """Put the readings' temperatures into their days; the last reading of a slot stands."""
    samples: dict[Key, list[tuple[int, int]]] = defaultdict(list)
    for r in readings:
        if r.supply_cdeg is None and r.return_cdeg is None and r.room_cdeg is None:
            continue
        if r.kind == "current" and rules.UNUSABLE_TEMPERATURES.isdisjoint(r.flags):
            day, second = business_day(r.read_at), second_of_day(r.read_at)
            for quantity in QUANTITIES:
                value = getattr(r, quantity)
                if value is not None:
                    samples[r.meter_id, quantity, day].append((second, value))
    store({key: rules.pack_day(found, INTERVAL_S) for key, found in samples.items()})


_HELD = sa.text("""
SELECT d.meter_id, d.quantity, d.day, d.samples
  FROM unnest(CAST(:meters AS bigint[]), CAST(:quantities AS text[]), CAST(:days AS date[]))
       AS n(meter_id, quantity, day)
  JOIN day_series d USING (meter_id, quantity, day)
 ORDER BY d.meter_id, d.quantity, d.day FOR UPDATE OF d
""")
_PUT = sa.text("""
INSERT INTO day_series (meter_id, quantity, day, interval_s, samples)
SELECT * FROM unnest(CAST(:meters AS bigint[]), CAST(:quantities AS text[]),
                     CAST(:days AS date[]), CAST(:intervals AS int[]), CAST(:samples AS bytea[]))
ON CONFLICT (meter_id, quantity, day) DO UPDATE SET
    samples = excluded.samples, interval_s = excluded.interval_s
""")


def store(days: dict[Key, bytes]) -> None:
    """Merge packed days into those stored: a new sample replaces an old one, a gap never does.

    A day closed already is reopened.
    """
    if not days:
        return
    keys = sorted(days)
    meters, quantities, on = zip(*keys, strict=True)
    which = {"meters": literal(meters), "quantities": literal(quantities), "days": literal(on)}
    held = {
        (row.meter_id, row.quantity, row.day): bytes(row.samples)
        for row in db.session.execute(_HELD, which)
    }
    merged = [rules.merge(held[key], days[key]) if key in held else days[key] for key in keys]
    intervals = literal(rules.interval_of(days[key]) for key in keys)
    db.session.execute(_PUT, {**which, "intervals": intervals, "samples": merged})
    reopening.reopen((meter_id, day) for meter_id, _quantity, day in keys)


def load(meters: Sequence[int], quantity: str, days: Sequence[date]) -> dict[int, rules.Slots]:
    """meter id -> its slots over `days` laid end to end [len(days) x SLOTS], gaps MISSING.

    One statement for all meters and days.
    """
    position = {day: index for index, day in enumerate(days)}
    found: dict[int, rules.Slots] = {}
    rows = db.session.execute(
        sa.select(DaySeries.meter_id, DaySeries.day, DaySeries.samples).where(
            DaySeries.meter_id.in_(meters),
            DaySeries.quantity == quantity,
            DaySeries.day.in_(days),
        )
    )
    for meter_id, day, packed in rows:
        if meter_id not in found:
            found[meter_id] = np.full(len(days) * SLOTS, rules.MISSING, dtype=np.int16)
        begin = position[day] * SLOTS
        found[meter_id][begin : begin + SLOTS] = rules.unpack_day(bytes(packed))
    return found
