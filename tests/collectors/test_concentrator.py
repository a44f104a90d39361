"""Concentrators dial in over real sockets, and a session reads their store and through them."""

import asyncio
import itertools
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.concentrator_session import POINTS, ConcentratorSession
from collectors.dialects import Freeze, Point, Target, supply_is_open
from collectors.frames import qgdw3761
from collectors.frames import qgdw3761_encode as write
from collectors.frames.dlt645_message import Credentials
from collectors.frames.qgdw3761_encode import HEARTBEAT, LOGIN, Address, encode_link
from collectors.frames.qgdw3761_tables import CLASS_1
from collectors.links.concentrator import (
    GARBLED,
    MUTE,
    STRANGER,
    UNKNOWN,
    UNREGISTERED,
    ConcentratorListener,
    Unframer,
)
from collectors.links.concentrator import USUAL as LIMITS
from collectors.links.link import LinkDown
from collectors.session import Failed, Read
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.concentrator import SimulatedConcentrator
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.faults import DtuFault, Fault
from collectors.simulator.meters import CjtHeatMeter
from collectors.terminal import Terminal
from tests.collectors.conftest import HEAT, HEAT_VALUES, NOON

NAME = "0171-2082"
PORT = 2
EPOCH = datetime(2024, 11, 1, tzinfo=UTC)
HEAT_TARGET = Target("cjt188", HEAT, point=Point(900, port=3))


def address(n):
    return f"{n:012d}"


def energy(n, at):
    """The register of meter n: n MWh, and 200 Wh each quarter of an hour since the epoch."""
    return {"energy_wh": n * 1_000_000 + (at - EPOCH) // timedelta(minutes=15) * 200}


def power(n, **options):
    """The target of meter n, a point of the concentrator's."""
    return Target("dlt645_2007", address(n), meter_type=0x40, point=Point(n, PORT), **options)


def archived(n):
    return {
        "index": n, "point": n, "port_rate": 0x60 | PORT, "protocol": 30, "address": address(n),
        "password": "000000000000", "tariffs": 4, "digits": 0x09, "collector": "0" * 12,
        "user_class": 0,
    }  # fmt: skip


class Site:
    """A listener, a session, and a concentrator with electricity meters and a heat meter."""

    def __init__(self, clock, listener, unasked, uploads, count):
        self.clock, self.listener = clock, listener
        self.unasked, self.uploads, self.count = unasked, uploads, count
        self.link = listener.link(NAME, connect_timeout_s=1)
        self.session = ConcentratorSession(
            Terminal(self.link, timeout_s=0.5, retries=1), clock=clock, meter_s=1
        )
        self.terminals = []

    def buses(self):
        meters = [
            Dlt645Meter(address(n), lambda at, n=n: energy(n, at)) for n in range(1, self.count + 1)
        ]
        heat = [CjtHeatMeter(HEAT, lambda now: HEAT_VALUES, has_valve=True)]
        return {
            PORT: SimulatedBus("485", meters, clock=self.clock),
            3: SimulatedBus("heat", heat, clock=self.clock),
        }

    async def dial(self, **options):
        """A concentrator whose archive is filled, online once this returns."""
        terminal = SimulatedConcentrator(
            self.buses(), NAME, self.listener.port, clock=self.clock, redial_s=0.02, **options
        )
        terminal.store.set(0, 10, {"meters": [archived(n) for n in range(1, self.count + 1)]})
        self.terminals.append(terminal)
        await terminal.start()
        await self.link.connect()
        return terminal

    async def dial_bare(self):
        """A plain connection, for a test to say what it likes."""
        return await asyncio.open_connection("127.0.0.1", self.listener.port)

    def codes(self):
        return [u.code for u in self.unasked]


@asynccontextmanager
async def serving(clock, count=3, **limits):
    unasked, uploads = [], []

    def take(link, message):
        uploads.append(message)
        link.confirm(message)

    listener = ConcentratorListener(
        host="127.0.0.1",
        on_unasked=unasked.append,
        on_upload=take,
        limits=replace(LIMITS, **limits),
    )
    await listener.start()
    site = Site(clock, listener, unasked, uploads, count)
    try:
        yield site
    finally:
        await site.session.close()
        for terminal in site.terminals:
            await terminal.stop()
        await listener.stop()


@pytest.fixture
async def site(bench):
    async with serving(bench.clock) as site:
        yield site


async def until(condition, seconds=5):
    for _ in range(seconds * 100):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come true in time")


# --- reading the store, and through it ---------------------------------------------------------


async def test_a_register_is_read_from_the_store_at_the_moment_it_was_read(site):
    terminal = await site.dial()
    read = await site.session.read(power(2))
    assert read.values == energy(2, NOON)
    assert read.at == NOON  # the last full quarter of an hour
    assert terminal.counts["afn_0C"] == 1 and terminal.counts["afn_10"] == 0
    message, _ = qgdw3761.decode(read.raw)
    assert (message.afn, message.items[0].fn) == (CLASS_1, 129)


async def test_a_heat_meter_is_read_through_the_concentrator(site):
    terminal = await site.dial()
    read = await site.session.read(HEAT_TARGET)
    assert isinstance(read, Read)
    assert read.values["energy_wh"] // 1000 == HEAT_VALUES["energy_wh"] // 1000
    assert read.raw[:1] == b"\x68" and read.raw[1] == 0x20  # the meter's own frame
    assert terminal.counts["afn_10"] == 1


async def test_a_concentrator_of_2005_is_spoken_to_in_its_own_edition(site):
    terminal = await site.dial(version=1)
    await until(lambda: terminal.is_logged_in)
    day = Freeze("day", date(2024, 11, 28))
    targets = [power(1), power(1, freeze=day), HEAT_TARGET]
    now, frozen, heat = await site.session.read_many(targets)
    assert (now.values, frozen.values) == (energy(1, NOON), energy(1, day.at))
    assert isinstance(heat, Read)
    message, _ = qgdw3761.decode(now.raw)
    assert message.version == 1 and terminal.counts["not_mine"] == 0


async def test_many_points_are_read_in_few_frames(bench):
    async with serving(bench.clock, count=50) as site:
        terminal = await site.dial(frame_size=300)
        targets = [power(n) for n in range(1, 51)]
        reads = await site.session.read_many([*targets, HEAT_TARGET])
        assert [r.values["energy_wh"] for r in reads[:-1]] == [
            energy(n, NOON)["energy_wh"] for n in range(1, 51)
        ]
        assert isinstance(reads[-1], Read)
        assert terminal.counts["afn_0C"] == -(-50 // POINTS)
        # The row keeps the frame its register stands in, not the whole answer of many frames.
        assert all(len(r.raw) < 400 for r in reads[:-1])


async def test_a_frozen_day_is_the_register_at_its_midnight(site):
    await site.dial()
    on = date(2024, 12, 1)
    read = await site.session.read(power(1, freeze=Freeze("day", on)))
    midnight = datetime(2024, 11, 30, 16, tzinfo=UTC)
    assert (read.frozen_at, read.values) == (midnight, energy(1, midnight))


async def test_a_frozen_month_is_the_register_at_its_end(site):
    await site.dial()
    read = await site.session.read(power(1, freeze=Freeze("month", date(2024, 12, 1))))
    assert read.values == energy(1, datetime(2024, 11, 30, 16, tzinfo=UTC))
    assert read.frozen_at == datetime(2024, 11, 30, 16, tzinfo=UTC)


async def test_current_and_frozen_are_asked_together_and_not_mixed_up(site):
    await site.dial()
    days = [Freeze("day", date(2024, 11, d)) for d in (28, 29, 30)]
    targets = [power(1), *(power(1, freeze=day) for day in days), power(2, freeze=days[0])]
    reads = await site.session.read_many(targets)
    assert [r.values for r in reads] == [
        energy(1, NOON),
        *(energy(1, day.at) for day in days),
        energy(2, days[0].at),
    ]


async def test_a_freeze_the_concentrator_missed_is_asked_of_the_meter(site):
    terminal = await site.dial()
    day = Freeze("day", date(2024, 11, 30))
    terminal.store.missed.add((1, date(2024, 11, 29)))
    read = await site.session.read(power(1, freeze=day))
    assert (terminal.counts["afn_0D"], terminal.counts["afn_10"]) == (1, 2)
    assert (read.values["energy_wh"], read.frozen_at) == (energy(1, day.at)["energy_wh"], day.at)


async def test_a_freeze_nobody_has_is_said_to_be_none(site):
    await site.dial()
    read = await site.session.read(power(1, freeze=Freeze("day", date(2024, 5, 1))))
    assert isinstance(read, Failed) and read.reason == "no_freeze"


async def test_an_old_register_is_no_current_one_and_the_meter_is_asked_instead(site):
    terminal = await site.dial(clock_ahead=-timedelta(hours=3))
    read = await site.session.read(power(1))
    assert read.values["energy_wh"] == energy(1, NOON)["energy_wh"]
    assert (terminal.counts["afn_0C"], terminal.counts["afn_10"]) == (1, 1)
    assert read.raw[7:9] == b"\x68\x91"  # the meter's own frame


async def test_a_meter_that_is_not_in_the_archive_is_asked_through_it(site):
    terminal = await site.dial()
    terminal.store.archive.clear()
    read = await site.session.read(power(3))
    assert read.values["energy_wh"] == energy(3, NOON)["energy_wh"]
    assert terminal.counts["afn_10"] == 1


async def test_a_meter_that_hangs_nowhere_is_silent_and_said_to_be(site):
    await site.dial()
    result = await site.session.read(Target("dlt645_2007", address(77), point=Point(77, PORT)))
    assert (result.reason, result.raw) == ("silent", b"")


async def test_a_meter_without_a_point_is_not_asked(site):
    terminal = await site.dial()
    result = await site.session.read(Target("cjt188", HEAT))
    assert result.reason == "bad_target"
    assert terminal.counts["afn_10"] == 0


async def test_a_rate_no_port_has_is_not_asked(site):
    await site.dial()
    result = await site.session.read(replace(HEAT_TARGET, point=Point(900, 3, baud=115_200)))
    assert result.reason == "bad_target"


async def test_a_valve_is_ordered_through_the_concentrator_and_seen_closed(site):
    await site.dial()
    later = NOON + timedelta(minutes=5)
    answer = await site.session.order_supply(HEAT_TARGET, is_open=False, not_after=later)
    assert isinstance(answer, Read)
    seen = await site.session.read(replace(HEAT_TARGET, with_supply=True))
    assert supply_is_open(seen) is False


async def test_a_relay_is_ordered_through_the_concentrator_and_seen_open(site):
    terminal = await site.dial()
    site.session = ConcentratorSession(
        site.session.terminal,
        clock=site.clock,
        meter_s=1,
        credentials=Credentials("02", "123456"),
    )
    later = NOON + timedelta(minutes=5)
    answer = await site.session.order_supply(power(2), is_open=False, not_after=later)
    assert isinstance(answer, Read)
    meter = terminal.buses[PORT].meter(address(2))
    assert (meter.is_relay_closed, meter.relay_orders) == (False, 1)
    seen = await site.session.read(power(2, with_supply=True))
    assert supply_is_open(seen) is False


async def test_an_order_whose_time_is_over_is_not_sent(site):
    terminal = await site.dial()
    before = NOON - timedelta(seconds=1)
    answer = await site.session.order_supply(HEAT_TARGET, is_open=False, not_after=before)
    assert (answer.reason, terminal.counts["afn_10"]) == ("late", 0)


# --- what goes wrong on the way --------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault.SILENCE,
        Fault.HALF_FRAME,
        Fault.NOISE,
        Fault.TWICE,
        Fault.WRONG_ADDRESS,
        Fault.BAD_CHECKSUM,
        DtuFault.HALVES,
        DtuFault.GLUED,
        DtuFault.HEARTBEAT,
        DtuFault.DROP,
        DtuFault.REDIAL,
    ],
)
async def test_a_fault_in_one_answer_costs_no_reading_and_invents_none(site, fault):
    await site.dial(faults=[fault])
    reads = await site.session.read_many([power(1), power(2)])
    assert [r.values for r in reads] == [energy(1, NOON), energy(2, NOON)]
    again = await site.session.read(power(3))
    assert again.values == energy(3, NOON)


async def test_an_answer_that_comes_late_is_not_taken_for_the_next_ones(site, monkeypatch):
    monkeypatch.setattr("collectors.simulator.faults.SLOW_S", 0.6)
    terminal = await site.dial(faults=[DtuFault.LATE])
    day = Freeze("day", date(2024, 11, 28))
    first = await site.session.read(power(1, freeze=day))
    second = await site.session.read(power(1))
    assert (first.values, second.values) == (energy(1, day.at), energy(1, NOON))
    assert terminal.counts["afn_0D"] == 2


async def test_a_concentrator_that_says_nothing_is_asked_once_for_all_its_meters(site):
    terminal = await site.dial()
    terminal.faults = type(terminal.faults)([Fault.SILENCE], for_ever=True)
    results = await site.session.read_many([power(1), HEAT_TARGET, power(2)])
    assert [r.reason for r in results] == ["silent"] * 3
    assert (terminal.counts["afn_0C"], terminal.counts["afn_10"]) == (2, 0)  # and once again


async def test_a_concentrator_that_is_away_is_a_dead_wire_for_all_its_meters(site):
    results = await site.session.read_many([power(1), power(2), HEAT_TARGET])
    assert [r.reason for r in results] == ["link_down"] * 3


async def test_a_concentrator_that_dials_again_replaces_its_old_socket(site):
    first = await site.dial()
    await site.dial()
    await until(lambda: site.listener.counts["replaced"])
    await first.stop()
    await site.link.connect()
    assert (await site.session.read(power(1))).values == energy(1, NOON)
    assert (await site.session.read(power(2))).values == energy(2, NOON)


# --- who may come in -------------------------------------------------------------------------


async def test_login_and_heartbeats_are_confirmed(site):
    terminal = await site.dial(heartbeat_s=0.05)
    await until(lambda: terminal.counts["confirmed"] >= 4)
    assert site.link.heartbeats >= 3


async def test_a_late_login_is_waited_for(bench):
    async with serving(bench.clock) as site:
        await site.dial(login_s=0.3)
        assert (await site.session.read(power(1))).values == energy(1, NOON)


async def test_a_logout_ends_the_connection(site):
    terminal = await site.dial()
    terminal.log_out()
    await until(lambda: terminal.dials == 2)
    await site.link.connect()
    assert (await site.session.read(power(1))).values == energy(1, NOON)


async def test_a_stranger_is_hung_up_on_and_its_login_kept(site):
    reader, writer = await site.dial_bare()
    login = encode_link(Address("0999", 1), LOGIN, number=1)
    with closing(writer):
        writer.write(login)
        assert await reader.read() == b""
    assert site.codes() == [UNKNOWN]
    assert site.unasked[0].raw == login


async def test_what_comes_before_the_login_is_not_confirmed(site):
    reader, writer = await site.dial_bare()
    with closing(writer):
        upload = qgdw3761.decode(encode_link(Address("0171", 2082), 2, number=1))[0]  # logout
        writer.write(upload.raw)
        await until(lambda: site.listener.counts["early"] == 1)
        login = encode_link(Address("0171", 2082), HEARTBEAT, number=2)
        writer.write(login[:7])
        await asyncio.sleep(0.05)
        writer.write(login[7:])
        answer, _ = qgdw3761.decode(await reader.read(100))
        assert (answer.afn, answer.number) == (0, 2)


async def test_one_that_says_nothing_or_babbles_is_hung_up_on(bench):
    async with serving(bench.clock, register_s=0.2, first_bytes=64) as site:
        (mute, one), (babbler, other) = await site.dial_bare(), await site.dial_bare()
        with closing(one), closing(other):
            other.write(b"\x55" * 100)
            assert await babbler.read() == b"" and await mute.read() == b""
    assert sorted(site.codes()) == sorted([UNREGISTERED, MUTE])


async def test_a_silent_concentrator_is_dropped_and_a_beating_one_is_not(bench):
    async with serving(bench.clock, idle_s=0.4) as site:
        await site.dial(heartbeat_s=0.1)
        await asyncio.sleep(0.8)
        assert site.listener.counts["idle"] == 0 and site.link.is_connected
        (beating,) = site.terminals
        beating.heartbeat_s = 60
        await until(lambda: site.listener.counts["idle"] == 1)


async def test_noise_and_another_terminals_frames_are_refused_and_kept(site):
    terminal = await site.dial()
    terminal.send(b"\x55\xaa\x68\x32\x00\x33\x00\x68")
    await until(lambda: GARBLED in site.codes())
    terminal.send(encode_link(Address("0171", 9), HEARTBEAT, number=3))
    await until(lambda: STRANGER in site.codes())
    assert (await site.session.read(power(1))).values == energy(1, NOON)


async def test_one_terminal_carries_one_bus_and_needs_a_name(site):
    with pytest.raises(ValueError, match="another bus"):
        site.listener.link(NAME)
    for name in ("0171", "0171-0", "171-5", "0171-65535", "0171-5?x=1"):
        with pytest.raises(ValueError, match="is no terminal"):
            site.listener.link(name)


async def test_a_closed_link_makes_a_stranger_of_its_terminal(site):
    await site.dial()
    await site.session.close()
    await until(lambda: UNKNOWN in site.codes())
    with pytest.raises(LinkDown):
        site.listener.link(NAME)
        await site.link.connect()


# --- what it sends by itself --------------------------------------------------------------------


async def test_an_upload_is_handed_on_and_confirmed(site):
    terminal = await site.dial()
    terminal.upload([1, 2])
    await until(lambda: terminal.counts["uploads_confirmed"] == 1)
    (message,) = site.uploads
    assert [(i.pn, i.fn) for i in message.items] == [(1, 129), (2, 129)]


async def test_an_upload_in_the_middle_of_an_answer_disturbs_nothing(site):
    terminal = await site.dial(faults=[DtuFault.HALVES])
    reading = asyncio.create_task(site.session.read(power(1)))
    await until(lambda: terminal.counts["afn_0C"] == 1)
    await asyncio.sleep(0.1)
    terminal.report_event(35, b"\x01\x02")
    assert (await reading).values == energy(1, NOON)
    await until(lambda: terminal.counts["uploads_confirmed"] == 1)


# --- a stream torn anywhere -----------------------------------------------------------------------

FRAMES = [
    encode_link(Address("0171", 2082), LOGIN, number=1),
    write.encode_confirm(qgdw3761.decode(encode_link(Address("0171", 2082), 3, number=2))[0]),
    write.encode_read_current(Address("0171", 2082), [(n, 129) for n in range(1, 9)], number=3),
]


@given(
    st.lists(st.sampled_from([*FRAMES, b"\x55\x55", b"\x00"]), max_size=12),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_frames_are_found_wherever_the_network_tears_them(pieces, cuts):
    bad = []
    frames = Unframer(lambda error, raw: bad.append(raw))
    stream = b"".join(pieces)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    found = []
    for begin, end in itertools.pairwise(places):
        found += [message.raw for message in frames.feed(stream[begin:end])]
    assert found == [piece for piece in pieces if piece in FRAMES]
    assert b"".join(bad) == b"".join(piece for piece in pieces if piece not in FRAMES)


@given(st.binary(max_size=200), st.integers(1, 7))
def test_noise_of_any_kind_neither_raises_nor_stays(noise, size):
    bad = []
    frames = Unframer(lambda error, raw: bad.append(raw))
    for begin in range(0, len(noise), size):
        list(frames.feed(noise[begin : begin + size]))
    assert len(b"".join(bad)) + len(frames.rest()) == len(noise)
    assert [m.raw for m in frames.feed(FRAMES[0])] == [FRAMES[0]]
