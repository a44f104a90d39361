"""What a building's instruments gave over a period, read from the database for the rules.

Each feed is a function from a Case to Measurements: here sampled temperatures and registers of
households; condensed days are in `seasons`, devices on radiators in `radiators`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from backend.allocation import inputs
from backend.allocation.case import Case
from backend.allocation.scalars import scalar_measures
from backend.allocation.series import series_measures, series_method
from backend.archive.models import Meter
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing, outdoor, series
from backend.metering.rules import MISSING

# What a sampled method reads, and where it is stored: name -> (kind of meter, quantity).
SERIES = {
    "tg": ("heat", "supply_cdeg"),
    "th": ("heat", "return_cdeg"),
    "tn": ("room", "room_cdeg"),
}
CDEG_H_TO_K_S = 36  # a count of 0.01 C h in K s

Slots = np.ndarray[Any, np.dtype[np.int16]]


@dataclass(frozen=True, slots=True)
class Measurements:
    """The rules' input, and where it came from: of the building, and of each household."""

    measured: list[inputs.Measured]
    sources: dict[str, Any]
    basis: dict[inputs.Id, dict[str, Any]]


def load_samples(
    building_id: int, household_ids: Sequence[int], names: Sequence[str], days: Sequence[date]
) -> dict[str, Slots]:
    """name -> [households x samples] int16, MISSING where nothing came."""
    meters = db.session.execute(
        sa.select(Meter.id, Meter.kind, Meter.household_id)
        .where(
            Meter.building_id == building_id,
            Meter.scope == "household",
            Meter.kind.in_({SERIES[name][0] for name in names}),
        )
        .order_by(Meter.id)
    ).all()
    row_of = {household_id: index for index, household_id in enumerate(household_ids)}
    found = {}
    for name in names:
        kind, quantity = SERIES[name]
        mine = {m.id: m.household_id for m in meters if m.kind == kind}
        values = np.full((len(household_ids), len(days) * series.SLOTS), MISSING, dtype=np.int16)
        for meter_id, slots in sorted(series.load(list(mine), quantity, days).items()):
            row = values[row_of[mine[meter_id]]]
            np.copyto(row, slots, where=slots != MISSING)
        found[name] = values
    return found


def celsius(values: Slots) -> inputs.Floats:
    """Hundredths of a degree as degrees, NaN where missing."""
    return np.where(values == MISSING, np.nan, values / 100.0)


def digest(*arrays: np.ndarray[Any, Any]) -> str:
    """What the arrays held, as one short text: two runs on equal data have equal ones."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def sampled(case: Case) -> Measurements:
    """A method on sampled temperatures, from the packed days."""
    method = series_method(case.method)
    ids = [int(h.id) for h in case.households]
    samples = load_samples(case.building_id, ids, method.inputs, case.days)
    base = base_of(case)
    weather = outdoor_of(case) if method.excess == "room" and base == "outdoor" else None
    building = inputs.Building(
        method=case.method,
        total_units=0,
        households=case.households,
        dt_s=np.full(case.length * series.SLOTS, float(series.INTERVAL_S)),
        series={name: celsius(values) for name, values in samples.items()},
        outdoor=None if weather is None else celsius(weather.slots),
        base=base,
        rules=case.rules,
    )
    read = [samples[name] for name in method.inputs]
    sources: dict[str, Any] = {"read": "samples", "sha256": digest(*read)}
    if weather is not None:
        sources |= {"outdoor_meters": weather.meters, "outdoor_sha256": digest(weather.slots)}
    basis: dict[inputs.Id, dict[str, Any]] = {
        h.id: {"sha256": digest(*(values[index] for values in read))}
        for index, h in enumerate(case.households)
    }
    return Measurements(series_measures(building), sources, basis)


def base_of(case: Case) -> Any:
    """What room temperatures count above: degree_day always the outdoor one."""
    base = case.options.get("base", "outdoor" if case.method == "degree_day" else 0)
    return base if base == "outdoor" else float(base)


def outdoor_of(case: Case) -> outdoor.Outdoor:
    """The outdoor series; Problem outdoor_missing where there is none, or it has gaps."""
    found = outdoor.series_of(case.building_id, case.days)
    if found is None or (found.slots == MISSING).all():
        raise Problem("outdoor_missing")
    # Held over gaps of up to six hours: the air outside does not jump.
    filled = _held(found.slots, 6 * 3600 // series.INTERVAL_S)
    gaps = (filled == MISSING).reshape(case.length, series.SLOTS).any(axis=1)
    if gaps.any():
        days = "、".join(str(case.days[i]) for i in np.flatnonzero(gaps)[:5])
        raise Problem("outdoor_missing", f"室外温度缺 {days} 的数据，请补录后再分摊。")
    return outdoor.Outdoor(found.meters, filled)


def _held(slots: Slots, most: int) -> Slots:
    """Gaps of at most `most` slots take the last value before them (the first: that after)."""
    known = np.flatnonzero(slots != MISSING)
    position = np.arange(len(slots))
    before = np.searchsorted(known, position, side="right") - 1
    source = known[np.maximum(before, 0)]
    held: Slots = np.where(np.abs(position - source) <= most, slots[source], MISSING)
    return held.astype(np.int16)


def by_register(kind: str, name: str, method: str | None = None) -> Callable[[Case], Measurements]:
    """A method on one register a household: its usage is the constant `name`."""

    def feed(case: Case) -> Measurements:
        spans = _household_spans(case, kind)
        read = {key: _sum(parts) for key, parts in spans.items()}
        homes = [
            replace(h, constants={**h.constants, name: read.get(h.id)}) for h in case.households
        ]
        basis = {key: {"meters": [part.basis() for part in parts]} for key, parts in spans.items()}
        return Measurements(
            measure_scalars(case, homes, method), {"read": f"registers:{kind}"}, basis
        )

    return feed


def by_area(case: Case) -> Measurements:
    """Nothing to read."""
    return Measurements(measure_scalars(case, case.households), {"read": "nothing"}, {})


def by_temperature(case: Case) -> Measurements:
    """temperature_area from room sensors, or (option source = integrator) from integrators."""
    return by_integrator(case) if case.options.get("source") == "integrator" else sampled(case)


def by_integrator(case: Case) -> Measurements:
    """F max(0, integral of tn - integral of the base) from integrators' registers."""
    spans = _household_spans(case, "room_integral")
    base = base_of(case)
    weather = celsius(outdoor_of(case).slots) if base == "outdoor" else None
    homes = []
    for household in case.households:
        counts = _sum(spans.get(household.id, []))
        room = None if counts is None else counts * CDEG_H_TO_K_S
        base_k_s = _base_integral(case, household, base, weather)
        constants = {**household.constants, "room_k_s": room, "base_k_s": base_k_s}
        homes.append(replace(household, constants=constants))
    measured = measure_scalars(case, homes, "temperature_integral")
    return Measurements(measured, {"read": "registers:room_integral"}, _basis(spans))


def _basis(spans: Mapping[inputs.Id, Sequence[closing.Span]]) -> dict[inputs.Id, dict[str, Any]]:
    return {key: {"meters": [part.basis() for part in parts]} for key, parts in spans.items()}


def _base_integral(
    case: Case, household: inputs.Household, base: Any, weather: inputs.Floats | None
) -> float:
    begin = max(household.active_from_s, 0.0)
    end = max(min(household.active_to_s, case.seconds), begin)
    if weather is None:
        return float(base) * (end - begin)
    part = weather[int(begin // series.INTERVAL_S) : int(end // series.INTERVAL_S)]
    return float(part.sum()) * series.INTERVAL_S


def measure_scalars(
    case: Case, households: Sequence[inputs.Household], method: str | None = None
) -> list[inputs.Measured]:
    """The case's method (or another) on readings that stand in the households' constants."""
    return scalar_measures(
        method or case.method, households, case.rules, period_s=max(case.seconds, 1.0)
    )


def _sum(parts: Sequence[closing.Span]) -> int | None:
    """Several meters add up; one that is not known makes the sum unknown."""
    known = [part.usage for part in parts if part.usage is not None]
    return sum(known) if parts and len(known) == len(parts) else None


def _household_spans(case: Case, kind: str) -> dict[inputs.Id, list[closing.Span]]:
    """household -> its meters' spans over its own part of the period."""
    meters = db.session.scalars(
        sa.select(Meter)
        .where(
            Meter.building_id == case.building_id, Meter.scope == "household", Meter.kind == kind
        )
        .order_by(Meter.id)
    ).all()
    found: dict[inputs.Id, list[closing.Span]] = defaultdict(list)
    for span in spans_in_windows(case, meters):
        assert span.meter.household_id is not None
        found[span.meter.household_id].append(span)
    return found


def spans_in_windows(case: Case, meters: Sequence[Meter]) -> list[closing.Span]:
    """Meters counted over the part of the period their household takes part in."""
    window_of = {h.id: case.window(h) for h in case.taking_part}
    together: dict[tuple[datetime, datetime], list[Meter]] = defaultdict(list)
    for meter in meters:
        window = window_of.get(meter.household_id or 0)
        if window is not None:
            together[window].append(meter)
    return [span for w, mine in together.items() for span in closing.spans(mine, *w)]
