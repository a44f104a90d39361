"""Q/GDW 376.1 data formats (appendix A) and the fields a data unit is made of.

A layout is a tuple of fields, read and written in order. What the terminal has no value for is
filled with EE and reads as None; bytes which are neither EE nor decimal digits read as None too
and leave their reason in `faults`. A body whose lengths do not add up is a FrameError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from collectors.frames.bcd import bcd_to_int, int_to_bcd
from collectors.frames.errors import FrameError

Values = dict[str, Any]

MISSING: Final = 0xEE
MAX_TARIFFS: Final = 48


class Cursor:
    """Bytes of one data unit, taken from the front; `at` is where they begin in the frame."""

    __slots__ = ("at", "data", "pos")

    def __init__(self, data: bytes, at: int = 0):
        self.data = data
        self.at = at
        self.pos = 0

    def take(self, size: int) -> bytes:
        piece = self.data[self.pos : self.pos + size]
        if len(piece) < size:
            raise FrameError(
                f"data unit wants {size} bytes, {len(piece)} left",
                at=self.at + self.pos,
                code="structure",
            )
        self.pos += size
        return piece

    @property
    def left(self) -> int:
        return len(self.data) - self.pos


# --- formats: a fixed number of bytes <-> one value ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Format:
    """`read` gives None for what is no value at all; both raise on what cannot be."""

    size: int
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    is_quantity: bool = False
    padding: int = 0  # low bytes that may be 00 although the rest is EE

    def get(self, data: bytes) -> Any:
        is_padded = self.padding and not any(data[: self.padding])
        return None if is_missing(data[self.padding if is_padded else 0 :]) else self.read(data)

    def put(self, value: Any) -> bytes:
        return bytes((MISSING,)) * self.size if value is None else self.write(value)


def is_missing(data: bytes) -> bool:
    """EE throughout: the terminal has no such value (§5.10 of the data rules)."""
    return bool(data) and data.count(MISSING) == len(data)


def number(size: int, decimals: int, *, signed: bool = False, padding: int = 0) -> Format:
    """Little-endian packed BCD; where signed, the highest bit is the sign (A.5, A.6, A.9, A.25)."""

    def read(data: bytes) -> Decimal:
        top = data[-1] & 0x7F if signed else data[-1]
        amount = Decimal(bcd_to_int(data[:-1] + bytes((top,)))).scaleb(-decimals)
        return -amount if signed and data[-1] & 0x80 else amount

    def write(value: Any) -> bytes:
        scaled = Decimal(value).scaleb(decimals)
        if scaled != scaled.to_integral_value() or (scaled < 0 and not signed):
            raise ValueError(f"{value} does not fit {decimals} decimals")
        out = bytearray(int_to_bcd(abs(int(scaled)), size))
        if signed and out[-1] & 0x80:
            raise ValueError(f"{value} does not fit {size} bytes with a sign")
        out[-1] |= 0x80 if scaled < 0 else 0
        return bytes(out)

    return Format(size, read, write, is_quantity=True, padding=padding)


def uint(size: int) -> Format:
    """BIN: little-endian and unsigned; EE is a number like any other here."""
    return Format(size, lambda data: int.from_bytes(data, "little"), _write_uint(size))


def _write_uint(size: int) -> Callable[[Any], bytes]:
    def write(value: Any) -> bytes:
        try:
            return int(value).to_bytes(size, "little")
        except OverflowError as error:
            raise ValueError(f"{value} does not fit {size} bytes") from error

    return write


def digits(size: int) -> Format:
    """A.12: an address as 2 * size decimal digits, high first (a string: zeros in front count)."""
    return Format(
        size,
        lambda data: f"{bcd_to_int(data):0{2 * size}d}",
        lambda value: int_to_bcd(int(value), size),
    )


def raw(size: int) -> Format:
    """Bit strings and whatever is not read further, as hexadecimal in wire order."""

    def write(value: Any) -> bytes:
        data = bytes.fromhex(value)
        if len(data) != size:
            raise ValueError(f"{value} is not {size} bytes")
        return data

    return Format(size, lambda data: data.hex().upper(), write)


def text(size: int) -> Format:
    """ASCII, padded at the end with blanks or zeros."""

    def read(data: bytes) -> str:
        try:
            return data.rstrip(b"\0 ").decode("ascii")
        except UnicodeDecodeError as error:
            raise FrameError(f"not ASCII: {data.hex().upper()}", code="structure") from error

    def write(value: Any) -> bytes:
        data = str(value).encode("ascii")
        if len(data) > size:
            raise ValueError(f"{value} is longer than {size} characters")
        return data.ljust(size, b"\0")

    return Format(size, read, write)


def _moment(*parts: int) -> datetime:
    try:
        return datetime(*parts)  # type: ignore[arg-type]
    except ValueError as error:
        raise FrameError(f"no such moment: {error}", code="structure") from error


def _clock(data: bytes) -> datetime:
    """A.1: second, minute, hour, day, week (D7-D5) and month, year."""
    month = bytes((data[4] & 0x1F,))
    s, mi, h, d, mo, y = (
        bcd_to_int(part) for part in (*(data[n : n + 1] for n in range(4)), month, data[5:6])
    )
    return _moment(2000 + y, mo, d, h, mi, s)


def _write_clock(value: datetime) -> bytes:
    out = bytearray(
        b"".join(
            int_to_bcd(n, 1)
            for n in (value.second, value.minute, value.hour, value.day, value.month)
        )
    )
    out[4] |= value.isoweekday() << 5
    return bytes(out) + _year(value.year)


def _year(year: int) -> bytes:
    return int_to_bcd(year - 2000, 1)


def _parts(data: bytes) -> list[int]:
    return [bcd_to_int(data[n : n + 1], at=n) for n in range(len(data))]


def _minute(data: bytes) -> datetime:
    mi, h, d, mo, y = _parts(data)
    return _moment(2000 + y, mo, d, h, mi)


def _write_minute(value: datetime) -> bytes:
    head = (value.minute, value.hour, value.day, value.month)
    return b"".join(int_to_bcd(n, 1) for n in head) + _year(value.year)


def _day(data: bytes) -> date:
    d, mo, y = _parts(data)
    return _moment(2000 + y, mo, d).date()


def _write_day(value: date) -> bytes:
    return int_to_bcd(value.day, 1) + int_to_bcd(value.month, 1) + _year(value.year)


def _month(data: bytes) -> str:
    mo, y = _parts(data)
    return _moment(2000 + y, mo, 1).strftime("%Y-%m")


def _write_month(value: str) -> bytes:
    year, month = value.split("-")
    _moment(int(year), int(month), 1)
    return int_to_bcd(int(month), 1) + _year(int(year))


def _yearless(data: bytes) -> str:
    """A.17: minute, hour, day, month; the year is the reader's to know."""
    mi, h, d, mo = _parts(data)
    return _moment(2000, mo, d, h, mi).strftime("%m-%d %H:%M")


def _write_yearless(value: str) -> bytes:
    moment = datetime.strptime(f"2000-{value}", "%Y-%m-%d %H:%M")
    return _write_minute(moment)[:4]


def _day_minute(data: bytes) -> str:
    """A.18: minute, hour, day of any month; day 00 is every day."""
    mi, h, d = _parts(data)
    _moment(2000, 1, d or 1, h, mi)
    return f"{d:02d} {h:02d}:{mi:02d}"


def _write_day_minute(value: str) -> bytes:
    day, _, clock = value.partition(" ")
    hour, minute = clock.split(":")
    return b"".join(int_to_bcd(int(n), 1) for n in (minute, hour, day))


def _time(data: bytes) -> time:
    mi, h = _parts(data)
    return _moment(2000, 1, 1, h, mi).time()


def _write_time(value: time) -> bytes:
    return int_to_bcd(value.minute, 1) + int_to_bcd(value.hour, 1)


CLOCK = Format(6, _clock, _write_clock)  # A.1
TENTHS = number(2, 1, signed=True)  # A.5
VOLTS = number(2, 1)  # A.7
KILOWATTS = number(3, 4, signed=True)  # A.9
ENERGY_4 = number(4, 2)  # A.11
DIGITS_12 = digits(6)  # A.12
ENERGY_DAY = number(4, 4)  # A.13
# A.14; terminals widen a meter's four bytes with a low 00, also where those are EE.
ENERGY_5 = number(5, 4, padding=1)
MINUTE = Format(5, _minute, _write_minute)  # A.15
YEARLESS = Format(4, _yearless, _write_yearless)  # A.17
DAY_MINUTE = Format(3, _day_minute, _write_day_minute)  # A.18
TIME = Format(2, _time, _write_time)  # A.19
DAY = Format(3, _day, _write_day)  # A.20
MONTH = Format(2, _month, _write_month)  # A.21
DEMAND = number(3, 4)  # A.23
AMPERES = number(3, 3, signed=True)  # A.25
U8, U16, U32 = uint(1), uint(2), uint(4)


# --- fields: named formats in a row ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plain:
    """One value."""

    name: str
    format: Format

    def read(self, cursor: Cursor, values: Values, faults: dict[str, str]) -> None:
        values[self.name] = _get(self.format, cursor, self.name, faults)

    def write(self, values: Mapping[str, Any]) -> bytes:
        return self.format.put(values[self.name])


@dataclass(frozen=True, slots=True)
class Series:
    """Values in a row: as many as the field `count` said, and `more`; a tuple."""

    name: str
    format: Format
    count: str = "tariffs"
    more: int = 1  # the total stands before the tariffs

    def read(self, cursor: Cursor, values: Values, faults: dict[str, str]) -> None:
        count = values[self.count]
        if count is None:  # EE: how many follow is not known either
            raise FrameError(
                f"{self.count} is missing", at=cursor.at + cursor.pos, code="structure"
            )
        length = count + self.more
        values[self.name] = tuple(
            _get(self.format, cursor, f"{self.name}[{n}]", faults) for n in range(length)
        )

    def write(self, values: Mapping[str, Any]) -> bytes:
        row = values[self.name]
        if len(row) != values[self.count] + self.more:
            raise ValueError(f"{self.name} has {len(row)} values")
        return b"".join(self.format.put(value) for value in row)


@dataclass(frozen=True, slots=True)
class Tariffs:
    """M, the number of tariffs that follow the total, in BIN."""

    name: str = "tariffs"

    def read(self, cursor: Cursor, values: Values, faults: dict[str, str]) -> None:
        (count,) = cursor.take(1)
        if count > MAX_TARIFFS:
            raise FrameError(f"{count} tariffs", at=cursor.at + cursor.pos - 1, code="structure")
        values[self.name] = count

    def write(self, values: Mapping[str, Any]) -> bytes:
        return U8.write(values[self.name])


@dataclass(frozen=True, slots=True)
class Group:
    """A count of `count_size` bytes, then that many rows of fields; a list of dicts."""

    name: str
    count_size: int
    fields: tuple[Any, ...]

    def read(self, cursor: Cursor, values: Values, faults: dict[str, str]) -> None:
        count = int.from_bytes(cursor.take(self.count_size), "little")
        rows = values[self.name] = []
        for n in range(count):
            inner: dict[str, str] = {}
            rows.append(read_fields(self.fields, cursor, inner))
            faults.update({f"{self.name}[{n}].{key}": why for key, why in inner.items()})

    def write(self, values: Mapping[str, Any]) -> bytes:
        rows = values[self.name]
        head = len(rows).to_bytes(self.count_size, "little")
        return head + b"".join(write_fields(self.fields, row) for row in rows)


@dataclass(frozen=True, slots=True)
class Rest:
    """Rows of fields until the data unit ends; a list of dicts."""

    name: str
    fields: tuple[Any, ...]

    def read(self, cursor: Cursor, values: Values, faults: dict[str, str]) -> None:
        rows = values[self.name] = []
        while cursor.left:
            rows.append(read_fields(self.fields, cursor, faults))

    def write(self, values: Mapping[str, Any]) -> bytes:
        return b"".join(write_fields(self.fields, row) for row in values[self.name])


@dataclass(frozen=True, slots=True)
class Blob:
    """A length of `length_size` bytes and so many bytes, handed on as they are."""

    name: str
    length_size: int = 2

    def read(self, cursor: Cursor, values: Values, faults: dict[str, str]) -> None:
        length = int.from_bytes(cursor.take(self.length_size), "little")
        values[self.name] = cursor.take(length)

    def write(self, values: Mapping[str, Any]) -> bytes:
        data = bytes(values[self.name])
        return len(data).to_bytes(self.length_size, "little") + data


Field = Plain | Series | Tariffs | Group | Rest | Blob
Layout = tuple[Field, ...]


def _get(form: Format, cursor: Cursor, name: str, faults: dict[str, str]) -> Any:
    data = cursor.take(form.size)
    try:
        return form.get(data)
    except FrameError as error:
        faults[name] = error.reason
        return None


def read_fields(layout: Layout, cursor: Cursor, faults: dict[str, str]) -> Values:
    """Values by name; raises FrameError "structure" where the bytes end too early."""
    values: Values = {}
    for field in layout:
        field.read(cursor, values, faults)
    return values


def write_fields(layout: Layout, values: Mapping[str, Any]) -> bytes:
    """The opposite of `read_fields`; raises ValueError or KeyError for what does not fit."""
    return b"".join(field.write(values) for field in layout)


def quantities(layout: Layout, values: Mapping[str, Any]) -> list[Any]:
    """Every measured amount of the layout, missing ones as None, in order."""
    out: list[Any] = []
    for field in layout:
        if isinstance(field, Plain) and field.format.is_quantity:
            out.append(values[field.name])
        elif isinstance(field, Series) and field.format.is_quantity:
            out.extend(values[field.name])
    return out
