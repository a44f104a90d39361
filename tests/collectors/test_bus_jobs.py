"""Jobs on buses as a running collector does them: beside orders, visible, cancellable."""

import asyncio

import pytest
import sqlalchemy as sa

from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering import bus_jobs, commands
from backend.metering.models import BusJob
from backend.people.service import Principal
from collectors.reading import Asked
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtUtilityMeter
from tests import builders
from tests.collectors.conftest import heat_values
from tests.collectors.test_orders import Collecting, soon
from tests.faults.processes import environment, process

CLOCK = SystemClock()
ADDRESS = "30010100000001"


@pytest.fixture
async def gas():
    bus = SimulatedBus(
        "gas",
        [CjtUtilityMeter("gas", ADDRESS, lambda now: {"volume_l": 98_760})],
        clock=CLOCK,
    )
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
def operator(app):
    return Principal("staff", builders.make_staff("op", ["operator"]).id, frozenset({"operator"}))


def install(simulated, every_s=86_400):
    building = builders.make_building("A")
    bus = builders.make_bus(building, link=f"tcp://{simulated.host}:{simulated.port}")
    bus.read_every_s = every_s
    db.session.commit()
    return bus


def ask(bus, operator, kind="search", **parameters):
    job = bus_jobs.ask(bus.id, kind, parameters, operator, CLOCK.now())
    db.session.commit()
    return job


async def test_a_search_asked_for_is_done_and_its_findings_stay(app, gas, operator):
    job = ask(install(gas), operator, protocol="cjt188")
    async with Collecting(app):
        await soon(lambda: job.state == "done")
    (one,) = job.result["found"]
    assert (one["address"], one["kind"], one["meter_type"]) == ("30010100000001", "gas", 0x30)
    assert (job.done, job.total, job.attempts) == (1000, 1000, 1)


async def test_a_valve_is_ordered_while_a_search_goes_on(app, gas, operator):
    bus = install(gas)
    meter = builders.make_meter(
        bus_building := db.session.get(builders.Building, bus.building_id),
        builders.make_household(bus_building),
        kind="gas",
        bus=bus,
        address="30010100000001",
    )
    wide = {"how": "range", "first": "30010100000100", "last": "30010100001099"}
    job = ask(bus, operator, protocol="cjt188", **wide)
    async with Collecting(app):
        await soon(lambda: job.state == "running" and job.done > 0)
        command = commands.ask(meter.id, "open", "已缴费", operator, CLOCK.now())
        db.session.commit()
        await soon(lambda: command.state == "done")
        assert job.state == "running" and 0 < job.done < 1000
        bus_jobs.cancel(job.id, operator, CLOCK.now())
        db.session.commit()
        await asyncio.sleep(1.5)
        asked = gas.asked
        await asyncio.sleep(0.7)
        assert gas.asked == asked


async def test_a_collector_told_to_stop_gives_its_job_back(app, operator):
    bus = SimulatedBus("heat", [MbusHeatMeter("1", heat_values)], clock=CLOCK)
    await bus.start()
    try:
        job = ask(install(bus), operator, protocol="mbus", how="primary")
        async with Collecting(app):
            await soon(lambda: job.done > 0)
        db.session.expire_all()
        assert (job.state, job.attempts, job.lease) == ("running", 0, None)
        assert job.result["found"][0]["address"] == "1"
        assert len(bus_jobs.take([job.bus_id], CLOCK.now())) == 1
    finally:
        await bus.stop()


async def test_a_job_its_bus_cannot_do_ends_with_the_reason(app, gas, operator):
    bus = install(gas)
    wrong = ask(bus, operator, protocol="smoke_signals")
    unheard = ask(bus, operator, "clock", action="read")
    async with Collecting(app):
        await soon(lambda: wrong.state == unheard.state == "failed")
    assert (wrong.error, unheard.error) == ("bad_parameters", "no_meters")


async def test_a_bus_is_marked_while_it_is_read_and_idle_after(app, gas, operator):
    bus = install(gas)
    job = ask(bus, operator, protocol="cjt188", how="range", first="1" * 14, last="1" * 14)
    async with Collecting(app):
        await soon(lambda: job.state == "done")
        await soon(lambda: bus.state == "no_load")
    assert bus.cycle["asked"] == 0


async def test_a_silent_bus_is_known_with_its_reason(app, gas, operator):
    bus = install(gas, every_s=1)
    building = db.session.get(builders.Building, bus.building_id)
    builders.make_meter(building, bus=bus, address="20010100000999")
    async with Collecting(app):
        await soon(lambda: bus.state == "silent")
    assert bus.cycle["reasons"] == {"silent": 1} and bus.state_since


@pytest.mark.parametrize(
    ("kind", "options", "asked_with"),
    [
        ("water", {}, 0x10),
        ("water", {"meter_type": 0x11}, 0x11),
        ("water", {"meter_type": 0x1FF}, 0x10),
        ("heat", {"meter_type": "25"}, 0x20),
    ],
)
def test_a_meter_is_asked_with_its_own_type_where_that_is_known(kind, options, asked_with):
    meter = builders.Meter(id=1, protocol="cjt188", address=ADDRESS, profile="default", kind=kind)
    meter.options = options
    assert Asked.of(meter).target.meter_type == asked_with


COLLECTING = """
import asyncio
from backend import create_app
from collectors.collector import Collector

app = create_app(web_pages=False)
asyncio.run(Collector(app, app.extensions["nuan_clock"], timeout_s=0.3).run(asyncio.Event()))
"""


@pytest.mark.faults
async def test_a_search_whose_collector_is_killed_is_done_by_the_next(
    app, operator, database, tmp_path
):
    """Killed with -9 in the middle; what it had found stays visible, and nothing is found twice."""
    bus = SimulatedBus("heat", [MbusHeatMeter("1", heat_values)], clock=CLOCK)
    await bus.start()
    wide = {"how": "primary", "first": "0", "last": "25", "wait_ms": 250}
    job = ask(install(bus), operator, protocol="mbus", **wide)
    try:
        with process(["-c", COLLECTING], environment(app, database), tmp_path / "log") as running:
            await soon(lambda: job.done > 100, seconds=60)
            running.kill()
            running.wait()
        db.session.expire_all()
        assert (job.state, len(job.result["found"])) == ("running", 1)
        # Its lease would run out by itself in a minute and a half.
        db.session.execute(sa.update(BusJob).values(due_at=CLOCK.now()))
        db.session.commit()
        async with Collecting(app):
            await soon(lambda: job.state == "done", seconds=60)
    finally:
        await bus.stop()
    assert (job.attempts, len(job.result["found"]), job.error) == (2, 1, None)
