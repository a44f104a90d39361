"""A collector killed while the database is away loses nothing it had read and stores it once."""

import asyncio
import json
import re
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering.models import Reading
from collectors.collector import Collector
from collectors.demo import archive
from collectors.simulator.demo import demo_town
from collectors.simulator.town import SimulatedTown
from collectors.spool import Spool
from collectors.storing import unpack
from tests.faults.processes import environment, process

pytestmark = pytest.mark.faults
COLLECT = ["-m", "backend", "collect"]


@contextmanager
def database_away(server_url, database):
    """Connections are cut and new ones refused."""
    name = conninfo_to_dict(database)["dbname"]

    def allow(yes):
        admin = server_url.replace("/template_nuan", "/postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}")
            if not yes:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (name,),
                )

    allow(False)
    try:
        yield
    finally:
        allow(True)


async def until(condition, what, seconds=30):
    for _ in range(seconds * 20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: did not happen in {seconds} s")


def waiting(directory):
    """(meter, moment) of every reading on disk, looked at without touching the spool."""
    found = []
    for path in sorted(directory.glob("*.spool")):
        data = path.read_bytes()
        for start in (m.start() for m in re.finditer(b"NUS1", data)):
            length = int.from_bytes(data[start + 4 : start + 8])
            payload = data[start + 12 : start + 12 + length]
            with suppress(json.JSONDecodeError):
                found += [
                    (r.meter_id, r.read_at) for _, _, o in unpack(payload) for r in o.readings
                ]
    return found


def stored():
    db.session.rollback()
    rows = db.session.execute(sa.select(Reading.meter_id, Reading.read_at)).all()
    return [(row.meter_id, row.read_at) for row in rows]


def install(town, simulated, every_s=1):
    """The demo town's rows over the running simulated buses."""
    ports = {code: simulated.port(code) for code in simulated.buses}
    here = replace(town, buses=tuple(replace(b, port=ports[b.bus_id]) for b in town.buses))
    archive.install(here, date(2026, 10, 1), every_s, "template")
    db.session.commit()


async def test_a_collector_killed_while_the_database_is_away_loses_nothing(
    app, database, server_url, tmp_path
):
    town, spool = demo_town(0), tmp_path / "spool"
    env = environment(app, database, NUAN_VAR_DIR=str(tmp_path), NUAN_LOG_LEVEL="INFO")
    async with SimulatedTown(town) as simulated:
        install(town, simulated)
        with process(COLLECT, env, tmp_path / "log") as collector:
            await until(stored, "reading began")
            db.session.remove()
            with database_away(server_url, database):
                await until(lambda: len(waiting(spool)) >= 60, "readings on disk")
                collector.kill()
                collector.wait()
                held = waiting(spool)
                with last_file(spool).open("ab") as torn:
                    torn.write(b"NUS1\0\0\xff\xff torn")  # as a kill inside a write leaves it
                with process(COLLECT, env, tmp_path / "log2"):
                    await asyncio.sleep(1.5)  # it starts without its database
                    assert set(waiting(spool)) >= set(held)
        with process(COLLECT, env, tmp_path / "log3"):
            await until(lambda: set(held) <= set(stored()), "all that was read is stored")
            await until(lambda: not waiting(spool), "the spool is empty")
    found = stored()
    assert len(found) == len(set(found))
    answered = db.session.scalar(sa.text("SELECT sum(answered) FROM read_success"))
    assert answered == len(found)
    assert (
        "torn record is dropped"
        in (tmp_path / "log3").read_text() + (tmp_path / "log2").read_text()
    )


def last_file(directory):
    return max(directory.glob("*.spool"))


async def test_a_full_spool_makes_the_buses_wait_and_the_oldest_is_stored(
    app, database, server_url, tmp_path, caplog
):
    town, held = demo_town(0), []
    spool = Spool(tmp_path / "spool", 60_000, segment_bytes=8_000)
    collector = Collector(app, SystemClock(), timeout_s=0.3, spool=spool)
    async with SimulatedTown(town) as simulated:
        install(town, simulated)
        stop = asyncio.Event()
        running = asyncio.create_task(collector.run(stop))
        await until(stored, "reading began")
        db.session.remove()
        with database_away(server_url, database):
            await until(lambda: "the spool is full" in caplog.text, "the spool is full")
            held = waiting(tmp_path / "spool")
            await until(lambda: collector.outcomes.qsize() >= 3, "the buses' outcomes wait")
            assert waiting(tmp_path / "spool") == held and spool.size_bytes <= 60_000
        await until(lambda: set(held) <= set(stored()), "what was on disk is stored")
        stop.set()
        await running
    spool.close()
    found = stored()
    assert len(found) == len(set(found))


async def test_an_outcome_the_database_refuses_does_not_hold_up_the_others(app, caplog):
    """A register beyond a bigint can come from no meter of ours, but it must not stop a site."""
    town = demo_town(0)
    async with SimulatedTown(town) as simulated:
        install(town, simulated)
        sick = simulated.buses["B-water"]
        collector = Collector(app, SystemClock(), timeout_s=0.3)
        spoil(collector, sick)
        stop = asyncio.Event()
        running = asyncio.create_task(collector.run(stop))
        await until(lambda: "cannot be stored, left out" in caplog.text, "it is left out")
        await until(lambda: len({m for m, _ in stored()}) >= 30, "the others are stored")
        stop.set()
        await running


def spoil(collector, sick):
    """Readings of one bus are made too large for their column on their way to the storer."""
    put = collector.outcomes.put

    async def spoiled(item):
        bus_id, at, outcome = item
        if f":{sick.port}" in collector.sessions[bus_id][0]:
            outcome.readings = [replace(r, register=2**70) for r in outcome.readings]
        await put((bus_id, at, outcome))

    collector.outcomes.put = spoiled
