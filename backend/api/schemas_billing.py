"""What finance and managers send and get: price versions, rules by region, requests."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import BusinessDay, Moment, Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole
from backend.archive.rules import UTILITIES
from backend.billing.cold import SOURCES
from backend.billing.tariff_params import CLASSES, KINDS
from backend.billing.topics import TOPICS


class TariffIn(Schema):
    """A draft of a price; `params` as docs/billing.md lists them by kind."""

    name = Text(2, 40, required=True)
    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])
    customer_class = Text(1, 16, required=True, validate=[one_of(*CLASSES)])
    region_id = Whole(1, load_default=None, allow_none=True)
    kind = Text(1, 16, required=True, validate=[one_of(*KINDS)])
    params = fields.Dict(keys=fields.String(), required=True)
    effective_from = BusinessDay(required=True)
    effective_to = BusinessDay(load_default=None, allow_none=True)


class TariffVersionOut(Schema):
    """A version of a price."""

    id = whole()
    name = text()
    utility = text()
    customer_class = text()
    region_id = maybe_whole("null: the whole company")
    kind = text()
    params = fields.Dict()
    effective_from = fields.Date()
    effective_to = fields.Date(allow_none=True)
    state = text("draft, live or dropped")
    created_by = maybe_whole()
    approved_by = maybe_whole()
    approved_at = fields.AwareDateTime(allow_none=True)


class TariffListed(TariffVersionOut):
    """A version in a list."""


class TariffsIn(Schema):
    """Whose versions."""

    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])


class TariffsOut(Schema):
    """Every version of a utility's prices."""

    tariffs = fields.List(fields.Nested(TariffListed))


class PreviewIn(Schema):
    """The past period to price again."""

    day_from = BusinessDay(required=True)
    day_to = BusinessDay(required=True, metadata={"description": "the first day after it"})


class SpreadOut(Schema):
    """How many bills change by so much."""

    title = text()
    bills = whole()


class AgainOut(Schema):
    """One household's bill, and what it would have been."""

    account_no = text()
    unit = text()
    bill_no = text()
    was_fen = whole()
    would_fen = whole()
    change_fen = whole()


class SamplesOut(Schema):
    """Households at both ends and in the middle."""

    less = fields.List(fields.Nested(AgainOut))
    middle = fields.List(fields.Nested(AgainOut))
    more = fields.List(fields.Nested(AgainOut))


class PreviewOut(Schema):
    """A past period's bills under a draft."""

    begin = fields.Date()
    end = fields.Date()
    bills = whole()
    was_fen = whole()
    would_fen = whole()
    more = whole("bills that would cost more")
    less = whole()
    same = whole()
    spread = fields.List(fields.Nested(SpreadOut))
    samples = fields.Nested(SamplesOut)
    failed = fields.Dict(metadata={"description": "reason -> bills that could not be priced"})


class RuleIn(Schema):
    """A rule of a topic for a region (null: the company) from a day on; decided by a second."""

    topic = Text(1, 16, required=True, validate=[one_of(*TOPICS)])
    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])
    region_id = Whole(1, load_default=None, allow_none=True)
    params = fields.Dict(keys=fields.String(), required=True)
    effective_from = BusinessDay(required=True)
    reason = Text(2, 200, required=True)


class ReasonIn(Schema):
    """Why."""

    reason = Text(2, 200, required=True)


class NoteIn(Schema):
    """What whoever decides has to say."""

    note = Text(0, 200, load_default="")


class CreditIn(ReasonIn):
    """Money to be given back to a household."""

    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])
    credit_fen = Whole(1, 10**9, required=True)


class RequestOut(Schema):
    """Something asked for by one person and decided by another."""

    id = whole()
    kind = text()
    subject_id = fields.Integer()
    household_id = maybe_whole()
    reason = text()
    params = fields.Dict()
    state = text("open, approved or refused")
    asked_by = maybe_whole("null: the system")
    asked_at = fields.AwareDateTime()
    decided_by = maybe_whole()
    decided_at = fields.AwareDateTime(allow_none=True)
    note = text()
    result = fields.Dict()


class RequestListed(RequestOut):
    """A request in a list."""


class RequestsOut(Schema):
    """What waits for a decision."""

    requests = fields.List(fields.Nested(RequestListed))


class ColdReportIn(Schema):
    """A resident says that a room is cold."""

    room = Text(1, 20, required=True)
    note = Text(0, 200, load_default="")
    visit_at = Moment(load_default=None, allow_none=True)


class ColdTermsOut(Schema):
    """The rule about cold rooms in words, the hours a visit can be booked at, the reports."""

    sentences = fields.List(fields.String())
    visits = fields.List(fields.AwareDateTime())
    reports = fields.List(fields.Nested(lambda: ColdReportListed()))


class ColdVisitOut(Schema):
    """A report that waits to be measured on site."""

    id = whole()
    place = text()
    account_no = text()
    room = text()
    note = text()
    reported_at = fields.AwareDateTime()
    visit_at = fields.AwareDateTime(allow_none=True)
    measure_by = fields.AwareDateTime()


class ColdVisitsOut(Schema):
    """What a reader has to measure, the earliest visit first."""

    visits = fields.List(fields.Nested(ColdVisitOut))


class ColdReportOut(Schema):
    """A report of a cold room as it stands."""

    id = whole()
    household_id = whole()
    reported_at = fields.AwareDateTime()
    room = text()
    note = text()
    state = text("open, measured or decided")
    visit_at = fields.AwareDateTime(allow_none=True)
    measured_at = fields.AwareDateTime(allow_none=True)
    measured_cdeg = fields.Integer(allow_none=True)
    finding = fields.Dict()
    decided_at = fields.AwareDateTime(allow_none=True)


class ColdReportListed(ColdReportOut):
    """A report in a list."""


class ColdReportsOut(Schema):
    """Reports, those not decided first."""

    reports = fields.List(fields.Nested(ColdReportListed))


class MeasurementIn(Schema):
    """An on-site measurement with both signatures (the names as signed)."""

    measured_at = Moment(required=True)
    measured_cdeg = Whole(-5000, 6000, required=True)
    resident_signature = Text(1, 40, required=True)
    staff_signature = Text(1, 40, required=True)


class DecisionIn(Schema):
    """Which days to decide, and from what."""

    source = Text(1, 16, required=True, validate=[one_of(*SOURCES)])
    day_from = BusinessDay(required=True)
    day_to = BusinessDay(required=True, metadata={"description": "the first day after them"})


class PrepaidIn(Schema):
    """The first day a household pays ahead for a utility."""

    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])
    first_day = BusinessDay(required=True)


class TransferIn(Schema):
    """Part of the balance into a prepaid account; the same key moves it once."""

    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])
    amount_fen = Whole(1, 10**9, required=True)
    key = Text(8, 64, required=True)


class PrepaidOut(Schema):
    """A prepaid account between two nights."""

    utility = text()
    opened_on = fields.Date()
    closed_on = fields.Date(allow_none=True)
    through = fields.Date(metadata={"description": "the last day charged"})
    balance_fen = fields.Integer()
    marks = fields.List(text("warned, overdrawn, closed"))
    waiting = text("why the next day cannot be charged yet", allow_none=True)


class PrepaidListed(PrepaidOut):
    """An account in a list, as it stands now: top-ups since the last night included."""

    daily_fen = maybe_whole("what a day cost lately")
    lasts_days = maybe_whole("days the balance will last at that")


class CreditOut(Schema):
    """Money that was given back."""

    kind = text()
    credit_fen = whole()
    reason = text()
    at = fields.AwareDateTime()
    sentences = fields.List(text())


class LateFeeOut(Schema):
    """What has run up on an unpaid bill and is not billed yet."""

    bill_id = whole()
    accrued_fen = whole()
    sentence = text()


class AccountOut(Schema):
    """A household's money: balance, prepaid accounts, refunds, late fees, cold rooms."""

    balance_fen = fields.Integer()
    prepaid = fields.List(fields.Nested(PrepaidListed))
    credits = fields.List(fields.Nested(CreditOut))
    late_fees = fields.List(fields.Nested(LateFeeOut))
    cold_reports = fields.List(fields.Nested(ColdReportListed))


class HandoverIn(Schema):
    """The day a household is handed over."""

    moved_on = BusinessDay(required=True)


class NewOwnerIn(Schema):
    """Who takes it over."""

    name = Text(1, 40, required=True)
    phone = Text(5, 20, required=True)


class HandoverOut(Schema):
    """A change of hands as it stands."""

    id = whole()
    household_id = whole()
    moved_on = fields.Date()
    state = text("billed or done")
    left_fen = whole("to be paid out to who left")


class SeasonIn(Schema):
    """A season to be billed in advance by area, or settled."""

    verb = Text(1, 16, required=True, validate=[one_of("advance", "settle")])
    day_from = BusinessDay(required=True)
    day_to = BusinessDay(required=True, metadata={"description": "the first day after it"})
    due_on = BusinessDay(load_default=None, allow_none=True)
