"""Values a platform has taken apart itself become Nuan's, by a map of its fields in TOML.

    name = "ctwing-water"
    primary = "volume_l"            # without it nothing was read
    rows = ""                       # a list of readings in one report; paths are then a row's
    address = ""                    # which meter's they are, where several share a device

    [time]                          # when the meter measured; else the report's own time
    path = "serviceData.time"
    format = "ms"                   # ms, s, or text: 20261120120000, 2026-11-20 12:00:00
    zone = "+08:00"                 # of a text that names none

    [[field]]
    name = "volume_l"               # one of NAMES
    path = "serviceData.total"      # see `json_path`
    unit = "m3"
    scale = "1"                     # value = (number * scale + offset) in unit
    offset = "0"
    absent = ["", "-1"]             # what stands there where there is no value

CSQ becomes dBm with scale "2", offset "-113" and absent ["99"].
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any, Final

from collectors.frames import json_path
from collectors.frames.errors import FrameError
from collectors.frames.json_path import JsonPath
from collectors.frames.map_flaws import Flaws, MapError
from collectors.frames.modbus_field import half_up
from collectors.frames.modbus_units import units_for

MAX_FIELDS: Final = 64
MAX_ROWS: Final = 256

_REGISTER: Final = (0, 10**15)
_INT32: Final = (-(2**31), 2**31 - 1)
# What a field may be called, and the least and most that can be believed of it.
NAMES: Final[Mapping[str, tuple[int, int]]] = {
    "energy_wh": _REGISTER,
    "cooling_wh": _REGISTER,
    "volume_l": _REGISTER,
    "power_w": _INT32,
    "flow_lph": _INT32,
    "supply_cdeg": (-10_000, 30_000),
    "return_cdeg": (-10_000, 30_000),
    "room_cdeg": (-10_000, 30_000),
    "working_h": (0, 10**7),
    "signal_dbm": (-200, 20),
    "snr_ddb": (-1_000, 1_000),
    "battery_mv": (0, 100_000),
    "battery_percent": (0, 100),
}
_MAP_KEYS: Final = {"name", "title", "source", "primary", "rows", "address", "time", "field"}
_FIELD_KEYS: Final = {"name", "path", "unit", "scale", "offset", "absent"}
_FORMATS: Final = ("ms", "s", "text")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")
_ZONE: Final = re.compile(r"([+-])([01][0-9]):([0-5][0-9])")
_MOMENT: Final = re.compile(
    r"(\d{4})[-/年]?(\d\d)[-/月]?(\d\d)[日T ]?\s?(\d\d):?(\d\d):?(\d\d)"
    r"(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_PATH: Final = JsonPath("")


@dataclass(frozen=True, slots=True)
class MappedField:
    """One of a report's values."""

    name: str
    path: JsonPath
    unit: str
    scale: Fraction
    offset: Fraction
    absent: frozenset[str]

    def read(self, tree: Any) -> int | None:
        """The value in the unit of its name, None where it is absent. Raises FrameError."""
        found = self.path.find(tree)
        if found is None or _text(found) in self.absent:
            return None
        worth = units_for(self.name)[self.unit]
        value = half_up((_number(found, self.name) * self.scale + self.offset) * worth)
        low, high = NAMES[self.name]
        if not low <= value <= high:
            raise FrameError(f"{self.name} cannot be {value}", code="range")
        return value


@dataclass(frozen=True, slots=True)
class MappedTime:
    """When the meter measured."""

    path: JsonPath
    format: str
    zone: timezone

    def read(self, tree: Any) -> datetime | None:
        """UTC, None where it does not say. Raises FrameError."""
        found = self.path.find(tree)
        if found is None or found == "":
            return None
        try:
            if self.format == "text":
                return _moment(_text(found), self.zone)
            us = 1_000 if self.format == "ms" else 1_000_000
            return _EPOCH + timedelta(microseconds=int(_number(found, "time") * us))
        except (ValueError, OverflowError) as error:
            if isinstance(error, FrameError):
                raise
            raise FrameError(f"no such time: {_text(found)[:40]}", code="time") from error


@dataclass(frozen=True, slots=True)
class FieldMap:
    """A checked map."""

    name: str
    title: str
    source: str
    primary: str
    fields: tuple[MappedField, ...]
    rows: JsonPath = _NO_PATH
    address: JsonPath = _NO_PATH
    time: MappedTime | None = None


@dataclass(frozen=True, slots=True)
class FieldReading:
    """What one row says.

    values    integers in the unit of their names
    faults    name -> why, for what stands there and cannot be believed
    address   the meter's, "" where the map names none; time UTC, None where there is none
    """

    values: Mapping[str, int]
    faults: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    time: datetime | None = None


def read(map_: FieldMap, tree: Any) -> list[FieldReading]:
    """What a report says, a reading a row. Raises FrameError where the rows are none."""
    rows = map_.rows.find(tree) if map_.rows.steps else [tree]
    if not isinstance(rows, list):
        raise FrameError(f"{map_.rows.text} is no list")
    if len(rows) > MAX_ROWS:
        raise FrameError(f"{len(rows)} readings in one report", code="length")
    return [_row(map_, row) for row in rows]


def _row(map_: FieldMap, row: Any) -> FieldReading:
    values: dict[str, int] = {}
    faults: dict[str, str] = {}
    for one in map_.fields:
        try:
            value = one.read(row)
        except FrameError as error:
            faults[one.name] = str(error)
            continue
        if value is not None:
            values[one.name] = value
    address = map_.address.find(row) if map_.address.steps else ""
    when = None
    try:
        when = map_.time.read(row) if map_.time else None
    except FrameError as error:
        faults["time"] = str(error)
    return FieldReading(values, faults, _text(address).strip().upper(), when)


def _text(value: Any) -> str:
    """A plain value as text; nothing of an object."""
    is_plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return str(value)[:64] if is_plain else ""


def _number(value: Any, name: str) -> Fraction:
    """A JSON number, or a text that is one, exactly as it was written."""
    text = _text(value).strip()
    if not _NUMBER.fullmatch(text):
        raise FrameError(f"{name} is no number: {text!r}", code="structure")
    return Fraction(text)


def _moment(text: str, zone: timezone) -> datetime:
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise FrameError(f"no time: {text[:40]!r}", code="time")
    own = match[7]
    if own:
        zone = UTC if own == "Z" else _zone(own) or zone
    parts = [int(match[n]) for n in range(1, 7)]
    return datetime(*parts, tzinfo=zone).astimezone(UTC)  # type: ignore[arg-type,misc]


def _zone(text: str) -> timezone | None:
    match = _ZONE.fullmatch(text)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


# From TOML --------------------------------------------------------------------------------


def parse(text: str) -> FieldMap:
    """A map from TOML. Raises MapError naming each flaw with its field and key."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapError(f"not TOML: {error}") from error
    flaws = Flaws()
    found = _map(table, flaws)
    flaws.settle()
    return found


def _map(table: dict[str, Any], flaws: Flaws) -> FieldMap:
    flaws.unknown("map", table, _MAP_KEYS)
    rows = table.get("field")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        flaws.add("map", "needs [[field]] tables")
        rows = []
    if len(rows) > MAX_FIELDS:
        flaws.add("map", f"{len(rows)} fields exceed {MAX_FIELDS}")
    fields = tuple(_field(row, flaws) for row in rows)
    names = [one.name for one in fields]
    for name in sorted({n for n in names if names.count(n) > 1}):
        flaws.add(f"field {name}", "the name is used twice")
    primary = flaws.text("map", table, "primary", None)
    if primary and primary not in names:
        flaws.add("map", f"primary {primary!r} is none of the fields")
    return FieldMap(
        flaws.text("map", table, "name", None),
        flaws.text("map", table, "title", ""),
        flaws.text("map", table, "source", ""),
        primary,
        fields,
        _path(table, "rows", "map", flaws, ""),
        _path(table, "address", "map", flaws, ""),
        _time(table.get("time"), flaws),
    )


def _field(row: dict[str, Any], flaws: Flaws) -> MappedField:
    where = f"field {row.get('name', row.get('path', '?'))}"
    flaws.unknown(where, row, _FIELD_KEYS)
    name = flaws.text(where, row, "name", None)
    unit = flaws.text(where, row, "unit", None)
    if name and name not in NAMES:
        flaws.add(where, f"name {name!r} is none of {', '.join(NAMES)}")
    elif name and unit and unit not in units_for(name):
        flaws.add(where, f"unit {unit!r} is none of {', '.join(units_for(name))}")
    scale = flaws.decimal(where, row, "scale", "1")
    if not scale:
        flaws.add(where, "scale must not be 0")
    return MappedField(
        name,
        _path(row, "path", where, flaws, None),
        unit,
        scale,
        flaws.decimal(where, row, "offset", "0"),
        _absent(row, where, flaws),
    )


def _absent(row: dict[str, Any], where: str, flaws: Flaws) -> frozenset[str]:
    found = row.get("absent", [])
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return frozenset(("", *found))
    flaws.add(where, 'absent must be a list of texts such as ["", "-1"]')
    return frozenset()


def _path(
    table: Mapping[str, Any], key: str, where: str, flaws: Flaws, default: str | None
) -> JsonPath:
    text = flaws.text(where, table, key, default)
    try:
        return json_path.parse(text)
    except ValueError as error:
        flaws.add(where, f"{key}: {error}")
        return _NO_PATH


def _time(table: Any, flaws: Flaws) -> MappedTime | None:
    if table is None:
        return None
    if not isinstance(table, dict):
        flaws.add("time", "must be a table with path and format")
        return None
    flaws.unknown("time", table, {"path", "format", "zone"})
    format_ = flaws.text("time", table, "format", None)
    if format_ and format_ not in _FORMATS:
        flaws.add("time", f"format {format_!r} is none of {', '.join(_FORMATS)}")
    zone = _zone(flaws.text("time", table, "zone", "+08:00"))
    if zone is None:
        flaws.add("time", 'zone must be such as "+08:00"')
    return MappedTime(_path(table, "path", "time", flaws, None), format_, zone or UTC)
