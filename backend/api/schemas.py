"""What goes in and what comes out, as /openapi.json and /docs show it.

Amounts are fen, energies Wh, volumes litres, temperatures hundredths of a degree; days are
Asia/Shanghai's, instants UTC.
"""

from __future__ import annotations

from apiflask import Schema, fields
from marshmallow import ValidationError, validate, validates_schema

from backend.api.fields import BusinessDay, Flag, Moment, Text, Whole, one_of
from backend.api.outs import FlagOut, maybe_whole, text, whole
from backend.api.schemas_bills import BillOut
from backend.people.wechat_sign_in import VIA

UTILITIES = ("heat", "water", "gas", "electricity")


class ConfigOut(Schema):
    """What a client needs before anyone has signed in."""

    wechat_appid = text()
    oauth_url = text()
    bridge_url = text(
        "a sandbox's stand-in for WeixinJSBridge; null in production", allow_none=True
    )
    overdue_template = text()
    low_balance_template = text("empty: nobody is told of a low prepaid balance")
    company = text()
    channels = fields.List(
        text(), metadata={"description": "wechat, alipay, unionpay: what is set up"}
    )


class HouseholdOut(Schema):
    """A household as its resident sees it."""

    id = whole()
    account_no = text("户号")
    address = text()
    unit_no = text()
    area_m2 = text("m2 with two decimals, e.g. 62.40")
    suspended = fields.Boolean(metadata={"description": "停热"})


class BoundHousehold(HouseholdOut):
    """The household just bound (by a name of its own: apispec refuses to meet one schema twice)."""


class WechatSignIn(Schema):
    """A code from wx.login() or from the official account's page authorisation."""

    code = Text(1, 128, required=True)
    via = Text(1, 32, required=True, validate=[one_of(*VIA)])


class ResidentSession(Schema):
    """A signed-in resident."""

    token = text()
    role = text("resident")
    expires_at = fields.AwareDateTime()
    households = fields.List(fields.Nested(HouseholdOut))


class StaffSignIn(Schema):
    """A member of staff's login name and password."""

    login = Text(1, 64, required=True)
    password = Text(1, 256, required=True)


class StaffSession(Schema):
    """A signed-in member of staff."""

    token = text()
    role = text("reader, or another role where the person is no reader")
    name = text()
    expires_at = fields.AwareDateTime()


class Me(Schema):
    """Who is signed in."""

    role = text()
    name = text(allow_none=True)
    households = fields.List(fields.Nested(HouseholdOut))


class BindIn(Schema):
    """Proof that a resident belongs to a household."""

    account_no = Text(1, 64, required=True)
    owner_name = Text(1, 64, required=True)
    phone_last4 = Text(
        4,
        4,
        required=True,
        validate=[validate.Regexp(r"^[0-9]{4}$", error="请填写手机号后四位数字。")],
    )


class SubscriptionIn(Schema):
    """A resident's answer to wx.requestSubscribeMessage for one template."""

    template = Text(1, 128, required=True)
    accepted = Flag(required=True)


class SubscriptionOut(Schema):
    """How many messages of the template may still be sent."""

    remaining = whole()


class Warmth(Schema):
    """Warm now?"""

    room_cdeg = maybe_whole()
    at = fields.AwareDateTime(allow_none=True)
    state = text("warm (>= 18.00), cool (>= 16.00), cold, unknown (nothing for 2 h)")
    text = text("室内 21.4 °C，暖和")


class Season(Schema):
    """The heating season so far."""

    name = text()
    day_from = fields.Date()
    day_to = fields.Date()
    used_wh = whole()
    as_of = fields.Date(metadata={"description": "the last closed day"})
    cost_fen = whole("暂估")
    cost_note = text()


class Against(Schema):
    """This period beside an earlier one of as many days."""

    used_wh = whole()
    previous_wh = whole()
    pct = whole("whole percent, negative is less")


class AgainstHomes(Schema):
    """One's own last 30 days beside the mean of the building's other homes (at least 3)."""

    used_wh_per_m2 = whole()
    mine_wh_per_m2 = whole()
    pct = whole()
    homes = whole()


class Compare(Schema):
    """The month and the season so far against the same days before, and against other homes."""

    last_month = fields.Nested(Against, allow_none=True)
    last_year = fields.Nested(Against, allow_none=True)
    similar = fields.Nested(AgainstHomes, allow_none=True)


class Owed(Schema):
    """What is still to be paid."""

    amount_fen = whole()
    bills = whole()
    overdue_fen = whole()
    overdue_bills = whole()
    next_due_on = fields.Date(allow_none=True)


class UtilityOut(Schema):
    """A meter of the household's own this month."""

    utility = text()
    unit = text("wh or l")
    month_used = whole()
    register = maybe_whole()


class Home(Schema):
    """The home screen in one call."""

    household = fields.Nested(HouseholdOut)
    warmth = fields.Nested(Warmth)
    season = fields.Nested(Season)
    compare = fields.Nested(Compare)
    owed = fields.Nested(Owed)
    balance_fen = whole()
    utilities = fields.List(fields.Nested(UtilityOut))
    latest_bill = fields.Nested(BillOut, allow_none=True)


class Days(Schema):
    """A period; both days belong to it."""

    day_from = BusinessDay(required=True)
    day_to = BusinessDay(required=True)

    @validates_schema
    def _in_order(self, data: dict[str, object], **_: object) -> None:
        if data["day_from"] > data["day_to"]:  # type: ignore[operator]
            raise ValidationError("起始日期不能晚于结束日期。", "day_from")


class UtilityDays(Days):
    """A period of one utility."""

    utility = Text(1, 16, load_default="heat", validate=[one_of(*UTILITIES)])


class TemperatureDay(Schema):
    """144 ten-minute slots each; null where nothing came."""

    day = fields.Date()
    room_cdeg = fields.List(maybe_whole())
    supply_cdeg = fields.List(maybe_whole())
    return_cdeg = fields.List(maybe_whole())


class TemperatureStats(Schema):
    """Of the room."""

    min_cdeg = maybe_whole()
    max_cdeg = maybe_whole()
    mean_cdeg = maybe_whole()
    below_target_s = whole()


class TemperatureOut(Schema):
    """The temperatures of at most 31 days."""

    interval_s = whole()
    target_cdeg = whole()
    days = fields.List(fields.Nested(TemperatureDay))
    stats = fields.Nested(TemperatureStats)


class ConsumptionDay(Schema):
    """A day's use; null and a flag where it is not known."""

    day = fields.Date()
    used = maybe_whole()
    flags = fields.List(text())


class ConsumptionOut(Schema):
    """What was used over at most 400 days."""

    utility = text()
    unit = text("wh or l")
    provisional = fields.Boolean()
    days = fields.List(fields.Nested(ConsumptionDay))
    total = whole()
    previous_total = maybe_whole("the same number of days before")


class ReaderMeter(Schema):
    """A meter on a reader's round."""

    id = whole()
    kind = text()
    address = text("the meter's own address")
    place = text("2号楼 301")
    account_no = text()
    state = text("read, missing, failed")
    last_read_at = fields.AwareDateTime(allow_none=True)
    register = maybe_whole()
    unit = text("wh or l")
    error = text(allow_none=True)
    owes_fen = whole()


class ReaderToday(Schema):
    """Today's round: the meters that have not answered, and those typed in today."""

    day = fields.Date()
    total = whole()
    read = whole()
    missing = whole()
    meters = fields.List(fields.Nested(ReaderMeter))


class TypedReadingIn(Schema):
    """A reading typed in by a reader, Wh or litres."""

    client_id = fields.UUID(
        required=True,
        error_messages={"required": "此项必填。", "invalid_uuid": "标识格式不正确。"},
        metadata={"description": "made on the phone; makes resending harmless"},
    )
    meter_id = Whole(1, required=True)
    register = Whole(0, 10**15, required=True)
    read_at = Moment(required=True)
    note = Text(0, 200, load_default=None, allow_none=True)
    confirm = Flag(load_default=False)


class TypedReadingOut(Schema):
    """What became of it."""

    reading_id = whole()
    flags = fields.List(fields.Nested(FlagOut))
    usage_since_last = maybe_whole()
