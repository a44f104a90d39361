"""总线任务: search a bus, look after its clocks; watch, cancel, and take in what was found."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.base.db import db
from backend.base.errors import Problem
from backend.console import asked
from backend.console.bus_words import JOB_STATES, WORDS
from backend.console.buses import ID
from backend.console.sessions import attempt, now, roles
from backend.metering import bus_desk, bus_jobs, bus_searches, concentrator_jobs
from backend.metering.bus_searches import KINDS, SEARCHES, Adoption
from backend.people import access

EVERY_S = 2
MAX_TEXT = 64
UNITS = {"heat": "kWh", "electricity": "kWh", "water": "m³", "gas": "m³"}


def register(blueprint: Blueprint) -> None:
    """The pages, the part that refreshes itself, and the buttons."""
    add = blueprint.add_url_rule
    add("/bus-jobs", "bus_jobs", job_list)
    add(f"/bus-jobs/<{ID}:job_id>", "bus_job", job_page)
    add(f"/bus-jobs/<{ID}:job_id>/live", "bus_job_live", job_live)
    add(f"/bus-jobs/<{ID}:job_id>/cancel", "bus_job_cancel", job_cancel, methods=["POST"])
    add(f"/bus-jobs/<{ID}:job_id>/adopt", "bus_job_adopt", job_adopt, methods=["POST"])
    add(f"/buses/<{ID}:bus_id>/search", "bus_search", search_start, methods=["POST"])
    add(f"/buses/<{ID}:bus_id>/clock", "bus_clock", clock_start, methods=["POST"])
    add(f"/buses/<{ID}:bus_id>/setup", "bus_setup", setup_start, methods=["POST"])


@access.allow("operator", "manager")
def job_list() -> str:
    """The latest jobs of all buses."""
    state = request.args.get("state", "")
    state = state if state in JOB_STATES else ""
    page = bus_desk.jobs(state=state or None, page=asked.page())
    return render_template("console/bus_jobs.html", page=page, state=state, now=now(), **WORDS)


@access.allow("operator", "manager")
def job_page(job_id: int) -> str:
    """A job and its progress."""
    return render_template("console/bus_job.html", **_job(job_id))


@access.allow("operator", "manager")
def job_live(job_id: int) -> str:
    """The progress alone, for htmx to put in place every EVERY_S seconds."""
    return render_template("console/_bus_job.html", **_job(job_id))


def _job(job_id: int) -> dict[str, Any]:
    job = bus_jobs.job_of(job_id)
    asked = (job.parameters.get("protocol", ""), job.parameters.get("how", ""))
    return {
        "job": job,
        "bus": bus_desk.bus(job.bus_id, now()),
        "title": SEARCHES[asked].title if asked in SEARCHES else "",
        "findings": bus_searches.findings(job) if job.kind == "search" else None,
        "is_open": job.state in bus_jobs.OPEN_STATES,
        "may_act": "operator" in roles(),
        "kinds": KINDS,
        "units": UNITS,
        "every_s": EVERY_S,
        "now": now(),
        **WORDS,
    }


@access.allow("operator")
def search_start(bus_id: int) -> Response:
    """Search a bus in one of the ways its meters' protocols have."""
    protocol, _, how = _text("way").partition("/")

    def ask() -> int:
        wanted = bus_searches.parameters(
            protocol,
            how,
            first=_text("first"),
            last=_text("last"),
            meter_type=_number("meter_type", 16),
            wait_ms=_number("wait_ms", 10),
        )
        return bus_jobs.ask(bus_id, "search", wanted, access.principal(), now()).id

    return _start(bus_id, ask)


@access.allow("operator")
def clock_start(bus_id: int) -> Response:
    """Read, or set, the clocks of a bus's meters."""
    action = _text("action")
    if action not in ("read", "set"):
        raise Problem("bad_request")
    asked = {"action": action}
    return _start(
        bus_id, lambda: bus_jobs.ask(bus_id, "clock", asked, access.principal(), now()).id
    )


@access.allow("operator")
def setup_start(bus_id: int) -> Response:
    """Tell a concentrator its meters and plans, or hold what it has against ours."""
    action = _text("action")
    if action not in concentrator_jobs.ACTIONS:
        raise Problem("bad_request")

    def ask() -> int:
        wanted = concentrator_jobs.parameters(
            interval_min=_number("interval_min", 10),
            reading_time=_text("reading_time"),
            remove_others=_text("remove_others") == "yes",
        )
        return bus_jobs.ask(bus_id, action, wanted, access.principal(), now()).id

    return _start(bus_id, ask)


def _start(bus_id: int, ask: Callable[[], int]) -> Response:
    """To the job's page where it was taken, else back to the bus with the reason."""
    try:
        job_id = ask()
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        if problem.code == "not_found":
            raise
        flash(problem.detail, "bad")
        return redirect(url_for("console.bus", bus_id=bus_id), 303)
    return redirect(url_for("console.bus_job", job_id=job_id), 303)


@access.allow("operator")
def job_cancel(job_id: int) -> Response:
    """Stop a job; what it has found stays."""
    attempt(lambda: bus_jobs.cancel(job_id, access.principal(), now()), "已取消，已有结果保留。")
    return redirect(url_for("console.bus_job", job_id=job_id), 303)


@access.allow("operator")
def job_adopt(job_id: int) -> Response:
    """Write a meter that was found into the archive."""

    def adopt() -> None:
        kind = _text("kind")
        register = _register(_text("register"), kind)
        new = Adoption(_text("address"), kind, _text("account_no") or None, register)
        bus_searches.adopt(job_id, new, access.principal(), now())

    attempt(adopt, "已建档，下一轮抄表开始读它。")
    return redirect(url_for("console.bus_job", job_id=job_id), 303)


def _register(text: str, kind: str) -> int | None:
    """A register as the dial shows it, kWh or m³, in Wh or litres; None where none is given."""
    if not text or kind not in UNITS:
        return None
    try:
        shown = Decimal(text) * 1000
    except InvalidOperation:
        shown = Decimal("NaN")
    if not shown.is_finite() or shown != shown.to_integral_value():
        words = f"底数请填写数字（{UNITS[kind]}），最多三位小数。"
        raise Problem("validation", words, field="first_register")
    return int(shown)


def _text(name: str) -> str:
    text = request.form.get(name, "").strip()
    if len(text) > MAX_TEXT or "\x00" in text:
        raise Problem("bad_request")
    return text


def _number(name: str, base: int) -> int | None:
    """A number of the form; None where it is left empty."""
    text = _text(name)
    try:
        return int(text, base) if text else None
    except ValueError as error:
        raise Problem("validation", "请填写数字。", field=name) from error
