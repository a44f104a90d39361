"""The counter (柜台): shifts, and cash and cards taken at the business hall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiflask import APIBlueprint

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_bills import IdempotencyHeader
from backend.api.schemas_counter import (
    AccountIn,
    CloseIn,
    CounterHouseholdOut,
    CounterPaymentOut,
    OpenIn,
    PlacesOut,
    ShiftOut,
    TakeIn,
    VoidIn,
)
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import counter, counter_report, shifts
from backend.people.access import allow, principal
from backend.people.service import Principal

bp = APIBlueprint("staff_counter", __name__, url_prefix="/api/v1/staff/counter", tag="柜台")


@bp.get("/places")
@bp.output(PlacesOut)
@allow("finance", "manager")
def places() -> dict[str, Any]:
    """The drawers and card terminals in use."""
    return {"drawers": shifts.drawers(), "terminals": shifts.terminals()}


@bp.get("/household")
@bp.input(AccountIn, location="query", arg_name="query")
@bp.output(CounterHouseholdOut)
@bp.doc(responses=[404])
@allow("finance")
def household(query: dict[str, Any]) -> dict[str, Any]:
    """A household by its account number (户号), and what it owes."""
    return counter.household_by_account(query["account_no"])


@bp.post("/shifts")
@bp.input(OpenIn, arg_name="body")
@bp.output(ShiftOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance")
def open_shift(body: dict[str, Any]) -> dict[str, Any]:
    """Begin a shift over a counted drawer; one at a time a drawer and a cashier."""
    second = _second(body)
    made = shifts.open_shift(
        principal(),
        body["drawer_id"],
        _counts(body),
        answers.now(),
        issued_fen=body["issued_fen"],
        reason=body["reason"],
        second=second,
    )
    db.session.commit()
    return counter_report.report(made.id)


@bp.get("/shift")
@bp.output(ShiftOut)
@bp.doc(responses=[409])
@allow("finance")
def my_shift() -> dict[str, Any]:
    """One's own open shift."""
    mine = shifts.my_shift(principal())
    if mine is None:
        raise Problem("shift_missing")
    return counter_report.report(mine.id)


@bp.get(f"/shifts/<{ID}:shift_id>")
@bp.output(ShiftOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def shift(shift_id: int) -> dict[str, Any]:
    """A shift's report."""
    return counter_report.report(shift_id)


@bp.post(f"/shifts/<{ID}:shift_id>/close")
@bp.input(CloseIn, arg_name="body")
@bp.output(ShiftOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def close_shift(shift_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """End a shift over what was counted; differences want a reason and, beyond a limit, two."""
    second = _second(body)
    slips = {slip["terminal_id"]: slip["slips_fen"] for slip in body["slips"]}
    closing = shifts.Closing(_counts(body), slips, body["left_fen"], body["deposit_reference"])
    shifts.close_shift(
        principal(), shift_id, closing, answers.now(), reason=body["reason"], second=second
    )
    db.session.commit()
    return counter_report.report(shift_id)


@bp.post("/payments")
@bp.input(IdempotencyHeader, location="headers", arg_name="header")
@bp.input(TakeIn, arg_name="body")
@bp.output(CounterPaymentOut, status_code=201)
@bp.doc(responses=[400, 404, 409])
@allow("finance")
def take(header: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Take a payment in one's open shift; the same Idempotency-Key and body is the same one.

    The key is kept with the payment itself, so nothing can come between the two.
    """
    if header["key"] is None:
        raise Problem("idempotency_key_missing", field="Idempotency-Key")
    names = ("method", "tendered_fen", "terminal_id", "reference")
    taking = counter.Taking(
        body["household_id"],
        tuple(sorted(body["bill_ids"])),
        body["topup_fen"],
        body["amount_fen"],
        counter.Tender(**{name: body[name] for name in names}),
    )
    made = counter.take(principal(), header["key"], taking, answers.now())
    return counter_report.payment_view(made.receipt_no)


@bp.post("/payments/<string(maxlength=64):receipt_no>/void")
@bp.input(VoidIn, arg_name="body")
@bp.output(CounterPaymentOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def void(receipt_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Give a payment of one's open shift back, whole, by a reversing entry."""
    second = _second(body)
    counter.void(principal(), receipt_no, body["reason"], second, answers.now())
    db.session.commit()
    return counter_report.payment_view(receipt_no)


def _second(body: Mapping[str, Any]) -> Principal | None:
    return shifts.signer(body["second_login"], body["second_password"], answers.now())


def _counts(body: Mapping[str, Any]) -> dict[int, int]:
    return {int(fen): pieces for fen, pieces in body["counts"].items()}
