"""Banks' files: bytes <-> rows, by a format that is data (payments.flat_format).

Deductions (代扣) are written, the bank's results, an account's movements and an acquirer's
settlement are read.  Writing the same rows twice gives the same bytes.  A file is read whole or
not at all: StatementError has everything wrong, each with its line and a reason in plain Chinese.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from payments.flat_format import TOTALS, Field, Sheet
from payments.statement import (
    MAX_PROBLEMS,
    RowProblem,
    StatementError,
    StatementProblem,
    decode_text,
    fen_from_yuan,
)

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_ROWS = 200_000
_ENDINGS = "\r\n\0"

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Records:
    """A file read: what stood before the rows, the rows as (line, values), what stood after."""

    header: dict[str, Any]
    rows: list[tuple[int, dict[str, Any]]]
    trailer: dict[str, Any]

    def head(self, name: str) -> Any:
        """A value of the header or the trailer; None where neither has it."""
        return self.header.get(name, self.trailer.get(name))


def totals(rows: Sequence[Values]) -> dict[str, int]:
    """Everything a header or trailer may say of its rows, in fen and pieces (TOTALS)."""
    won = [row for row in rows if row.get("result") == "success"]
    lost = [row for row in rows if row.get("result") == "failed"]
    came = [row for row in rows if row.get("direction") == "credit"]
    went = [row for row in rows if row.get("direction") == "debit"]
    return {
        "count": len(rows),
        "total_fen": _sum(rows, "amount_fen"),
        "success_count": len(won),
        "success_fen": _sum(won, "amount_fen"),
        "failed_count": len(lost),
        "failed_fen": _sum(lost, "amount_fen"),
        "fee_total_fen": _sum(rows, "fee_fen"),
        "net_total_fen": _sum(rows, "amount_fen") - _sum(rows, "fee_fen"),
        "credit_count": len(came),
        "credit_fen": _sum(came, "amount_fen"),
        "debit_count": len(went),
        "debit_fen": _sum(went, "amount_fen"),
    }


def _sum(rows: Sequence[Values], name: str) -> int:
    return sum(row.get(name) or 0 for row in rows)


def outcome(sheet: Sheet, code: str) -> str:
    """success, failed, or unknown for a code of a result; one nobody listed decides nothing."""
    if code in sheet.success:
        return "success"
    if code in sheet.unknown or code not in sheet.reasons:
        return "unknown"
    return "failed"


def file_name(sheet: Sheet, head: Values) -> str:
    """The file's name by its pattern."""
    return sheet.file_name.format(**head)


# --- writing


def write(sheet: Sheet, head: Values, rows: Sequence[Values]) -> bytes:
    """A file of `rows`; `head` fills header and trailer beside what is reckoned from the rows.

    ValueError naming row and field where a value does not fit or cannot be written.
    """
    known = {**head, **totals(rows)}
    parts: list[bytes] = []
    if sheet.header:
        parts.append(_line(sheet, sheet.header, known, b"", "抬头"))
    if sheet.titles:
        titles = sheet.separator.join(one.title for one in sheet.detail)
        parts.append((titles + sheet.newline).encode(sheet.encoding))
    parts += [
        _line(sheet, sheet.detail, row, b"", f"第 {number} 笔")
        for number, row in enumerate(rows, 1)
    ]
    if sheet.trailer:
        parts.append(_line(sheet, sheet.trailer, known, b"".join(parts), "结尾"))
    return b"".join(parts)


def _line(sheet: Sheet, fields: Sequence[Field], values: Values, before: bytes, what: str) -> bytes:
    texts = []
    for one in fields:
        text = _digest(one.value, before) if one.type == "digest" else _written(one, values, what)
        texts.append(_fitted(sheet, one, text, what))
    separator = sheet.separator.encode(sheet.encoding)
    end = separator if sheet.closed else b""
    return separator.join(texts) + end + sheet.newline.encode()


def _written(one: Field, values: Values, what: str) -> str:
    if one.type == "const":
        return one.value
    value = values.get(one.name)
    if value is None:
        if one.optional:
            return ""
        raise ValueError(f"{what}：缺少 {one.title or one.name}")
    meant = {meaning: word for word, meaning in one.words.items()}
    if one.type == "date":
        return f"{value:{one.format}}"
    if one.type == "yuan":
        return f"{'-' if value < 0 else ''}{abs(value) // 100}.{abs(value) % 100:02d}"
    return meant.get(str(value), str(value))


def _fitted(sheet: Sheet, one: Field, text: str, what: str) -> bytes:
    called = one.title or one.name
    if set(text) & {*_ENDINGS} or (sheet.separator and sheet.separator in text):
        raise ValueError(f"{what}：{called} 含有分隔符或换行")
    try:
        data = text.encode(sheet.encoding)
    except UnicodeEncodeError:
        raise ValueError(f"{what}：{called} 有 {sheet.encoding} 写不出的字") from None
    if not one.width:
        return data
    if len(data) > one.width:
        raise ValueError(f"{what}：{called} 超过 {one.width} 字节")
    if sheet.separator:
        return data
    pad = one.pad.encode()
    if one.align == "left":
        return data.ljust(one.width, pad)
    if one.pad == "0" and data[:1] == b"-":
        return b"-" + data[1:].rjust(one.width - 1, pad)
    return data.rjust(one.width, pad)


def _digest(algorithm: str, data: bytes) -> str:
    if algorithm == "crc32":
        return f"{zlib.crc32(data):08x}"
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


# --- reading


def read(sheet: Sheet, data: bytes) -> Records:
    """The rows of a file; a result's rows carry `result` (see `outcome`) beside their `outcome`.

    StatementError codes: too_large, empty, encoding, header, columns, amount, time, value,
    currency, digest, totals_differ.
    """
    if len(data) > MAX_FILE_BYTES:
        _refuse(1, "too_large", f"文件超过 {MAX_FILE_BYTES // 2**20} MB")
    lines = _lines(sheet, data)
    problems: list[StatementProblem] = []
    header, trailer = {}, {}
    start = len(data) - len(data.removeprefix(_BOM))
    if sheet.header:
        header = _record(sheet, sheet.header, 1, lines.pop(0), {}, problems)
    if sheet.trailer:
        if not lines:
            _refuse(1, "empty", "文件缺少明细或结尾")
        last = lines.pop()
        number = len(lines) + 1 + bool(sheet.header)
        before = data[start : data.rstrip(b"\r\n\x1a").rfind(b"\n") + 1]
        known = {"": before}
        trailer = _record(sheet, sheet.trailer, number, last, known, problems)
    rows = _rows(sheet, lines, 1 + bool(sheet.header), problems)
    if not problems:
        _check_totals(sheet, Records(header, rows, trailer), problems)
    if problems:
        raise StatementError(sorted(problems, key=lambda one: one.line))
    return Records(header, rows, trailer)


_BOM = b"\xef\xbb\xbf"


def _refuse(line: int, code: str, reason: str) -> None:
    raise StatementError([StatementProblem(line, code, reason)])


def _lines(sheet: Sheet, data: bytes) -> list[bytes]:
    """The lines without their endings; every byte must be in the file's encoding."""
    data = data.removeprefix(_BOM) if sheet.encoding == "utf-8" else data
    try:
        decode_text(data, sheet.encoding, sheet.encoding)
    except StatementError as error:
        _refuse(error.line, "encoding", f"不是 {sheet.encoding} 编码")
    found = [line.removesuffix(b"\r") for line in data.rstrip(b"\r\n\x1a").split(b"\n")]
    if found == [b""]:
        _refuse(1, "empty", "文件是空的")
    if len(found) > MAX_ROWS + 3:
        _refuse(MAX_ROWS, "too_large", f"超过 {MAX_ROWS} 行")
    return found


def _rows(
    sheet: Sheet, lines: Sequence[bytes], first: int, problems: list[StatementProblem]
) -> list[tuple[int, dict[str, Any]]]:
    places = None
    if sheet.titles:
        if not lines:
            _refuse(first, "header", "缺少列名行")
        places = _places(sheet, lines[0], first)
        lines, first = lines[1:], first + 1
    rows = []
    for number, line in enumerate(lines, first):
        row = _record(sheet, sheet.detail, number, line, {}, problems, places)
        if "outcome" in row:
            row["result"] = outcome(sheet, str(row["outcome"]))
        rows.append((number, row))
        if len(problems) >= MAX_PROBLEMS:
            break
    return rows


def _places(sheet: Sheet, line: bytes, number: int) -> list[int | None]:
    titles = [cell.strip() for cell in line.decode(sheet.encoding).split(sheet.separator)]
    missing = [f.title for f in sheet.detail if f.title not in titles and not f.optional]
    if missing:
        _refuse(number, "header", f"缺少列：{'、'.join(missing)}")
    return [titles.index(f.title) if f.title in titles else None for f in sheet.detail]


def _record(
    sheet: Sheet,
    fields: Sequence[Field],
    number: int,
    line: bytes,
    known: Mapping[str, bytes],
    problems: list[StatementProblem],
    places: Sequence[int | None] | None = None,
) -> dict[str, Any]:
    """One line's values; what is wrong goes to `problems`."""
    values: dict[str, Any] = {}
    try:
        cells = _cells(sheet, fields, line, places)
        for one, cell in zip(fields, cells, strict=True):
            if one.type == "digest":
                if _digest(one.value, known.get("", b"")) != cell.lower():
                    raise RowProblem("digest", "校验值与文件内容不符")
            else:
                values[one.name] = _read(one, cell)
    except RowProblem as problem:
        problems.append(StatementProblem(number, problem.code, problem.reason))
    return values


def _cells(
    sheet: Sheet, fields: Sequence[Field], line: bytes, places: Sequence[int | None] | None
) -> list[str]:
    if not sheet.separator:
        return _fixed(sheet, fields, line)
    cells = line.decode(sheet.encoding).split(sheet.separator)
    if sheet.closed and cells[-1] == "":
        cells.pop()
    if places is not None:
        if len(cells) <= max(place or 0 for place in places):
            raise RowProblem("columns", f"只有 {len(cells)} 列")
        return ["" if place is None else cells[place].strip() for place in places]
    if len(cells) != len(fields):
        raise RowProblem("columns", f"应有 {len(fields)} 列，实有 {len(cells)} 列")
    return [cell.strip() for cell in cells]


def _fixed(sheet: Sheet, fields: Sequence[Field], line: bytes) -> list[str]:
    whole = sum(one.width for one in fields)
    if len(line) != whole:
        raise RowProblem("columns", f"应为 {whole} 字节，实为 {len(line)} 字节")
    cells, at = [], 0
    for one in fields:
        piece, at = line[at : at + one.width], at + one.width
        try:
            text = piece.decode(sheet.encoding)
        except UnicodeDecodeError:
            raise RowProblem("columns", f"{one.title or one.name} 没有对齐") from None
        if one.type in ("int", "fen", "yuan"):
            cells.append(text.strip())
        else:
            cells.append(text.rstrip(one.pad) if one.align == "left" else text.lstrip(one.pad))
    return cells


def _read(one: Field, cell: str) -> Any:
    called = one.title or one.name
    if one.type == "const":
        if cell != one.value:
            raise RowProblem("columns", f"{called} 应为 {one.value}，实为 {cell[:20]!r}")
        return cell
    if not cell:
        if one.optional:
            return None
        raise RowProblem("value", f"{called} 是空的")
    if one.words:
        if cell not in one.words:
            code = "currency" if one.name == "currency" else "value"
            raise RowProblem(code, f"{called} 不认识 {cell[:20]!r}")
        return one.words[cell]
    return _typed(one, cell, called)


def _typed(one: Field, cell: str, called: str) -> Any:
    if one.type == "date":
        return _day(one.format, cell, called)
    if one.type == "yuan":
        try:
            return fen_from_yuan(cell)
        except ValueError:
            raise RowProblem("amount", f"{called} {cell[:24]!r} 不是金额") from None
    if one.type in ("int", "fen"):
        digits = cell.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise RowProblem("amount", f"{called} {cell[:24]!r} 不是整数")
        return int(cell)
    return cell


def _day(layout: str, cell: str, called: str) -> date:
    try:
        return datetime.strptime(cell, layout).date()
    except ValueError:
        raise RowProblem("time", f"{called} {cell[:24]!r} 不是日期") from None


def _check_totals(sheet: Sheet, found: Records, problems: list[StatementProblem]) -> None:
    """What header and trailer say of the rows must be so."""
    ours = totals([values for _, values in found.rows])
    last = found.rows[-1][0] + 1 if found.rows else 1
    for said, line in ((found.header, 1), (found.trailer, last)):
        for name in TOTALS:
            if said.get(name) is not None and said[name] != ours[name]:
                reason = f"{name} 写的是 {said[name]}，明细合计是 {ours[name]}"
                problems.append(StatementProblem(line, "totals_differ", reason))
    opening, closing = found.head("opening_fen"), found.head("closing_fen")
    if opening is not None and closing is not None:
        moved = ours["credit_fen"] - ours["debit_fen"]
        if opening + moved != closing:
            reason = f"期初 {opening} 加本日发生 {moved} 不等于期末 {closing}"
            problems.append(StatementProblem(last, "totals_differ", reason))
