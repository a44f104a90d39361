"""The demonstration town: the published building A, and building B with four meters a flat."""

from __future__ import annotations

from typing import Final

from collectors.simulator.replay import paper18
from collectors.simulator.town import BuildingSpec, BusSpec, FlatSpec, MeterSpec, Town

DEFAULT_BASE_PORT: Final = 7100
PAPER_ID, FOUR_METERS_ID = "A", "B"
B_FLATS: Final = tuple(
    FlatSpec(f"{floor}0{door}", area)
    for floor in (1, 2, 3, 4)
    for door, area in ((1, 88.5), (2, 64.2), (3, 103.8))
)
# The first four digits of an address tell the meters of a flat apart.
_CODES: Final = {
    "heat": "2001",
    "room": "2002",
    "water": "1001",
    "gas": "3001",
    "electricity": "4001",
}
_BUILDING_CODES: Final = {PAPER_ID: 1, FOUR_METERS_ID: 2}


def meter_address(kind: str, building: str, flat: str) -> str:
    """The 14 digits of a flat's meter in the demonstration town, e.g. 20010100000101."""
    return f"{_CODES[kind]}{_BUILDING_CODES[building]:02d}{int(flat):08d}"


def demo_town(
    base_port: int = DEFAULT_BASE_PORT,
    *,
    replay_start: str | None = None,
    start: str = "2024-10-20",
) -> Town:
    """Buildings A and B on ports base_port onwards (0: free ones).

    Building A: A-main (M-Bus, entrance at primary address 1) and A-1 to A-3, one bus a column of
    flats with heat meter and room sensor each. Building B: B-main, and B-heat, B-water, B-gas,
    B-power. `replay_start` lays the published two days on other dates (ISO, a local midnight);
    `start` (ISO date) is the day from which all registers count.
    """
    buildings = (
        BuildingSpec(PAPER_ID, "paper18", seed=18, replay_start=replay_start, start=start),
        BuildingSpec(FOUR_METERS_ID, "seeded", seed=12, flats=B_FLATS, start=start),
    )
    rows = _paper_buses() + _four_meter_buses()
    buses = tuple(
        BusSpec(bus_id, base_port + n if base_port else 0, meters)
        for n, (bus_id, meters) in enumerate(rows)
    )
    return Town(buildings, buses)


def _entrance(building: str, meter_id: str) -> tuple[MeterSpec, ...]:
    return (MeterSpec("mbus", "1", "building", building, meter_id=meter_id),)


def _flat_meters(building: str, flats: list[str], kinds: tuple[str, ...]) -> tuple[MeterSpec, ...]:
    return tuple(
        MeterSpec("cjt188", meter_address(kind, building, flat), kind, building, flat)
        for flat in flats
        for kind in kinds
    )


def _paper_buses() -> list[tuple[str, tuple[MeterSpec, ...]]]:
    names = [row["id"] for row in paper18().households]
    columns = [[name for name in names if name.endswith(door)] for door in "123"]
    return [("A-main", _entrance(PAPER_ID, "24120001"))] + [
        (f"A-{n}", _flat_meters(PAPER_ID, column, ("heat", "room")))
        for n, column in enumerate(columns, 1)
    ]


def _four_meter_buses() -> list[tuple[str, tuple[MeterSpec, ...]]]:
    names = [flat.name for flat in B_FLATS]
    lines = (
        ("B-heat", ("heat", "room")),
        ("B-water", ("water",)),
        ("B-gas", ("gas",)),
        ("B-power", ("electricity",)),
    )
    return [("B-main", _entrance(FOUR_METERS_ID, "24120002"))] + [
        (bus_id, _flat_meters(FOUR_METERS_ID, names, kinds)) for bus_id, kinds in lines
    ]
