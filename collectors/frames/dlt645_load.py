"""Load records of DL/T 645-2007 (DI3 = 06H, table A.7 and appendix B): one record, both ways.

    A0 A0 | bytes that follow up to CS | time, 5 | class 1 AA class 2 AA ... class 6 AA | CS | E5

A class the meter does not record is empty. AA is no BCD byte, so it can only be a separator. CS is
the sum of everything before it, modulo 256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from collectors.frames.bcd import checksum
from collectors.frames.dlt645_di import (
    ACTIVE_DEMAND,
    ACTIVE_POWERS,
    CURRENTS,
    FREQUENCY,
    POWER_FACTORS,
    REACTIVE_DEMAND,
    REACTIVE_POWERS,
    VOLTAGES,
    layout_of,
)
from collectors.frames.dlt645_value import Field, Raw, Reading, Value, read, read_field, write
from collectors.frames.errors import FrameError

HEAD: Final = b"\xa0\xa0"
SEPARATOR: Final = b"\xaa"
END: Final = 0xE5
_LEAST: Final = 10  # A0 A0, length, time, CS, E5
RECORD_TIME: Final = Field("record_time", "负荷记录存储时间", 5, "YMDhm")


def _energies(*kinds: int) -> tuple[Field, ...]:
    layouts = [layout_of(kind << 16) for kind in kinds]
    return tuple(layout.fields[0] for layout in layouts if layout)


CLASSES: Final = (
    (*VOLTAGES, *CURRENTS, FREQUENCY),
    (*ACTIVE_POWERS, *REACTIVE_POWERS),
    POWER_FACTORS,
    _energies(0x01, 0x02, 0x03, 0x04),
    _energies(0x05, 0x06, 0x07, 0x08),
    (ACTIVE_DEMAND, REACTIVE_DEMAND),
)


def is_load_record(di: int) -> bool:
    """06 cc 00 nn: cc 0 for all classes or 1 to 6; nn 0 the first, 1 from a time on, 2 the last."""
    return di >> 24 == 0x06 and di >> 16 & 0xFF <= 6 and not di & 0xFF00 and di & 0xFF <= 2


def read_record(di: int, payload: bytes) -> Reading:
    """One record. Raises FrameError (code "structure" or "checksum") where it does not add up;
    `at` counts from the start of `payload`."""
    if len(payload) < _LEAST or not payload.startswith(HEAD) or payload[-1] != END:
        raise FrameError("no load record", code="structure")
    if checksum(payload[:-2]) != payload[-2]:
        raise FrameError("load record's sum is wrong", at=len(payload) - 2, code="checksum")
    values = [read_field(payload[3:8], RECORD_TIME)]
    for fields, section in _sections(di, payload[8:-2]):
        values += _section(fields, section)
    return Reading(tuple(values))


def _sections(di: int, body: bytes) -> list[tuple[tuple[Field, ...], bytes]]:
    """Each class's items with its bytes. A record of one class may come alone or among six."""
    sections = body.removesuffix(SEPARATOR).split(SEPARATOR)
    number = di >> 16 & 0xFF
    if len(sections) == 1 and number:
        return [(CLASSES[number - 1], sections[0])]
    if len(sections) != len(CLASSES):
        raise FrameError(f"{len(sections)} sections", at=8, code="structure")
    return [(fields, data) for fields, data in zip(CLASSES, sections, strict=True) if data]


def _section(fields: tuple[Field, ...], data: bytes) -> tuple[Value, ...]:
    if len(data) != sum(field.size for field in fields):
        raise FrameError(f"{len(data)} bytes in a section", at=8, code="structure")
    return read(data, fields).values


def write_record(when: datetime, classes: Mapping[int, Sequence[Raw | None]]) -> bytes:
    """A record of the given classes (1 to 6), the others empty. Raises ValueError for values that
    do not fit."""
    body = write((RECORD_TIME,), (when,))
    for number, fields in enumerate(CLASSES, 1):
        if number in classes:
            body += write(fields, classes[number])
        body += SEPARATOR
    record = HEAD + bytes((len(body),)) + body
    return record + bytes((checksum(record), END))
