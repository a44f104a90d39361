"""Billing as tasks: bills, late fees and prepaid charges, one building at a time."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from flask import current_app

from backend.archive.models import Building, Household, Meter
from backend.archive.rules import UTILITIES
from backend.base import tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import (
    changes,
    lateness,
    peers,
    prepayment,
    season,
    seasons,
    service,
    tariffs,
    topics,
)
from backend.billing.models import Bill
from backend.billing.usage import standing


def defer_issue(today: date) -> int:
    """Enqueue what has not been billed up to the newest settlement day, by building and utility:
    from where its last bill ended, or else one period back.  Returns how many tasks.

    A period over a change of price is billed in parts, each up to the change.
    """
    last = sa.func.max(Bill.period_to).filter(standing())
    rows = db.session.execute(
        sa.select(Meter.building_id, Meter.kind, last)
        .outerjoin(Household, Household.building_id == Meter.building_id)
        .outerjoin(Bill, sa.and_(Bill.household_id == Household.id, Bill.utility == Meter.kind))
        .where(Meter.kind.in_(UTILITIES))
        .group_by(Meter.building_id, Meter.kind)
        .order_by(Meter.building_id, Meter.kind)
    ).all()
    return sum(_defer_one(building_id, kind, last, today) for building_id, kind, last in rows)


def _defer_one(building_id: int, utility: str, last: date | None, today: date) -> int:
    cycle = topics.in_force(building_id, "cycle", utility, today)
    until = topics.period_end(cycle, today)
    begin = last or topics.period_before(cycle, until)
    if begin >= until:
        return 0
    edges = [begin, *tariffs.cuts(building_id, utility, begin, until), until]
    for lower, upper in pairwise(edges):
        tasks.defer(
            "billing.issue",
            once=f"issue:{building_id}:{utility}:{lower}:{upper}",
            building_id=building_id,
            utility=utility,
            period_from=lower.isoformat(),
            period_to=upper.isoformat(),
        )
    return len(edges) - 1


@tasks.task("billing.issue")
def issue(building_id: int, utility: str, period_from: str, period_to: str) -> None:
    """Task: issue one building's bills for one utility."""
    now = current_app.extensions["nuan_clock"].now()
    service.issue(
        building_id, utility, date.fromisoformat(period_from), date.fromisoformat(period_to), now
    )
    db.session.commit()


@tasks.task("billing.recount")
def recount(building_id: int, day: str) -> None:
    """Task: count a building's closed day again after late readings."""
    now = current_app.extensions["nuan_clock"].now()
    changes.recount(building_id, date.fromisoformat(day), now)
    db.session.commit()


def defer_nightly(today: date) -> int:
    """Enqueue the night's late fees and prepaid charges, a task a building, and the comparison of
    homes; how many tasks."""
    wanted: list[tuple[str, dict[str, Any]]] = [
        *(("billing.late_fees", {"building_id": b}) for b in lateness.overdue_buildings(today)),
        *(
            ("billing.prepaid", {"building_id": building_id, "utility": utility})
            for building_id, utility in prepayment.buildings()
        ),
    ]
    wanted.append(("billing.peers", {}))
    for name, arguments in wanted:
        key = ":".join([name, *map(str, arguments.values())])
        tasks.defer(name, once=key, lock=key, **arguments)
    return len(wanted)


@tasks.task("billing.late_fees")
def late_fees(building_id: int) -> None:
    """Task: post one building's late fees up to yesterday."""
    lateness.post_building(building_id, current_app.extensions["nuan_clock"].now())
    db.session.commit()


@tasks.task("billing.peers")
def count_peers() -> None:
    """Task: count what homes like one use, of the periods whose bills have changed."""
    peers.count(current_app.extensions["nuan_clock"].now())
    db.session.commit()


@tasks.task("billing.prepaid")
def prepaid(building_id: int, utility: str) -> None:
    """Task: charge one building's prepaid accounts for the days that are over."""
    prepayment.charge_building(building_id, utility, current_app.extensions["nuan_clock"].now())
    db.session.commit()


def defer_season(
    building_id: int, verb: str, day_from: date, day_to: date, due_on: date | None = None
) -> None:
    """Enqueue a building's advance or settlement of a season.  Problem not_found, validation."""
    if db.session.get(Building, building_id) is None:
        raise Problem("not_found")
    if day_from >= day_to:
        raise Problem("range_reversed", field="day_to")
    tasks.defer(
        "billing.season",
        once=f"season:{verb}:{building_id}:{day_from}:{day_to}",
        building_id=building_id,
        verb=verb,
        day_from=day_from.isoformat(),
        day_to=day_to.isoformat(),
        due_on=(due_on or day_from).isoformat(),
    )


@tasks.task("billing.season")
def season_task(building_id: int, verb: str, day_from: str, day_to: str, due_on: str) -> None:
    """Task: bill one building's season in advance, or settle it."""
    now = current_app.extensions["nuan_clock"].now()
    begin, end, due = (date.fromisoformat(text) for text in (day_from, day_to, due_on))
    if verb == "advance":
        season.advance(building_id, begin, end, due, now)
    else:
        season.settle(building_id, begin, end, now)
    db.session.commit()


@tasks.task(seasons.TASK)
def season_run(settlement_id: int, building_id: int) -> None:
    """Task: one building of a run over a season."""
    seasons.run(settlement_id, building_id, current_app.extensions["nuan_clock"].now())
