"""DTUs dial in over real sockets, and a session reads through them whatever they do."""

import asyncio
from contextlib import asynccontextmanager, closing

import pytest

from collectors.frames import cjt188
from collectors.links.dtu import MUTE, PUSH, UNKNOWN, UNREGISTERED, DtuListener, Limits
from collectors.links.link import LinkDown
from collectors.session import Failed, Read, Session, Target
from collectors.simulator import faults as table
from collectors.simulator.dtu import SimulatedDtu
from collectors.simulator.faults import DtuFault

PHONE = "13800138000"
HEAT = Target("cjt188", "20010100000101")


class Site:
    """A listener, one bus behind one DTU, and a session that reads it."""

    def __init__(self, bench, bus, listener, unasked):
        self.bench, self.bus, self.listener, self.unasked = bench, bus, listener, unasked
        self.dtus = []
        self.link = listener.link(PHONE)
        self.session = Session(self.link, clock=bench.clock, timeout_s=0.4, idle_s=0.15, retries=1)

    async def dial(self, **options):
        """A DTU that is online once this returns."""
        dtu = SimulatedDtu(
            self.bus, PHONE, self.listener.port, redial_s=0.02, **{"heartbeat_s": 60, **options}
        )
        self.dtus.append(dtu)
        await dtu.start()
        await self.link.connect()
        return dtu

    async def dial_bare(self):
        """A plain connection, for a test to say what it likes."""
        return await asyncio.open_connection("127.0.0.1", self.listener.port)

    async def read(self, target=HEAT):
        return await self.session.read(target)

    def codes(self):
        return [u.code for u in self.unasked]


@asynccontextmanager
async def serving(bench, **limits):
    unasked = []
    listener = DtuListener(
        host="127.0.0.1",
        on_unasked=unasked.append,
        limits=Limits(**{"patience_s": 0.6, **limits}),
        answer_s=0.5,
    )
    await listener.start()
    site = Site(bench, await bench.cjt_bus(), listener, unasked)
    try:
        yield site
    finally:
        await site.session.close()
        for dtu in site.dtus:
            await dtu.stop()
        await listener.stop()


@pytest.fixture
async def site(bench):
    async with serving(bench) as site:
        yield site


async def until(condition, seconds=5):
    for _ in range(seconds * 100):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come true in time")


class TestReading:
    async def test_a_meter_behind_a_dtu_is_read_like_any_other(self, site):
        await site.dial()
        outcome = await site.read()
        assert isinstance(outcome, Read)
        assert outcome.values["energy_wh"] == 54_427_880
        assert site.listener.counts["registered"] == 1

    @pytest.mark.parametrize(
        "fault", [DtuFault.HALVES, DtuFault.GLUED, DtuFault.HEARTBEAT], ids=lambda f: f.value
    )
    async def test_torn_and_glued_packets_are_read_at_the_first_try(self, site, fault):
        await site.dial(faults=[fault])
        outcome = await site.read()
        assert isinstance(outcome, Read)
        assert outcome.tries == 1

    async def test_a_registration_before_every_packet_does_not_reach_the_meters_codec(self, site):
        await site.dial(is_prefixed=True, faults=[None, DtuFault.HALVES, DtuFault.GLUED])
        outcomes = [await site.read() for _ in range(3)]
        assert [o.tries for o in outcomes] == [1, 1, 1]
        assert outcomes[0].raw[0] == 0x68

    async def test_heartbeats_all_the_time_disturb_nothing(self, site):
        await site.dial(heartbeat_s=0.005)
        for _ in range(10):
            assert (await site.read()).tries == 1
        await until(lambda: site.link.heartbeats > 10)
        assert site.unasked == []

    @pytest.mark.parametrize("fault", [DtuFault.DROP, DtuFault.REDIAL], ids=lambda f: f.value)
    async def test_a_lost_connection_is_replaced_and_the_meter_read(self, site, fault):
        dtu = await site.dial(faults=[fault])
        assert isinstance(await site.read(), Read)
        assert dtu.dials == 2

    @pytest.mark.parametrize("fault", DtuFault, ids=lambda fault: fault.value)
    async def test_whatever_a_dtu_does_a_reading_is_the_meters_own_or_a_counted_failure(
        self, site, monkeypatch, fault
    ):
        monkeypatch.setattr(table, "SLOW_S", 0.3)
        await site.dial(faults=[fault, None], faults_for_ever=True)
        outcomes = [await site.read() for _ in range(2)]
        read = [o for o in outcomes if isinstance(o, Read)]
        assert {o.values["energy_wh"] for o in read} <= {54_427_880}
        assert site.session.counts.total() == 2
        assert read, "every second answer is whole, and each is asked for twice"

    async def test_a_wrong_registration_is_refused_and_the_next_right_one_taken(self, site):
        dtu = await site.dial(faults=[DtuFault.STRANGER])
        assert isinstance(await site.read(), Read)
        assert dtu.dials == 3
        assert site.codes() == [UNKNOWN]

    async def test_a_dtu_that_never_dials_fails_its_meters_and_the_link_says_why(self, bench):
        async with serving(bench) as site:
            site.link._dial_timeout_s = 0.1
            with pytest.raises(LinkDown, match="has not dialled in"):
                await site.link.connect()
            outcome = await site.read()
            assert isinstance(outcome, Failed)
            assert outcome.reason == "link_down"


class TestSockets:
    async def test_a_second_socket_of_the_same_dtu_replaces_the_first(self, site):
        reader, writer = await site.dial_bare()
        with closing(writer):
            writer.write(PHONE.encode())
            await site.link.connect()
            await site.dial()
            await until(lambda: site.listener.counts["replaced"] == 1)
            assert await hung_up(reader)
        assert isinstance(await site.read(), Read)
        assert site.link.is_connected

    async def test_a_registration_torn_in_two_is_one(self, site):
        _, writer = await site.dial_bare()
        with closing(writer):
            writer.write(PHONE[:5].encode())
            await asyncio.sleep(0.3)
            writer.write(PHONE[5:].encode())
            await site.link.connect()
        assert site.unasked == []

    async def test_an_unknown_id_is_hung_up_counted_and_kept_with_its_bytes(self, site):
        reader, writer = await site.dial_bare()
        with closing(writer):
            writer.write(b"REG:99999999999")
            assert await hung_up(reader)
        assert site.listener.counts[UNKNOWN] == 1
        assert [(u.code, u.raw) for u in site.unasked] == [(UNKNOWN, b"REG:99999999999")]

    async def test_noise_is_hung_up_and_kept(self, site):
        reader, writer = await site.dial_bare()
        with closing(writer):
            writer.write(bytes(range(128, 160)))
            assert await hung_up(reader)
        assert [(u.code, u.raw) for u in site.unasked] == [(UNREGISTERED, bytes(range(128, 160)))]

    async def test_a_dtu_belongs_to_one_bus(self, site):
        with pytest.raises(ValueError, match="another bus"):
            site.listener.link(PHONE)
        await site.session.close()
        second = site.listener.link(PHONE)
        with pytest.raises(LinkDown, match="another bus"):
            await site.link.connect()
        await second.close()


class TestLimits:
    async def test_a_flood_before_the_registration_is_cut_off_at_the_limit(self, site):
        reader, writer = await site.dial_bare()
        with closing(writer):
            writer.write(b"A" * 100_000)
            assert await hung_up(reader)
        (kept,) = site.unasked
        assert (kept.code, len(kept.raw)) == (UNREGISTERED, 257)

    async def test_who_does_not_register_in_time_is_hung_up(self, bench):
        async with serving(bench, register_s=0.2) as site:
            reader, writer = await site.dial_bare()
            with closing(writer):
                assert await hung_up(reader)
            assert site.codes() == [MUTE]

    async def test_a_dtu_that_falls_silent_is_hung_up_and_one_that_beats_is_not(self, bench):
        async with serving(bench, idle_s=0.3) as site:
            dtu = await site.dial(heartbeat_s=0.05)
            await asyncio.sleep(0.6)
            assert dtu.dials == 1
            dtu.heartbeat_s = 60
            await until(lambda: site.listener.counts["idle"] > 0)

    async def test_no_more_connections_than_the_limit_are_kept(self, bench):
        async with serving(bench, connections=2) as site:
            sockets = [await site.dial_bare() for _ in range(3)]
            try:
                assert await hung_up(sockets[2][0])
                assert site.listener.counts["too_many"] == 1
            finally:
                for _, writer in sockets:
                    writer.close()

    async def test_an_address_that_only_tries_is_shut_out_and_one_that_registers_is_not(
        self, bench
    ):
        async with serving(bench, attempts=3, attempts_per_s=0.001) as site:
            for _ in range(5):
                dtu = await site.dial()
                await dtu.stop()
                await until(lambda: not site.link.is_connected)
            for _ in range(3):
                reader, writer = await site.dial_bare()
                with closing(writer):
                    writer.write(b"\x80" * 20)
                    assert await hung_up(reader)
            assert site.listener.counts["too_often"] == 0
            reader, writer = await site.dial_bare()
            with closing(writer):
                assert await hung_up(reader)
            assert site.listener.counts["too_often"] == 1


class TestPushes:
    async def test_what_a_dtu_sends_unasked_is_handed_over_whole(self, site):
        dtu = await site.dial()
        frame = cjt188.encode_read("20010100000101", 0x20)
        dtu.send(frame[:5])
        await asyncio.sleep(0.05)
        dtu.send(frame[5:])
        await until(lambda: site.unasked)
        (push,) = site.unasked
        assert (push.code, push.device_id) == (PUSH, PHONE)
        assert push.raw.endswith(frame.lstrip(b"\xfe"))

    async def test_one_that_never_stops_is_counted_and_no_longer_handed_over(self, bench):
        async with serving(bench, pushes=2, pushes_per_s=0.001) as site:
            dtu = await site.dial()
            dtu.send(b"\x99" * 40_000)
            await until(lambda: site.listener.counts[PUSH] > 5)
            assert len(site.unasked) == 2
            assert isinstance(await site.read(), Read)


async def hung_up(reader):
    """Whether the other side ends the connection, however abruptly."""
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionResetError:
        return True
