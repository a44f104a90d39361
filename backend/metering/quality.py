"""Each new reading held against its meter's last state, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING

import sqlalchemy as sa
from flask import current_app

from backend.archive.models import Meter
from backend.base.db import db
from backend.metering import rules
from backend.metering.bus_rules import CLOCK_DRIFT, is_drifted
from backend.metering.models import MeterState

if TYPE_CHECKING:
    from backend.metering.service import NewReading

# What a day may bring at most, where the meter's record does not say; units: archive.rules.KINDS.
USUAL_MAX_PER_DAY = {
    ("heat", "household"): 300_000,
    ("heat", "building"): 60_000_000,
    ("electricity", "household"): 200_000,
    ("water", "household"): 5_000,
    ("gas", "household"): 50_000,
    ("hot_water", "household"): 5_000,
    ("valve", "household"): 86_400,
    ("room_integral", "household"): 144_000,  # 60 C all day, in 0.01 C h
}
FALLBACK_MAX_PER_DAY = 100_000_000
REGISTER_MAX = 10**15
# A thermometer in a flat or a heating pipe shows nothing outside these (hundredths of C).
POSSIBLE_ROOM_CDEG = (-5500, 6000)  # also that of a weather sensor in Mohe
POSSIBLE_PIPE_CDEG = (-2000, 16000)
HOUR_S = 3600

Last = tuple[datetime | None, int | None]


@dataclass(frozen=True, slots=True)
class Flagged:
    """A batch in order of time with its flags; `all_newer`: after each meter's last known one."""

    readings: list[NewReading]
    all_newer: bool


def flag(batch: Sequence[NewReading]) -> Flagged:
    """The batch in order of time, each reading with what is odd about it.

    One statement whatever the size of the batch.
    """
    last, limits = _known({r.meter_id for r in batch})
    limit_s: int = current_app.extensions["nuan_settings"].clock_drift_s
    known = {meter_id: at for meter_id, (at, _) in last.items() if at is not None}
    checked: list[NewReading] = []
    for reading in sorted(batch, key=attrgetter("read_at", "meter_id")):
        flags = [*reading.flags, *_impossible_temperatures(reading), *_clock(reading, limit_s)]
        if reading.register is not None:
            flags += _register(reading, last, limits)
        checked.append(replace(reading, flags=flags) if flags else reading)
    all_newer = all(r.meter_id not in known or r.read_at > known[r.meter_id] for r in batch)
    return Flagged(checked, all_newer)


def _known(meters: set[int]) -> tuple[dict[int, Last], dict[int, tuple[int, int]]]:
    """(last reading by meter, (register modulus, most a day) by meter)."""
    rows = db.session.execute(
        sa.select(
            Meter.id,
            Meter.kind,
            Meter.scope,
            Meter.register_max,
            Meter.max_per_day,
            MeterState.last_ok_at,
            MeterState.register,
        )
        .outerjoin(MeterState, MeterState.meter_id == Meter.id)
        .where(Meter.id.in_(meters))
    ).all()
    last: dict[int, Last] = {}
    limits = {}
    for meter_id, kind, scope, register_max, max_per_day, at, register in rows:
        last[meter_id] = (at, register)
        usual = USUAL_MAX_PER_DAY.get((kind, scope), FALLBACK_MAX_PER_DAY)
        limits[meter_id] = (register_max or REGISTER_MAX, max_per_day or usual)
    return last, limits


def _clock(reading: NewReading, limit_s: int) -> list[str]:
    return [CLOCK_DRIFT] if is_drifted(reading.clock_drift_s, limit_s) else []


def _impossible_temperatures(reading: NewReading) -> list[str]:
    possible = (
        _within(reading.room_cdeg, POSSIBLE_ROOM_CDEG)
        and _within(reading.supply_cdeg, POSSIBLE_PIPE_CDEG)
        and _within(reading.return_cdeg, POSSIBLE_PIPE_CDEG)
    )
    return [] if possible else [rules.IMPOSSIBLE]


def _within(value: int | None, bounds: tuple[int, int]) -> bool:
    return value is None or bounds[0] <= value <= bounds[1]


def _register(
    reading: NewReading, last: dict[int, Last], limits: dict[int, tuple[int, int]]
) -> list[str]:
    """Flags of the register; an ordinary small step is let through without exact arithmetic."""
    assert reading.register is not None
    modulus, most = limits[reading.meter_id]
    at, before = last.get(reading.meter_id, (None, None))
    if 0 <= reading.register < modulus and (at is None or reading.read_at >= at):
        last[reading.meter_id] = (reading.read_at, reading.register)
    if at is not None and before is not None and reading.read_at > at:
        # A register counts in steps, so an hour's worth is always believable.
        seconds = max((reading.read_at - at).total_seconds(), HOUR_S)
        if 0 <= reading.register - before <= most * seconds / rules.DAY_S:
            return []
    previous = None if at is None or before is None else rules.Reading(at, before)
    bounds = rules.Limits(0, modulus - 1, rules.Register(modulus, most))
    found = rules.quality_flags(rules.Reading(reading.read_at, reading.register), previous, bounds)
    return [f for f in found if f != rules.DUPLICATE]
