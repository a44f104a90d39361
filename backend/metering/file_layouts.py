"""How a file of readings is laid out: which column is what, by a profile in TOML.

    name = "handheld-txt"
    title = "手持机 TXT"           # as an operator chooses it
    separator = "\\t"              # of a text file; or widths = [14, 14, 10] of fixed records
    header = false                # then columns are numbers, from 1
    formats = ["%Y%m%d%H%M%S"]    # of times; Shanghai's unless the time names a zone
    kind = "manual"               # or "freeze", where no column says so
    unit = "m3"                   # where no column says so
    scale = "0.01"                # of the register as written

    [columns]                     # fields of FIELDS
    address = 1                   # or ["表号", "表地址"], the titles it may have

Those that come with Nuan stand in `file_profiles/`, a company's own in NUAN_FILE_PROFILES_DIR.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from backend.base.errors import Problem
from backend.metering import tables

# Field -> how a person calls it.
FIELDS: Final = {
    "address": "表地址",
    "read_at": "抄表时间",
    "read_on": "抄表日期",
    "read_clock": "时刻",
    "register": "读数",
    "unit": "单位",
    "bus": "总线",
    "note": "备注",
    "kind": "类型",
}
KINDS: Final = ("manual", "freeze")
DEFAULT: Final = "table"
MAX_FILES, MAX_BYTES, MAX_WIDTH = 100, 64 * 1024, 200
_KEYS: Final = {
    "name", "title", "source", "separator", "widths", "header", "formats", "kind", "unit",
    "scale", "columns",
}  # fmt: skip


class LayoutError(ValueError):
    """A profile that cannot be used; the message has every flaw, one a line."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A checked profile."""

    name: str
    title: str
    separator: str
    widths: tuple[int, ...]
    has_header: bool
    columns: Mapping[str, tuple[str, ...] | int]
    formats: tuple[str, ...]
    kind: str
    unit: str
    scale: Fraction

    @property
    def needed(self) -> tuple[str, ...]:
        """The fields every row has to fill."""
        when = ("read_on", "read_clock") if "read_on" in self.columns else ("read_at",)
        return ("address", *when, "register", *(() if self.unit else ("unit",)))

    def places(self, head: tables.Row | None) -> dict[str, int]:
        """Field -> index of its column, by the titles of the first row where there are any.

        Problem import_columns naming what is missing.
        """
        if not self.has_header:
            return {f: number - 1 for f, number in self.columns.items() if isinstance(number, int)}
        titles = [str(title or "").strip().lower() for title in (head[1] if head else [])]
        found = {
            name: titles.index(title)
            for name, names in self.columns.items()
            if isinstance(names, tuple)
            for title in names[::-1]
            if title in titles
        }
        missing = [name for name in self.needed if name not in found]
        if missing:
            raise Problem("import_columns", f"表头缺少：{'、'.join(map(self.called, missing))}。")
        return found

    def called(self, name: str) -> str:
        """How the file calls a field."""
        titles = self.columns.get(name)
        return titles[0] if isinstance(titles, tuple) else FIELDS[name]


def parse(text: str) -> Layout:
    """A layout from TOML. Raises LayoutError naming each flaw."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LayoutError(f"not TOML: {error}") from error
    flaws = [f"unknown key {key!r}" for key in sorted(set(table) - _KEYS)]
    layout = Layout(
        _text(table, "name", None, flaws),
        _text(table, "title", None, flaws),
        _text(table, "separator", ",", flaws),
        _widths(table, flaws),
        table.get("header", True) is True,
        _columns(table, flaws),
        _formats(table, flaws),
        _text(table, "kind", "manual", flaws),
        _text(table, "unit", "", flaws).lower(),
        _scale(table, flaws),
    )
    _check(layout, flaws)
    if flaws:
        raise LayoutError("\n".join(flaws))
    return layout


def _text(table: Mapping[str, Any], key: str, default: str | None, flaws: list[str]) -> str:
    value = table.get(key, default)
    if isinstance(value, str) and len(value) <= MAX_WIDTH:
        return value
    flaws.append(f"{key} must be a text")
    return default or ""


def _widths(table: Mapping[str, Any], flaws: list[str]) -> tuple[int, ...]:
    found = table.get("widths", [])
    if isinstance(found, list) and all(type(n) is int and 0 < n <= MAX_WIDTH for n in found):
        return tuple(found[: tables.MAX_COLUMNS])
    flaws.append(f"widths must be a list of numbers from 1 to {MAX_WIDTH}")
    return ()


def _columns(table: Mapping[str, Any], flaws: list[str]) -> dict[str, tuple[str, ...] | int]:
    rows = table.get("columns")
    if not isinstance(rows, dict):
        flaws.append("needs a [columns] table")
        return {}
    found: dict[str, tuple[str, ...] | int] = {}
    for name, value in rows.items():
        is_titles = isinstance(value, list) and value and all(isinstance(v, str) for v in value)
        if name not in FIELDS:
            flaws.append(f"column {name!r} is none of {', '.join(FIELDS)}")
        elif type(value) is int and 1 <= value <= tables.MAX_COLUMNS:
            found[name] = value
        elif is_titles:
            found[name] = tuple(title.strip().lower() for title in value)
        else:
            flaws.append(f"column {name} must be a list of titles or a number from 1")
    return found


def _formats(table: Mapping[str, Any], flaws: list[str]) -> tuple[str, ...]:
    found = table.get("formats")
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return tuple(found)
    flaws.append('formats must be a list such as ["%Y-%m-%d %H:%M"]')
    return ()


def _scale(table: Mapping[str, Any], flaws: list[str]) -> Fraction:
    value = table.get("scale", "1")
    try:
        scale = Fraction(value) if isinstance(value, str) and "/" not in value else Fraction(0)
    except ValueError:
        scale = Fraction(0)
    if scale <= 0:
        flaws.append('scale must be a decimal in quotes such as "0.01"')
    return scale


def _check(layout: Layout, flaws: list[str]) -> None:
    if layout.kind not in KINDS:
        flaws.append(f"kind {layout.kind!r} is none of {', '.join(KINDS)}")
    if len(layout.separator) != 1:
        flaws.append("separator must be one character")
    flaws += [f"column {f} is missing" for f in layout.needed if f not in layout.columns]
    wanted = tuple if layout.has_header else int
    flaws += [
        f"column {name} must be {'titles' if layout.has_header else 'a number'}"
        for name, value in layout.columns.items()
        if not isinstance(value, wanted)
    ]
    for name, value in layout.columns.items():
        if layout.widths and isinstance(value, int) and value > len(layout.widths):
            flaws.append(f"column {name} is beyond the {len(layout.widths)} widths")


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Layout]:
    return _read_all(resources.files("backend.metering") / "file_profiles")


def layouts(directory: str = "") -> dict[str, Layout]:
    """The layouts that come with Nuan, and over them those of a directory. Raises LayoutError."""
    if not directory:
        return _shipped()
    if not Path(directory).is_dir():
        raise LayoutError(f"{directory} is no directory")
    return {**_shipped(), **_read_all(Path(directory))}


def _read_all(folder: Traversable | Path) -> dict[str, Layout]:
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    if len(files) > MAX_FILES:
        raise LayoutError(f"{len(files)} profiles exceed {MAX_FILES}")
    found: dict[str, Layout] = {}
    flaws: list[str] = []
    for file in files:
        try:
            with file.open("rb") as opened:
                found[file.name.removesuffix(".toml")] = parse(opened.read(MAX_BYTES).decode())
        except (LayoutError, UnicodeDecodeError, OSError) as error:
            flaws += [f"{file.name}: {line}" for line in str(error).splitlines()]
    if flaws:
        raise LayoutError("\n".join(flaws))
    return found
