"""Seven days by twenty-four hours: what breaks beside a bus never stops it, and what was read while
the database was down is stored exactly once, in order."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from backend import create_app
from backend.archive.models import Bus, Meter
from backend.base import postgres, schema
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering.models import MeterState, Reading
from collectors.collector import Collector
from collectors.demo import archive
from collectors.simulator.demo import demo_town
from collectors.simulator.dtu import SimulatedDtu
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.town import SimulatedTown
from tests.conftest import settings_for
from tests.faults.processes import environment, process
from tests.faults.test_collector_crashes import COLLECT, stored, until, waiting

pytestmark = pytest.mark.faults
PHONE = "13800138000"


def install(simulated, every_s=1):
    archive.install(simulated.placed, date(2026, 10, 1), every_s, "template")
    db.session.commit()


# --- a database server of its own, really stopped and really killed -------------------------------


class Server:
    """An embedded PostgreSQL that belongs to one test."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="nuan-7x24-"))  # a socket's path must be short
        self.data = self.home / "pg"
        self.url = self.start()

    def start(self):
        return postgres.embedded(self.data)

    def stop(self):
        postgres.stop_embedded(self.data)

    def kill(self):
        """As a power cut does; its children go when they see it."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        for _ in range(200):
            time.sleep(0.05)
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return
        raise AssertionError("the server outlived its death")


@pytest.fixture
def server():
    server = Server()
    yield server
    server.start()  # or its library takes offence at stopping it
    server.stop()
    shutil.rmtree(server.home, ignore_errors=True)


@pytest.fixture
def site(server):
    """The application on that server."""
    application = create_app(settings_for(server.url), web_pages=False)
    with application.app_context():
        schema.migrate()
        yield application
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_database_that_is_restarted_stops_no_bus_and_loses_no_reading(
    site, server, tmp_path, end
):
    """The collector runs on, keeps on disk what it reads, and stores it once the server is back."""
    spool = tmp_path / "spool"
    env = environment(site, server.url, NUAN_VAR_DIR=str(tmp_path), NUAN_LOG_LEVEL="INFO")
    async with SimulatedTown(demo_town(0)) as simulated:
        install(simulated)
        with process(COLLECT, env, tmp_path / "log") as collector:
            await until(stored, "reading began")
            db.session.remove()
            db.engine.dispose()
            await asyncio.to_thread(getattr(server, end))
            asked = {bus_id: bus.asked for bus_id, bus in simulated.buses.items()}
            await until(
                lambda: all(bus.asked > asked[b] for b, bus in simulated.buses.items()),
                "every bus is read on",
            )
            await until(lambda: len(waiting(spool)) >= 120, "readings on disk")
            held = waiting(spool)
            await asyncio.to_thread(server.start)
            await until(lambda: set(held) <= set(stored()), "all that was read is stored", 60)
            await until(lambda: not waiting(spool), "the spool is empty")
            assert collector.poll() is None
    found = stored()
    assert len(found) == len(set(found))
    assert in_order()


def in_order():
    """Every meter's readings were stored in the order in which they were read."""
    rows = db.session.execute(
        sa.select(Reading.meter_id, Reading.read_at).order_by(Reading.meter_id, Reading.id)
    ).all()
    return [tuple(row) for row in rows] == sorted(tuple(row) for row in rows)


# --- buses beside sick buses ----------------------------------------------------------------------


SICK = {
    "A-1": [Fault.DISCONNECT],
    "A-2": [Fault.SILENCE],
    "A-3": [Fault.COLLISION, Fault.HALF_FRAME, Fault.BAD_CHECKSUM],
    "B-water": [Fault.SLOW],
    "B-gas": [Fault.WRONG_ADDRESS, Fault.REPLAY],
}


async def test_buses_that_are_sick_in_every_way_leave_the_others_their_pace(app):
    """Sound buses are read again and again while five others hang up, keep silent and babble."""
    async with SimulatedTown(demo_town(0)) as simulated:
        install(simulated)
        for bus_id, faults in SICK.items():
            for meter in simulated.buses[bus_id].meters:
                meter.faults = FaultPlan(faults, for_ever=True)
        babbling = asyncio.create_task(babble(simulated.buses["B-power"]))
        collector, stop = Collector(app, SystemClock(), timeout_s=0.2), asyncio.Event()
        running = asyncio.create_task(collector.run(stop))
        try:
            await until(lambda: min(rounds().get(b, 0) for b in SOUND) >= 4, "sound buses go on")
        finally:
            stop.set()
            await running
            babbling.cancel()
    read = rounds()
    assert not any(read.get(bus_id) for bus_id in SICK)
    errors = set(
        db.session.scalars(
            sa.select(MeterState.last_error)
            .join(Meter, Meter.id == MeterState.meter_id)
            .join(Bus, Bus.id == Meter.bus_id)
            .where(Bus.code.in_(SICK))
        )
    )
    assert None not in errors and errors


SOUND = {"A-main", "B-main", "B-heat"}


async def babble(bus):
    """Bytes that nobody asked for, for as long as the test lasts: a converter gone wild."""
    while True:
        bus.wire.say(b"\x68\x16\xfe" * 40, "wild converter")
        await asyncio.sleep(0.002)


def rounds():
    """Bus code -> how often its best-read meter has been stored."""
    db.session.rollback()
    rows = db.session.execute(
        sa.select(Bus.code, Reading.meter_id, sa.func.count())
        .join(Meter, Meter.id == Reading.meter_id)
        .join(Bus, Bus.id == Meter.bus_id)
        .group_by(Bus.code, Reading.meter_id)
    )
    best = Counter()
    for code, _, number in rows:
        best[code] = max(best[code], number)
    return best


@pytest.fixture
# --- a killed collector ---------------------------------------------------------------------------


async def test_a_killed_collector_is_followed_by_one_that_reads_every_bus(
    app, database, tmp_path, free_port
):
    """Modems that had dialled the dead one dial the next; serial servers are simply opened."""
    env = environment(
        app,
        database,
        NUAN_VAR_DIR=str(tmp_path),
        NUAN_DTU_HOST="127.0.0.1",
        NUAN_DTU_PORT=str(free_port),
    )
    async with SimulatedTown(demo_town(0)) as simulated:
        install(simulated)
        modem_bus = simulated.buses["B-heat"]
        db.session.execute(sa.update(Bus).where(Bus.code == "B-heat").values(link=f"dtu://{PHONE}"))
        db.session.commit()
        dtu = SimulatedDtu(modem_bus, PHONE, free_port, redial_s=0.05)
        await dtu.start()
        with process(COLLECT, env, tmp_path / "log") as first:
            await until(lambda: len(rounds()) == len(simulated.buses), "all buses are read")
            first.kill()
            first.wait()
        before, dials = rounds(), dtu.dials
        with process(COLLECT, env, tmp_path / "log2"):
            await until(
                lambda: all(rounds()[code] > before[code] for code in simulated.buses),
                "all buses are read again",
            )
        assert dtu.dials > dials
        await dtu.stop()
    found = stored()
    assert len(found) == len(set(found))


async def test_a_clock_that_jumps_back_stops_no_bus(app):
    """The plan runs on the machine's monotonic time; an hour put back costs no round."""

    class Jumping(SystemClock):
        shift = timedelta()

        def now(self):
            return super().now() + self.shift

    clock = Jumping()
    async with SimulatedTown(demo_town(0)) as simulated:
        install(simulated)
        collector, stop = Collector(app, clock, timeout_s=0.5), asyncio.Event()
        running = asyncio.create_task(collector.run(stop))
        try:
            await until(lambda: min(rounds().get(b, 0) for b in SOUND) >= 2, "reading began")
            clock.shift = -timedelta(hours=1)
            asked = simulated.buses["B-heat"].asked
            await until(lambda: simulated.buses["B-heat"].asked > asked + 48, "two rounds more")
        finally:
            stop.set()
            await running
    assert len(stored()) == len(set(stored()))
