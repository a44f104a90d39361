"""What a method needs of a building and whether it is there: meters, devices and constants.

Asked before a rule is set, so that a season does not end in `parameters_missing`.  What the
instruments really measured shows in each day's coverage; here they only have to hang.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from backend.allocation.case import FACTORS, NAMES_ZH, THERMAL, as_inputs, households_of
from backend.allocation.methods import METHODS
from backend.archive.models import Household, Meter, Radiator, RadiatorDevice
from backend.base.db import db
from backend.metering import outdoor

KINDS_ZH = {
    "heat": "户用热量表（或供回水温度）",
    "room": "室温传感器",
    "valve": "通断阀",
    "hca": "热分配表",
    "hot_water": "热水表",
    "room_integral": "室温积分仪",
}
MAX_NAMED = 5
CONSTANTS = (*THERMAL, *FACTORS)


@dataclass(frozen=True, slots=True)
class Need:
    """One thing a method needs: how many have it, of how many, and some that have not."""

    title: str
    have: int
    of: int
    lacking: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Everybody has it."""
        return self.have == self.of


@dataclass(frozen=True, slots=True)
class Facts:
    """What hangs in a building and is known of its flats on a day."""

    homes: Sequence[Household]
    building_meters: int
    kinds: Mapping[int, frozenset[str]]  # household -> kinds of its meters
    devices: Mapping[int, Sequence[frozenset[str]]]  # household -> kinds on each radiator
    constants: Mapping[int, frozenset[str]]
    has_outdoor: bool


def facts_of(building_id: int, day: date) -> Facts:
    """Everything any method asks for, in a handful of statements."""
    homes = [h for h in households_of(building_id) if _lives(h, day)]
    meters = db.session.execute(
        sa.select(Meter.household_id, Meter.kind, Meter.scope).where(
            Meter.building_id == building_id, Meter.removed_on.is_(None)
        )
    ).all()
    kinds: dict[int, set[str]] = defaultdict(set)
    for meter in meters:
        if meter.scope == "household":
            kinds[meter.household_id].add(meter.kind)
    return Facts(
        homes,
        sum(m.scope == "building" and m.kind == "heat" for m in meters),
        {key: frozenset(found) for key, found in kinds.items()},
        _devices([h.id for h in homes]),
        {
            int(h.id): frozenset(n for n in CONSTANTS if h.constants.get(n) is not None)
            for h in as_inputs(homes, CONSTANTS, day)
        },
        outdoor.is_near(building_id),
    )


def _lives(home: Household, day: date) -> bool:
    """Takes part in the heating on a day."""
    ended = [d for d in (home.active_to, home.suspended_from) if d is not None]
    return (home.active_from or day) <= day and all(day < end for end in ended)


def _devices(household_ids: Sequence[int]) -> dict[int, list[frozenset[str]]]:
    rows = db.session.execute(
        sa.select(
            Radiator.household_id,
            sa.func.array_remove(sa.func.array_agg(Meter.kind), None).label("kinds"),
        )
        .outerjoin(RadiatorDevice, RadiatorDevice.radiator_id == Radiator.id)
        .outerjoin(Meter, sa.and_(Meter.id == RadiatorDevice.meter_id, Meter.removed_on.is_(None)))
        .where(Radiator.household_id.in_(household_ids))
        .group_by(Radiator.household_id, Radiator.id)
    )
    found: dict[int, list[frozenset[str]]] = defaultdict(list)
    for row in rows:
        found[row.household_id].append(frozenset(row.kinds))
    return found


def needs(method: str, options: Mapping[str, Any], facts: Facts) -> list[Need]:
    """What the method needs, the building's own meter first."""
    spec = METHODS[method]
    found = [Need("楼栋总热量表", min(facts.building_meters, 1), 1)]
    for kind in _kinds(method, options):
        found.append(_of_flats(KINDS_ZH[kind], facts, _with_kind(facts, kind)))
    if spec.on_radiators:
        title = f"每组散热器上的{KINDS_ZH[spec.on_radiators]}"
        found.append(_of_flats(title, facts, _fitted(facts, spec.on_radiators)))
    for name in spec.needs:
        having = {h.id for h in facts.homes if name in facts.constants.get(h.id, ())}
        found.append(_of_flats(NAMES_ZH.get(name, name), facts, having))
    if method == "degree_day" or (method == "temperature_area" and _outdoor_base(options)):
        found.append(Need("室外温度", int(facts.has_outdoor), 1))
    return found


def _outdoor_base(options: Mapping[str, Any]) -> bool:
    return options.get("base") == "outdoor"


def _kinds(method: str, options: Mapping[str, Any]) -> Iterable[str]:
    integrated = method == "temperature_area" and options.get("source") == "integrator"
    return ("room_integral",) if integrated else METHODS[method].kinds


def _with_kind(facts: Facts, kind: str) -> set[int]:
    return {key for key, kinds in facts.kinds.items() if kind in kinds}


def _fitted(facts: Facts, kind: str) -> set[int]:
    """Flats with radiators, each of which has such a device."""
    return {
        key for key, radiators in facts.devices.items() if all(kind in kinds for kinds in radiators)
    }


def _of_flats(title: str, facts: Facts, having: Collection[int]) -> Need:
    lacking = [h.unit_no for h in facts.homes if h.id not in having]
    total = len(facts.homes)
    return Need(title, total - len(lacking), total, tuple(lacking[:MAX_NAMED]))
