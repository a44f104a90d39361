"""CSV, TXT and XLSX files as rows of text cells: streamed, bounded, nothing in them executed."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Generator, Sequence
from datetime import datetime, time
from itertools import accumulate
from typing import IO

from openpyxl import load_workbook

from backend.base.errors import Problem

MAX_BYTES = 20_000_000
MAX_UNPACKED = 400_000_000  # an XLSX is a zip: what it may grow to
MAX_ROWS = 200_000
MAX_COLUMNS = 20
CHUNK = 1 << 16
MAX_RECORD = 4096  # characters of a line in fixed widths

Cell = str | int | float | datetime | time | None
Row = tuple[int, list[Cell]]  # line as a person counts it in the file, cells


def rows(
    file: IO[bytes], *, separator: str = ",", widths: Sequence[int] = ()
) -> Generator[Row, None, None]:
    """The rows of a text file (UTF-8 or GBK) or of an XLSX's first sheet, empty ones left out.

    A text's cells end at `separator`, or are `widths` characters wide each.

    Problem import_too_large beyond MAX_BYTES or MAX_ROWS, import_unreadable for anything else.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > MAX_BYTES:
        raise Problem("import_too_large")
    magic = file.read(4)
    file.seek(0)
    found = _xlsx(file) if magic == b"PK\x03\x04" else _text(file, separator, widths)
    try:
        for count, (line, cells) in enumerate(found):
            if count > MAX_ROWS:
                raise Problem("import_too_large", f"行数超过 {MAX_ROWS}，请拆分后分批导入。")
            if any(cell not in (None, "") for cell in cells):
                yield line, cells
    except Problem:
        raise
    except Exception as error:  # openpyxl and its zip raise whatever a broken file makes them
        raise Problem("import_unreadable") from error
    finally:
        found.close()


def _text(file: IO[bytes], separator: str, widths: Sequence[int]) -> Generator[Row, None, None]:
    text = io.TextIOWrapper(file, encoding=_encoding(file), newline="")
    try:
        yield from _fixed(text, widths) if widths else _separated(text, separator)
    finally:
        text.detach()


def _separated(text: io.TextIOWrapper, separator: str) -> Generator[Row, None, None]:
    reader = csv.reader(text, strict=True, delimiter=separator)
    for cells in reader:
        yield reader.line_num, [cell.strip() for cell in cells[:MAX_COLUMNS]]


def _fixed(text: io.TextIOWrapper, widths: Sequence[int]) -> Generator[Row, None, None]:
    ends = list(accumulate(widths))
    line = 0
    while record := text.readline(MAX_RECORD):
        line += 1
        if len(record) == MAX_RECORD:
            raise Problem("import_unreadable", f"第 {line} 行太长。")
        record = record.rstrip("\r\n\x1a")
        cells = zip([0, *ends], ends, strict=False)
        yield line, [record[begin:end].strip() for begin, end in cells]


def _encoding(file: IO[bytes]) -> str:
    """UTF-8 where the whole file is, else GBK as Excel in China writes it."""
    reader = io.TextIOWrapper(file, encoding="utf-8-sig")
    try:
        while reader.read(CHUNK):
            pass
        return "utf-8-sig"
    except UnicodeDecodeError:
        return "gb18030"
    finally:
        reader.detach()
        file.seek(0)


def _xlsx(file: IO[bytes]) -> Generator[Row, None, None]:
    with zipfile.ZipFile(file) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED:
            raise Problem("import_too_large")
    book = load_workbook(file, read_only=True, data_only=True)
    try:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # what the file says of its own size is not believed
        yield from (
            (line, [_plain(value) for value in values])
            for line, values in enumerate(
                sheet.iter_rows(max_col=MAX_COLUMNS, values_only=True), start=1
            )
        )
    finally:
        book.close()


def _plain(value: object) -> Cell:
    if value is None or isinstance(value, int | float | datetime | time):
        return value
    return str(value).strip()
