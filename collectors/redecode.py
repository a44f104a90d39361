"""A stored reading decoded again from its frame: what the bytes say, whatever brought them.

Answers on a wire (current, frozen day or month, in one frame or several), a concentrator's store,
frames a platform carried and values it had taken apart: the codecs are the collector's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from backend.archive.models import Bus, Meter
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing.recheck_frames import COLUMNS, Undecodable
from backend.metering.models import Reading
from collectors import unframed, valued
from collectors.concentrator_session import freeze_of, stored_read
from collectors.devices import FIELDS, platform_of
from collectors.dialects import WRONG_ADDRESS, Freeze, dialect_for, judge_unasked
from collectors.frames import FrameError, qgdw3761
from collectors.frames.field_map import FieldMap
from collectors.reading import Asked, Outcome
from collectors.session import Read, Target
from collectors.unasked import Heard, NotBelieved, believe, messages

EVER = timedelta(days=36_500)
Decode = Callable[[Meter, Reading], Mapping[str, int]]


def decoder(maps: Mapping[str, FieldMap]) -> Decode:
    """What a reading's frame says of the columns; `maps` read values that platforms pushed.

    The result raises Undecodable, in words, where the bytes are no such reading of that meter.
    """

    def decode(meter: Meter, reading: Reading) -> Mapping[str, int]:
        asked, frame = Asked.of(meter), bytes(reading.frame or b"")
        try:
            if meter.protocol == FIELDS:
                return _pushed_values(meter, reading, frame, maps)
            return _first(_ways(meter, asked, reading, frame))
        except (ValueError, FrameError) as error:
            raise Undecodable(str(error)) from None

    return decode


def _first(ways: Iterator[Mapping[str, int] | str]) -> Mapping[str, int]:
    """The first way the bytes can be understood; else why the first one failed."""
    why = ""
    for said in ways:
        if not isinstance(said, str):
            return said
        why = why or said
    raise Undecodable(why or "其中没有一帧完整的报文")


def _ways(
    meter: Meter, asked: Asked, reading: Reading, frame: bytes
) -> Iterator[Mapping[str, int] | str]:
    if asked.target.point is not None:
        yield _from_store(asked, reading, frame)
    packing = str((meter.options or {}).get("payload") or "")
    heard = messages(asked.target, unframed.framed(packing, frame))
    for target in _targets(asked.target, reading, heard):
        yield _from_answers(asked, target, reading, heard)


def _targets(target: Target, reading: Reading, heard: Sequence[Heard]) -> Iterator[Target]:
    """As what the meter can have been asked: its values now, or what it froze at that midnight."""
    if reading.source == "push" and heard:
        message = heard[0][0]
        own = getattr(message, "id", None) or getattr(message, "address", None)
        target = replace(target, address=str(getattr(message, "unit", "") if own is None else own))
    if reading.kind != "freeze":
        yield target
        return
    on = business_day(reading.read_at + timedelta(hours=12))
    yield replace(target, freeze=Freeze("day", on))
    yield replace(target, freeze=Freeze("month", on))


def _from_answers(
    asked: Asked, target: Target, reading: Reading, heard: Sequence[Heard]
) -> Mapping[str, int] | str:
    """What the answers to one conversation say together."""
    if not heard:
        return "其中没有一帧完整的报文"
    dialect = dialect_for(target)
    try:
        if reading.kind != "freeze" and len(heard) == 1:
            return _columns(asked, believe(asked, target, heard[0], reading.read_at))
        # Also tells a dialect which of its blocks it would have asked for.
        if judge_unasked(dialect, target, heard[0][0], _asked_at(reading)) == WRONG_ADDRESS:
            return "报文是另一块表的"
    except NotBelieved as error:
        return "报文是另一块表的" if WRONG_ADDRESS in str(error) else str(error)
    except ValueError as error:
        return str(error)
    meaning = dialect.meaning([message for message, _ in heard])
    if meaning.problem:
        return meaning.problem
    return _columns(asked, Read(target, meaning.values, b"", reading.read_at))


def _asked_at(reading: Reading) -> datetime:
    return max(reading.recorded_at, reading.read_at)


def _columns(asked: Asked, read: Read) -> Mapping[str, int]:
    """The values as a reading's columns: exactly what storing them anew would write."""
    outcome = Outcome()
    outcome.add(asked, read)
    (new,) = outcome.readings
    found = {name: getattr(new, name) for name in COLUMNS}
    return {name: value for name, value in found.items() if value is not None}


def _from_store(asked: Asked, reading: Reading, frame: bytes) -> Mapping[str, int] | str:
    """What a concentrator's answer or upload says of this meter's point at that moment."""
    rest = frame
    while rest:
        try:
            message, consumed = qgdw3761.decode(rest)
        except FrameError as error:  # forwarded to the meter, in its own protocol
            return str(error)
        if message is None:
            break
        rest = rest[consumed:]
        for item in message.items:
            if item.pn != getattr(asked.target.point, "number", None) or item.is_missing:
                continue
            target = replace(asked.target, freeze=freeze_of(item))
            read = stored_read(target, item, frame, _asked_at(reading), fresh=EVER)
            if read is not None and (read.frozen_at or read.at) == reading.read_at:
                return _columns(asked, read)
    return "集中器报文中没有这块表这一时刻的读数"


def _pushed_values(
    meter: Meter, reading: Reading, frame: bytes, maps: Mapping[str, FieldMap]
) -> Mapping[str, int]:
    """What the values of a platform say by the meter's field map."""
    values: Any = json.loads(frame)
    name = meter.profile
    if name == "default":
        name = platform_of(db.session.get_one(Bus, meter.bus_id).link)[1]
    try:
        rows = valued.rows(maps, name, values)
    except NotBelieved as error:
        raise Undecodable(str(error)) from None
    own = [row for row in rows if row.address == meter.address.upper()]
    mine = own or [row for row in rows if not row.address]
    at_once = [row for row in mine if row.time in (None, reading.read_at)]
    if not at_once:
        raise Undecodable("平台数据中没有这块表这一时刻的读数")
    asked = Asked.of(meter)
    return _columns(asked, Read(asked.target, dict(at_once[-1].values), frame, reading.read_at))
