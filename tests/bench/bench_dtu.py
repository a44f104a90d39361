"""1,000 DTUs with 16 CJ/T 188 meters each at 2,400 baud, read by one collector process.

The modems and meters run in a process of their own and dial in over loopback; every fifth modem
tears, glues, interrupts and drops.  The ratio is the meters whose own value is in the database
exactly once; elapsed time is put beside what 16 questions and answers take on the wire.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from backend import create_app
from backend.archive.models import Building, Bus, Meter, Region
from backend.base import postgres, schema
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.config import load
from collectors.collector import Collector
from collectors.frames import cjt188
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dtu import SimulatedDtu
from collectors.simulator.faults import DtuFault
from collectors.simulator.meters import CjtUtilityMeter
from tests.ports import free_port

DTUS, METERS, BAUD = 1_000, 16, 2400
LIMIT_S, LIMIT_MB = 90.0, 400
FAULTS = (DtuFault.HALVES, None, DtuFault.GLUED, DtuFault.HEARTBEAT, None, DtuFault.DROP)
EXACTLY_ONCE = """
SELECT count(*) FROM (
    SELECT r.meter_id FROM reading r JOIN meter m ON m.id = r.meter_id
    GROUP BY r.meter_id, m.address
    HAVING count(*) = 1 AND min(r.register) = 1000 + 10 * m.address::bigint) AS once
"""


def device_id(dtu: int) -> str:
    return str(13_800_000_000 + dtu)


def meter_of(number: int) -> CjtUtilityMeter:
    """A water meter with a register of its own."""
    return CjtUtilityMeter("water", f"{number:014d}", lambda now: {"volume_l": 1000 + 10 * number})


def wire_s() -> float:
    """What one bus's questions and answers take on the wire."""
    meter = meter_of(1)
    question = cjt188.encode_read(meter.address, meter.meter_type)
    request, _ = cjt188.decode(question)
    answer = meter.answer(request, datetime(2026, 11, 20, tzinfo=UTC)) if request else b""
    return METERS * 11 * (len(question) + len(answer or b"")) / BAUD


def many_sockets() -> None:
    """Let this process open as many sockets as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- the modems' process --------------------------------------------------------------------


def simulate(port: int, orders: Connection) -> None:
    """All DTUs, from the first order to the second."""
    many_sockets()
    asyncio.run(_simulate(port, orders))


async def _simulate(port: int, orders: Connection) -> None:
    clock, dtus = SystemClock(), []
    for n in range(DTUS):
        meters = [meter_of(n * METERS + m) for m in range(METERS)]
        bus = SimulatedBus(f"bus-{n}", meters, clock=clock, baud=BAUD)
        faults = FAULTS if n % 5 == 0 else ()
        dtus.append(SimulatedDtu(bus, device_id(n), port, faults=faults))
    orders.send("ready")
    await asyncio.to_thread(orders.recv)
    for dtu in dtus:
        await dtu.start()
    await asyncio.to_thread(orders.recv)
    for dtu in dtus:
        await dtu.stop()


# --- the collector's process ----------------------------------------------------------------


def install() -> None:
    """A bus a DTU and its meters."""
    region = Region(name="bench", kind="company")
    db.session.add(region)
    db.session.flush()
    building = Building(region_id=region.id, code="bench", name="bench", address="")
    db.session.add(building)
    db.session.flush()
    buses = [
        Bus(
            building_id=building.id,
            code=f"bus-{n}",
            name="bench",
            link=f"dtu://{device_id(n)}",
            read_every_s=86_400,
        )
        for n in range(DTUS)
    ]
    db.session.add_all(buses)
    db.session.flush()
    rows = [
        {
            "bus_id": bus.id,
            "building_id": building.id,
            "scope": "building",
            "kind": "water",
            "protocol": "cjt188",
            "address": f"{n * METERS + m:014d}",
            "installed_on": date(2026, 1, 1),
        }
        for n, bus in enumerate(buses)
        for m in range(METERS)
    ]
    db.session.execute(sa.insert(Meter), rows)
    db.session.commit()
    db.session.remove()


async def collect(app: Flask, orders: Connection) -> tuple[float, float]:
    """Seconds until the last bus was read, and until all was stored."""
    collector, stop = Collector(app, SystemClock(), timeout_s=3), asyncio.Event()
    running = asyncio.create_task(collector.run(stop))
    while not collector.dtus.listener.is_listening:
        await asyncio.sleep(0.01)
    orders.send("dial")
    began = time.perf_counter()
    read_s = 0.0
    while time.perf_counter() - began < LIMIT_S:
        await asyncio.sleep(0.1)
        sessions = [session for _, session in collector.sessions.values()]
        if not read_s and all(s.counts.total() >= METERS for s in sessions):
            read_s = time.perf_counter() - began
        if read_s and await asyncio.to_thread(readings_in, app) >= DTUS * METERS:
            break
    stored_s = time.perf_counter() - began
    stop.set()
    await running
    orders.send("stop")
    return read_s or LIMIT_S, stored_s


def readings_in(app: Flask) -> int:
    """How many readings are in the database, doubles included."""
    with app.app_context():  # closes its session
        return db.session.scalar(sa.text("SELECT count(*) FROM reading")) or 0


def measure(app: Flask, port: int) -> tuple[float, float, int, int]:
    """Run both processes; seconds, and the meters and readings found in the database."""
    ours, theirs = multiprocessing.Pipe()
    modems = multiprocessing.get_context("spawn").Process(target=simulate, args=(port, theirs))
    modems.start()
    try:
        ours.recv()
        read_s, stored_s = asyncio.run(collect(app, ours))
    finally:
        modems.join(10)
        modems.kill()
    with app.app_context():
        once = db.session.scalar(sa.text(EXACTLY_ONCE)) or 0
        readings = readings_in(app)
        db.session.remove()
        db.engine.dispose()
    return read_s, stored_s, once, readings


def main() -> int:
    """One run; 1 where a meter is missing or double, or memory is above its budget."""
    many_sockets()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nuan-bench-") as directory:
        data = Path(directory) / "pg"
        settings = load({"NUAN_ENV": "test", "DATABASE_URL": postgres.embedded(data)})
        app = create_app(
            settings.replace(dtu_host="127.0.0.1", dtu_port=port, var_dir=directory),
            web_pages=False,
        )
        try:
            with app.app_context():
                schema.migrate()
                install()
            read_s, stored_s, once, readings = measure(app, port)
        finally:
            postgres.stop_embedded(data)
    meters, memory_mb = DTUS * METERS, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ratio = once / meters
    print(
        f"DTUs, meters stored exactly once: {DTUS:,} x {METERS} meters, {readings:,} readings, "
        f"read in {read_s:.1f} s (wire alone {wire_s():.1f} s), stored in {stored_s:.1f} s, "
        f"memory {memory_mb:.0f} MB (at most {LIMIT_MB}), ratio {ratio:.4f} (goal 1)"
    )
    return once != meters or readings != meters or memory_mb > LIMIT_MB


if __name__ == "__main__":
    sys.exit(main())
