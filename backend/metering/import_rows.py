"""One row of a file of readings: its cells become an address, a moment and a number, or it is
refused with a code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from backend.base.clock import SHANGHAI
from backend.metering import service, tables
from backend.metering.file_layouts import Layout

CLOCK_SLACK = timedelta(minutes=5)
MAX_FREEZE_AGE = timedelta(days=400)  # twelve months of them are kept in a meter
# How a row's own column says what it is.
KIND_WORDS: Final = {
    "": "", "manual": "manual", "抄表": "manual", "人工": "manual", "当前": "manual",
    "freeze": "freeze", "冻结": "freeze", "日冻结": "freeze", "月冻结": "freeze",
}  # fmt: skip
Cells = dict[str, tables.Cell]


class Refused(Exception):
    """A row that is not taken: the field at fault and a code."""

    def __init__(self, field: str, code: str):
        super().__init__(code)
        self.field, self.code = field, code


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row that can be read; whose meter it is, nobody has looked yet."""

    line: int
    address: str
    bus: str
    at: datetime
    number: Decimal
    unit: str
    note: str | None
    kind: str


def is_blank(cells: Cells, layout: Layout) -> bool:
    """Whether a round's row was never filled in: neither when nor what."""
    filled = [name for name in layout.needed if name not in ("address", "unit")]
    return all(cells.get(name) in (None, "") for name in filled)


def row_of(line: int, cells: Cells, layout: Layout, now: datetime) -> ImportRow:
    """The row a line's cells say. Raises Refused."""
    for name in layout.needed:
        if cells.get(name) in (None, ""):
            raise Refused(name, "missing")
    kind = _kind(cells.get("kind"), layout)
    when = "read_on" if "read_on" in layout.columns else "read_at"
    at = _moment(_when(cells, when), layout.formats, when)
    _in_time(at, kind, when, now)
    return ImportRow(
        line,
        _address(cells["address"]),
        str(cells.get("bus") or ""),
        at,
        _number(cells["register"]),
        str(cells.get("unit") or layout.unit).lower(),
        str(cells.get("note") or "")[:200] or None,
        kind,
    )


def _kind(cell: tables.Cell, layout: Layout) -> str:
    word = str(cell or "").lower()
    if word not in KIND_WORDS:
        raise Refused("kind", "unknown_kind")
    return KIND_WORDS[word] or layout.kind


def _in_time(at: datetime, kind: str, field: str, now: datetime) -> None:
    if at > now + CLOCK_SLACK:
        raise Refused(field, "in_future")
    if at < now - (MAX_FREEZE_AGE if kind == "freeze" else service.MAX_BACKDATED):
        raise Refused(field, "too_old")
    if kind == "freeze" and at.astimezone(SHANGHAI).time() != time():
        raise Refused(field, "no_midnight")


def _address(cell: tables.Cell) -> str:
    """As text; a spreadsheet may have made a number of it."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).upper()


def _when(cells: Cells, field: str) -> tables.Cell:
    """The moment in one cell, or of a day and a clock in two."""
    day = cells[field]
    if field == "read_at":
        return day
    clock = cells["read_clock"]
    if isinstance(day, datetime) and isinstance(clock, time):
        return datetime.combine(day.date(), clock)
    day = f"{day:%Y-%m-%d}" if isinstance(day, datetime) else day
    return f"{day} {clock:%H:%M:%S}" if isinstance(clock, time) else f"{day} {clock}"


def _moment(cell: tables.Cell, formats: tuple[str, ...], field: str) -> datetime:
    """A local (Shanghai) time, or one that names its zone."""
    if isinstance(cell, datetime):
        return _shanghai(cell)
    for form in formats:
        try:
            return _shanghai(datetime.strptime(str(cell), form))
        except ValueError:
            continue
    try:
        at = datetime.fromisoformat(str(cell))
    except ValueError:
        raise Refused(field, "bad_time") from None
    if at.tzinfo is None:
        raise Refused(field, "bad_time")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise Refused(field, "bad_time") from None


def _shanghai(local: datetime) -> datetime:
    try:
        return local.replace(tzinfo=SHANGHAI).astimezone(UTC)
    except OverflowError as error:  # the year 1, which is before Shanghai's
        raise ValueError("no such time") from error


def _number(cell: tables.Cell) -> Decimal:
    try:
        number = Decimal(str(cell))
    except InvalidOperation:
        raise Refused("register", "not_a_number") from None
    if not number.is_finite() or isinstance(cell, bool):
        raise Refused("register", "not_a_number")
    if abs(number.adjusted()) > 20:  # before anyone computes with 1E999999999
        raise Refused("register", "impossible")
    return number
