"""充值: what a resident is offered, and what he orders."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import Text, Whole
from backend.api.outs import text, whole
from backend.api.schemas_billing import PrepaidListed
from backend.api.schemas_bills import DoorIn


class TopupOffer(Schema):
    """Balances, how long they last, what is owed, and what may be paid in at once."""

    balance_fen = fields.Integer()
    prepaid = fields.List(fields.Nested(PrepaidListed))
    due_fen = whole("owed on issued bills")
    min_fen = whole()
    max_fen = whole("0: today's limit is used up")
    day_left_fen = whole("what may still be topped up today")
    chips_fen = fields.List(whole())
    channels = fields.List(text())


class TopupIn(DoorIn):
    """A top-up of a household's balance, or of its prepaid account of a utility."""

    household_id = Whole(1, required=True)
    into = Text(1, 16, load_default="wallet", metadata={"description": "wallet or a utility"})
    amount_fen = Whole(1, required=True)
