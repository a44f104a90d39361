"""采集总线: every bus with its state and success, one bus with its meters; 拒收报文."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, render_template, request

from backend.archive.models import Region
from backend.base.db import db
from backend.console import asked
from backend.console.bus_words import WORDS
from backend.console.sessions import now, roles
from backend.metering import bus_desk, bus_rules, concentrator_jobs
from backend.metering.bus_jobs import PUSH_SCHEME
from backend.metering.bus_searches import SEARCHES
from backend.people import access

EVERY_S = 10
MAX_CHOICES = 2000
MAX_CODE = 40
RECENT = 10
ID = "int(max=9223372036854775807)"


def register(blueprint: Blueprint) -> None:
    """The pages, and the list that refreshes itself."""
    add = blueprint.add_url_rule
    add("/buses", "buses", bus_list)
    add("/buses/live", "buses_live", bus_live)
    add(f"/buses/<{ID}:bus_id>", "bus", bus_page)
    add("/refused", "refused", refused_list)


@access.allow("operator", "manager")
def bus_list() -> str:
    """All buses, or those of a region and in a state."""
    regions = db.session.scalars(db.select(Region).order_by(Region.id).limit(MAX_CHOICES)).all()
    return render_template("console/buses.html", regions=regions, **_list())


@access.allow("operator", "manager")
def bus_live() -> str:
    """The list alone, for htmx to put in place every EVERY_S seconds."""
    return render_template("console/_buses.html", **_list())


def _list() -> dict[str, Any]:
    state = request.args.get("state", "")
    state = state if state in bus_rules.STATES else ""
    region = asked.maybe("region")
    moment = now()
    return {
        "page": bus_desk.buses(moment, region_id=region, state=state or None, page=asked.page()),
        "states": bus_desk.states(region),
        "region": region,
        "state": state,
        "now": moment,
        "every_s": EVERY_S,
        "is_stale": bus_rules.is_stale,
        **WORDS,
    }


@access.allow("operator", "manager")
def bus_page(bus_id: int) -> str:
    """One bus: its last cycle, its meters, its jobs and what was refused on it."""
    moment = now()
    bus = bus_desk.bus(bus_id, moment)
    return render_template(
        "console/bus.html",
        bus=bus,
        meters=bus_desk.meters(bus_id, moment),
        jobs=bus_desk.jobs(bus_id=bus_id).rows[:RECENT],
        frames=bus_desk.frames(bus_id=bus_id).rows[:RECENT],
        searches=SEARCHES,
        is_concentrator=bus.link.startswith(concentrator_jobs.SCHEME),
        is_asked=not bus.link.startswith(PUSH_SCHEME),
        may_act="operator" in roles(),
        drift_limit_s=current_app.extensions["nuan_settings"].clock_drift_s,
        now=moment,
        is_stale=bus_rules.is_stale,
        **WORDS,
    )


@access.allow("operator", "manager")
def refused_list() -> str:
    """Refused frames, of all or of one bus or code, with the week's counts."""
    bus_id, code = asked.maybe("bus"), request.args.get("code", "")[:MAX_CODE].replace("\x00", "")
    moment = now()
    days, week = bus_desk.refused_week(moment, bus_id)
    return render_template(
        "console/refused.html",
        page=bus_desk.frames(bus_id=bus_id, code=code or None, page=asked.page()),
        bus=bus_desk.bus(bus_id, moment) if bus_id else None,
        code=code,
        days=days,
        week=week,
        now=moment,
        **WORDS,
    )
