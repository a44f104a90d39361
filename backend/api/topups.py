"""充值: a resident tops up the household's balance or a prepaid account over a channel."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, request

from backend.api import answers, shapes
from backend.api.fields import ID
from backend.api.idempotency import once
from backend.api.schemas_bills import IdempotencyHeader, OrderCreated
from backend.api.schemas_topups import TopupIn, TopupOffer
from backend.archive import service as archive
from backend.base.db import db
from backend.cashier import service as cashier
from backend.cashier import topups
from backend.people.access import allow, principal

bp = APIBlueprint("topups", __name__, url_prefix="/api/v1", tag="账单与缴费")


@bp.get(f"/households/<{ID}:household_id>/topup")
@bp.output(TopupOffer)
@bp.doc(responses=[404])
@allow("resident")
def offer(household_id: int) -> dict[str, Any]:
    """What there is, how long it lasts, and what may be topped up."""
    household = archive.household_for(principal().id, household_id)
    return topups.offer(household, answers.now())


@bp.post("/topups")
@bp.input(IdempotencyHeader, location="headers", arg_name="header")
@bp.input(TopupIn, arg_name="wanted")
@bp.output(OrderCreated, status_code=201)
@bp.doc(responses=[400, 404, 409, 502])
@allow("resident")
def create(header: dict[str, Any], wanted: dict[str, Any]) -> Response:
    """Order a top-up; the same Idempotency-Key and body are answered once."""
    who = principal()
    door = cashier.Door(wanted["channel"], cashier.PayWay(wanted["way"]), request.remote_addr or "")
    wish = topups.Wish(wanted["household_id"], wanted["into"], wanted["amount_fen"])

    def act() -> dict[str, Any]:
        order, client_pay = topups.create(who.id, wish, door, answers.now())
        db.session.commit()
        return {"order": shapes.order(order), "client_pay": dict(client_pay)}

    return once(who, header["key"], wanted, act, status=201)
