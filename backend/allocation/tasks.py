"""What happens when a metering day closes, building by building; and settlements' tasks."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects import postgresql as pg

from backend.allocation import heat_summary, service, settling
from backend.archive.models import Building
from backend.base import tasks
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing, reopening
from backend.metering.models import ClosedDay


def close_building_day(
    building_id: int, day: date, now: datetime, leave: Collection[int] = ()
) -> ClosedDay:
    """Usage of every meter, the samples condensed, the heat shared provisionally.

    A building whose heat cannot be shared closes all the same, and its row says why.  Meters in
    `leave` (billed already) keep the usage they have.
    """
    _claim(building_id, day, now)
    counted = closing.close_usage(building_id, day, leave)
    summary: dict[str, object] = {"meters_with_usage": counted}
    if service.rule_of(building_id, day) is not None:
        summary["complete_flats"] = service.condense(building_id, day)
        _clear(building_id, day)
        try:
            with db.session.begin_nested():
                run = service.allocate(building_id, day, day + timedelta(days=1), "daily", now)
            summary["run_id"], summary["total_wh"] = run.id, run.total_wh
        except Problem as problem:
            summary |= {"not_allocated": problem.code, "why": problem.detail}
    row = db.session.get_one(ClosedDay, (building_id, day), populate_existing=True)
    row.closed_at, row.summary, row.reopened_at = now, summary, None
    db.session.flush()
    heat_summary.refresh(building_id, business_day(now))
    return row


def _claim(building_id: int, day: date, now: datetime) -> None:
    """Hold the day's row, so that samples stored from now on wait and reopen it (reopening)."""
    insert = pg.insert(ClosedDay).values(
        building_id=building_id, day=day, closed_at=now, summary={}, reopened_at=now
    )
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["building_id", "day"],
            set_={"reopened_at": insert.excluded.reopened_at},
        )
    )


def _clear(building_id: int, day: date) -> None:
    """Condensed anew: the day's nodes may stand for its samples again."""
    db.session.execute(
        sa.update(ClosedDay)
        .where(ClosedDay.building_id == building_id, ClosedDay.day == day)
        .values(reopened_at=None)
    )


def defer_close(day: date) -> int:
    """Enqueue the closing of `day` for every building not closed, or reopened; returns how many."""
    waiting = db.session.scalars(
        sa.select(Building.id).where(
            ~sa.exists().where(
                ClosedDay.building_id == Building.id,
                ClosedDay.day == day,
                ClosedDay.reopened_at.is_(None),
            )
        )
    ).all()
    for building_id in waiting:
        reopening.defer_close(building_id, day)
    return len(waiting)


@tasks.task("metering.close_day")
def close_day(building_id: int, day: str) -> None:
    """Task: close one building's day.

    The row is there, and open, before anything is read: a sample that comes in meanwhile finds it.
    """
    now = current_app.extensions["nuan_clock"].now()
    closed = date.fromisoformat(day)
    _claim(building_id, closed, now)
    db.session.commit()
    close_building_day(building_id, closed, now)
    db.session.commit()


@tasks.task("allocation.settle")
def settle(settlement_id: int, building_id: int) -> None:
    """Task: one building of a settlement."""
    settling.settle(settlement_id, building_id, current_app.extensions["nuan_clock"].now())
