"""Operators and managers: allocation rules, settlements, and B and gamma by two persons."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from backend.allocation import calibration, ruling, settling
from backend.allocation.models import Settlement
from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_allocation import (
    AllocationRuleIn,
    AllocationRuleOut,
    AllocationRulesOut,
    ApproveIn,
    CalibrationIn,
    CalibrationOut,
    EndRuleIn,
    SettlementIn,
    SettlementOut,
)
from backend.base.db import db
from backend.people.access import allow, principal

bp = APIBlueprint("staff_allocation", __name__, url_prefix="/api/v1/staff", tag="热分摊")


@bp.get(f"/buildings/<{ID}:building_id>/allocation-rules")
@bp.output(AllocationRulesOut)
@bp.doc(responses=[404])
@allow("operator", "manager")
def rule_list(building_id: int) -> dict[str, Any]:
    """Every version of a building's rule."""
    return {"rules": ruling.versions(building_id)}


@bp.post(f"/buildings/<{ID}:building_id>/allocation-rules")
@bp.input(AllocationRuleIn, arg_name="body")
@bp.output(AllocationRuleOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("manager")
def rule_set(building_id: int, body: dict[str, Any]) -> Any:
    """A new version; refused where another is in force in that time."""
    rule = ruling.set_rule(building_id, actor=principal(), now=answers.now(), **body)
    db.session.commit()
    return rule


@bp.post(f"/allocation-rules/<{ID}:rule_id>/end")
@bp.input(EndRuleIn, arg_name="body")
@bp.output(AllocationRuleOut)
@bp.doc(responses=[404, 409])
@allow("manager")
def rule_end(rule_id: int, body: dict[str, Any]) -> Any:
    """End a version, so that another can follow."""
    rule = ruling.end_rule(rule_id, body["day"], principal(), answers.now())
    db.session.commit()
    return rule


@bp.post("/settlements")
@bp.input(SettlementIn, arg_name="body")
@bp.output(SettlementOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("operator", "manager")
def startsettlement_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Settle a region's buildings, or all, over a period that is past."""
    row = settling.start(
        body["region_id"], body["period_from"], body["period_to"], principal(), answers.now()
    )
    db.session.commit()
    return settlement_answer(row)


@bp.get(f"/settlements/<{ID}:settlement_id>")
@bp.output(SettlementOut)
@bp.doc(responses=[404])
@allow("operator", "manager", "finance")
def showsettlement_answer(settlement_id: int) -> dict[str, Any]:
    """How far it has come, and up to 100 buildings that could not be settled."""
    return settlement_answer(settling.settlement_of(settlement_id))


@bp.post(f"/settlements/<{ID}:settlement_id>/cancel")
@bp.output(SettlementOut)
@bp.doc(responses=[404, 409])
@allow("operator", "manager")
def cancelsettlement_answer(settlement_id: int) -> dict[str, Any]:
    """Stop it; what is done stays done."""
    row = settling.cancel(settlement_id, principal(), answers.now())
    db.session.commit()
    return settlement_answer(row)


@bp.post(f"/settlements/<{ID}:settlement_id>/resume")
@bp.output(SettlementOut)
@bp.doc(responses=[404, 409])
@allow("operator", "manager")
def resumesettlement_answer(settlement_id: int) -> dict[str, Any]:
    """Go on with what was cancelled, and try what was refused again."""
    row = settling.resume(settlement_id, principal(), answers.now())
    db.session.commit()
    return settlement_answer(row)


def settlement_answer(row: Settlement) -> dict[str, Any]:
    """A SettlementOut of a settlement of any kind."""
    names = ("id", "title", "period_from", "period_to", "state", "created_at", "ended_at")
    return {
        **{name: getattr(row, name) for name in names},
        "progress": settling.progress(row.id),
        "refusals": [found._asdict() for found in settling.refusals(row.id)],
    }


@bp.post("/calibrations")
@bp.input(CalibrationIn, arg_name="body")
@bp.output(CalibrationOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("operator")
def ask_calibration(body: dict[str, Any]) -> Any:
    """Find B and gamma from a building's closed days; a manager decides on their use."""
    row = calibration.propose(actor=principal(), now=answers.now(), **body)
    db.session.commit()
    return row


@bp.get(f"/calibrations/<{ID}:calibration_id>")
@bp.output(CalibrationOut)
@bp.doc(responses=[404])
@allow("operator", "manager")
def show_calibration(calibration_id: int) -> Any:
    """A calibration with its report."""
    return calibration.calibration_of(calibration_id)


@bp.post(f"/calibrations/<{ID}:calibration_id>/approve")
@bp.input(ApproveIn, arg_name="body")
@bp.output(CalibrationOut)
@bp.doc(responses=[404, 409])
@allow("manager")
def approve_calibration(calibration_id: int, body: dict[str, Any]) -> Any:
    """Use it from a day on; nobody approves what he asked for himself."""
    row = calibration.approve(calibration_id, body["effective_from"], principal(), answers.now())
    db.session.commit()
    return row


@bp.post(f"/calibrations/<{ID}:calibration_id>/reject")
@bp.output(CalibrationOut)
@bp.doc(responses=[404, 409])
@allow("operator", "manager")
def reject_calibration(calibration_id: int) -> Any:
    """Do not use it, or withdraw it."""
    row = calibration.reject(calibration_id, principal(), answers.now())
    db.session.commit()
    return row
