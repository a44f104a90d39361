"""What staff send and get about allocation: rules in time, settlements, calibrations."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.allocation.calibration import MAX_BLOCK_DAYS
from backend.allocation.identification import MAX_DAYS
from backend.allocation.methods import METHODS
from backend.api.fields import BusinessDay, Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole


class AllocationRuleIn(Schema):
    """A method and its rules for a building, valid over [effective_from, effective_to)."""

    method = Text(1, 40, required=True, validate=[one_of(*METHODS)])
    effective_from = BusinessDay(required=True)
    effective_to = BusinessDay(load_default=None, allow_none=True)
    options = fields.Dict(load_default=dict)


class EndRuleIn(Schema):
    """The first day a rule no longer holds for."""

    day = BusinessDay(required=True)


class AllocationRuleOut(Schema):
    """One version of a building's rule."""

    id = whole()
    building_id = whole()
    method = text()
    effective_from = fields.Date()
    effective_to = fields.Date(allow_none=True)
    options = fields.Dict()


class AllocationRulesOut(Schema):
    """Every version of a building's rule, the earliest first."""

    rules = fields.List(fields.Nested(AllocationRuleOut))


class SettlementIn(Schema):
    """Which buildings to settle: a region's and below, or all; over [period_from, period_to)."""

    region_id = Whole(1, load_default=None, allow_none=True)
    period_from = BusinessDay(required=True)
    period_to = BusinessDay(required=True)


class SettlementProgressOut(Schema):
    """How many buildings are in each state."""

    total = whole()
    waiting = whole()
    done = whole()
    refused = whole()
    cancelled = whole()


class RefusalOut(Schema):
    """A building that could not be settled, and what to do."""

    building_id = whole()
    building_code = text()
    building_name = text()
    code = text()
    detail = text()


class SettlementOut(Schema):
    """A settlement and how far it has come."""

    id = whole()
    title = text()
    period_from = fields.Date()
    period_to = fields.Date()
    state = text("running, done or cancelled")
    created_at = fields.AwareDateTime()
    ended_at = fields.AwareDateTime(allow_none=True)
    progress = fields.Nested(SettlementProgressOut)
    refusals = fields.List(fields.Nested(RefusalOut))


class CalibrationIn(Schema):
    """The building and window B and gamma are to be found from."""

    building_id = Whole(1, required=True)
    window_from = BusinessDay(required=True)
    window_to = BusinessDay(
        required=True, metadata={"description": f"not included; at most {MAX_DAYS} days later"}
    )
    block_days = Whole(1, MAX_BLOCK_DAYS, load_default=None, allow_none=True)


class ApproveIn(Schema):
    """The first day the new parameters hold for."""

    effective_from = BusinessDay(required=True)


class CalibrationOut(Schema):
    """What was found, and what became of it."""

    id = whole()
    building_id = whole()
    window_from = fields.Date()
    window_to = fields.Date()
    state = text("proposed, refused, approved or rejected")
    report = fields.Dict(metadata={"description": "each flat's fit, and the refusals"})
    asked_by = whole()
    approved_by = maybe_whole()
    asked_at = fields.AwareDateTime()
    decided_at = fields.AwareDateTime(allow_none=True)
    effective_from = fields.Date(allow_none=True)
