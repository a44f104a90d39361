"""参数辨识: B and gamma found from a window, with their report; a manager lets them be used."""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.allocation import calibration
from backend.archive.models import Building
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.console import asked
from backend.console.days import LATEST, parse_day
from backend.console.runs import ID, MAX_CHOICES
from backend.console.sessions import attempt, current, now, roles
from backend.people import access

STATES = {
    "proposed": "待核准",
    "refused": "数据不足",
    "approved": "已核准",
    "rejected": "未采用",
}
USUAL_DAYS = 30


def register(blueprint: Blueprint) -> None:
    """The list, a calibration's report, and the buttons."""
    add = blueprint.add_url_rule
    add("/calibrations", "calibrations", calibration_list)
    add("/calibrations", "calibration_start", calibration_start, methods=["POST"])
    add(f"/calibrations/<{ID}:calibration_id>", "calibration", calibration_page)
    for verb, view in (("approve", calibration_approve), ("reject", calibration_reject)):
        add(
            f"/calibrations/<{ID}:calibration_id>/{verb}",
            f"calibration_{verb}",
            view,
            methods=["POST"],
        )


@access.allow("operator", "manager")
def calibration_list() -> str:
    """What may be identified, and the latest calibrations."""
    today = business_day(now())
    return render_template(
        "console/calibrations.html",
        buildings=db.session.scalars(
            db.select(Building).order_by(Building.code).limit(MAX_CHOICES)
        ).all(),
        latest=calibration.latest(),
        day_from=today - timedelta(days=USUAL_DAYS),
        day_to=today,
        may_ask="operator" in roles(),
        states=STATES,
    )


@access.allow("operator")
def calibration_start() -> Response:
    """Identify; then the report's page."""
    building_id = asked.needed(request.form.get("building", ""))
    try:
        begin, end = (parse_day(request.form.get(name, ""), LATEST) for name in ("from", "to"))
        row = calibration.propose(building_id, begin, end, access.principal(), now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
        return redirect(url_for("console.calibrations"), 303)
    return redirect(url_for("console.calibration", calibration_id=row.id), 303)


@access.allow("operator", "manager")
def calibration_page(calibration_id: int) -> str:
    """A report, with its chart and what may be decided."""
    row = calibration.calibration_of(calibration_id)
    staff = current()
    flats: list[dict[str, Any]] = row.report.get("flats", [])
    return render_template(
        "console/calibration.html",
        row=row,
        building=db.session.get_one(Building, row.building_id),
        flats=flats,
        scale_w=_scale_w(flats),
        states=STATES,
        default_day=business_day(now()),
        may_approve="manager" in roles() and staff is not None and staff.id != row.asked_by,
    )


def _scale_w(flats: list[dict[str, Any]]) -> int:
    """The end of the chart's axis in W/m2: a multiple of 20, so that its quarters are round."""
    shown = [value for f in flats for value in (f["gamma25"], f["gamma25_before"]) if value]
    return 20 * ceil(max(shown, default=1.0) / 20)


@access.allow("manager")
def calibration_approve(calibration_id: int) -> Response:
    """Use it from a day on."""
    day = parse_day(request.form.get("effective_from", ""), LATEST)
    attempt(
        lambda: calibration.approve(calibration_id, day, access.principal(), now()),
        f"已核准，自 {day} 起生效。",
    )
    return redirect(url_for("console.calibration", calibration_id=calibration_id), 303)


@access.allow("operator", "manager")
def calibration_reject(calibration_id: int) -> Response:
    """Do not use it."""
    attempt(
        lambda: calibration.reject(calibration_id, access.principal(), now()), "已标记为不采用。"
    )
    return redirect(url_for("console.calibration", calibration_id=calibration_id), 303)
