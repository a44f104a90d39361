"""Each new reading held against what is known of its meter, a batch at a time.

`known` and `flag` cost the same statements whatever the size of the batch.  Ordinary readings are
let through by arithmetic over arrays; the rules of `metering.rules` are asked about the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Meter
from backend.base.db import db
from backend.base.exact import exact
from backend.metering import rules
from backend.metering.batch import Batch
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


def _array(flags: Iterable[str]) -> str:
    return "ARRAY[" + ", ".join(f"'{flag}'" for flag in flags) + "]"


# `rules.is_usable` for a row of `reading`, in SQL.
USABLE: Final = (
    f"(flags = '{{}}' OR NOT flags && {_array(rules.UNUSABLE)}"
    f" AND (author_id IS NOT NULL OR NOT flags && {_array(rules.DOUBTFUL)}))"
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From the settings: how far a meter's clock may be off, how long a register may stand."""

    clock_drift_s: int = 300
    stuck_after_s: int = 7 * rules.DAY_S


@dataclass(slots=True)
class Known:
    """What is known of a meter: its register's limits, and its last usable reading."""

    kind: str
    scope: str
    building_id: int
    register: rules.Register
    last_at: datetime | None
    last: int | None
    since: datetime | None  # the register has shown `last` since then


def ratio(said: object) -> Fraction:
    """A meter's ratio, an exact decimal above 0 (None: 1); ValueError for anything else."""
    if said is None:
        return Fraction(1)
    try:
        found = exact(Decimal(str(said)))
    except InvalidOperation:
        raise ValueError(f"{said!r} is not a ratio") from None
    if found <= 0:
        raise ValueError(f"a ratio is above 0, not {said}")
    return found


def register_of(
    kind: str, scope: str, register_max: int | None, max_per_day: int | None, said: object
) -> rules.Register:
    """A meter's register; what is usual a day is in Wh or litres, so it is divided by the ratio."""
    usual = USUAL_MAX_PER_DAY.get((kind, scope), FALLBACK_MAX_PER_DAY)
    if max_per_day is None and said is not None:
        return rules.Register(register_max or REGISTER_MAX, exact(usual) / ratio(said))
    return rules.Register(register_max or REGISTER_MAX, max_per_day or usual)


def known(meters: list[int]) -> dict[int, Known]:
    """What is known of these meters, in one statement."""
    rows = db.session.execute(
        sa.select(
            Meter.id,
            Meter.kind,
            Meter.scope,
            Meter.building_id,
            Meter.register_max,
            Meter.max_per_day,
            Meter.options["ratio"].astext.label("ratio"),
            MeterState.last_ok_at,
            MeterState.register,
            MeterState.register_since,
        )
        .outerjoin(MeterState, MeterState.meter_id == Meter.id)
        .where(Meter.id == sa.func.any(sa.literal(meters, pg.ARRAY(sa.BigInteger))))
    )
    return {
        row.id: Known(
            row.kind,
            row.scope,
            row.building_id,
            _register_or_widest(row),
            row.last_ok_at,
            row.register,
            row.register_since,
        )
        for row in rows
    }


def _register_or_widest(row: Any) -> rules.Register:
    try:
        return register_of(row.kind, row.scope, row.register_max, row.max_per_day, row.ratio)
    except ValueError:  # its usage is refused with a flag; its readings are kept all the same
        return rules.Register(row.register_max or REGISTER_MAX, FALLBACK_MAX_PER_DAY)


def flag(
    batch: Batch,
    meters: Mapping[int, Known] | None = None,
    thresholds: Thresholds = Thresholds(),
) -> list[NewReading]:
    """The batch in its order, each reading with what is odd about it (docs/reading.md)."""
    found = known(batch.meter_ids()) if meters is None else meters
    odd = set(_odd(batch, found, thresholds))
    if not odd:
        return batch.readings
    suspects = [r for r in batch.readings if r.meter_id in odd]
    around = _neighbours([r for r in suspects if _is_late(r, found[r.meter_id])])
    moving = _moving({found[m].building_id for m in odd}, suspects, thresholds)
    flagged: list[NewReading] = []
    for meter_id, readings in groupby(batch.readings, key=attrgetter("meter_id")):
        if meter_id not in odd:
            flagged += readings
            continue
        look = _Look(replace(found[meter_id]), around, moving, thresholds)
        flagged += [look.at(reading) for reading in readings]
    return flagged


def _is_late(reading: NewReading, meter: Known) -> bool:
    return meter.last_at is not None and reading.read_at <= meter.last_at


def _odd(batch: Batch, meters: Mapping[int, Known], thresholds: Thresholds) -> list[int]:
    """Meters of which some reading is not plainly good; by arithmetic over the whole batch."""
    drift_s = thresholds.clock_drift_s
    odd = [r.meter_id for r in batch.readings if r.flags or is_drifted(r.clock_drift_s, drift_s)]
    for name, (low, high) in (
        ("room_cdeg", POSSIBLE_ROOM_CDEG),
        ("supply_cdeg", POSSIBLE_PIPE_CDEG),
        ("return_cdeg", POSSIBLE_PIPE_CDEG),
    ):
        values = list(map(attrgetter(name), batch.readings))
        if values.count(None) < len(values):
            odd += [
                r.meter_id
                for r, value in zip(batch.readings, values, strict=True)
                if value is not None and not low <= value <= high
            ]
    counting = batch.take(np.array([r.register is not None for r in batch.readings], dtype=bool))
    return odd + (_odd_registers(counting, meters, thresholds) if len(counting) else [])


def _odd_registers(batch: Batch, meters: Mapping[int, Known], thresholds: Thresholds) -> list[int]:
    """Meters whose register does not simply move on by a believable step."""
    ids, at = batch.meters, batch.at
    shown = np.array([r.register for r in batch.readings], dtype=np.float64)
    unique, first, of = np.unique(ids, return_index=True, return_inverse=True)
    mine = [meters[m] for m in unique.tolist()]
    never = float("nan")
    last_at = np.array([never if m.last_at is None else m.last_at.timestamp() for m in mine])
    last = np.array([never if m.last is None else m.last for m in mine], dtype=np.float64)
    since = np.array([never if m.since is None else m.since.timestamp() for m in mine])
    most = np.array([float(m.register.max_per_day) for m in mine]) / rules.DAY_S
    modulus = np.array([float(m.register.modulus) for m in mine])[of]
    before_at, before = np.roll(at, 1), np.roll(shown, 1)
    before_at[first], before[first] = last_at, last
    # A register counts in steps, so an hour's worth is always believable.
    room = most[of] * np.maximum(at - before_at, HOUR_S)
    step = shown - before
    fine = np.isnan(before) | ((at > before_at) & (step >= 0) & (step <= room))
    still = (shown == last[of]) & (at - since[of] >= thresholds.stuck_after_s)
    is_odd = ~fine | still | (shown < 0) | (shown >= modulus)
    found: list[int] = ids[is_odd].tolist()
    return found


@dataclass(slots=True)
class _Look:
    """One meter's readings looked at in turn; a bad one is not what the next is held against."""

    meter: Known
    around: Mapping[tuple[int, datetime], tuple[rules.Reading | None, rules.Reading | None]]
    moving: Mapping[tuple[int, str, str], tuple[int, int]]
    thresholds: Thresholds

    def at(self, reading: NewReading) -> NewReading:
        """The reading with its flags."""
        flags = [*reading.flags, *_impossible_temperatures(reading)]
        if is_drifted(reading.clock_drift_s, self.thresholds.clock_drift_s):
            flags.append(CLOCK_DRIFT)
        if reading.register is not None:
            flags += self._register(reading)
        flags = list(dict.fromkeys(flags))
        if rules.is_usable(flags, reading.author_id) and not _is_late(reading, self.meter):
            self._move(reading)
        return replace(reading, flags=flags) if flags else reading

    def _move(self, reading: NewReading) -> None:
        self.meter.last_at = reading.read_at
        if reading.register is not None:
            if reading.register != self.meter.last:
                self.meter.since = reading.read_at
            self.meter.last = reading.register

    def _register(self, reading: NewReading) -> list[str]:
        assert reading.register is not None
        register = self.meter.register
        new = rules.Reading(reading.read_at, reading.register)
        bounds = rules.Limits(0, exact(register.modulus) - 1, register)
        if _is_late(reading, self.meter):
            before, after = self.around.get((reading.meter_id, reading.read_at), (None, None))
            flags = rules.quality_flags(new, before, bounds)
            flags = [f for f in flags if f != rules.DUPLICATE]
            if not flags and after is not None:
                flags = _against(new, after, bounds)
            # A freeze is always older than what was read since; of others it is worth knowing.
            return flags + ([] if reading.kind == "freeze" else [rules.LATE])
        flags = rules.quality_flags(new, self._previous(), bounds)
        is_hours_worth = self._is_hours_worth(new)
        flags = [
            f for f in flags if f != rules.DUPLICATE and not (f == rules.JUMP and is_hours_worth)
        ]
        return flags + self._stuck(reading)

    def _previous(self) -> rules.Reading | None:
        if self.meter.last_at is None or self.meter.last is None:
            return None
        return rules.Reading(self.meter.last_at, self.meter.last)

    def _is_hours_worth(self, new: rules.Reading) -> bool:
        """A register counts in steps, so an hour's worth is believable in a minute."""
        step = exact(new.value) - (self.meter.last or 0)
        return step * 24 <= exact(self.meter.register.max_per_day)

    def _stuck(self, reading: NewReading) -> list[str]:
        if reading.register != self.meter.last or self.meter.since is None:
            return []
        unchanged_s = (reading.read_at - self.meter.since).total_seconds()
        key = (self.meter.building_id, self.meter.kind, self.meter.scope)
        moving, neighbours = self.moving.get(key, (0, 0))
        stands = rules.stands_still(
            unchanged_s, reading.flow_lph, moving, neighbours, self.thresholds.stuck_after_s
        )
        return [rules.STUCK] if stands else []


def _against(new: rules.Reading, after: rules.Reading, bounds: rules.Limits) -> list[str]:
    """What is odd about a late reading, given the one after it: it is the late one that errs."""
    flags = rules.quality_flags(after, new, bounds)
    return [f for f in flags if f in rules.DOUBTFUL]


def _impossible_temperatures(reading: NewReading) -> list[str]:
    possible = (
        _within(reading.room_cdeg, POSSIBLE_ROOM_CDEG)
        and _within(reading.supply_cdeg, POSSIBLE_PIPE_CDEG)
        and _within(reading.return_cdeg, POSSIBLE_PIPE_CDEG)
    )
    return [] if possible else [rules.IMPOSSIBLE]


def _within(value: int | None, bounds: tuple[int, int]) -> bool:
    return value is None or bounds[0] <= value <= bounds[1]


_NEIGHBOURS = sa.text(f"""
    SELECT n.meter_id, n.at, b.read_at AS before_at, b.register AS before,
           a.read_at AS after_at, a.register AS after
      FROM unnest(CAST(:meters AS bigint[]), CAST(:ats AS timestamptz[])) AS n(meter_id, at)
      LEFT JOIN LATERAL (
           SELECT read_at, register FROM reading r
            WHERE r.meter_id = n.meter_id AND read_at < n.at AND register IS NOT NULL
              AND read_at > n.at - interval '400 days' AND {USABLE}
            ORDER BY read_at DESC, corrects_id DESC LIMIT 1) b ON true
      LEFT JOIN LATERAL (
           SELECT read_at, register FROM reading r
            WHERE r.meter_id = n.meter_id AND read_at > n.at AND register IS NOT NULL
              AND read_at < n.at + interval '400 days' AND {USABLE}
            ORDER BY read_at, corrects_id DESC LIMIT 1) a ON true
""")


def _neighbours(
    late: Sequence[NewReading],
) -> dict[tuple[int, datetime], tuple[rules.Reading | None, rules.Reading | None]]:
    """The usable readings before and after those that are older than the meter's last."""
    wanted = list({(r.meter_id, r.read_at) for r in late if r.register is not None})
    if not wanted:
        return {}
    meters, ats = zip(*wanted, strict=True)
    rows = db.session.execute(_NEIGHBOURS, {"meters": list(meters), "ats": list(ats)})
    return {
        (row.meter_id, row.at): (
            None if row.before_at is None else rules.Reading(row.before_at, row.before),
            None if row.after_at is None else rules.Reading(row.after_at, row.after),
        )
        for row in rows
    }


_MOVING = sa.text("""
    SELECT m.building_id, m.kind, m.scope, count(*) AS neighbours,
           count(*) FILTER (WHERE s.register_since > :since) AS moving
      FROM meter m JOIN meter_state s ON s.meter_id = m.id
     WHERE m.building_id = ANY(:buildings) AND m.removed_on IS NULL AND s.register IS NOT NULL
     GROUP BY 1, 2, 3
""")


def _moving(
    buildings: set[int], suspects: Sequence[NewReading], thresholds: Thresholds
) -> dict[tuple[int, str, str], tuple[int, int]]:
    """(building, kind, scope) -> how many of its meters have counted lately, and of how many."""
    newest = max(r.read_at for r in suspects)
    since = datetime.fromtimestamp(newest.timestamp() - thresholds.stuck_after_s, newest.tzinfo)
    rows = db.session.execute(_MOVING, {"buildings": list(buildings), "since": since})
    return {(r.building_id, r.kind, r.scope): (r.moving, r.neighbours) for r in rows}
