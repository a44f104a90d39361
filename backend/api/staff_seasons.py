"""Finance and managers: a season billed in advance or settled, for a region or for all."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from backend.allocation import settling
from backend.allocation.models import Settlement
from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_seasons import SeasonRunIn, SeasonRunOut
from backend.api.staff_allocation import settlement_answer
from backend.base.db import db
from backend.billing import seasons
from backend.people.access import allow, principal

bp = APIBlueprint("staff_seasons", __name__, url_prefix="/api/v1/staff", tag="采暖季")


@bp.post("/season-runs")
@bp.input(SeasonRunIn, arg_name="body")
@bp.output(SeasonRunOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def start_run(body: dict[str, Any]) -> dict[str, Any]:
    """Bill a season in advance, or settle it, a task a building; again bills nobody twice."""
    row = seasons.start(actor=principal(), now=answers.now(), **body)
    db.session.commit()
    return _run(row)


@bp.get(f"/season-runs/<{ID}:season_run_id>")
@bp.output(SeasonRunOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def show_run(season_run_id: int) -> dict[str, Any]:
    """How far it has come, what it did, and whom it left out."""
    return _run(settling.settlement_of(season_run_id, seasons.KINDS))


@bp.post(f"/season-runs/<{ID}:season_run_id>/cancel")
@bp.output(SeasonRunOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def cancel_run(season_run_id: int) -> dict[str, Any]:
    """Stop it; what is done stays done."""
    row = settling.cancel(season_run_id, principal(), answers.now(), seasons.KINDS)
    db.session.commit()
    return _run(row)


@bp.post(f"/season-runs/<{ID}:season_run_id>/resume")
@bp.output(SeasonRunOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def resume_run(season_run_id: int) -> dict[str, Any]:
    """Go on with what was cancelled, and try what was refused again."""
    row = settling.resume(season_run_id, principal(), answers.now(), seasons.KINDS)
    db.session.commit()
    return _run(row)


def _run(row: Settlement) -> dict[str, Any]:
    return {
        **settlement_answer(row),
        "kind": row.kind,
        "due_on": row.due_on,
        "sums": seasons.totals(row.id),
        "buildings": [found._asdict() for found in seasons.buildings(row.id)],
        "left_out": [found._asdict() for found in seasons.left_out(row.id)],
    }
