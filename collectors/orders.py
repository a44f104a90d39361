"""What the web tier has asked for, done on the collector's buses: orders to valves, runs, jobs.

Every POLL_S each idle bus is looked after by one task: first an order, then due items.  A job on
the whole bus (`collectors.bus_jobs`) has a task beside it and gives way between conversations.
What is taken is taken under a lease in the database, so a collector that dies gives it back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from flask import Flask

from backend.archive.models import Meter
from backend.base.clock import Clock
from backend.base.db import db
from backend.metering import bus_jobs, bus_states, commands, plans, runs
from backend.metering.bus_jobs import Job
from backend.metering.commands import Order
from backend.metering.freezes import MONTH, NO_FREEZE
from backend.metering.models import Reading
from backend.metering.runs import Claim, Settled
from backend.metering.service import NewReading
from collectors.bus_jobs import carry_out
from collectors.dialects import REFUSED, Freeze, Target, supply_is_open
from collectors.reading import Asked, Outcome, store
from collectors.session import LINK_DOWN, NEVER_SENT, Conversation, Failed, Read
from collectors.until_stored import AWAY, UntilStored

log = logging.getLogger("nuan.orders")

POLL_S = 1.0
PLAN_EVERY = timedelta(seconds=30)
Buses = Mapping[int, tuple[str, Conversation]]  # bus id -> its link's name, who speaks to it


@dataclass(frozen=True, slots=True)
class _Result:
    """What came of a claim on the wire."""

    claim: Claim
    error: str = ""
    reading: NewReading | None = None


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one look has taken, and the meters it is about."""

    orders: list[Order]
    claims: list[Claim]
    jobs: list[Job]
    meters: dict[int, Asked]
    on_buses: dict[int, list[Asked]]


class Orders:
    """Carries out runs and commands on a collector's buses until stopped."""

    def __init__(self, app: Flask, clock: Clock, buses: Buses, in_cycle: Set[int] = frozenset()):
        self.app, self.clock, self.buses, self._in_cycle = app, clock, buses, in_cycle
        self._marked: Set[int] | None = None  # busy buses as the database knows them
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._until_stored = UntilStored(app)
        self._stopping = self._until_stored.stopping
        self._planned_at = clock.now() - PLAN_EVERY
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for work."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Finish the meter under way on each bus, give the rest back, and end."""
        self._stopping.set()
        if self._running:
            await self._running
        tasks = [*self._busy.values(), *self._jobs.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._mark(frozenset())

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._tick()
            except AWAY as error:
                log.warning("no orders: the database is away", extra={"why": str(error)})
            except Exception:
                log.exception("looking for orders failed; trying again")
            await self._until_stored.pause(POLL_S)

    async def _tick(self) -> None:
        idle = [bus_id for bus_id in self.buses if bus_id not in self._busy]
        jobless = [bus_id for bus_id in self.buses if bus_id not in self._jobs]
        taken = await asyncio.to_thread(self._take, idle, jobless)
        await self._mark(self._in_cycle | self._busy.keys() | self._jobs.keys())
        for bus_id in {o.bus_id for o in taken.orders} | {c.bus_id for c in taken.claims}:
            mine = [o for o in taken.orders if o.bus_id == bus_id]
            held = [c for c in taken.claims if c.bus_id == bus_id]
            self._begin(self._busy, bus_id, self._work(bus_id, mine, held, taken.meters))
        for job in taken.jobs:
            on_bus = taken.on_buses.get(job.bus_id, [])
            self._begin(self._jobs, job.bus_id, self._do_job(job, on_bus))

    async def _mark(self, busy: Set[int]) -> None:
        """Tell the database which buses are being read, where that has changed."""
        if busy != self._marked:
            owned, now = list(self.buses), self.clock.now()
            await self._until_stored(lambda: bus_states.mark_reading(busy, owned, now))
            self._marked = busy

    def _begin(
        self, tasks: dict[int, asyncio.Task[None]], bus_id: int, work: Coroutine[Any, Any, None]
    ) -> None:
        """A task of a bus, among its like until it ends."""
        tasks[bus_id] = asyncio.create_task(work)
        tasks[bus_id].add_done_callback(lambda _task: tasks.pop(bus_id))

    def _take(self, idle: Sequence[int], jobless: Sequence[int]) -> _Taken:
        """Sweep, begin what is planned, and take what is due; committed before anything is sent."""
        now = self.clock.now()
        with self.app.app_context():
            self._look_after(now)
            orders, claims = commands.take(idle, now), self._take_items(idle, now)
            jobs = bus_jobs.take(jobless, now)
            meters = _meters({o.meter_id for o in orders} | {c.meter_id for c in claims})
            on_buses = _on_buses({job.bus_id for job in jobs})
            db.session.commit()
        return _Taken(orders, claims, jobs, meters, on_buses)

    def _take_items(self, idle: Sequence[int], now: datetime) -> list[Claim]:
        """Due items; of a bus that is asked for many meters together, as many."""
        sessions = {bus_id: self._session(bus_id) for bus_id in idle}
        at_once = {bus_id: s.at_once for bus_id, s in sessions.items() if s is not None}
        many = [bus_id for bus_id, most in at_once.items() if most > runs.BATCH]
        claims = runs.take([bus_id for bus_id in at_once if bus_id not in many], now)
        if many:
            claims += runs.take(many, now, batch=max(at_once.values()))
        return claims

    async def _do_job(self, job: Job, meters: Sequence[Asked]) -> None:
        session = self._session(job.bus_id)
        if session is not None:  # else its lease runs out
            await carry_out(job, session, meters, self.clock, self._until_stored)

    def _look_after(self, now: datetime) -> None:
        runs.sweep(now)
        commands.sweep(now)
        bus_jobs.sweep(now)
        if now - self._planned_at >= PLAN_EVERY:
            plans.start_planned(now)
            bus_states.sweep_pushed(now)
            self._planned_at = now

    async def _work(
        self, bus_id: int, orders: list[Order], claims: list[Claim], meters: dict[int, Asked]
    ) -> None:
        """Everything taken for one bus; whatever goes wrong here stays here."""
        try:
            for order in orders:
                await self._carry_out(order, meters.get(order.meter_id))
            if claims:
                await self._read(bus_id, claims, meters)
        except Exception:
            log.exception(
                "work on a bus failed; its lease will give it back", extra={"bus": bus_id}
            )

    def _session(self, bus_id: int) -> Conversation | None:
        """The bus's session; None where the bus has gone meanwhile."""
        found = self.buses.get(bus_id)
        return found[1] if found else None

    async def _read(self, bus_id: int, claims: list[Claim], meters: dict[int, Asked]) -> None:
        """Ask the claimed meters in turn, or as many together as the bus can be asked for; a dead
        wire is asked once and not once a meter."""
        outcome, results = Outcome(), list[_Result]()
        while (left := claims[len(results) :]) and not self._stopping.is_set():
            session = self._session(bus_id)
            if session is None:
                break
            part = left[: session.at_once]
            is_down = any(result.error == LINK_DOWN for result in results)
            here = [] if is_down else [c for c in part if c.meter_id in meters]
            targets = [_target(claim, meters[claim.meter_id]) for claim in here]
            read = dict(zip(here, await session.read_many(targets), strict=True))
            for claim in part:
                results.append(_result(claim, meters.get(claim.meter_id), read.get(claim), outcome))
        left = claims[len(results) :]
        await self._until_stored(lambda: self._settle(outcome, results, left))

    def _settle(self, outcome: Outcome, results: list[_Result], left: list[Claim]) -> None:
        """Readings and the items they belong to, in one transaction."""
        store(outcome)
        ids = _ids_of(outcome)
        named = [
            Settled(r.claim, r.error, ids.get(_key(r.reading)) if r.reading else None)
            for r in results
        ]
        now = self.clock.now()
        runs.settle(named, now)
        runs.give_back(left, now)
        runs.sweep(now)

    async def _carry_out(self, order: Order, asked: Asked | None) -> None:
        """Send an order where it is new, then look at the valve or relay."""
        session = self._session(order.bus_id)
        if session is None or asked is None:
            return  # its lease runs out; commands.sweep ends it in time
        if order.is_new:
            answer = await session.order_supply(
                asked.target, is_open=order.is_open, not_after=order.until
            )
            if isinstance(answer, Failed) and answer.reason in (REFUSED, *NEVER_SENT):
                why, at = answer.reason, answer.at
                await self._until_stored(lambda: commands.refused(order, why, at))
                return
            if isinstance(answer, Read):
                at = answer.at
                await self._until_stored(lambda: commands.acknowledged(order, at))
        result = await session.read(replace(asked.target, with_supply=True))
        await self._until_stored(lambda: self._verify(order, asked, result))

    def _verify(self, order: Order, asked: Asked, result: Read | Failed) -> None:
        """The read-back is a reading like any other, and the order's proof."""
        outcome = Outcome()
        outcome.add(asked, result, order.bus_id)
        store(outcome)
        is_open = supply_is_open(result) if isinstance(result, Read) else None
        proof = next(iter(_ids_of(outcome).values()), None)
        state = commands.seen(order, is_open, proof, self.clock.now())
        log.info("supply", extra={"command": order.command_id, "state": state, "open": is_open})


def _meters(ids: set[int]) -> dict[int, Asked]:
    """Those of the meters that are in service."""
    if not ids:
        return {}
    rows = db.session.scalars(sa.select(Meter).where(Meter.id.in_(ids), Meter.removed_on.is_(None)))
    return {meter.id: Asked.of(meter) for meter in rows}


def _on_buses(buses: set[int]) -> dict[int, list[Asked]]:
    """The meters in service of some buses, by bus."""
    found: dict[int, list[Asked]] = {}
    if buses:
        live = sa.select(Meter).where(Meter.bus_id.in_(buses), Meter.removed_on.is_(None))
        for meter in db.session.scalars(live.order_by(Meter.id)):
            found.setdefault(meter.bus_id, []).append(Asked.of(meter))
    return found


def _result(
    claim: Claim, asked: Asked | None, read: Read | Failed | None, outcome: Outcome
) -> _Result:
    """What came of a claim, taken into the outcome; `read` None: the wire was dead already."""
    if asked is None or read is None:
        return _Result(claim, LINK_DOWN if asked else "removed")
    error = read.reason if isinstance(read, Failed) else ""
    if error != NO_FREEZE:  # which is not the meter's failing
        outcome.add(asked, read, claim.bus_id)
    return _Result(claim, error, None if error else outcome.readings[-1])


def _target(claim: Claim, asked: Asked) -> Target:
    """What the run wants of the meter: its current values, or what it froze."""
    if claim.frozen_on is None:
        return asked.target
    period: Literal["day", "month"] = "month" if claim.what == MONTH else "day"
    return replace(asked.target, freeze=Freeze(period, claim.frozen_on))


_Key = tuple[int, datetime, str]


def _key(reading: NewReading) -> _Key:
    return reading.meter_id, reading.read_at, reading.kind


def _ids_of(outcome: Outcome) -> dict[_Key, int]:
    """The rows of an outcome's readings: (meter, moment, kind) -> reading id."""
    keys = [_key(reading) for reading in outcome.readings]
    if not keys:
        return {}
    rows = db.session.execute(
        sa.select(Reading.meter_id, Reading.read_at, Reading.kind, Reading.id).where(
            sa.tuple_(Reading.meter_id, Reading.read_at, Reading.kind).in_(keys),
            Reading.corrects_id == 0,
        )
    )
    return {(row.meter_id, row.read_at, row.kind): row.id for row in rows}
