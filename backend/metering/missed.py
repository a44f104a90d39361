"""补抄 by itself: midnights for which a meter has no register are asked for while it keeps them.

Every midnight has one run (scope `missed`), which lasts until its freezes are out of reach and
takes in what later nights find missing; one that a person has cancelled stays as it is.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.metering import freezes
from backend.metering.freezes import DAY, NO_FREEZE
from backend.metering.quality import USABLE
from backend.metering.rules import FREEZE_WITHIN, TOLERANCE
from backend.metering.runs import RANKS

PLAN: Final = "missed"
# A meter that said it keeps no day freezes is left in peace for so long.
LEFT_ALONE: Final = timedelta(days=7)

_FIND = sa.text(f"""
WITH midnight AS (
    SELECT * FROM unnest(CAST(:days AS date[]), CAST(:ats AS timestamptz[]),
                         CAST(:untils AS timestamptz[])) AS n(day, at, until)
), without AS (
    SELECT DISTINCT i.meter_id FROM reading_run r JOIN reading_run_item i ON i.run_id = r.id
     WHERE r.what = 'day' AND r.created_at > :left_alone - interval '31 days'
       AND i.error = :no_freeze AND i.ended_at > :left_alone
), missing AS (
    SELECT n.day, n.at, n.until, m.id AS meter_id, m.bus_id
      FROM midnight n
      JOIN meter m ON m.installed_on < n.day AND m.removed_on IS NULL AND m.kind <> 'room'
      JOIN bus b ON b.id = m.bus_id AND b.link NOT LIKE 'push://%'
     WHERE CASE WHEN m.options ? 'freezes' THEN m.options -> 'freezes' ? 'day'
                ELSE m.protocol = ANY(:makes) OR m.protocol || ':' || m.profile = ANY(:makes)
                  OR b.link LIKE 'concentrator://%' END
       AND m.id NOT IN (SELECT meter_id FROM without)
       AND NOT EXISTS (
           SELECT 1 FROM reading r
            WHERE r.meter_id = m.id AND r.register IS NOT NULL AND {USABLE}
              AND r.read_at BETWEEN n.at - :frozen_within AND n.at + :frozen_within
              AND (r.kind = 'freeze'
                   OR r.read_at BETWEEN n.at - :tolerance AND n.at + :tolerance))
       AND NOT EXISTS (
           SELECT 1 FROM reading_run r JOIN reading_run_item i ON i.run_id = r.id
            WHERE r.plan = :plan AND r.period_from = n.at AND i.meter_id = m.id)
), run AS (
    INSERT INTO reading_run (scope, title, what, frozen_on, plan, period_from, created_at,
                             deadline_at)
    SELECT DISTINCT 'missed', to_char(day, 'YYYY-MM-DD') || ' 零点补抄', 'day', day, :plan, at,
           CAST(:now AS timestamptz), until
      FROM missing
        ON CONFLICT (plan, period_from, what) DO UPDATE SET
           state = CASE reading_run.state WHEN 'cancelled' THEN 'cancelled' ELSE 'running' END,
           ended_at = CASE reading_run.state WHEN 'cancelled' THEN reading_run.ended_at END
    RETURNING id, frozen_on, state
)
INSERT INTO reading_run_item (run_id, meter_id, bus_id, rank, due_at)
SELECT run.id, missing.meter_id, missing.bus_id, :rank, :now
  FROM run JOIN missing ON missing.day = run.frozen_on
 WHERE run.state = 'running'
    ON CONFLICT DO NOTHING
RETURNING run_id
""")


def midnights(now: datetime) -> list[date]:
    """The days whose 00:00 is still kept by the meters, this morning's first."""
    today = business_day(now)
    return [today - timedelta(days=back) for back in range(freezes.DAYS_KEPT)]


def find(now: datetime) -> int:
    """Put every missing midnight that is still kept into its run; how many meters' midnights.

    Missing: neither a freeze nor a usable current register within TOLERANCE of 00:00.  Left out:
    meters that push, whose protocol or record says that they keep none, or that have said so
    themselves within LEFT_ALONE.  One statement.
    """
    days = midnights(now)
    found = db.session.execute(
        _FIND,
        {
            "days": days,
            "ats": [day_start(day) for day in days],
            "untils": [freezes.kept_until(DAY, day) for day in days],
            "left_alone": now - LEFT_ALONE,
            "no_freeze": NO_FREEZE,
            "makes": freezes.makes_that_keep(DAY),
            "tolerance": TOLERANCE,
            "frozen_within": FREEZE_WITHIN,
            "plan": PLAN,
            "rank": RANKS["missed"],
            "now": now,
        },
    )
    return len(found.all())
