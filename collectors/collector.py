"""`nuan collect`: one process that owns buses, reads them by plan and stores what they say.

Every bus has its own APScheduler job, so a slow or dead bus never holds up another.  Outcomes go
through one bounded queue to the storer; while the database is away they go to the spool on disk,
and when that is full the queue fills and the buses wait: nothing that was read is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as Counts
from collections.abc import Callable
from datetime import datetime
from functools import partial

import sqlalchemy as sa
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from flask import Flask
from prometheus_client import Counter, Gauge
from sqlalchemy.exc import DBAPIError

from backend.archive.models import Bus, Meter
from backend.base.clock import Clock
from backend.base.db import db
from backend.metering import bus_states
from backend.metering.bus_states import Heard
from collectors.concentrators import SCHEME, Concentrators, ConcentratorSettings
from collectors.dialects.dlt645 import credentials_of
from collectors.dtus import Dtus
from collectors.orders import Orders
from collectors.reading import PUSH_SCHEME, Asked, Outcome, read_all, store
from collectors.session import Conversation, Session
from collectors.spool import Spool
from collectors.storing import Storing

log = logging.getLogger("nuan.collect")

READS = Counter("nuan_meter_reads_total", "Meters asked, by what came of it", ["outcome"])
WAITING = Gauge("nuan_outcomes_waiting", "Bus outcomes read and not yet stored")

QUEUE_LIMIT = 200  # bus outcomes waiting for the database; then the buses wait too
RELOAD_S = 60


class Collector:
    """Reads every bus of the database until `stop` is set."""

    def __init__(self, app: Flask, clock: Clock, *, timeout_s: float, spool: Spool | None = None):
        self.app, self.clock, self.timeout_s = app, clock, timeout_s
        self.scheduler = AsyncIOScheduler(timezone="UTC")
        self.outcomes: asyncio.Queue[tuple[int, datetime, Outcome]] = asyncio.Queue(QUEUE_LIMIT)
        self.sessions: dict[int, tuple[str, Conversation]] = {}
        self.meters: dict[int, list[Asked]] = {}
        self.reading: set[int] = set()  # buses in the middle of a cycle
        self.storing = Storing(self._store, spool)
        settings = app.extensions["nuan_settings"]
        self.credentials = credentials_of(settings.dlt645_password, settings.dlt645_operator)
        self.dtus = Dtus(
            settings.dtu_host,
            settings.dtu_port,
            clock=clock,
            outcomes=self.outcomes,
            meters_of=lambda bus_id: self.meters.get(bus_id, []),
            answer_s=timeout_s + 1,
        )
        self.concentrators = Concentrators(
            ConcentratorSettings.of(settings),
            clock=clock,
            put=self.storing.put,
            outcomes=self.outcomes,
            meters_of=lambda bus_id: self.meters.get(bus_id, []),
            meter_s=timeout_s,
            credentials=self.credentials,
        )

        for dialled in (self.dtus, self.concentrators):
            dialled.listener.on_late = partial(self._read_late, dialled.bus_of)

    async def run(self, stop: asyncio.Event) -> None:
        """Read and store until told to stop; what is waiting is stored before the end."""
        await self._reload()
        await self.dtus.start()
        await self.concentrators.start()
        self.scheduler.add_job(self._reload, "interval", seconds=RELOAD_S, max_instances=1)
        self.scheduler.start()
        storer = asyncio.gather(self._store_all(), self.storing.drain())
        orders = Orders(self.app, self.clock, self.sessions, self.reading)
        orders.start()
        await stop.wait()
        self.scheduler.shutdown(wait=False)
        await orders.stop()
        try:
            await asyncio.wait_for(self.outcomes.join(), 10)
        except TimeoutError:
            log.error("stopped with outcomes not stored", extra={"left": self.outcomes.qsize()})
        storer.cancel()
        await asyncio.gather(storer, return_exceptions=True)
        for _, session in self.sessions.values():
            await session.close()
        await self.dtus.stop()
        await self.concentrators.stop()

    async def _reload(self) -> None:
        """Take up new buses and meters, and drop those that are gone."""
        try:
            rows, meters = await asyncio.to_thread(self._load)
        except DBAPIError as error:
            log.warning("the database is away; reading goes on", extra={"why": str(error.orig)})
            return
        self.meters = meters
        for gone in set(self.sessions) - {bus_id for bus_id, *_ in rows}:
            await self._drop(gone)
        for bus_id, link, every_s in rows:
            await self._take_up(bus_id, link, every_s)

    async def _take_up(self, bus_id: int, link: str, every_s: int) -> None:
        if bus_id in self.sessions and self.sessions[bus_id][0] == link:
            return
        if bus_id in self.sessions:
            await self._drop(bus_id)
        try:
            session = self._session(bus_id, link)
        except ValueError as error:
            log.error("bus left out", extra={"bus": bus_id, "why": str(error)})
            return
        self.sessions[bus_id] = (link, session)
        self.scheduler.add_job(
            self._read_bus,
            "interval",
            args=[bus_id],
            seconds=every_s,
            id=f"bus-{bus_id}",
            max_instances=1,
            coalesce=True,
            misfire_grace_time=every_s,
            jitter=min(every_s // 10, 5),
            next_run_time=self.clock.now(),
        )

    def _session(self, bus_id: int, link: str) -> Conversation:
        """What speaks with a bus's meters. Raises ValueError for a link that is none."""
        if link.startswith(SCHEME):
            return self.concentrators.session(bus_id, link)
        wire = self.dtus.link(bus_id, link)
        return Session(
            wire, clock=self.clock, timeout_s=self.timeout_s, credentials=self.credentials
        )

    def _read_late(self, bus_of: Callable[[str], int | None], device_id: str) -> None:
        """A device that was waited for in vain has dialled in: its bus need not wait for its
        next turn, which may be an hour off."""
        job = self.scheduler.get_job(f"bus-{bus_of(device_id)}") if self.scheduler.running else None
        if job is not None and bus_of(device_id) not in self.reading:
            job.modify(next_run_time=self.clock.now())

    async def _drop(self, bus_id: int) -> None:
        if self.scheduler.get_job(f"bus-{bus_id}"):
            self.scheduler.remove_job(f"bus-{bus_id}")
        await self.sessions.pop(bus_id)[1].close()

    def _load(self) -> tuple[list[tuple[int, str, int]], dict[int, list[Asked]]]:
        with self.app.app_context():
            buses = db.session.scalars(sa.select(Bus).where(~Bus.link.startswith(PUSH_SCHEME)))
            rows = [(b.id, b.link, b.read_every_s) for b in buses]
            meters: dict[int, list[Asked]] = {}
            for meter in db.session.scalars(sa.select(Meter).where(Meter.removed_on.is_(None))):
                meters.setdefault(meter.bus_id, []).append(Asked.of(meter))
            return rows, meters

    async def _read_bus(self, bus_id: int) -> None:
        session = self.sessions[bus_id][1]
        self.reading.add(bus_id)
        try:
            outcome = await self._cycle(bus_id, session)
        finally:
            self.reading.discard(bus_id)
        READS.labels("read").inc(len(outcome.readings))
        READS.labels("failed").inc(len(outcome.failures))
        await self.outcomes.put((bus_id, self.clock.now(), outcome))
        WAITING.set(self.outcomes.qsize())

    async def _cycle(self, bus_id: int, session: Conversation) -> Outcome:
        """Ask all meters of a bus; how long that took says whether its plan leaves the time."""
        elapsed = asyncio.get_running_loop().time
        began = elapsed()
        outcome = await read_all(session, self.meters.get(bus_id, []), bus_id)
        outcome.cycle_s = elapsed() - began
        return outcome

    async def _store_all(self) -> None:
        """Store outcomes as they come, together when several wait; try again while it fails."""
        while True:
            batch = [await self.outcomes.get()]
            while not self.outcomes.empty():
                batch.append(self.outcomes.get_nowait())
            await self.storing.put(batch)
            for _ in batch:
                self.outcomes.task_done()
            WAITING.set(self.outcomes.qsize())

    def _store(self, batch: list[tuple[int, datetime, Outcome]]) -> None:
        whole = Outcome()
        for _, _, outcome in batch:
            whole.merge(outcome)
        with self.app.app_context():
            recorded = store(whole)
            bus_states.note([_heard(*part) for part in batch])
            for bus_id, at, outcome in batch:
                if outcome.signal_dbm is not None:
                    bus_states.note_signal(bus_id, outcome.signal_dbm, at)
            db.session.commit()
        log.info(
            "stored",
            extra={
                "stored": recorded.stored,
                "failed": len(whole.failures),
                "duplicates": recorded.duplicates,
            },
        )


def _heard(bus_id: int, at: datetime, outcome: Outcome) -> Heard:
    """What an outcome says of its bus."""
    reasons = Counts(code for _, _, code in outcome.failures)
    return Heard(bus_id, at, len(outcome.readings), outcome.cycle_s, dict(reasons))
