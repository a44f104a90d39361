"""What finance and managers send and get about runs over a season."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import Whole
from backend.api.outs import text, whole
from backend.api.schemas_allocation import SettlementOut
from backend.api.schemas_billing import SeasonIn


class SeasonRunIn(SeasonIn):
    """A region's season, or everybody's."""

    region_id = Whole(1, load_default=None, allow_none=True)


class SeasonSumsOut(Schema):
    """What a run has done so far."""

    bills = whole()
    bills_fen = whole()
    credits = whole()
    credits_fen = whole()
    left_out = whole("households")


class SeasonBuildingOut(SeasonSumsOut):
    """A building that is done."""

    building_id = whole()
    building_code = text()
    building_name = text()


class LeftOutOut(Schema):
    """A household left out, and why."""

    household_id = whole()
    building_name = text()
    unit_no = text()
    account_no = text()
    why = text()


class SeasonRunOut(SettlementOut):
    """A run over a season: how far it has come, and up to 100 rows of each list."""

    kind = text("advance or season")
    due_on = fields.Date(allow_none=True)
    sums = fields.Nested(SeasonSumsOut)
    buildings = fields.List(fields.Nested(SeasonBuildingOut))
    left_out = fields.List(fields.Nested(LeftOutOut))
