"""Frozen registers are asked for over real sockets, stored as freezes, and settle their items."""

from datetime import timedelta

import pytest

from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.metering import missed, runs
from backend.metering.models import Reading, ReadingRun, ReadingRunItem
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dlt645_meter import Dlt645Meter
from tests import builders
from tests.collectors.test_orders import CLOCK, Collecting, people, soon

__all__ = ["people"]  # a fixture of the other runs' tests

EPOCH = day_start(business_day(CLOCK.now()) - timedelta(days=40))


def counted(at):
    """100 Wh an hour, in the steps of 10 Wh that the meter's display has."""
    return int((at - EPOCH).total_seconds()) // 360 * 10


@pytest.fixture
async def wire():
    """Two electricity meters, of which the second keeps no days."""
    meters = [
        Dlt645Meter("202611200001", lambda now: {"energy_wh": counted(now)}),
        Dlt645Meter("202611200002", lambda now: {"energy_wh": counted(now)}, days=0),
    ]
    bus = SimulatedBus("power", meters, clock=CLOCK)
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
def meters(app, wire):
    building = builders.make_building()
    row = builders.make_bus(building, link=f"tcp://{wire.host}:{wire.port}")
    row.read_every_s = 86_400
    made = [
        builders.make_meter(
            building,
            builders.make_household(building, f"{n}01"),
            kind="electricity",
            protocol=meter.protocol,
            bus=row,
            address=meter.address,
            installed_on=business_day(CLOCK.now()) - timedelta(days=4),
        )
        for n, meter in enumerate(wire.meters, 1)
    ]
    db.session.commit()
    return made


def freezes():
    rows = db.session.query(Reading).filter_by(kind="freeze").order_by(Reading.read_at).all()
    return [(r.meter_id, r.read_at, r.register) for r in rows]


async def test_a_days_freeze_settles_its_item_and_who_keeps_none_is_asked_once(app, meters, people):
    newer, _ = meters
    on = business_day(CLOCK.now()) - timedelta(days=3)
    run = runs.start(
        "building", [newer.building_id], people[0], CLOCK.now(), what="day", frozen_on=on
    )
    db.session.commit()
    async with Collecting(app):
        await soon(lambda: run.state == "done")
    assert freezes() == [(newer.id, day_start(on), counted(day_start(on)))]
    read, not_kept = db.session.query(ReadingRunItem).order_by(ReadingRunItem.meter_id).all()
    assert read.reading_id == db.session.query(Reading).filter_by(kind="freeze").one().id
    assert (read.state, not_kept.state, not_kept.error) == ("read", "missed", "no_freeze")
    assert not_kept.attempts == 1


async def test_midnights_that_were_missed_are_re_read_by_themselves(app, meters):
    newer, _ = meters
    today = business_day(CLOCK.now())
    assert missed.find(CLOCK.now()) == 8
    db.session.commit()
    async with Collecting(app):
        await soon(lambda: db.session.query(ReadingRun).filter_by(state="running").count() == 0)
    days = [today - timedelta(days=n) for n in (3, 2, 1, 0)]
    assert freezes() == [(newer.id, day_start(day), counted(day_start(day))) for day in days]
    told = db.session.query(ReadingRunItem.error).filter_by(state="missed").all()
    assert [row.error for row in told] == ["no_freeze"] * 4
    assert missed.find(CLOCK.now()) == 0
