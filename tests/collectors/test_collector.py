"""The collector reads every bus by plan, stores exactly once, and outlives what breaks."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import date

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from backend.archive.models import Bus, Meter
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering.models import MeterState, Reading, RefusedFrame
from collectors.collector import Collector
from collectors.demo import archive
from collectors.links import link_of
from collectors.simulator.demo import demo_town
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.town import SimulatedTown

PASSES_S = 20


@asynccontextmanager
async def collecting(app, town, *, every_s=1):
    """The demo town's rows over running simulated buses, and a collector reading them."""
    async with SimulatedTown(town) as simulated:
        archive.install(simulated.placed, date(2026, 10, 1), every_s, "template")
        db.session.commit()
        stop = asyncio.Event()
        collector = Collector(app, SystemClock(), timeout_s=0.3)
        running = asyncio.create_task(collector.run(stop))
        try:
            yield simulated, collector
        finally:
            stop.set()
            await running


async def until(condition, seconds=PASSES_S):
    """Wait until the condition holds."""
    for _ in range(seconds * 20):
        db.session.rollback()
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("did not come true in time")


def answered() -> int:
    return db.session.scalar(sa.select(sa.func.count()).where(MeterState.last_ok_at.is_not(None)))


def meters() -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(Meter))


async def test_every_meter_of_the_town_is_read_and_stored_with_its_frame(app):
    async with collecting(app, demo_town(0)):
        await until(lambda: answered() == meters())
    bare = db.session.scalar(sa.select(sa.func.count()).where(Reading.frame.is_(None)))
    assert bare == 0
    assert set(db.session.scalars(sa.select(Bus.state))) <= {"idle", "overload"}


async def test_a_dead_bus_does_not_hold_up_the_others(app):
    async with collecting(app, demo_town(0)) as (simulated, _):
        await simulated.buses["A-1"].stop()
        await until(
            lambda: db.session.scalar(sa.select(Bus.state).where(Bus.code == "A-1")) == "silent"
        )
        others = meters() - len(simulated.buses["A-1"].meters)
        await until(lambda: answered() >= others)


async def test_a_garbled_answer_is_kept_for_the_dispatcher_and_never_becomes_a_value(app):
    town = demo_town(0)
    async with collecting(app, town) as (simulated, _):
        sick = simulated.buses["B-water"].meters[0]
        sick.faults = FaultPlan([Fault.BAD_CHECKSUM], for_ever=True)
        await until(
            lambda: db.session.scalar(sa.select(sa.func.count()).select_from(RefusedFrame)) > 0
        )
        state = db.session.scalars(
            sa.select(MeterState)
            .join(Meter, Meter.id == MeterState.meter_id)
            .where(Meter.address == sick.address)
        ).one()
        assert state.last_error == "checksum"


@pytest.mark.faults
async def test_while_the_database_is_away_readings_wait_and_are_stored_once(
    app, database, server_url
):
    """Connections are cut and refused for a while; what was read in that time arrives later."""
    admin = server_url.replace("/template_nuan", "/postgres")
    name = conninfo_to_dict(database)["dbname"]

    def allow(yes: bool) -> None:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}")
            if not yes:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (name,),
                )

    async with collecting(app, demo_town(0)) as (_, collector):
        await until(lambda: answered() == meters())
        db.session.remove()
        allow(False)
        try:
            for _ in range(200):
                await asyncio.sleep(0.05)
                if collector.outcomes.qsize() >= 5:
                    break
            held = collector.outcomes.qsize()
        finally:
            allow(True)
        assert held >= 5
        await until(lambda: collector.outcomes.qsize() == 0)
    asked = db.session.execute(
        sa.text("SELECT sum(answered), (SELECT count(*) FROM reading) FROM read_success")
    ).one()
    assert asked[0] == asked[1]


def test_a_link_is_named_by_its_address_or_refused():
    assert link_of("tcp://127.0.0.1:7001").port == 7001
    assert link_of("serial:///dev/ttyS0?baud=9600").baud == 9600
    with pytest.raises(ValueError, match="no link is called"):
        link_of("carrier-pigeon://loft")


def test_the_towns_description_survives_json():
    town = demo_town(0)
    assert type(town).from_dict(json.loads(json.dumps(town.to_dict()))) == town
