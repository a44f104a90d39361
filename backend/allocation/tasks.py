"""What happens when a metering day closes, building by building."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

import sqlalchemy as sa
from flask import current_app

from backend.allocation import service
from backend.archive.models import Building
from backend.base import tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing
from backend.metering.models import ClosedDay


def close_building_day(
    building_id: int, day: date, now: datetime, leave: Collection[int] = ()
) -> ClosedDay:
    """Usage of every meter, the samples condensed, the heat shared provisionally.

    A building whose heat cannot be shared closes all the same, and its row says why.  Meters in
    `leave` (billed already) keep the usage they have.
    """
    counted = closing.close_usage(building_id, day, leave)
    summary: dict[str, object] = {"meters_with_usage": counted}
    if service.rule_of(building_id, day) is not None:
        summary["complete_flats"] = service.condense(building_id, day)
        try:
            with db.session.begin_nested():
                run = service.allocate(building_id, day, _next(day), "daily", now)
            summary["run_id"], summary["total_wh"] = run.id, run.total_wh
        except Problem as problem:
            summary["not_allocated"] = problem.code
    row = db.session.merge(
        ClosedDay(building_id=building_id, day=day, closed_at=now, summary=summary)
    )
    db.session.flush()
    return row


def _next(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)


def defer_close(day: date) -> int:
    """Enqueue the closing of `day` for every building not closed yet; returns how many."""
    waiting = db.session.scalars(
        sa.select(Building.id).where(
            ~sa.exists().where(ClosedDay.building_id == Building.id, ClosedDay.day == day)
        )
    ).all()
    for building_id in waiting:
        tasks.defer(
            "metering.close_day",
            once=f"close:{building_id}:{day}",
            building_id=building_id,
            day=day.isoformat(),
        )
    return len(waiting)


@tasks.task("metering.close_day")
def close_day(building_id: int, day: str) -> None:
    """Task: close one building's day."""
    now = current_app.extensions["nuan_clock"].now()
    close_building_day(building_id, date.fromisoformat(day), now)
    db.session.commit()
