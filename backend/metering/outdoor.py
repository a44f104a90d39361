"""The outdoor temperature of a building: the nearest weather sensor's series.

A weather sensor is a meter of kind `outdoor`, its temperature stored as any thermometer's
(`room_cdeg`).  It hangs in the building itself, in another of its station's, or in one of a region
above: the nearest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import sqlalchemy as sa

from backend.base.db import db
from backend.metering import series
from backend.metering.rules import MISSING, Slots

_NEAREST = sa.text("""
    WITH RECURSIVE up(id, level) AS (
        SELECT region_id, 1 FROM building WHERE id = :building
        UNION ALL
        SELECT r.parent_id, level + 1 FROM up JOIN region r ON r.id = up.id
         WHERE r.parent_id IS NOT NULL)
    SELECT m.id, m.building_id
      FROM meter m JOIN building s ON s.id = m.building_id LEFT JOIN up ON up.id = s.region_id
     WHERE m.kind = 'outdoor' AND (s.id = :building OR up.id IS NOT NULL)
     ORDER BY s.id <> :building, up.level, s.id, m.id
""")


@dataclass(frozen=True, slots=True)
class Outdoor:
    """The sensors read (one, or one and its successor) and their slots, gaps MISSING."""

    meters: list[int]
    slots: Slots


def is_near(building_id: int) -> bool:
    """Whether a weather sensor counts for the building."""
    return db.session.execute(_NEAREST, {"building": building_id}).first() is not None


def series_of(building_id: int, days: Sequence[date]) -> Outdoor | None:
    """The outdoor temperature over `days` laid end to end; None where no sensor is near."""
    rows = db.session.execute(_NEAREST, {"building": building_id}).all()
    if not rows:
        return None
    meters = [row.id for row in rows if row.building_id == rows[0].building_id]
    slots = np.full(len(days) * series.SLOTS, MISSING, dtype=np.int16)
    found = series.load(meters, "room_cdeg", days)
    for meter_id in sorted(found):
        np.copyto(slots, found[meter_id], where=found[meter_id] != MISSING)
    return Outdoor(meters, slots)
