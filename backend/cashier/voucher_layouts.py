"""How vouchers are written for an ERP, as data: columns in TOML, as CSV or XLSX.

    name = "generic-csv"
    title = "通用凭证（CSV）"
    source = "Nuan's own"
    file = "csv"                   # or "xlsx"
    encoding = "utf-8-sig"         # of a CSV; or "gbk"
    word = "记"                    # 凭证字
    columns = [{title = "凭证日期", field = "day", format = "%Y-%m-%d"},
               {title = "币别", value = "RMB"}]

Those that come with Nuan stand in `voucher_formats/`, a company's own in NUAN_VOUCHER_FORMATS_DIR.
What a person could have typed is fenced: a spreadsheet must not take it for a formula.
"""

from __future__ import annotations

import csv
import io
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import IO, Any, Final
from xml.sax.saxutils import escape

from backend.base.money import yuan_str

# What a column may hold; the last four are texts people typed.
FIELDS: Final = (
    *("day", "month", "word", "number", "line", "debit", "credit", "erp_code", "code", "kind"),
    *("summary", "erp_name", "aux", "company"),
)
TEXTS: Final = frozenset(FIELDS[-4:])
AMOUNTS: Final = frozenset({"debit", "credit"})
ENCODINGS: Final = ("utf-8", "utf-8-sig", "gbk", "gb18030")
MAX_FILES, MAX_BYTES, MAX_COLUMNS = 100, 64 * 1024, 60
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class LayoutError(ValueError):
    """A format that cannot be used; the message has every flaw."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: one of FIELDS, or the same words in every row."""

    title: str
    field: str = ""
    value: str = ""
    format: str = "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class Layout:
    """A checked format."""

    name: str
    title: str
    source: str
    file: str
    encoding: str
    word: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a voucher; amounts in fen, one of them 0."""

    day: date
    number: int
    line: int
    kind: str
    summary: str
    code: str
    erp_code: str
    erp_name: str
    aux: str
    debit_fen: int
    credit_fen: int
    company: str


def parse(text: str) -> Layout:
    """A format from TOML. Raises LayoutError naming its flaws."""
    try:
        table = tomllib.loads(text)
        columns = tuple(Column(**row) for row in table.pop("columns", []))
        made = Layout(**{"encoding": "utf-8-sig", "word": "记", **table}, columns=columns)
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise LayoutError(f"not a format: {error}") from error
    flaws = [f"column {c.title!r}: field must be one of {', '.join(FIELDS)}" for c in columns
             if c.field and c.field not in FIELDS]  # fmt: skip
    if made.file not in ("csv", "xlsx"):
        flaws.append("file must be csv or xlsx")
    if made.encoding not in ENCODINGS:
        flaws.append(f"encoding must be one of {', '.join(ENCODINGS)}")
    if not 0 < len(columns) <= MAX_COLUMNS:
        flaws.append(f"columns must be 1 to {MAX_COLUMNS}")
    if flaws:
        raise LayoutError("\n".join(flaws))
    return made


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Layout]:
    return _read_all(resources.files("backend.cashier") / "voucher_formats")


def layouts(directory: str = "") -> dict[str, Layout]:
    """The formats that come with Nuan, and over them a directory's own. Raises LayoutError."""
    return {**_shipped(), **(_read_all(Path(directory)) if directory else {})}


def _read_all(folder: Any) -> dict[str, Layout]:
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    if len(files) > MAX_FILES:
        raise LayoutError(f"{len(files)} formats exceed {MAX_FILES}")
    found = {}
    for file in files:
        with file.open("rb") as opened:
            found[file.name.removesuffix(".toml")] = parse(opened.read(MAX_BYTES).decode())
    return found


def cell(column: Column, row: Row, word: str) -> str:
    """What stands in a column: amounts in yuan and empty where nothing, texts fenced."""
    if not column.field:
        return column.value
    if column.field in AMOUNTS:
        fen: int = getattr(row, f"{column.field}_fen")
        return yuan_str(fen) if fen else ""
    if column.field in ("day", "month"):
        return f"{row.day:{column.format}}" if column.field == "day" else f"{row.day:%Y%m}"
    text = word if column.field == "word" else str(getattr(row, column.field))
    return fenced(text) if column.field in TEXTS else text


def fenced(text: str) -> str:
    """A text no spreadsheet takes for a formula: an apostrophe in front of what could be one."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def write(layout: Layout, rows: Iterable[Row], out: IO[bytes]) -> None:
    """Write rows as they come; the same rows are the same bytes."""
    titles = [column.title for column in layout.columns]
    cells = ([cell(column, row, layout.word) for column in layout.columns] for row in rows)
    if layout.file == "csv":
        _csv(layout.encoding, titles, cells, out)
    else:
        amounts = [column.field in AMOUNTS for column in layout.columns]
        _xlsx(titles, cells, amounts, out)


def _csv(encoding: str, titles: Sequence[str], rows: Iterator[list[str]], out: IO[bytes]) -> None:
    text = io.TextIOWrapper(out, encoding=encoding, newline="", errors="replace")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(titles)
    writer.writerows(rows)
    text.flush()
    text.detach()


# The least a workbook is (ECMA-376); texts stand in their cells, so nothing is kept in memory.
_PARTS: Final[Mapping[str, str]] = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-'
        'officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
        '<sheets><sheet name="凭证" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'


def _xlsx(
    titles: Sequence[str], rows: Iterator[list[str]], amounts: Sequence[bool], out: IO[bytes]
) -> None:
    """A workbook with a fixed clock and nothing packed: the same on every machine."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for name, text in _PARTS.items():
            packed.writestr(zipfile.ZipInfo(name), (_HEAD + text).encode())
        with packed.open(zipfile.ZipInfo("xl/worksheets/sheet1.xml"), "w") as sheet:
            space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
            sheet.write(f'{_HEAD}<worksheet xmlns="{space}"><sheetData>'.encode())
            sheet.write(_sheet_row(titles, [False] * len(titles)))
            for row in rows:
                sheet.write(_sheet_row(row, amounts))
            sheet.write(b"</sheetData></worksheet>")


def _sheet_row(cells: Sequence[str], amounts: Sequence[bool]) -> bytes:
    parts = []
    for text, is_amount in zip(cells, amounts, strict=True):
        if is_amount:
            parts.append(f"<c><v>{text}</v></c>" if text else "<c/>")
        else:
            plain = "".join(c for c in text if c >= " ")
            parts.append(
                f'<c t="inlineStr"><is><t xml:space="preserve">{escape(plain)}</t></is></c>'
            )
    return f"<row>{''.join(parts)}</row>".encode()
