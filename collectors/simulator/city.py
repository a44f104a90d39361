"""A town of N households: buildings of 18 to 60 flats, meters of all protocols, wires of all kinds.

Everything follows from the seed. What hangs where is drawn building by building, in the shares
seen in the field: serial servers and cellular DTUs carry most buses, newer water meters push
through a platform.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from collectors.simulator.town import BuildingSpec, BusSpec, FlatSpec, MeterSpec, Town

DEFAULT_SEED: Final = 2026
DEFAULT_PORT: Final = 20_000
MOST_HOUSEHOLDS: Final = 100_000
LEAST_FLATS: Final = 18
MOST_FLATS: Final = 60
METERS_A_BUS: Final = 64  # what a level converter drives without a repeater
# The first four digits of an address tell the meters of a flat apart.
_CODES: Final = {"heat": "2001", "room": "2002", "water": "1001", "gas": "3001"}
_LINES: Final = ("main", "heat", "room", "water", "gas", "power")
_PLATFORMS: Final = ("ctwing", "oceanconnect")


@dataclass(frozen=True, slots=True)
class _Line:
    """What one kind of meter hangs on in a building."""

    name: str
    protocol: str
    kinds: tuple[str, ...]
    door: str


def city(
    households: int,
    *,
    start: str,
    seed: int = DEFAULT_SEED,
    base_port: int = DEFAULT_PORT,
    baud: int | None = None,
) -> Town:
    """The town; `start` (ISO date) is the day from which its registers count.

    Serial servers take the ports from base_port on (0: free ones); `baud` None answers at once.
    Raises ValueError for a number of households that is none.
    """
    if not 1 <= households <= MOST_HOUSEHOLDS:
        raise ValueError(f"a town has 1 to {MOST_HOUSEHOLDS:,} households, not {households:,}")
    dice = random.Random(f"city/{seed}")
    buildings, buses = [], list[BusSpec]()
    for number, flats in enumerate(_sizes(households, dice), 1):
        building = _building(number, flats, seed, start)
        buildings.append(building)
        buses += _buses(building, number, dice, baud)
    return Town(tuple(buildings), tuple(_numbered(buses, base_port)))


def season_start(today: date) -> date:
    """The last 15 October: when the heat is turned on in the north."""
    start = date(today.year, 10, 15)
    return start if start <= today else date(today.year - 1, 10, 15)


def figures(town: Town) -> str:
    """The town in one line."""
    doors = Counter(bus.door for bus in town.buses)
    protocols = Counter(meter.protocol for bus in town.buses for meter in bus.meters)
    households = {(m.building, m.flat) for bus in town.buses for m in bus.meters if m.flat}
    return (
        f"{len(households):,} households in {len(town.buildings):,} buildings; "
        f"{len(town.buses):,} buses ({_counted(doors)}); "
        f"{protocols.total():,} meters ({_counted(protocols)})"
    )


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


def _sizes(households: int, dice: random.Random) -> Iterator[int]:
    """How many flats each building has; the last ones make the sum come out."""
    left = households
    while left > MOST_FLATS:
        size = min(dice.randint(LEAST_FLATS, MOST_FLATS), left - LEAST_FLATS)
        yield size
        left -= size
    yield left


def _building(number: int, flats: int, seed: int, start: str) -> BuildingSpec:
    dice = random.Random(f"city/{seed}/{number}")
    doors = dice.choice((2, 3, 4))
    areas = [round(dice.uniform(52, 138), 1) for _ in range(doors)]
    return BuildingSpec(
        f"T{number:04d}",
        seed=seed * 10_000 + number,
        flats=tuple(
            FlatSpec(
                f"{n // doors + 1}{n % doors + 1:02d}",
                areas[n % doors],
                round(dice.uniform(0.35, 0.7), 3),
                round(dice.uniform(1.24, 1.36), 3),
            )
            for n in range(flats)
        ),
        start=start,
    )


def _buses(
    building: BuildingSpec, number: int, dice: random.Random, baud: int | None
) -> Iterator[BusSpec]:
    for line in (_entrance(dice), *_flats_lines(dice)):
        specs = list(_meters(building, number, line))
        for n in range(0, len(specs), METERS_A_BUS):
            part = n // METERS_A_BUS + 1
            yield BusSpec(
                f"{building.building_id}-{line.name}{'' if part == 1 else f'-{part}'}",
                0,
                tuple(specs[n : n + METERS_A_BUS]),
                baud,
                line.door,
                _device(line, number, part),
            )


def _device(line: _Line, number: int, part: int) -> str:
    """Who a line's modem or concentrator is."""
    if line.door == "concentrator":
        return f"23{part:02d}-{number}"
    return f"138{number:05d}{_LINES.index(line.name)}{part:02d}" if line.door == "dtu" else ""


def _entrance(dice: random.Random) -> _Line:
    protocol = dice.choices(("mbus", "modbus", "modbus_tcp"), (60, 25, 15))[0]
    return _Line("main", protocol, ("building",), "tcp" if protocol == "modbus_tcp" else "dtu")


def _flats_lines(dice: random.Random) -> Iterator[_Line]:
    door = dice.choices(("tcp", "dtu"), (60, 40))[0]
    if dice.random() < 0.25:
        yield _Line("heat", "mbus", ("heat",), door)
        yield _Line("room", "cjt188", ("room",), door)
    else:
        yield _Line("heat", "cjt188", ("heat", "room"), door)
    if dice.random() < 0.6:
        yield _Line("water", "cjt188", ("water",), dice.choice(("tcp", *_PLATFORMS)))
    if dice.random() < 0.3:
        yield _Line("gas", "cjt188", ("gas",), dice.choice(("dtu", _PLATFORMS[0])))
    if dice.random() < 0.4:
        edition = dice.choices(("dlt645_2007", "dlt645_1997"), (85, 15))[0]
        door = dice.choice(("tcp", "dtu", "concentrator"))
        yield _Line("power", edition, ("electricity",), door)


def _meters(building: BuildingSpec, number: int, line: _Line) -> Iterator[MeterSpec]:
    name = building.building_id
    if line.kinds == ("building",):
        yield MeterSpec(line.protocol, "1", "building", name, meter_id=f"24{number:06d}")
        return
    for index, flat in enumerate(building.flats, 1):
        for kind in line.kinds:
            yield _meter(line, kind, name, number, flat.name, index)


def _meter(line: _Line, kind: str, building: str, number: int, flat: str, index: int) -> MeterSpec:
    """Addresses are a meter's own in the whole town, M-Bus primary ones on their bus."""
    printed, device = "", ""
    if line.protocol == "mbus":
        address, printed = str((index - 1) % METERS_A_BUS + 1), f"{number:04d}{int(flat):04d}"
    elif line.protocol.startswith("dlt645"):
        address = f"{number:06d}{int(flat):06d}"
    else:
        address = f"{_CODES[kind]}{number:04d}{int(flat):06d}"
    if line.door in _PLATFORMS:
        device = f"86{_CODES[kind][0]}{number:05d}{int(flat):07d}"  # an IMEI
    point = (index - 1) % METERS_A_BUS + 1 if line.door == "concentrator" else 0
    return MeterSpec(
        line.protocol, address, kind, building, flat, printed, device=device, point=point
    )


def _numbered(buses: list[BusSpec], base_port: int) -> Iterator[BusSpec]:
    """Serial servers get a port each."""
    port = base_port
    for bus in buses:
        if bus.door == "tcp" and base_port:
            yield replace(bus, port=port)
            port += 1
        else:
            yield bus
