"""A resident's bills, each walked back to its readings, and the orders that pay them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from apiflask import APIBlueprint
from flask import Response, request
from sqlalchemy.orm import selectinload

from backend.api import answers, shapes
from backend.api.fields import ID
from backend.api.idempotency import once
from backend.api.schemas_billing import AccountOut, ColdReportIn, ColdReportOut, ColdTermsOut
from backend.api.schemas_bills import (
    BillsIn,
    BillsOut,
    BillWithLines,
    ExplanationOut,
    IdempotencyHeader,
    OrderCreated,
    OrderIn,
    OrderState,
)
from backend.archive import service as archive
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import cold, handover, overview
from backend.billing.explain import explain as derive
from backend.billing.models import Bill
from backend.cashier import asking
from backend.cashier import service as cashier
from backend.people.access import allow, principal

bp = APIBlueprint("bills", __name__, url_prefix="/api/v1", tag="账单与缴费")


@bp.get(f"/households/<{ID}:household_id>/bills")
@bp.input(BillsIn, location="query", arg_name="page")
@bp.output(BillsOut)
@bp.doc(responses=[404])
@allow("resident")
def bills(household_id: int, page: dict[str, Any]) -> dict[str, Any]:
    """A household's bills, newest first, a page at a time."""
    archive.household_for(principal().id, household_id)
    query = sa.select(Bill).where(Bill.household_id == household_id)
    moved_on = handover.since(household_id)
    if moved_on is not None:  # an earlier owner's bills are his
        query = query.where(Bill.period_from >= moved_on)
    if page["before"] is not None:
        query = query.where(Bill.id < page["before"])
    rows = db.session.scalars(query.order_by(Bill.id.desc()).limit(page["limit"] + 1)).all()
    shown = rows[: page["limit"]]
    today = answers.today()
    return {
        "bills": [shapes.bill(row, today) for row in shown],
        "next_before": shown[-1].id if len(rows) > len(shown) else None,
    }


def _bill_for(resident_id: int, bill_id: int) -> Bill:
    """The bill with its lines, if the resident looks after its household; else not_found."""
    query = sa.select(Bill).where(Bill.id == bill_id)
    found: Bill | None = db.session.scalars(
        query.options(selectinload(Bill.lines), selectinload(Bill.tariff))
    ).first()
    if found is None:
        raise Problem("not_found")
    if not handover.may_see(resident_id, found):
        raise Problem("not_found")
    return found


@bp.get(f"/households/<{ID}:household_id>/account")
@bp.output(AccountOut)
@bp.doc(responses=[404])
@allow("resident")
def account(household_id: int) -> dict[str, Any]:
    """A household's balance, prepaid accounts, refunds, late fees that run, reports of cold."""
    return overview.account(archive.household_for(principal().id, household_id), answers.today())


@bp.post(f"/households/<{ID}:household_id>/cold-reports")
@bp.input(ColdReportIn, arg_name="body")
@bp.output(ColdReportOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("resident")
def cold_report(household_id: int, body: dict[str, Any]) -> Any:
    """Say that a room is cold; one report at a time."""
    archive.household_for(principal().id, household_id)
    said = (body["room"], body["note"])
    made = cold.report(household_id, *said, principal(), answers.now(), body["visit_at"])
    db.session.commit()
    return made


@bp.get(f"/households/<{ID}:household_id>/cold-reports")
@bp.output(ColdTermsOut)
@bp.doc(responses=[404])
@allow("resident")
def cold_terms(household_id: int) -> dict[str, Any]:
    """The rule about cold rooms, when somebody may come to measure, and what was reported."""
    household = archive.household_for(principal().id, household_id)
    found = cold.terms(household, answers.now())
    reports = overview.cold_reports(household)
    return {"sentences": found.sentences, "visits": found.visits, "reports": reports}


@bp.get(f"/bills/<{ID}:bill_id>")
@bp.output(BillWithLines)
@bp.doc(responses=[404])
@allow("resident")
def bill(bill_id: int) -> dict[str, Any]:
    """A bill and its lines."""
    return shapes.bill_with_lines(_bill_for(principal().id, bill_id), answers.today())


@bp.get(f"/bills/<{ID}:bill_id>/explain")
@bp.output(ExplanationOut)
@bp.doc(responses=[404])
@allow("resident")
def explain(bill_id: int) -> dict[str, Any]:
    """Why a bill is what it is: building heat, own part, price, and the readings it stands on."""
    found = _bill_for(principal().id, bill_id)
    return shapes.explanation(derive(found.id), answers.today())


@bp.get("/orders/<string(maxlength=64):out_trade_no>")
@bp.output(OrderState)
@bp.doc(responses=[404])
@allow("resident")
def order(out_trade_no: str) -> dict[str, Any]:
    """An order; one that is still being paid is asked for at the channel first."""
    if not out_trade_no.isascii() or not out_trade_no.isalnum():
        raise Problem("not_found")
    cashier.order_for(principal().id, out_trade_no)
    return shapes.order(asking.refresh(out_trade_no, answers.now()))


@bp.post("/orders")
@bp.input(IdempotencyHeader, location="headers", arg_name="header")
@bp.input(OrderIn, arg_name="wanted")
@bp.output(OrderCreated, status_code=201)
@bp.doc(responses=[400, 404, 409, 502])
@allow("resident")
def create_order(header: dict[str, Any], wanted: dict[str, Any]) -> Response:
    """Order some bills to be paid; the same Idempotency-Key and body are answered once."""
    who = principal()
    door = cashier.Door(wanted["channel"], cashier.PayWay(wanted["way"]), request.remote_addr or "")

    def create() -> dict[str, Any]:
        order, client_pay = cashier.create_order(who.id, wanted["bill_ids"], door, answers.now())
        db.session.commit()
        return {"order": shapes.order(order), "client_pay": dict(client_pay)}

    return once(who, header["key"], wanted, create, status=201)
