"""What a simulated terminal keeps: its archive and plans, and its electricity meters' registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from collectors.dialects import Target, dialect_for
from collectors.frames.qgdw3761_archive import address_of, protocol_of
from collectors.frames.qgdw3761_encode import Unit
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.times import LOCAL

DAYS, MONTHS = 31, 12
ELECTRICITY: Final = 0x40
TARIFFS: Final = 4


class Store:
    """Parameters by function, and registers as they would have been read at any moment.

    missed   freezes the terminal has none of: (point, the day or the month it is for)
    """

    def __init__(self, buses: Mapping[int, SimulatedBus]):
        self._buses = buses
        self.archive: dict[int, dict[str, Any]] = {}  # by index
        self.parameters: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self.missed: set[tuple[int, date | str]] = set()

    # Parameters -----------------------------------------------------------------------------

    def set(self, pn: int, fn: int, values: Mapping[str, Any]) -> bool:
        """Take a setting (AFN 04); whether it is one this terminal has."""
        if fn == 10:
            for row in values["meters"]:
                self._archive(dict(row))
            return True
        rows = values.get("ports", values.get("indices"))
        if rows is None:
            return False
        kept = {row.get("port", row.get("index")): row for row in self.parameters.get((pn, fn), ())}
        if fn == 35:
            kept = {}  # key users are set anew as a whole
        kept |= {row.get("port", row.get("index")): dict(row) for row in rows}
        self.parameters[pn, fn] = list(kept.values())
        return True

    def _archive(self, row: dict[str, Any]) -> None:
        """A row with point 0 takes the index out of the archive (§5.5.4.10)."""
        if row["point"]:
            self.archive[row["index"]] = row
        else:
            self.archive.pop(row["index"], None)

    def get(self, pn: int, fn: int, values: Mapping[str, Any]) -> list[Unit]:
        """Read a setting back (AFN 0A)."""
        if fn == 10:
            asked = [row["index"] for row in values["indices"]]
            return [(0, 10, {"meters": [self.archive[n] for n in asked if n in self.archive]})]
        rows = self.parameters.get((pn, fn), [])
        if fn == 35:
            return [(pn, fn, {"indices": rows})]
        wanted = [row["port"] for row in values.get("ports", ())]
        return [(pn, fn, {"ports": [row for row in rows if row["port"] in wanted]})]

    # Registers ------------------------------------------------------------------------------

    def current(self, points: Sequence[int], at: datetime, wall: datetime) -> list[Unit]:
        """F129 of points as last read: on the last full quarter of an hour."""
        minute = wall.replace(minute=wall.minute // 15 * 15, second=0, microsecond=0)
        moment = at - (wall - minute)
        return [(p, 129, _register(minute, self._energy(p, moment))) for p in points]

    def frozen_day(self, point: int, day: date, at: datetime) -> Unit:
        """F161: how the register stood at the end of a day."""
        end = _midnight(day + timedelta(days=1))
        is_kept = end <= at < end + timedelta(days=DAYS) and (point, day) not in self.missed
        kwh = self._energy(point, end) if is_kept else None
        values = _register(end.astimezone(LOCAL).replace(tzinfo=None), kwh)
        return point, 161, {"freeze_day": day, **values}

    def frozen_month(self, point: int, month: str, at: datetime) -> Unit:
        """F177: how the register stood at the end of a month."""
        first = date.fromisoformat(f"{month}-01")
        end = _midnight((first + timedelta(days=31)).replace(day=1))
        is_kept = end <= at < end + timedelta(days=31 * MONTHS)
        is_kept = is_kept and (point, month) not in self.missed
        kwh = self._energy(point, end) if is_kept else None
        values = _register(end.astimezone(LOCAL).replace(tzinfo=None), kwh)
        return point, 177, {"freeze_month": month, **values}

    def _energy(self, point: int, at: datetime) -> Decimal | None:
        """A point's register at a moment, asked of the meter itself; None where there is none."""
        row = next((row for row in self.archive.values() if row["point"] == point), None)
        protocol = protocol_of(row) if row else None
        if row is None or protocol is None:
            return None
        target = Target(protocol, address_of(row), meter_type=ELECTRICITY)
        wh = ask(self._buses[row["port_rate"] & 0x1F], target, at)
        return None if wh is None else Decimal(wh).scaleb(-3)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=LOCAL)


def _register(minute: datetime, kwh: Decimal | None) -> dict[str, Any]:
    row = (kwh, *(None,) * TARIFFS)
    return {"reading_time": minute, "tariffs": TARIFFS, "forward_active_kwh": row}


def ask(bus: SimulatedBus, target: Target, at: datetime) -> int | None:
    """What a meter of the bus says of its energy at a moment (Wh), without the wire."""
    dialect = dialect_for(target)
    answers = []
    for step in dialect.steps(target, at):
        request, _ = bus.decode(step.request)
        found = [a for meter in bus.hearers(request) if (a := meter.answer(request, at))]
        if not found or step.judge is None:
            return None
        message, _ = dialect.decode(found[0])
        if step.judge(message):
            return None
        answers.append(message)
    return dialect.meaning(answers).values.get("energy_wh")
