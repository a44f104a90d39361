"""Finance and managers: price versions, rules by region, and what two persons decide."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_billing import (
    ColdReportOut,
    ColdReportsOut,
    CreditIn,
    DecisionIn,
    HandoverIn,
    HandoverOut,
    MeasurementIn,
    NewOwnerIn,
    NoteIn,
    PrepaidIn,
    PrepaidOut,
    PreviewIn,
    PreviewOut,
    ReasonIn,
    RequestOut,
    RequestsOut,
    RuleIn,
    SeasonIn,
    TariffIn,
    TariffsIn,
    TariffsOut,
    TariffVersionOut,
    TransferIn,
)
from backend.base.db import db
from backend.billing import (
    ahead,
    cold,
    handover,
    preview,
    reallocation,
    requests,
    tariffs,
    tasks,
)
from backend.people.access import allow, principal

bp = APIBlueprint("staff_billing", __name__, url_prefix="/api/v1/staff", tag="计费")


@bp.get("/tariffs")
@bp.input(TariffsIn, location="query", arg_name="query")
@bp.output(TariffsOut)
@allow("finance", "manager")
def tariff_list(query: dict[str, Any]) -> dict[str, Any]:
    """Every version of a utility's prices."""
    return {"tariffs": tariffs.versions(query["utility"])}


@bp.post("/tariffs")
@bp.input(TariffIn, arg_name="body")
@bp.output(TariffVersionOut, status_code=201)
@allow("finance", "manager")
def tariff_draft(body: dict[str, Any]) -> Any:
    """Draft a price; nobody is billed by it until somebody else has approved it."""
    made = tariffs.draft(principal(), answers.now(), **body)
    db.session.commit()
    return made


@bp.get(f"/tariffs/<{ID}:tariff_id>/preview")
@bp.input(PreviewIn, location="query", arg_name="query")
@bp.output(PreviewOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def tariff_preview(tariff_id: int, query: dict[str, Any]) -> dict[str, Any]:
    """A past period's bills priced by the draft; nothing is kept."""
    return preview.preview(tariff_id, query["day_from"], query["day_to"])


@bp.post(f"/tariffs/<{ID}:tariff_id>/approve")
@bp.output(TariffVersionOut)
@bp.doc(responses=[404, 409])
@allow("manager")
def tariff_approve(tariff_id: int) -> Any:
    """Let somebody else's draft live from its first day on."""
    made = tariffs.approve(tariff_id, principal(), answers.now())
    db.session.commit()
    return made


@bp.post(f"/tariffs/<{ID}:tariff_id>/drop")
@bp.output(TariffVersionOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def tariff_drop(tariff_id: int) -> Any:
    """Give a draft up."""
    made = tariffs.drop(tariff_id, principal(), answers.now())
    db.session.commit()
    return made


@bp.post("/rules")
@bp.input(RuleIn, arg_name="body")
@bp.output(RequestOut, status_code=201)
@bp.doc(responses=[409])
@allow("finance", "manager")
def rule_ask(body: dict[str, Any]) -> Any:
    """Ask for a rule (cycle, late fee, prepaid, cut-off, cold rooms) of a region."""
    made = requests.ask_rule(**body, actor=principal(), now=answers.now())
    db.session.commit()
    return made


@bp.post(f"/bills/<{ID}:bill_id>/reversal")
@bp.input(ReasonIn, arg_name="body")
@bp.output(RequestOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def reversal_ask(bill_id: int, body: dict[str, Any]) -> Any:
    """Ask for a bill to be reversed (红冲)."""
    made = requests.ask_reversal(bill_id, body["reason"], principal(), answers.now())
    db.session.commit()
    return made


@bp.post(f"/allocation-runs/<{ID}:allocation_run_id>/correction")
@bp.input(ReasonIn, arg_name="body")
@bp.output(RequestOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def reallocation_ask(allocation_run_id: int, body: dict[str, Any]) -> Any:
    """Ask for a billed building's heat to be shared out anew: reversals, a new run, new bills."""
    made = reallocation.ask(allocation_run_id, body["reason"], principal(), answers.now())
    db.session.commit()
    return made


@bp.post(f"/households/<{ID}:household_id>/credits")
@bp.input(CreditIn, arg_name="body")
@bp.output(RequestOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def credit_ask(household_id: int, body: dict[str, Any]) -> Any:
    """Ask for money to be given back to a household."""
    made = requests.ask_credit(household_id, **body, actor=principal(), now=answers.now())
    db.session.commit()
    return made


@bp.get("/requests")
@bp.output(RequestsOut)
@allow("finance", "manager")
def request_list() -> dict[str, Any]:
    """What waits for a second person."""
    return {"requests": requests.waiting()}


@bp.post(f"/requests/<{ID}:request_id>/approve")
@bp.input(NoteIn, arg_name="body")
@bp.output(RequestOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def request_approve(request_id: int, body: dict[str, Any]) -> Any:
    """Carry out what somebody else has asked for."""
    made = requests.approve(request_id, principal(), answers.now(), body["note"])
    db.session.commit()
    return made


@bp.post(f"/requests/<{ID}:request_id>/refuse")
@bp.input(NoteIn, arg_name="body")
@bp.output(RequestOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def request_refuse(request_id: int, body: dict[str, Any]) -> Any:
    """Turn a request down, or take one's own back."""
    made = requests.refuse(request_id, principal(), answers.now(), body["note"])
    db.session.commit()
    return made


@bp.get("/cold-reports")
@bp.output(ColdReportsOut)
@allow("finance", "operator", "manager")
def cold_list() -> dict[str, Any]:
    """Reports of cold rooms, those not decided first."""
    return {"reports": cold.reports()}


@bp.post(f"/cold-reports/<{ID}:report_id>/measurement")
@bp.input(MeasurementIn, arg_name="body")
@bp.output(ColdReportOut)
@bp.doc(responses=[404, 409])
@allow("reader", "operator")
def cold_measure(report_id: int, body: dict[str, Any]) -> Any:
    """Keep an on-site measurement; outside the rules it is refused with the rule."""
    found = cold.measure(report_id, **body, actor=principal(), now=answers.now())
    db.session.commit()
    return found


@bp.post(f"/cold-reports/<{ID}:report_id>/decision")
@bp.input(DecisionIn, arg_name="body")
@bp.output(ColdReportOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def cold_decide(report_id: int, body: dict[str, Any]) -> Any:
    """Find the cold days; a refund waits for a second person."""
    days = (body["day_from"], body["day_to"])
    found = cold.decide(report_id, body["source"], *days, principal(), answers.now())
    db.session.commit()
    return found


@bp.post(f"/households/<{ID}:household_id>/prepaid")
@bp.input(PrepaidIn, arg_name="body")
@bp.output(PrepaidOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def prepaid_open(household_id: int, body: dict[str, Any]) -> Any:
    """Let a household pay ahead for a utility from a day on."""
    made = ahead.open_account(
        household_id, body["utility"], body["first_day"], principal(), answers.now()
    )
    db.session.commit()
    return made


@bp.post(f"/households/<{ID}:household_id>/prepaid/transfers")
@bp.input(TransferIn, arg_name="body")
@bp.output({}, status_code=204)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def prepaid_transfer(household_id: int, body: dict[str, Any]) -> str:
    """Move part of a household's balance into its prepaid account."""
    ahead.from_wallet(household_id, **body, now=answers.now())
    db.session.commit()
    return ""


@bp.post(f"/households/<{ID}:household_id>/handovers")
@bp.input(HandoverIn, arg_name="body")
@bp.output(HandoverOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def handover_begin(household_id: int, body: dict[str, Any]) -> Any:
    """Make the final bills of an owner who leaves (过户)."""
    made = handover.begin(household_id, body["moved_on"], principal(), answers.now())
    db.session.commit()
    return made


@bp.post(f"/handovers/<{ID}:handover_id>/complete")
@bp.input(NewOwnerIn, arg_name="body")
@bp.output(HandoverOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def handover_complete(handover_id: int, body: dict[str, Any]) -> Any:
    """Write the new owner once the old one owes nothing."""
    made = handover.complete(handover_id, body["name"], body["phone"], principal(), answers.now())
    db.session.commit()
    return made


@bp.post(f"/buildings/<{ID}:building_id>/season")
@bp.input(SeasonIn, arg_name="body")
@bp.output({}, status_code=204)
@bp.doc(responses=[404])
@allow("finance", "manager")
def season(building_id: int, body: dict[str, Any]) -> str:
    """Enqueue a building's advance or settlement of a season; once, however often asked."""
    tasks.defer_season(building_id, **body)
    db.session.commit()
    return ""
