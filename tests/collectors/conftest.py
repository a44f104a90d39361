"""A town of a few meters on real loopback sockets, and sessions which read it."""

from datetime import UTC, datetime

import pytest

from collectors.links import TcpLink
from collectors.session import Session
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.faults import FaultPlan
from collectors.simulator.meters import CjtHeatMeter, CjtRoomSensor, CjtUtilityMeter, MbusHeatMeter
from collectors.simulator.town import SimulatedClock

NOON = datetime(2024, 12, 1, 4, 0, tzinfo=UTC)
HEAT_VALUES = {
    "energy_wh": 54_427_880,
    "volume_l": 7_156_080,
    "flow_lph": 182,
    "power_w": 3_210,
    "supply_cdeg": 4_157,
    "return_cdeg": 3_513,
    "working_h": 1_000,
}
HEAT, ROOM, WATER, GAS, POWER = (
    "20010100000101",
    "20020100000101",
    "10010100000101",
    "30010100000101",
    "40010100000101",
)


def heat_values(now):
    return HEAT_VALUES


class Bench:
    """Buses and sessions that are closed when the test ends."""

    def __init__(self):
        self.clock = SimulatedClock(NOON)
        self._open = []

    async def bus(self, *meters, **options):
        bus = SimulatedBus("test", meters, clock=self.clock, **options)
        await bus.start()
        self._open.append(bus.stop)
        return bus

    async def cjt_bus(self, faults=(), for_ever=False):
        """A heat meter with the ordered faults, and a room, water, gas and power meter."""
        return await self.bus(
            CjtHeatMeter(HEAT, heat_values, faults=FaultPlan(faults, for_ever=for_ever)),
            CjtRoomSensor(ROOM, lambda now: {"room_cdeg": 2068}),
            CjtUtilityMeter("water", WATER, lambda now: {"volume_l": 123_450}),
            CjtUtilityMeter("gas", GAS, lambda now: {"volume_l": 98_760}),
            CjtUtilityMeter("electricity", POWER, lambda now: {"energy_wh": 5_432_100}),
        )

    async def mbus_bus(self, faults=(), for_ever=False):
        plan = FaultPlan(faults, for_ever=for_ever)
        return await self.bus(
            MbusHeatMeter("1", heat_values, id="24120001", faults=plan),
            MbusHeatMeter("2", lambda now: {**HEAT_VALUES, "energy_wh": 7}, id="24120002"),
        )

    def session(self, bus, **options):
        options = {"timeout_s": 0.25, "idle_s": 0.05, "retries": 0, **options}
        session = Session(TcpLink(bus.host, bus.port), clock=self.clock, **options)
        self._open.append(session.close)
        return session

    async def close(self):
        for close in reversed(self._open):
            await close()


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    await bench.close()
