"""What finance and managers send and get: price versions, rules by region, requests."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import BusinessDay, Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole
from backend.archive.rules import UTILITIES
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
