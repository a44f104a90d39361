"""Kinds of the heat cost allocation: series, timestamped, scalar and the plain roundings."""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from math import isnan
from typing import Any

import numpy as np

from backend.allocation.fitting import DailyExcess
from backend.allocation.identification import CalibrationWindow, identify
from backend.allocation.inputs import (
    AllocationResult,
    Building,
    Floats,
    Household,
    Id,
    Refused,
    Rules,
)
from backend.allocation.rules import allocate, allocate_scalar
from backend.allocation.series import series_method
from backend.allocation.timestamped import Sample, hold_samples
from backend.base.exact import exact
from backend.base.shares import largest_remainder
from backend.billing.splits import CostShare, split_cost
from backend.compute.doors import (
    BadInput,
    Json,
    as_float,
    as_floats,
    as_id,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_text,
    as_whole,
    given,
    needed,
)

STATUSES = ("active", "suspended")


def series(source: Json) -> dict[str, Any]:
    """Samples on a common grid."""
    method = needed(source, "method", as_text)
    flats = _flats(source)
    dt_s = needed(source, "dt_s", as_floats)
    arrays = {
        name: np.array([_row(flat, name, len(dt_s)) for flat in flats]).reshape(-1, len(dt_s))
        for name in series_method(method).inputs
    }
    outdoor = source.get("outdoor")
    building = Building(
        method=method,
        total_units=needed(source, "total_units", as_whole),
        households=_households(flats, given(source, "start", _instant, None)),
        dt_s=_without_null(dt_s, "dt_s"),
        series=arrays,
        outdoor=None if outdoor is None else as_floats(outdoor, "outdoor"),
        base=_base(source),
        rules=_rules(source),
    )
    return _shown(allocate(building))


def timestamped(source: Json) -> dict[str, Any]:
    """Raw samples with their instants, held up to max_hold_s."""
    method = needed(source, "method", as_text)
    count = len(series_method(method).inputs)
    start, end = needed(source, "start", as_instant), needed(source, "end", as_instant)
    flats = _flats(source)
    grid = hold_samples(
        [_samples(flat, count, start) for flat in flats],
        count,
        (end - start).total_seconds(),
        float(needed(source, "max_hold_s", as_number)),
    )
    building = Building(
        method=method,
        total_units=needed(source, "total_units", as_whole),
        households=_households(flats, start),
        dt_s=grid.dt_s,
        series=dict(zip(series_method(method).inputs, grid.series, strict=True)),
        base=_base(source),
        rules=_rules(source),
    )
    return _shown(allocate(building))


def scalar(source: Json) -> dict[str, Any]:
    """One reading a household or radiator."""
    result = allocate_scalar(
        needed(source, "method", as_text),
        needed(source, "total_units", as_whole),
        _households(_flats(source), given(source, "start", _instant, None)),
        _rules(source),
        period_s=_period_s(source),
        dt_s=_without_null(given(source, "dt_s", as_floats, np.array([])), "dt_s").tolist(),
    )
    return _shown(result)


def identify_flats(source: Json) -> dict[str, Any]:
    """B and gamma of every flat from a calibration window, one entry a day."""
    areas = needed(source, "areas", _numbers)
    ids = list(areas)
    days = needed(source, "days", lambda v, n: as_list(v, n, as_object))
    tg, th, tn = (_by_day(days, name, ids) for name in ("tg", "th", "tn"))
    window = CalibrationWindow(
        ids,
        np.array([float(area) for area in areas.values()]),
        np.array([given(day, "q0_w", as_float, float("nan")) for day in days]),
        tn,
        DailyExcess((tg + th) / 2 - tn),
    )
    kappa = given(source, "kappa_w_per_m2k", as_number, None)
    found = identify(window, None if kappa is None else float(kappa))
    if found.refused:
        said = (str(why) if key is None else f"{key}: {why}" for key, why in found.refused.items())
        raise Refused("; ".join(said))
    return {
        "B": {key: fit.exponent for key, fit in found.fits.items()},
        "gamma": {key: fit.gamma for key, fit in found.fits.items()},
    }


def _by_day(days: Sequence[Json], name: str, ids: Sequence[Id]) -> Floats:
    """[flats x days]; what a day does not say is missing."""
    said = [given(day, name, as_object, {}) for day in days]
    rows = [[as_float(day.get(str(key)), name) for day in said] for key in ids]
    return np.array(rows).reshape(len(ids), len(days))


def rounded(source: Json) -> dict[str, Any]:
    """A total in whole parts."""
    weights = needed(source, "weights", as_object)
    parts = largest_remainder(
        needed(source, "total", as_whole),
        {key: as_number(weight, key) for key, weight in weights.items()},
    )
    return {"parts": parts}


def cost_split(source: Json) -> dict[str, Any]:
    """A cost in a basic and a variable part."""
    households = [
        CostShare(needed(flat, "id", as_id), needed(flat, "area", as_number), _weight(flat))
        for flat in _flats(source)
    ]
    total_fen = needed(source, "total_fen", as_whole)
    split = split_cost(total_fen, needed(source, "base_ratio", as_number), households)
    return {
        "basic_fen": split.basic_fen,
        "variable_fen": split.variable_fen,
        "total_fen": split.total_fen,
    }


def _weight(flat: Json) -> Any:
    return needed(flat, "weight", as_number)


def _flats(source: Json) -> list[Json]:
    return needed(source, "households", lambda v, n: as_list(v, n, as_object))


def _without_null(values: Floats, name: str) -> Floats:
    if np.isnan(values).any():
        raise BadInput(f"{name} must not have gaps")
    return values


def _instant(value: object, name: str) -> datetime | None:
    return as_instant(value, name)


def _row(flat: Json, name: str, count: int) -> Floats:
    """A flat's samples; a series that is not there is missing from end to end."""
    if flat.get(name) is None:
        return np.full(count, np.nan)
    row = as_floats(flat[name], name)
    if len(row) != count:
        raise BadInput(f"household {flat.get('id')}: {name} has {len(row)} of {count} samples")
    return row


def _samples(flat: Json, count: int, start: datetime) -> list[Sample]:
    """A flat's samples as hold_samples takes them; values are looked at a column at a time."""
    entries = given(flat, "samples", _entries, [])
    if any(len(entry) != count + 1 for entry in entries):
        raise BadInput(f"a sample must be an instant and {count} values")
    if not entries:
        return []
    instants, *columns = zip(*entries, strict=True)
    seconds = [(as_instant(at, "a sample's instant") - start).total_seconds() for at in instants]
    values = [as_floats(list(column), "a sample's value") for column in columns]
    rows = np.column_stack(values).tolist()
    return [
        (at, [None if isnan(value) else value for value in row])
        for at, row in zip(seconds, rows, strict=True)
    ]


def _entries(value: object, name: str) -> list[list[object]]:
    entries = as_list(value, name, lambda entry, _: entry)
    if not all(isinstance(entry, list) for entry in entries):
        raise BadInput(f"{name} must be lists")
    return entries  # type: ignore[return-value]


def _households(flats: Sequence[Json], start: datetime | None) -> list[Household]:
    households = [_household(flat, start) for flat in flats]
    if len({type(household.id) for household in households}) > 1:
        raise BadInput("household ids must be all text or all numbers")
    return households


def _household(flat: Json, start: datetime | None) -> Household:
    status = given(flat, "status", as_text, "active")
    if status not in STATUSES:
        raise BadInput(f"status {status!r} is none of {', '.join(STATUSES)}")
    return Household(
        id=needed(flat, "id", as_id),
        area_m2=needed(flat, "area", as_number),
        constants=flat,
        suspended=status == "suspended",
        active_from_s=_seconds_after(flat, "active_from", start, 0.0),
        active_to_s=_seconds_after(flat, "active_to", start, float("inf")),
    )


def _seconds_after(flat: Json, name: str, start: datetime | None, default: float) -> float:
    instant = given(flat, name, _instant, None)
    if instant is None:
        return default
    if start is None:
        raise BadInput(f"{name} needs the window's start")
    return (instant - start).total_seconds()


def _period_s(source: Json) -> float | None:
    """The supply period: given in seconds, or as start and end."""
    if source.get("supply_s") is not None:
        return float(needed(source, "supply_s", as_number))
    if source.get("start") is None or source.get("end") is None:
        return None
    start, end = needed(source, "start", as_instant), needed(source, "end", as_instant)
    return (end - start).total_seconds()


def _base(source: Json) -> Any:
    base = source.get("base", "outdoor")
    return base if base == "outdoor" else float(as_number(base, "base"))


def _rules(source: Json) -> Rules:
    defaults = Rules()
    missing, common = _kind(source, "missing_rule"), _kind(source, "common")
    return Rules(
        gap_rule=given(source, "gap_rule", as_text, defaults.gap_rule),
        min_coverage=exact(given(source, "min_coverage", as_number, defaults.min_coverage)),
        missing_rule=given(missing, "kind", as_text, defaults.missing_rule),
        neighbours=given(missing, "neighbours", _neighbours, {}),
        last_shares=given(missing, "last_shares", _numbers, {}),
        common=given(common, "kind", as_text, defaults.common),
        common_fraction=given(common, "fraction", _exact, None),
    )


def _exact(value: object, name: str) -> Fraction:
    return exact(as_number(value, name))


def _kind(source: Json, name: str) -> Json:
    """A rule as {"kind", ...}, or by its bare name."""
    value = source.get(name)
    if value is None:
        return {}
    return {"kind": value} if isinstance(value, str) else as_object(value, name)


def _neighbours(value: object, name: str) -> dict[Id, list[Id]]:
    return {key: as_list(ids, name, as_id) for key, ids in as_object(value, name).items()}


def _numbers(value: object, name: str) -> dict[Id, Any]:
    return {key: as_number(number, name) for key, number in as_object(value, name).items()}


def _shown(result: AllocationResult) -> dict[str, Any]:
    return {
        "units": result.units,
        "shares": {key: format(share, "f") for key, share in result.shares.items()},
        "flags": result.flags,
        "building_flag": result.building_flag,
        "coverage": {key: format(part, "f") for key, part in result.coverage.items()},
    }
