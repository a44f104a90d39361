"""What operators and managers send and get: runs, meters' plans, orders to valves and relays."""

from __future__ import annotations

from apiflask import Schema, fields
from marshmallow import ValidationError, validate, validates_schema

from backend.api.fields import Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole
from backend.metering.anomalies import FLAGS, MAX_PAGE
from backend.metering.commands import ACTIONS
from backend.metering.freezes import WHATS
from backend.metering.plans import PLANS

SCOPES = ("region", "building", "batch", "meter")
MAX_BATCH = 1000


class RunIn(Schema):
    """Which meters to read now: one id of a region, building or meter, or a batch's meter ids.

    `what`: current values, or what was frozen at 00:00 of `frozen_on` (a day of the last 31; of
    a month the settlement day's date, in the last 12).
    """

    scope = Text(1, 16, required=True, validate=[one_of(*SCOPES)])
    ids = fields.List(
        Whole(1),
        required=True,
        validate=validate.Length(1, MAX_BATCH, error=f"请选择 1 到 {MAX_BATCH} 项。"),
    )

    what = Text(1, 16, load_default="current", validate=[one_of(*WHATS)])
    frozen_on = fields.Date(load_default=None, allow_none=True)

    @validates_schema
    def _one_id(self, data: dict[str, object], **_: object) -> None:
        ids = data.get("ids")
        if data.get("scope") != "batch" and isinstance(ids, list) and len(ids) > 1:
            raise ValidationError("只能选择一项。", "ids")


class ProgressOut(Schema):
    """How many meters of a run are in each state."""

    total = whole()
    waiting = whole()
    taken = whole("being read this moment")
    read = whole()
    missed = whole()
    cancelled = whole()


class TroubleOut(Schema):
    """A meter of a run that has not answered."""

    meter_id = whole()
    address = text()
    state = text()
    attempts = whole()
    error = text()
    due_at = fields.AwareDateTime(metadata={"description": "when it may be asked again"})


class RunOut(Schema):
    """A reading run and how far it has come."""

    id = whole()
    scope = text("region, building, batch, meter, plan or missed")
    title = text()
    what = text("current, day or month")
    frozen_on = fields.Date(allow_none=True)
    state = text("running, done or cancelled")
    created_at = fields.AwareDateTime()
    deadline_at = fields.AwareDateTime()
    ended_at = fields.AwareDateTime(allow_none=True)
    progress = fields.Nested(ProgressOut)
    troubles = fields.List(fields.Nested(TroubleOut))


class PlanIn(Schema):
    """A meter's own reading plan; null for none.

    `frozen`: ask for the freeze the period begins with (daily or monthly) in place of what the
    meter shows.
    """

    plan = Text(1, 16, required=True, allow_none=True, validate=[one_of(*PLANS)])
    frozen = fields.Boolean(load_default=False)


class CommandIn(Schema):
    """An order to a meter's valve or relay, and why: what is to become of the supply."""

    action = Text(1, 16, required=True, validate=[one_of(*ACTIONS)])
    reason = Text(2, 200, required=True)


class CommandOut(Schema):
    """An order to a valve or relay as it stands."""

    id = whole()
    meter_id = whole()
    supply = text("valve (water, gas, heat) or relay (electricity)")
    action = text("open or close, of the supply: a relay is switched on (合闸) or tripped (拉闸)")
    reason = text()
    state = text(
        "queued, approved, sent, acknowledged, done, failed, expired or withdrawn;"
        " done only once the meter has been seen to have moved"
    )
    asked_by = whole()
    approved_by = maybe_whole()
    asked_at = fields.AwareDateTime()
    expires_at = fields.AwareDateTime()
    sent_at = fields.AwareDateTime(allow_none=True)
    ended_at = fields.AwareDateTime(allow_none=True)
    error = text(allow_none=True)
    reading_id = maybe_whole("the reading that shows how it stands")


class AnomaliesIn(Schema):
    """Which odd readings: of one flag or all, a page at a time."""

    flag = Text(1, 32, load_default=None, validate=[one_of(*FLAGS)])
    page = Whole(1, MAX_PAGE, query=True, load_default=1)


class AnomalyOut(Schema):
    """A meter's newest reading with a flag, beside the usable one before it."""

    flag = text()
    meaning = text()
    to_do = text()
    meter_id = maybe_whole("null for a meter nobody knows")
    address = text(allow_none=True)
    kind = text(allow_none=True)
    building = text(allow_none=True)
    unit_no = text(allow_none=True)
    bus = text(allow_none=True)
    first_at = fields.AwareDateTime()
    last_at = fields.AwareDateTime()
    times = whole("in the last 30 days")
    reading_id = maybe_whole("null where no reading was made of it")
    register = maybe_whole()
    previous = maybe_whole("the last usable register before it")
    previous_at = fields.AwareDateTime(allow_none=True)
    reason = text("why it was refused", allow_none=True)
    frame = text("hex", allow_none=True)


class AnomaliesOut(Schema):
    """A page of odd readings, and how many there are by flag."""

    counts = fields.Dict(keys=fields.String(), values=fields.Integer())
    total = whole()
    page = whole()
    pages = whole()
    rows = fields.List(fields.Nested(AnomalyOut))
