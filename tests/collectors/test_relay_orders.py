"""Relays of DL/T 645 meters are tripped and closed over real sockets, once, and seen to move."""

import asyncio

import pytest
import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.db import db
from backend.metering import commands
from backend.metering.models import MeterCommand, Reading
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.faults import Fault, FaultPlan
from tests import builders
from tests.collectors.test_orders import CLOCK, HANGING, Collecting, people, soon
from tests.faults.processes import environment, process, until

__all__ = ["people"]  # a fixture of the valves' tests

PASSWORD = "02123456"  # level 02, as the simulated meter wants it


@pytest.fixture
async def wire():
    """Two electricity meters with relays on one wire."""
    meters = [
        Dlt645Meter(f"2026112000{n:02d}", lambda now: {"energy_wh": 1_234_560}) for n in (1, 2)
    ]
    bus = SimulatedBus("power", meters, clock=CLOCK)
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
def meters(app, wire):
    """Their rows, read by plan once a day, and the password in the settings."""
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(dlt645_password=PASSWORD)
    building = builders.make_building()
    row = builders.make_bus(building, link=f"tcp://{wire.host}:{wire.port}")
    row.read_every_s = 86_400
    made = [
        builders.make_meter(
            building,
            builders.make_household(building, f"{n}01"),
            kind="electricity",
            protocol="dlt645_2007",
            bus=row,
            address=meter.address,
        )
        for n, meter in enumerate(wire.meters, 1)
    ]
    db.session.commit()
    return made


def trip(meter, people):
    """Ask for power to be cut, and let it go."""
    command = commands.ask(meter.id, "close", "欠费停电", people[0], CLOCK.now())
    commands.approve(command.id, people[1], CLOCK.now())
    db.session.commit()
    return command


async def test_a_relay_is_tripped_once_and_closed_again_and_each_is_seen(app, wire, meters, people):
    relay = wire.meters[0]
    command = trip(meters[0], people)
    async with Collecting(app):
        await soon(lambda: command.state == "done")
        assert (relay.is_relay_closed, relay.relay_orders, command.sends) == (False, 1, 1)
        proof = db.session.query(Reading).filter_by(id=command.reading_id).one()
        assert proof.meter_id == meters[0].id and proof.frame
        back = commands.ask(meters[0].id, "open", "已缴费", people[0], CLOCK.now())
        db.session.commit()
        await soon(lambda: back.state == "done")
    assert (relay.is_relay_closed, relay.relay_orders) == (True, 2)
    assert wire.meters[1].relay_orders == 0


async def test_without_a_password_nothing_is_sent(app, wire, meters, people):
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(dlt645_password="")
    command = trip(meters[0], people)
    async with Collecting(app):
        await soon(lambda: command.state == "failed")
    assert (command.error, wire.meters[0].relay_orders) == ("no_credentials", 0)


async def test_a_meter_that_refuses_the_password_ends_the_order(app, wire, meters, people):
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(dlt645_password="02999999")
    command = trip(meters[0], people)
    async with Collecting(app):
        await soon(lambda: command.state == "failed")
    assert (command.error, command.sends, wire.meters[0].is_relay_closed) == ("refused", 1, True)


async def test_an_answer_that_is_lost_is_followed_by_a_look(app, wire, meters, people):
    relay = wire.meters[0]
    async with Collecting(app):
        await soon(lambda: db.session.query(Reading).count() == 2)  # the first round is over
        relay.faults = FaultPlan([Fault.BAD_CHECKSUM])
        command = trip(meters[0], people)
        await soon(lambda: command.state == "done")
    assert (relay.relay_orders, command.sends, command.acknowledged_at) == (1, 1, None)


@pytest.mark.faults
@pytest.mark.parametrize(("moment", "moved", "sends"), [("after", 1, 1), ("before", 0, 2)])
async def test_a_collector_killed_at_an_order_never_trips_twice(
    app, wire, meters, people, database, tmp_path, moment, moved, sends
):
    """Killed with -9 after the order was on the wire, or just before: the relay moves once."""
    relay, command, log = wire.meters[0], trip(meters[0], people), tmp_path / "collector.log"
    with process(["-c", HANGING, moment], environment(app, database), log) as running:
        await asyncio.to_thread(until, lambda: b"sent" in log.read_bytes(), "the order is taken")
        running.kill()
        running.wait()
    db.session.rollback()
    db.session.expire_all()
    assert (command.state, relay.relay_orders) == ("sent", moved)
    # Its lease would run out by itself in half a minute; the settling time with it.
    db.session.execute(
        sa.update(MeterCommand).values(
            due_at=CLOCK.now(), sent_at=MeterCommand.sent_at - commands.SETTLE
        )
    )
    db.session.commit()
    async with Collecting(app):
        await soon(lambda: command.state == "done")
    assert (relay.relay_orders, relay.is_relay_closed, command.sends) == (1, False, sends)


async def test_orders_to_valves_and_relays_wait_for_the_same_second_person(
    app, wire, meters, people
):
    command = commands.ask(meters[0].id, "close", "欠费停电", people[0], CLOCK.now())
    db.session.commit()
    async with Collecting(app):
        await soon(lambda: db.session.query(Reading).count() == 2)
        await asyncio.sleep(1.5)
    assert command.state == "queued"
    assert db.session.get(Meter, meters[0].id) and wire.meters[0].relay_orders == 0
