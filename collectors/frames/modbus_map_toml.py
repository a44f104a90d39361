"""Register maps read from TOML and held against every rule; the format is in `modbus_map`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from collectors.frames import modbus_field as fields
from collectors.frames.map_flaws import Flaws, MapError
from collectors.frames.modbus_field import Field
from collectors.frames.modbus_units import units_for

_TIME: Final = "meter_time"
_STATUS: Final = "status"
_MAP_KEYS: Final = {
    "name",
    "title",
    "source",
    "function",
    "order",
    "primary",
    "max_read",
    "max_gap",
    "register",
    "day",
    "month",
}
_KEPT_KEYS: Final = {"count", "stride", "register"}
_MOST_KEPT: Final = 400
_FIELD_KEYS: Final = {"address", "type", "count", "function", "order", "layout", "absent"}
_REGISTER_KEYS: Final = _FIELD_KEYS | {"name", "unit", "scale", "offset", "fraction", "exponent"}
_MAX_EXPONENT: Final = 30


@dataclass(frozen=True, slots=True)
class Exponent:
    """A register that says by which power of ten to multiply: 10 ** (it + bias)."""

    field: Field
    bias: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class UnitRegister:
    """A register that says what the number counts: its values -> units' names."""

    field: Field
    units: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Register:
    """One named value; what it counts is `unit`, a name of `modbus_units` or a register."""

    name: str
    field: Field
    unit: str | UnitRegister = ""
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    fraction: Field | None = None
    exponent: Exponent | None = None

    @property
    def fields(self) -> Iterator[Field]:
        """All that must be read to know the value."""
        yield self.field
        if self.fraction:
            yield self.fraction
        if self.exponent:
            yield self.exponent.field
        if isinstance(self.unit, UnitRegister):
            yield self.unit.field

    @property
    def is_number(self) -> bool:
        return self.field.type in fields.NUMBERS


@dataclass(frozen=True, slots=True)
class Kept:
    """Freezes in blocks alike, the newest first: `count` of them, each `stride` registers after
    the one before it. `registers` are those of the newest."""

    count: int
    stride: int
    registers: tuple[Register, ...]


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """A checked map. `primary` is the value without which nothing was read."""

    name: str
    title: str
    source: str
    primary: str
    registers: tuple[Register, ...]
    max_read: int = fields.MAX_COUNT
    max_gap: int = 8
    day: Kept | None = None
    month: Kept | None = None


def parse(text: str) -> RegisterMap:
    """A map from TOML. Raises MapError naming each flaw with its register and key."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapError(f"not TOML: {error}") from error
    flaws = Flaws()
    found = _map(table, flaws)
    flaws.settle()
    assert found is not None
    return found


def _map(table: dict[str, Any], flaws: Flaws) -> RegisterMap | None:
    flaws.unknown("map", table, _MAP_KEYS)
    name = flaws.text("map", table, "name", None)
    max_read = flaws.integer("map", table, "max_read", (1, fields.MAX_COUNT), fields.MAX_COUNT)
    max_gap = flaws.integer("map", table, "max_gap", (0, fields.MAX_COUNT), 8)
    primary = flaws.text("map", table, "primary", None)
    registers = _registers("map", table, table, primary, max_read, flaws)
    if registers is None:
        return None
    title, source = (flaws.text("map", table, key, "") for key in ("title", "source"))
    day, month = (_kept(key, table, primary, max_read, flaws) for key in ("day", "month"))
    return RegisterMap(name, title, source, primary, registers, max_read, max_gap, day, month)


def _registers(
    where: str,
    table: Mapping[str, Any],
    defaults: Mapping[str, Any],
    primary: str,
    max_read: int,
    flaws: Flaws,
) -> tuple[Register, ...] | None:
    rows = table.get("register")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        flaws.add(where, "needs [[register]] tables")
        return None
    registers = [_register(row, defaults, flaws) for row in rows]
    _check_whole(registers, primary, max_read, flaws)
    return tuple(registers)


def _kept(
    key: str, table: Mapping[str, Any], primary: str, max_read: int, flaws: Flaws
) -> Kept | None:
    """What the meter has frozen, by the day or the month."""
    row = table.get(key)
    if row is None:
        return None
    if not isinstance(row, dict):
        flaws.add(key, "must be a table with count, stride and registers")
        return None
    flaws.unknown(key, row, _KEPT_KEYS)
    count = flaws.integer(key, row, "count", (1, _MOST_KEPT), 1)
    stride = flaws.integer(key, row, "stride", (1, 0xFFFF), 1)
    registers = _registers(key, row, table, primary, max_read, flaws)
    if registers is None:
        return None
    last = max(field.end for register in registers for field in register.fields)
    if last + (count - 1) * stride > 0x10000:
        flaws.add(key, "its last block lies beyond the last register")
    return Kept(count, stride, registers)


def _check_whole(registers: list[Register], primary: str, max_read: int, flaws: Flaws) -> None:
    seen: set[str] = set()
    for register in registers:
        if register.name in seen:
            flaws.add(f"register {register.name}", "the name is used twice")
        seen.add(register.name)
        for field in register.fields:
            if field.count > max_read:
                flaws.add(f"register {register.name}", f"{field.count} exceed max_read")
    if primary and primary not in seen:
        flaws.add("map", f"primary {primary!r} is none of the registers")


def _register(row: dict[str, Any], defaults: Mapping[str, Any], flaws: Flaws) -> Register:
    where = f"register {row.get('name', row.get('address', '?'))}"
    flaws.unknown(where, row, _REGISTER_KEYS)
    name = flaws.text(where, row, "name", None)
    field = _field(row, defaults, where, flaws)
    if field.type not in fields.NUMBERS:
        _check_text(name, field, row, where, flaws)
        return Register(name, field)
    scale = flaws.decimal(where, row, "scale", "1")
    if not scale:
        flaws.add(where, "scale must not be 0")
    return Register(
        name,
        field,
        _unit(name, row, defaults, where, flaws),
        scale,
        flaws.decimal(where, row, "offset", "0"),
        _part(row, "fraction", defaults, where, flaws),
        _exponent(row, defaults, where, flaws),
    )


def _check_text(name: str, field: Field, row: Mapping[str, Any], where: str, flaws: Flaws) -> None:
    for key in ("unit", "scale", "offset", "fraction", "exponent"):
        if key in row:
            flaws.add(where, f"{key} has no meaning for type {field.type}")
    is_clock = field.type in fields.CLOCKS
    if is_clock != (name == _TIME):
        flaws.add(where, f"a clock is called {_TIME}, and nothing else is")
    if name == _STATUS and field.type != "raw":
        flaws.add(where, f"{_STATUS} must be raw")


def _field(
    table: Mapping[str, Any], defaults: Mapping[str, Any], where: str, flaws: Flaws
) -> Field:
    type_ = flaws.text(where, table, "type", None)
    if type_ and type_ not in fields.TYPES:
        flaws.add(where, f"type {type_!r} is none of {', '.join(fields.TYPES)}")
    order = flaws.text(where, {**defaults, **table}, "order", "ABCD")
    if order not in fields.ORDERS:
        flaws.add(where, f"order {order!r} is none of {', '.join(fields.ORDERS)}")
    function = flaws.integer(where, {**defaults, **table}, "function", (3, 4), 3)
    count = _count(table, type_, where, flaws)
    if "address" not in table:
        flaws.add(where, "address is missing")
    address = flaws.integer(where, table, "address", (0, 0x10000 - count), 0)
    layout = _layout(table, type_, count, where, flaws)
    absent = _absent(table, count, where, flaws)
    return Field(address, type_, count, function, order, layout, absent)


def _count(table: Mapping[str, Any], type_: str, where: str, flaws: Flaws) -> int:
    fixed = fields.INTEGERS.get(type_, {"f32": 2, "f64": 4}.get(type_))
    if fixed is None:
        if type_ in fields.COUNTED and "count" not in table:
            flaws.add(where, f"type {type_} needs count")
        return flaws.integer(where, table, "count", (1, fields.MAX_COUNT), 1)
    if table.get("count", fixed) != fixed:
        flaws.add(where, f"type {type_} has count {fixed}, not {table['count']!r}")
    return fixed


def _layout(table: Mapping[str, Any], type_: str, count: int, where: str, flaws: Flaws) -> str:
    layout = flaws.text(where, table, "layout", "")
    if type_ not in fields.CLOCKS:
        if layout:
            flaws.add(where, "layout is for clocks")
        return ""
    letters = layout.replace("-", "")
    if len(layout) != 2 * count or set(letters) - set(fields.CLOCK_LETTERS):
        flaws.add(where, f"layout needs {2 * count} letters of {fields.CLOCK_LETTERS}")
    if len(set(letters)) != len(letters) or not set("YMD") <= set(letters):
        flaws.add(where, "layout needs Y, M and D, and each letter once")
    return layout


def _absent(table: Mapping[str, Any], count: int, where: str, flaws: Flaws) -> tuple[bytes, ...]:
    patterns = table.get("absent", [])
    try:
        found = tuple(bytes.fromhex(pattern) for pattern in patterns)
    except (TypeError, ValueError):
        found = (b"",)
    if any(len(pattern) != 2 * count for pattern in found):
        flaws.add(where, f"absent must be a list of {4 * count} hexadecimal digits each")
    return found


def _sub_table(row: Mapping[str, Any], key: str, known: set[str], where: str, flaws: Flaws) -> Any:
    table = row.get(key)
    if table is None:
        return None
    if not isinstance(table, dict):
        flaws.add(where, f"{key} must be a table with address and type")
        return None
    flaws.unknown(f"{where} {key}", table, _FIELD_KEYS | known)
    return table


def _part(
    row: Mapping[str, Any],
    key: str,
    defaults: Mapping[str, Any],
    where: str,
    flaws: Flaws,
    known: frozenset[str] = frozenset(),
) -> Field | None:
    """A further number the value is made of. It lies where its register lies, by default."""
    table = _sub_table(row, key, set(known), where, flaws)
    if table is None:
        return None
    inherited = {**defaults, **{k: row[k] for k in ("function", "order") if k in row}}
    field = _field(table, inherited, f"{where} {key}", flaws)
    if field.type and field.type not in fields.NUMBERS:
        flaws.add(f"{where} {key}", f"type {field.type} is no number")
    return field


def _exponent(
    row: Mapping[str, Any], defaults: Mapping[str, Any], where: str, flaws: Flaws
) -> Exponent | None:
    own = frozenset(("bias", "min", "max"))
    field = _part(row, "exponent", defaults, where, flaws, own)
    if field is None:
        return None
    table, where = row["exponent"], f"{where} exponent"
    span = (-_MAX_EXPONENT, _MAX_EXPONENT)
    bias = flaws.integer(where, table, "bias", span, 0)
    low = flaws.integer(where, table, "min", span, 0)
    return Exponent(field, bias, low, flaws.integer(where, table, "max", (low, span[1]), 10))


def _unit(
    name: str, row: Mapping[str, Any], defaults: Mapping[str, Any], where: str, flaws: Flaws
) -> str | UnitRegister:
    try:
        known = units_for(name)
    except ValueError as error:
        flaws.add(where, str(error))
        return ""
    unit = row.get("unit", "1" if name.endswith("_count") else None)
    if isinstance(unit, dict):
        field = _part(row, "unit", defaults, where, flaws, frozenset(("units",)))
        units = _unit_names(unit.get("units"), known, where, flaws)
        return UnitRegister(field, units) if field else ""
    if unit not in known:
        flaws.add(where, f"unit {unit!r} is none of {', '.join(known)}")
    return str(unit)


def _unit_names(
    units: object, known: Mapping[str, Fraction], where: str, flaws: Flaws
) -> dict[int, str]:
    if not isinstance(units, dict) or not units:
        flaws.add(where, 'unit needs units = {0 = "kWh", ...}')
        return {}
    for key, unit in units.items():
        if not key.isdecimal() or unit not in known:
            flaws.add(where, f"units {key} = {unit!r} is none of {', '.join(known)}")
    return {int(key): unit for key, unit in units.items() if key.isdecimal()}
