"""The finance desk: cases, orders and refunds, as they come out and go in."""

from __future__ import annotations

from apiflask import Schema, fields
from marshmallow import validate

from backend.api.fields import BusinessDay, Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole
from backend.cashier.cases import MAX_TEXT, TYPES_ZH
from backend.cashier.refund_cards import BANKS_ZH, MAX_HOLDER
from backend.cashier.refund_desk import DUE, MAX_DOCUMENT, REVERSED

KINDS = ("order", "refund", "break", "notice")


class CasesIn(Schema):
    """Which cases: by kind, type, channel, day, owner and age; newest first, a page at a time."""

    kind = Text(1, 16, load_default=None, validate=[one_of(*KINDS)])
    type = Text(1, 32, load_default=None, validate=[one_of(*TYPES_ZH)])
    channel = Text(1, 32, load_default=None)
    day = BusinessDay(load_default=None)
    owner = Whole(0, query=True, load_default=None, metadata={"description": "0: nobody's"})
    older_than_days = Whole(0, 3650, query=True, load_default=None)
    ended = fields.Boolean(load_default=False)
    before = Whole(1, query=True, load_default=None)
    limit = Whole(1, 100, query=True, load_default=50)


class CaseOut(Schema):
    """Something about money that waits for a person."""

    id = whole()
    kind = text("order, refund, break, notice")
    type = text()
    title = text()
    reference = text("payment key, refund number, id of the difference, or channel:day:code")
    channel = text()
    day = fields.Date()
    amount_fen = maybe_whole()
    left_fen = maybe_whole("nobody has decided on it yet")
    state = text("open, suspense, done")
    out_trade_no = text(allow_none=True)
    account_no = text(allow_none=True)
    owner_id = maybe_whole()
    owner = text(allow_none=True)
    age_days = whole()
    opened_at = fields.AwareDateTime()
    ended_at = fields.AwareDateTime(allow_none=True)


class CasesOut(Schema):
    """A page of cases; `next_before` asks for the next one, `counts` are all that are open."""

    cases = fields.List(fields.Nested(CaseOut))
    next_before = maybe_whole()
    counts = fields.Dict()


class NoticeOut(Schema):
    """A stored notice; ids of people are masked.  Not authentic: nothing of it is believed."""

    id = whole()
    received_at = fields.AwareDateTime()
    outcome = text()
    detail = text(allow_none=True)
    size = whole()
    authentic = fields.Boolean()
    facts = fields.List(fields.List(text()))


class StepOut(Schema):
    """A step of a case."""

    at = fields.AwareDateTime()
    who = text(allow_none=True)
    verb = text()
    text = text()
    detail = fields.Dict()


class DeskRefundOut(Schema):
    """A refund as the desk sees it."""

    out_refund_no = text()
    amount_fen = whole()
    state = text("created, processing, done, failed, closed, abnormal, paid_out, withdrawn")
    reason = text()
    source = text("suspense, wallet, bill, or prepaid:utility")
    said = text("the channel's last word where it did not go through", allow_none=True)
    document = text(allow_none=True)
    refund_id = text(allow_none=True)
    created_at = fields.AwareDateTime()
    done_at = fields.AwareDateTime(allow_none=True)


class RefundMoved(DeskRefundOut):
    """A refund after something was done about it."""


class DeskOrderOut(Schema):
    """An order as the desk sees it."""

    out_trade_no = text()
    channel = text()
    way = text()
    topup_into = text(allow_none=True)
    state = text("created, paying, paid, closed, parked, refunded")
    amount_fen = whole()
    received_fen = maybe_whole()
    transaction_id = text(allow_none=True)
    created_at = fields.AwareDateTime()
    expires_at = fields.AwareDateTime()
    paid_at = fields.AwareDateTime(allow_none=True)
    note = text(allow_none=True)
    account_no = text(allow_none=True)


class OrderListed(DeskOrderOut):
    """An order in a list."""

    refunded_fen = whole()


class DeskOrdersIn(Schema):
    """Which orders; `search` is a number of an order or transaction, or a 户号."""

    search = Text(0, 64, load_default="")
    channel = Text(1, 32, load_default=None)
    state = Text(1, 16, load_default=None)
    topups = fields.Boolean(load_default=None)
    before = Whole(1, query=True, load_default=None)
    limit = Whole(1, 100, query=True, load_default=50)


class DeskOrdersOut(Schema):
    """A page of orders."""

    orders = fields.List(fields.Nested(OrderListed))
    next_before = maybe_whole()


class OrderBillOut(Schema):
    """A bill an order paid."""

    id = whole()
    bill_no = text()
    title = text()
    amount_fen = whole()
    state = text()


class OrderCaseOut(Schema):
    """A case about an order."""

    id = whole()
    title = text()
    state = text()


class DeskOrderDetail(DeskOrderOut):
    """An order with everything that hangs on it."""

    bills = fields.List(fields.Nested(OrderBillOut))
    refunds = fields.List(fields.Nested(DeskRefundOut))
    refundable_fen = whole()
    cases = fields.List(fields.Nested(OrderCaseOut))
    notices = fields.List(fields.Nested(NoticeOut))


class DifferenceOut(Schema):
    """The difference a case is about."""

    reference = text()
    ours_fen = maybe_whole()
    theirs_fen = maybe_whole()
    gap_fen = fields.Integer(metadata={"description": "what the channel has more; 0: no suspense"})
    resolved_at = fields.AwareDateTime(allow_none=True)
    resolution = text(allow_none=True)


class WaitingOut(Schema):
    """A request about a case that waits for a second person."""

    id = whole()
    kind = text()
    by = text(allow_none=True)
    reason = text()


class RelatedOut(Schema):
    """Another open case of the same order."""

    id = whole()
    title = text()


class CaseDetail(CaseOut):
    """A case: what happened, what can be done, what was done."""

    advice = text()
    difference = fields.Nested(DifferenceOut, allow_none=True)
    order = fields.Nested(DeskOrderOut, allow_none=True)
    refund = fields.Nested(DeskRefundOut, allow_none=True)
    notices = fields.List(fields.Nested(NoticeOut))
    actions = fields.List(text())
    related = fields.List(fields.Nested(RelatedOut))
    waiting = fields.List(fields.Nested(WaitingOut))
    history = fields.List(fields.Nested(StepOut))
    limit_fen = whole("beyond it a second person agrees")


class AssignIn(Schema):
    """Whose a case is; null: nobody's."""

    owner_id = Whole(1, required=True, allow_none=True)
    text = Text(0, MAX_TEXT, load_default="")


class WordsIn(Schema):
    """A remark, or why."""

    text = Text(1, MAX_TEXT, required=True)


class MoveIn(WordsIn):
    """Parked money onto a household's bill, or into its balance."""

    account_no = Text(1, 40, required=True)
    bill_no = Text(0, 60, load_default="")
    amount_fen = Whole(1, required=True)


class RefundIn(Schema):
    """What to give back: of a top-up, of a bill's payment, or of a case's parked money."""

    amount_fen = Whole(1, required=True)
    reason = Text(2, 80, required=True)
    bill_id = Whole(1, load_default=None)
    then = Text(
        1,
        16,
        load_default=DUE,
        validate=[validate.OneOf((DUE, REVERSED), error="须为 due 或 reversed。")],
        metadata={"description": "what becomes of the bill: due again, or reversed"},
    )
    case_id = Whole(1, load_default=None)


class CardIn(WordsIn):
    """The payer's debit card an abnormal refund goes to; kept only as sealed for the channel."""

    bank = Text(1, 16, required=True, validate=[one_of(*BANKS_ZH)])
    number = Text(12, 24, required=True, metadata={"description": "12-19 digits, spaces allowed"})
    holder = Text(2, MAX_HOLDER, required=True)


class PayOutIn(WordsIn):
    """By which document the money was paid out another way."""

    document = Text(2, MAX_DOCUMENT, required=True)


class DecidedOut(Schema):
    """Done at once, or a request somebody else has to approve."""

    refund = fields.Nested(DeskRefundOut, allow_none=True)
    request_id = maybe_whole("approve it at /staff/requests/{id}/approve")


class SaidOut(Schema):
    """What the channel said."""

    said = text()
