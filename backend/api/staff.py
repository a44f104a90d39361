"""Operators: read meters now, watch and stop it, set plans; two order valves and relays."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_staff import (
    AnomaliesIn,
    AnomaliesOut,
    CommandIn,
    CommandOut,
    PlanIn,
    RunIn,
    RunOut,
)
from backend.base.db import db
from backend.metering import anomalies, commands, plans, runs
from backend.metering.models import ReadingRun
from backend.people.access import allow, principal

bp = APIBlueprint("staff", __name__, url_prefix="/api/v1/staff", tag="运维")


@bp.post("/runs")
@bp.input(RunIn, arg_name="body")
@bp.output(RunOut, status_code=201)
@bp.doc(responses=[404])
@allow("operator")
def start_run(body: dict[str, Any]) -> dict[str, Any]:
    """Read meters now: all of a region or building, a batch, or one; asked again until read."""
    run = runs.start(
        body["scope"],
        body["ids"],
        principal(),
        answers.now(),
        what=body["what"],
        frozen_on=body["frozen_on"],
    )
    db.session.commit()
    return _run(run)


@bp.get(f"/runs/<{ID}:run_id>")
@bp.output(RunOut)
@bp.doc(responses=[404])
@allow("operator", "manager")
def show_run(run_id: int) -> dict[str, Any]:
    """How far a run has come, and up to 100 meters that give trouble."""
    return _run(runs.run_of(run_id))


@bp.post(f"/runs/<{ID}:run_id>/cancel")
@bp.output(RunOut)
@bp.doc(responses=[404, 409])
@allow("operator")
def cancel_run(run_id: int) -> dict[str, Any]:
    """Stop a run; readings that are in stay."""
    run = runs.cancel(run_id, principal(), answers.now())
    db.session.commit()
    return _run(run)


def _run(run: ReadingRun) -> dict[str, Any]:
    troubles = [row._asdict() for row in runs.troubles(run.id)]
    names = (
        "id", "scope", "title", "what", "frozen_on", "state", "created_at", "deadline_at",
        "ended_at",
    )  # fmt: skip
    fields = {name: getattr(run, name) for name in names}
    return {**fields, "progress": runs.progress(run.id), "troubles": troubles}


@bp.put(f"/meters/<{ID}:meter_id>/plan")
@bp.input(PlanIn, arg_name="body")
@bp.output({}, status_code=204)
@bp.doc(responses=[404, 422])
@allow("operator")
def set_plan(meter_id: int, body: dict[str, Any]) -> str:
    """Read a meter hourly, daily, weekly or monthly besides its bus's interval."""
    plans.set_plan(meter_id, body["plan"], principal(), answers.now(), frozen=body["frozen"])
    db.session.commit()
    return ""


@bp.post(f"/meters/<{ID}:meter_id>/commands")
@bp.input(CommandIn, arg_name="body")
@bp.output(CommandOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("operator")
def ask_command(meter_id: int, body: dict[str, Any]) -> Any:
    """Ask for a valve or relay to be moved; closing waits for a second person."""
    command = commands.ask(meter_id, body["action"], body["reason"], principal(), answers.now())
    db.session.commit()
    return command


@bp.get(f"/commands/<{ID}:command_id>")
@bp.output(CommandOut)
@bp.doc(responses=[404])
@allow("operator", "manager")
def show_command(command_id: int) -> Any:
    """Where an order stands."""
    return commands.command_of(command_id)


@bp.post(f"/commands/<{ID}:command_id>/approve")
@bp.output(CommandOut)
@bp.doc(responses=[404, 409])
@allow("operator", "manager")
def approve_command(command_id: int) -> Any:
    """Let somebody else's order go; nobody approves an order of his own."""
    command = commands.approve(command_id, principal(), answers.now())
    db.session.commit()
    return command


@bp.post(f"/commands/<{ID}:command_id>/withdraw")
@bp.output(CommandOut)
@bp.doc(responses=[404, 409])
@allow("operator", "manager")
def withdraw_command(command_id: int) -> Any:
    """Take an order back, or refuse it, before it is sent."""
    command = commands.withdraw(command_id, principal(), answers.now())
    db.session.commit()
    return command


@bp.get("/anomalies")
@bp.input(AnomaliesIn, location="query", arg_name="asked")
@bp.output(AnomaliesOut)
@allow("operator", "manager")
def list_anomalies(asked: dict[str, Any]) -> dict[str, Any]:
    """Odd readings of the last 30 days: each meter's newest of each flag, and what to do."""
    found = anomalies.recent(answers.now(), asked["flag"], asked["page"])
    return {
        "counts": found.counts,
        "total": found.total,
        "page": found.page,
        "pages": found.pages,
        "rows": [_anomaly(row) for row in found.rows],
    }


def _anomaly(row: Any) -> dict[str, Any]:
    meaning = anomalies.FLAGS[row.flag]
    frame = bytes(row.frame).hex() if row.frame else None
    return {**row._mapping, "meaning": meaning.says, "to_do": meaning.to_do, "frame": frame}
