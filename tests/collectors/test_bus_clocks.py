"""Clocks of a bus: read, set where they are off, and seen to be right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering import bus_jobs
from backend.metering.models import MeterState, Reading
from backend.people.service import Principal
from collectors.bus_clocks import clock as check_clocks
from collectors.bus_clocks import drifts_of
from collectors.dialects.clocks import may_broadcast
from collectors.frames import cjt188
from collectors.frames.dlt645_message import Credentials
from collectors.jobs import JobFailed
from collectors.reading import Asked
from collectors.session import Target
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter, CjtRoomSensor
from tests import builders
from tests.collectors.conftest import HEAT, ROOM, heat_values
from tests.collectors.test_orders import Collecting, soon

WHO = Credentials("02", "123456")
HOURS, MINUTES = timedelta(hours=1), timedelta(minutes=1)
POWER = "000000001234"


async def quiet(done, total, note="", result=None):
    return None


async def check(bench, bus, *targets, credentials=None, **parameters):
    session = bench.session(bus, timeout_s=0.1, idle_s=0.02, credentials=credentials)
    asked = [Asked(n, "heat", target) for n, target in enumerate(targets, 1)]
    parameters = {"action": "set", **parameters}
    result = await check_clocks(session, asked, parameters, bench.clock, quiet)
    return [(c["outcome"], c["drift_s"], c["after_s"]) for c in result["clocks"]]


def cjt(address=HEAT, error=timedelta(0)):
    meter = CjtHeatMeter(address, heat_values)
    meter.clock_error = error
    return meter


async def test_reading_clocks_sets_none(bench):
    meter = cjt(error=2 * HOURS)
    bus = await bench.bus(meter)
    (found,) = await check(bench, bus, Target("cjt188", HEAT), action="read")
    assert found == ("off", 7200, None) and meter.clock_error == 2 * HOURS


async def test_a_cjt188_clock_is_set_and_read_back(bench):
    meter = cjt(error=-49 * HOURS)
    bus = await bench.bus(meter)
    assert await check(bench, bus, Target("cjt188", HEAT)) == [("set", -176_400, 0)]
    assert abs(meter.clock_error) < timedelta(seconds=1)


async def test_a_clock_that_is_right_is_left_alone(bench):
    meter = cjt(error=timedelta(seconds=40))
    bus = await bench.bus(meter)
    assert await check(bench, bus, Target("cjt188", HEAT)) == [("right", 40, None)]
    assert meter.clock_error == timedelta(seconds=40)
    assert await check(bench, bus, Target("cjt188", HEAT), beyond_s=30) == [("set", 40, 0)]


async def test_a_clock_that_says_yes_and_does_not_move_is_not_set(bench, monkeypatch):
    monkeypatch.setattr(CjtHeatMeter, "_set_clock", lambda *_: (None, {}))
    bus = await bench.bus(cjt(error=2 * HOURS))
    assert await check(bench, bus, Target("cjt188", HEAT)) == [("not_set", 7200, 7200)]


async def test_a_meter_that_refuses_is_named_so(bench, monkeypatch):
    monkeypatch.setattr(CjtHeatMeter, "_set_clock", lambda *_: None)
    bus = await bench.bus(cjt(error=2 * HOURS))
    assert await check(bench, bus, Target("cjt188", HEAT)) == [("refused", 7200, 7200)]


async def test_silent_meters_and_meters_without_a_clock_hold_up_nobody(bench):
    sensor = CjtRoomSensor(ROOM, lambda now: {"room_cdeg": 2068})
    bus = await bench.bus(sensor, cjt(error=HOURS))
    targets = [
        Target("cjt188", "20990100000001"),
        Target("cjt188", ROOM, meter_type=0x2A),
        Target("cjt188", HEAT),
    ]
    outcomes = [outcome for outcome, _, _ in await check(bench, bus, *targets)]
    assert outcomes == ["silent", "no_clock", "set"]


@pytest.mark.parametrize("address", ["3", "24120001"])
async def test_an_mbus_clock_is_set_to_the_minute_and_read_back(bench, address):
    meter = MbusHeatMeter("3", heat_values, id="24120001")
    meter.clock_error = -5 * HOURS
    bus = await bench.bus(meter)
    ((outcome, before, after),) = await check(bench, bus, Target("mbus", address))
    assert outcome == "set" and -18_060 <= before <= -17_940 and abs(after) <= 60
    assert abs(meter.clock_error) <= timedelta(seconds=60)


def powers(*errors, **options):
    return [
        Dlt645Meter(
            f"{int(POWER) + n:012d}", lambda now: {"energy_wh": 1}, clock_error=e, **options
        )
        for n, e in enumerate(errors)
    ]


def of_2007(meter):
    return Target(meter.protocol, meter.address)


@pytest.mark.parametrize("is_1997", [False, True])
async def test_dlt645_clocks_within_five_minutes_are_set_by_one_broadcast(bench, is_1997):
    meters = powers(4 * MINUTES, -3 * MINUTES, 6 * MINUTES, is_1997=is_1997)
    bus = await bench.bus(*meters)
    found = await check(bench, bus, *map(of_2007, meters))
    assert found == [("set", 240, 0), ("set", -180, 0), ("no_credentials", 360, 360)]


@pytest.mark.parametrize("is_1997", [False, True])
async def test_a_dlt645_clock_further_off_is_written_with_the_password(bench, is_1997):
    meters = powers(9 * HOURS, is_1997=is_1997)
    bus = await bench.bus(*meters)
    found = await check(bench, bus, of_2007(meters[0]), credentials=WHO)
    assert found == [("set", 32_400, 0)]
    wrong = powers(9 * HOURS, is_1997=is_1997)
    bus = await bench.bus(*wrong)
    bad = Credentials("02", "999999")
    found = await check(bench, bus, of_2007(wrong[0]), credentials=bad)
    assert found == [("refused", 32_400, 32_400)]


async def test_no_broadcast_goes_out_about_midnight(bench):
    bench.clock = type(bench.clock)(datetime(2024, 12, 1, 15, 58, tzinfo=UTC))
    meters = powers(2 * MINUTES)
    bus = await bench.bus(*meters)
    assert await check(bench, bus, of_2007(meters[0])) == [("no_credentials", 120, 120)]


@pytest.mark.parametrize(
    ("utc", "may"),
    [("16:00", False), ("16:04", False), ("16:05", True), ("15:55", True), ("15:56", False)],
)
def test_a_broadcast_keeps_five_minutes_from_midnight_in_shanghai(utc, may):
    moment = datetime.fromisoformat(f"2024-12-01T{utc}:00+00:00")
    assert may_broadcast(moment) is may


@pytest.mark.parametrize(
    "parameters", [{"action": "wind"}, {"beyond_s": "much"}, {"meter_ids": [99]}]
)
async def test_what_cannot_be_set_is_refused(bench, parameters):
    bus = await bench.bus(cjt())
    with pytest.raises(JobFailed):
        await check(bench, bus, Target("cjt188", HEAT), **parameters)


def test_the_clock_seen_last_is_kept():
    clocks = [
        {"meter_id": 1, "drift_s": 90, "after_s": 0},
        {"meter_id": 2, "drift_s": 5, "after_s": None},
        {"meter_id": 3, "drift_s": None, "after_s": None},
    ]
    assert drifts_of({"clocks": clocks}) == [(1, 0), (2, 5)] and drifts_of({}) == []


def test_the_order_to_set_a_cjt188_clock_is_as_the_standard_has_it():
    frame = cjt188.encode_clock("00000024170567", 0x20, datetime(2026, 11, 20, 12, 34, 56))
    assert frame.hex(" ").upper().startswith("FE FE 68 20 67 05 17 24 00 00 00 04 0A")
    message, _ = cjt188.decode(frame)
    assert (message.di, message.payload.hex()) == (0xA015, "56341220112620")


async def test_a_clock_job_of_a_running_collector_leaves_the_drift_with_the_meter(app):
    clock = SystemClock()
    meter = cjt(error=3 * HOURS)
    simulated = SimulatedBus("heat", [meter], clock=clock)
    await simulated.start()
    building = builders.make_building("A")
    bus = builders.make_bus(building, link=f"tcp://{simulated.host}:{simulated.port}")
    bus.read_every_s = 86_400
    row = builders.make_meter(building, bus=bus, address=HEAT)
    operator = Principal("staff", builders.make_staff("op", ["operator"]).id)
    try:
        async with Collecting(app):
            await soon(lambda: db.session.query(Reading).count() == 1)
            assert db.session.query(Reading).one().flags == ["clock_drift"]
            state = db.session.get(MeterState, row.id)
            assert abs(state.clock_drift_s - 10_800) <= 2
            job = bus_jobs.ask(bus.id, "clock", {"action": "set"}, operator, clock.now())
            db.session.commit()
            await soon(lambda: job.state == "done")
    finally:
        await simulated.stop()
    assert job.result["clocks"][0]["outcome"] == "set"
    db.session.expire_all()
    assert abs(db.session.get(MeterState, row.id).clock_drift_s) <= 2
