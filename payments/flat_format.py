"""How a file of records is laid out, as data: TOML -> checked formats.

    name = "collection-fixed"
    title = "代扣定长文本"          # as finance chooses it
    source = "a sample; no certain bank's"
    kind = "collection"            # or "account" (a bank account's movements), "acquirer"

    [deduction]                    # a file we write; [result] is one we read, in the same terms
    encoding = "gbk"
    newline = "\\r\\n"
    separator = ""                 # "": fixed widths, counted in bytes; else e.g. "|"
    closed = false                 # the separator stands at the end of each line too
    titles = false                 # a line of column titles before the rows; read by title
    file_name = "DK{merchant}{day:%Y%m%d}{seq:03d}.txt"
    header = [{field = "tag", type = "const", value = "H", width = 1}, …]
    detail = [{field = "amount_fen", type = "fen", width = 12}, …]
    trailer = […]

A field has `type`: text, int, fen, yuan (of a number of fen), date (`format`), const (`value`) or
digest (`value`: md5, sha256, crc32; over every byte of the file before its own line); `width`,
`align`, `pad` of fixed widths; `title`; `optional`; `words`, {as written: what it means}.
What stands in TOTALS is reckoned from the rows: written so, and checked when read.

Those that come with Nuan stand in `formats/`; a company's own in a directory it names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

KINDS: Final = {
    "collection": ("deduction", "result"),
    "account": ("statement",),
    "acquirer": ("settlement",),
}
TYPES: Final = ("text", "int", "fen", "yuan", "date", "const", "digest")
DIGESTS: Final = {"md5": 32, "sha256": 64, "crc32": 8}
ENCODINGS: Final = ("gbk", "gb18030", "utf-8")
TOTALS: Final = (
    *("count", "total_fen", "success_count", "success_fen", "failed_count", "failed_fen"),
    *("fee_total_fen", "net_total_fen", "credit_count", "credit_fen", "debit_count", "debit_fen"),
)
MAX_FILES, MAX_BYTES, MAX_FIELDS, MAX_WIDTH = 100, 64 * 1024, 40, 500
_TOP: Final = {"name", "title", "source", "kind", "deduction", "result", "statement", "settlement"}
_SHEET: Final = {
    *("encoding", "newline", "separator", "closed", "titles", "file_name", "header", "detail"),
    *("trailer", "success", "unknown", "reasons"),
}
_FIELD: Final = {
    *("field", "type", "width", "align", "pad", "value", "format", "title", "optional", "words"),
}
# What each sort of file cannot do without, in its rows (or, of the batch, in its head).
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "deduction": ("order_no", "card_no", "holder", "amount_fen"),
    "result": ("order_no", "amount_fen", "outcome"),
    "statement": ("serial", "booked_on", "direction", "amount_fen"),
    "settlement": ("terminal_no", "reference", "amount_fen", "fee_fen"),
}


class FormatError(ValueError):
    """A format that cannot be used; the message has every flaw, one a line."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record."""

    name: str
    type: str = "text"
    width: int = 0
    align: str = "left"
    pad: str = " "
    value: str = ""
    format: str = "%Y%m%d"
    title: str = ""
    optional: bool = False
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sort of file: its records before, in and after the rows."""

    encoding: str
    newline: str
    separator: str
    closed: bool
    titles: bool
    file_name: str
    header: tuple[Field, ...]
    detail: tuple[Field, ...]
    trailer: tuple[Field, ...]
    success: frozenset[str]
    unknown: frozenset[str]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Format:
    """A checked format; `sheets` by what they are (KINDS)."""

    name: str
    title: str
    source: str
    kind: str
    sheets: Mapping[str, Sheet]


def parse(text: str) -> Format:
    """A format from TOML. Raises FormatError naming each flaw."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"not TOML: {error}") from error
    flaws = [f"unknown key {key!r}" for key in sorted(set(table) - _TOP)]
    kind = _text(table, "kind", flaws)
    if kind not in KINDS:
        raise FormatError("\n".join([*flaws, f"kind must be one of {', '.join(KINDS)}"]))
    sheets = {}
    for name in KINDS[kind]:
        if isinstance(table.get(name), dict):
            sheets[name] = _sheet(name, table[name], flaws)
        else:
            flaws.append(f"needs a [{name}] table")
    made = Format(
        _text(table, "name", flaws),
        _text(table, "title", flaws),
        _text(table, "source", flaws),
        kind,
        sheets,
    )
    if flaws:
        raise FormatError("\n".join(flaws))
    return made


def _sheet(name: str, table: Mapping[str, Any], flaws: list[str]) -> Sheet:
    mine: list[str] = [f"unknown key {key!r}" for key in sorted(set(table) - _SHEET)]
    made = Sheet(
        _text(table, "encoding", mine, "utf-8").lower(),
        _text(table, "newline", mine, "\n"),
        _text(table, "separator", mine, ""),
        table.get("closed") is True,
        table.get("titles") is True,
        _text(table, "file_name", mine, ""),
        _fields(table, "header", mine),
        _fields(table, "detail", mine),
        _fields(table, "trailer", mine),
        frozenset(_texts(table, "success", mine)),
        frozenset(_texts(table, "unknown", mine)),
        _words(table.get("reasons", {}), "reasons", mine),
    )
    _check(name, made, mine)
    flaws += [f"{name}: {flaw}" for flaw in mine]
    return made


def _check(name: str, sheet: Sheet, flaws: list[str]) -> None:
    if sheet.encoding not in ENCODINGS:
        flaws.append(f"encoding must be one of {', '.join(ENCODINGS)}")
    if sheet.newline not in ("\n", "\r\n"):
        flaws.append("newline must be \\n or \\r\\n")
    if len(sheet.separator) > 1:
        flaws.append("separator must be one character, or nothing for fixed widths")
    if sheet.titles and not sheet.separator:
        flaws.append("titles want a separator")
    named = [f.name for f in (*sheet.header, *sheet.detail)]
    flaws += [f"field {need} is missing" for need in _NEEDED[name] if need not in named]
    if name == "result" and not sheet.success:
        flaws.append("success must name the codes of a success")
    for one in (*sheet.header, *sheet.detail, *sheet.trailer):
        if not sheet.separator and not one.width:
            flaws.append(f"field {one.name} needs a width")
        if sheet.titles and one in sheet.detail and not one.title:
            flaws.append(f"field {one.name} needs a title")


def _fields(table: Mapping[str, Any], key: str, flaws: list[str]) -> tuple[Field, ...]:
    rows = table.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        flaws.append(f"{key} must be a list of fields")
        return ()
    if len(rows) > MAX_FIELDS:
        flaws.append(f"{key} has more than {MAX_FIELDS} fields")
    return tuple(_field(row, flaws) for row in rows[:MAX_FIELDS])


def _field(row: Mapping[str, Any], flaws: list[str]) -> Field:
    name = _text(row, "field", flaws)
    kind = _text(row, "type", flaws, "text")
    number = kind in ("int", "fen", "yuan")
    width = row.get("width", 0)
    made = Field(
        name,
        kind,
        width if type(width) is int else -1,
        _text(row, "align", flaws, "right" if number else "left"),
        _text(row, "pad", flaws, "0" if number else " "),
        _text(row, "value", flaws, ""),
        _text(row, "format", flaws, "%Y%m%d"),
        _text(row, "title", flaws, ""),
        row.get("optional") is True,
        _words(row.get("words", {}), f"words of {name}", flaws),
    )
    flaws += [f"field {name}: unknown key {key!r}" for key in sorted(set(row) - _FIELD)]
    checks = (
        (kind in TYPES, f"type must be one of {', '.join(TYPES)}"),
        (0 <= made.width <= MAX_WIDTH, f"width must be 0 to {MAX_WIDTH}"),
        (made.align in ("left", "right"), "align must be left or right"),
        (len(made.pad) == 1 and made.pad.isascii(), "pad must be one ASCII character"),
        (kind != "const" or made.value, "a const needs its value"),
        (kind != "digest" or made.value in DIGESTS, f"value must be one of {', '.join(DIGESTS)}"),
    )
    flaws += [f"field {name}: {said}" for good, said in checks if not good]
    return made


_NONE: Final = "\0"


def _text(table: Mapping[str, Any], key: str, flaws: list[str], default: str = _NONE) -> str:
    value = table.get(key, default)
    if isinstance(value, str) and value != _NONE and len(value) <= MAX_WIDTH:
        return value
    flaws.append(f"{key} must be a text")
    return ""


def _texts(table: Mapping[str, Any], key: str, flaws: list[str]) -> Sequence[str]:
    value = table.get(key, [])
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    flaws.append(f"{key} must be a list of texts")
    return ()


def _words(value: Any, name: str, flaws: list[str]) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
        return dict(value)
    flaws.append(f"{name} must be a table of texts")
    return {}


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Format]:
    return _read_all(resources.files("payments") / "formats")


def formats(directory: str = "") -> dict[str, Format]:
    """The formats that come with Nuan, and over them a directory's own. Raises FormatError."""
    if not directory:
        return _shipped()
    if not Path(directory).is_dir():
        raise FormatError(f"{directory} is no directory")
    return {**_shipped(), **_read_all(Path(directory))}


def _read_all(folder: Traversable | Path) -> dict[str, Format]:
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    if len(files) > MAX_FILES:
        raise FormatError(f"{len(files)} formats exceed {MAX_FILES}")
    found: dict[str, Format] = {}
    flaws: list[str] = []
    for file in files:
        try:
            with file.open("rb") as opened:
                found[file.name.removesuffix(".toml")] = parse(opened.read(MAX_BYTES).decode())
        except (FormatError, UnicodeDecodeError, OSError) as error:
            flaws += [f"{file.name}: {line}" for line in str(error).splitlines()]
    if flaws:
        raise FormatError("\n".join(flaws))
    return found
