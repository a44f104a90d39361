"""The finance desk: what of the money waits for a person, orders and their refunds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from apiflask import APIBlueprint
from flask import Response

from backend.api import answers
from backend.api.fields import ID
from backend.api.idempotency import once
from backend.api.schemas_bills import IdempotencyHeader
from backend.api.schemas_desk import (
    AssignIn,
    CardIn,
    CaseDetail,
    CasesIn,
    CasesOut,
    DecidedOut,
    DeskOrderDetail,
    DeskOrdersIn,
    DeskOrdersOut,
    MoveIn,
    PayOutIn,
    RefundIn,
    RefundMoved,
    SaidOut,
    WordsIn,
)
from backend.base.db import db
from backend.billing.models import BillingRequest
from backend.cashier import breaks, cases, desk_views, parked, refund_cards, refund_desk
from backend.people.access import allow, principal
from backend.people.service import Principal

bp = APIBlueprint("staff_desk", __name__, url_prefix="/api/v1/staff", tag="资金待办")

NUMBER = "string(maxlength=64)"


@bp.get("/cases")
@bp.input(CasesIn, location="query", arg_name="wanted")
@bp.output(CasesOut)
@allow("finance", "manager")
def case_list(wanted: dict[str, Any]) -> dict[str, Any]:
    """A page of cases, newest first."""
    return desk_views.case_rows(cases.Filter(**wanted), answers.now())


@bp.get(f"/cases/<{ID}:case_id>")
@bp.output(CaseDetail)
@bp.doc(responses=[404])
@allow("finance", "manager")
def case(case_id: int) -> dict[str, Any]:
    """A case with its facts, its next steps and its history."""
    return desk_views.case_view(case_id, answers.now())


Step = Callable[[int, str, Principal, datetime], object]


def _step(name: str, summary: str, *who: str) -> Callable[[Step], Step]:
    """A step that takes nothing but words: POST /cases/{id}/{name}, answered by the case after."""

    def register(work: Step) -> Step:
        def view(case_id: int, body: dict[str, Any]) -> dict[str, Any]:
            work(case_id, body["text"], principal(), answers.now())
            return _after(case_id)

        view.__name__, view.__doc__ = name.replace("-", "_"), summary
        described = bp.doc(responses=[404, 409])(allow(*who)(view))
        shaped = bp.output(CaseDetail)(described)
        taken = bp.input(WordsIn, arg_name="body")(shaped)
        bp.post(f"/cases/<{ID}:case_id>/{name}")(taken)
        return work

    return register


def _sign(case_id: int, text: str, who: Principal, now: datetime) -> object:
    signs = breaks.sign if cases.case_of(case_id).kind == "break" else cases.sign_off
    return signs(case_id, text, who, now)


_step("comments", "Add a remark.", "finance", "manager")(cases.comment)
_step("put-aside", "Put a difference into suspense: 长款 or 短款.", "finance")(breaks.put_aside)
_step("take-back", "Take a difference out of suspense again.", "finance")(breaks.take_back)
_step("sign", "End a case with a reason under one's name.", "finance")(_sign)


def _after(case_id: int) -> dict[str, Any]:
    db.session.commit()
    return desk_views.case_view(case_id, answers.now())


@bp.post(f"/cases/<{ID}:case_id>/assign")
@bp.input(AssignIn, arg_name="body")
@bp.output(CaseDetail)
@bp.doc(responses=[404, 409])
@allow("finance")
def assign(case_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Take a case, give it to a colleague, or to nobody."""
    cases.assign(case_id, body["owner_id"], body["text"], principal(), answers.now())
    return _after(case_id)


@bp.post(f"/cases/<{ID}:case_id>/move")
@bp.input(MoveIn, arg_name="body")
@bp.output(DecidedOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def move(case_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Move parked money, or 长款, onto a bill or into a balance; 短款 is charged to it.

    409 case_moved where it was moved before.
    """
    wanted = parked.Move(case_id, body["account_no"], body["amount_fen"], body["bill_no"])
    made = parked.move(wanted, body["text"], principal(), answers.now())
    db.session.commit()
    return {"refund": None, "request_id": made.id if isinstance(made, BillingRequest) else None}


@bp.post(f"/cases/<{ID}:case_id>/adopt")
@bp.output(CaseDetail)
@bp.doc(responses=[404, 409, 502])
@allow("finance")
def adopt(case_id: int) -> dict[str, Any]:
    """Take in money of an unknown order on the channel's own word."""
    parked.adopt(case_id, principal(), answers.now())
    return _after(case_id)


@bp.post(f"/cases/<{ID}:case_id>/pair")
@bp.output(CaseDetail)
@bp.doc(responses=[404, 409])
@allow("finance")
def pair(case_id: int) -> dict[str, Any]:
    """Prove money told on two days equal, and end both days' differences."""
    breaks.pair(case_id, principal(), answers.now())
    return _after(case_id)


@bp.post(f"/cases/<{ID}:case_id>/repair")
@bp.output(SaidOut)
@bp.doc(responses=[404, 409, 502])
@allow("finance")
def repair(case_id: int) -> dict[str, str]:
    """Ask the channel about a difference and match its day again."""
    return {"said": breaks.apply(case_id, principal(), answers.now())}


@bp.post(f"/cases/<{ID}:case_id>/write-off")
@bp.input(WordsIn, arg_name="body")
@bp.output(DecidedOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def write_off(case_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Ask a second person to let a suspended difference go."""
    made = breaks.ask_write_off(case_id, body["text"], principal(), answers.now())
    db.session.commit()
    return {"refund": None, "request_id": made.id}


@bp.get("/orders")
@bp.input(DeskOrdersIn, location="query", arg_name="wanted")
@bp.output(DeskOrdersOut)
@allow("finance", "manager")
def orders(wanted: dict[str, Any]) -> dict[str, Any]:
    """A page of payment orders and top-ups, newest first."""
    return desk_views.order_rows(**wanted)


@bp.get(f"/orders/<{NUMBER}:out_trade_no>")
@bp.output(DeskOrderDetail)
@bp.doc(responses=[404])
@allow("finance", "manager")
def order(out_trade_no: str) -> dict[str, Any]:
    """An order with its bills, refunds, cases and notices."""
    return desk_views.order_view(out_trade_no)


@bp.post(f"/orders/<{NUMBER}:out_trade_no>/refunds")
@bp.input(IdempotencyHeader, location="headers", arg_name="header")
@bp.input(RefundIn, arg_name="body")
@bp.output(DecidedOut, status_code=201)
@bp.doc(responses=[400, 404, 409])
@allow("finance")
def refund(out_trade_no: str, header: dict[str, Any], body: dict[str, Any]) -> Response:
    """Give money of an order back, or ask a second person to; the same key is answered once."""
    who = principal()
    wanted = refund_desk.Wanted(
        out_trade_no, body["amount_fen"], body["bill_id"], body["then"], body["case_id"]
    )

    def act() -> dict[str, Any]:
        made = refund_desk.ask(wanted, body["reason"], header["key"], who, answers.now())
        db.session.commit()
        if isinstance(made, BillingRequest):
            return {"refund": None, "request_id": made.id}
        return {"refund": desk_views.refund_view(made), "request_id": None}

    return once(who, header["key"], {**body, "order": out_trade_no}, act, status=201)


@bp.post(f"/refunds/<{NUMBER}:out_refund_no>/retry")
@bp.output(RefundMoved)
@bp.doc(responses=[404, 409])
@allow("finance")
def retry(out_refund_no: str) -> Any:
    """Send a refused refund again under its number, or ask the channel about a stuck one."""
    made = refund_desk.retry(out_refund_no, principal(), answers.now())
    db.session.commit()
    return made


@bp.post(f"/refunds/<{NUMBER}:out_refund_no>/withdraw")
@bp.input(WordsIn, arg_name="body")
@bp.output(RefundMoved)
@bp.doc(responses=[404, 409])
@allow("finance")
def withdraw(out_refund_no: str, body: dict[str, Any]) -> Any:
    """Give a refused or closed refund up: its money goes back to where it came from."""
    made = refund_desk.withdraw(out_refund_no, body["text"], principal(), answers.now())
    db.session.commit()
    return made


@bp.post(f"/refunds/<{NUMBER}:out_refund_no>/card")
@bp.input(CardIn, arg_name="body")
@bp.output(DecidedOut)
@bp.doc(responses=[404, 409, 502])
@allow("finance")
def to_card(out_refund_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask a second person to agree that an abnormal refund goes to the payer's bank card.

    The card is sealed for the channel at once; afterwards only its last four digits can be seen.
    """
    found = refund_desk.refund_of(out_refund_no)
    card = (body["bank"], body["number"], body["holder"])
    made = refund_cards.ask(found, *card, body["text"], principal(), answers.now())
    db.session.commit()
    return {"refund": None, "request_id": made.id}


@bp.post(f"/refunds/<{NUMBER}:out_refund_no>/pay-out")
@bp.input(PayOutIn, arg_name="body")
@bp.output(DecidedOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def pay_out(out_refund_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask a second person to agree that a refund was paid out by the bank."""
    made = refund_desk.ask_pay_out(
        out_refund_no, body["document"], body["text"], principal(), answers.now()
    )
    db.session.commit()
    return {"refund": None, "request_id": made.id}
