"""Stored readings against their frames, and the samples a building was shared by against both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
import sqlalchemy as sa

from backend.allocation import seasons
from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive.models import Meter
from backend.base.clock import business_day, day_start, second_of_day
from backend.base.db import db
from backend.metering import rules, series
from backend.metering.models import CondensedDay, DaySeries, Reading

COLUMNS = ("register", *series.QUANTITIES)
NAMES_ZH = {
    "register": "读数",
    "supply_cdeg": "供水温度",
    "return_cdeg": "回水温度",
    "room_cdeg": "室温",
}
MOST_SENTENCES = 20  # of one kind for one bill; the rest is a number


class Undecodable(Exception):
    """A frame that is no such reading of its meter, and why."""


# What a stored frame says of COLUMNS; raises Undecodable.
Decode = Callable[[Meter, Reading], Mapping[str, int]]


@dataclass
class Frames:
    """Decodes each stored frame once, and counts: `decoded`; `unframed` readings have none;
    `asked` counts a frame again each time something stands on it."""

    decode: Decode | None = None
    decoded: int = 0
    unframed: int = 0
    asked: int = 0
    seen: dict[int, list[str]] = field(default_factory=dict)

    def check(self, rows: Iterable[tuple[Reading, Meter]]) -> Iterator[str]:
        """What differs between readings and their frames."""
        for reading, meter in rows:
            if reading.id not in self.seen:
                self.seen[reading.id] = list(self._differences(reading, meter))
            self.asked += bool(reading.frame)
            yield from self.seen[reading.id]

    def _differences(self, reading: Reading, meter: Meter) -> Iterator[str]:
        if not reading.frame:
            self.unframed += 1
            return
        if self.decode is None:
            return
        where = f"表 {meter.address} 的读数 {reading.id}（{reading.read_at:%Y-%m-%d %H:%M}Z）"
        try:
            said = self.decode(meter, reading)
        except Undecodable as error:
            yield f"{where}的报文不能解出这个读数：{error}。"
            return
        self.decoded += 1
        for name in COLUMNS:
            kept = getattr(reading, name)
            if kept != said.get(name) and not (kept is None and name != "register"):
                yield f"{where}的报文解得{NAMES_ZH[name]} {said.get(name)}，入库的是 {kept}。"


def by_id(ids: Collection[int]) -> Sequence[tuple[Reading, Meter]]:
    """Readings with their meters."""
    query = sa.select(Reading, Meter).join(Meter, Meter.id == Reading.meter_id)
    rows = db.session.execute(query.where(Reading.id.in_(ids)).order_by(Reading.id))
    return [(row[0], row[1]) for row in rows]


def between(meter_ids: Collection[int], begin: date, end: date) -> Iterator[tuple[Reading, Meter]]:
    """All readings of meters in [begin, end], streamed in the order they were stored."""
    query = sa.select(Reading, Meter).join(Meter, Meter.id == Reading.meter_id)
    query = query.where(
        Reading.meter_id.in_(meter_ids),
        Reading.read_at >= day_start(begin),
        Reading.read_at <= day_start(end),
    )
    rows = db.session.execute(query.order_by(Reading.id).execution_options(yield_per=2_000))
    for reading, meter in rows:
        yield reading, meter
        db.session.expunge(reading)


def short(sentences: Iterable[str], what: str) -> list[str]:
    """At most MOST_SENTENCES of them, and how many more."""
    every = list(sentences)
    if len(every) > MOST_SENTENCES:
        more = f"另有 {len(every) - MOST_SENTENCES} 处{what}不符。"
        return [*every[:MOST_SENTENCES], more]
    return every


# The samples of a run ------------------------------------------------------------------------


def run_readings(run: AllocationRun) -> set[int]:
    """The ids of the readings a run's registers stand on: the building's and the flats'."""
    shares = db.session.scalars(
        sa.select(AllocationShare.basis).where(AllocationShare.run_id == run.id)
    )
    parts = [*run.inputs["building"], *(p for basis in shares for p in _meters_of(basis))]
    return {reading_id for part in parts for reading_id in reading_ids(part)}


def _meters_of(basis: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    found = basis.get("meters", [])
    return found if isinstance(found, list) else []


def reading_ids(part: Mapping[str, object]) -> list[int]:
    """The readings a stretch of usage stands on: its two ends, or those around an estimate."""
    ends = [part.get(f"{end}_reading_id") for end in ("open", "close")]
    between_ = part.get("estimated_between")
    both = [*ends, *(between_ if isinstance(between_, list) else [])]
    return [int(str(one)) for one in both if one is not None]


def samples(run: AllocationRun, frames: Frames) -> tuple[list[str], int]:
    """The flats' samples of a run's period: frames, slots and condensed days against each other.

    Also how many sensor-days have samples that no reading stands behind.
    """
    sensors = db.session.scalars(
        sa.select(Meter.id).where(
            Meter.building_id == run.building_id, Meter.kind.in_(("heat", "room", "hca"))
        )
    ).all()
    latest: dict[tuple[int, str, date], dict[int, int]] = defaultdict(dict)
    found: list[str] = []
    for reading, meter in between(sensors, run.period_from, run.period_to):
        found += frames.check([(reading, meter)])
        for key, slot, value in _slots(reading):
            latest[key][slot] = value
    told, bare = _stored(run, sensors, latest)
    return [*short(found, "报文"), *told, *_condensed(run)], bare


def _slots(reading: Reading) -> Iterator[tuple[tuple[int, str, date], int, int]]:
    """The slots a reading fills, by the rule of `series.fill`."""
    if reading.kind != "current" or not rules.UNUSABLE_TEMPERATURES.isdisjoint(reading.flags):
        return
    day = business_day(reading.read_at)
    slot = second_of_day(reading.read_at) // series.INTERVAL_S
    for quantity in series.QUANTITIES:
        value = getattr(reading, quantity)
        if value is not None:
            yield (reading.meter_id, quantity, day), slot, value


def _stored(
    run: AllocationRun,
    sensors: Sequence[int],
    latest: Mapping[tuple[int, str, date], Mapping[int, int]],
) -> tuple[list[str], int]:
    rows = db.session.execute(
        sa.select(DaySeries, Meter.address)
        .join(Meter, Meter.id == DaySeries.meter_id)
        .where(
            DaySeries.meter_id.in_(sensors),
            DaySeries.day >= run.period_from,
            DaySeries.day < run.period_to,
        )
        .order_by(DaySeries.day, DaySeries.meter_id)
    )
    found, bare = [], 0
    for stored, address in rows:
        slots = rules.unpack_day(bytes(stored.samples))
        read = latest.get((stored.meter_id, stored.quantity, stored.day), {})
        bare += bool(np.count_nonzero(slots != rules.MISSING) > len(read))
        wrong = [slot for slot, value in read.items() if slots[slot] != value]
        if wrong:
            at = timedelta(seconds=wrong[0] * series.INTERVAL_S)
            moment = datetime.combine(stored.day, datetime.min.time()) + at
            name = NAMES_ZH[stored.quantity]
            found.append(
                f"表 {address} {moment:%Y-%m-%d %H:%M} 起的{name}采样为 {slots[wrong[0]]}，"
                f"读数为 {read[wrong[0]]}（当日 {len(wrong)} 处）。"
            )
    return short(found, "采样"), bare


def _condensed(run: AllocationRun) -> list[str]:
    """Days condensed anew from their samples, where they have been condensed."""
    kept = {
        (row.household_id, row.day): row
        for row in db.session.scalars(
            sa.select(CondensedDay)
            .join(AllocationShare, AllocationShare.household_id == CondensedDay.household_id)
            .where(
                AllocationShare.run_id == run.id,
                CondensedDay.day >= run.period_from,
                CondensedDay.day < run.period_to,
            )
        )
    }
    found = []
    for day in sorted({day for _, day in kept}):
        for row in seasons.condensed_rows(run.building_id, day):
            held = kept.get((row["household_id"], day))
            if held is None or seasons.is_condensed_as(held, row):
                continue
            found.append(f"住户编号 {row['household_id']} {day} 的浓缩值与当日采样不符。")
    return short(found, "浓缩值")
