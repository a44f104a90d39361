"""Whether a household in debt may be cut off at all, and the request a person then decides.

Closing stays metering.commands' business with its own second person; here is only the question.
Everything unknown is answered by no.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from backend.archive.models import Household, Meter
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests, topics
from backend.billing.models import BillingRequest
from backend.metering import commands, outdoor
from backend.metering.rules import MISSING
from backend.people.service import Principal


def refusal(household: Household, utility: str, today: date) -> str | None:
    """Why the household may not be cut off now; None where the rules allow it."""
    rule = topics.in_force(household.building_id, "cutoff", utility, today)
    if not rule["enabled"]:
        return "本区域未启用欠费停供"
    if household.customer_class not in rule["classes"]:
        return "该类用户不适用欠费停供"
    if utility != "heat":
        return None
    coldest = _coldest_cdeg(household.building_id, today)
    if coldest is None:
        return "室外温度未知，供热不得停供"
    if coldest < rule["heat_min_outdoor_cdeg"]:
        return f"近两日室外最低 {coldest / 100:.1f} ℃，低于停热限值，供热不得停供"
    return None


def _coldest_cdeg(building_id: int, today: date) -> int | None:
    """The coldest outdoor sample of yesterday and today; None where there is none."""
    found = outdoor.series_of(building_id, [today - timedelta(1), today])
    if found is None:
        return None
    known = found.slots[found.slots != MISSING]
    return int(np.min(known)) if known.size else None


def ask(
    household: Household,
    utility: str,
    meters: Sequence[Meter],
    balance_fen: int,
    reason: str,
    now: datetime,
) -> list[BillingRequest]:
    """A request for each valve, once while it is open; none where the rules forbid it."""
    if refusal(household, utility, business_day(now)) is not None:
        return []
    made = []
    for meter in meters:
        if commands.supply_of(meter) is None:
            continue
        params = {"utility": utility, "amount_fen": balance_fen, "address": meter.address}
        with requests.unless_open():
            made.append(requests.ask("cutoff", meter.id, reason, None, now, household.id, params))
    return made


def ask_reopening(
    household: Household, utility: str, meters: Sequence[Meter], now: datetime
) -> list[BillingRequest]:
    """The debt is gone: open requests to cut off end, valves cut off get one to be opened."""
    requests.overtaken("cutoff", [m.id for m in meters], "已充值，不再欠费", now)
    made = []
    for meter in meters:
        if commands.supply_of(meter) is None or not commands.stands_closed(meter.id):
            continue
        params = {"utility": utility, "address": meter.address}
        with requests.unless_open():
            reason = "预付费已充值，余额不再低于 0，请恢复供应"
            made.append(requests.ask("reopen", meter.id, reason, None, now, household.id, params))
    return made


def reopen(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """Approved: the order that opens the valve again."""
    order = commands.ask(request.subject_id, "open", request.reason, actor, now)
    return {"command_id": order.id}


def close(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """Approved: looked at once more by today's rules, then an order that waits for its own second
    person.  Problem cutoff_forbidden."""
    household = db.session.get_one(Household, request.household_id)
    why = refusal(household, request.params["utility"], business_day(now))
    if why is not None:
        raise Problem("cutoff_forbidden", f"{why}，不能停供。")
    order = commands.ask(request.subject_id, "close", request.reason, actor, now)
    return {"command_id": order.id}
