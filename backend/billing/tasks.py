"""Billing as a task: one building and utility at a time."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from flask import current_app

from backend.archive.models import Household, Meter
from backend.archive.rules import UTILITIES
from backend.base import tasks
from backend.base.clock import add_months
from backend.base.db import db
from backend.billing import service
from backend.billing.models import Bill


def defer_issue(until: date) -> int:
    """Enqueue what has not been billed before `until` (a first of the month), by building and
    utility: from where its last bill ended, or else the month before.  Returns how many."""
    last = sa.func.max(Bill.period_to).filter(Bill.state != "reversed")
    rows = db.session.execute(
        sa.select(Meter.building_id, Meter.kind, last)
        .outerjoin(Household, Household.building_id == Meter.building_id)
        .outerjoin(Bill, sa.and_(Bill.household_id == Household.id, Bill.utility == Meter.kind))
        .where(Meter.kind.in_(UTILITIES))
        .group_by(Meter.building_id, Meter.kind)
        .order_by(Meter.building_id, Meter.kind)
    )
    due = [(b, kind, last or add_months(until, -1)) for b, kind, last in rows]
    due = [row for row in due if row[2] < until]
    for building_id, utility, period_from in due:
        tasks.defer(
            "billing.issue",
            once=f"issue:{building_id}:{utility}:{period_from}:{until}",
            building_id=building_id,
            utility=utility,
            period_from=period_from.isoformat(),
            period_to=until.isoformat(),
        )
    return len(due)


@tasks.task("billing.issue")
def issue(building_id: int, utility: str, period_from: str, period_to: str) -> None:
    """Task: issue one building's bills for one utility."""
    now = current_app.extensions["nuan_clock"].now()
    service.issue(
        building_id, utility, date.fromisoformat(period_from), date.fromisoformat(period_to), now
    )
    db.session.commit()
