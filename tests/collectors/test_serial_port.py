"""A pseudo-terminal with a simulated bus behind it is read over serial://, faults and all."""

import asyncio

import pytest

from collectors.links.named import link_of
from collectors.session import Read, Session, Target
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.serial_port import SerialPort
from tests.collectors.conftest import HEAT, Bench, heat_values

HEAT_TARGET, BUILDING = Target("cjt188", HEAT), Target("mbus", "1")


class SerialBench(Bench):
    """Buses behind pseudo-terminals."""

    async def port(self, bus):
        port = SerialPort(bus)
        await port.start()
        self._open.append(port.stop)
        return port

    async def read(self, bus, target, query="", **options):
        port = await self.port(bus)
        return await self.over(port.address + query, **options).read(target)

    def over(self, address, **options):
        options = {"timeout_s": 0.25, "idle_s": 0.05, "retries": 0, **options}
        session = Session(link_of(address), clock=self.clock, **options)
        self._open.append(session.close)
        return session


@pytest.fixture
async def bench():
    bench = SerialBench()
    yield bench
    await bench.close()


@pytest.mark.parametrize("fault", [None, Fault.NOISE, Fault.ECHO, Fault.DRIP])
async def test_meters_are_read_over_a_serial_port(bench, fault):
    bus = await bench.cjt_bus([fault], for_ever=True)
    read = await bench.read(bus, HEAT_TARGET, timeout_s=2)
    assert read.values["energy_wh"] == heat_values(None)["energy_wh"]


async def test_an_m_bus_master_with_an_echo_is_read_by_primary_and_secondary_address(bench):
    bus = await bench.mbus_bus()
    bus.has_echo = True
    address = (await bench.port(bus)).address
    session = bench.over(f"{address}&echo=1")
    for target in (BUILDING, Target("mbus", "24120001A13A0104")):
        assert (await session.read(target)).values["energy_wh"] == 54_427_880
    assert session.link.counters.echoes == 4


async def test_the_port_says_nothing_before_the_last_bit_at_2400_baud(bench):
    bus = await bench.cjt_bus()
    bus.baud = 2400
    begun = asyncio.get_running_loop().time()
    read = await bench.read(bus, HEAT_TARGET, timeout_s=2)
    taken_s = asyncio.get_running_loop().time() - begun
    assert isinstance(read, Read)
    assert taken_s >= 11 * (16 + len(read.raw)) / 2400


async def test_a_silent_meter_and_a_pulled_plug_are_failures(bench):
    bus = await bench.cjt_bus()
    port = await bench.port(bus)
    session = bench.over(port.address)
    bus.meter(HEAT).faults = FaultPlan([Fault.SILENCE])
    assert (await session.read(HEAT_TARGET)).reason == "silent"
    assert isinstance(await session.read(HEAT_TARGET), Read)
    await port.stop()
    assert (await session.read(HEAT_TARGET)).reason == "link_down"


async def test_masters_may_come_and_go(bench):
    port = await bench.port(await bench.cjt_bus())
    for _ in range(3):
        session = bench.over(port.address)
        assert isinstance(await session.read(HEAT_TARGET), Read)
        await session.close()


async def test_a_serial_master_and_a_serial_server_share_the_wire(bench):
    """Two doors to one wire: what both say at once nobody understands, and no value is wrong."""
    bus = await bench.cjt_bus()
    bus.baud = 19_200
    port = await bench.port(bus)
    sessions = [bench.over(port.address, retries=3), bench.session(bus, retries=3)]
    outcomes = await asyncio.gather(*(s.read(HEAT_TARGET) for s in sessions for _ in range(4)))
    values = {o.values["energy_wh"] for o in outcomes if isinstance(o, Read)}
    assert values <= {54_427_880}
    assert bus.wire.collisions > 0
