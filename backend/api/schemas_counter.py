"""What cashiers send and get: shifts, payments at the counter, their voids."""

from __future__ import annotations

from apiflask import Schema, fields
from marshmallow import validate

from backend.api.fields import Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole
from backend.cashier.counter_rules import DENOMINATIONS_FEN, MAX_PAYMENT_FEN, MAX_PIECES
from backend.cashier.rules import MAX_BILLS


class SecondIn(Schema):
    """The colleague who signs on the spot where a limit asks for it, by own login and password."""

    second_login = Text(0, 64, load_default="")
    second_password = Text(0, 200, load_default="")


class _Counts(fields.Dict):
    """{denomination in fen: pieces}."""

    def __init__(self) -> None:
        super().__init__(
            keys=fields.String(validate=one_of(*map(str, DENOMINATIONS_FEN))),
            values=Whole(0, MAX_PIECES),
            required=True,
            metadata={"description": "denomination in fen -> pieces, e.g. {'10000': 3}"},
        )


class OpenIn(SecondIn):
    """A drawer as it was counted, and the float that was brought for it."""

    drawer_id = Whole(1, required=True)
    counts = _Counts()
    issued_fen = Whole(0, MAX_PAYMENT_FEN, load_default=0)
    reason = Text(0, 200, load_default="")


class SlipIn(Schema):
    """A card terminal's own total of the shift."""

    terminal_id = Whole(1, required=True)
    slips_fen = Whole(0, MAX_PAYMENT_FEN, required=True)


class CloseIn(SecondIn):
    """What was counted at the end; what is not left in the drawer goes to the bank."""

    counts = _Counts()
    slips = fields.List(fields.Nested(SlipIn), load_default=list, validate=validate.Length(max=50))
    left_fen = Whole(0, MAX_PAYMENT_FEN, load_default=0)
    deposit_reference = Text(0, 64, load_default="")
    reason = Text(0, 200, load_default="")


class TakeIn(Schema):
    """A payment: `amount_fen` is what the household was told, bills and top-up together."""

    household_id = Whole(1, required=True)
    bill_ids = fields.List(Whole(1), load_default=list, validate=validate.Length(max=MAX_BILLS))
    topup_fen = Whole(0, MAX_PAYMENT_FEN, load_default=0)
    amount_fen = Whole(1, MAX_PAYMENT_FEN, required=True)
    method = Text(1, 8, required=True, validate=[one_of("cash", "pos")])
    tendered_fen = Whole(1, MAX_PAYMENT_FEN, required=True)
    terminal_id = Whole(1, load_default=None, allow_none=True)
    reference = Text(1, 64, load_default=None, allow_none=True)


class VoidIn(SecondIn):
    """Why a payment is given back."""

    reason = Text(2, 200, required=True)


class AccountIn(Schema):
    """Which household."""

    account_no = Text(1, 64, required=True)


class CounterBillOut(Schema):
    """A bill that is owed."""

    id = whole()
    bill_no = text()
    title = text()
    open_fen = whole("what is still owed")
    due_on = fields.Date()


class CounterHouseholdOut(Schema):
    """A household as the cashier sees it."""

    id = whole()
    account_no = text()
    address = text()
    owner = text("masked")
    balance_fen = whole("what we hold for it")
    bills = fields.List(fields.Nested(CounterBillOut))


class CounterPaymentOut(Schema):
    """A payment taken at the counter."""

    receipt_no = text("names the payment")
    paper_no = text("its receipt's number (收据号)", allow_none=True)
    account_no = text()
    method = text("cash or pos")
    amount_fen = whole()
    topup_fen = whole()
    tendered_fen = whole()
    change_fen = whole()
    reference = text("the card slip's number", allow_none=True)
    taken_at = fields.AwareDateTime()
    voided_at = fields.AwareDateTime(allow_none=True)
    void_reason = text(allow_none=True)


class ShiftPaymentOut(CounterPaymentOut):
    """The same in a shift's list."""


class CardOut(Schema):
    """A card terminal in a shift: our sum, and its own at the close."""

    terminal = text()
    ledger_fen = whole()
    slips_fen = maybe_whole()


class ShiftOut(Schema):
    """A shift and everything it took."""

    id = whole()
    day = fields.Date()
    drawer = text()
    drawer_code = text()
    cashier = text()
    opened_at = fields.AwareDateTime()
    carried_fen = whole("what the ledger said was left in the drawer")
    issued_fen = whole("float brought from the bank")
    opening_difference_fen = whole("counted less expected, posted")
    start_fen = whole()
    cash_fen = whole()
    card_fen = whole()
    expected_fen = whole("what must be in the drawer")
    closed_at = fields.AwareDateTime(allow_none=True)
    counted_fen = maybe_whole()
    difference_fen = maybe_whole("over > 0, short < 0; posted")
    left_fen = maybe_whole("handed over in the drawer")
    deposited_fen = maybe_whole()
    reason = text(allow_none=True)
    second = text("who signed the difference", allow_none=True)
    cards = fields.List(fields.Nested(CardOut))
    payments = fields.List(fields.Nested(ShiftPaymentOut))


class PlaceOut(Schema):
    """A drawer or a card terminal."""

    id = whole()
    code = text()
    name = text()


class PlacesOut(Schema):
    """Where money can be taken."""

    drawers = fields.List(fields.Nested(PlaceOut))
    terminals = fields.List(fields.Nested(PlaceOut))
