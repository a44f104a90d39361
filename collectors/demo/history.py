"""The town's weeks before now, through the ordinary way in: frames over sockets.

Registers at every midnight, and the two published days sample by sample, are read by a session
from simulated meters on loopback ports, decoded and recorded like any reading.  The other days'
10-minute temperatures are handed over as a concentrator does it, a packed day at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import sqlalchemy as sa

from backend.archive.models import Building, Bus, Household, Meter
from backend.base.clock import day_start
from backend.base.db import db
from backend.metering import series
from backend.metering.rules import pack_day
from collectors.links import TcpLink
from collectors.reading import Asked, Outcome, read_buses, store
from collectors.session import Session
from collectors.simulator.town import SimulatedTown, Town

BATCH = 12  # moments read before they are stored together
Say = Callable[[str], None]


@dataclass(frozen=True)
class Calendar:
    """The demonstration's days: two billing periods, then the running one with the replay."""

    start: date
    replay: date  # first of the two published days
    today: date

    @classmethod
    def ending(cls, today: date) -> Calendar:
        """42 days back from `today`; the published days are the fourth and third last."""
        return cls(today - timedelta(days=42), today - timedelta(days=4), today)

    @property
    def periods(self) -> list[tuple[date, date]]:
        """The two billed periods of 14 days each."""
        first = self.start
        return [
            (first, first + timedelta(days=14)),
            (first + timedelta(days=14), first + timedelta(days=28)),
        ]

    @property
    def days(self) -> list[date]:
        """Every whole day before today."""
        return [self.start + timedelta(days=n) for n in range((self.today - self.start).days)]

    @property
    def replay_days(self) -> list[date]:
        """The two published days."""
        return [self.replay, self.replay + timedelta(days=1)]


def load(town: Town, calendar: Calendar, now: datetime, say: Say) -> int:
    """Read and store the whole history; repeating it stores nothing twice.

    Returns the number of readings that came over the wires.
    """
    elsewhere = Town(town.buildings, tuple(replace(bus, port=0) for bus in town.buses))
    return asyncio.run(_load(elsewhere, calendar, now, say))


async def _load(town: Town, calendar: Calendar, now: datetime, say: Say) -> int:
    simulated = SimulatedTown(town)
    async with simulated:
        wires = wires_of(simulated)
        try:
            midnights = [day_start(day) for day in [*calendar.days, calendar.today]]
            count = await read_moments(simulated, wires, midnights, say, "零点读数")
            steps = [day_start(calendar.replay) + timedelta(seconds=600 * n) for n in range(288)]
            published = {k: v for k, v in wires.items() if k.startswith("A")}
            count += await read_moments(simulated, published, steps, say, "公开两日逐点回放")
        finally:
            for session, _ in wires.values():
                await session.close()
        say("其余各日的室温曲线")
        _curves(simulated, calendar, now)
    return count


def wires_of(simulated: SimulatedTown) -> dict[str, tuple[Session, list[Asked]]]:
    """bus code -> a session on the simulated bus and the meters known on it."""
    by_code: dict[str, list[Asked]] = {}
    rows = db.session.execute(sa.select(Bus.code, Meter).join(Meter, Meter.bus_id == Bus.id))
    for code, meter in rows:
        by_code.setdefault(code, []).append(Asked.of(meter))
    return {
        code: (
            Session(TcpLink("127.0.0.1", simulated.port(code)), clock=simulated.clock),
            meters,
        )
        for code, meters in by_code.items()
    }


async def read_moments(
    simulated: SimulatedTown,
    wires: dict[str, tuple[Session, list[Asked]]],
    moments: list[datetime],
    say: Say,
    title: str,
) -> int:
    """Step the town's clock through the moments and read every wire at each."""
    count = 0
    for index, batch in enumerate(_batches(moments)):
        outcome = Outcome()
        for moment in batch:
            simulated.set_time(moment)
            outcome.merge(await read_buses(list(wires.values())))
        if outcome.failures:
            raise RuntimeError(f"a simulated meter did not answer: {outcome.failures[0]}")
        count += store(outcome).stored
        db.session.commit()
        say(f"{title} {min((index + 1) * BATCH, len(moments))}/{len(moments)}")
    return count


def _batches(moments: list[datetime]) -> Iterator[list[datetime]]:
    for begin in range(0, len(moments), BATCH):
        yield moments[begin : begin + BATCH]


def _curves(simulated: SimulatedTown, calendar: Calendar, now: datetime) -> None:
    """Temperatures of the days that were not replayed, and of today until now."""
    sensors = _sensors()
    others = [day for day in [*calendar.days, calendar.today] if day not in calendar.replay_days]
    for day in others:
        series.store(dict(_day(simulated, sensors, day, now)))
        db.session.commit()


def _sensors() -> list[tuple[int, str, str, str]]:
    """(meter id, kind, building, flat) of every flat's heat meter and room sensor."""
    rows = db.session.execute(
        sa.select(Meter.id, Meter.kind, Building.code, Household.unit_no)
        .join(Household, Household.id == Meter.household_id)
        .join(Building, Building.id == Household.building_id)
        .where(Meter.kind.in_(("heat", "room")))
    )
    return [(row.id, row.kind, row.code, row.unit_no) for row in rows]


def _day(
    simulated: SimulatedTown, sensors: list[tuple[int, str, str, str]], day: date, now: datetime
) -> Iterator[tuple[series.Key, bytes]]:
    begin = day_start(day)
    moments = [begin + timedelta(seconds=series.INTERVAL_S * n) for n in range(series.SLOTS)]
    past = [moment for moment in moments if moment <= now]
    # Slot by slot and then flat by flat: the model keeps a moment's state for all its flats.
    found: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for slot, moment in enumerate(past):
        for meter_id, kind, building, flat in sensors:
            shown = simulated.houses[building].source(kind, flat)(moment)
            for quantity in series.QUANTITIES:
                if quantity in shown:
                    samples = found.setdefault((meter_id, quantity), [])
                    samples.append((slot * series.INTERVAL_S, shown[quantity]))
    for (meter_id, quantity), samples in found.items():
        yield (meter_id, quantity, day), pack_day(samples, series.INTERVAL_S)
