"""Sessions read simulated meters over real sockets; what goes wrong becomes a counted failure."""

import asyncio
from datetime import datetime

import pytest

from collectors.session import Failed, Read, Target
from collectors.simulator import faults
from collectors.simulator.faults import Fault, FaultPlan

HEAT, ROOM, WATER, GAS, POWER = (
    "20010100000101",
    "20020100000101",
    "10010100000101",
    "30010100000101",
    "40010100000101",
)
HEAT_TARGET = Target("cjt188", HEAT)
BUILDING = Target("mbus", "1")


class TestReading:
    async def test_a_heat_meter_gives_energy_volume_flow_power_and_temperatures(self, bench):
        session = bench.session(await bench.cjt_bus())
        read = await session.read(HEAT_TARGET)
        assert isinstance(read, Read)
        assert read.values == {
            "energy_wh": 54_427_880,
            "settlement_energy_wh": 54_427_880,
            "volume_l": 7_156_080,
            "flow_lph": 182,
            "power_w": 3_210,
            "supply_cdeg": 4_157,
            "return_cdeg": 3_513,
            "working_h": 1_000,
        }
        assert read.at == bench.clock.now()
        assert read.meter_time == datetime(2024, 12, 1, 12, 0)
        assert (read.raw[0], read.raw[-1]) == (0x68, 0x16)

    @pytest.mark.parametrize(
        ("address", "meter_type", "name", "amount"),
        [
            (ROOM, 0x2A, "room_cdeg", 2_068),
            (WATER, 0x10, "volume_l", 123_450),
            (GAS, 0x30, "volume_l", 98_760),
            (POWER, 0x40, "energy_wh", 5_432_100),
        ],
    )
    async def test_other_meters_on_the_same_bus(self, bench, address, meter_type, name, amount):
        session = bench.session(await bench.cjt_bus())
        read = await session.read(Target("cjt188", address, meter_type))
        assert read.values[name] == amount

    async def test_a_meter_of_another_type_byte_is_still_the_one_asked(self, bench):
        session = bench.session(await bench.cjt_bus())
        assert isinstance(await session.read(Target("cjt188", HEAT, 0x25)), Read)

    @pytest.mark.parametrize("profile", ["default", "low-first"])
    async def test_both_orders_of_the_data_id_are_asked_and_understood(self, bench, profile):
        session = bench.session(await bench.cjt_bus())
        assert isinstance(await session.read(Target("cjt188", HEAT, profile=profile)), Read)

    async def test_a_settlement_day_is_read_by_its_data_id(self, bench):
        bus = await bench.cjt_bus()
        bus.meter(WATER).source = lambda now: {"volume_l": now.month * 1_000}
        read = await bench.session(bus).read(Target("cjt188", WATER, 0x10, di=0xD121))
        assert read.values == {"settlement_volume_l": 11_000}

    @pytest.mark.parametrize("address", ["1", "24120001", "2412FFF1", "24120001FFFFFFFF"])
    async def test_a_building_meter_answers_by_primary_and_secondary_address(self, bench, address):
        session = bench.session(await bench.mbus_bus())
        read = await session.read(Target("mbus", address))
        assert read.values == {
            "energy_wh": 54_427_880,
            "volume_l": 7_156_080,
            "flow_lph": 182,
            "power_w": 3_210,
            "supply_cdeg": 4_157,
            "return_cdeg": 3_513,
        }

    async def test_selecting_one_meter_leaves_the_other_out(self, bench):
        session = bench.session(await bench.mbus_bus())
        assert (await session.read(Target("mbus", "24120001"))).values["energy_wh"] == 54_427_880
        assert (await session.read(Target("mbus", "24120002"))).values["energy_wh"] == 7

    async def test_conversations_on_one_bus_take_turns(self, bench):
        session = bench.session(
            await bench.cjt_bus([Fault.DRIP], for_ever=True), timeout_s=2, idle_s=1
        )
        reads = await asyncio.gather(
            *(session.read(target) for target in (HEAT_TARGET, Target("cjt188", ROOM, 0x2A)) * 3)
        )
        assert [next(iter(r.values)) for r in reads] == ["settlement_energy_wh", "room_cdeg"] * 3
        assert session.counts == {"read": 6}


class TestWire:
    async def test_an_answer_is_over_when_it_is_whole_and_no_pause_follows_it(self, bench):
        """Pauses of this session are so long that one of them alone would take all the time."""
        bus = await bench.cjt_bus()
        bus.baud = 2400
        session = bench.session(bus, timeout_s=60, idle_s=60)
        async with asyncio.timeout(30):
            reads = [await session.read(Target("cjt188", ROOM, 0x2A)) for _ in range(3)]
        assert all(isinstance(read, Read) for read in reads)


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
    async def test_a_fault_on_cjt188_is_a_counted_failure_and_no_value(self, bench, fault, reason):
        session = bench.session(await bench.cjt_bus([fault], for_ever=True))
        failed = await session.read(HEAT_TARGET)
        assert isinstance(failed, Failed)
        assert failed.reason == reason
        assert session.counts == {reason: 1}

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Fault.SILENCE, "silent"),
            (Fault.HALF_FRAME, "garbled"),
            (Fault.BAD_CHECKSUM, "checksum"),
            (Fault.WRONG_ADDRESS, "wrong_address"),
            (Fault.DISCONNECT, "link_down"),
        ],
    )
    async def test_a_fault_on_mbus_is_a_counted_failure_and_no_value(self, bench, fault, reason):
        bus = await bench.mbus_bus([None, fault] * 2)  # the link reset is answered, data are not
        session = bench.session(bus)
        failed = await session.read(BUILDING)
        assert isinstance(failed, Failed)
        assert failed.reason == reason
        assert session.counts == {reason: 1}

    @pytest.mark.parametrize("fault", [Fault.NOISE, Fault.ECHO, Fault.DRIP])
    async def test_noise_echo_and_a_dripping_line_cost_nothing(self, bench, fault):
        session = bench.session(await bench.cjt_bus([fault], for_ever=True), timeout_s=2, idle_s=1)
        read = await session.read(HEAT_TARGET)
        assert read.values["energy_wh"] == 54_427_880
        assert read.tries == 1

    @pytest.mark.parametrize(
        "target", [BUILDING, Target("mbus", "24120001"), Target("mbus", "24120FF1")]
    )
    async def test_an_echo_on_mbus_is_no_answer(self, bench, target):
        session = bench.session(await bench.mbus_bus([Fault.ECHO], for_ever=True))
        read = await session.read(target)
        assert read.values["energy_wh"] == 54_427_880
        # Reset or selection, question, and behind wildcards the deselection.
        assert session.link.counters.echoes == 2 + ("F" in target.address)

    async def test_the_echo_is_stripped_and_counted(self, bench):
        session = bench.session(await bench.cjt_bus([Fault.ECHO], for_ever=True))
        await session.read(HEAT_TARGET)
        assert session.link.counters.echoes == 1

    @pytest.mark.parametrize(
        "fault",
        [
            Fault.SILENCE,
            Fault.HALF_FRAME,
            Fault.BAD_CHECKSUM,
            Fault.WRONG_ADDRESS,
            Fault.DISCONNECT,
        ],
    )
    async def test_the_next_try_makes_good_a_single_fault(self, bench, fault):
        session = bench.session(await bench.cjt_bus([fault]), retries=1)
        read = await session.read(HEAT_TARGET)
        assert isinstance(read, Read)
        assert read.tries == 2

    async def test_an_answer_that_came_too_late_is_not_the_next_meters(self, bench, monkeypatch):
        monkeypatch.setattr(faults, "SLOW_S", 0.3)
        session = bench.session(await bench.cjt_bus([Fault.SLOW]))
        assert (await session.read(HEAT_TARGET)).reason == "silent"
        read = await session.read(Target("cjt188", ROOM, 0x2A))
        assert read.values == {"room_cdeg": 2_068}
        await asyncio.sleep(0.2)
        assert (await session.read(HEAT_TARGET)).values["energy_wh"] == 54_427_880

    async def test_a_register_full_of_fill_bytes_is_unreadable(self, bench):
        bus = await bench.cjt_bus()
        bus.meter(HEAT).source = lambda now: {
            "energy_wh": None,
            "volume_l": 1,
            "flow_lph": 1,
            "power_w": 1,
            "supply_cdeg": 1,
            "return_cdeg": 1,
        }
        failed = await bench.session(bus).read(HEAT_TARGET)
        assert (failed.reason, failed.detail) == ("unreadable", "current_heat: fill_value")

    async def test_a_refusal_is_final(self, bench):
        bus = await bench.cjt_bus()
        bus.meter(HEAT)._content = lambda request, now: None
        failed = await bench.session(bus, retries=3).read(HEAT_TARGET)
        assert (failed.reason, failed.tries) == ("refused", 1)

    async def test_a_meter_that_is_not_there_is_silent(self, bench):
        session = bench.session(await bench.cjt_bus(), retries=1)
        failed = await session.read(Target("cjt188", "99999999999999"))
        assert (failed.reason, failed.tries) == ("silent", 2)

    @pytest.mark.parametrize(
        "target",
        [
            Target("cjt188", "123"),
            Target("cjt188", HEAT, profile="none"),
            Target("mbus", "251"),
            Target("mbus", "x"),
            Target("morse", "1"),
        ],
    )
    async def test_an_impossible_target_is_a_failure_too(self, bench, target):
        session = bench.session(await bench.cjt_bus())
        assert (await session.read(target)).reason == "bad_target"

    async def test_a_dead_bus_does_not_stop_the_others(self, bench):
        alive, dead = await bench.cjt_bus(), await bench.mbus_bus()
        sessions = bench.session(alive), bench.session(dead)
        await dead.stop()
        read, failed = await asyncio.gather(
            sessions[0].read(HEAT_TARGET), sessions[1].read(BUILDING)
        )
        assert isinstance(read, Read)
        assert failed.reason == "link_down"

    async def test_a_bus_that_comes_back_is_read_again(self, bench):
        bus = await bench.cjt_bus()
        session = bench.session(bus)
        await session.read(HEAT_TARGET)
        await bus.stop()
        assert (await session.read(HEAT_TARGET)).reason == "link_down"
        await bus.start()
        for _ in range(40):
            outcome = await session.read(HEAT_TARGET)
            if isinstance(outcome, Read):
                break
            await asyncio.sleep(0.05)
        assert isinstance(outcome, Read)
        assert session.link.counters.connects == 2


async def test_a_plan_of_faults_runs_out_or_goes_round():
    once = FaultPlan([Fault.SILENCE, None, Fault.NOISE])
    assert [once.next() for _ in range(5)] == [Fault.SILENCE, None, Fault.NOISE, None, None]
    round_and_round = FaultPlan([Fault.ECHO], for_ever=True)
    assert [round_and_round.next() for _ in range(2)] == [Fault.ECHO, Fault.ECHO]
