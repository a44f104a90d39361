"""Plans of meters' own: read hourly, daily, weekly or monthly, current values or freezes.

A plan's run is begun once a period by whichever collector comes first.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.clock import SHANGHAI, add_months, business_day, day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import freezes, runs
from backend.metering.freezes import CURRENT, DAY, MONTH
from backend.metering.models import ReadingRun
from backend.people.service import Principal, audit

PLANS: Final = ("hourly", "daily", "weekly", "monthly")
# The freeze a plan may ask for instead of the current values: the one its period begins with.
FROZEN: Final = {"daily": DAY, "monthly": MONTH}


def period_of(plan: str, now: datetime) -> tuple[datetime, datetime]:
    """[from, to) of the period of a plan `now` is in: Shanghai's hours, days, weeks, months."""
    local = now.astimezone(SHANGHAI)
    if plan == "hourly":
        hour = now.replace(minute=0, second=0, microsecond=0)
        return hour, hour + timedelta(hours=1)
    first, last = _days_of(plan, local.date())
    return day_start(first), day_start(last)


def _days_of(plan: str, today: date) -> tuple[date, date]:
    if plan == "weekly":
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    if plan == "monthly":
        return add_months(today, 0), add_months(today, 1)
    return today, today + timedelta(days=1)


PLAN_TITLES: Final = {
    "hourly": "每小时",
    "daily": "每日",
    "weekly": "每周",
    "monthly": "每月",
}
_BEGIN_PLANNED = sa.text("""
INSERT INTO reading_run (scope, title, what, frozen_on, plan, period_from, created_at, deadline_at)
SELECT 'plan', :title, :what, :frozen_on, :plan, :period_from, :now, :deadline
 WHERE NOT EXISTS (SELECT 1 FROM reading_run
                    WHERE plan = :plan AND period_from = :period_from AND what = :what)
   AND EXISTS (SELECT 1 FROM meter WHERE removed_on IS NULL AND options ->> 'plan' = :plan
                  AND coalesce(options ->> 'plan_what', 'current') = :what)
    ON CONFLICT DO NOTHING RETURNING id
""")


def start_planned(now: datetime) -> int:
    """Begin the runs of the plans whose period has begun, once a period; how many runs.

    A meter's plan is its `options["plan"]`, what it asks for `options["plan_what"]`.  Current
    values are asked for until the period ends, a freeze until it is out of reach.
    """
    asked = [(plan, CURRENT) for plan in PLANS] + list(FROZEN.items())
    return sum(_start_plan(plan, what, now) for plan, what in asked)


def _start_plan(plan: str, what: str, now: datetime) -> bool:
    period_from, period_to = period_of(plan, now)
    on = None if what == CURRENT else business_day(period_from)
    values = {
        "plan": plan,
        "title": f"{PLAN_TITLES[plan]}计划",
        "what": what,
        "frozen_on": on,
        "period_from": period_from,
        "deadline": period_to if on is None else freezes.kept_until(what, on),
        "now": now,
    }
    run_id = db.session.scalar(_BEGIN_PLANNED, values)
    if run_id is None:
        return False
    what_of = sa.func.coalesce(Meter.options["plan_what"].astext, CURRENT)
    planned = sa.and_(Meter.options["plan"].astext == plan, what_of == what)
    runs.fill(db.session.get_one(ReadingRun, run_id), planned, now)
    return True


def set_plan(
    meter_id: int,
    plan: str | None,
    actor: Principal,
    now: datetime,
    *,
    frozen: bool = False,
) -> None:
    """Read a meter by a plan of its own besides its bus's interval, or (None) no more.

    `frozen`: ask for the freeze the period begins with: daily this morning's, monthly the month's.
    Problem not_found; no_freeze where the plan or the meter's protocol has none.
    """
    meter: Meter = runs.get(Meter, meter_id)
    what = FROZEN.get(plan or "") if frozen else CURRENT
    if what is None or not freezes.keeps(meter.protocol, meter.profile, meter.options, what):
        raise Problem("no_freeze", field="frozen")
    new = {"plan": plan} if plan else {}
    if plan and what != CURRENT:
        new["plan_what"] = what
    before = meter.options.get("plan")
    rest = {k: v for k, v in meter.options.items() if k not in ("plan", "plan_what")}
    meter.options = rest | new
    audit("meter.plan", "meter", meter_id, actor, now=now, before=before, plan=plan, what=what)
