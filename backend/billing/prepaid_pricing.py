"""A price as the daily rule of prepaid accounts takes it: steps, instalments, hours.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from backend.archive.models import Household
from backend.base.energy import kwh_from_wh
from backend.base.exact import exact
from backend.base.money import fen_of
from backend.billing import prepaid, pricing
from backend.billing.models import Tariff
from backend.billing.tiered import Tier, TierTariff
from backend.billing.tou import DAY_MIN, Interval, energy_by_period

FREE = TierTariff([Tier(None, 0)])


def plan_of(
    tariff: Tariff, household: Household, rule: Mapping[str, Any], in_season: bool = True
) -> prepaid.Plan:
    """A price as the daily rule takes it; ValueError, as a sentence, for one it cannot take.

    Two-part heat: the basic fee in equal parts over the season, the heat by the GJ.  Time of use:
    the steps are the year's surcharge (or nothing), the hours are priced by `hours_fen`.
    """
    instalment = None
    if tariff.kind == "two_part" and in_season:
        area_m2 = Decimal(household.area_dm2).scaleb(-2)
        fee = fen_of(area_m2 * Decimal(tariff.params["k1"]))
        instalment = prepaid.Instalment(fee, int(tariff.params["season_days"]))
    return prepaid.Plan(
        _steps(tariff), rule["warn_fen"], rule["close_after_days"], instalment, household.persons
    )


def _steps(tariff: Tariff) -> TierTariff:
    params = tariff.params
    extra = sum((Decimal(p) for p in params.get("prices", {}).values()), Decimal(0))
    if tariff.kind == "two_part":
        return TierTariff([Tier(None, Decimal(params["k2"]))])
    if tariff.kind == "flat":
        return TierTariff([Tier(None, Decimal(params["price"]))])
    if tariff.kind == "components":
        return TierTariff([Tier(None, extra)])
    if tariff.kind == "tou":
        return FREE
    if tariff.kind == "tou_tiered":
        return pricing.tier_tariff(params)
    if tariff.kind == "tiered":
        base = pricing.tier_tariff(params)
        tiers = [
            Tier(t.upto, Decimal(str(t.price)) + extra, t.per_extra_person) for t in base.tiers
        ]
        return TierTariff(tiers, base.base_persons)
    raise ValueError(f"价格“{tariff.name}”不能按日扣费，请改用后付费")


def quantity(params: Mapping[str, Any], used: int) -> Fraction:
    """Wh or litres in the unit the steps are priced by."""
    by_hour = {"unit": "kWh"} if "schedule" in params else {}
    return Fraction(used) / pricing.per_unit({**by_hour, **params})


def by_hours(
    params: Mapping[str, Any], day: date, intervals: Sequence[Interval] | None, used_wh: int
) -> dict[str, Fraction]:
    """kWh of a day in each period of the schedule; they add up to `used_wh` exactly.

    What was used beyond the day's own intervals (a correction of earlier days) goes by the hours
    of this day's energy; where the day has none, or its hours are not known, evenly over it.
    """
    schedule = pricing.tou_schedule(params)
    own = sum((exact(i.energy_kwh) for i in intervals or ()), Fraction(0))
    if not intervals or not own:
        midnight = datetime(day.year, day.month, day.day)
        return energy_by_period(schedule, [Interval(midnight, DAY_MIN, kwh_from_wh(used_wh))])
    scale = exact(kwh_from_wh(used_wh)) / own
    return {p: kwh * scale for p, kwh in energy_by_period(schedule, intervals).items()}


def hours_fen(params: Mapping[str, Any], hours: Mapping[str, Fraction]) -> Fraction:
    """What the energy of a day costs by its hours, in exact fen."""
    prices = params.get("prices", {})
    return sum((kwh * exact(Decimal(prices[p])) * 100 for p, kwh in hours.items()), Fraction(0))
