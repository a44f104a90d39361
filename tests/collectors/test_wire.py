"""A simulated bus is one half-duplex wire: who talks alone is understood, two at once are not."""

import asyncio

import pytest

from collectors.links import TcpLink
from collectors.session import Read, Target
from collectors.simulator.faults import collided
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtUtilityMeter
from collectors.simulator.wire import Wire

BAUD = 24_000  # ten times the usual, so that the tests are quick
FRAME = bytes(range(0x20, 0x34))


class Ear:
    """A station that remembers."""

    hears_itself = False

    def __init__(self, wire):
        self.heard = []
        wire.join(self)

    def hear(self, data, sender, lasted_s):
        self.heard.append(data)


async def until(condition):
    """Wait for what the wire is about to do."""
    while not condition():
        await asyncio.sleep(0.001)


def water(address, litres):
    return CjtUtilityMeter("water", address, lambda now: {"volume_l": litres})


@pytest.fixture
def line():
    wire = Wire(BAUD)
    return wire, Ear(wire)


async def test_what_one_says_alone_is_heard_when_its_last_bit_is_over(line):
    wire, ear = line
    begun = asyncio.get_running_loop().time()
    wire.say(FRAME, "one")
    await asyncio.sleep(0)
    assert ear.heard == []
    while not ear.heard:
        await asyncio.sleep(0.001)
    assert asyncio.get_running_loop().time() - begun >= 11 * len(FRAME) / BAUD
    assert ear.heard == [FRAME]


async def test_two_at_once_are_both_garbled_where_they_overlap(line):
    wire, ear = line
    while not wire.collisions:  # a busy machine may wake us when the first is over
        await until(lambda: len(ear.heard) % 2 == 0)
        ear.heard.clear()
        wire.say(b"\xff" * 20, "one")
        await asyncio.sleep(10.2 * 11 / BAUD)
        wire.say(b"\x0f" * 20, "two")
    await until(lambda: len(ear.heard) == 2)
    first, second = ear.heard
    begin = first.index(0x0F)
    assert 10 <= begin < 20 and first == b"\xff" * begin + b"\x0f" * (20 - begin)
    assert second == b"\x0f" * 20


async def test_one_who_says_more_waits_for_his_own_end(line):
    wire, ear = line
    wire.say(FRAME, "one")
    wire.say(FRAME[::-1], "one")
    await until(lambda: len(ear.heard) == 2)
    assert ear.heard == [FRAME, FRAME[::-1]]
    assert wire.collisions == 0


async def test_without_a_speed_only_the_same_instant_collides():
    wire = Wire()
    ear = Ear(wire)
    wire.say(b"\xf0", "one")
    wire.say(b"\x3c", "two")
    await asyncio.sleep(0)
    wire.say(b"\x01", "one")
    await asyncio.sleep(0)
    assert ear.heard == [b"\x30", b"\x30", b"\x01"]


def test_a_space_wins_over_a_mark_and_the_longer_one_is_heard_out():
    assert collided(b"\xff\xff\xff", b"\x0f\xf0\xaa", 1) == b"\xff\x0f\xf0\xaa"
    assert collided(b"\xf0", b"\x0f", 3) == b"\xf0\xff\xff\x0f"


class TestBus:
    async def test_two_meters_of_one_address_give_no_value(self, bench):
        address = "10010100000101"
        bus = await bench.bus(water(address, 123_450), water(address, 654_320))
        failed = await bench.session(bus, retries=1).read(Target("cjt188", address, 0x10))
        assert failed.reason in ("checksum", "garbled", "wrong_address", "unreadable")
        assert bus.wire.collisions == 2

    async def test_a_wildcard_that_selects_two_meters_gives_no_value(self, bench):
        values = {"energy_wh": 1, "volume_l": 2, "power_w": 3, "flow_lph": 4}
        values |= {"supply_cdeg": 5, "return_cdeg": 6}
        meters = [MbusHeatMeter(str(n), lambda now: values, id=f"2412000{n}") for n in (1, 2)]
        bus = await bench.bus(*meters)
        failed = await bench.session(bus).read(Target("mbus", "2412000F"))
        assert not isinstance(failed, Read)

    async def test_two_masters_disturb_each_other_and_neither_hears_a_wrong_value(self, bench):
        meters = [water(f"{n:014d}", 1000 + 10 * n) for n in range(1, 5)]
        bus = await bench.bus(*meters, baud=BAUD)
        sessions = [bench.session(bus, timeout_s=0.1, retries=3) for _ in range(2)]

        async def read_all(session):
            return [await session.read(Target("cjt188", m.address, 0x10)) for m in meters]

        for outcomes in await asyncio.gather(*map(read_all, sessions)):
            for n, outcome in enumerate(outcomes, 1):
                if isinstance(outcome, Read):
                    assert outcome.values["volume_l"] == 1000 + 10 * n
        assert bus.wire.collisions > 0

    async def test_a_question_into_an_answer_cuts_both(self, bench):
        bus = await bench.bus(water("10010100000101", 50), baud=2400)
        session = bench.session(bus, timeout_s=2)
        reading = asyncio.create_task(session.read(Target("cjt188", "10010100000101", 0x10)))
        other = TcpLink(bus.host, bus.port)
        await other.connect()
        while bus.asked == 0:
            await asyncio.sleep(0)
        await other.write(b"\x00\x00\x00")
        failed = await reading
        await other.close()
        assert failed.reason in ("checksum", "garbled")

    @pytest.mark.parametrize("echo", ["auto", "1"])
    async def test_a_converter_with_an_echo_is_read(self, bench, echo):
        bus = await bench.bus(water("10010100000101", 50), has_echo=True)
        session = bench.session(bus)
        session.link._echo = type(session.link._echo)(echo)
        read = await session.read(Target("cjt188", "10010100000101", 0x10))
        assert read.values["volume_l"] == 50
        assert session.link.counters.echoes == 1

    async def test_a_meter_takes_its_time_and_its_bytes_have_gaps(self, bench):
        bus = await bench.bus(water("10010100000101", 50), baud=BAUD, response_s=0.05, gap_bits=11)
        begun = asyncio.get_running_loop().time()
        read = await bench.session(bus).read(Target("cjt188", "10010100000101", 0x10))
        taken_s = asyncio.get_running_loop().time() - begun
        assert read.values["volume_l"] == 50
        assert taken_s >= 0.05 + 2 * 11 * (16 + len(read.raw)) / BAUD
