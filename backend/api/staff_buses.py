"""Operators and managers: buses and their states, jobs on them, refused frames."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from apiflask import APIBlueprint

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_buses import (
    AdoptedOut,
    AdoptIn,
    BusDetailOut,
    BusesOut,
    BusesQuery,
    ClockIn,
    FramesOut,
    FramesQuery,
    JobDetailOut,
    JobsOut,
    JobsQuery,
    SearchIn,
    SetupIn,
)
from backend.base.db import db
from backend.metering import bus_desk, bus_jobs, bus_rules, bus_searches, concentrator_jobs
from backend.metering.models import BusJob
from backend.people.access import allow, principal

bp = APIBlueprint("staff_buses", __name__, url_prefix="/api/v1/staff", tag="运维")


@bp.get("/buses")
@bp.input(BusesQuery, location="query", arg_name="query")
@bp.output(BusesOut)
@allow("operator", "manager")
def list_buses(query: dict[str, Any]) -> dict[str, Any]:
    """Buses with state, since when, success and last seen; what needs a person first."""
    now, region = answers.now(), query.get("region_id")
    state = query.get("state")
    page = bus_desk.buses(now, region_id=region, state=state, page=query["page"])
    return {
        "buses": [_bus(row, now) for row in page.rows],
        "states": bus_desk.states(region),
        "page": page.number,
        "has_next": page.has_next,
    }


def _bus(row: Any, now: datetime) -> dict[str, Any]:
    fields = dict(row._mapping)
    cycle = fields["cycle"]
    ended = cycle.get("ended_at")
    return {
        **fields,
        "cycle": {**cycle, "ended_at": datetime.fromisoformat(ended)} if ended else None,
        "is_stale": bus_rules.is_stale(cycle, row.read_every_s, now),
    }


@bp.get(f"/buses/<{ID}:bus_id>")
@bp.output(BusDetailOut)
@bp.doc(responses=[404])
@allow("operator", "manager")
def show_bus(bus_id: int) -> dict[str, Any]:
    """One bus with its meters: success, clock, signal."""
    now = answers.now()
    bus = _bus(bus_desk.bus(bus_id, now), now)
    return {**bus, "meter_rows": [row._asdict() for row in bus_desk.meters(bus_id, now)]}


@bp.post(f"/buses/<{ID}:bus_id>/search")
@bp.input(SearchIn, arg_name="body")
@bp.output(JobDetailOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("operator")
def search_bus(bus_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Search a bus for meters, written down or not."""
    wanted = bus_searches.parameters(**body)
    return _ask(bus_id, "search", wanted)


@bp.post(f"/buses/<{ID}:bus_id>/clock")
@bp.input(ClockIn, arg_name="body")
@bp.output(JobDetailOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("operator")
def check_clocks(bus_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Read the clocks of a bus's meters, or set those that are off and read them back."""
    return _ask(bus_id, "clock", body)


@bp.post(f"/buses/<{ID}:bus_id>/setup")
@bp.input(SetupIn, arg_name="body")
@bp.output(JobDetailOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("operator")
def set_up(bus_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Tell a concentrator its meters and plans, or hold what it has against ours."""
    kind = body.pop("action")
    return _ask(bus_id, kind, concentrator_jobs.parameters(**body))


def _ask(bus_id: int, kind: str, parameters: dict[str, Any]) -> dict[str, Any]:
    job = bus_jobs.ask(bus_id, kind, parameters, principal(), answers.now())
    db.session.commit()
    return _job(job)


@bp.get("/bus-jobs")
@bp.input(JobsQuery, location="query", arg_name="query")
@bp.output(JobsOut)
@allow("operator", "manager")
def list_jobs(query: dict[str, Any]) -> dict[str, Any]:
    """Jobs on buses, the newest first."""
    page = bus_desk.jobs(bus_id=query.get("bus_id"), page=query["page"])
    rows = [row._asdict() for row in page.rows]
    return {"jobs": rows, "page": page.number, "has_next": page.has_next}


@bp.get(f"/bus-jobs/<{ID}:job_id>")
@bp.output(JobDetailOut)
@bp.doc(responses=[404])
@allow("operator", "manager")
def show_job(job_id: int) -> dict[str, Any]:
    """How far a job is, and what it has found so far against the archive."""
    return _job(bus_jobs.job_of(job_id))


@bp.post(f"/bus-jobs/<{ID}:job_id>/cancel")
@bp.output(JobDetailOut)
@bp.doc(responses=[404, 409])
@allow("operator")
def cancel_job(job_id: int) -> dict[str, Any]:
    """Stop a job; what it has found stays."""
    job = bus_jobs.cancel(job_id, principal(), answers.now())
    db.session.commit()
    return _job(job)


@bp.post(f"/bus-jobs/<{ID}:job_id>/adopt")
@bp.input(AdoptIn, arg_name="body")
@bp.output(AdoptedOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("operator")
def adopt_meter(job_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Write a meter a search has found into the archive, on the bus it was found on."""
    adoption = bus_searches.Adoption(**body)
    meter = bus_searches.adopt(job_id, adoption, principal(), answers.now())
    db.session.commit()
    return {"meter_id": meter.id}


_JOB = ("id", "bus_id", "kind", "parameters", "state", "done", "total", "note", "error")
_JOB_TIMES = ("asked_at", "started_at", "ended_at")


def _job(job: BusJob) -> dict[str, Any]:
    fields = {name: getattr(job, name) for name in (*_JOB, *_JOB_TIMES, "result")}
    if job.kind != "search":
        return {**fields, "findings": [], "missing": []}
    findings = bus_searches.findings(job)
    rows = [
        {
            **{name: f.found.get(name) for name in ("protocol", "address", "kind", "maker")},
            "type": f.found.get("type_zh"),
            "status": f.status,
            "meter_id": f.meter_id,
            "bus_code": f.bus_code,
        }
        for f in findings.found
    ]
    missing = [{"id": m.id, "address": m.address} for m in findings.missing]
    return {**fields, "findings": rows, "missing": missing}


@bp.get("/refused-frames")
@bp.input(FramesQuery, location="query", arg_name="query")
@bp.output(FramesOut)
@allow("operator", "manager")
def list_frames(query: dict[str, Any]) -> dict[str, Any]:
    """What came over the wires and was refused: samples, and all of it counted by code and day."""
    bus_id = query.get("bus_id")
    page = bus_desk.frames(bus_id=bus_id, code=query.get("code"), page=query["page"])
    days, week = bus_desk.refused_week(answers.now(), bus_id)
    return {
        "frames": [{**row._asdict(), "hex": bytes(row.frame).hex()} for row in page.rows],
        "days": days,
        "week": [{"code": w.code, "days": w.days, "total": w.total} for w in week],
        "page": page.number,
        "has_next": page.has_next,
    }
