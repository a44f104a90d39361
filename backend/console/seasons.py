"""采暖季: a season billed in advance or settled, watched, stopped and taken up again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.allocation import settling
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import seasons
from backend.console import asked, settlements
from backend.console.days import LATEST, parse_day
from backend.console.runs import ID
from backend.console.sessions import attempt, now
from backend.people import access

VERBS = {"advance": "预收", "season": "结算"}
DUE_DAYS = 30  # what the form suggests


def register(blueprint: Blueprint) -> None:
    """The list, a run, the part that refreshes itself, and the buttons."""
    one = f"/seasons/<{ID}:settlement_id>"
    for path, name, view, method in (
        ("/seasons", "season_runs", run_list, "GET"),
        ("/seasons", "season_run_start", run_start, "POST"),
        (one, "season_run", run_page, "GET"),
        (f"{one}/live", "season_run_live", run_live, "GET"),
        (f"{one}/cancel", "season_run_cancel", run_cancel, "POST"),
        (f"{one}/resume", "season_run_resume", run_resume, "POST"),
    ):
        blueprint.add_url_rule(path, name, view, methods=[method])


@access.allow("finance", "manager")
def run_list() -> str:
    """What may be billed in advance or settled, and the latest runs."""
    return render_template(
        "console/season_runs.html",
        regions=settlements.regions(),
        latest=settling.latest(seasons.KINDS),
        seasons={"advance": settlements.coming_season(), "settle": settlements.this_season()},
        due_on=business_day(now()) + timedelta(days=DUE_DAYS),
        states=settlements.STATES,
        verbs=VERBS,
    )


@access.allow("finance", "manager")
def run_start() -> Response:
    """Begin; then the run's page."""
    form = request.form
    region_id = asked.number(form.get("region", ""))
    try:
        verb = form.get("verb", "")
        if verb not in seasons.VERBS:
            raise Problem("validation", field="verb")
        begin, last = (parse_day(form.get(name, ""), LATEST) for name in ("from", "to"))
        due = parse_day(form.get("due", ""), LATEST) if verb == "advance" else None
        end = last + timedelta(days=1)
        row = seasons.start(verb, region_id, begin, end, due, access.principal(), now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
        return redirect(url_for("console.season_runs"), 303)
    return _to(row.id)


def _to(settlement_id: int) -> Response:
    return redirect(url_for("console.season_run", settlement_id=settlement_id), 303)


@access.allow("finance", "manager")
def run_page(settlement_id: int) -> str:
    """A run, its progress and what it did."""
    return render_template("console/season_run.html", **_run(settlement_id))


@access.allow("finance", "manager")
def run_live(settlement_id: int) -> str:
    """The progress alone, for htmx to put in place."""
    return render_template("console/_settlement.html", **_run(settlement_id))


def _run(settlement_id: int) -> dict[str, Any]:
    shown = settlements.watched(settlement_id, seasons.KINDS)
    return {
        **shown,
        "may_act": True,
        "endpoint": "console.season_run",
        "verb": VERBS[shown["settlement"].kind],
        "sums": seasons.totals(settlement_id),
        "buildings": seasons.buildings(settlement_id),
        "left_out": seasons.left_out(settlement_id),
    }


@access.allow("finance", "manager")
def run_cancel(settlement_id: int) -> Response:
    """Stop it."""
    who = access.principal()
    attempt(lambda: settling.cancel(settlement_id, who, now(), seasons.KINDS), "已取消。")
    return _to(settlement_id)


@access.allow("finance", "manager")
def run_resume(settlement_id: int) -> Response:
    """Go on."""
    who = access.principal()
    attempt(lambda: settling.resume(settlement_id, who, now(), seasons.KINDS), "已继续。")
    return _to(settlement_id)
