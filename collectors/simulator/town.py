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

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from collectors import register_maps
from collectors.frames.cjt188_profiles import ROOM_SENSOR_TYPE
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.doors import DOORS, NOWHERE, Outside, Pushing, door_of, platforms
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.houses import House, build_house
from collectors.simulator.mbus_meter import HEAT_MEDIUM, WATER_MEDIUM, MbusFixedMeter, MbusHeatMeter
from collectors.simulator.meters import (
    ELECTRICITY_TYPE,
    GAS_TYPE,
    HEAT_TYPE,
    WATER_TYPE,
    CjtHeatMeter,
    CjtRoomSensor,
    CjtUtilityMeter,
    Meter,
    Source,
)
from collectors.simulator.modbus_meter import ModbusMeter

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
    """A meter: how a session addresses it, and whose values it shows.

    model   CJ/T 188: "2018" keeps months as D2xx and days as D3xx. M-Bus: "fixed" answers in the
            fixed structure. Modbus: its register map
    """

    protocol: str
    address: str
    kind: str
    building: str
    flat: str = ""
    meter_id: str = ""  # M-Bus: the eight digits printed on the meter
    device: str = ""  # what a platform knows it by, such as its IMEI
    point: int = 0  # what a concentrator knows it by
    model: str = ""
    faults: tuple[str | None, ...] = ()
    faults_for_ever: bool = False

    @property
    def meter_type(self) -> int:
        """The CJ/T 188 type byte to ask this kind of meter with."""
        return METER_TYPES.get(self.kind, HEAT_TYPE)


@dataclass(frozen=True, slots=True)
class BusSpec:
    """A bus and the way it is reached; `baud` None answers at once.

    door    "tcp": a serial server on `port` (0 takes a free one). "dtu": a modem that dials in as
            `device`. "concentrator": a terminal `device` ("<a1>-<a2>") that dials in and stores.
            "serial": a pseudo-terminal, with a link to it at the path `device`. Any other: its
            meters push through the platform of that name
    """

    bus_id: str
    port: int
    meters: tuple[MeterSpec, ...]
    baud: int | None = None
    door: str = "tcp"
    device: str = ""

    def link(self, host: str = "127.0.0.1") -> str:
        """The bus's address as an archive names it."""
        named = {
            "tcp": f"tcp://{host}:{self.port}",
            "dtu": f"dtu://{self.device}",
            "concentrator": f"concentrator://{self.device}",
            "serial": f"serial://{self.device}?baud={self.baud or 2400}&parity=N",
        }
        return named.get(self.door, f"push://{self.door}")


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
    """All buses of a town, on one clock which the caller may set. Houses and meters are made when
    somebody first asks for them.

    async with SimulatedTown(demo_town(7000)) as town:
        town.set_time(moment)
    """

    def __init__(
        self,
        town: Town,
        clock: SimulatedClock | None = None,
        *,
        host: str = "127.0.0.1",
        outside: Outside = NOWHERE,
    ):
        self.town, self.clock, self.host = town, clock or SimulatedClock(), host
        self._plans = {spec.building_id: spec for spec in town.buildings}
        self.houses = _Houses(self._plans)
        self._names: dict[str, set[str]] = {}
        for spec in town.buildings:
            if spec.model != "seeded" or not spec.flats:
                self.houses[spec.building_id] = build_house(spec)  # or say what is wrong with it
        for bus in town.buses:
            self._check(bus)
        self.buses = {spec.bus_id: self._bus(spec) for spec in town.buses}
        self._doors = [
            door_of(spec.door, spec.device, self.buses[spec.bus_id], outside)
            for spec in town.buses
            if spec.door in DOORS
        ]
        pushing = [(spec, self.buses[spec.bus_id]) for spec in town.buses if spec.door not in DOORS]
        self._doors += platforms(
            [
                Pushing(spec.door, meter.device or meter.address, bus, n)
                for spec, bus in pushing
                for n, meter in enumerate(spec.meters)
            ],
            self.clock,
            outside,
        )

    def set_time(self, at: datetime | None) -> None:
        """Put every meter's clock and registers at a moment; None follows the machine again."""
        self.clock.set_time(at)

    def port(self, bus_id: str) -> int:
        """The TCP port of a bus, once started."""
        return self.buses[bus_id].port

    @property
    def placed(self) -> Town:
        """The town with the ports it really listens on, once started."""
        buses = (replace(bus, port=self.port(bus.bus_id)) for bus in self.town.buses)
        return replace(self.town, buses=tuple(buses))

    def meter(self, address: str) -> Meter:
        """The simulated meter of an address, to break or to look at. Raises KeyError."""
        for spec in self.town.buses:
            if any(meter.address.upper() == address.upper() for meter in spec.meters):
                return self.buses[spec.bus_id].meter(address)
        raise KeyError(f"no meter {address} in town")

    async def start(self) -> None:
        """Open every door, or none: raises OSError (one line) where one can not be opened."""
        for door in self._doors:
            try:
                await door.start()
            except OSError:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Hang up and close every door."""
        for door in self._doors:
            await door.stop()

    async def __aenter__(self) -> SimulatedTown:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _bus(self, spec: BusSpec) -> SimulatedBus:
        protocols = {meter.protocol for meter in spec.meters}
        if len(protocols) != 1:
            raise ValueError(
                f"bus {spec.bus_id} needs meters of one protocol, not {sorted(protocols)}"
            )
        return SimulatedBus(
            spec.bus_id,
            lambda: [_meter(m, self.houses[m.building]) for m in spec.meters],
            protocol=protocols.pop(),
            clock=self.clock,
            host=self.host,
            port=spec.port,
            baud=spec.baud,
        )

    def _check(self, bus: BusSpec) -> None:
        """Raise ValueError, in one line, for a meter that can not be made."""
        for spec in bus.meters:
            plan = self._plans.get(spec.building)
            if plan is None:
                raise ValueError(f"meter {spec.address} is in building {spec.building}: no such")
            if not _is_made(spec):
                raise ValueError(f"no {spec.kind!r} meter speaks {spec.protocol!r} here")
            if spec.kind != "building" and spec.flat not in self._flats(plan):
                raise ValueError(f"there is no flat {spec.flat!r} in building {spec.building}")

    def _flats(self, plan: BuildingSpec) -> Collection[str]:
        """The names of a building's flats."""
        if plan.building_id not in self._names:
            self._names[plan.building_id] = {flat.name for flat in plan.flats} or set(
                self.houses[plan.building_id].heat.index
            )
        return self._names[plan.building_id]


class _Houses(dict[str, House]):
    """Models of the buildings, made when they are first asked for."""

    def __init__(self, plans: Mapping[str, BuildingSpec]):
        super().__init__()
        self._plans = plans

    def __missing__(self, building: str) -> House:
        house = self[building] = build_house(self._plans[building])
        return house


def _meter(spec: MeterSpec, house: House) -> Meter:
    meter = _make(spec, house)
    plan = [Fault(name) if name else None for name in spec.faults]
    meter.faults = FaultPlan(plan, for_ever=spec.faults_for_ever)
    return meter


def _make(spec: MeterSpec, house: House) -> Meter:
    source = house.building if spec.kind == "building" else house.source(spec.kind, spec.flat)
    return _MAKERS[spec.protocol][spec.kind](spec, source)


def _is_made(spec: MeterSpec) -> bool:
    return spec.kind in _MAKERS.get(spec.protocol, {})


def _mbus(spec: MeterSpec, source: Source) -> Meter:
    number = spec.meter_id or "00000001"
    if _model(spec, "fixed") or spec.kind == "water":
        medium = _MEDIA.get(spec.kind, HEAT_MEDIUM)
        return MbusFixedMeter(spec.address, source, id=number, medium=medium)
    return MbusHeatMeter(spec.address, source, id=number, months=12, days=31)


def _heat(spec: MeterSpec, source: Source) -> Meter:
    return CjtHeatMeter(spec.address, source, is_2018=_model(spec, "2018"))


def _utility(spec: MeterSpec, source: Source) -> Meter:
    is_2018 = _model(spec, "2018")
    days = 31 if is_2018 and spec.kind in ("water", "gas") else 0
    return CjtUtilityMeter(spec.kind, spec.address, source, is_2018=is_2018, days=days)


def _model(spec: MeterSpec, other: str) -> bool:
    """Whether it is the other model of its protocol. Raises ValueError for one there is not."""
    if spec.model not in ("", other):
        raise ValueError(f"no {spec.protocol} meter is of the model {spec.model!r}")
    return spec.model == other


def _dlt645(spec: MeterSpec, source: Source) -> Meter:
    return Dlt645Meter(spec.address, source, is_1997=spec.protocol == "dlt645_1997")


def _modbus(spec: MeterSpec, source: Source) -> Meter:
    map_name = register_maps.shipped(spec.model or "heat").name
    return ModbusMeter(spec.address, source, map_name, is_tcp=spec.protocol == "modbus_tcp")


_MEDIA: Final = {"water": WATER_MEDIUM}
# protocol -> kind -> the meter
_MAKERS: Final[Mapping[str, Mapping[str, Callable[[MeterSpec, Source], Meter]]]] = {
    "cjt188": {
        "heat": _heat,
        "room": lambda spec, source: CjtRoomSensor(spec.address, source),
        "water": _utility,
        "gas": _utility,
        "electricity": _utility,
    },
    "mbus": {"building": _mbus, "heat": _mbus, "water": _mbus},
    "modbus": {"building": _modbus, "heat": _modbus},
    "modbus_tcp": {"building": _modbus, "heat": _modbus},
    "dlt645_2007": {"electricity": _dlt645},
    "dlt645_1997": {"electricity": _dlt645},
}
