"""One value in Modbus registers: where it lies, how its words and bytes are ordered, its type.

Registers carry 16 bits, high byte first (§4.2); what spans several has no order in the standard.
`order` names the bytes as they stand in the registers, A being the highest of the value:

    ABCD  high word first            CDAB  low word first
    BADC  high word first, bytes     DCBA  low word first, bytes
          of each word swapped             of each word swapped

and means the same for values of one, three or more words.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final

from collectors.frames.bcd import bcd_to_int, int_to_bcd
from collectors.frames.errors import FrameError
from collectors.frames.modbus_pdu import word_bytes, words

ORDERS: Final = ("ABCD", "CDAB", "BADC", "DCBA")
INTEGERS: Final = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "s64": 4}
FLOATS: Final = {"f32": ">f", "f64": ">d"}
COUNTED: Final = ("bcd", "string", "raw", "clock", "bcd_clock")  # as long as the map says
NUMBERS: Final = (*INTEGERS, *FLOATS, "bcd")
CLOCKS: Final = ("clock", "bcd_clock")
TYPES: Final = (*INTEGERS, *FLOATS, *COUNTED)
MAX_COUNT: Final = 125
# Of a clock's bytes: century, year, month, day, hour, minute, second, and one that is not read.
CLOCK_LETTERS: Final = "CYMDhms-"

Value = Fraction | str | datetime


@dataclass(frozen=True, slots=True)
class Field:
    """`count` registers from `address` (counted from 0 as on the wire) read by `function`.

    layout   of clocks: a letter for each byte, in the order left by `order`
    absent   byte patterns, in the order left by `order`, that mean "no value"
    """

    address: int
    type: str
    count: int
    function: int = 3
    order: str = "ABCD"
    layout: str = ""
    absent: tuple[bytes, ...] = ()

    @property
    def end(self) -> int:
        return self.address + self.count

    def read(self, registers: Sequence[int]) -> Value:
        """The value in `count` registers.

        Raises FrameError: "fill_value" (a pattern of `absent`, NaN, infinity), "not_bcd",
        "structure" (a clock that shows no time), "short" (other than `count` registers).
        """
        if len(registers) != self.count:
            raise FrameError(f"{self.count} registers wanted, {len(registers)} there", code="short")
        data = arrange(word_bytes(registers), self.order)
        if data in self.absent:
            raise FrameError(f"{data.hex().upper()} means no value", code="fill_value")
        if self.type in CLOCKS:
            return _read_clock(data, self.layout, is_bcd=self.type == "bcd_clock")
        if self.type == "string":
            return data.split(b"\0")[0].decode("latin-1").strip()
        return data.hex().upper() if self.type == "raw" else _read_number(data, self.type)

    def write(self, value: Value) -> tuple[int, ...]:
        """The registers that read as `value`; numbers that are not whole go half-up.

        Raises ValueError where the value does not fit the field.
        """
        data = _write(value, self.type, 2 * self.count, self.layout)
        return words(arrange(data, self.order))

    def blank(self) -> tuple[int, ...]:
        """Registers that mean "no value". Raises ValueError where the field has none."""
        if not self.absent:
            raise ValueError(f"registers from {self.address} on always have a value")
        return words(arrange(self.absent[0], self.order))


def arrange(data: bytes, order: str) -> bytes:
    """From the order in the registers to high byte first, and back: each order undoes itself."""
    pairs = [data[n : n + 2] for n in range(0, len(data), 2)]
    if order in ("CDAB", "DCBA"):
        pairs.reverse()
    if order in ("BADC", "DCBA"):
        pairs = [pair[::-1] for pair in pairs]
    return b"".join(pairs)


def half_up(number: Fraction) -> int:
    """The nearest integer, a half going up."""
    return math.floor(number + Fraction(1, 2))


def _read_number(data: bytes, type_: str) -> Fraction:
    if type_ == "bcd":
        return Fraction(bcd_to_int(data[::-1]))
    if type_ in FLOATS:
        (number,) = struct.unpack(FLOATS[type_], data)
        if not math.isfinite(number):
            raise FrameError(f"{data.hex().upper()} is not a finite number", code="fill_value")
        return Fraction(number)
    return Fraction(int.from_bytes(data, "big", signed=type_[0] == "s"))


def _read_clock(data: bytes, layout: str, *, is_bcd: bool) -> datetime:
    parts = dict.fromkeys(CLOCK_LETTERS, 0) | {"C": 20}
    for at, letter in enumerate(layout):
        if letter != "-":
            parts[letter] = bcd_to_int(data[at : at + 1], at=at) if is_bcd else data[at]
    year = parts["C"] * 100 + parts["Y"]
    try:
        return datetime(year, parts["M"], parts["D"], parts["h"], parts["m"], parts["s"])
    except ValueError as error:
        raise FrameError(f"{data.hex().upper()} is no time: {error}") from error


def _write(value: Value, type_: str, size: int, layout: str) -> bytes:
    if isinstance(value, datetime):
        return _write_clock(value, layout, is_bcd=type_ == "bcd_clock")
    if isinstance(value, str):
        data = bytes.fromhex(value) if type_ == "raw" else value.encode("latin-1")
        if len(data) > size:
            raise ValueError(f"{value!r} does not fit {size} bytes")
        return data.ljust(size, b"\0")
    try:
        return _write_number(value, type_, size)
    except (OverflowError, struct.error) as error:
        raise ValueError(f"{value} does not fit {type_}") from error


def _write_number(value: Fraction, type_: str, size: int) -> bytes:
    if type_ in FLOATS:
        return struct.pack(FLOATS[type_], float(value))
    if type_ == "bcd":
        return int_to_bcd(half_up(value), size)[::-1]
    return half_up(value).to_bytes(size, "big", signed=type_[0] == "s")


def _write_clock(value: datetime, layout: str, *, is_bcd: bool) -> bytes:
    parts = {
        "C": value.year // 100,
        "Y": value.year % 100,
        "M": value.month,
        "D": value.day,
        "h": value.hour,
        "m": value.minute,
        "s": value.second,
        "-": 0,
    }
    numbers = [parts[letter] for letter in layout]
    return b"".join(int_to_bcd(n, 1) if is_bcd else bytes((n,)) for n in numbers)
