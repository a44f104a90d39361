"""Kinds of metering and billing: registers, bills, tiers, time of use, lateness, prepayment."""

from datetime import date
from typing import Any

from backend.base.clock import SHANGHAI
from backend.base.exact import exact, plain
from backend.billing import late_fee as late
from backend.billing import prepaid
from backend.billing.lines import total_fen
from backend.billing.rules import (
    area_heat,
    cap_fen,
    cap_lines,
    components,
    settlement_fen,
    suspended_heat,
    two_part_heat,
)
from backend.billing.splits import split_over_periods
from backend.billing.tiered import Tier, TierTariff, tier_bounds, tier_usage, tiered_lines
from backend.billing.tou import Interval, TouRule, minute_of, tou_lines
from backend.compute.doors import (
    BadInput,
    Json,
    as_day,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_text,
    as_whole,
    given,
    needed,
)
from backend.metering.rules import Reading, Register, Replacement, usage

MODES = ("two_part", "area", "suspended")


def heat_bill(source: Json) -> dict[str, Any]:
    """Equation (11), the area tariff or suspension; the cap; settlement against a prepayment."""
    lines = _heat_lines(source)
    result: dict[str, Any] = {f"{line.code}_fen": line.amount_fen for line in lines}
    result["capped"] = False
    if source.get("cap_ratio") is not None:
        cap = [needed(source, name, as_number) for name in ("area", "area_price", "cap_ratio")]
        capped = cap_lines(lines, *cap)
        result |= {"capped": len(capped) > len(lines), "cap_fen": cap_fen(*cap)}
        lines = capped
    result["fee_fen_lines"] = total_fen(lines)
    if source.get("prepaid_fen") is not None:
        result["settlement_fen"] = settlement_fen(lines, needed(source, "prepaid_fen", as_whole))
    return result


def _heat_lines(source: Json) -> Any:
    mode = given(source, "mode", as_text, "two_part")
    area = needed(source, "area", as_number)
    if mode == "area":
        return area_heat(area, needed(source, "area_price", as_number))
    if mode == "suspended":
        ratio = needed(source, "suspension_ratio", as_number)
        return suspended_heat(area, needed(source, "area_price", as_number), ratio)
    if mode != "two_part":
        raise BadInput(f"mode {mode!r} is none of {', '.join(MODES)}")
    heat, k1, k2 = (needed(source, name, as_number) for name in ("heat_gj", "k1", "k2"))
    return two_part_heat(area, heat, k1, k2)


def meter(source: Json) -> dict[str, Any]:
    """What passed through a register, over rollovers and replacements."""
    register = Register.of_digits(
        needed(source, "digits", as_whole),
        needed(source, "max_per_day", as_number),
        given(source, "resolution", as_number, 1),
    )
    events = needed(source, "events", lambda v, n: as_list(v, n, as_object))
    passed = usage([_event(event) for event in events if not _is_unread(event)], register)
    unit_wh = exact(given(source, "unit_in_wh", as_number, 1))
    amount = passed.amount
    return {
        "consumption": None if amount is None else plain(amount),
        "consumption_wh": None if amount is None else plain(amount * unit_wh),
        "flags": list(passed.flags),
    }


def _is_unread(event: Json) -> bool:
    """A reading that failed: its value is there, and null."""
    return "value" in event and event["value"] is None


def _event(event: Json) -> Reading | Replacement:
    at = needed(event, "t", as_instant)
    if event.get("replaced") is None:
        return Reading(at, needed(event, "value", as_number))
    change = needed(event, "replaced", as_object)
    old, new = (needed(change, name, as_number) for name in ("old_final", "new_initial"))
    return Replacement(at, old, new)


def tiered(source: Json) -> dict[str, Any]:
    """Bills of one year, one after the other."""
    tariff = _tariff(needed(source, "tariff", as_object))
    persons = given(source, "persons", as_whole, tariff.base_persons)
    months = given(source, "months", as_number, 12)
    bounds = tier_bounds(tariff, persons, months)
    used, bills = exact(given(source, "prior_cumulative", as_number, 0)), []
    for step in needed(source, "usages", lambda v, n: as_list(v, n, as_number)):
        lines = tiered_lines(tariff, step, "", prior=used, persons=persons, months=months)
        parts = tier_usage(used, used + exact(step), bounds)
        used += exact(step)
        bills.append(
            {
                "tier_usage": [plain(part) for part in parts],
                "fee_fen": total_fen(lines),
                "cumulative": plain(used),
            }
        )
    shown = [None if bound is None else plain(bound) for bound in bounds]
    return {"bounds": shown, "bills": bills}


def _tariff(source: Json) -> TierTariff:
    tiers = [
        Tier(
            None if tier.get("upto") is None else needed(tier, "upto", as_number),
            needed(tier, "price", as_number),
            given(tier, "per_extra_person", as_number, 0),
        )
        for tier in needed(source, "tiers", lambda v, n: as_list(v, n, as_object))
    ]
    return TierTariff(tiers, given(source, "base_persons", as_whole, 0))


def periods(source: Json) -> dict[str, Any]:
    """A total over a period cut in parts, by days or by degree-days."""
    by = given(source, "by", as_text, "days")
    if by not in ("days", "degree_days"):
        raise BadInput(f"by {by!r} is neither days nor degree_days")
    weights = None
    if by == "degree_days":
        weights = needed(source, "degree_days", lambda v, n: as_list(v, n, as_number))
    parts = split_over_periods(
        needed(source, "total", as_whole),
        needed(source, "from", as_day),
        needed(source, "to", as_day),
        given(source, "cuts", lambda v, n: as_list(v, n, as_day), []),
        weights,
    )
    return {"parts": parts}


def price_components(source: Json) -> dict[str, Any]:
    """One usage under several prices."""
    prices = needed(source, "components", as_object)
    lines = components(
        needed(source, "usage", as_number),
        "",
        {code: as_number(price, code) for code, price in prices.items()},
        {},
    )
    amounts = {line.code: line.amount_fen for line in lines}
    return {"lines_fen": amounts, "sum_fen": total_fen(lines)}


def time_of_use(source: Json) -> dict[str, Any]:
    """Energy by period, and the surcharge of the year's tiers on all of it."""
    rules = needed(source, "schedule", lambda v, n: as_list(v, n, as_object))
    prices = needed(source, "prices", as_object)
    intervals = [
        _interval(entry)
        for entry in needed(source, "intervals", lambda v, n: as_list(v, n, _entry))
    ]
    lines = tou_lines(
        [_tou_rule(rule) for rule in rules],
        {period: as_number(price, period) for period, price in prices.items()},
        intervals,
    )
    result: dict[str, Any] = {
        "energy": {line.code: plain(exact(line.quantity)) for line in lines},
        "lines_fen": {line.code: line.amount_fen for line in lines},
    }
    surcharge_fen = 0
    if source.get("tier_surcharge") is not None:
        surcharge_fen = result["surcharge_fen"] = _surcharge_fen(source, intervals)
    return {**result, "fee_fen_lines": total_fen(lines) + surcharge_fen}


def _surcharge_fen(source: Json, intervals: list[Interval]) -> int:
    tariff = _tariff(needed(source, "tier_surcharge", as_object))
    prior = given(source, "prior_cumulative", as_number, 0)
    energy = sum(exact(interval.energy_kwh) for interval in intervals)
    persons = given(source, "persons", as_whole, None)
    months = given(source, "months", as_number, 12)
    lines = tiered_lines(tariff, energy, "千瓦时", prior=prior, persons=persons, months=months)
    return total_fen(lines)


def _entry(value: object, name: str) -> list[object]:
    return as_list(value, name, lambda item, _: item)


def _interval(entry: list[object]) -> Interval:
    if len(entry) != 3:
        raise BadInput("an interval must be a start, minutes and energy")
    start = as_instant(entry[0], "start").astimezone(SHANGHAI).replace(tzinfo=None)
    return Interval(start, as_number(entry[1], "minutes"), as_number(entry[2], "energy"))


def _tou_rule(rule: Json) -> TouRule:
    months = given(rule, "months", lambda v, n: as_list(v, n, as_whole), [])
    if not all(1 <= month <= 12 for month in months):
        raise BadInput("months must be 1 to 12")
    begin, end = (minute_of(needed(rule, name, as_text)) for name in ("from", "to"))
    return TouRule(needed(rule, "period", as_text), begin, end, frozenset(months))


def late_fee(source: Json) -> dict[str, Any]:
    """The late fee by the end of a day."""
    terms = late.Terms(
        rate=needed(source, "rate", as_number),
        cap_ratio=given(source, "cap_ratio", as_number, 1),
        min_fen=given(source, "min_fen", as_whole, 0),
        order=given(source, "order", as_text, late.ORDERS[0]),
    )
    fee = late.late_fee(
        needed(source, "principal_fen", as_whole),
        needed(source, "due", as_day),
        needed(source, "as_of", as_day),
        terms,
        given(source, "payments", lambda v, n: as_list(v, n, _payment), []),
    )
    return {
        "late_fee_fen": fee.fee_fen,
        "penalty_days": fee.days,
        "principal_outstanding_fen": plain(fee.principal_outstanding_fen),
        "penalty_paid_fen": plain(fee.penalty_paid_fen),
        "credit_fen": plain(fee.credit_fen),
    }


def _payment(value: object, name: str) -> tuple[date, int]:
    payment = as_object(value, name)
    return needed(payment, "date", as_day), needed(payment, "fen", as_whole)


def prepaid_account(source: Json) -> dict[str, Any]:
    """An account day by day."""
    plan = prepaid.Plan(
        tariff=_tariff(needed(source, "tariff", as_object)),
        warn_fen=given(source, "warn_fen", as_whole, None),
        close_after_days=_close_after(source),
        instalment=_instalment(source),
        persons=given(source, "persons", as_whole, None),
        months=given(source, "months", as_number, 12),
    )
    opening = prepaid.Account(
        needed(source, "opening_fen", as_whole),
        used=exact(given(source, "prior_cumulative", as_number, 0)),
    )
    usages = needed(source, "daily_usage", lambda v, n: as_list(v, n, as_number))
    topups = given(source, "topups", as_object, {})
    closing, days = prepaid.run(
        opening, usages, plan, {_day(day): as_whole(fen, "topups") for day, fen in topups.items()}
    )
    return {
        "days": [
            {"deduction_fen": day.deduction_fen, "balance_fen": day.balance_fen} for day in days
        ],
        "events": [[n, event] for n, day in enumerate(days, start=1) for event in day.events],
        "closing_fen": closing.balance_fen,
    }


def _day(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise BadInput('topups are given by day: {"7": 10000}')
    return int(text)


def _close_after(source: Json) -> int | None:
    if source.get("close_after_days") is None:
        return None
    days = needed(source, "close_after_days", as_whole)
    if days < 1:
        raise BadInput("close_after_days must be at least 1")
    return days


def _instalment(source: Json) -> prepaid.Instalment | None:
    if source.get("instalment") is None:
        return None
    fixed = needed(source, "instalment", as_object)
    total_fen, days = (needed(fixed, name, as_whole) for name in ("total_fen", "days"))
    return prepaid.Instalment(total_fen, days)
