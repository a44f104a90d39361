"""A run for what meters have frozen, from the wire of each protocol to the row of a freeze."""

from datetime import date, datetime, time, timedelta

import pytest

from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.metering import runs
from backend.metering.models import Reading, ReadingRunItem
from collectors.dialects import LOCAL
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter
from collectors.simulator.modbus_meter import ModbusMeter
from tests import builders
from tests.collectors.test_orders import CLOCK, Collecting, people, soon

__all__ = ["people"]  # a fixture of the valves' tests


def counting(now):
    """10 Wh an hour, so that a register shows when it was taken."""
    hours = int((now - datetime(2020, 1, 1, tzinfo=LOCAL)).total_seconds()) // 3_600
    rest = {"flow_lph": 1, "power_w": 1, "supply_cdeg": 4_000, "return_cdeg": 3_000}
    return {"energy_wh": 10 * hours, "volume_l": hours, **rest}


def yesterday() -> date:
    return business_day(CLOCK.now()) - timedelta(days=1)


def midnight(day):
    return datetime.combine(day, time(), LOCAL)


def meters_of(protocol):
    """One that keeps its freezes and one that was without power in the night asked for."""
    gone = frozenset((midnight(yesterday()),))
    return {
        "dlt645_2007": [
            Dlt645Meter("000000000001", counting),
            Dlt645Meter("000000000002", counting, skipped=gone),
        ],
        "mbus": [
            MbusHeatMeter("1", counting, id="00000001", months=12, days=31),
            MbusHeatMeter("2", counting, id="00000002", months=12),
        ],
        "modbus": [ModbusMeter("1", counting), ModbusMeter("2", counting, map_name="tuf-2000")],
        "cjt188": [CjtHeatMeter("20000000000001", counting)],
    }[protocol]


async def installed(protocol):
    """The meters' bus, and their rows."""
    bus = SimulatedBus(protocol, meters_of(protocol), clock=CLOCK)
    await bus.start()
    building = builders.make_building()
    row = builders.make_bus(building, link=f"tcp://{bus.host}:{bus.port}")
    row.read_every_s = 86_400
    kind = "electricity" if protocol.startswith("dlt645") else "heat"
    for n, meter in enumerate(bus.meters, 1):
        builders.make_meter(
            building,
            builders.make_household(building, f"{n}01"),
            kind=kind,
            protocol=protocol,
            bus=row,
            address=meter.address,
            profile=getattr(meter, "map_name", "default"),
            installed_on=date(2020, 1, 1),
        )
    db.session.commit()
    return bus, building


@pytest.mark.parametrize("protocol", ["dlt645_2007", "mbus", "modbus"])
async def test_a_day_s_run_stores_the_register_of_that_midnight_and_no_other(app, people, protocol):
    bus, building = await installed(protocol)
    day = yesterday()
    run = runs.start("building", [building.id], people[0], CLOCK.now(), what="day", frozen_on=day)
    db.session.commit()
    try:
        async with Collecting(app):
            await soon(lambda: "read" in states(run))
            await soon(lambda: len(frozen()) == 1 and states(run).count("waiting") == 0)
    finally:
        await bus.stop()
    (reading,) = frozen()
    assert reading.read_at == day_start(day)
    assert reading.register == counting(midnight(day))["energy_wh"]
    assert reading.frame


@pytest.mark.parametrize("protocol", ["dlt645_2007", "mbus", "modbus", "cjt188"])
async def test_a_month_s_run_stores_the_register_of_its_first(app, people, protocol):
    bus, building = await installed(protocol)
    first = business_day(CLOCK.now()).replace(day=1)
    run = runs.start(
        "building", [building.id], people[0], CLOCK.now(), what="month", frozen_on=first
    )
    db.session.commit()
    try:
        async with Collecting(app):
            await soon(lambda: "read" in states(run) and "waiting" not in states(run))
            await soon(lambda: "taken" not in states(run))
    finally:
        await bus.stop()
    # A meter without such blocks has none; one that was off for a night has its month all the same.
    assert {r.read_at for r in frozen()} == {day_start(first)}
    assert {r.register for r in frozen()} == {counting(midnight(first))["energy_wh"] // 10 * 10}


def states(run):
    items = db.session.query(ReadingRunItem).filter_by(run_id=run.id)
    return [item.state for item in items]


def frozen():
    return db.session.query(Reading).filter_by(kind="freeze").all()
