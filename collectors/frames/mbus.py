"""M-Bus, wired: frames (EN 13757-2 §5) and what meters answer in them (EN 13757-3 §5, §6).

    E5                               acknowledgement
    10 C A CS 16                     short frame
    68 L L 68 C A CI data.. CS 16    long frame; without data a control frame

`decode` knows nothing of who asked: the caller matches address and control field. An answer whose
records do not add up is refused whole; one unbelievable value inside a good answer leaves that
record without a value (`Record.problem`) and the rest usable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from collectors.frames.bcd import checksum
from collectors.frames.errors import FrameError
from collectors.frames.mbus_data import read_bcd
from collectors.frames.mbus_names import (
    CI_NAMES,
    FIXED_MEDIA,
    application_error,
    control_name,
    medium_name,
)
from collectors.frames.mbus_record import (
    MORE_FOLLOWS,
    Header,
    Record,
    make_header,
    read_records,
)
from collectors.frames.mbus_vif import FIXED

ACK_BYTE, SHORT_START, LONG_START, STOP = 0xE5, 0x10, 0x68, 0x16
SHORT_SIZE = 5
OVERHEAD = 6  # bytes of a long frame that its length field does not count
MIN_LENGTH = 3  # C, A and CI

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Ack:
    """E5: the slave has taken what was sent."""

    def meaning(self) -> str:
        return "ACK"


@dataclass(frozen=True, slots=True)
class Short:
    """A command without data: SND_NKE, REQ_UD1, REQ_UD2."""

    control: int
    address: int

    def meaning(self) -> str:
        return f"{control_name(self.control)} address {self.address}"


@dataclass(frozen=True, slots=True)
class Long:
    """A long frame this codec does not read further: a command, an alarm, an unknown CI."""

    control: int
    address: int
    ci: int
    data: bytes

    def meaning(self) -> str:
        what = CI_NAMES.get(self.ci, "unknown")
        data = f", data {self.data.hex(' ').upper()}" if self.data else ""
        return f"{control_name(self.control)} address {self.address}: CI {self.ci:02X} {what}{data}"


@dataclass(frozen=True, slots=True)
class ApplicationError:
    """CI 70: the slave says why it has no answer; `error` is None where it gives no code."""

    control: int
    address: int
    ci: int
    error: int | None

    def meaning(self) -> str:
        return application_error(self.error)


class Variable(NamedTuple):
    """Variable data structure, CI 72/76 (long header), 7A (short), 78 (none), 51/55 (sent).

    id            eight hex digits as printed on the meter, None without a long header
    manufacturer  three letters; version and medium as coded; signature is the configuration word
    """

    control: int
    address: int
    ci: int
    id: str | None
    manufacturer: str | None
    version: int | None
    medium: int | None
    access_no: int | None
    status: int | None
    signature: int | None
    records: list[Record]

    @property
    def medium_name(self) -> str | None:
        return medium_name(self.medium)

    @property
    def more_follows(self) -> bool:
        """The meter has another telegram to give (DIF 1F, EN 13757-3 §6.3.4)."""
        return bool(self.records) and self.records[-1].header.function == MORE_FOLLOWS

    def find(
        self, quantity: str, *, function: int = 0, storage: int = 0, tariff: int = 0,
        subunit: int = 0,
    ) -> Record | None:  # fmt: skip
        """The first record of that plain quantity; qualified ones (per hour, L1 …) do not match."""
        for record in self.records:
            h = record.header
            if (
                (h.function, h.storage, h.tariff, h.subunit) == (function, storage, tariff, subunit)
                and h.vif.quantity == quantity
                and not h.qualifiers
            ):
                return record
        return None

    def meaning(self) -> str:
        return f"{control_name(self.control)} address {self.address}: {CI_NAMES[self.ci]}"


class Fixed(NamedTuple):
    """Fixed data structure, CI 73/77: two counters; `labels` are their units as the table says."""

    control: int
    address: int
    ci: int
    id: str
    access_no: int
    status: int
    medium: int
    records: list[Record]
    labels: tuple[str, str]

    @property
    def medium_name(self) -> str:
        return FIXED_MEDIA[self.medium][0]

    @property
    def stored(self) -> bool:
        """The counters were kept at a fixed date instead of read now (status bit 1)."""
        return bool(self.status & 0x02)

    def meaning(self) -> str:
        return f"{control_name(self.control)} address {self.address}: {CI_NAMES[self.ci]}"


Message = Ack | Short | Long | ApplicationError | Variable | Fixed


def decode(buffer: Buffer) -> tuple[Message | None, int]:
    """Find and read the first frame; see collectors.frames for the contract.

    An E5 after noise counts only where nothing but E5 follows: a slave is silent after it.
    Raises FrameError with code start, stop, length, checksum, structure or unsupported.
    """
    for pos, byte in enumerate(buffer):
        if byte == LONG_START:
            return _long(buffer, pos)
        if byte == SHORT_START:
            return _short(buffer, pos)
        if byte == ACK_BYTE and (pos == 0 or all(b == ACK_BYTE for b in buffer[pos:])):
            return Ack(), pos + 1
    return None, len(buffer)


def _short(buffer: Buffer, pos: int) -> tuple[Message | None, int]:
    frame = bytes(buffer[pos : pos + SHORT_SIZE])
    if len(frame) < SHORT_SIZE:
        return None, pos
    if frame[4] != STOP:
        raise _bad("short frame without stop byte", pos + 4, "stop", pos + 1)
    if (frame[1] + frame[2]) & 0xFF != frame[3]:
        raise _bad("short frame checksum does not match", pos + 3, "checksum", pos + SHORT_SIZE)
    return Short(frame[1], frame[2]), pos + SHORT_SIZE


def _long(buffer: Buffer, pos: int) -> tuple[Message | None, int]:
    have = len(buffer) - pos
    if have > 1 and buffer[pos + 1] < MIN_LENGTH:
        raise _bad("length below three", pos + 1, "length", pos + 1)
    if have > 2 and buffer[pos + 1] != buffer[pos + 2]:
        raise _bad("the two length bytes differ", pos + 2, "length", pos + 1)
    if have > 3 and buffer[pos + 3] != LONG_START:
        raise _bad("no second start byte", pos + 3, "start", pos + 1)
    if have < 4 or have < (size := buffer[pos + 1] + OVERHEAD):
        return None, pos
    frame = bytes(buffer[pos : pos + size])
    if frame[-1] != STOP:
        raise _bad("long frame without stop byte", pos + size - 1, "stop", pos + 1)
    if checksum(frame[4:-2]) != frame[-2]:
        raise _bad("long frame checksum does not match", pos + size - 2, "checksum", pos + size)
    try:
        return _APPLICATION.get(frame[6], _opaque)(frame), pos + size
    except FrameError as error:
        error.at += pos
        error.consumed = pos + size
        raise


def _bad(reason: str, at: int, code: str, consumed: int) -> FrameError:
    return FrameError(reason, at=at, code=code, consumed=consumed)


# --- application layer: each reads one whole, checked long frame ------------------------------


def _opaque(frame: bytes) -> Message:
    return Long(frame[4], frame[5], frame[6], frame[7:-2])


def _application_error(frame: bytes) -> Message:
    return ApplicationError(frame[4], frame[5], frame[6], frame[7] if len(frame) > 9 else None)


_MAKERS: dict[int, str] = {}


def manufacturer_name(code: int) -> str:
    """Three letters from 15 bits, five each (EN 13757-3 §5.6)."""
    name = _MAKERS.get(code)
    if name is None:
        name = "".join(chr((code >> shift & 0x1F) + 64) for shift in (10, 5, 0))
        _MAKERS[code] = name
    return name


def _refuse_encrypted(signature: int, at: int) -> None:
    """Mode in bits 8-12, how much is encrypted in the low byte (EN 13757-3 §5.12)."""
    if signature & 0x1F00 and signature & 0x00FF:
        mode = signature >> 8 & 0x1F
        raise FrameError(f"data is encrypted (mode {mode})", at=at, code="unsupported")


def _long_header(frame: bytes) -> Message:
    """CI 72: id 4, manufacturer 2, version, medium, access number, status, signature 2 (§5.2)."""
    end = len(frame) - 2
    if end < 19:
        raise FrameError("header shorter than twelve bytes", at=end, code="length")
    signature = frame[17] | frame[18] << 8
    if signature:
        _refuse_encrypted(signature, 17)
    return Variable(
        frame[4], frame[5], frame[6], frame[10:6:-1].hex().upper(),
        manufacturer_name(frame[11] | frame[12] << 8), frame[13], frame[14], frame[15], frame[16],
        signature, read_records(frame, 19, end),
    )  # fmt: skip


def _long_header_high_first(frame: bytes) -> Message:
    """CI 76: the same, high byte first in the header and in every record (§5.1, mode 2)."""
    end = len(frame) - 2
    if end < 19:
        raise FrameError("header shorter than twelve bytes", at=end, code="length")
    signature = frame[17] << 8 | frame[18]
    _refuse_encrypted(signature, 17)
    return Variable(
        frame[4], frame[5], frame[6], frame[7:11].hex().upper(),
        manufacturer_name(frame[11] << 8 | frame[12]), frame[13], frame[14], frame[15], frame[16],
        signature, read_records(frame, 19, end, high_first=True),
    )  # fmt: skip


def _short_header(frame: bytes) -> Message:
    """CI 7A: access number, status, signature (§5.3)."""
    end = len(frame) - 2
    if end < 11:
        raise FrameError("header shorter than four bytes", at=end, code="length")
    signature = frame[9] | frame[10] << 8
    _refuse_encrypted(signature, 9)
    return Variable(
        frame[4], frame[5], frame[6], None, None, None, None, frame[7], frame[8], signature,
        read_records(frame, 11, end),
    )  # fmt: skip


def _no_header(frame: bytes) -> Message:
    """CI 78: records from the first byte on."""
    return _bare(frame, high_first=False)


def _command(frame: bytes) -> Message:
    """CI 51 and 55 to a meter (§9): records to write or to select, or what only its maker reads.

    Nothing here is a reading, so data that makes no records is handed on as it is.
    """
    try:
        return _bare(frame, high_first=frame[6] == 0x55)
    except FrameError:
        return _opaque(frame)


def _bare(frame: bytes, *, high_first: bool) -> Message:
    records = read_records(frame, 7, len(frame) - 2, high_first)
    return Variable(
        frame[4], frame[5], frame[6], None, None, None, None, None, None, None, records
    )  # fmt: skip


def _fixed_counter(data: bytes, unit: int, status: int) -> tuple[Record, str]:
    header = _fixed_header(unit, binary=bool(status & 0x01))
    return Record(header, data, header.read(data)), FIXED[unit][1]


def _fixed_header(unit: int, *, binary: bool) -> Header:
    """A record header for one counter, so that fixed and variable data are used alike."""
    vif, _ = FIXED[unit]
    plain = make_header(b"\x04" if binary else b"\x0c", b"\x6e")
    return Header(
        dib=plain.dib, vib=b"", function=0, storage=0, tariff=0, subunit=0, vif=vif,
        qualifiers=(), length=4, read=plain.read if binary else read_bcd,
        multiply=vif.factor * 10 ** max(vif.exponent, 0), divide=10 ** max(-vif.exponent, 0),
        offset=0.0, trusted=vif.kind == "number",
    )  # fmt: skip


def _fixed(frame: bytes) -> Message:
    """CI 73/77: id 4, access number, status, medium and units 2, two counters (EN 1434-3)."""
    if len(frame) != 25:
        raise FrameError("fixed data is not sixteen bytes", at=len(frame) - 2, code="length")
    order = -1 if frame[6] == 0x77 else 1
    low, high = frame[13:15][::order]
    first, second = frame[15:19][::order], frame[19:23][::order]
    status = frame[12]
    units = (low & 0x3F, high & 0x3F)
    if units[1] == 0x3E:  # "same unit, but historic"
        units = (units[0], units[0])
    one, label = _fixed_counter(first, units[0], status)
    two, label_two = _fixed_counter(second, units[1], status)
    if high & 0x3F == 0x3E:
        label_two += " (historic)"
    return Fixed(
        frame[4], frame[5], frame[6], frame[7:11][::-order].hex().upper(), frame[11], status,
        (high >> 6) << 2 | low >> 6, [one, two], (label, label_two),
    )  # fmt: skip


_APPLICATION = {
    0x51: _command,
    0x55: _command,
    0x70: _application_error,
    0x72: _long_header,
    0x73: _fixed,
    0x76: _long_header_high_first,
    0x77: _fixed,
    0x78: _no_header,
    0x7A: _short_header,
}

__all__ = [
    "Ack",
    "ApplicationError",
    "Fixed",
    "FrameError",
    "Header",
    "Long",
    "Message",
    "Record",
    "Short",
    "Variable",
    "decode",
    "manufacturer_name",
]
