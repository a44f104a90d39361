"""Billing as a task: one building and utility at a time."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from flask import current_app

from backend.archive.models import Building, Meter
from backend.base import tasks
from backend.base.db import db
from backend.billing import service


def defer_issue(period_from: date, period_to: date) -> int:
    """Enqueue the bills of a period for every building and utility it has meters of."""
    pairs = db.session.execute(
        sa.select(Building.id, Meter.kind)
        .join(Meter, Meter.building_id == Building.id)
        .where(Meter.kind != "room")
        .distinct()
        .order_by(Building.id, Meter.kind)
    ).all()
    for building_id, utility in pairs:
        tasks.defer(
            "billing.issue",
            once=f"issue:{building_id}:{utility}:{period_from}:{period_to}",
            building_id=building_id,
            utility=utility,
            period_from=period_from.isoformat(),
            period_to=period_to.isoformat(),
        )
    return len(pairs)


@tasks.task("billing.issue")
def issue(building_id: int, utility: str, period_from: str, period_to: str) -> None:
    """Task: issue one building's bills for one utility."""
    now = current_app.extensions["nuan_clock"].now()
    service.issue(
        building_id, utility, date.fromisoformat(period_from), date.fromisoformat(period_to), now
    )
    db.session.commit()
