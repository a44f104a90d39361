"""CJ/T 188-2004 and -2018: the bus of Chinese household water, heat and gas meters.

A frame (§5.3): FE preambles, 68H, type T, address A0..A6 (low byte first), control C, length L,
L data bytes, checksum CS (sum of all bytes from 68H modulo 256), 16H. Data begin with a two-byte
data id and a serial byte SER; most answers go on with registers in BCD, each with its unit code.

`decode` finds, checks and reads one frame; `encode*` write requests and answers. Layouts, units
and makers' departures are data in `cjt188_profiles`; no value is ever made of digits that are
not decimal, nor of EE or FF fill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from collectors.frames import cjt188_payload as payloads
from collectors.frames.bcd import checksum
from collectors.frames.cjt188_payload import Reading, Value
from collectors.frames.cjt188_profiles import (
    CLOCK,
    DEFAULT,
    DI_ADDRESS,
    DI_CLOCK,
    DI_CURRENT,
    DI_KEY_VERSION,
    DI_SET_CLOCK,
    DI_VALVE,
    DI_WRITE_ADDRESS,
    Layout,
    Profile,
    layouts_for,
)
from collectors.frames.errors import FrameError

__all__ = [
    "DEFAULT",
    "Message",
    "Profile",
    "Reading",
    "Value",
    "decode",
    "encode",
    "encode_answer",
    "encode_clock",
    "encode_read",
    "encode_read_address",
    "encode_read_key_version",
    "encode_refusal",
    "encode_valve",
    "encode_write",
    "encode_write_address",
]

START: Final = 0x68
STOP: Final = 0x16
PREAMBLE: Final = 0xFE
MAX_PREAMBLES: Final = 16  # more are a stuck line, and are let go
OVERHEAD: Final = 13  # 68 T A*7 C L ... CS 16

READ: Final = 0x01
READ_ADDRESS: Final = 0x03
WRITE: Final = 0x04
READ_KEY: Final = 0x09
WRITE_ADDRESS: Final = 0x15
SYNCHRONISE: Final = 0x16
ANSWER: Final = 0x80  # D7: from the meter
REFUSED: Final = 0x40  # D6: the meter could not do it

_ANSWERS_WITH_ITEMS: Final = frozenset(
    control | ANSWER for control in (READ, WRITE, READ_KEY, SYNCHRONISE)
)

BROADCAST: Final = "AAAAAAAAAAAAAA"
VALVE_OPEN: Final = 0x55
VALVE_CLOSE: Final = 0x99


@dataclass(frozen=True, slots=True)
class Message:
    """One good frame.

    address   14 hexadecimal digits, high byte first (as printed on the meter)
    control   C as sent; `is_answer` and `is_refusal` read its bits
    data      everything under L; `payload` is what follows the data id and SER
    di        data id whichever way round it was sent (`di_high_first`), None where there is none
    reading   the registers, None where the frame carries none or no known layout fits
    raw       68H to 16H; `offset` is where it began in the buffer
    """

    meter_type: int
    address: str
    control: int
    data: bytes
    di: int | None
    di_high_first: bool
    serial: int | None
    payload: bytes
    reading: Reading | None
    raw: bytes
    offset: int
    preamble: int

    @property
    def is_answer(self) -> bool:
        return bool(self.control & ANSWER)

    @property
    def is_refusal(self) -> bool:
        return self.control & (ANSWER | REFUSED) == ANSWER | REFUSED

    @property
    def status(self) -> bytes | None:
        """The two status bytes, low byte first, where the frame carries them."""
        if self.is_refusal and len(self.payload) >= 2:
            return self.payload[:2]
        return self.reading.status if self.reading else None


def decode(
    buffer: bytes | bytearray | memoryview, profile: Profile = DEFAULT
) -> tuple[Message | None, int]:
    """Find the first frame; see `collectors.frames` for the contract.

    Raises FrameError with code "stop" or "checksum" where a 68H is not the beginning of a good
    frame; its `consumed` reaches one byte past that 68H, so that a frame inside is still found.
    """
    data = bytes(buffer)
    start = data.find(START)
    if start < 0:
        return None, len(data) - _preambles(data, len(data))
    end = _end(data, start)
    if end > len(data):
        later = _later_frame(data, start + 1)
        if later is None:
            return None, start - _preambles(data, start)
        start, end = later, _end(data, later)
    _check(data, start, end)
    return _message(data, start, end, profile), end


def _end(data: bytes, start: int) -> int:
    """Where a frame at `start` would end; past the buffer while its length is unknown."""
    if start + 11 > len(data):
        return len(data) + 1
    return start + OVERHEAD + data[start + 10]


def _flaw(data: bytes, start: int, end: int) -> str | None:
    if data[end - 1] != STOP:
        return "stop"
    return None if checksum(data[start : end - 2]) == data[end - 2] else "checksum"


def _check(data: bytes, start: int, end: int) -> None:
    flaw = _flaw(data, start, end)
    if flaw == "stop":
        raise FrameError(
            f"frame ends in {data[end - 1]:02X}, not 16", at=end - 1, code=flaw, consumed=start + 1
        )
    if flaw:
        found, computed = data[end - 2], checksum(data[start : end - 2])
        raise FrameError(
            f"checksum {found:02X}, computed {computed:02X}",
            at=end - 2,
            code=flaw,
            consumed=start + 1,
        )


def _later_frame(data: bytes, begin: int) -> int | None:
    """A whole good frame behind one that has not come to its end: the first was cut off."""
    start = data.find(START, begin)
    while start >= 0:
        end = _end(data, start)
        if end <= len(data) and _flaw(data, start, end) is None:
            return start
        start = data.find(START, start + 1)
    return None


def _preambles(data: bytes, start: int) -> int:
    count = 0
    while count < min(start, MAX_PREAMBLES) and data[start - count - 1] == PREAMBLE:
        count += 1
    return count


def _message(data: bytes, start: int, end: int, profile: Profile) -> Message:
    raw = data[start:end]
    meter_type, control, body = raw[1], raw[9], raw[11:-2]
    di, high_first, serial, payload = _split(control, body)
    reading = None
    if di is not None and control in _ANSWERS_WITH_ITEMS:
        reading = payloads.read(payload, layouts_for(di, meter_type, profile))
    return Message(
        meter_type,
        raw[8:1:-1].hex().upper(),
        control,
        body,
        di,
        high_first,
        serial,
        payload,
        reading,
        raw,
        start,
        _preambles(data, start),
    )


def _split(control: int, body: bytes) -> tuple[int | None, bool, int | None, bytes]:
    """Data id, its order, SER and the rest. A refusal of three bytes is SER and status only
    (§7.2.3); the clock's answer has no SER (CJ/T 188-2018)."""
    if control & REFUSED and control & ANSWER and len(body) == 3:
        return None, True, body[0], body[1:]
    if len(body) < 2:
        return None, True, None, body
    di, high_first = _data_id(body[0], body[1])
    if len(body) == 2 or (di == DI_CLOCK and len(body) == 9):
        return di, high_first, None, body[2:]
    return di, high_first, body[2], body[3:]


def _is_di_high(high: int, low: int) -> bool:
    """Whether `high` can be a data id's high byte (table 8: 81 90 91 A0 A1, D1-D4 in 2018)."""
    if high in (0x90, 0x91):
        return low in (0x1F, 0x2F, 0x3F, 0x4F, 0x7F)
    if high in (0x81, 0xA0, 0xA1):
        return low < 0x30
    return (high == 0xD1 and low < 0x30) or high in (0xD2, 0xD3, 0xD4)


def _data_id(first: int, second: int) -> tuple[int, bool]:
    """The data id and whether its high byte came first. Makers use both orders; an id that is
    known one way round only settles it, and an unknown one is read as sent."""
    if not _is_di_high(first, second) and _is_di_high(second, first):
        return second << 8 | first, False
    return first << 8 | second, True


def encode(meter_type: int, address: str, control: int, data: bytes, *, preamble: int = 2) -> bytes:
    """A whole frame. `address` is 14 hexadecimal digits, high byte first. Raises ValueError
    where the address has another length or the data exceed 255 bytes."""
    wire_address = bytes.fromhex(address)[::-1]
    if len(wire_address) != 7:
        raise ValueError(f"a CJ/T 188 address has 14 digits, not {len(address)}: {address}")
    head = bytes((START, meter_type)) + wire_address + bytes((control, len(data)))
    body = head + data
    return bytes((PREAMBLE,)) * preamble + body + bytes((checksum(body), STOP))


def _di_bytes(di: int, high_first: bool) -> bytes:
    return di.to_bytes(2, "big" if high_first else "little")


def encode_read(
    address: str,
    meter_type: int,
    *,
    di: int = DI_CURRENT,
    serial: int = 0,
    profile: Profile = DEFAULT,
) -> bytes:
    """Ask for a data id (C = 01H, §7.2.2)."""
    data = _di_bytes(di, profile.di_high_first) + bytes((serial,))
    return encode(meter_type, address, READ, data)


def encode_read_address(
    meter_type: int = 0xAA, *, serial: int = 0, profile: Profile = DEFAULT
) -> bytes:
    """Ask the only meter on a line for its address (C = 03H, §7.2.4)."""
    data = _di_bytes(DI_ADDRESS, profile.di_high_first) + bytes((serial,))
    return encode(meter_type, BROADCAST, READ_ADDRESS, data)


def encode_valve(
    address: str, meter_type: int, *, is_open: bool, serial: int = 0, profile: Profile = DEFAULT
) -> bytes:
    """Order the valve open (55H) or closed (99H) (C = 04H, data id A017, §7.4)."""
    order = VALVE_OPEN if is_open else VALVE_CLOSE
    data = _di_bytes(DI_VALVE, profile.di_high_first) + bytes((serial, order))
    return encode(meter_type, address, WRITE, data)


def encode_write(
    address: str,
    meter_type: int,
    di: int,
    layout: Layout,
    amounts: Mapping[str, payloads.Amount],
    *,
    serial: int = 0,
    profile: Profile = DEFAULT,
) -> bytes:
    """Write a data id's items (C = 04H, §7.4), amounts in base units as `encode_answer` has them.
    Raises ValueError where one does not fit."""
    head = _di_bytes(di, profile.di_high_first) + bytes((serial,))
    return encode(meter_type, address, WRITE, head + payloads.write(layout, amounts))


def encode_clock(
    address: str,
    meter_type: int,
    when: datetime,
    *,
    serial: int = 0,
    profile: Profile = DEFAULT,
) -> bytes:
    """Set the meter's wall clock (data id A015): seven BCD bytes, seconds first."""
    amounts = {"meter_time": when}
    return encode_write(
        address, meter_type, DI_SET_CLOCK, CLOCK, amounts, serial=serial, profile=profile
    )


def encode_write_address(
    address: str, meter_type: int, new: str, *, serial: int = 0, profile: Profile = DEFAULT
) -> bytes:
    """Give a meter a new address of 14 digits (C = 15H, data id A018, §7.4.4). Raises ValueError
    for another length."""
    wire = bytes.fromhex(new)[::-1]
    if len(wire) != 7:
        raise ValueError(f"a CJ/T 188 address has 14 digits, not {len(new)}: {new}")
    data = _di_bytes(DI_WRITE_ADDRESS, profile.di_high_first) + bytes((serial,)) + wire
    return encode(meter_type, address, WRITE_ADDRESS, data)


def encode_read_key_version(
    address: str, meter_type: int, *, serial: int = 0, profile: Profile = DEFAULT
) -> bytes:
    """Ask for the version of the meter's key (C = 09H, data id 8106, §7.2.5)."""
    data = _di_bytes(DI_KEY_VERSION, profile.di_high_first) + bytes((serial,))
    return encode(meter_type, address, READ_KEY, data)


def encode_answer(
    request: Message,
    layout: Layout | None,
    amounts: Mapping[str, payloads.Amount],
    *,
    address: str,
    meter_type: int,
) -> bytes:
    """A meter's answer to `request`: its data id in the order asked, its SER, and the registers
    of `layout` (None: none), amounts in base units as `cjt188_payload.write` takes them."""
    if request.di is None:
        raise ValueError("the request names no data id")
    head = _di_bytes(request.di, request.di_high_first)
    serial = b"" if request.serial is None else bytes((request.serial,))
    payload = payloads.write(layout, amounts) if layout else b""
    return encode(meter_type, address, request.control | ANSWER, head + serial + payload)


def encode_refusal(
    request: Message, *, address: str, meter_type: int, status: bytes = b"\x00\x00"
) -> bytes:
    """A meter's refusal: C with D7 and D6 set, SER and status (§7.2.3)."""
    data = bytes((request.serial or 0,)) + status
    return encode(meter_type, address, request.control | ANSWER | REFUSED, data)
