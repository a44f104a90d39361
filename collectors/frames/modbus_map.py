"""Register maps: what a Modbus meter's registers mean, as data in TOML.

    name = "example"                  # what a meter's profile calls it
    title = "超声波热量表"             # what people see
    source = "the maker's manual, table 5"
    function = 3                      # 3 holding (default) or 4 input registers
    order = "CDAB"                    # of words and bytes, see `modbus_field`; default ABCD
    primary = "energy_wh"             # without it nothing was read
    max_read = 125                    # registers a request at most; some meters allow fewer
    max_gap = 8                       # unused registers read along rather than asked around

    [[register]]
    name = "energy_wh"                # ends in its unit: _wh _l _lph _w _cdeg _h _pa _count;
                                      # or meter_time, status, or any name for a string
    address = 16                      # counted from 0 as on the wire
    type = "s32"                      # u16 s16 u32 s32 u64 s64 f32 f64, and with count: bcd
                                      # clock bcd_clock string raw
    unit = "GJ"                       # what the scaled number counts
    scale = "0.01"                    # a decimal string, exact; default 1
    offset = "0"                      # added after scaling
    absent = ["7FFFFFFF"]             # bytes that mean no value
    fraction = {address = 18, type = "f32"}                            # added to the number
    exponent = {address = 1439, type = "u16", bias = -4, max = 10}     # times 10 ** (it + bias)
    unit = {address = 1440, type = "u16", units = {0 = "GJ", 2 = "kWh"}}   # or a register says

    [month]                           # or [day]: what the meter has frozen, in blocks alike
    count = 12                        # how many, the newest first
    stride = 16                       # registers from one to the next
    [[month.register]]                # of the newest, as above; its meter_time is the moment
    name = "energy_wh"                # of the freeze. What stands outside the block (a unit
    …                                 # register) is common to all

`layout` gives a clock's bytes ("YMDhms"). `function` and `order` may stand on a register too.
Maps that come with Nuan are in `maps/` and read by `collectors.register_maps`.
Values come out as integers in the unit of their name, rounded half-up once from exact numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

from collectors.frames.errors import FrameError
from collectors.frames.map_flaws import MapError
from collectors.frames.modbus_field import Field, Value, half_up
from collectors.frames.modbus_map_toml import (
    Register,
    RegisterMap,
    UnitRegister,
    parse,
)
from collectors.frames.modbus_units import units_for

__all__ = [
    "MapError",
    "MapReading",
    "Read",
    "Register",
    "RegisterMap",
    "kept",
    "parse",
    "plan",
    "read",
    "registers_of",
    "write",
]

# (function, address) -> what stands in that register
Registers = Mapping[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Read:
    """One request: `count` registers from `address` on by `function`."""

    function: int
    address: int
    count: int

    def holds(self, part: Field) -> bool:
        """Whether its answer brings a field whole."""
        end = self.address + self.count
        return self.function == part.function and self.address <= part.address <= part.end <= end


@dataclass(frozen=True, slots=True)
class MapReading:
    """What registers say.

    values      integers in the unit of their names
    texts       strings, and raw registers in hexadecimal
    faults      name -> code of the FrameError, for what could not be read
    """

    primary: str
    values: Mapping[str, int]
    texts: Mapping[str, str] = field(default_factory=dict)
    meter_time: datetime | None = None
    status: bytes = b""
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_readable(self) -> bool:
        return self.primary in self.values or self.primary in self.texts


# Planning ---------------------------------------------------------------------------------


def plan(map_: RegisterMap) -> tuple[Read, ...]:
    """As few reads as bring all registers: neighbours together, at most `max_read` long, over at
    most `max_gap` registers nobody asked for, and no value torn in two."""
    reads: list[Read] = []
    for span in _spans(map_):
        last = reads[-1] if reads else None
        if last is not None and _joins(last, span, map_):
            end = max(last.address + last.count, span.end)
            reads[-1] = Read(last.function, last.address, end - last.address)
        else:
            reads.append(Read(span.function, span.address, span.count))
    return tuple(reads)


def _spans(map_: RegisterMap) -> list[Field]:
    spans = {part for register in map_.registers for part in register.fields}
    return sorted(spans, key=lambda span: (span.function, span.address, span.count))


def _joins(last: Read, span: Field, map_: RegisterMap) -> bool:
    end = last.address + last.count
    return (
        span.function == last.function
        and span.address - end <= map_.max_gap
        and max(end, span.end) - last.address <= map_.max_read
    )


def registers_of(read: Read, words: Sequence[int]) -> dict[tuple[int, int], int]:
    """An answer's registers under their function and address, as `read` takes them."""
    return {(read.function, read.address + n): word for n, word in enumerate(words)}


def kept(map_: RegisterMap, period: str, back: int) -> RegisterMap | None:
    """The map of one freeze, `back` "day"s or "month"s ago (1: the newest); None where the meter
    keeps none or not so many."""
    blocks = {"day": map_.day, "month": map_.month}[period]
    if blocks is None or not 1 <= back <= blocks.count:
        return None
    first = min(register.field.address for register in blocks.registers)
    by = (back - 1) * blocks.stride

    def moved(part: Field) -> Field:
        is_inside = first <= part.address < first + blocks.stride
        return replace(part, address=part.address + by) if is_inside else part

    registers = tuple(_moved(register, moved) for register in blocks.registers)
    return replace(map_, registers=registers, day=None, month=None)


def _moved(register: Register, moved: Callable[[Field], Field]) -> Register:
    unit, exponent, fraction = register.unit, register.exponent, register.fraction
    return replace(
        register,
        field=moved(register.field),
        fraction=moved(fraction) if fraction else None,
        exponent=replace(exponent, field=moved(exponent.field)) if exponent else None,
        unit=replace(unit, field=moved(unit.field)) if isinstance(unit, UnitRegister) else unit,
    )


# Reading ----------------------------------------------------------------------------------


def read(map_: RegisterMap, registers: Registers) -> MapReading:
    """What `registers` say. What can not be read or is not there is named in `faults`; the only
    error is a bug."""
    values: dict[str, int] = {}
    others: dict[str, Value] = {}
    faults: dict[str, str] = {}
    for register in map_.registers:
        try:
            if register.is_number:
                values[register.name] = _amount(register, registers)
            else:
                others[register.name] = _read_field(register.field, registers)
        except FrameError as error:
            faults[register.name] = error.code
    return _reading(map_, values, others, faults)


def _reading(
    map_: RegisterMap, values: dict[str, int], others: dict[str, Value], faults: dict[str, str]
) -> MapReading:
    when = others.pop("meter_time", None)
    status = others.pop("status", "")
    texts = {name: str(value) for name, value in others.items()}
    meter_time = when if isinstance(when, datetime) else None
    return MapReading(map_.primary, values, texts, meter_time, bytes.fromhex(str(status)), faults)


def _read_field(part: Field, registers: Registers) -> Value:
    found = (registers.get((part.function, n)) for n in range(part.address, part.end))
    return part.read([word for word in found if word is not None])


def _number(part: Field, registers: Registers) -> Fraction:
    value = _read_field(part, registers)
    assert isinstance(value, Fraction)
    return value


def _amount(register: Register, registers: Registers) -> int:
    """((number + fraction) * 10^exponent * scale + offset) in the unit of the name, half-up."""
    number = _number(register.field, registers)
    if register.fraction:
        number += _number(register.fraction, registers)
    if register.exponent:
        number *= Fraction(10) ** _power(register, registers)
    return half_up((number * register.scale + register.offset) * _worth(register, registers))


def _power(register: Register, registers: Registers) -> int:
    exponent = register.exponent
    assert exponent is not None
    power = _number(exponent.field, registers)
    if power.denominator != 1 or not exponent.low <= power <= exponent.high:
        raise FrameError(f"{power} is no exponent", at=exponent.field.address, code="unsupported")
    return int(power) + exponent.bias


def _worth(register: Register, registers: Registers) -> Fraction:
    unit = register.unit
    if isinstance(unit, UnitRegister):
        number = _number(unit.field, registers)
        if number not in unit.units:
            raise FrameError(f"{number} is no unit", at=unit.field.address, code="unsupported")
        unit = unit.units[int(number)]
    return units_for(register.name)[unit]


# Writing ----------------------------------------------------------------------------------


def write(
    map_: RegisterMap,
    values: Mapping[str, int | str | datetime | None],
    settings: Mapping[tuple[int, int], int] | None = None,
) -> dict[tuple[int, int], int]:
    """The registers of a meter that shows `values`, as `read` gives them back.

    A name that is missing leaves its registers at `settings`, or zero; None writes its "absent"
    pattern. Unit and exponent registers keep `settings`, else they say the first unit and the
    power nearest to none. Raises ValueError where a value does not fit.
    """
    registers = {
        (r.function, n): 0 for r in plan(map_) for n in range(r.address, r.address + r.count)
    }
    for register in map_.registers:
        registers |= _settings(register)
    registers |= settings or {}
    for register in map_.registers:
        if register.name in values:
            registers |= _write(register, values[register.name], registers)
    return registers


def _words_at(part: Field, words: Iterable[int]) -> dict[tuple[int, int], int]:
    return {(part.function, part.address + n): word for n, word in enumerate(words)}


def _settings(register: Register) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    if isinstance(register.unit, UnitRegister):
        unit = register.unit
        found |= _words_at(unit.field, unit.field.write(Fraction(next(iter(unit.units)))))
    if register.exponent:
        exponent = register.exponent
        power = min(max(-exponent.bias, exponent.low), exponent.high)
        found |= _words_at(exponent.field, exponent.field.write(Fraction(power)))
    return found


def _write(
    register: Register, value: int | str | datetime | None, registers: Registers
) -> dict[tuple[int, int], int]:
    if value is None:
        return _words_at(register.field, register.field.blank())
    if not isinstance(value, int):
        return _words_at(register.field, register.field.write(value))
    number = (value / _worth(register, registers) - register.offset) / register.scale
    if register.exponent:
        number /= Fraction(10) ** _power(register, registers)
    if register.fraction is None:
        return _words_at(register.field, register.field.write(number))
    whole = number.numerator // number.denominator
    rest = register.fraction.write(number - whole)
    return _words_at(register.field, register.field.write(Fraction(whole))) | _words_at(
        register.fraction, rest
    )
