"""Q/GDW 376.1-2009 and Q/GDW 130-2005: between a master station and its concentrators.

A frame (§4.3): 68H, L, L, 68H, C, A1 A2 A3, AFN, SEQ, data units, auxiliary fields, CS, 16H.
L holds the protocol version in D1 D0 (1: 2005, 2: 2009) and in D15-D2 the bytes from C to the last
before CS, which is their sum modulo 256. A data unit is DA (points) and DT (functions), as bits in
groups of eight, and then their data, points outermost. The auxiliary fields are the password PW
down, the event counters EC up (where ACD says so) and the time stamp Tp (where TpV does).

What a function carries is data in `qgdw3761_tables`. A unit this codec has no layout for keeps its
bytes and gives no values; EE fill is a missing value, never a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from collectors.frames.bcd import bcd_to_int, checksum
from collectors.frames.errors import FrameError
from collectors.frames.qgdw3761_data import Cursor, Layout, Values, quantities, read_fields
from collectors.frames.qgdw3761_tables import (
    CONFIRM,
    LINK,
    LINK_CLOCK,
    PASSWORD_AFNS,
    PASSWORD_SIZE,
    V2005,
    V2009,
    layout_for,
)

START: Final = 0x68
STOP: Final = 0x16
HEAD: Final = 6  # 68 L L 68
OVERHEAD: Final = 8  # bytes of a frame that its length does not count
MIN_LENGTH: Final = 8  # C, A1 A2 A3, AFN, SEQ
MAX_LENGTH: Final = 0x3FFF  # fourteen bits; the longest frame is 16,391 bytes
ALL_POINTS: Final = -1  # DA = FFH 00H: every valid point
UNIT_HEAD: Final = 4
MAX_ITEMS: Final = 0x4000  # more than 2,040 points with eight functions each
EVENTS_SIZE, STAMP_SIZE = 2, 6

UP, STARTED, ACCESS = 0x80, 0x40, 0x20  # DIR, PRM, ACD (FCB where the frame goes down)
HAS_TIME, FIRST, FINAL, WANTS_CONFIRM = 0x80, 0x40, 0x20, 0x10  # TpV, FIR, FIN, CON


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """Tp (§4.3.4.6.4): when the other side began, and how long its frame may take.

    sent is (day, hour, minute, second), None where the bytes are not decimal digits.
    """

    counter: int
    sent: tuple[int, int, int, int] | None
    delay_min: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One function of one point.

    values  by name, as `qgdw3761_tables` lists them; None where the body is not read
    faults  names of values which are neither numbers nor missing, and why
    body    the bytes as sent; where values is None, all that was left of the frame's data
    """

    pn: int
    fn: int
    values: Values | None
    faults: dict[str, str]
    body: bytes
    layout: Layout | None = field(default=None, repr=False)

    @property
    def is_missing(self) -> bool:
        """The terminal has none of the amounts that were asked for."""
        if self.values is None or self.layout is None or self.faults:
            return False
        amounts = quantities(self.layout, self.values)
        return bool(amounts) and all(amount is None for amount in amounts)


@dataclass(frozen=True, slots=True)
class Message:
    """One good frame.

    a1        region code, four digits, high byte first; a2 the terminal's number; a3 the master's
    points    of the first data unit (ALL_POINTS: every one), likewise functions
    items     point by point and function by function, all units
    data      everything between SEQ and CS; trailing is what no unit identifier fits
    events    EC: counters of important and general events
    raw       68H to 16H; `offset` is where it began in the buffer
    """

    version: int
    control: int
    a1: str
    a2: int
    a3: int
    afn: int
    seq: int
    points: tuple[int, ...]
    functions: tuple[int, ...]
    items: tuple[Item, ...]
    data: bytes
    trailing: bytes
    password: bytes | None
    events: tuple[int, int] | None
    stamp: TimeStamp | None
    raw: bytes
    offset: int

    @property
    def is_up(self) -> bool:
        return bool(self.control & UP)

    @property
    def is_started(self) -> bool:
        """PRM: whoever sent this began the conversation."""
        return bool(self.control & STARTED)

    @property
    def number(self) -> int:
        """PSEQ of a request, RSEQ of its answer."""
        return self.seq & 0x0F

    @property
    def wants_confirm(self) -> bool:
        return bool(self.seq & WANTS_CONFIRM)

    @property
    def is_whole(self) -> bool:
        """First and last frame of its answer at once (§4.3.4.4.2)."""
        return self.seq & (FIRST | FINAL) == FIRST | FINAL

    @property
    def units(self) -> bytes:
        """The data units alone, without the auxiliary fields behind them."""
        tail = len(self.password or b"") + (EVENTS_SIZE if self.events else 0)
        return self.data[: len(self.data) - tail - (STAMP_SIZE if self.stamp else 0)]

    def answers(self, request: Message) -> bool:
        """Same terminal, other direction, same number, and its function or a confirmation."""
        return (
            (self.a1, self.a2) == (request.a1, request.a2)
            and self.is_up is not request.is_up
            and not self.is_started
            and self.number == request.number
            and self.afn in (request.afn, CONFIRM)
        )


def decode(buffer: bytes | bytearray | memoryview) -> tuple[Message | None, int]:
    """Find the first frame; see `collectors.frames` for the contract.

    Raises FrameError with code start, stop, length, checksum, structure or unsupported.
    """
    data = bytes(buffer)
    start = data.find(START)
    if start < 0:
        return None, len(data)
    end = _end(data, start)
    if end is None or end > len(data):
        later = _later_frame(data, start + 1)
        if later is None:
            return None, start
        start, end = later
    _check(data, start, end)
    try:
        return _message(data[start:end], start), end
    except FrameError as error:
        raise FrameError(
            error.reason, at=start + error.at, code=error.code, consumed=end
        ) from error


def _end(data: bytes, start: int) -> int | None:
    """Where a frame at `start` ends, None while its head is not all there.

    Raises FrameError as soon as the head is provably none."""
    head = data[start : start + HEAD]
    if len(head) >= 5 and head[1:3] != head[3:5]:
        raise _bad("the two lengths differ", start + 3, "length", start)
    if len(head) == HEAD and head[5] != START:
        raise _bad("no second start byte", start + 5, "start", start)
    if len(head) < HEAD:
        return None
    length = int.from_bytes(head[1:3], "little")
    if length & 3 not in (V2005, V2009):
        raise _bad(f"protocol version {length & 3}", start + 1, "unsupported", start)
    if length >> 2 < MIN_LENGTH:
        raise _bad(f"length {length >> 2}, at least 8", start + 1, "length", start)
    return start + OVERHEAD + (length >> 2)


def _bad(reason: str, at: int, code: str, start: int) -> FrameError:
    return FrameError(reason, at=at, code=code, consumed=start + 1)


def _check(data: bytes, start: int, end: int) -> None:
    if data[end - 1] != STOP:
        raise _bad(f"frame ends in {data[end - 1]:02X}, not 16", end - 1, "stop", start)
    found, computed = data[end - 2], checksum(data[start + HEAD : end - 2])
    if found != computed:
        raise _bad(f"checksum {found:02X}, computed {computed:02X}", end - 2, "checksum", start)


def _later_frame(data: bytes, begin: int) -> tuple[int, int] | None:
    """A whole good frame behind one that has not come to its end: the first was cut off."""
    start = data.find(START, begin)
    while start >= 0:
        try:
            end = _end(data, start)
            if end is not None and end <= len(data):
                _check(data, start, end)
                return start, end
        except FrameError:
            pass
        start = data.find(START, start + 1)
    return None


def _message(raw: bytes, offset: int) -> Message:
    control, afn, seq, data = raw[6], raw[12], raw[13], raw[14:-2]
    version = raw[1] & 3
    parsed = _read_data(data, control, afn, seq, version)
    return Message(
        version,
        control,
        raw[8:6:-1].hex().upper(),
        int.from_bytes(raw[9:11], "little"),
        raw[11],
        afn,
        seq,
        points_of(data[:2]) if len(data) >= UNIT_HEAD else (),
        functions_of(data[2:4]),
        parsed.items,
        data,
        parsed.trailing,
        parsed.password,
        parsed.events,
        parsed.stamp,
        raw,
        offset,
    )


# --- data units and what stands behind them ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Data:
    items: tuple[Item, ...]
    trailing: bytes
    password: bytes | None
    events: tuple[int, int] | None
    stamp: TimeStamp | None

    @property
    def fits(self) -> bool:
        return not self.trailing and all(item.values is not None for item in self.items)


def _read_data(data: bytes, control: int, afn: int, seq: int, version: int) -> _Data:
    """Units and auxiliary fields. PW and EC have no length of their own: they are where they
    belong, unless the units only add up without them (some terminals leave them out)."""
    stamp = None
    if seq & HAS_TIME:
        if len(data) < STAMP_SIZE:
            raise FrameError("no room for the time stamp", at=14, code="structure")
        data, stamp = data[:-STAMP_SIZE], _stamp(data[-STAMP_SIZE:])
    events = EVENTS_SIZE if control & UP and control & ACCESS else 0
    password = PASSWORD_SIZE[version] if not control & UP and afn in PASSWORD_AFNS else 0
    first: _Data | None = None
    for size in dict.fromkeys((events or password, 0)):
        if size and len(data) < UNIT_HEAD + size:
            continue
        read = _read_with(data, size, bool(events), stamp, (afn, bool(control & UP), version))
        if read.fits:
            return read
        first = first or read
    assert first is not None  # the last size, 0, always fits in
    return first


def _read_with(
    data: bytes, size: int, is_events: bool, stamp: TimeStamp | None, kind: tuple[int, bool, int]
) -> _Data:
    units, rest = data[: len(data) - size], data[len(data) - size :]
    items, trailing = read_units(units, *kind)
    events = (rest[0], rest[1]) if size and is_events else None
    return _Data(items, trailing, rest if size and not is_events else None, events, stamp)


def _stamp(raw: bytes) -> TimeStamp:
    try:
        second, minute, hour, day = (bcd_to_int(raw[n : n + 1]) for n in range(1, 5))
        sent = (day, hour, minute, second)
        is_time = second < 60 and minute < 60 and hour < 24 and day < 32
    except FrameError:
        is_time = False
    return TimeStamp(raw[0], sent if is_time else None, raw[5], raw)


def read_units(data: bytes, afn: int, is_up: bool, version: int) -> tuple[tuple[Item, ...], bytes]:
    """Items one by one until one of them cannot be read, and what is no data unit."""
    items: list[Item] = []
    cursor = Cursor(data, at=14)
    while cursor.left >= UNIT_HEAD:
        head = data[cursor.pos : cursor.pos + UNIT_HEAD]
        pairs = list(product(points_of(head[:2]), functions_of(head[2:])))
        if not pairs:
            break
        if len(items) + len(pairs) > MAX_ITEMS:
            raise FrameError("too many data units", at=14 + cursor.pos, code="structure")
        cursor.take(UNIT_HEAD)
        for pn, fn in pairs:
            layout = layout_for(afn, fn, is_up=is_up, version=version)
            if afn == LINK and cursor.left == LINK_CLOCK[0].format.size:  # type: ignore[union-attr]
                layout = LINK_CLOCK
            items.append(_item(pn, fn, layout, cursor))
            if items[-1].values is None:
                return tuple(items), b""
    return tuple(items), data[cursor.pos :]


def _item(pn: int, fn: int, layout: Layout | None, cursor: Cursor) -> Item:
    begin = cursor.pos
    if layout is None:
        return Item(pn, fn, None, {}, cursor.take(cursor.left))
    faults: dict[str, str] = {}
    try:
        values = read_fields(layout, cursor, faults)
    except FrameError as error:
        cursor.pos = len(cursor.data)
        return Item(pn, fn, None, {"body": error.reason}, cursor.data[begin:], layout)
    return Item(pn, fn, values, faults, cursor.data[begin : cursor.pos], layout)


def points_of(da: bytes) -> tuple[int, ...]:
    """Points of DA1 DA2 (§4.3.4.4.3): bit n of group g is p(8(g - 1) + n + 1); () is no DA."""
    bits, group = da
    if group == 0:
        return {0x00: (0,), 0xFF: (ALL_POINTS,)}.get(bits, ())
    return tuple(_bits(bits, 8 * (group - 1)))


def functions_of(dt: bytes) -> tuple[int, ...]:
    """Functions of DT1 DT2: bit n of group g is F(8g + n + 1); () is no DT (groups 0 to 30)."""
    if len(dt) < 2 or dt[1] > 30:
        return ()
    return tuple(_bits(dt[0], 8 * dt[1]))


def _bits(bits: int, base: int) -> Iterator[int]:
    return (base + n + 1 for n in range(8) if bits >> n & 1)


def unit_id(pn: int, fn: int) -> bytes:
    """DA DT of one function of one point; raises ValueError outside p0-p2040 and F1-F248."""
    if not -1 <= pn <= 2040 or not 1 <= fn <= 248:
        raise ValueError(f"no such data unit: p{pn} F{fn}")
    dt = bytes((1 << (fn - 1) % 8, (fn - 1) // 8))
    if pn <= 0:
        return (b"\xff\x00" if pn == ALL_POINTS else b"\x00\x00") + dt
    return bytes((1 << (pn - 1) % 8, (pn - 1) // 8 + 1)) + dt


def unit_name(da_dt: str) -> list[tuple[Any, int]]:
    """(point, function) pairs of four bytes given in hexadecimal, as F65 and AFN 00 F3 do."""
    head = bytes.fromhex(da_dt)
    return list(product(points_of(head[:2]), functions_of(head[2:])))


__all__ = [
    "ALL_POINTS",
    "FrameError",
    "Item",
    "Message",
    "TimeStamp",
    "decode",
    "functions_of",
    "points_of",
    "read_units",
    "unit_id",
    "unit_name",
]
