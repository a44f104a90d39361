"""What the web tier has asked for, done on the collector's buses: items of runs, orders to valves.

Every POLL_S each idle bus is looked after by one task: first an order, then due items.  What is
taken is taken under a lease in the database, so a collector that dies gives it back by dying.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import psycopg
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.archive.models import Meter
from backend.base.clock import Clock
from backend.base.db import db
from backend.metering import commands, runs
from backend.metering.commands import Order
from backend.metering.models import Reading
from backend.metering.runs import Claim, Settled
from collectors.dialects import REFUSED, valve_is_open
from collectors.reading import Asked, Outcome, store
from collectors.session import BAD_TARGET, LINK_DOWN, Failed, Read, Session

log = logging.getLogger("nuan.orders")

POLL_S = 1.0
PLAN_EVERY = timedelta(seconds=30)
FIRST_WAIT_S, LAST_WAIT_S = 0.5, 30.0

AWAY = (OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError)
Buses = Mapping[int, tuple[str, Session]]  # a collector's: bus id -> its link's name, its session


class Orders:
    """Carries out runs and commands on a collector's buses until stopped."""

    def __init__(self, app: Flask, clock: Clock, buses: Buses):
        self.app, self.clock, self.buses = app, clock, buses
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
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
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._tick()
            except AWAY as error:
                log.warning("no orders: the database is away", extra={"why": str(error)})
            except Exception:
                log.exception("looking for orders failed; trying again")
            await self._pause(POLL_S)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not through the order to stop."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _tick(self) -> None:
        idle = [bus_id for bus_id in self.buses if bus_id not in self._busy]
        orders, claims, meters = await asyncio.to_thread(self._take, idle)
        for bus_id in {o.bus_id for o in orders} | {c.bus_id for c in claims}:
            mine = [o for o in orders if o.bus_id == bus_id]
            held = [c for c in claims if c.bus_id == bus_id]
            task = asyncio.create_task(self._work(bus_id, mine, held, meters))
            self._busy[bus_id] = task
            task.add_done_callback(partial(self._done, bus_id))

    def _done(self, bus_id: int, _task: asyncio.Task[None]) -> None:
        del self._busy[bus_id]

    def _take(self, idle: Sequence[int]) -> tuple[list[Order], list[Claim], dict[int, Asked]]:
        """Sweep, begin what is planned, and take what is due; committed before anything is sent."""
        now = self.clock.now()
        with self.app.app_context():
            self._look_after(now)
            orders, claims = commands.take(idle, now), runs.take(idle, now)
            meters = _meters({o.meter_id for o in orders} | {c.meter_id for c in claims})
            db.session.commit()
        return orders, claims, meters

    def _look_after(self, now: datetime) -> None:
        runs.sweep(now)
        commands.sweep(now)
        if now - self._planned_at >= PLAN_EVERY:
            runs.start_planned(now)
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

    def _session(self, bus_id: int) -> Session | None:
        """The bus's session; None where the bus has gone meanwhile."""
        found = self.buses.get(bus_id)
        return found[1] if found else None

    async def _read(self, bus_id: int, claims: list[Claim], meters: dict[int, Asked]) -> None:
        """Ask the claimed meters in turn; a dead wire is asked once and not once a meter."""
        outcome, results = Outcome(), list[Settled]()
        is_down = False
        for claim in claims:
            session, asked = self._session(bus_id), meters.get(claim.meter_id)
            if self._stopping.is_set() or session is None:
                break
            if asked is None or is_down:
                results.append(Settled(claim, LINK_DOWN if asked else "removed"))
                continue
            result = await session.read(asked.target)
            outcome.add(asked, result, bus_id)
            error = result.reason if isinstance(result, Failed) else ""
            is_down = error == LINK_DOWN
            results.append(Settled(claim, error))
        left = claims[len(results) :]
        await self._until_stored(lambda: self._settle(outcome, results, left))

    def _settle(self, outcome: Outcome, results: list[Settled], left: list[Claim]) -> None:
        """Readings and the items they belong to, in one transaction."""
        store(outcome)
        ids = _ids_of(outcome)
        named = [Settled(r.claim, r.error, ids.get(r.claim.meter_id)) for r in results]
        now = self.clock.now()
        runs.settle(named, now)
        runs.give_back(left, now)
        runs.sweep(now)

    async def _carry_out(self, order: Order, asked: Asked | None) -> None:
        """Send an order where it is new, then look at the valve."""
        session = self._session(order.bus_id)
        if session is None or asked is None:
            return  # its lease runs out; commands.sweep ends it in time
        if order.is_new:
            answer = await session.order_valve(
                asked.target, is_open=order.is_open, not_after=order.until
            )
            if isinstance(answer, Failed) and answer.reason in (REFUSED, BAD_TARGET):
                why, at = answer.reason, answer.at
                await self._until_stored(lambda: commands.refused(order, why, at))
                return
            if isinstance(answer, Read):
                at = answer.at
                await self._until_stored(lambda: commands.acknowledged(order, at))
        result = await session.read(asked.target)
        await self._until_stored(lambda: self._verify(order, asked, result))

    def _verify(self, order: Order, asked: Asked, result: Read | Failed) -> None:
        """The read-back is a reading like any other, and the order's proof."""
        outcome = Outcome()
        outcome.add(asked, result, order.bus_id)
        store(outcome)
        is_open = valve_is_open(result.status) if isinstance(result, Read) else None
        proof = _ids_of(outcome).get(order.meter_id)
        state = commands.seen(order, is_open, proof, self.clock.now())
        log.info("valve", extra={"command": order.command_id, "state": state, "open": is_open})

    async def _until_stored(self, work: Callable[[], object]) -> None:
        """Do database work, again and again while the database is away."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await asyncio.to_thread(self._in_context, work)
                return
            except AWAY as error:
                log.warning("not stored, will try again", extra={"why": str(error)})
            if self._stopping.is_set():
                return  # the lease gives it back
            await self._pause(wait_s)
            wait_s = min(wait_s * 2, LAST_WAIT_S)

    def _in_context(self, work: Callable[[], object]) -> None:
        with self.app.app_context():
            work()
            db.session.commit()


def _meters(ids: set[int]) -> dict[int, Asked]:
    """Those of the meters that are in service."""
    if not ids:
        return {}
    rows = db.session.scalars(sa.select(Meter).where(Meter.id.in_(ids), Meter.removed_on.is_(None)))
    return {meter.id: Asked.of(meter) for meter in rows}


def _ids_of(outcome: Outcome) -> dict[int, int]:
    """The rows of an outcome's readings: meter id -> reading id."""
    keys = [(r.meter_id, r.read_at) for r in outcome.readings]
    if not keys:
        return {}
    rows = db.session.execute(
        sa.select(Reading.meter_id, Reading.id).where(
            sa.tuple_(Reading.meter_id, Reading.read_at).in_(keys), Reading.kind == "current"
        )
    )
    return {row.meter_id: row.id for row in rows}
