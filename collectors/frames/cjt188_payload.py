"""What follows SER in a CJ/T 188 frame: registers, time and status, by layout, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from collectors.frames.bcd import int_to_bcd
from collectors.frames.cjt188_profiles import Field, Layout
from collectors.frames.cjt188_units import BASE_UNITS, UNITS

Amount = int | datetime | bytes | None

FILLS: Final = (0xEE, 0xFF)
# Faults that speak against a layout; a fill value or an unset clock happens in the right one too.
_MISFITS: Final = frozenset(("unit", "not_bcd"))


@dataclass(frozen=True, slots=True)
class Value:
    """One register: `digits` as sent, `decimals` of them after the point, in `unit` (as sent);
    `amount` is the same in the quantity's integer unit (Wh, L, L/h, W, cdeg, h), half up."""

    name: str
    quantity: str
    digits: int
    decimals: int
    unit: str
    amount: int

    @property
    def number(self) -> Decimal:
        """The value in the unit sent, exactly."""
        return Decimal(self.digits).scaleb(-self.decimals)

    @property
    def base_unit(self) -> str:
        return BASE_UNITS[self.quantity]


@dataclass(frozen=True, slots=True)
class Reading:
    """The registers of one answer.

    faults maps the name of each field that holds no value to "fill_value", "not_bcd", "unit"
    (no such unit code, or one of another quantity) or "time". `is_readable` is False where the
    register the reading is taken for is among them. `trailing` is what the layout leaves over.
    """

    layout: Layout
    values: tuple[Value, ...]
    faults: Mapping[str, str]
    meter_time: datetime | None
    status: bytes | None
    trailing: bytes

    def amount(self, name: str) -> int | None:
        """The named register in its integer unit, or None."""
        return next((value.amount for value in self.values if value.name == name), None)

    @property
    def is_readable(self) -> bool:
        return self.layout.primary not in self.faults

    @property
    def fits(self) -> bool:
        return _MISFITS.isdisjoint(self.faults.values())


def read(payload: bytes, layouts: tuple[Layout, ...]) -> Reading | None:
    """Read `payload` by the first layout where it fits cleanly; else by the one other layout
    that does; else by the one with the fewest faults whose register has a unit of its kind.
    None where nothing is left or two departures fit alike."""
    candidates = _candidates(len(payload), layouts)
    if not candidates:
        return None
    first = _parse(payload, candidates[0])
    if first.fits:
        return first
    others = [_parse(payload, layout) for layout in candidates[1:]]
    clean = [reading for reading in others if reading.fits]
    if clean:
        return clean[0] if len(clean) == 1 else None
    known = [r for r in (first, *others) if r.faults.get(r.layout.primary) != "unit"]
    return min(known, key=lambda r: len(r.faults)) if known else None


def _candidates(size: int, layouts: tuple[Layout, ...]) -> list[Layout]:
    """Layouts of exactly this size; failing that, shorter ones which unit codes can vouch for."""
    exact = [layout for layout in layouts if layout.size == size]
    return exact or [
        layout
        for layout in layouts
        if layout.size < size and any(f.unit is not None for f in layout.fields)
    ]


class _Collector:
    """Gathers the fields of one payload."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.faults: dict[str, str] = {}
        self.meter_time: datetime | None = None
        self.status: bytes | None = None

    def add(self, field: Field, chunk: bytes, unit_first: bool) -> None:
        if field.quantity == "status":
            self.status = chunk
        elif field.quantity == "time":
            self._time(field, chunk)
        else:
            value = _register(field, chunk, unit_first)
            if isinstance(value, str):
                self.faults[field.name] = value
            else:
                self.values.append(value)

    def _time(self, field: Field, chunk: bytes) -> None:
        self.meter_time = read_time(chunk)
        if self.meter_time is None:
            self.faults[field.name] = "time"


def _parse(payload: bytes, layout: Layout) -> Reading:
    found, at = _Collector(), 0
    for field in layout.fields:
        found.add(field, payload[at : at + field.width], layout.unit_first)
        at += field.width
    return Reading(
        layout, tuple(found.values), found.faults, found.meter_time, found.status, payload[at:]
    )


def _register(field: Field, chunk: bytes, unit_first: bool) -> Value | str:
    """A register's value, or the code of its fault."""
    digits, code = chunk, None
    if field.unit is not None:
        digits, code = (chunk[1:], chunk[0]) if unit_first else (chunk[:-1], chunk[-1])
    if digits[0] in FILLS and digits.count(digits[0]) == len(digits):
        return "fill_value"
    unit = UNITS.get(code) if code is not None else None
    if code is not None and (unit is None or unit.quantity != field.quantity):
        return "unit"
    number = _signed_bcd(digits) if field.signed else _bcd(digits)
    if number is None:
        return "not_bcd"
    symbol, numerator, denominator = _scale(field, code)
    amount = _half_up(number * numerator, denominator * 10**field.decimals)
    return Value(field.name, field.quantity, number, field.decimals, symbol, amount)


def _scale(field: Field, code: int | None) -> tuple[str, int, int]:
    """Symbol and base units per unit, as a fraction. Temperatures come without a code (C, in
    hundredths), pressures in MPa, hours in hours, and the short volume in cubic metres."""
    if code is not None:
        unit = UNITS[code]
        return unit.symbol, unit.numerator, unit.denominator
    return {
        "temperature": ("C", 100, 1),
        "pressure": ("MPa", 100, 1),
        "hours": ("h", 1, 1),
        "volume": ("m3", 1_000, 1),
        "money": ("yuan", 100, 1),
        "day": ("", 1, 1),
        "count": ("", 1, 1),
    }[field.quantity]


def _half_up(numerator: int, denominator: int) -> int:
    """Nearest integer, halves away from zero."""
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return magnitude if numerator >= 0 else -magnitude


def _bcd(data: bytes) -> int | None:
    text = data[::-1].hex()
    return int(text) if text.isdecimal() else None


def _signed_bcd(data: bytes) -> int | None:
    magnitude = _bcd(data[:-1] + bytes((data[-1] & 0x7F,)))
    if magnitude is None:
        return None
    return -magnitude if data[-1] & 0x80 else magnitude


def read_time(data: bytes) -> datetime | None:
    """Seven BCD bytes, seconds first and century last, as the meter's own wall clock (naive).
    A few makers send the century first; that is read where the standard order is no date."""
    for chunk in (data, data[::-1]):
        found = _time_low_first(chunk)
        if found:
            return found
    return None


def _time_low_first(data: bytes) -> datetime | None:
    text = data[::-1].hex()
    if not text.isdecimal() or text[:2] not in ("19", "20"):
        return None
    try:
        month, day, hour, minute, second = (int(text[n : n + 2]) for n in range(4, 14, 2))
        return datetime(int(text[:4]), month, day, hour, minute, second)
    except ValueError:
        return None


def write(layout: Layout, amounts: Mapping[str, Amount]) -> bytes:
    """A payload of `layout`. Registers are ints in base units (cut, as a register does, to the
    digits it can show), the time a datetime, the status two bytes. A missing register or None is
    sent as FF fill, a missing time or status as zeros. Raises ValueError where it does not fit."""
    return b"".join(
        _write_field(field, amounts.get(field.name), layout.unit_first) for field in layout.fields
    )


def _write_field(field: Field, amount: Amount, unit_first: bool) -> bytes:
    if field.quantity == "status":
        return amount if isinstance(amount, bytes) else bytes(field.size)
    if field.quantity == "time":
        return write_time(amount) if isinstance(amount, datetime) else bytes(field.size)
    digits = b"\xff" * field.size
    if isinstance(amount, int):
        digits = _digits(field, amount)
    if field.unit is None:
        return digits
    code = bytes((field.unit,))
    return code + digits if unit_first else digits + code


def _digits(field: Field, amount: int) -> bytes:
    _, numerator, denominator = _scale(field, field.unit)
    magnitude = abs(amount) * denominator * 10**field.decimals // numerator
    data = int_to_bcd(magnitude, field.size)
    if amount >= 0:
        return data
    if not field.signed or data[-1] & 0x80:
        raise ValueError(f"{field.name} can not be {amount}")
    return data[:-1] + bytes((data[-1] | 0x80,))


def write_time(when: datetime) -> bytes:
    """Seven BCD bytes, seconds first and century last."""
    return bytes.fromhex(when.strftime("%Y%m%d%H%M%S"))[::-1]
