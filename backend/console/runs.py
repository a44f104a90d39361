"""抄表任务: start a run and watch it; a meter's page: read now, plan, valve or relay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.archive.models import Building, Meter, Region
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.console import asked, queries, supplies
from backend.console.sessions import attempt, current, now, roles
from backend.metering import commands, freezes, plans, runs
from backend.metering.models import MeterState
from backend.people import access

EVERY_S = 2
MAX_CHOICES = 2000
ID = "int(max=9223372036854775807)"

RUN_STATES = {"running": "进行中", "done": "已完成", "cancelled": "已取消"}
ITEM_STATES = {"waiting": "等待重抄", "taken": "正在抄", "missed": "未抄到", "cancelled": "已取消"}
WHATS = {"current": "当前值", "day": "日冻结", "month": "月冻结"}
ERRORS = {
    "no_freeze": "表内没有这次冻结",
    "silent": "没有应答",
    "garbled": "应答残缺",
    "checksum": "校验错误",
    "link_down": "线路不通",
    "refused": "表拒绝执行",
    "not_reached": "时限内没有轮到",
    "not_moved": "阀门或继电器未动作",
    "no_answer": "回读无应答",
    "not_verified": "未能回读确认",
    "removed": "表已拆除",
    "no_supply": "此表不支持阀门或拉合闸命令",
    "no_credentials": "未设置电表密码与操作者代码",
    "bad_target": "表号或协议配置有误",
    "late": "总线忙，未能按时下发",
    "expired": "已过期",
    "unreadable": "应答中没有可信的读数",
    "wrong_address": "应答的不是此表",
    "wrong_answer": "应答不符",
    "wrong_type": "表类型不符",
}


def register(blueprint: Blueprint) -> None:
    """The pages, the part that refreshes itself, and the buttons."""
    add = blueprint.add_url_rule
    add("/runs", "runs", run_list)
    add("/runs", "run_start", run_start, methods=["POST"])
    add(f"/runs/<{ID}:run_id>", "run", run_page)
    add(f"/runs/<{ID}:run_id>/live", "run_live", run_live)
    add(f"/runs/<{ID}:run_id>/cancel", "run_cancel", run_cancel, methods=["POST"])
    add("/meters", "meter_find", meter_find)
    add(f"/meters/<{ID}:meter_id>", "meter", meter_page)
    add(f"/meters/<{ID}:meter_id>/plan", "meter_plan", meter_plan, methods=["POST"])


@access.allow("operator", "manager")
def run_list() -> str:
    """What may be chosen, what waits for a second person, and the latest runs."""
    return render_template(
        "console/runs.html",
        regions=db.session.scalars(db.select(Region).order_by(Region.id).limit(MAX_CHOICES)).all(),
        buildings=db.session.scalars(
            db.select(Building).order_by(Building.code).limit(MAX_CHOICES)
        ).all(),
        latest=queries.latest_runs(),
        waiting=queries.supply_commands(state="queued"),
        **_words(),
    )


def _words() -> dict[str, Any]:
    staff = current()
    return {
        "now": now(),
        "me": staff.id if staff else None,
        "may_act": "operator" in roles(),
        "run_states": RUN_STATES,
        "item_states": ITEM_STATES,
        **supplies.words(),
        "errors": ERRORS,
        "plans": plans.PLAN_TITLES,
        "frozen_plans": plans.FROZEN,
        "whats": WHATS,
        "oldest": {what: freezes.oldest(what, now()) for what in (freezes.DAY, freezes.MONTH)},
        "today": business_day(now()),
        "every_s": EVERY_S,
    }


@access.allow("operator")
def run_start() -> Response:
    """Begin a run for 'region:3', 'building:7' or 'meter:9'; then its page.

    `freeze`: "" for the current values, a day for that day's freeze, a month (2026-11) for its.
    """
    scope, _, number = request.form.get("what", "").partition(":")
    if scope not in ("region", "building", "meter"):
        raise Problem("not_found")
    place_id = asked.needed(number)
    what, frozen_on = _what(request.form)
    try:
        run = runs.start(
            scope, [place_id], access.principal(), now(), what=what, frozen_on=frozen_on
        )
    except Problem as problem:
        if problem.code == "not_found":
            raise
        db.session.rollback()
        flash(problem.detail, "bad")
        return redirect(url_for("console.runs"), 303)
    db.session.commit()
    return redirect(url_for("console.run", run_id=run.id), 303)


def _what(form: Mapping[str, str]) -> tuple[str, date | None]:
    """What the form asks for and of which day: each kind has a date field of its own."""
    what = form.get("what_kind", freezes.CURRENT)
    if what not in freezes.WHATS:
        raise Problem("bad_request")
    if what == freezes.CURRENT:
        return what, None
    said = form.get(what, "").strip()
    try:
        return what, date.fromisoformat(f"{said}-01" if what == freezes.MONTH else said)
    except ValueError:
        return what, None  # freezes.check says what is missing


@access.allow("operator", "manager")
def run_page(run_id: int) -> str:
    """A run and its progress."""
    return render_template("console/run.html", **_run(run_id))


@access.allow("operator", "manager")
def run_live(run_id: int) -> str:
    """The progress alone, for htmx to put in place every EVERY_S seconds."""
    return render_template("console/_run.html", **_run(run_id))


def _run(run_id: int) -> dict[str, Any]:
    run = runs.run_of(run_id)
    progress = runs.progress(run_id)
    troubles = runs.troubles(run_id)
    return {"run": run, "progress": progress, "troubles": troubles, **_words()}


@access.allow("operator")
def run_cancel(run_id: int) -> Response:
    """Stop a run; readings that are in stay."""
    attempt(lambda: runs.cancel(run_id, access.principal(), now()), "已取消。")
    return redirect(url_for("console.run", run_id=run_id), 303)


@access.allow("operator", "manager")
def meter_find() -> Response:
    """The page of the live meter with the address asked for."""
    address = request.args.get("address", "").strip()[:64].replace("\x00", "").upper()
    wanted = db.select(Meter.id).where(Meter.address == address, Meter.removed_on.is_(None))
    found = db.session.scalars(wanted.limit(1)).first()
    if found is None:
        raise Problem("not_found", "没有在用的表是这个表号。")
    return redirect(url_for("console.meter", meter_id=found))


@access.allow("operator", "manager")
def meter_page(meter_id: int) -> str:
    """One meter: its last state, its plan, its valve or relay and what was ordered."""
    meter = db.session.get(Meter, meter_id)
    if meter is None:
        raise Problem("not_found")
    return render_template(
        "console/meter.html",
        meter=meter,
        title=runs.meter_title(meter),
        state=db.session.get(MeterState, meter_id),
        may_freeze=partial(freezes.keeps, meter.protocol, meter.profile, meter.options),
        supply=None if meter.removed_on else commands.supply_of(meter),
        history=queries.supply_commands(meter_id=meter_id),
        **_words(),
    )


@access.allow("operator")
def meter_plan(meter_id: int) -> Response:
    """Set the meter's own plan, or none."""
    plan, _, frozen = request.form.get("plan", "").partition(":")
    if plan and plan not in plans.PLANS:
        raise Problem("bad_request")
    who, at, is_frozen = access.principal(), now(), frozen == "frozen"
    attempt(
        lambda: plans.set_plan(meter_id, plan or None, who, at, frozen=is_frozen), "计划已保存。"
    )
    return redirect(url_for("console.meter", meter_id=meter_id), 303)
