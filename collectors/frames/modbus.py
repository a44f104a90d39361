"""Modbus framing: RTU and ASCII on serial lines (Modbus over Serial Line V1.02), TCP (MBAP).

RTU has no start byte and no length: a frame is unit, PDU and CRC-16, and silence around it. Over
a serial server the silence is lost, so `decode_rtu` tries at every byte the lengths the function
code allows and believes only the CRC: an echo or a noise byte costs itself and nothing more. RTU
frames over a TCP socket are read by the same function. `decode_tcp` reads MBAP frames, whose
length field it holds against the PDU; `decode_ascii` colon-framed hexadecimal with its LRC.
`parse_rtu` reads a frame whose two ends are known, whatever its function code.

Beside the buffer every decode takes `side`, whose frames are expected: "request", "response" or
"any"; a meter's answer can look like a question (see `modbus_pdu`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from collectors.frames import modbus_pdu as pdus
from collectors.frames.errors import FrameError
from collectors.frames.modbus_pdu import Pdu, Side

__all__ = [
    "Message",
    "Pdu",
    "crc16",
    "decode",
    "decode_ascii",
    "decode_rtu",
    "decode_tcp",
    "encode_ascii",
    "encode_rtu",
    "encode_tcp",
    "lrc",
    "parse_rtu",
]

Framing = Literal["rtu", "tcp", "ascii"]

MAX_RTU: Final = 256  # unit, 253 bytes of PDU, CRC (serial line §2.5.1)
MIN_RTU: Final = 4
MAX_ASCII: Final = 513  # colon, 2 * 255 digits, CR LF (§2.5.2)
MBAP: Final = 7  # transaction, protocol, length, unit (TCP guide §3.1.3)


@dataclass(frozen=True, slots=True)
class Message:
    """One good frame.

    unit         the address on the line (0 is a broadcast, 248 to 255 are reserved)
    transaction  the MBAP header's, None elsewhere
    raw          the frame as it came; `offset` is where it began in the buffer
    """

    framing: Framing
    unit: int
    pdu: Pdu
    raw: bytes
    offset: int = 0
    transaction: int | None = None

    @property
    def is_exception(self) -> bool:
        return self.pdu.kind == "exception"


def _crc_table() -> tuple[int, ...]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC: Final = _crc_table()


def crc16(data: bytes) -> int:
    """The CRC of RTU frames (serial line §6.2.2), low byte first on the wire."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def lrc(data: bytes) -> int:
    """The check byte of ASCII frames (serial line §6.2.1): all bytes add up to zero."""
    return -sum(data) & 0xFF


def decode(
    buffer: bytes | bytearray | memoryview, *, framing: Framing = "rtu", side: Side = "any"
) -> tuple[Message | None, int]:
    """Find the first frame; see `collectors.frames` for the contract."""
    if framing == "tcp":
        return decode_tcp(buffer, side=side)
    return decode_ascii(buffer, side=side) if framing == "ascii" else decode_rtu(buffer, side=side)


# RTU --------------------------------------------------------------------------------------


def decode_rtu(
    buffer: bytes | bytearray | memoryview, *, side: Side = "any", unit: int | None = None
) -> tuple[Message | None, int]:
    """Find the first RTU frame; see `collectors.frames` for the contract.

    While a frame may still be coming, a whole one behind its first byte is taken as well (what
    came before it was noise or cut off); `unit` names the only unit such a frame is taken from.
    Raises FrameError "checksum" where bytes have the shape of a frame and not its CRC.
    """
    data = bytes(buffer)
    for start in range(len(data)):
        ends, is_open = _ends(data, start, side)
        for end in ends:
            if _is_whole(data, start, end):
                return _rtu_message(data, start, end, side), end
        if is_open:
            later = _later_rtu(data, start + 1, side, unit)
            return later if later else (None, start)
        if ends:
            raise _crc_error(data, start, max(ends), consumed=start + 1)
    return None, len(data)


def _ends(data: bytes, start: int, side: Side) -> tuple[list[int], bool]:
    """Where a frame at `start` may end, and whether one may end behind the buffer."""
    head = data[start + 1 : start + 1 + pdus.MAX_PDU]
    ends, is_open = [], False
    for kind in pdus.kinds(side):
        size = pdus.size(head, kind)
        if size is None:  # a PDU that is not at its end by now never comes to one
            is_open = is_open or len(head) < pdus.MAX_PDU
        elif start + size + 3 > len(data):
            is_open = is_open or size != 0
        elif size:
            ends.append(start + size + 3)
    return ends, is_open


def _is_whole(data: bytes, start: int, end: int) -> bool:
    return crc16(data[start : end - 2]) == int.from_bytes(data[end - 2 : end], "little")


def _later_rtu(data: bytes, begin: int, side: Side, unit: int | None) -> tuple[Message, int] | None:
    for start in range(begin, min(len(data) - MIN_RTU + 1, begin + MAX_RTU)):
        if unit is not None and data[start] != unit:
            continue
        for end in _ends(data, start, side)[0]:
            if _is_whole(data, start, end):
                return _rtu_message(data, start, end, side), end
    return None


def _crc_error(data: bytes, start: int, end: int, *, consumed: int) -> FrameError:
    found, computed = data[end - 2 : end], crc16(data[start : end - 2]).to_bytes(2, "little")
    return FrameError(
        f"CRC {found.hex().upper()}, computed {computed.hex().upper()}",
        at=end - 2,
        code="checksum",
        consumed=consumed,
    )


def _rtu_message(data: bytes, start: int, end: int, side: Side) -> Message:
    raw = data[start:end]
    pdu = pdus.parse(raw[1:-2], side=side, at=start + 1)
    return Message("rtu", raw[0], pdu, raw, start)


def parse_rtu(frame: bytes, *, side: Side = "any") -> Message:
    """Read a frame that silence has cut out of the line: it is all of `frame`.

    Raises FrameError: "short", "length" (over 256 bytes), "checksum", "structure".
    """
    size = len(frame)
    if size < MIN_RTU:
        raise FrameError("an RTU frame has four bytes at least", at=size, code="short")
    if size > MAX_RTU:
        raise FrameError(f"{size} bytes are no RTU frame", at=MAX_RTU, code="length", consumed=size)
    if not _is_whole(frame, 0, size):
        raise _crc_error(frame, 0, size, consumed=size)
    return _rtu_message(bytes(frame), 0, size, side)


def encode_rtu(unit: int, pdu: bytes) -> bytes:
    """A whole RTU frame. Raises ValueError for a unit or PDU no frame can carry."""
    body = _unit_and_pdu(unit, pdu)
    return body + crc16(body).to_bytes(2, "little")


def _unit_and_pdu(unit: int, pdu: bytes) -> bytes:
    if not 0 <= unit <= 255 or not 1 <= len(pdu) <= pdus.MAX_PDU:
        raise ValueError(f"unit {unit} with {len(pdu)} bytes of PDU is no frame")
    return bytes((unit,)) + pdu


# TCP --------------------------------------------------------------------------------------


def decode_tcp(
    buffer: bytes | bytearray | memoryview, *, side: Side = "any"
) -> tuple[Message | None, int]:
    """Find the first MBAP frame; see `collectors.frames` for the contract.

    Raises FrameError "structure" where a header is followed by a PDU that does not fit it.
    """
    data = bytes(buffer)
    for start in range(len(data)):
        end = _tcp_end(data, start)
        if end is None or end > len(data):
            return None, start
        if end:
            try:
                return _tcp_message(data, start, end, side), end
            except FrameError as error:
                error.consumed = end if _begins_frame(data, end) else start + 1
                raise
    return None, len(data)


def _tcp_end(data: bytes, start: int) -> int | None:
    """Where the frame at `start` ends, 0 where no header begins there, None if not yet known."""
    head = data[start : start + 6]
    if head[2:4].strip(b"\0"):
        return 0
    if len(head) < 6:
        return None if head[4:5] in (b"", b"\0") else 0
    length = int.from_bytes(head[4:6], "big")
    return start + 6 + length if 2 <= length <= pdus.MAX_PDU + 1 else 0


def _begins_frame(data: bytes, start: int) -> bool:
    return start == len(data) or _tcp_end(data, start) != 0


def _tcp_message(data: bytes, start: int, end: int, side: Side) -> Message:
    raw = data[start:end]
    pdu = pdus.parse(raw[MBAP:], side=side, at=start + MBAP)
    transaction = int.from_bytes(raw[:2], "big")
    return Message("tcp", raw[6], pdu, raw, start, transaction)


def encode_tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    """A whole MBAP frame. Raises ValueError as `encode_rtu`, OverflowError for a transaction
    outside 0 to 65535."""
    body = _unit_and_pdu(unit, pdu)
    return transaction.to_bytes(2, "big") + b"\0\0" + len(body).to_bytes(2, "big") + body


# ASCII ------------------------------------------------------------------------------------


def decode_ascii(
    buffer: bytes | bytearray | memoryview, *, side: Side = "any"
) -> tuple[Message | None, int]:
    """Find the first ASCII frame; see `collectors.frames` for the contract.

    Raises FrameError: "start" (a frame cut off by another), "length", "structure", "checksum".
    """
    data = bytes(buffer)
    start = data.find(b":")
    if start < 0:
        return None, len(data)
    again = data.find(b":", start + 1, start + MAX_ASCII)
    end = data.find(b"\r\n", start, start + MAX_ASCII) + 2
    if again >= 0 and (end < 2 or again < end):
        raise FrameError("a frame begins inside another", at=again, code="start", consumed=again)
    if end >= 2:
        return _ascii_message(data, start, end, side), end
    if len(data) - start < MAX_ASCII:
        return None, start
    raise FrameError("no frame goes on so long", at=start, code="length", consumed=start + 1)


def _ascii_message(data: bytes, start: int, end: int, side: Side) -> Message:
    digits = data[start + 1 : end - 2]
    if len(digits) % 2 or digits.strip(b"0123456789ABCDEFabcdef"):
        raise FrameError("not hexadecimal", at=start + 1, code="structure", consumed=end)
    try:
        body = bytes.fromhex(digits.decode("ascii"))
    except ValueError as error:
        raise FrameError("not hexadecimal", at=start + 1, consumed=end) from error
    if len(body) < 3:
        raise FrameError("unit, function and LRC at least", at=start, code="length", consumed=end)
    if sum(body) & 0xFF:
        reason = f"LRC {body[-1]:02X}, computed {lrc(body[:-1]):02X}"
        raise FrameError(reason, at=end - 4, code="checksum", consumed=end)
    try:
        pdu = pdus.parse(body[1:-1], side=side, at=start + 3)
    except FrameError as error:
        error.consumed = end
        raise
    return Message("ascii", body[0], pdu, data[start:end], start)


def encode_ascii(unit: int, pdu: bytes) -> bytes:
    """A whole ASCII frame, digits in capitals. Raises ValueError as `encode_rtu`."""
    body = _unit_and_pdu(unit, pdu)
    return b":" + (body + bytes((lrc(body),))).hex().upper().encode() + b"\r\n"
