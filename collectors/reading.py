"""Between a bus and the database: meters become targets, outcomes become readings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from backend.archive.models import Meter
from backend.metering import service
from backend.metering.service import NewReading
from collectors.frames.cjt188_profiles import ROOM_SENSOR_TYPE
from collectors.session import Failed, Read, Session, Target

# What a CJ/T 188 meter of a kind is asked with (T, §5.3.2).
METER_TYPES = {
    "heat": 0x20,
    "room": ROOM_SENSOR_TYPE,
    "water": 0x10,
    "gas": 0x30,
    "electricity": 0x40,
}
# Which value is the meter's register: Wh for heat and electricity, litres for water and gas.
REGISTERS = {
    "heat": "energy_wh",
    "electricity": "energy_wh",
    "water": "volume_l",
    "gas": "volume_l",
}

# A bus with this link is never asked: its meters' platform pushes (`collectors.pushed`).
PUSH_SCHEME = "push://"


@dataclass(frozen=True, slots=True)
class Asked:
    """A meter as the collector knows it: enough to ask it and to store its answer."""

    meter_id: int
    kind: str
    target: Target

    @classmethod
    def of(cls, meter: Meter) -> Asked:
        """From its row."""
        target = Target(
            meter.protocol, meter.address, METER_TYPES.get(meter.kind, 0x20), meter.profile
        )
        return cls(meter.id, meter.kind, target)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Bytes that came and were refused, for the dispatcher."""

    bus_id: int | None
    code: str
    reason: str
    frame: bytes
    at: datetime


@dataclass(slots=True)
class Outcome:
    """What came of asking some meters."""

    readings: list[NewReading] = field(default_factory=list)
    failures: list[tuple[int, datetime, str]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def add(self, asked: Asked, result: Read | Failed, bus_id: int | None = None) -> None:
        """Take one meter's result in."""
        if isinstance(result, Read):
            self.readings.append(_reading(asked, result))
            return
        self.failures.append((asked.meter_id, result.at, result.reason))
        if result.raw:
            self.refused.append(
                Refusal(bus_id, result.reason, result.detail, result.raw, result.at)
            )

    def merge(self, other: Outcome) -> None:
        """Take another outcome in."""
        self.readings += other.readings
        self.failures += other.failures
        self.refused += other.refused

    def __len__(self) -> int:
        return len(self.readings) + len(self.failures)


def _reading(asked: Asked, read: Read) -> NewReading:
    values = read.values
    is_frozen = read.frozen_at is not None
    return NewReading(
        meter_id=asked.meter_id,
        read_at=read.frozen_at or read.at,
        source="collector",
        kind="freeze" if is_frozen else "current",
        register=values.get(REGISTERS[asked.kind]) if asked.kind in REGISTERS else None,
        volume_l=values.get("volume_l") if asked.kind == "heat" else None,
        power_w=values.get("power_w"),
        flow_lph=values.get("flow_lph"),
        supply_cdeg=values.get("supply_cdeg"),
        return_cdeg=values.get("return_cdeg"),
        room_cdeg=values.get("room_cdeg"),
        frame=read.raw,
    )


async def read_all(session: Session, meters: Sequence[Asked], bus_id: int | None = None) -> Outcome:
    """Ask every meter of a bus in turn."""
    outcome = Outcome()
    for asked in meters:
        outcome.add(asked, await session.read(asked.target), bus_id)
    return outcome


async def read_buses(
    buses: Sequence[tuple[Session, Sequence[Asked]]],
) -> Outcome:
    """Ask the meters of several buses, all buses at once."""
    whole = Outcome()
    for part in await asyncio.gather(*(read_all(s, meters) for s, meters in buses)):
        whole.merge(part)
    return whole


def store(outcome: Outcome) -> service.Recorded:
    """Put an outcome into the database, in the caller's transaction.

    An outcome whose readings are all there already comes from the spool a second time (a crash
    came between commit and forgetting it): its failures have been counted then.
    """
    recorded = service.record(outcome.readings)
    if outcome.readings and not recorded.stored:
        return recorded
    service.record_failures(outcome.failures)
    for r in outcome.refused:
        service.keep_refused(r.bus_id, r.code, r.reason, r.frame, r.at)
    return recorded
