"""Fill an empty database with the town: rows, weeks of readings, closed days, bills."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from backend.allocation.tasks import close_building_day
from backend.archive.models import Building
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.billing import service as billing
from backend.people.models import AuditEvent
from collectors.demo import archive, history
from collectors.demo.history import Calendar, Say
from collectors.simulator.demo import demo_town
from collectors.simulator.town import Town

LOADED = "demo.loaded"
UTILITIES = ("heat", "water", "gas", "electricity")
TEMPLATE = "nuan-overdue-reminder"


def is_loaded() -> bool:
    """Whether the town's history is complete in this database."""
    return bool(db.session.scalar(sa.select(sa.exists().where(AuditEvent.action == LOADED))))


def refuse_foreign() -> str | None:
    """Why this database is not for the demonstration: it holds somebody's buildings."""
    codes = set(db.session.scalars(sa.select(Building.code).limit(10)))
    if codes - set(archive.NAMES):
        return "the database holds other buildings; the demonstration wants one of its own"
    return None


def town_of(file: Path, base_port: int, now: datetime) -> tuple[Town, Calendar]:
    """The town as first laid out; its days stay where they were on every later start."""
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Town.from_dict(kept["town"]), Calendar.ending(
            datetime.fromisoformat(kept["today"]).date()
        )
    calendar = Calendar.ending(business_day(now))
    town = demo_town(
        base_port,
        replay_start=f"{calendar.replay.isoformat()}T00:00:00+08:00",
        start=calendar.start.isoformat(),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"today": calendar.today.isoformat(), "town": town.to_dict()})
    file.write_text(text, encoding="utf-8")
    return town, calendar


def load(app: Flask, town: Town, calendar: Calendar, say: Say) -> None:
    """Everything up to the bills; each step may be repeated after an interruption."""
    settings, now = app.extensions["nuan_settings"], app.extensions["nuan_clock"].now()
    archive.install(town, calendar.start, settings.read_interval_s, TEMPLATE)
    db.session.commit()
    count = history.load(town, calendar, now, say)
    say(f"{count} 条读数经由套接字读入")
    _close_days(calendar, now, say)
    _issue(calendar, say)


def _close_days(calendar: Calendar, now: datetime, say: Say) -> None:
    buildings = db.session.scalars(sa.select(Building.id).order_by(Building.id)).all()
    for index, day in enumerate(calendar.days, 1):
        for building_id in buildings:
            close_building_day(building_id, day, now)
        db.session.commit()
        if index % 6 == 0:
            say(f"日结分摊 {index}/{len(calendar.days)}")


def _issue(calendar: Calendar, say: Say) -> None:
    """Bills of the two periods, each dated two hours into the second day after it ended."""
    count = 0
    for period_from, period_to in calendar.periods:
        issued_at = day_start(period_to) + timedelta(days=1, hours=2)
        for building_id in db.session.scalars(sa.select(Building.id)).all():
            for utility in UTILITIES:
                made = billing.issue(building_id, utility, period_from, period_to, issued_at)
                count += len(made.bills)
        db.session.commit()
    say(f"出账 {count} 张")


def mark_loaded(now: datetime) -> None:
    """The history is complete: the next start leaves it as it is."""
    db.session.add(
        AuditEvent(
            at=now, actor_kind="system", action=LOADED, subject_kind="demo", subject_id="town"
        )
    )
    db.session.commit()
