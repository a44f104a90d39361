"""A town from its description: buildings with a model each, and meters on buses.

A description is JSON-able (`Town.to_dict`, `Town.from_dict`):

    {"buildings": [{"building_id": "A", "model": "paper18", "replay_start": "2024-12-01T…+08:00"},
                   {"building_id": "B", "model": "seeded", "seed": 7,
                    "flats": [{"name": "101", "area_m2": 88.5}, …]}],
     "buses": [{"bus_id": "A-1", "port": 7001, "meters": [
                  {"protocol": "cjt188", "kind": "heat", "address": "…", "building": "A",
                   "flat": "101"}, …]}]}

kind: "heat" and "room" (a flat's), "water", "gas", "electricity" (a flat's), "building" (heat
entrance, protocol mbus). A meter may carry "faults": ["silence", null, …], in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from collectors.frames.cjt188_profiles import ROOM_SENSOR_TYPE
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.houses import House, build_house
from collectors.simulator.meters import (
    ELECTRICITY_TYPE,
    GAS_TYPE,
    HEAT_TYPE,
    WATER_TYPE,
    CjtHeatMeter,
    CjtRoomSensor,
    CjtUtilityMeter,
    MbusHeatMeter,
    Meter,
)

METER_TYPES = {
    "heat": HEAT_TYPE,
    "room": ROOM_SENSOR_TYPE,
    "water": WATER_TYPE,
    "gas": GAS_TYPE,
    "electricity": ELECTRICITY_TYPE,
}


@dataclass(frozen=True, slots=True)
class FlatSpec:
    """A flat of a seeded building; what is None is made up from the building's seed."""

    name: str
    area_m2: float
    gamma: float | None = None
    b: float | None = None


@dataclass(frozen=True, slots=True)
class BuildingSpec:
    """model "paper18" brings its own flats; "seeded" needs them. `replay_start` lays the
    published two days on other dates (a local midnight); `has_replay` false leaves them out.
    `start` (ISO date) is the local day on which all registers begin to count."""

    building_id: str
    model: str = "seeded"
    seed: int = 1
    flats: tuple[FlatSpec, ...] = ()
    replay_start: str | None = None
    has_replay: bool = True
    start: str = "2024-10-20"


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """A meter: how a session addresses it, and whose values it shows."""

    protocol: str
    address: str
    kind: str
    building: str
    flat: str = ""
    meter_id: str = ""  # M-Bus: the eight digits printed on the meter
    faults: tuple[str | None, ...] = ()
    faults_for_ever: bool = False

    @property
    def meter_type(self) -> int:
        """The CJ/T 188 type byte to ask this kind of meter with."""
        return METER_TYPES.get(self.kind, HEAT_TYPE)


@dataclass(frozen=True, slots=True)
class BusSpec:
    """A bus behind one TCP port (0 takes a free one); `baud` None answers at once."""

    bus_id: str
    port: int
    meters: tuple[MeterSpec, ...]
    baud: int | None = None


@dataclass(frozen=True, slots=True)
class Town:
    """What stands where."""

    buildings: tuple[BuildingSpec, ...] = field(default=())
    buses: tuple[BusSpec, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Town:
        """Raises ValueError, in one line, for a description that is not one."""
        try:
            return cls(
                tuple(_building(row) for row in data["buildings"]),
                tuple(_bus(row) for row in data["buses"]),
            )
        except KeyError as error:
            raise ValueError(f"the town's description lacks {error}") from error
        except TypeError as error:
            raise ValueError(f"the town's description is not understood: {error}") from error


def _building(row: Mapping[str, Any]) -> BuildingSpec:
    flats = tuple(FlatSpec(**flat) for flat in row.get("flats", ()))
    return BuildingSpec(**{**row, "flats": flats})


def _bus(row: Mapping[str, Any]) -> BusSpec:
    meters = tuple(
        MeterSpec(**{**meter, "faults": tuple(meter.get("faults", ()))}) for meter in row["meters"]
    )
    return BusSpec(**{**row, "meters": meters})


class SimulatedClock:
    """The machine's clock until it is set; from then on it stands where it was put."""

    def __init__(self, at: datetime | None = None):
        self.set_time(at)

    def now(self) -> datetime:
        return self._at or datetime.now(UTC)

    def set_time(self, at: datetime | None) -> None:
        """Stand at `at` (aware), or run with the machine again where it is None."""
        if at is not None and at.tzinfo is None:
            raise ValueError("the clock must know its time zone")
        self._at = at.astimezone(UTC) if at is not None else None


class SimulatedTown:
    """All buses of a town, on one clock which the caller may set.

    async with SimulatedTown(demo_town(7000)) as town:
        town.set_time(moment)
    """

    def __init__(self, town: Town, clock: SimulatedClock | None = None, *, host: str = "127.0.0.1"):
        self.town, self.clock, self.host = town, clock or SimulatedClock(), host
        self.houses = {spec.building_id: build_house(spec) for spec in town.buildings}
        self.buses = {spec.bus_id: self._bus(spec) for spec in town.buses}

    def set_time(self, at: datetime | None) -> None:
        """Put every meter's clock and registers at a moment; None follows the machine again."""
        self.clock.set_time(at)

    def port(self, bus_id: str) -> int:
        """The TCP port of a bus, once started."""
        return self.buses[bus_id].port

    def meter(self, address: str) -> Meter:
        """The simulated meter of an address, to break or to look at. Raises KeyError."""
        for bus in self.buses.values():
            for meter in bus.meters:
                if meter.address == address:
                    return meter
        raise KeyError(f"no meter {address} in town")

    async def start(self) -> None:
        """Listen on every port, or on none: raises OSError (one line, with the port) where one
        is taken."""
        for bus in self.buses.values():
            try:
                await bus.start()
            except OSError as error:
                await self.stop()
                reason = error.strerror or str(error)
                raise OSError(
                    error.errno, f"bus {bus.bus_id}: port {bus.port} can not be used: {reason}"
                ) from error

    async def stop(self) -> None:
        """Hang up and stop listening."""
        for bus in self.buses.values():
            await bus.stop()

    async def __aenter__(self) -> SimulatedTown:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _bus(self, spec: BusSpec) -> SimulatedBus:
        meters = [_meter(m, self._house(m)) for m in spec.meters]
        return SimulatedBus(
            spec.bus_id, meters, clock=self.clock, host=self.host, port=spec.port, baud=spec.baud
        )

    def _house(self, spec: MeterSpec) -> House:
        if spec.building not in self.houses:
            raise ValueError(f"meter {spec.address} is in building {spec.building}: no such")
        return self.houses[spec.building]


def _meter(spec: MeterSpec, house: House) -> Meter:
    meter = _make(spec, house)
    plan = [Fault(name) if name else None for name in spec.faults]
    meter.faults = FaultPlan(plan, for_ever=spec.faults_for_ever)
    return meter


def _make(spec: MeterSpec, house: House) -> Meter:
    if (spec.protocol, spec.kind) == ("mbus", "building"):
        return MbusHeatMeter(spec.address, house.building, id=spec.meter_id or "00000001")
    if spec.kind == "electricity" and spec.protocol.startswith("dlt645_"):
        source = house.source(spec.kind, spec.flat)
        return Dlt645Meter(spec.address, source, is_1997=spec.protocol == "dlt645_1997")
    if spec.protocol == "cjt188":
        source = house.source(spec.kind, spec.flat)
        if spec.kind == "heat":
            return CjtHeatMeter(spec.address, source)
        if spec.kind == "room":
            return CjtRoomSensor(spec.address, source)
        if spec.kind in ("water", "gas", "electricity"):
            return CjtUtilityMeter(spec.kind, spec.address, source)
    raise ValueError(f"no {spec.kind!r} meter speaks {spec.protocol!r} here")
