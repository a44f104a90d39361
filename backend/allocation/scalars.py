"""Methods on one reading a household or a radiator; exact, but for the allocators' power."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from backend.allocation.inputs import WHOLE, Household, Measured, Refused, Rules
from backend.allocation.series import (
    constant,
    coverage_of,
    is_missing,
    position_correction,
    steady,
)
from backend.base.exact import exact

Radiator = Mapping[str, object]
Durations = Sequence[float]
# A reading's weight and the covered part of the time; no weight where nothing usable was read.
Reading = tuple[Fraction | None, Fraction]


def scalar_measures(
    method: str,
    households: Sequence[Household],
    rules: Rules,
    *,
    period_s: float | None = None,
    dt_s: Durations = (),
) -> list[Measured]:
    """Each household's weight and active time by a method on readings.

    A reading that is null or negative is a fault: the household is missing, never credited.
    """
    if method not in METHODS:
        raise Refused(f"method {method!r} is none of {', '.join(METHODS)}")
    if any(not 0 <= duration < float("inf") for duration in dt_s):
        raise Refused("dt_s must be durations in seconds, none negative")
    read = METHODS[method]
    return [_measure(read, household, rules, period_s, dt_s) for household in households]


Method = Callable[[Household, Fraction, Fraction, Durations], Reading]


def _measure(
    read: Method, household: Household, rules: Rules, period_s: float | None, dt_s: Durations
) -> Measured:
    period = exact(period_s if period_s is not None else 1)
    active = _active_s(household, period)
    if household.suspended or active <= 0:
        return Measured(household, Fraction(0), Fraction(0))
    weight, coverage = read(household, active, period, dt_s)
    if weight is None or is_missing(coverage, rules):
        return Measured(household, None, active, coverage)
    if coverage < 1 and rules.gap_rule != "zero":
        weight /= coverage
    return Measured(household, weight, active, coverage)


def _active_s(household: Household, period: Fraction) -> Fraction:
    begin = max(exact(household.active_from_s), Fraction(0))
    end = min(exact(household.active_to_s), period) if household.active_to_s < period else period
    return end - begin


def reading(source: Mapping[str, object], name: str, where: str) -> Fraction | None:
    """A reading, None where it is null, absent or negative; Refused where it is no number."""
    value = source.get(name)
    if value is None:
        return None
    if isinstance(value, bool | str) or not isinstance(value, int | float | Fraction | Decimal):
        raise Refused(f"{where}: {name} must be a number")
    number = exact(value)
    return number if number >= 0 else None


def _own(household: Household, name: str) -> Fraction | None:
    return reading(household.constants, name, f"household {household.id}")


def _area(household: Household, active: Fraction, period: Fraction, dt: Durations) -> Reading:
    return exact(household.area_m2) * active, WHOLE


def _heat(household: Household, active: Fraction, period: Fraction, dt: Durations) -> Reading:
    """Equation (1): Q (1 - alpha), alpha 0 where the company corrects no positions."""
    heat = _own(household, "heat")
    if heat is None:
        return None, WHOLE
    return heat * (1 - exact(position_correction(household))), WHOLE


def _volume(household: Household, active: Fraction, period: Fraction, dt: Durations) -> Reading:
    return _own(household, "volume"), WHOLE


def _on_time(household: Household, active: Fraction, period: Fraction, dt: Durations) -> Reading:
    """F t_on / t_supply; a valve cannot have been open longer than there was supply."""
    if period <= 0:
        raise Refused("supply_s must be above 0")
    on = _own(household, "on_s")
    if on is None or on > period:
        return None, WHOLE
    return exact(household.area_m2) * on / period, WHOLE


def _temperature_integral(
    household: Household, active: Fraction, period: Fraction, dt: Durations
) -> Reading:
    """JG/T 362 with an integrator: F max(0, integral of tn - integral of the base), in K s."""
    room = _own(household, "room_k_s")
    if room is None:
        return None, WHOLE
    base = exact(constant(household, "base_k_s", low=float("-inf"), default=0))
    return exact(household.area_m2) * max(Fraction(0), room - base), WHOLE


def _radiators(household: Household) -> Sequence[Radiator]:
    radiators = household.constants.get("radiators")
    if radiators is None:
        return ()
    if not isinstance(radiators, list | tuple) or not all(
        isinstance(radiator, Mapping) for radiator in radiators
    ):
        raise Refused(f"household {household.id}: radiators must be a list of objects")
    return radiators


def _sum_of(one: Callable[[Radiator, str], Fraction | None]) -> Method:
    """A household's weight as the sum over its radiators; missing as soon as one of them is."""

    def read(household: Household, active: Fraction, period: Fraction, dt: Durations) -> Reading:
        where = f"household {household.id}"
        values = [one(radiator, where) for radiator in _radiators(household)]
        known = [value for value in values if value is not None]
        if not values or len(known) < len(values):
            return None, WHOLE
        return sum(known, Fraction(0)), WHOLE

    return read


def _factor(radiator: Radiator, where: str) -> Fraction:
    """K, or KQ KC KT (each 1 where not given, but one of K and KQ must be)."""
    if radiator.get("K") is None and radiator.get("KQ") is None:
        raise Refused(f"{where}: a radiator needs its rating factor K or KQ")
    product = Fraction(1)
    for name in ("K", "KQ", "KC", "KT"):
        if radiator.get(name) is not None:
            product *= _required(radiator, name, where)
    return product


def _required(radiator: Radiator, name: str, where: str) -> Fraction:
    value = reading(radiator, name, where)
    if value is None:
        raise Refused(f"{where}: a radiator needs {name}, a number not below 0")
    return value


def _valve_time(radiator: Radiator, where: str) -> Fraction | None:
    on = reading(radiator, "on_s", where)
    return None if on is None else _required(radiator, "rating", where) * on


def _units(radiator: Radiator, where: str) -> Fraction | None:
    units = reading(radiator, "units", where)
    return None if units is None else _factor(radiator, where) * units


def _evaporative(radiator: Radiator, where: str) -> Fraction | None:
    """EN 835: scale delta less the cold evaporation, never below 0."""
    begin, end = (reading(radiator, name, where) for name in ("reading_start", "reading_end"))
    if begin is None or end is None:
        return None
    cold = reading(radiator, "cold_evaporation", where) or Fraction(0)
    return _factor(radiator, where) * max(Fraction(0), end - begin - cold)


def _electronic(household: Household, active: Fraction, period: Fraction, dt: Durations) -> Reading:
    """EN 834: K sum (dT/60)^n dtau over the radiators; an interval counts if all have it."""
    where = f"household {household.id}"
    radiators = _radiators(household)
    heats = [_excesses(radiator, len(dt), where) for radiator in radiators]
    complete = [index for index in range(len(dt)) if all(h[index] is not None for h in heats)]
    covered, total = sum(dt[index] for index in complete), sum(dt)
    if not radiators or not covered:
        return None, Fraction(0)
    weight = sum(
        float(_factor(radiator, where)) * _counted(radiator, heat, dt, complete, where)
        for radiator, heat in zip(radiators, heats, strict=True)
    )
    return steady(weight), coverage_of(float(covered), exact(float(total)))


def _counted(
    radiator: Radiator,
    heat: Sequence[Fraction | None],
    dt: Durations,
    complete: Sequence[int],
    where: str,
) -> float:
    """sum (dT/60)^n dtau; nothing is counted where dT is not above 0 or below dT_min."""
    exponent = float(_required(radiator, "n", where))
    least = reading(radiator, "dT_min", where) or Fraction(0)
    pairs = ((heat[index] or Fraction(0), float(dt[index])) for index in complete)
    counted = [float(d / 60) ** exponent * t for d, t in pairs if d > 0 and d >= least]
    return float(sum(counted))


def _excesses(radiator: Radiator, count: int, where: str) -> list[Fraction | None]:
    heater, room = radiator.get("t_heater"), radiator.get("t_room")
    for values in (heater, room):
        if not isinstance(values, list | tuple) or len(values) != count:
            raise Refused(f"{where}: t_heater and t_room must have {count} samples")
    assert isinstance(heater, list | tuple) and isinstance(room, list | tuple)
    return [
        None if hot is None or cool is None else exact(hot) - exact(cool)
        for hot, cool in zip(heater, room, strict=True)
    ]


METHODS: Mapping[str, Method] = {
    "area": _area,
    "heat_meter": _heat,
    "hot_water_meter": _volume,
    "on_off_time_area": _on_time,
    "on_time_area": _on_time,
    "temperature_integral": _temperature_integral,
    "valve_time_radiator": _sum_of(_valve_time),
    "hca_units": _sum_of(_units),
    "hca_evaporative": _sum_of(_evaporative),
    "hca_electronic": _electronic,
}
