"""A collector carries out runs and orders on its buses, over real sockets, exactly once."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering import commands, plans, runs
from backend.metering.models import MeterCommand, Reading, ReadingRunItem
from backend.people.service import Principal
from collectors.collector import Collector
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.meters import CjtUtilityMeter
from tests import builders
from tests.faults.processes import environment, process, until

CLOCK = SystemClock()


def addresses(count):
    return [f"30010100{n:06d}" for n in range(1, count + 1)]


async def simulated(count, **options):
    meters = [
        CjtUtilityMeter("gas", address, lambda now: {"volume_l": 98_760})
        for address in addresses(count)
    ]
    bus = SimulatedBus("gas", meters, clock=CLOCK, **options)
    await bus.start()
    return bus


@pytest.fixture
async def wire():
    """Six gas meters with valves on one wire."""
    bus = await simulated(6)
    yield bus
    await bus.stop()


def install(bus, code="A", read_every_s=86_400):
    """The rows of a simulated bus; read by plan once a day, which is at the collector's start."""
    building = builders.make_building(code)
    row = builders.make_bus(building, link=f"tcp://{bus.host}:{bus.port}")
    row.read_every_s = read_every_s
    for n, meter in enumerate(bus.meters, 1):
        flat = builders.make_household(building, f"{n}01")
        builders.make_meter(building, flat, kind="gas", bus=row, address=meter.address)
    db.session.commit()
    return building


@pytest.fixture
def people(app):
    made = [builders.make_staff(name, ["operator"]) for name in ("asker", "approver")]
    return [Principal("staff", one.id, frozenset({"operator"})) for one in made]


class Collecting:
    """A collector that runs while the block does."""

    def __init__(self, app):
        self.collector = Collector(app, CLOCK, timeout_s=0.3)
        self.stop = asyncio.Event()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.collector.run(self.stop))
        return self.collector

    async def __aexit__(self, *_):
        self.stop.set()
        await self.task


async def soon(condition, seconds=20):
    for _ in range(seconds * 20):
        db.session.rollback()
        db.session.expire_all()
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("did not come true in time")


def start(scope, ids, people):
    run = runs.start(scope, ids, people[0], CLOCK.now())
    db.session.commit()
    return run


def close(people, address=None):
    """Ask for the first (or a named) meter's valve to be closed, and let it go."""
    wanted = sa.select(Meter.id).order_by(Meter.id).limit(1)
    if address:
        wanted = sa.select(Meter.id).where(Meter.address == address)
    command = commands.ask(
        db.session.scalars(wanted).one(), "close", "欠费", people[0], CLOCK.now()
    )
    commands.approve(command.id, people[1], CLOCK.now())
    db.session.commit()
    return command


async def test_a_run_reads_every_meter_of_a_building_and_names_its_readings(app, wire, people):
    run = start("building", [install(wire).id], people)
    async with Collecting(app):
        await soon(lambda: run.state == "done")
    assert runs.progress(run.id)["read"] == 6
    items = db.session.query(ReadingRunItem).all()
    stored = {(r.id, r.meter_id) for r in db.session.query(Reading)}
    assert {(i.reading_id, i.meter_id) for i in items} <= stored
    assert {i.attempts for i in items} == {1}


async def test_progress_shows_while_it_runs_and_a_cancelled_run_asks_nobody_more(app, people):
    wire = await simulated(24, baud=2400)
    run = start("building", [install(wire).id], people)
    try:
        async with Collecting(app):
            await soon(lambda: 0 < runs.progress(run.id)["read"] < 24)
            assert run.state == "running"
            runs.cancel(run.id, people[0], CLOCK.now())
            db.session.commit()
            before = runs.progress(run.id)
            await asyncio.sleep(2)
            db.session.rollback()
            assert runs.progress(run.id) == before
    finally:
        await wire.stop()
    assert before["cancelled"] > 0 and before["waiting"] == before["taken"] == 0


async def test_a_dead_bus_holds_up_no_other_and_its_meters_are_asked_again_later(app, wire, people):
    dead = await simulated(3)
    buildings = [install(wire).id, install(dead, "B").id]
    await dead.stop()
    alive, gone = (start("building", [b], people) for b in buildings)
    async with Collecting(app):
        await soon(lambda: alive.state == "done")
        await soon(lambda: len(runs.troubles(gone.id)) == 3)
    assert {row.error for row in runs.troubles(gone.id)} == {"link_down"}
    waiting = db.session.query(ReadingRunItem).filter_by(run_id=gone.id).all()
    assert gone.state == "running" and {i.state for i in waiting} == {"waiting"}
    assert min(i.due_at for i in waiting) > CLOCK.now() + timedelta(seconds=30)


async def test_a_collector_told_to_stop_gives_back_what_it_had_not_asked(app, people):
    wire = await simulated(24, baud=2400)
    run = start("building", [install(wire).id], people)
    try:
        async with Collecting(app):
            await soon(lambda: runs.progress(run.id)["taken"] > 0)
    finally:
        await wire.stop()
    db.session.rollback()
    assert runs.progress(run.id)["taken"] == 0 and runs.progress(run.id)["waiting"] > 0


async def test_a_meters_own_plan_is_carried_out_without_anybody_asking(app, wire, people):
    install(wire)
    meter_id = db.session.scalars(sa.select(Meter.id).order_by(Meter.id)).first()
    plans.set_plan(meter_id, "daily", people[0], CLOCK.now())
    db.session.commit()
    async with Collecting(app):
        await soon(lambda: [i.state for i in db.session.query(ReadingRunItem)] == ["read"])


async def test_a_valve_is_closed_once_and_the_proof_is_a_reading(app, wire, people):
    install(wire)
    command = close(people)
    async with Collecting(app):
        await soon(lambda: command.state == "done")
    valve = wire.meters[0]
    assert (valve.is_valve_open, valve.valve_orders, command.sends) == (False, 1, 1)
    proof = db.session.query(Reading).filter_by(id=command.reading_id).one()
    assert proof.meter_id == command.meter_id and proof.frame


async def test_a_closed_valve_is_opened_again(app, wire, people):
    install(wire)
    wire.meters[0].is_valve_open = False
    meter_id = db.session.scalars(sa.select(Meter.id).order_by(Meter.id)).first()
    command = commands.ask(meter_id, "open", "已缴费", people[0], CLOCK.now())
    db.session.commit()
    async with Collecting(app):
        await soon(lambda: command.state == "done")
    assert wire.meters[0].is_valve_open and wire.meters[0].valve_orders == 1


async def test_a_meter_that_refuses_ends_the_order_at_once(app, wire, people):
    install(wire)
    wire.meters[0].has_valve = False
    command = close(people)
    async with Collecting(app):
        await soon(lambda: command.state == "failed")
    assert (command.error, command.sends) == ("refused", 1)


async def test_an_answer_that_is_lost_is_followed_by_a_look_and_not_by_a_second_order(
    app, wire, people
):
    install(wire)
    valve = wire.meters[0]
    async with Collecting(app) as collector:
        await soon(lambda: db.session.query(Reading).count() == 6)  # the first round is over
        valve.faults = FaultPlan([Fault.BAD_CHECKSUM])
        command = close(people)
        await soon(lambda: command.state == "done")
        assert collector.sessions
    assert (valve.valve_orders, command.sends, command.acknowledged_at) == (1, 1, None)


# A collector that hangs where it has sent the order and heard the answer, before it says so.
HANGING = """
import asyncio, sys, time
from backend import create_app
from backend.metering import commands
from collectors.collector import Collector

def hang(*_):
    print("sent", flush=True)
    time.sleep(60)

if sys.argv[1] == "after":
    commands.acknowledged = hang
else:
    from collectors.session import Session
    async def never(*_, **__):
        hang()
    Session.order_supply = never
app = create_app(web_pages=False)
asyncio.run(Collector(app, app.extensions["nuan_clock"], timeout_s=0.3).run(asyncio.Event()))
"""


@pytest.mark.faults
@pytest.mark.parametrize(("moment", "moved", "sends"), [("after", 1, 1), ("before", 0, 2)])
async def test_a_collector_killed_at_an_order_never_moves_the_valve_twice(
    app, wire, people, database, tmp_path, moment, moved, sends
):
    """Killed with -9 after the order was on the wire, or just before: the valve moves once."""
    install(wire)
    command, log = close(people), tmp_path / "collector.log"
    words = ["-c", HANGING, moment]
    with process(words, environment(app, database), log) as running:
        await asyncio.to_thread(until, lambda: b"sent" in log.read_bytes(), "the order is taken")
        running.kill()
        running.wait()
    db.session.rollback()
    db.session.expire_all()
    assert (command.state, wire.meters[0].valve_orders) == ("sent", moved)
    # Its lease would run out by itself in half a minute; the settling time with it.
    db.session.execute(
        sa.update(MeterCommand).values(
            due_at=CLOCK.now(), sent_at=MeterCommand.sent_at - commands.SETTLE
        )
    )
    db.session.commit()
    async with Collecting(app):
        await soon(lambda: command.state == "done")
    assert (wire.meters[0].valve_orders, wire.meters[0].is_valve_open) == (1, False)
    assert command.sends == sends
