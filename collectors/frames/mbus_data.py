"""M-Bus data fields: bytes into numbers and texts (EN 13757-3 §6.3.2, Annex A)."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time
from struct import Struct

from collectors.frames.mbus_time import BY_LENGTH

Raw = int | float | str | date | datetime | time | None

VARIABLE_LENGTH = -1
LENGTHS = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, VARIABLE_LENGTH, 6)
_REAL32 = Struct("<f")


def nothing(data: bytes) -> Raw:
    """Data fields 0 (no data) and 8 (selection for readout)."""
    return None


def read_bcd(data: bytes) -> int | None:
    """Type A. F in the first digit is the minus sign; any other digit above 9 is no number."""
    digits = data[::-1].hex()
    if digits.isdecimal():
        return int(digits)
    if digits[:1] == "f" and digits[1:].isdecimal():
        return -int(digits[1:])
    return None


def _signed(data: bytes) -> Raw:
    return int.from_bytes(data, "little", signed=True)


def _unsigned(data: bytes) -> Raw:
    return int.from_bytes(data, "little")


def _measured(data: bytes) -> Raw:
    """Type B. The most negative number (80 00 ...) is the standard's mark for "invalid"."""
    value = int.from_bytes(data, "little", signed=True)
    return None if value == -1 << (8 * len(data) - 1) else value


def _real(data: bytes) -> Raw:
    """Type H, IEEE 754 single precision; NaN and infinities are no values."""
    value: float = _REAL32.unpack(data)[0]
    return value if math.isfinite(value) else None


def _variable(data: bytes) -> Raw:
    """LVAR: the first byte says what follows and how long it is (§6.3.2, table 5)."""
    lvar, body = data[0], data[1:]
    if lvar <= 0xBF:
        return body[::-1].decode("latin-1")
    if lvar <= 0xDF:
        number = read_bcd(body) if body else None
        if number is None or number < 0:
            return None
        return number if lvar < 0xD0 else -number
    if lvar <= 0xEF:
        return int.from_bytes(body, "little", signed=True) if body else None
    return body[::-1].hex(" ").upper()


def lvar_length(lvar: int) -> int:
    """Bytes following the LVAR byte; -1 where the standard reserves it."""
    if lvar <= 0xBF:
        return lvar
    if lvar <= 0xEF:
        return lvar & 0x0F
    if lvar <= 0xF4:
        return 4 * (lvar - 0xEC)
    return {0xF5: 48, 0xF6: 64}.get(lvar, -1)


_READERS: tuple[Callable[[bytes], Raw], ...] = (
    nothing, _measured, _measured, _measured, _measured, _real, _measured, _measured,
    nothing, read_bcd, read_bcd, read_bcd, read_bcd, _variable, read_bcd,
)  # fmt: skip
_INTEGERS = frozenset((1, 2, 3, 4, 6, 7))


def reader(field: int, kind: str) -> Callable[[bytes], Raw]:
    """What turns the bytes of data field 0..14 into a value, given the VIF's kind."""
    if field in _INTEGERS:
        if kind == "time" and LENGTHS[field] in BY_LENGTH:
            return BY_LENGTH[LENGTHS[field]]
        if kind == "id":
            return _unsigned
        if kind == "flags":
            return _signed
    return _READERS[field]
