"""结算: a season settled building by building, watched, stopped and taken up again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.allocation import settling
from backend.archive.models import Region
from backend.archive.rules import Season, heating_season, month_day
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.console import asked
from backend.console.days import LATEST, parse_day
from backend.console.runs import EVERY_S, ID, MAX_CHOICES
from backend.console.sessions import attempt, now, roles
from backend.people import access

STATES = {"running": "进行中", "done": "已完成", "cancelled": "已取消"}
MAY_ACT = frozenset({"operator", "manager"})


def register(blueprint: Blueprint) -> None:
    """The list, a settlement, the part that refreshes itself, and the buttons."""
    add = blueprint.add_url_rule
    add("/settlements", "settlements", settlement_list)
    add("/settlements", "settlement_start", settlement_start, methods=["POST"])
    add(f"/settlements/<{ID}:settlement_id>", "settlement", settlement_page)
    add(f"/settlements/<{ID}:settlement_id>/live", "settlement_live", settlement_live)
    for verb, view in (("cancel", settlement_cancel), ("resume", settlement_resume)):
        add(
            f"/settlements/<{ID}:settlement_id>/{verb}",
            f"settlement_{verb}",
            view,
            methods=["POST"],
        )


@access.allow("operator", "manager", "finance")
def settlement_list() -> str:
    """What may be settled, and the latest settlements."""
    today, season = business_day(now()), this_season()
    return render_template(
        "console/settlements.html",
        regions=regions(),
        latest=settling.latest(),
        day_from=season.day_from,
        day_to=min(season.day_to, today),
        **_words(),
    )


def regions() -> Sequence[Region]:
    """What a run may be over, besides everything."""
    return db.session.scalars(db.select(Region).order_by(Region.id).limit(MAX_CHOICES)).all()


def this_season() -> Season:
    """The heating season today lies in, or the last one; as the settings say."""
    settings = current_app.extensions["nuan_settings"]
    start, end = month_day(settings.season_start), month_day(settings.season_end)
    return heating_season(business_day(now()), start, end)


def coming_season() -> Season:
    """This season while it lasts, and then the next one."""
    season = this_season()
    if business_day(now()) <= season.day_to:
        return season
    days = (season.day_from, season.day_to)
    return Season(*(day.replace(year=day.year + 1) for day in days))


def watched(settlement_id: int, kinds: Collection[str]) -> dict[str, Any]:
    """What the pages of a settlement of these kinds show: itself, its progress, its refusals."""
    return {
        "settlement": settling.settlement_of(settlement_id, kinds),
        "progress": settling.progress(settlement_id),
        "refusals": settling.refusals(settlement_id),
        "now": now(),
        "states": STATES,
        "every_s": EVERY_S,
    }


def _words() -> dict[str, Any]:
    return {"may_act": bool(roles() & MAY_ACT), "states": STATES}


@access.allow("operator", "manager")
def settlement_start() -> Response:
    """Begin to settle a region, or everything; then its page."""
    region_id = asked.number(request.form.get("region", ""))
    try:
        begin, end = (parse_day(request.form.get(name, ""), LATEST) for name in ("from", "to"))
        row = settling.start(region_id, begin, end, access.principal(), now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
        return redirect(url_for("console.settlements"), 303)
    return redirect(url_for("console.settlement", settlement_id=row.id), 303)


@access.allow("operator", "manager", "finance")
def settlement_page(settlement_id: int) -> str:
    """A settlement and its progress."""
    return render_template("console/settlement.html", **_settlement(settlement_id))


@access.allow("operator", "manager", "finance")
def settlement_live(settlement_id: int) -> str:
    """The progress alone, for htmx to put in place every EVERY_S seconds."""
    return render_template("console/_settlement.html", **_settlement(settlement_id))


def _settlement(settlement_id: int) -> dict[str, Any]:
    shown = watched(settlement_id, settling.HEAT)
    return {**shown, **_words(), "endpoint": "console.settlement", "verb": "结算"}


@access.allow("operator", "manager")
def settlement_cancel(settlement_id: int) -> Response:
    """Stop it."""
    attempt(lambda: settling.cancel(settlement_id, access.principal(), now()), "已取消。")
    return redirect(url_for("console.settlement", settlement_id=settlement_id), 303)


@access.allow("operator", "manager")
def settlement_resume(settlement_id: int) -> Response:
    """Go on."""
    attempt(lambda: settling.resume(settlement_id, access.principal(), now()), "已继续。")
    return redirect(url_for("console.settlement", settlement_id=settlement_id), 303)
