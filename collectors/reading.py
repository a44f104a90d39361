"""Between a bus and the database: meters become targets, outcomes become readings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from backend.archive.models import Meter
from backend.base.clock import SHANGHAI
from backend.metering import meter_notes, refused, service
from backend.metering.bus_rules import drift_s
from backend.metering.meter_notes import Signal
from backend.metering.refused import Refusal, Rows
from backend.metering.rules import WRONG_TYPE
from backend.metering.service import NewReading
from collectors import decode
from collectors.dialects import Point
from collectors.frames import FrameError
from collectors.frames.cjt188_profiles import ROOM_SENSOR_TYPE
from collectors.frames.qgdw3761_archive import BAUDS, MOST_POINTS, MOST_PORTS, PARITIES
from collectors.session import Conversation, Failed, Read, Target

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
# Of these an answer has at least one; another than its meter's is an answer of another kind.
COUNTED = frozenset((*REGISTERS.values(), "room_cdeg"))

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
            meter.protocol,
            meter.address,
            _type_of(meter),
            meter.profile,
            point=point_of(meter.options or {}),
        )
        return cls(meter.id, meter.kind, target)


def _type_of(meter: Meter) -> int:
    """The type byte it is asked with: its own where a search has told it, else its kind's."""
    own = (meter.options or {}).get("meter_type")
    if isinstance(own, int) and 0 <= own <= 0xFF:
        return own
    return METER_TYPES.get(meter.kind, 0x20)


def point_of(options: Mapping[str, Any]) -> Point | None:
    """Where a concentrator has a meter, as its options say: point, port, baud, parity and
    collector; None where they say no point, or anything that is none."""
    known: dict[str, Any] = {"number": options.get("point")}
    known |= {f.name: options[f.name] for f in fields(Point)[1:] if f.name in options}
    if not all(_POINT_PARTS[name](value) for name, value in known.items()):
        return None
    return Point(**known)


def _is_number(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


_COLLECTOR: Final = re.compile(r"[0-9]{0,12}")
# What each part of a point may be (Q/GDW 376.1 §4.3.4.4.3, §5.5.4.10).
_POINT_PARTS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "number": lambda value: _is_number(value, MOST_POINTS),
    "port": lambda value: _is_number(value, MOST_PORTS),
    "baud": lambda value: value in BAUDS,
    "parity": lambda value: value in PARITIES,
    "collector": lambda value: isinstance(value, str) and bool(_COLLECTOR.fullmatch(value)),
}


@dataclass(slots=True)
class Outcome:
    """What came of asking some meters.

    cycle_s     how long it took, where it was all meters of a bus
    signal_dbm  how well the bus's modem hears its network, where it told
    """

    readings: list[NewReading] = field(default_factory=list)
    failures: list[tuple[int, datetime, str]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    cycle_s: float | None = None
    signal_dbm: int | None = None

    def add(self, asked: Asked, result: Read | Failed, bus_id: int | None = None) -> None:
        """Take one meter's result in."""
        if isinstance(result, Read):
            self.readings.append(_reading(asked, result))
            return
        self.failures.append((asked.meter_id, result.at, result.reason))
        if result.raw:
            why = (result.reason, result.detail, result.raw, result.at)
            self.refused.append(Refusal(bus_id, *why, asked.meter_id, asked.target.protocol))

    def merge(self, other: Outcome) -> None:
        """Take another outcome in."""
        self.readings += other.readings
        self.failures += other.failures
        self.refused += other.refused
        self.signals += other.signals

    def __len__(self) -> int:
        return len(self.readings) + len(self.failures)


def _reading(asked: Asked, read: Read) -> NewReading:
    values, name = read.values, REGISTERS.get(asked.kind)
    is_frozen = read.frozen_at is not None
    return NewReading(
        meter_id=asked.meter_id,
        read_at=read.frozen_at or read.at,
        source="collector",
        kind="freeze" if is_frozen else "current",
        register=values.get(name) if name else None,
        volume_l=values.get("volume_l") if asked.kind == "heat" else None,
        power_w=values.get("power_w"),
        flow_lph=values.get("flow_lph"),
        supply_cdeg=values.get("supply_cdeg"),
        return_cdeg=values.get("return_cdeg"),
        room_cdeg=values.get("room_cdeg"),
        flags=[WRONG_TYPE] if _is_of_another_kind(asked, values) else [],
        frame=read.raw,
        clock_drift_s=_drift_s(read),
    )


def _is_of_another_kind(asked: Asked, values: dict[str, int]) -> bool:
    """Whether an answer lacks what the archive says its meter counts, and has something else."""
    wanted = "room_cdeg" if asked.kind == "room" else REGISTERS.get(asked.kind)
    return wanted is not None and wanted not in values and not COUNTED.isdisjoint(values)


def _drift_s(read: Read) -> int | None:
    """How far the meter's clock is off, where its answer tells the time."""
    if read.meter_time is None or read.frozen_at is not None:
        return None
    return drift_s(read.meter_time, read.at.astimezone(SHANGHAI).replace(tzinfo=None))


async def read_all(
    session: Conversation, meters: Sequence[Asked], bus_id: int | None = None
) -> Outcome:
    """Ask every meter of a bus."""
    outcome = Outcome()
    results = await session.read_many([asked.target for asked in meters])
    for asked, result in zip(meters, results, strict=True):
        outcome.add(asked, result, bus_id)
    return outcome


async def read_buses(
    buses: Sequence[tuple[Conversation, Sequence[Asked]]],
) -> Outcome:
    """Ask the meters of several buses, all buses at once."""
    whole = Outcome()
    for part in await asyncio.gather(*(read_all(s, meters) for s, meters in buses)):
        whole.merge(part)
    return whole


# A target's protocol -> the name its frames are explained by.
_EXPLAINED_AS = {"modbus_tcp": "modbus"}


def explained(one: Refusal) -> Rows:
    """What the codec makes of a refused frame, for the dispatcher: rows, or what is wrong with it
    and where. Empty where the protocol is not known."""
    if one.protocol is None:
        return []
    try:
        rows = decode.explain(_EXPLAINED_AS.get(one.protocol, one.protocol), one.frame)
        return [list(row) for row in rows]
    except FrameError as error:
        return [["错误", error.code, decode.refusal_zh(error)]]
    except ValueError as error:
        return [["错误", "unknown", decode.refusal_zh(error)]]


def store(outcome: Outcome) -> service.Recorded:
    """Put an outcome into the database, in the caller's transaction.

    An outcome whose readings are all there already comes from the spool a second time (a crash
    came between commit and forgetting it): its failures have been counted then.
    """
    recorded = service.record(outcome.readings)
    if outcome.readings and not recorded.stored:
        return recorded
    service.record_failures(outcome.failures)
    meter_notes.keep_signals(outcome.signals)
    refused.keep(outcome.refused, explained)
    return recorded
