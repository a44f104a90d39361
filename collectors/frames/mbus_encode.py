"""M-Bus frames to send: what a master asks, and what a simulated meter answers (EN 13757-2/-3).

encode_variable_response(5, "12345678", "NUA", 1, 0x04, 7, 0, [
    record_bcd(vif("Energy", "Wh", 3), 1234),
    record_int(vif("Flow temperature", "°C", -2), 4512, length=2),
    record_datetime(clock),
])
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import date, datetime

from collectors.frames.bcd import checksum, int_to_bcd
from collectors.frames.mbus_time import encode_type_f, encode_type_g
from collectors.frames.mbus_vif import FB, FD, MAIN

ACK = b"\xe5"
BROADCAST, BROADCAST_REPLY, SELECTED = 0xFF, 0xFE, 0xFD
SND_NKE, SND_UD, REQ_UD2, RSP_UD, FCB = 0x40, 0x53, 0x5B, 0x08, 0x20
CI_RESET, CI_SEND, CI_SELECT, CI_ERROR = 0x50, 0x51, 0x52, 0x70
CI_VARIABLE, CI_FIXED = 0x72, 0x73
# CI field of a baud switch (EN 13757-3 §8).
BAUD_RATES = dict(
    zip((300, 600, 1200, 2400, 4800, 9600, 19200, 38400), range(0xB8, 0xC0), strict=True)
)
MAX_DATA = 252  # the length byte counts C, A, CI and the data

_INTEGER_FIELDS = {1: 0x01, 2: 0x02, 3: 0x03, 4: 0x04, 6: 0x06, 8: 0x07}
_BCD_FIELDS = {1: 0x09, 2: 0x0A, 3: 0x0B, 4: 0x0C, 6: 0x0E}
_REAL_FIELD, _TEXT_FIELD = 0x05, 0x0D


# --- frames (EN 13757-2 §5) -------------------------------------------------------------------


def encode_short(control: int, address: int) -> bytes:
    """10 C A CS 16."""
    return bytes((0x10, control, address, (control + address) & 0xFF, 0x16))


def encode_snd_nke(address: int) -> bytes:
    """Reset the link of one slave; it answers E5, and its next answer is to FCB = 1."""
    return encode_short(SND_NKE, address)


def encode_req_ud2(address: int, fcb: bool) -> bytes:
    """Ask for the next data; toggle `fcb` after a good answer, keep it to have the last again."""
    return encode_short(REQ_UD2 | (FCB if fcb else 0), address)


def encode_long(control: int, address: int, ci: int, data: bytes = b"") -> bytes:
    """68 L L 68 C A CI data CS 16; raises ValueError above 252 bytes of data."""
    if len(data) > MAX_DATA:
        raise ValueError(f"{len(data)} bytes of data, an M-Bus frame holds {MAX_DATA}")
    body = bytes((control, address, ci)) + data
    length = len(body)
    return bytes((0x68, length, length, 0x68)) + body + bytes((checksum(body), 0x16))


def encode_select(
    id_mask: str, manufacturer: str | None = None, version: int = 0xFF, medium: int = 0xFF
) -> bytes:
    """Select slaves by secondary address (§11.3): eight digits, F for any digit; None for any."""
    if len(id_mask) != 8 or any(c not in "0123456789Ff" for c in id_mask):
        raise ValueError(f"{id_mask!r} is not eight digits or F")
    maker = b"\xff\xff" if manufacturer is None else manufacturer_bytes(manufacturer)
    data = bytes.fromhex(id_mask)[::-1] + maker + bytes((version, medium))
    return encode_long(SND_UD, SELECTED, CI_SELECT, data)


def encode_application_error(address: int, error: int, control: int = RSP_UD) -> bytes:
    """CI 70 with one error code (EN 13757-3 §10)."""
    return encode_long(control, address, CI_ERROR, bytes((error,)))


def encode_variable_response(
    address: int, id: str, manufacturer: str, version: int, medium: int, access_no: int,
    status: int, records: Iterable[bytes], *, control: int = RSP_UD, more_follows: bool = False,
) -> bytes:  # fmt: skip
    """RSP_UD with a long header (CI 72); `id` is eight hex digits, signature 0000 (not encrypted).

    Raises ValueError where the records do not fit one frame.
    """
    header = bytes.fromhex(id)[::-1] + manufacturer_bytes(manufacturer)
    header += bytes((version, medium, access_no & 0xFF, status, 0, 0))
    body = b"".join(records) + (b"\x1f" if more_follows else b"")
    return encode_long(control, address, CI_VARIABLE, header + body)


def encode_fixed_response(
    address: int, id: str, access_no: int, status: int, medium: int,
    counters: tuple[tuple[int, int], tuple[int, int]], *, control: int = RSP_UD,
) -> bytes:  # fmt: skip
    """RSP_UD with fixed data (CI 73, EN 1434-3): two counters, each its unit code and its eight
    digits; status bit 0 sends them as binary numbers instead of BCD."""
    units = [unit & 0x3F for unit, _ in counters]
    coded = bytes((units[0] | (medium & 3) << 6, units[1] | (medium >> 2 & 3) << 6))
    body = bytes.fromhex(id)[::-1] + bytes((access_no & 0xFF, status)) + coded
    for _, count in counters:
        body += count.to_bytes(4, "little") if status & 1 else int_to_bcd(count, 4)
    return encode_long(control, address, CI_FIXED, body)


def manufacturer_bytes(name: str) -> bytes:
    """Three letters in 15 bits, low byte first (EN 13757-3 §5.6)."""
    if len(name) != 3 or any(not 64 <= ord(c) < 96 for c in name):
        raise ValueError(f"{name!r} is not three capital letters")
    first, second, third = (ord(c) - 64 for c in name)
    return (first << 10 | second << 5 | third).to_bytes(2, "little")


# --- records (EN 13757-3 §6.3) ------------------------------------------------------------------


def vif(quantity: str, unit: str, exponent: int = 0) -> bytes:
    """VIF bytes of a quantity counted in 10**exponent of `unit`, as the tables name them.

    Raises ValueError where the standard has no code for it.
    """
    for prefix, table in ((b"", MAIN), (b"\xfd", FD), (b"\xfb", FB)):
        for code, row in enumerate(table):
            if (row.quantity, row.unit, row.exponent, row.factor) == (quantity, unit, exponent, 1):
                return prefix + bytes((code,))
    raise ValueError(f"no M-Bus code for {quantity} in 10^{exponent} {unit}")


def dib(
    field: int, *, function: int = 0, storage: int = 0, tariff: int = 0, subunit: int = 0
) -> bytes:
    """DIF and as many DIFEs as storage (41 bits), tariff (20) and subunit (10) need (§6.3.3)."""
    first = field | function << 4 | (storage & 1) << 6
    storage >>= 1
    chain = [first]
    while storage or tariff or subunit:
        chain.append(storage & 0x0F | (tariff & 3) << 4 | (subunit & 1) << 6)
        storage, tariff, subunit = storage >> 4, tariff >> 2, subunit >> 1
    if len(chain) > 11:
        raise ValueError("storage, tariff or subunit needs more than ten DIFEs")
    return bytes([byte | 0x80 for byte in chain[:-1]] + chain[-1:])


def record_int(vib: bytes, value: int, *, length: int = 4, **where: int) -> bytes:
    """A signed integer of 1, 2, 3, 4, 6 or 8 bytes; `where` as in dib().

    OverflowError where it does not fit.
    """
    return (
        dib(_INTEGER_FIELDS[length], **where) + vib + value.to_bytes(length, "little", signed=True)
    )


def record_bcd(vib: bytes, value: int, *, length: int = 4, **where: int) -> bytes:
    """BCD of 1, 2, 3, 4 or 6 bytes, a negative number with F as its first digit."""
    digits = int_to_bcd(abs(value), length)
    if value < 0:
        if digits[-1] & 0xF0:
            raise ValueError(f"{value} does not fit {length} bytes of BCD")
        digits = digits[:-1] + bytes((digits[-1] | 0xF0,))
    return dib(_BCD_FIELDS[length], **where) + vib + digits


def record_real(vib: bytes, value: float, **where: int) -> bytes:
    """A 32-bit IEEE number."""
    return dib(_REAL_FIELD, **where) + vib + struct.pack("<f", value)


def record_text(vib: bytes, text: str, **where: int) -> bytes:
    """Latin-1 text of up to 191 characters, sent last character first."""
    data = text.encode("latin-1")[::-1]
    if len(data) > 0xBF:
        raise ValueError(f"{len(data)} characters, an M-Bus text holds 191")
    return dib(_TEXT_FIELD, **where) + vib + bytes((len(data),)) + data


def record_date(day: date, **where: int) -> bytes:
    """A date, type G."""
    return dib(0x02, **where) + b"\x6c" + encode_type_g(day)


def record_datetime(moment: datetime, **where: int) -> bytes:
    """A wall time to the minute, type F."""
    return dib(0x04, **where) + b"\x6d" + encode_type_f(moment)
