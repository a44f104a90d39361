"""Readings that change what is known of days that are over: those days are counted again.

A frozen register that was missed, a reading that lay in a spool, the first answer of a meter that
was silent over midnight: each moves the register at a midnight a closed day stands on.  The task
`billing.recount` is enqueued for every such building and day, once however many readings ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from flask import current_app

from backend.base import tasks
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.metering.quality import Known
from backend.metering.rules import TOLERANCE, is_usable

if TYPE_CHECKING:
    from backend.metering.service import NewReading

# As far as a register is carried or estimated over (`closing.REACH`).
REACH: Final = timedelta(days=40)
SOON: Final = timedelta(minutes=2)  # the rest of a building's late readings come together
MAX_DAYS: Final = 10_000  # of one batch; what is beyond is found when the next reading comes

# The closed days between the readings before and after, of which the late ones are in the middle;
# and yesterday, which may be closing this moment without having seen them.
_DAYS = sa.text("""
SELECT DISTINCT m.building_id, c.day
  FROM unnest(CAST(:meters AS bigint[]), CAST(:firsts AS timestamptz[]),
              CAST(:lasts AS timestamptz[])) AS n(meter_id, first, last)
  JOIN meter m ON m.id = n.meter_id
  LEFT JOIN LATERAL (
       SELECT read_at AS at FROM reading r
        WHERE r.meter_id = m.id AND read_at < n.first
          AND read_at > n.first - CAST(:reach AS interval) AND register IS NOT NULL
        ORDER BY read_at DESC LIMIT 1) b ON true
  LEFT JOIN LATERAL (
       SELECT read_at AS at FROM reading r
        WHERE r.meter_id = m.id AND read_at > n.last
          AND read_at < n.last + CAST(:reach AS interval) AND register IS NOT NULL
        ORDER BY read_at LIMIT 1) a ON true
  JOIN LATERAL (
       SELECT day FROM closed_day WHERE building_id = m.building_id
        UNION SELECT CAST(:yesterday AS date)) c
    ON c.day BETWEEN
       (coalesce(b.at, n.first - interval '1 day') AT TIME ZONE 'Asia/Shanghai')::date AND
       (coalesce(a.at - interval '1 microsecond', n.last) AT TIME ZONE 'Asia/Shanghai')::date
 ORDER BY 1, 2 LIMIT :most
""")


def notice(fresh: Sequence[NewReading], meters: Mapping[int, Known]) -> int:
    """Have the closed days counted again that `fresh` (in order of time) changes; how many.

    `meters` is what was known before.  Nothing is asked of the database where every reading
    follows its meter's last one without a midnight between.
    """
    latest = {r.meter_id: r for r in fresh if r.register is not None}
    earliest = {r.meter_id: r for r in reversed(fresh) if r.register is not None}
    wanted = [
        (meter_id, first.read_at, latest[meter_id].read_at)
        for meter_id, first in earliest.items()
        if _changes_the_past(first, latest[meter_id], meters[meter_id])
    ]
    if not wanted:
        return 0
    ids, firsts, lasts = (list(column) for column in zip(*wanted, strict=True))
    now = current_app.extensions["nuan_clock"].now()
    values = {
        "meters": ids,
        "firsts": firsts,
        "lasts": lasts,
        "reach": REACH,
        "yesterday": business_day(now) - timedelta(days=1),
        "most": MAX_DAYS,
    }
    days = db.session.execute(_DAYS, values).all()
    for building_id, day in days:
        tasks.defer(
            "billing.recount",
            at=now + SOON,
            once=f"recount:{building_id}:{day}",
            lock=f"recount:{building_id}",
            building_id=building_id,
            day=day.isoformat(),
        )
    return len(days)


def _changes_the_past(first: NewReading, last: NewReading, meter: Known) -> bool:
    """Whether readings are late, or the first since before a midnight that had none near it."""
    if not is_usable(last.flags, last.author_id) or meter.last_at is None:
        return first.kind == "freeze"
    if first.read_at <= meter.last_at:
        return True
    midnight = day_start(business_day(last.read_at + TOLERANCE))
    return meter.last_at < midnight - TOLERANCE
