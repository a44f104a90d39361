"""Late samples reopen a closed day: that day only, and once until it has been closed again.

Whoever stores samples locks the row of the closed day until commit, and so does whoever closes
it, before reading: what came in is either seen by that closing or reopens the day after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import sqlalchemy as sa
from flask import current_app

from backend.base import tasks
from backend.base.clock import business_day
from backend.base.db import db

_LOCKED = sa.text("""
    SELECT c.building_id, c.day, c.reopened_at IS NULL AS settled
      FROM (SELECT DISTINCT m.building_id, k.day
              FROM unnest(CAST(:meters AS bigint[]), CAST(:days AS date[])) AS k(meter, day)
              JOIN meter m ON m.id = k.meter) late
      JOIN closed_day c ON c.building_id = late.building_id AND c.day = late.day
     ORDER BY c.building_id, c.day
       FOR UPDATE OF c
""")
_REOPEN = sa.text("""
    UPDATE closed_day SET reopened_at = :now
     WHERE building_id = :building AND day = :day AND reopened_at IS NULL
""")


def reopen(came_in: Iterable[tuple[int, date]]) -> int:
    """Reopen the closed days of (meter, day) pairs and enqueue their closing; how many.

    In the transaction that stores what came in. Of today nothing is asked: it is not closed.
    """
    now = current_app.extensions["nuan_clock"].now()
    today = business_day(now)
    late = sorted({(meter, day) for meter, day in came_in if day < today})
    if not late:
        return 0
    meters, days = zip(*late, strict=True)
    count = 0
    for row in db.session.execute(_LOCKED, {"meters": list(meters), "days": list(days)}).all():
        if row.settled:
            db.session.execute(_REOPEN, {"now": now, "building": row.building_id, "day": row.day})
            defer_close(row.building_id, row.day)
            count += 1
    return count


def defer_close(building_id: int, day: date) -> None:
    """Enqueue the closing of one building's day, once."""
    tasks.defer(
        "metering.close_day",
        once=f"close:{building_id}:{day}",
        building_id=building_id,
        day=day.isoformat(),
    )
