"""A sensor's day in one row: packed 10-minute slots, filled as readings come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.base.clock import business_day, second_of_day
from backend.base.db import db
from backend.metering import reopening, rules
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
        if r.kind == "current" and rules.UNUSABLE_TEMPERATURES.isdisjoint(r.flags):
            for quantity in QUANTITIES:
                value = getattr(r, quantity)
                if value is not None:
                    key = (r.meter_id, quantity, business_day(r.read_at))
                    samples[key].append((second_of_day(r.read_at), value))
    store({key: rules.pack_day(found, INTERVAL_S) for key, found in samples.items()})


def store(days: dict[Key, bytes]) -> None:
    """Merge packed days into those stored: a new sample replaces an old one, a gap never does.

    A day closed already is reopened.
    """
    if not days:
        return
    keys = sorted(days)
    held = {
        (row.meter_id, row.quantity, row.day): row.samples
        for row in db.session.execute(
            sa.select(DaySeries.meter_id, DaySeries.quantity, DaySeries.day, DaySeries.samples)
            .where(sa.tuple_(DaySeries.meter_id, DaySeries.quantity, DaySeries.day).in_(keys))
            .order_by(DaySeries.meter_id, DaySeries.quantity, DaySeries.day)
            .with_for_update()
        )
    }
    rows = [
        {
            "meter_id": key[0],
            "quantity": key[1],
            "day": key[2],
            "interval_s": rules.interval_of(days[key]),
            "samples": rules.merge(held[key], days[key]) if key in held else days[key],
        }
        for key in keys
    ]
    insert = pg.insert(DaySeries).values(rows)
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["meter_id", "quantity", "day"],
            set_={"samples": insert.excluded.samples, "interval_s": insert.excluded.interval_s},
        )
    )
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
