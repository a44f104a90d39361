"""Sessions read simulated Modbus meters by their register map, over real sockets."""

from datetime import UTC, date, datetime, timedelta

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from collectors.dialects import LOCAL, Freeze
from collectors.frames import modbus, modbus_map
from collectors.frames import modbus_pdu as pdus
from collectors.register_maps import shipped
from collectors.session import Failed, Read, Target
from collectors.simulator import faults as wire_faults
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.modbus_meter import ModbusMeter
from collectors.unasked import messages

NOON = datetime(2024, 12, 1, 4, 0, tzinfo=UTC)
VALUES = {
    "energy_wh": 54_427_880,
    "volume_l": 7_156_080,
    "flow_lph": 182,
    "power_w": 3_210,
    "supply_cdeg": 4_157,
    "return_cdeg": 3_513,
    "working_h": 1_000,
}
HEAT = Target("modbus", "17")
TUF = Target("modbus", "17", profile="tuf-2000")


def values(now):
    return VALUES


def meter(faults=(), for_ever=False, **options):
    return ModbusMeter("17", values, faults=FaultPlan(faults, for_ever=for_ever), **options)


async def bus_of(bench, faults=(), for_ever=False, **options):
    """The meter with the ordered faults, and a neighbour of other values."""
    kind = {key: options[key] for key in ("is_tcp", "map_name") if key in options}
    neighbour = ModbusMeter("18", lambda now: {**VALUES, "energy_wh": 7}, **kind)
    return await bench.bus(meter(faults, for_ever, **options), neighbour)


class TestReading:
    @pytest.mark.parametrize("is_tcp", [False, True])
    async def test_a_heat_meter_gives_energy_volume_flow_power_and_temperatures(
        self, bench, is_tcp
    ):
        session = bench.session(await bus_of(bench, is_tcp=is_tcp))
        read = await session.read(Target("modbus_tcp" if is_tcp else "modbus", "17"))
        assert isinstance(read, Read)
        assert read.values == VALUES
        assert read.meter_time == datetime(2024, 12, 1, 12, 0)
        assert read.at == bench.clock.now()

    async def test_a_tuf_2000_is_read_by_its_map_block_by_block(self, bench):
        bus = await bus_of(bench, map_name="tuf-2000")
        read = await bench.session(bus).read(TUF)
        shown = {k: v for k, v in VALUES.items() if k != "working_h"}
        assert read.values.items() >= shown.items()
        assert bus.asked == 2

    async def test_the_frames_kept_are_all_the_reading_came_in_the_registers_own_last(self, bench):
        read = await bench.session(await bus_of(bench, map_name="tuf-2000")).read(TUF)
        frames = [message for message, _ in messages(TUF, read.raw)]
        assert [frame.pdu.data[0] for frame in frames] == [2 * 4, 2 * 72]

    @pytest.mark.parametrize(("unit", "multiplier"), [(0, 4), (2, 1)])
    async def test_a_meter_set_to_another_unit_shows_the_same_heat(self, bench, unit, multiplier):
        settings = {(3, 1440): unit, (3, 1439): multiplier}
        bus = await bus_of(bench, map_name="tuf-2000", settings=settings)
        assert (await bench.session(bus).read(TUF)).values["energy_wh"] == 54_427_880

    async def test_each_unit_of_a_line_answers_for_itself(self, bench):
        session = bench.session(await bus_of(bench))
        assert (await session.read(HEAT)).values["energy_wh"] == 54_427_880
        assert (await session.read(Target("modbus", "18"))).values["energy_wh"] == 7


def counting(now):
    """Registers that show by their value when they were taken."""
    hours = int((now - datetime(2023, 1, 1, tzinfo=LOCAL)).total_seconds()) // 3_600
    return {**VALUES, "energy_wh": hours * 1_000, "volume_l": hours}


class TestFreezes:
    """Blocks of frozen registers, where the map has them."""

    @pytest.mark.parametrize("is_tcp", [False, True])
    @pytest.mark.parametrize(
        "freeze",
        [
            Freeze("month", date(2024, 12, 1)),
            Freeze("month", date(2024, 1, 1)),
            Freeze("day", date(2024, 12, 1)),
            Freeze("day", date(2024, 11, 1)),
        ],
    )
    async def test_a_block_is_of_its_day(self, bench, freeze, is_tcp):
        bus = await bench.bus(ModbusMeter("17", counting, is_tcp=is_tcp))
        target = Target("modbus_tcp" if is_tcp else "modbus", "17", freeze=freeze)
        read = await bench.session(bus).read(target)
        assert read.frozen_at == freeze.at
        assert read.values == {k: counting(freeze.at)[k] for k in ("energy_wh", "volume_l")}

    async def test_a_block_of_another_day_is_no_value(self, bench):
        """The meter was without power on two midnights and its blocks are two days older."""
        bus = await bench.bus(ModbusMeter("17", counting))
        meter, honest = bus.meters[0], bus.meters[0]._past
        meter._past = lambda now: honest(now - timedelta(days=2))
        target = Target("modbus", "17", freeze=Freeze("day", date(2024, 11, 30)))
        failed = await bench.session(bus, retries=3).read(target)
        assert (failed.reason, failed.tries) == ("no_freeze", 1)

    @pytest.mark.parametrize(
        ("profile", "freeze"),
        [
            ("tuf-2000", Freeze("day", date(2024, 12, 1))),
            ("heat", Freeze("day", date(2024, 10, 31))),
            ("heat", Freeze("month", date(2023, 12, 1))),
        ],
    )
    async def test_what_the_map_does_not_have_is_not_asked_for(self, bench, profile, freeze):
        bus = await bench.bus(ModbusMeter("17", counting))
        failed = await bench.session(bus).read(
            Target("modbus", "17", profile=profile, freeze=freeze)
        )
        assert (failed.reason, bus.asked) == ("no_freeze", 0)


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Fault.SILENCE, "silent"),
            (Fault.HALF_FRAME, "garbled"),
            (Fault.BAD_CHECKSUM, "checksum"),
            (Fault.WRONG_ADDRESS, "wrong_address"),
            (Fault.DISCONNECT, "link_down"),
            (Fault.SLOW, "silent"),
        ],
    )
    async def test_a_fault_is_a_counted_failure_and_no_value(self, bench, fault, reason):
        session = bench.session(await bus_of(bench, [fault], for_ever=True))
        failed = await session.read(HEAT)
        assert isinstance(failed, Failed)
        assert failed.reason == reason
        assert session.counts == {reason: 1}

    @pytest.mark.parametrize("fault", [Fault.NOISE, Fault.ECHO, Fault.DRIP])
    async def test_noise_echo_and_a_dripping_line_cost_nothing(self, bench, fault):
        session = bench.session(await bus_of(bench, [fault], for_ever=True), timeout_s=2)
        for _ in range(5):
            read = await session.read(HEAT)
            assert (read.values["energy_wh"], read.tries) == (54_427_880, 1)

    @pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.BAD_CHECKSUM, Fault.HALF_FRAME])
    async def test_the_next_try_makes_good_a_fault_in_any_block(self, bench, fault):
        for plan in ([fault], [None, fault]):
            bus = await bus_of(bench, plan, map_name="tuf-2000")
            read = await bench.session(bus, retries=1).read(TUF)
            assert isinstance(read, Read)
            assert (read.values["energy_wh"], read.tries) == (54_427_880, 2)

    @pytest.mark.parametrize("is_tcp", [False, True])
    async def test_a_late_answer_is_not_taken_for_another_block(self, bench, monkeypatch, is_tcp):
        monkeypatch.setattr(wire_faults, "SLOW_S", 0.3)
        bus = await bus_of(bench, [Fault.SLOW], map_name="tuf-2000", is_tcp=is_tcp)
        target = Target("modbus_tcp" if is_tcp else "modbus", "17", profile="tuf-2000")
        read = await bench.session(bus, retries=2).read(target)
        assert read.values["energy_wh"] == 54_427_880
        assert read.values["volume_l"] == 7_156_080

    @pytest.mark.parametrize(
        ("code", "reason", "tries"), [(2, "refused", 1), (6, "wrong_answer", 3)]
    )
    async def test_a_refusal_is_final_and_a_busy_meter_is_asked_again(
        self, bench, code, reason, tries
    ):
        session = bench.session(await bus_of(bench, exception=code), retries=2)
        failed = await session.read(HEAT)
        assert (failed.reason, failed.tries) == (reason, tries)

    async def test_a_map_the_meter_does_not_have_is_refused_not_guessed(self, bench):
        failed = await bench.session(await bus_of(bench)).read(TUF)
        assert failed.reason == "refused"

    async def test_a_register_that_means_no_value_is_unreadable(self, bench):
        silent = ModbusMeter("17", lambda now: {**VALUES, "energy_wh": None})
        failed = await bench.session(await bench.bus(silent)).read(HEAT)
        assert (failed.reason, failed.detail) == ("unreadable", "energy_wh: fill_value")

    @pytest.mark.parametrize("address", ["0", "248", "x", ""])
    async def test_an_impossible_unit_is_a_failure_too(self, bench, address):
        session = bench.session(await bus_of(bench))
        assert (await session.read(Target("modbus", address))).reason == "bad_target"

    async def test_an_unknown_map_is_a_failure_too(self, bench):
        failed = await bench.session(await bus_of(bench)).read(Target("modbus", "17", profile="x"))
        assert failed.reason == "bad_target"
        assert "tuf-2000" in failed.detail


class TestMeter:
    def ask(self, pdu, unit=17):
        request, _ = modbus.decode_rtu(modbus.encode_rtu(unit, pdu), side="request")
        answer = meter().answer(request, NOON)
        return answer and modbus.parse_rtu(answer, side="response").pdu

    @pytest.mark.parametrize(
        ("pdu", "code"),
        [
            (pdus.request_read(3, 20, 2), 2),
            (pdus.request_read(4, 0, 1), 2),
            (bytes.fromhex("03000000FF"), 3),
            (pdus.request_write_register(0, 1), 1),
        ],
    )
    def test_what_it_does_not_have_it_refuses(self, pdu, code):
        assert self.ask(pdu).code == code

    def test_it_answers_only_for_its_own_unit(self):
        assert self.ask(pdus.request_read(3, 0, 1), unit=16) is None
        assert self.ask(pdus.request_read(3, 0, 1), unit=0) is None

    def test_it_says_who_it_is(self):
        assert self.ask(pdus.request_device_id()).objects[0] == b"Nuan"

    @pytest.mark.parametrize(
        ("is_tcp", "framer"), [(True, FramerType.SOCKET), (False, FramerType.RTU)]
    )
    async def test_another_master_than_ours_reads_it(self, bench, is_tcp, framer):
        bus = await bus_of(bench, is_tcp=is_tcp)
        async with AsyncModbusTcpClient(bus.host, port=bus.port, framer=framer) as master:
            answer = await master.read_holding_registers(0, count=21, device_id=17)
            refusal = await master.read_holding_registers(900, count=1, device_id=17)
        found = {(3, n): word for n, word in enumerate(answer.registers)}
        assert modbus_map.read(shipped("heat"), found).values == VALUES
        assert (refusal.isError(), refusal.exception_code) == (True, 2)
