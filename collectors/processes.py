"""`nuan collect` and `nuan schedule`: long-running processes that end cleanly on a signal."""

from __future__ import annotations

import asyncio
import signal
import threading

import click

from backend.base.command import application
from backend.commands import fail
from backend.config import Settings
from collectors.collector import Collector
from collectors.dialling import CannotListen
from collectors.pushing import NoPushes, pushing
from collectors.schedule import run
from collectors.spool import Spool, SpoolInUse

STOPPING = (signal.SIGINT, signal.SIGTERM)


@click.command()
def collect() -> None:
    """Read every bus by plan and store the readings (采集)."""
    with application() as app:
        settings = app.extensions["nuan_settings"]
        clock = app.extensions["nuan_clock"]
        try:
            spool = Spool(settings.var / "spool", settings.spool_mb * 1_000_000)
        except (SpoolInUse, OSError) as error:
            fail(f"{error}: give each collector a NUAN_VAR_DIR of its own that it can write")
        try:
            collector = Collector(app, clock, timeout_s=settings.bus_timeout_s, spool=spool)
        except ValueError as error:
            fail(f"a setting is wrong: {error}")
        try:
            asyncio.run(_until_told(collector, settings))
        except NoPushes as error:
            fail(f"pushes cannot be taken: {error}")
        except CannotListen as error:
            fail(str(error))
        spool.close()


async def _until_told(collector: Collector, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app, clock = collector.app, collector.clock
    async with pushing(app, clock, settings, collector.storing.put):
        await collector.run(stop)


@click.command()
def schedule() -> None:
    """Run the nightly and hourly plan; a second one stands by (调度)."""
    with application() as app:
        stop = threading.Event()
        for number in STOPPING:
            signal.signal(number, lambda *_: stop.set())
        run(app, stop, app.extensions["nuan_settings"].reminder_hour)
