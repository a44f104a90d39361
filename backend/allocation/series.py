"""Methods on sampled temperatures: one pass over [households x samples] in float64."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite, prod

import numpy as np
from numpy.typing import NDArray

from backend.allocation.inputs import WHOLE, Building, Floats, Household, Measured, Refused, Rules
from backend.allocation.kernel import Integral, excess_rates, integrate
from backend.base.exact import exact

# A mean temperature difference below this is the rounding of floats, not a difference.
DUST_K = 1e-9

# Not a union: isinstance asks a tuple in order, and this is asked for every household.
_NUMBERS = (float, int, Decimal, Fraction)

Factor = Callable[[Household], float]


@dataclass(frozen=True, slots=True)
class SeriesMethod:
    """W = factor(household) x sum over samples of max(0, excess)^B x duration.

    `inputs`: the series it reads; `excess`: which temperature difference it integrates;
    `exponent`: the name of the constant B, or None for 1.
    """

    inputs: tuple[str, ...]
    excess: str
    factor: Factor
    exponent: str | None = None


def constant(household: Household, name: str, *, low: float = 0.0, default: object = None) -> float:
    """A household's constant as a float, at least `low`; Refused where absent or out of range."""
    value = household.constants.get(name, default)
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise Refused(f"household {household.id}: {name} must be a number")
    number = float(value)
    if not isfinite(number) or number < low:
        raise Refused(f"household {household.id}: {name} is {number}, not a number from {low} up")
    return number


def _gamma_area(household: Household) -> float:
    """gamma F of equation (10)."""
    return constant(household, "gamma") * float(household.area_m2)


def _area(household: Household) -> float:
    return float(household.area_m2)


def _radiator(household: Household) -> float:
    """a' Fn / (beta1 beta2 beta3 beta4) of equations (2) and (3)."""
    beta = household.constants.get("beta") or (1, 1, 1, 1)
    if not isinstance(beta, Sequence) or len(beta) != 4 or any(exact(b) <= 0 for b in beta):
        raise Refused(f"household {household.id}: beta must be four numbers above 0")
    output = constant(household, "a") * constant(household, "Fn")
    return output / prod(float(b) for b in beta)


def _radiator_corrected(household: Household) -> float:
    """Equation (4): the position correction alpha of the flat."""
    return _radiator(household) * (1 - position_correction(household))


def position_correction(household: Household) -> float:
    """alpha of equation (1): below 1, negative for a sheltered flat; 0 where not given."""
    alpha = constant(household, "alpha", low=-10.0, default=0)
    if alpha >= 1:
        raise Refused(f"household {household.id}: alpha must be below 1")
    return alpha


METHODS: Mapping[str, SeriesMethod] = {
    "three_temperature": SeriesMethod(("tg", "th", "tn"), "radiator", _gamma_area, "B"),
    "radiator": SeriesMethod(("tg", "th", "tn"), "radiator", _radiator, "B"),
    "radiator_corrected": SeriesMethod(("tg", "th", "tn"), "radiator", _radiator_corrected, "B"),
    "temperature_area": SeriesMethod(("tn",), "room", _area),
    "degree_day": SeriesMethod(("tn",), "room", lambda h: constant(h, "room_constant")),
    "flow_temperature": SeriesMethod(("tg", "th"), "drop", lambda h: constant(h, "flow_fraction")),
}


def series_method(name: str) -> SeriesMethod:
    """The method of that name; Refused where there is none."""
    if name not in METHODS:
        raise Refused(f"method {name!r} is none of {', '.join(METHODS)}")
    return METHODS[name]


def series_measures(building: Building) -> list[Measured]:
    """Each household's weight, active time and coverage; the gap rule applied."""
    method = series_method(building.method)
    arrays = [_array(building, name) for name in method.inputs]
    reference = _reference(building, method)
    seconds = _seconds(building)
    exponents = _exponents(building, method, arrays)
    integral = integrate(method.excess, arrays, reference, exponents, seconds)
    _drop_dust(integral, exponents)
    active_s = _active_s(building, seconds)
    scale = _gap_scale(building, method, (arrays, reference, exponents, seconds), integral)
    return [
        _measured(building, method, index, integral, float(active_s[index]), float(scale[index]))
        for index in range(len(building.households))
    ]


def _drop_dust(integral: Integral, exponents: Floats | None) -> None:
    """tp = tn in decimals may differ by 1e-14 in floats; that is not heat (rule: weight 0)."""
    power = 1.0 if exponents is None else exponents
    integral.sums[integral.sums < integral.covered_s * DUST_K**power] = 0.0


def _measured(
    building: Building,
    method: SeriesMethod,
    index: int,
    integral: Integral,
    active_s: float,
    scale: float,
) -> Measured:
    household = building.households[index]
    active = exact(active_s)
    if active_s == 0 or household.suspended:
        return Measured(household, Fraction(0), Fraction(0))
    covered_s = float(integral.covered_s[index])
    coverage = WHOLE if covered_s == active_s else coverage_of(covered_s, active)
    if coverage is not WHOLE and is_missing(coverage, building.rules):
        return Measured(household, None, active, coverage)
    weight = method.factor(household) * float(integral.sums[index]) * scale
    return Measured(household, steady(weight), active, coverage)


def coverage_of(covered_s: float, active_s: Fraction) -> Fraction:
    """Covered part of the active time; sums of fractional durations may fall short of 1 by dust."""
    coverage = exact(covered_s) / active_s
    return WHOLE if coverage > 1 - Fraction(1, 10**12) else coverage


def is_missing(coverage: Fraction, rules: Rules) -> bool:
    """Whether too little of a household's active time is covered to bill it by."""
    return coverage == 0 or coverage < rules.min_coverage


def steady(weight: float) -> Fraction:
    """A float weight to 13 digits: flats with equal data tie however the sum was ordered."""
    if not isfinite(weight):
        raise Refused("a weight is too large to be a number: look at the temperatures")
    return Fraction(Decimal(f"{weight:.12e}"))


def _array(building: Building, name: str) -> Floats:
    shape = (len(building.households), len(building.dt_s))
    array = building.series.get(name)
    if array is None or array.shape != shape:
        raise Refused(f"{name} must be {shape[0]} households x {shape[1]} samples")
    return array


def _reference(building: Building, method: SeriesMethod) -> Floats | float:
    """What the room temperature is compared with: 'room' methods only."""
    if method.excess != "room":
        return 0.0
    if building.method == "temperature_area" and building.base != "outdoor":
        return float(building.base)
    if building.outdoor is None or building.outdoor.shape != building.dt_s.shape:
        raise Refused("outdoor must have one temperature a sample")
    return building.outdoor


def _seconds(building: Building) -> Floats:
    """Seconds of each sample [samples], or [households x samples] where some joined or left."""
    dt = np.asarray(building.dt_s, dtype=np.float64)
    if dt.ndim != 1 or not np.all(np.isfinite(dt)) or np.any(dt < 0):
        raise Refused("dt_s must be durations in seconds, none negative")
    ends = np.cumsum(dt)
    begins = ends - dt
    length = float(ends[-1]) if len(ends) else 0.0
    households = building.households
    if all(h.active_from_s <= 0 and h.active_to_s >= length for h in households):
        return dt
    joined = np.array([[h.active_from_s] for h in households])
    left = np.array([[h.active_to_s] for h in households])
    inside: Floats = np.minimum(ends, left) - np.maximum(begins, joined)
    clipped: Floats = np.clip(inside, 0.0, dt)
    return clipped


def _active_s(building: Building, seconds: Floats) -> Floats:
    """Active seconds of each household."""
    if seconds.ndim == 1:
        return np.full(len(building.households), seconds.sum())
    total: Floats = seconds.sum(axis=1)
    return total


def _exponents(building: Building, method: SeriesMethod, arrays: Sequence[Floats]) -> Floats | None:
    """B [households]; a household without any sample needs none."""
    if method.exponent is None:
        return None
    values = [
        _exponent(household, method.exponent, [array[index] for array in arrays])
        for index, household in enumerate(building.households)
    ]
    return np.array(values)


def _exponent(household: Household, name: str, rows: Sequence[Floats]) -> float:
    if household.constants.get(name) is None and (
        household.suspended or any(np.all(np.isnan(row)) for row in rows)
    ):
        return 1.0
    value = constant(household, name)
    if value <= 0:
        raise Refused(f"household {household.id}: {name} must be above 0")
    return value


Kernel = tuple[list[Floats], Floats | float, Floats | None, Floats]


def _gap_scale(
    building: Building, method: SeriesMethod, kernel: Kernel, integral: Integral
) -> Floats:
    """What the sum over the covered time is multiplied by to stand for the active time."""
    active_s = _active_s(building, kernel[3])
    partial = (integral.covered_s > 0) & (integral.covered_s < active_s)
    ones = np.ones(len(building.households))
    if building.rules.gap_rule == "zero" or not partial.any():
        return ones
    scale: Floats = np.divide(active_s, integral.covered_s, out=ones, where=partial)
    if building.rules.gap_rule == "time_scale":
        return scale
    return _profile_scale(building, method, kernel, partial, scale)


def _profile_scale(
    building: Building,
    method: SeriesMethod,
    kernel: Kernel,
    partial: NDArray[np.bool_],
    scale: Floats,
) -> Floats:
    """building_profile: gaps follow the households without gaps.

    The scale is the profile's integral over the active time by that over the covered time; where
    the profile has nothing to say (nobody complete, or zero) the time scale stays.
    """
    arrays, reference, exponents, seconds = kernel
    rates = excess_rates(method.excess, arrays, reference, exponents)
    complete = ~np.isnan(rates).any(axis=1)
    complete &= np.array([not h.suspended for h in building.households])
    if not complete.any():
        return scale
    factors = [method.factor(h) for h, ok in zip(building.households, complete, strict=True) if ok]
    profile = np.array(factors) @ rates[complete]
    spread = np.broadcast_to(seconds, rates.shape)
    over_active = spread @ profile
    over_covered = (spread * ~np.isnan(rates)) @ profile
    usable = partial & (over_covered > 0)
    profiled: Floats = np.divide(over_active, over_covered, out=scale, where=usable)
    return profiled
