"""The frame both editions of DL/T 645 share (DL/T 645-2007 §5.2, DL/T 645-1997 §5.2).

FE preambles, 68H, address A0..A5 (low byte first), 68H, control C, length L, L data bytes, checksum
CS (sum of all bytes from the first 68H modulo 256), 16H. Each data byte travels with 33H added.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from collectors.frames.bcd import checksum
from collectors.frames.errors import FrameError

START: Final = 0x68
STOP: Final = 0x16
PREAMBLE: Final = 0xFE
MAX_PREAMBLES: Final = 16  # more are a stuck line, and are let go
OFFSET: Final = 0x33
OVERHEAD: Final = 12  # 68 A*6 68 C L ... CS 16
LONGEST: Final = 200  # §5.2.5: L is at most 200 when reading, 50 when writing

ANSWER: Final = 0x80  # D7: from the meter
REFUSED: Final = 0x40  # D6: the meter could not do it
MORE: Final = 0x20  # D5: follow-up data are to be asked for

WILDCARD: Final = "AAAAAAAAAAAA"  # the only meter on a line
BROADCAST: Final = "999999999999"

_ADD: Final = bytes((byte + OFFSET) & 0xFF for byte in range(256))
_SUBTRACT: Final = bytes((byte - OFFSET) & 0xFF for byte in range(256))

Buffer = bytes | bytearray | memoryview


class Frame(NamedTuple):
    """One checked frame: `address` high byte first, `data` with 33H already taken off, `raw` from
    68H to 16H, which began at `offset` behind `preamble` FE bytes."""

    address: str
    control: int
    data: bytes
    raw: bytes
    offset: int
    preamble: int


def find(buffer: Buffer) -> tuple[Frame | None, int]:
    """Find the first frame; see `collectors.frames` for the contract.

    Raises FrameError with code "start", "length", "stop" or "checksum" where a 68H is not the
    beginning of a good frame; `consumed` reaches one byte past that 68H.
    """
    data = bytes(buffer)
    start = data.find(START)
    if start < 0:
        return None, len(data) - _preambles(data, len(data))
    _check_head(data, start)
    end = _end(data, start)
    if end > len(data):
        later = _later_frame(data, start + 1)
        if later is None:
            return None, start - _preambles(data, start)
        start, end = later, _end(data, later)
    _check_tail(data, start, end)
    return _frame(data, start, end), end


def _frame(data: bytes, start: int, end: int) -> Frame:
    raw = data[start:end]
    address = raw[6:0:-1].hex().upper()
    body = raw[10:-2].translate(_SUBTRACT)
    return Frame(address, raw[8], body, raw, start, _preambles(data, start))


def _end(data: bytes, start: int) -> int:
    """Where a frame at `start` would end; past the buffer while its length is unknown."""
    if start + 10 > len(data):
        return len(data) + 1
    return start + OVERHEAD + data[start + 9]


def _head_flaw(data: bytes, start: int) -> tuple[str, int] | None:
    """What already speaks against a frame at `start`, and at which byte."""
    if len(data) > start + 7 and data[start + 7] != START:
        return "start", start + 7
    if len(data) > start + 9 and data[start + 9] > LONGEST:
        return "length", start + 9
    return None


def _check_head(data: bytes, start: int) -> None:
    flaw = _head_flaw(data, start)
    if flaw is None:
        return
    code, at = flaw
    found = f"{data[at]:02X}"
    reason = f"length {found} is above C8" if code == "length" else f"{found} instead of second 68"
    raise FrameError(reason, at=at, code=code, consumed=start + 1)


def _tail_flaw(data: bytes, start: int, end: int) -> str | None:
    if data[end - 1] != STOP:
        return "stop"
    return None if checksum(data[start : end - 2]) == data[end - 2] else "checksum"


def _check_tail(data: bytes, start: int, end: int) -> None:
    flaw = _tail_flaw(data, start, end)
    if flaw == "stop":
        reason, at = f"frame ends in {data[end - 1]:02X}, not 16", end - 1
        raise FrameError(reason, at=at, code=flaw, consumed=start + 1)
    if flaw:
        found, computed = data[end - 2], checksum(data[start : end - 2])
        reason = f"checksum {found:02X}, computed {computed:02X}"
        raise FrameError(reason, at=end - 2, code=flaw, consumed=start + 1)


def _later_frame(data: bytes, begin: int) -> int | None:
    """A whole good frame behind one that has not come to its end: the first was cut off."""
    start = data.find(START, begin)
    while start >= 0:
        end = _end(data, start)
        if (
            end <= len(data)
            and _head_flaw(data, start) is None
            and _tail_flaw(data, start, end) is None
        ):
            return start
        start = data.find(START, start + 1)
    return None


def _preambles(data: bytes, start: int) -> int:
    count = 0
    while count < min(start, MAX_PREAMBLES) and data[start - count - 1] == PREAMBLE:
        count += 1
    return count


def address_bytes(address: str) -> bytes:
    """Twelve hexadecimal digits, high byte first, as the six bytes sent. Raises ValueError."""
    wire = bytes.fromhex(address)[::-1]
    if len(wire) != 6:
        raise ValueError(f"a DL/T 645 address has 12 digits, not {len(address)}: {address}")
    return wire


def encode(address: str, control: int, data: bytes = b"", *, preamble: int = 4) -> bytes:
    """A whole frame; 33H is added to `data` here. `address` is 12 hexadecimal digits, high byte
    first. Raises ValueError where the address has another length or the data exceed 200 bytes."""
    if len(data) > LONGEST:
        raise ValueError(f"{len(data)} data bytes, at most {LONGEST} fit a frame")
    head = bytes((START,)) + address_bytes(address) + bytes((START, control, len(data)))
    body = head + data.translate(_ADD)
    return bytes((PREAMBLE,)) * preamble + body + bytes((checksum(body), STOP))


def addressed_to(asked: str, own: str) -> bool:
    """Whether a meter of address `own` is meant: AA at the high end matches anything (§5.2.2), and
    twelve 9s mean everybody."""
    if asked == BROADCAST:
        return True
    low = asked
    while low.startswith("AA"):
        low = low[2:]
    return own.endswith(low)
