"""The simulated town: published days exactly, other days plausibly, on real sockets."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from collectors.dialects import Freeze
from collectors.frames import cjt188
from collectors.links import TcpLink
from collectors.session import Read, Session, Target
from collectors.simulator.demo import demo_town, meter_address
from collectors.simulator.meters import CjtHeatMeter, CjtUtilityMeter
from collectors.simulator.replay import paper18
from collectors.simulator.times import LOCAL
from collectors.simulator.town import (
    BuildingSpec,
    BusSpec,
    FlatSpec,
    MeterSpec,
    SimulatedClock,
    SimulatedTown,
    Town,
)
from collectors.simulator.utility import UtilityModel

PAPER = paper18()
HOUR, STEP = timedelta(hours=1), timedelta(seconds=600)
JANUARY_3 = Freeze("day", date(2025, 1, 3))


async def read_bus(town, spec):
    """Read every meter of a bus, through a session of its own."""
    session = Session(TcpLink("127.0.0.1", town.port(spec.bus_id)), clock=town.clock)
    try:
        return [
            (m, await session.read(Target(m.protocol, m.address, m.meter_type)))
            for m in spec.meters
        ]
    finally:
        await session.close()


async def read_town(town, buses):
    """All meters of the named buses, all buses at once: {(building, kind, flat): values}."""
    specs = [spec for spec in town.town.buses if spec.bus_id in buses]
    outcomes = await asyncio.gather(*(read_bus(town, spec) for spec in specs))
    assert all(isinstance(r, Read) for rows in outcomes for _, r in rows)
    return {(m.building, m.kind, m.flat): r.values for rows in outcomes for m, r in rows}


class TestReplay:
    @pytest.mark.parametrize("replay_start", [None, "2026-01-10T00:00:00+08:00"])
    async def test_meters_show_the_published_samples_to_the_hundredth(self, replay_start):
        start = datetime.fromisoformat(replay_start) if replay_start else PAPER.start
        async with SimulatedTown(demo_town(0, replay_start=replay_start)) as town:
            for n in (0, 1, 77, 143, 144, 287):
                town.set_time(start + n * STEP)
                values = await read_town(town, {"A-1", "A-2", "A-3"})
                for flat, rows in PAPER.samples.items():
                    heat, room = values["A", "heat", flat], values["A", "room", flat]
                    shown = (heat["supply_cdeg"], heat["return_cdeg"], room["room_cdeg"])
                    assert shown == rows[n]

    async def test_the_building_meter_counts_the_published_heat_to_the_wh(self):
        shown = []
        async with SimulatedTown(demo_town(0)) as town:
            for hours in (0, 1, 24, 47, 48):
                town.set_time(PAPER.start + hours * HOUR)
                values = await read_town(town, {"A-main"})
                shown.append(values["A", "building", ""]["energy_wh"])
        assert shown[-1] - shown[0] == 10_530_000
        assert shown == sorted(set(shown))

    def test_a_sample_holds_until_the_next(self):
        house = SimulatedTown(demo_town(0)).houses["A"].heat
        late = PAPER.start + STEP - timedelta(seconds=1)
        assert house.room_cdeg(0, late) == PAPER.samples["101"][0][2]
        assert house.room_cdeg(0, late + timedelta(seconds=1)) == PAPER.samples["101"][1][2]

    def test_a_replay_begins_at_a_local_midnight_or_not_at_all(self):
        with pytest.raises(ValueError, match="local midnight"):
            SimulatedTown(demo_town(0, replay_start="2026-01-10T00:00:00+00:00"))

    def test_the_published_building_is_whole(self):
        assert len(PAPER.households) == 18
        assert {len(rows) for rows in PAPER.samples.values()} == {288}
        assert PAPER.households[0] == {"id": "101", "area_m2": 62.4, "gamma": 0.312, "b": 1.479}
        assert PAPER.samples["101"][0] == (4157, 3513, 2068)


class TestModel:
    @pytest.mark.parametrize("building", ["A", "B"])
    def test_registers_never_go_back_and_add_up_from_day_to_day(self, building):
        heat = SimulatedTown(demo_town(0)).houses[building].heat
        first = datetime(2024, 11, 28, tzinfo=LOCAL)
        rows = [
            [
                heat.building(now)["energy_wh"],
                *(heat.flat(i, now)["energy_wh"] for i in range(len(heat.flats))),
            ]
            for now in (first + n * 37 * timedelta(minutes=1) for n in range(300))
        ]
        assert all(a < b for low, high in pairwise(rows) for a, b in zip(low, high, strict=True))
        used = [last - begin for begin, last in zip(rows[0], rows[-1], strict=True)]
        assert sum(used[1:]) == pytest.approx(0.97 * used[0], rel=1e-4)

    def test_the_same_moment_is_the_same_in_any_order_and_run(self):
        moments = [datetime(2024, 11, 1, tzinfo=UTC) + n * 7 * HOUR for n in range(40)]
        one = SimulatedTown(demo_town(0)).houses["B"].heat
        other = SimulatedTown(demo_town(0)).houses["B"].heat
        forward = [one.flat(3, moment) for moment in moments]
        assert [other.flat(3, moment) for moment in reversed(moments)] == forward[::-1]

    @pytest.mark.parametrize("building", ["A", "B"])
    def test_rooms_are_warm_and_water_is_warmer_all_winter(self, building):
        heat = SimulatedTown(demo_town(0)).houses[building].heat
        for n in range(0, 90 * 24, 31):
            now = datetime(2024, 10, 25, tzinfo=LOCAL) + n * HOUR
            for i in range(len(heat.flats)):
                flat, room = heat.flat(i, now), heat.room_cdeg(i, now)
                assert 1_700 < room < 2_500
                assert room < flat["return_cdeg"] < flat["supply_cdeg"] < 9_000
                assert flat["power_w"] > 500
            assert heat.outdoor_cdeg(now) < 800

    def test_power_is_what_the_register_gains(self):
        heat = SimulatedTown(demo_town(0)).houses["B"].heat
        noon = datetime(2024, 11, 20, 12, tzinfo=LOCAL)
        gain = heat.flat(0, noon + STEP)["energy_wh"] - heat.flat(0, noon)["energy_wh"]
        assert gain == pytest.approx(heat.flat(0, noon)["power_w"] / 6, rel=0.02)

    def test_water_is_drawn_by_day_and_the_days_add_up(self):
        model = UtilityModel(
            "water/101", "volume_l", seed=1, per_day=240, start=date(2024, 10, 20), first=1_000
        )
        days = [model(datetime(2024, 10, 19 + n, tzinfo=LOCAL))["volume_l"] for n in range(12)]
        assert days[:2] == [1_000, 1_000]
        used = [b - a for a, b in pairwise(days[1:])]
        assert all(144 <= n <= 336 for n in used)
        assert len(set(used)) > 3
        hours = [model(datetime(2024, 10, 25, n, tzinfo=LOCAL))["volume_l"] for n in range(24)]
        assert hours == sorted(hours)

    def test_a_naive_clock_is_refused(self):
        with pytest.raises(ValueError, match="time zone"):
            SimulatedClock(datetime(2024, 12, 1))


class TestTown:
    async def test_every_meter_of_the_demonstration_town_can_be_read(self):
        async with SimulatedTown(demo_town(0)) as town:
            town.set_time(datetime(2025, 1, 5, 3, tzinfo=UTC))
            values = await read_town(town, set(town.buses))
        assert len(values) == 1 + 18 * 2 + 1 + 12 * 5
        assert set(values["B", "water", "101"]) == {"volume_l", "settlement_volume_l"}
        assert set(values["B", "electricity", "403"]) == {"energy_wh", "settlement_energy_wh"}

    async def test_the_settlement_register_is_the_one_of_the_first_of_the_month(self):
        address = meter_address("heat", "B", "101")
        town = SimulatedTown(demo_town(0))
        meter = town.meter(address)
        later = meter.amounts(datetime(2024, 12, 20, tzinfo=LOCAL))
        on_the_day = meter.amounts(datetime(2024, 12, 1, tzinfo=LOCAL))
        assert later["settlement_heat"] == on_the_day["current_heat"] < later["current_heat"]

    def test_a_description_survives_json(self):
        town = demo_town(7000)
        assert Town.from_dict(json.loads(json.dumps(town.to_dict()))) == town

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({}, "lacks 'buildings'"),
            ({"buildings": [], "buses": [{"bus_id": "x", "port": 1}]}, "lacks 'meters'"),
            ({"buildings": [{"building_id": "A", "colour": 1}], "buses": []}, "colour"),
        ],
    )
    def test_a_description_that_is_none_is_refused_in_one_line(self, data, said):
        with pytest.raises(ValueError, match=said) as caught:
            Town.from_dict(data)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("meter", "said"),
        [
            (MeterSpec("cjt188", "1" * 14, "heat", "Z", "101"), "no such"),
            (MeterSpec("cjt188", "1" * 14, "heat", "B", "999"), "no flat '999'"),
            (MeterSpec("cjt188", "1" * 14, "steam", "B", "101"), "no 'steam' meter speaks"),
            (MeterSpec("mbus", "1", "gas", "B", "101"), "no 'gas' meter speaks 'mbus'"),
        ],
    )
    def test_a_meter_that_can_not_be_is_refused(self, meter, said):
        building = BuildingSpec("B", flats=(FlatSpec("101", 80.0),))
        with pytest.raises(ValueError, match=said):
            SimulatedTown(Town((building,), (BusSpec("b", 0, (meter,)),)))

    def test_a_register_past_its_last_digit_begins_again(self):
        meter = CjtUtilityMeter("water", "1" * 14, lambda now: {"volume_l": 1_000_000_050})
        request, _ = cjt188.decode(cjt188.encode_read(meter.address, 0x10))
        answer, _ = cjt188.decode(meter.answer(request, datetime(2024, 12, 1, tzinfo=UTC)))
        assert answer.reading.amount("cumulative_volume") == 50

    def test_a_valve_closes_and_says_so_in_its_status(self):
        meter = CjtUtilityMeter("water", "1" * 14, lambda now: {"volume_l": 10})
        now = datetime(2024, 12, 1, tzinfo=UTC)
        order, _ = cjt188.decode(cjt188.encode_valve(meter.address, 0x10, is_open=False))
        acknowledged, _ = cjt188.decode(meter.answer(order, now))
        assert (acknowledged.control, acknowledged.status) == (0x84, b"\x01\x00")
        request, _ = cjt188.decode(cjt188.encode_read(meter.address, 0x10))
        answer, _ = cjt188.decode(meter.answer(request, now))
        assert answer.status == b"\x01\x00"

    def test_a_meter_without_a_valve_refuses_the_order(self):
        meter = CjtHeatMeter("1" * 14, lambda now: {})
        order, _ = cjt188.decode(cjt188.encode_valve(meter.address, 0x20, is_open=False))
        reply, _ = cjt188.decode(meter.answer(order, datetime(2024, 12, 1, tzinfo=UTC)))
        assert reply.is_refusal

    async def test_a_taken_port_leaves_no_other_open(self, unused_tcp_port):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            building = BuildingSpec("B", flats=(FlatSpec("101", 80.0),))
            meter = MeterSpec("cjt188", "1" * 14, "heat", "B", "101")
            town = SimulatedTown(
                Town(
                    (building,),
                    (
                        BusSpec("free", unused_tcp_port, (meter,)),
                        BusSpec("taken", taken.getsockname()[1], (meter,)),
                    ),
                )
            )
            with pytest.raises(OSError, match="bus taken: port"):
                await town.start()
        socket.create_server(("127.0.0.1", unused_tcp_port)).close()


class TestCommand:
    def run(self, *arguments):
        code = "from collectors.simulator.cli import simulate; simulate()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_serves_until_told_to_stop(self, number):
        process = self.run("--base-port", "0")
        lines = [process.stdout.readline() for _ in range(10)]
        assert lines[0].startswith("A-main\tmbus\t127.0.0.1:")
        assert lines[-1].startswith("30 households in 2 buildings; 9 buses (tcp 9); 98 meters")
        port = int(lines[1].split("\t")[2].split(":")[1])
        socket.create_connection(("127.0.0.1", port)).close()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "stopped\n", "")

    def test_a_port_in_use_is_one_clear_line_and_exit_code_2(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            process = self.run("--base-port", str(port))
            out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (2, "")
        assert err.count("\n") == 1
        assert f"port {port} can not be used" in err

    def test_a_broken_description_is_one_clear_line_and_exit_code_2(self, tmp_path):
        path = tmp_path / "town.json"
        path.write_text("{")
        out, err = (process := self.run("--town", str(path))).communicate(timeout=20)
        assert (process.returncode, out) == (2, "")
        assert err.count("\n") == 1
        assert "is not JSON" in err

    def test_a_dumped_town_can_be_served_again(self, tmp_path):
        out, _ = (process := self.run("--dump", "--base-port", "0")).communicate(timeout=20)
        assert process.returncode == 0
        assert Town.from_dict(json.loads(out)) == demo_town(0)


class TestModels:
    """A description says which model of a protocol's meters stands where."""

    def town(self, *meters):
        return Town(
            (BuildingSpec("B", flats=(FlatSpec("101", 88.5),), start="2024-10-20"),),
            tuple(BusSpec(str(n), 0, (meter,)) for n, meter in enumerate(meters)),
        )

    async def read(self, meter, target):
        async with SimulatedTown(self.town(meter)) as town:
            town.set_time(datetime(2025, 1, 5, 3, tzinfo=UTC))
            bus = town.buses["0"]
            session = Session(TcpLink(bus.host, bus.port), clock=town.clock)
            outcome = await session.read(target)
            await session.close()
        return outcome

    @pytest.mark.parametrize(
        ("meter", "target"),
        [
            (
                MeterSpec("cjt188", "10010200000101", "water", "B", "101", model="2018"),
                Target("cjt188", "10010200000101", 0x10, "2018", freeze=JANUARY_3),
            ),
            (MeterSpec("mbus", "1", "building", "B", model="fixed"), Target("mbus", "1")),
            (MeterSpec("mbus", "1", "water", "B", "101"), Target("mbus", "1")),
            (
                MeterSpec("mbus", "1", "heat", "B", "101"),
                Target("mbus", "1", freeze=JANUARY_3),
            ),
            (
                MeterSpec("dlt645_2007", "000000000101", "electricity", "B", "101"),
                Target("dlt645_2007", "000000000101", freeze=JANUARY_3),
            ),
            (
                MeterSpec("modbus", "1", "heat", "B", "101", model="tuf-2000"),
                Target("modbus", "1", profile="tuf-2000"),
            ),
        ],
    )
    async def test_it_is_read_as_what_it_is(self, meter, target):
        outcome = await self.read(meter, target)
        assert isinstance(outcome, Read)
        assert outcome.values.keys() & {"energy_wh", "volume_l"}
        assert (outcome.frozen_at is None) == (target.freeze is None)

    @pytest.mark.parametrize("protocol", ["cjt188", "mbus", "modbus"])
    def test_a_model_there_is_not_is_refused(self, protocol):
        meter = MeterSpec(protocol, "1", "heat", "B", "101", model="none")
        with pytest.raises(ValueError, match="none"):
            SimulatedTown(self.town(meter)).meter("1")
