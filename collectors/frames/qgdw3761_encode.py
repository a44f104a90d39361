"""Q/GDW 376.1 frames written: what a master asks and orders, what a terminal reports and answers.

A unit is (point, function, values), values as `decode` gives them or None for no body. Widths,
decimals and order come from the same layouts the decoder reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from collectors.frames.bcd import checksum, int_to_bcd
from collectors.frames.qgdw3761 import (
    ACCESS,
    FINAL,
    FIRST,
    HAS_TIME,
    MAX_LENGTH,
    START,
    STOP,
    UP,
    WANTS_CONFIRM,
    Message,
    TimeStamp,
    unit_id,
)
from collectors.frames.qgdw3761_data import write_fields
from collectors.frames.qgdw3761_tables import (
    CLASS_1,
    CLASS_2,
    CONFIRM,
    CONTROL,
    FORWARD,
    LINK,
    PASSWORD_AFNS,
    PASSWORD_SIZE,
    QUERY,
    RESET,
    SET,
    V2009,
    layout_for,
)

Unit = tuple[int, int, Mapping[str, Any] | None]

LOGIN, LOGOUT, HEARTBEAT = 1, 2, 3
_LINK_TEST: Final = 0xC9  # up, PRM, function code 9
_USER_DATA: Final = 0x88  # up, function code 8
_UPLOAD: Final = 0xC4  # up, PRM, function code 4
_CONFIRMED: Final = 0x00  # function code 0
_LINK_STATE: Final = 0x0B  # function code 11
_ORDER_CODE: Final = {RESET: 0x41, SET: 0x4A, CONTROL: 0x4A}
ANSWER_SIZE: Final = 900  # bytes of data units in a frame that a GPRS packet carries whole
_ASK: Final = 0x4B  # PRM, function code 11


@dataclass(frozen=True, slots=True)
class Address:
    """A1 four digits, A2 1 to 65,535, A3 the master's number doubled (D0: group address)."""

    a1: str
    a2: int
    a3: int = 0

    def wire(self) -> bytes:
        region = bytes.fromhex(self.a1)[::-1]
        if len(region) != 2:
            raise ValueError(f"a region code has four digits: {self.a1}")
        return region + self.a2.to_bytes(2, "little") + bytes((self.a3,))


def encode(
    address: Address, control: int, afn: int, seq: int, data: bytes, *, version: int = V2009
) -> bytes:
    """A whole frame. Raises ValueError where the data exceed what fourteen bits can count."""
    user = bytes((control,)) + address.wire() + bytes((afn, seq)) + data
    if len(user) > MAX_LENGTH:
        raise ValueError(f"{len(user)} bytes do not fit a frame")
    length = (len(user) << 2 | version).to_bytes(2, "little")
    start = bytes((START,))
    return start + length + length + start + user + bytes((checksum(user), STOP))


def encode_units(afn: int, units: Iterable[Unit], *, is_up: bool, version: int = V2009) -> bytes:
    """Data unit after data unit; raises ValueError where this codec knows no layout."""
    out = bytearray()
    for pn, fn, values in units:
        layout = layout_for(afn, fn, is_up=is_up, version=version)
        if layout is None:
            raise ValueError(f"no layout for AFN {afn:02X} F{fn}")
        out += unit_id(pn, fn) + write_fields(layout, values or {})
    return bytes(out)


def time_stamp(counter: int, sent: datetime, delay_min: int = 0) -> TimeStamp:
    """Tp of a frame begun at the terminal's wall time `sent`."""
    parts = (sent.day, sent.hour, sent.minute, sent.second)
    clock = b"".join(int_to_bcd(part, 1) for part in reversed(parts))
    return TimeStamp(counter, parts, delay_min, bytes((counter,)) + clock + bytes((delay_min,)))


# --- the master's side ------------------------------------------------------------------------


def encode_request(
    address: Address, afn: int, units: Iterable[Unit], *, number: int,
    password: bytes | None = None, stamp: TimeStamp | None = None, confirm: bool = False,
    version: int = V2009,
) -> bytes:  # fmt: skip
    """Ask or order. Orders (01 04 05 0F 10) carry a password, zeros unless given."""
    data = encode_units(afn, units, is_up=False, version=version)
    if afn in PASSWORD_AFNS:
        size = PASSWORD_SIZE[version]
        word = bytes(size) if password is None else password
        if len(word) != size:
            raise ValueError(f"a password has {size} bytes")
        data += word
    seq = _seq(number, stamp=stamp, confirm=confirm)
    tail = stamp.raw if stamp else b""
    control = _ORDER_CODE.get(afn, _ASK)
    return encode(address, control, afn, seq, data + tail, version=version)


def encode_read_current(
    address: Address, items: Iterable[tuple[int, int]], *, number: int,
    stamp: TimeStamp | None = None,
) -> bytes:  # fmt: skip
    """Class 1: (point, function) pairs (AFN 0C)."""
    units: list[Unit] = [(pn, fn, None) for pn, fn in items]
    return encode_request(address, CLASS_1, units, number=number, stamp=stamp)


def encode_read_frozen(
    address: Address, units: Iterable[Unit], *, number: int, stamp: TimeStamp | None = None
) -> bytes:
    """Class 2: values say when: freeze_day, freeze_month, or start, density, points (AFN 0D)."""
    return encode_request(address, CLASS_2, units, number=number, stamp=stamp)


def encode_set_meters(
    address: Address, meters: list[Mapping[str, Any]], *, number: int,
    password: bytes | None = None,
) -> bytes:  # fmt: skip
    """Meter addresses into the concentrator (AFN 04 F10); rows as `decode` gives them."""
    units: list[Unit] = [(0, 10, {"meters": meters})]
    return encode_request(address, SET, units, number=number, password=password, confirm=True)


def encode_query_meters(address: Address, indices: Iterable[int], *, number: int) -> bytes:
    """Read meter addresses back (AFN 0A F10)."""
    rows = [{"index": index} for index in indices]
    return encode_request(address, QUERY, [(0, 10, {"indices": rows})], number=number)


def encode_set_clock(
    address: Address, clock: datetime, *, number: int, password: bytes | None = None
) -> bytes:
    """Set the terminal's clock, its wall time (AFN 05 F31)."""
    units: list[Unit] = [(0, 31, {"clock": clock})]
    return encode_request(address, CONTROL, units, number=number, password=password, confirm=True)


def encode_forward(
    address: Address, inner: bytes, *, number: int, port: int = 1, port_control: int = 0x6B,
    timeout: int = 0xBC, byte_timeout_10ms: int = 10, stamp: TimeStamp | None = None,
) -> bytes:  # fmt: skip
    """Hand a meter's own frame through (AFN 10 F1); 6B is 2400 baud, even parity, 8 bits."""
    values = {
        "port": port,
        "port_control": port_control,
        "timeout": timeout,
        "byte_timeout_10ms": byte_timeout_10ms,
        "inner": inner,
    }
    return encode_request(address, FORWARD, [(0, 1, values)], number=number, stamp=stamp)


def _seq(number: int, *, stamp: TimeStamp | None, confirm: bool = False) -> int:
    flags = (HAS_TIME if stamp else 0) | (WANTS_CONFIRM if confirm else 0)
    return FIRST | FINAL | flags | number & 0x0F


# --- either side ------------------------------------------------------------------------------


def encode_confirm(message: Message, *, is_good: bool = True) -> bytes:
    """Confirm or deny all of `message` (AFN 00 F1, F2); a login and a heartbeat want this."""
    code = _LINK_STATE if message.afn == LINK else _CONFIRMED
    control = code if message.is_up else UP | code
    data = unit_id(0, 1 if is_good else 2)
    return _reply(message, control, CONFIRM, data)


def encode_confirm_each(message: Message, errors: Mapping[tuple[int, int], int]) -> bytes:
    """Confirm unit by unit (AFN 00 F3): (point, function) -> ERR, 0 is good."""
    rows = [{"da_dt": unit_id(pn, fn).hex(), "error": error} for (pn, fn), error in errors.items()]
    code = _LINK_STATE if message.afn == LINK else _CONFIRMED
    values = {"of_afn": message.afn, "results": rows}
    data = encode_units(CONFIRM, [(0, 3, values)], is_up=not message.is_up)
    return _reply(message, code if message.is_up else UP | code, CONFIRM, data)


def _reply(message: Message, control: int, afn: int, data: bytes) -> bytes:
    address = Address(message.a1, message.a2, message.a3)
    seq = _seq(message.number, stamp=message.stamp)
    tail = message.stamp.raw if message.stamp else b""
    return encode(address, control, afn, seq, data + tail, version=message.version)


# --- the terminal's side ----------------------------------------------------------------------


def encode_link(address: Address, function: int, *, number: int, version: int = V2009) -> bytes:
    """LOGIN, LOGOUT or HEARTBEAT (AFN 02), which want a confirmation."""
    seq = _seq(number, stamp=None, confirm=True)
    return encode(address, _LINK_TEST, LINK, seq, unit_id(0, function), version=version)


def encode_answer(
    request: Message, units: Iterable[Unit], *, events: tuple[int, int] | None = None
) -> bytes:
    """A terminal's answer: the request's function, number, master and time stamp; `events` sets
    ACD and sends both counters."""
    data = encode_units(request.afn, units, is_up=True, version=request.version)
    return _answer(request, data, request.number, FIRST | FINAL, events)


def encode_answers(
    request: Message, units: Iterable[Unit], *, size: int = ANSWER_SIZE,
    events: tuple[int, int] | None = None,
) -> list[bytes]:  # fmt: skip
    """A terminal's answer in as many frames as it takes, none with more than `size` bytes of data
    units: FIR and FIN say which is first and last, RSEQ counts on from PSEQ (§4.3.4.4.2)."""
    parts = [b""]
    for unit in units:
        data = encode_units(request.afn, [unit], is_up=True, version=request.version)
        if parts[-1] and len(parts[-1]) + len(data) > size:
            parts.append(b"")
        parts[-1] += data
    last = len(parts) - 1
    flags = [(FIRST if n == 0 else 0) | (FINAL if n == last else 0) for n in range(len(parts))]
    return [
        _answer(request, data, request.number + n, flag, events if n == last else None)
        for n, (data, flag) in enumerate(zip(parts, flags, strict=True))
    ]


def _answer(
    request: Message, data: bytes, number: int, flags: int, events: tuple[int, int] | None
) -> bytes:
    address = Address(request.a1, request.a2, request.a3)
    control = _USER_DATA | (ACCESS if events else 0)
    seq = flags | (HAS_TIME if request.stamp else 0) | number & 0x0F
    tail = bytes(events or ()) + (request.stamp.raw if request.stamp else b"")
    return encode(address, control, request.afn, seq, data + tail, version=request.version)


def encode_upload(
    address: Address, afn: int, units: Iterable[Unit], *, number: int,
    events: tuple[int, int] | None = None, version: int = V2009,
) -> bytes:  # fmt: skip
    """What a terminal sends by itself (PRM = 1) and wants confirmed."""
    data = encode_units(afn, units, is_up=True, version=version) + bytes(events or ())
    control = _UPLOAD | (ACCESS if events else 0)
    seq = _seq(number, stamp=None, confirm=True)
    return encode(address, control, afn, seq, data, version=version)
