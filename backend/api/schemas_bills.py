"""Bills, the derivation of one, and the orders that pay them."""

from __future__ import annotations

from apiflask import Schema, fields
from marshmallow import validate

from backend.api.fields import Text, Whole, one_of
from backend.api.outs import FlagOut, maybe_whole, text, whole


class BillOut(Schema):
    """A bill in a list."""

    id = whole()
    bill_no = text()
    utility = text()
    kind = text("usage, settlement, late_fee or reversal")
    title = text("2026年10月 热费")
    period_from = fields.Date()
    period_to = fields.Date(metadata={"description": "the first day no longer billed"})
    amount_fen = fields.Integer(metadata={"description": "below 0: a reversal"})
    paid_fen = whole()
    due_on = fields.Date()
    issued_at = fields.AwareDateTime()
    paid_at = fields.AwareDateTime(allow_none=True)
    state = text("due, overdue, paid, reversed")


class BillsIn(Schema):
    """A page of bills, newest first."""

    before = Whole(1, query=True, load_default=None)
    limit = Whole(1, 100, query=True, load_default=20)


class BillsOut(Schema):
    """A page of bills; `next_before` asks for the next one."""

    bills = fields.List(fields.Nested(BillOut))
    next_before = maybe_whole()


class BillLineOut(Schema):
    """A priced line and the sentence that lets one check it by hand."""

    code = text()
    title = text()
    quantity = text("decimal")
    unit = text()
    price = text("decimal, yuan")
    amount_fen = whole()
    explanation = text()


class BillWithLines(BillOut):
    """A bill with its lines."""

    lines = fields.List(fields.Nested(BillLineOut))


class HeatOut(Schema):
    """A building's heat and the household's part of it."""

    method = text()
    method_title = text()
    building_wh = whole()
    building_from_register_wh = maybe_whole()
    building_to_register_wh = maybe_whole()
    building_reading_ids = fields.List(whole())
    share_percent = text("decimal")
    own_wh = whole()
    own_weight = fields.Float()
    others_weight = fields.Float(metadata={"description": "the others added together"})
    others = whole()
    formula = text()
    flags = fields.List(fields.Nested(FlagOut))
    coverage = text("decimal, 0 to 1", allow_none=True)


class TariffOut(Schema):
    """The version of the price a bill was made with."""

    id = whole()
    name = text()
    effective_from = fields.Date()
    params = fields.Dict()


class ReadingOut(Schema):
    """A reading a bill stands on."""

    id = whole()
    meter_address = text()
    read_at = fields.AwareDateTime()
    register = maybe_whole()
    unit = text("wh or l")
    source = text()
    frame = text("the bytes of the frame, hexadecimal", allow_none=True)


class SimilarOut(Schema):
    """The bill's usage beside that of homes like this; never of fewer than NUAN_SIMILAR_HOMES."""

    unit = text("wh_per_m2, wh or l")
    mine = whole()
    median = whole()
    low = whole("a quarter of the homes used less")
    high = whole("a quarter used more")
    homes = whole("how many homes, this one among them")
    of_zh = text("which homes these are")


class ComparisonOut(Schema):
    """The bill beside the one before, a year ago and homes like this."""

    previous_bill = fields.Nested(BillOut, allow_none=True)
    previous_used = maybe_whole("what the bill before counted, in Wh or litres")
    similar = fields.Nested(SimilarOut, allow_none=True)
    last_year_used = maybe_whole("Wh or litres billed over the same days a year ago")
    last_year_corrected_wh = maybe_whole("the same, had the weather been this year's")


class ExplanationOut(Schema):
    """A bill walked back to the readings it stands on."""

    bill = fields.Nested(BillWithLines)
    sentences = fields.List(text())
    heat = fields.Nested(HeatOut, allow_none=True)
    tariff = fields.Nested(TariffOut)
    readings = fields.List(fields.Nested(ReadingOut))
    comparison = fields.Nested(ComparisonOut)


class DoorIn(Schema):
    """Over which channel somebody pays, and from where."""

    channel = Text(1, 32, load_default="wechat")
    way = Text(
        1,
        16,
        load_default="mini",
        validate=[one_of("mini", "official", "qr", "wap")],
        metadata={"description": "mini-program, official account, code to scan, phone browser"},
    )


class OrderIn(DoorIn):
    """Bills of one household to be paid together."""

    bill_ids = fields.List(
        Whole(1),
        required=True,
        validate=validate.Length(1, 20, error="一次可缴 1 到 20 张账单。"),
        metadata={"description": "of one household"},
    )


class IdempotencyHeader(Schema):
    """Makes sending the same order twice harmless."""

    key = Text(
        8,
        64,
        data_key="Idempotency-Key",
        load_default=None,
        validate=[validate.Regexp(r"^[0-9A-Za-z_-]+$", error="防重复提交标识格式不正确。")],
        metadata={"description": "required; a new one for each attempt to pay, e.g. a UUID"},
    )


class OrderOut(Schema):
    """A payment order."""

    out_trade_no = text()
    state = text("created, paying, paid, closed, parked")
    amount_fen = whole()
    topup_into = text("wallet or a utility, where it tops a balance up", allow_none=True)
    bill_ids = fields.List(whole())
    created_at = fields.AwareDateTime()
    expires_at = fields.AwareDateTime()
    paid_at = fields.AwareDateTime(allow_none=True)


class OrderState(OrderOut):
    """An order as it stands now."""


class ClientPayOut(Schema):
    """What the payer's client needs; which fields there are depends on channel and way.

    wechat mini, official: what wx.requestPayment or WeixinJSBridge takes.  alipay mini: tradeNO.
    qr: code_url.  wap: url to go to, for unionpay with a form (JSON) to post there.
    """

    appId = text()
    timeStamp = text()
    nonceStr = text()
    package = text()
    signType = text()
    paySign = text()
    tradeNO = text()
    code_url = text()
    url = text()
    form = text()


class OrderCreated(Schema):
    """The order and what the client pays it with."""

    order = fields.Nested(OrderOut)
    client_pay = fields.Nested(ClientPayOut)
