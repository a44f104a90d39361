"""Data items of DL/T 645: what the bytes of one item say, and how they are written.

A `Field` tells the form of one item, a `Layout` which items an answer to a data id holds. No value
is ever made of digits that are not decimal, nor of EE or FF fill; a bad item leaves its `Value`
without a number and with a `fault`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Final

from collectors.frames.bcd import bcd_to_int, int_to_bcd
from collectors.frames.errors import FrameError

Raw = int | str | datetime | date | time

FILLS: Final = (0xEE, 0xFF)

# Forms of a field. A moment's form is the order of its bytes as printed, high byte first.
UNSIGNED: Final = "unsigned"
SIGNED: Final = "signed"  # sign and magnitude: the top bit of the last byte is the sign
DIGITS: Final = "digits"  # a number that names something: keeps its zeros
TEXT: Final = "text"  # ASCII, last character sent first
BITS: Final = "bits"  # a status word
MOMENTS: Final = frozenset(
    ("YMDhms", "YMDWhms", "YMDhm", "YMDW", "YMD", "MDhm", "MD", "Dh", "hms", "hm")
)


@dataclass(frozen=True, slots=True)
class Field:
    """One item: `size` bytes of `form`, worth raw * 10**exponent of `unit` where it is a number.

    tariff 0 is the total; back 0 is now, n the n-th last settlement day or freeze.
    """

    name: str
    zh: str
    size: int
    form: str = UNSIGNED
    exponent: int = 0
    unit: str = ""
    tariff: int = 0
    back: int = 0

    @property
    def is_number(self) -> bool:
        return self.form in (UNSIGNED, SIGNED)


@dataclass(frozen=True, slots=True)
class Layout:
    """The items of an answer in order. A block may end early, but only after a multiple of `step`
    items: meters leave out tariffs and phases they do not have."""

    fields: tuple[Field, ...]
    is_block: bool = False
    step: int = 1

    def fitting(self, size: int) -> tuple[Field, ...] | None:
        """The items that fill exactly `size` bytes, or None."""
        total = 0
        for count, field in enumerate(self.fields, 1):
            total += field.size
            if total >= size:
                return self.of_count(count) if total == size else None
        return None

    def of_count(self, count: int) -> tuple[Field, ...] | None:
        """The first `count` items where an answer may hold so many, or None."""
        if not 0 < count <= len(self.fields) or count % self.step:
            return None
        return self.fields[:count] if self.is_block or count == len(self.fields) else None


# Weight of a unit in the integer unit asked for; a unit that is missing has no such amount.
_WH: Final = {"kWh": 1000}
_VARH: Final = {"kvarh": 1000}
_WATTS: Final = {"kW": 1000}
_VARS: Final = {"kvar": 1000}
_CENTIVOLTS: Final = {"V": 100}
_MILLIAMPERES: Final = {"A": 1000}
_FEN: Final = {"yuan": 100}


@dataclass(frozen=True, slots=True)
class Value:
    """One item as sent: `raw` is the signed integer of its digits, a text or a moment; None where
    `fault` says why ("fill_value", "not_bcd", "time", "text") or a moment was never set."""

    field: Field
    raw: Raw | None
    fault: str
    data: bytes

    @property
    def number(self) -> Decimal | None:
        """The value in `field.unit`, exactly; None where it is no number."""
        if not self.field.is_number or not isinstance(self.raw, int):
            return None
        return Decimal(self.raw).scaleb(self.field.exponent)

    def _in(self, weights: dict[str, int]) -> int | None:
        """The value in another unit as an integer, half up; exact wherever the digits allow."""
        weight = weights.get(self.field.unit)
        if weight is None or self.number is None:
            return None
        return floor(Fraction(self.number) * weight + Fraction(1, 2))

    def as_wh(self) -> int | None:
        """Active energy in Wh, else None."""
        return self._in(_WH)

    def as_varh(self) -> int | None:
        """Reactive energy in varh, else None."""
        return self._in(_VARH)

    def as_watts(self) -> int | None:
        """Active power or demand in W, else None."""
        return self._in(_WATTS)

    def as_vars(self) -> int | None:
        """Reactive power in var, else None."""
        return self._in(_VARS)

    def as_centivolts(self) -> int | None:
        """Voltage in hundredths of a volt, else None."""
        return self._in(_CENTIVOLTS)

    def as_milliamperes(self) -> int | None:
        """Current in mA, else None."""
        return self._in(_MILLIAMPERES)

    def as_fen(self) -> int | None:
        """Money in fen, else None."""
        return self._in(_FEN)


@dataclass(frozen=True, slots=True)
class Reading:
    """The items of one answer, in the order sent."""

    values: tuple[Value, ...]

    def find(self, name: str, *, tariff: int = 0, back: int | None = None) -> Value | None:
        """The first item of that name and tariff (and settlement or freeze), or None."""
        for value in self.values:
            field = value.field
            if (field.name, field.tariff) == (name, tariff) and back in (None, field.back):
                return value
        return None

    @property
    def fault(self) -> str:
        """Why the answer is no reading, else "": an item that can not be believed, or fill alone.
        Fill beside good items is what a meter sends for a phase or tariff it does not have."""
        faults = [value.fault for value in self.values]
        unbelievable = next((f for f in faults if f not in ("", "fill_value")), "")
        return unbelievable or ("fill_value" if all(faults) else "")

    @property
    def is_readable(self) -> bool:
        return not self.fault


def read(payload: bytes, fields: Sequence[Field]) -> Reading:
    """`payload` cut into `fields`, whose sizes add up to its length."""
    values, at = [], 0
    for field in fields:
        values.append(read_field(payload[at : at + field.size], field))
        at += field.size
    return Reading(tuple(values))


def read_field(data: bytes, field: Field) -> Value:
    """One item; never raises, a bad one has a `fault`."""
    if field.form == BITS:
        return Value(field, int.from_bytes(data, "little"), "", data)
    if data[0] in FILLS and data.count(data[0]) == len(data):
        return Value(field, None, "fill_value", data)
    try:
        return Value(field, _read(data, field), "", data)
    except FrameError as error:
        return Value(field, None, error.code, data)


def _read(data: bytes, field: Field) -> Raw | None:
    if field.form == UNSIGNED:
        return bcd_to_int(data)
    if field.form == SIGNED:
        return _signed(data)
    if field.form == DIGITS:
        return f"{bcd_to_int(data):0{2 * field.size}d}"
    if field.form == TEXT:
        return _text(data)
    return read_moment(data, field.form)


def _signed(data: bytes) -> int:
    magnitude = bcd_to_int(data[:-1] + bytes((data[-1] & 0x7F,)))
    return -magnitude if data[-1] & 0x80 else magnitude


def _text(data: bytes) -> str:
    """Characters last first, padded with NUL or blanks at either end."""
    characters = data[::-1].strip(b"\x00 ")
    if all(0x20 <= byte < 0x7F for byte in characters):
        return characters.decode("ascii")
    raise FrameError("not printable ASCII", code="text")


def read_moment(data: bytes, form: str) -> Raw | None:
    """Two BCD digits for each letter of `form`, low byte first: a datetime or date where it has a
    year (2000 to 2099), a time of day, or a text such as "05-21 10:40"; None where all is zero and
    that is no moment. Raises FrameError with code "not_bcd" or "time"."""
    bcd_to_int(data)
    part = {letter: int(f"{byte:02X}") for letter, byte in zip(form, data[::-1], strict=True)}
    if not any(data) and "D" in form:
        return None
    if part.get("W", 0) > 7:
        raise FrameError(f"no weekday {part['W']}", code="time")
    try:
        day = date(2000 + part.get("Y", 0), part.get("M", 1), part.get("D", 1))
        clock = time(part.get("h", 0), part.get("m", 0), part.get("s", 0))
    except ValueError as error:
        raise FrameError(str(error), code="time") from None
    if "Y" in form:
        return datetime.combine(day, clock) if "h" in form else day
    return clock if form == "hms" else _partial(form, part)


def _partial(form: str, part: dict[str, int]) -> str:
    day = "-".join(f"{part[letter]:02d}" for letter in "MD" if letter in form)
    hour = ":".join(f"{part[letter]:02d}" for letter in "hm" if letter in form)
    return f"{day} {hour}".strip()


# --- writing ------------------------------------------------------------------------------------


def write(fields: Sequence[Field], values: Sequence[Raw | None]) -> bytes:
    """The items in order; None becomes FF fill (zeros for a moment). Raises ValueError where a
    value does not fit its field or their numbers differ."""
    return b"".join(write_field(f, v) for f, v in zip(fields, values, strict=True))


def write_field(field: Field, value: Raw | None) -> bytes:
    """One item as `read_field` reads it. Raises ValueError where it does not fit."""
    if value is None:
        return bytes(field.size) if field.form in MOMENTS else b"\xff" * field.size
    if isinstance(value, int):
        return _write_int(field, value)
    if isinstance(value, str):
        return _write_str(field, value)
    if field.form not in MOMENTS:
        raise ValueError(f"{field.name} is no moment: {value!r}")
    return write_moment(value, field.form)


def _write_int(field: Field, value: int) -> bytes:
    if field.form == BITS:
        return value.to_bytes(field.size, "little")
    if field.form not in (UNSIGNED, SIGNED):
        raise ValueError(f"{field.name} is no number: {value!r}")
    data = int_to_bcd(abs(value), field.size)
    if field.form == UNSIGNED:
        if value < 0:
            raise ValueError(f"{field.name} can not be negative: {value}")
        return data
    if data[-1] & 0x80:
        raise ValueError(f"{value} leaves no room for the sign of {field.name}")
    return data[:-1] + bytes((data[-1] | 0x80,)) if value < 0 else data


def _write_str(field: Field, value: str) -> bytes:
    if field.form == TEXT:
        data = value.encode("ascii")[::-1].rjust(field.size, b"\x00")
    elif field.form == DIGITS:
        data = int_to_bcd(int(value), field.size)
    else:
        digits = "".join(c for c in value if c.isdecimal())
        data = bytes.fromhex(digits)[::-1]
    if len(data) != field.size:
        raise ValueError(f"{value!r} does not fit {field.name}")
    return data


def write_moment(when: datetime | date | time, form: str) -> bytes:
    """A moment as `read_moment` reads it; Sunday is weekday 0 (DL/T 645-2007 table A.4). Raises
    ValueError where `when` lacks a part of `form` or is not in 2000 to 2099."""
    parts: dict[str, int] = {}
    if isinstance(when, date):
        if when.year // 100 != 20:
            raise ValueError(f"{when} is not in the century a meter knows")
        parts |= {"Y": when.year % 100, "M": when.month, "D": when.day}
        parts["W"] = when.isoweekday() % 7
    if isinstance(when, (datetime, time)):
        parts |= {"h": when.hour, "m": when.minute, "s": when.second}
    if not set(form) <= set(parts):
        raise ValueError(f"{when!r} does not say all of {form}")
    return b"".join(int_to_bcd(parts[letter], 1) for letter in reversed(form))
