"""One building's metered heat -> its households' shares.

`allocate` for methods on sampled temperatures, `allocate_scalar` for methods on readings,
`allocate_condensed` for a season of condensed days; all end in `share_out`, which knows the rules
for missing and suspended households, the common share and the rounding.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from backend.allocation.condensed import CondensedDays, condensed_measures
from backend.allocation.gaps import fill_missing, is_widely_missing
from backend.allocation.inputs import (
    WHOLE,
    AllocationResult,
    Building,
    Household,
    Id,
    Measured,
    Refused,
    Rules,
)
from backend.allocation.scalars import scalar_measures
from backend.allocation.series import series_measures, series_method
from backend.base.exact import exact, ratio, to_decimal
from backend.base.shares import share_parts

Weights = dict[Id, Fraction]


def allocate(building: Building) -> AllocationResult:
    """Equations (3), (4), (10) and the other methods on sampled temperatures.

    Raises Refused for input that cannot be shared out honestly: nobody active, a negative total,
    arrays that do not fit, infinite values, a household without its constants.
    """
    check(building.total_units, building.households)
    return share_out(building.total_units, series_measures(building), building.rules)


def allocate_scalar(
    method: str,
    total_units: int,
    households: Sequence[Household],
    rules: Rules | None = None,
    *,
    period_s: float | None = None,
    dt_s: Sequence[float] = (),
) -> AllocationResult:
    """Methods that need one reading a household or radiator (its `constants` hold them).

    `period_s`: length of the supply period (on_time_area divides by it; others take their
    active time from it). `dt_s`: durations of the samples of electronic allocators.
    """
    check(total_units, households)
    rules = rules or Rules()
    measures = scalar_measures(method, households, rules, period_s=period_s, dt_s=dt_s)
    return share_out(total_units, measures, rules)


def allocate_condensed(
    total_units: int,
    days: Mapping[Id, CondensedDays],
    households: Sequence[Household],
    rules: Rules | None = None,
    *,
    seconds: float,
) -> AllocationResult:
    """Equation (10) over a season of condensed days; `seconds` is the length of the season.

    Of the gap rules time_scale and zero can be kept; building_profile needs the samples.
    """
    check(total_units, households)
    rules = rules or Rules()
    method = series_method("three_temperature")
    measures = condensed_measures(days, households, rules, seconds, method)
    return share_out(total_units, measures, rules)


def share_out(total_units: int, measures: Sequence[Measured], rules: Rules) -> AllocationResult:
    """Weights with gaps -> whole units that add up to the total (largest remainder, ties by id)."""
    active = [m for m in measures if m.active_s > 0 and not m.household.suspended]
    if not active:
        raise Refused("no household was active: nobody to share the heat among")
    weights, flags = _weights(active, rules)
    building_flag = None
    if not any(weights.values()):
        weights, building_flag = _by_area(active), "all_zero_weights_by_area"
    elif rules.common != "pro_rata":
        weights = _with_common(total_units, weights, active, rules)
    full = {m.household.id: weights.get(m.household.id, Fraction(0)) for m in measures}
    return _result(total_units, full, flags, building_flag, active)


def _by_area(active: Sequence[Measured]) -> Weights:
    """Area x active time: what every fall-back goes by."""
    return {m.household.id: exact(m.household.area_m2) * m.active_s for m in active}


def _weights(active: Sequence[Measured], rules: Rules) -> tuple[Weights, dict[Id, list[str]]]:
    known = {m.household.id: m.weight for m in active if m.weight is not None}
    if len(known) == len(active):
        return known, {}
    by_area = _by_area(active)
    if is_widely_missing(known, by_area, rules):
        return by_area, {key: ["whole_building_by_area"] for key in by_area}
    return fill_missing(known, by_area, rules)


def _with_common(
    total_units: int, weights: Weights, active: Sequence[Measured], rules: Rules
) -> Weights:
    """Add the common share: a fixed fraction, or what the household meters did not account for."""
    by_area, metered = _by_area(active), sum(weights.values(), Fraction(0))
    ground = sum(by_area.values(), Fraction(0))
    part = exact(rules.common_fraction or 0)
    if rules.common == "metered_loss":
        part = max(1 - metered / total_units, Fraction(0)) if total_units else Fraction(0)
    return {
        key: (1 - part) * weight / metered + part * by_area[key] / ground
        for key, weight in weights.items()
    }


def _result(
    total_units: int,
    weights: Weights,
    flags: dict[Id, list[str]],
    building_flag: str | None,
    active: Sequence[Measured],
) -> AllocationResult:
    parts = share_parts(total_units, weights)
    gaps = {m.household.id: m.coverage for m in active if m.coverage is not WHOLE}
    return AllocationResult(
        units=parts.units,
        shares={key: ratio(scaled, parts.whole, 15) for key, scaled in parts.scaled.items()},
        weights=weights,
        flags=flags,
        building_flag=building_flag,
        coverage={key: to_decimal(coverage, 6) for key, coverage in gaps.items() if coverage < 1},
        rounding_margin=float(parts.margin),
    )


def check(total_units: int, households: Sequence[Household]) -> None:
    """Raise Refused for what no method can share out."""
    if total_units < 0:
        raise Refused(f"the building's heat is negative ({total_units})")
    if len({household.id for household in households}) < len(households):
        raise Refused("two households have the same id")
    for household in households:
        if not 0 < float(household.area_m2) < float("inf"):
            raise Refused(f"household {household.id}: the area must be above 0")
        if not household.active_from_s <= household.active_to_s:
            raise Refused(f"household {household.id}: leaves before it joins")
