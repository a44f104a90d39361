"""Who is told what, as one statement: each reason once, to a resident who still accepts it.

What is due differs from kind to kind (`_OVERDUE`, `_PREPAID`); who is told, how many he still
accepts and that nothing is queued twice is the same (`_QUEUE`).
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app

from backend.base import tasks
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing.prepaid import CLOSE, LOW, OVERDRAFT
from backend.notices import rules
from backend.notices.kinds import KINDS, OVERDUE

log = logging.getLogger("nuan.notices")

_ONE_AT_A_TIME = 0x4E4F5449  # "NOTI"

# `reasons`: key, household_id, template, payload, since (date), about (bigint).  To the resident
# of the household who has been there longest among those who still accept the template; of one
# resident's, as many as he agreed to, the oldest first.
_QUEUE = """
WITH reasons AS ({reasons}),
due AS (
  SELECT DISTINCT ON (r.key) r.*, g.resident_id, s.remaining
  FROM reasons r
  JOIN binding g ON g.household_id = r.household_id AND g.ended_at IS NULL
  JOIN subscription s ON s.resident_id = g.resident_id AND s.template = r.template
   AND s.remaining > 0
  ORDER BY r.key, g.id
),
fresh AS (
  SELECT *, row_number() OVER (PARTITION BY resident_id, template ORDER BY since, about) AS turn
  FROM due WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.business_key = due.key)
),
queued AS (
  INSERT INTO message (business_key, resident_id, household_id, template, payload, created_at)
  SELECT key, resident_id, household_id, template, payload, :now
  FROM fresh WHERE turn <= remaining ORDER BY about, key
  ON CONFLICT (business_key) DO NOTHING
  RETURNING id, resident_id, template
),
used AS (
  UPDATE subscription s SET remaining = s.remaining - q.count, updated_at = :now
  FROM (SELECT resident_id, template, count(*) AS count FROM queued GROUP BY 1, 2) q
  WHERE s.resident_id = q.resident_id AND s.template = q.template
)
SELECT id FROM queued ORDER BY id
"""

# A bill's newest step.
_OVERDUE = """
  SELECT 'overdue:' || b.id || ':' || b.days AS key, b.household_id, :template AS template,
         jsonb_build_object('bill_id', b.id, 'days', b.days) AS payload, b.due_on AS since,
         b.id AS about
  FROM (SELECT id, household_id, due_on,
               (SELECT max(days) FROM unnest(CAST(:steps AS int[])) AS steps(days)
                 WHERE days <= CAST(:today AS date) - due_on) AS days
          FROM bill WHERE state = 'issued' AND due_on < :today) b
  WHERE b.days IS NOT NULL
"""

# The worst an open account still is (`marks`), since the night it became so; every so many days
# again where the setting says so.
_PREPAID = """
  SELECT 'prepaid:' || e.utility || ':' || e.household_id || ':' || e.event || ':' || e.day
           || ':' || e.step AS key, e.household_id,
         CASE e.event WHEN :low THEN :low_template ELSE :owed_template END AS template,
         jsonb_build_object('event', e.event, 'utility', e.utility, 'day', e.day, 'step', e.step)
           AS payload, e.day AS since, e.household_id AS about
  FROM (SELECT DISTINCT ON (a.household_id, a.utility) a.household_id, a.utility, k.event, d.day,
               CASE WHEN :repeat > 0 THEN (CAST(:today AS date) - 1 - d.day) / :repeat ELSE 0 END
                 AS step
          FROM prepaid_account a
          JOIN LATERAL unnest(CAST(:events AS text[]), CAST(:marks AS text[]))
               WITH ORDINALITY AS k(event, mark, rank) ON k.mark = ANY(a.marks)
          JOIN prepaid_day d ON d.household_id = a.household_id AND d.utility = a.utility
           AND k.event = ANY(d.events)
         WHERE a.closed_on IS NULL
         ORDER BY a.household_id, a.utility, k.rank DESC, d.day DESC) e
"""


def remind_overdue(now: datetime) -> int:
    """Queue every overdue reminder that is due, with its task; how many.  The caller commits.

    Each uses up one message its resident agreed to.  Again on the same day queues nothing.
    """
    template = _template(OVERDUE)
    if not template:
        log.warning("no overdue template is set: nobody is reminded")
        return 0
    return _queue(_OVERDUE, now, template=template, steps=list(rules.OVERDUE))


def warn_prepaid(now: datetime) -> int:
    """Queue what prepaid accounts' closings have set off, each once; how many.

    Low, overdrawn, to be closed: the worst that still holds, and again every
    NUAN_LOW_BALANCE_REPEAT_DAYS while it does (0: never again).  The caller commits.
    """
    low, owed = _template(LOW), _template(OVERDRAFT)
    if not low and not owed:
        log.warning("no template of prepaid accounts is set: nobody is warned")
        return 0
    events = (LOW, OVERDRAFT, CLOSE)  # the worst last
    return _queue(
        _PREPAID,
        now,
        low=LOW,
        low_template=low,
        owed_template=owed,
        events=list(events),
        marks=[rules.MARK_OF[event] for event in events],
        repeat=current_app.extensions["nuan_settings"].low_balance_repeat_days,
    )


def _template(kind: str) -> str:
    settings = current_app.extensions["nuan_settings"]
    return str(getattr(settings, KINDS[kind].setting))


def _queue(reasons: str, now: datetime, **values: Any) -> int:
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    values |= {"today": business_day(now), "now": now}
    statement = sa.text(_QUEUE.format(reasons=reasons))
    queued = db.session.execute(statement, values).scalars().all()
    tasks.defer_many("notices.send", [{"message_id": message_id} for message_id in queued])
    return len(queued)
