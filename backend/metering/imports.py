"""Readings from a file (a handheld's, the reader app's, a spreadsheet): all of them or none.

Columns by name, in any order, Chinese or English: COLUMNS.  Every bad row is reported with its
line, field, a stable code and a sentence; a reading already stored is counted, not stored again.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import islice
from typing import IO

import sqlalchemy as sa

from backend.archive.models import Bus, Meter
from backend.base.clock import SHANGHAI
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import round_half_up
from backend.metering import closing, quality, service, tables
from backend.metering.service import NewReading
from backend.people.service import Principal, audit

COLUMNS = {
    "address": ("表地址", "表号", "address"),
    "read_at": ("抄表时间", "时间", "read_at"),
    "register": ("读数", "表底", "register"),
    "unit": ("单位", "unit"),
    "bus": ("总线", "bus"),
    "note": ("备注", "note"),
}
NEEDED = ("address", "read_at", "register", "unit")
_VOLUME = {"l": 1, "升": 1, "m3": 1000, "m³": 1000, "立方米": 1000, "方": 1000}
_ENERGY = {"wh": 1, "kwh": 1000, "千瓦时": 1000, "度": 1000, "mwh": 10**6}
# kind -> unit as written -> what one of it is in the register's own unit (Wh or litres)
UNITS: dict[str, dict[str, int | Fraction]] = {
    "heat": {**_ENERGY, "gj": Fraction(10**9, 3600)},
    "electricity": {**_ENERGY},
    "water": {**_VOLUME, "吨": 1000, "t": 1000},
    "gas": {**_VOLUME},
}
SENTENCES = {
    "missing": "这一格不能为空。",
    "unknown_meter": "没有这块表，或那时它不在用。",
    "ambiguous_meter": "有几块表使用这个地址，请填写总线。",
    "wrong_unit": "单位与这块表不符。",
    "not_a_number": "读数不是数字。",
    "impossible": "读数超出了表的量程。",
    "bad_time": "时间不对，请写成 2026-11-20 08:30。",
    "in_future": "抄表时间晚于现在。",
    "too_old": "抄表时间太早，超出可补录的范围。",
    "conflict_in_file": "文件里这块表在同一时间有两个不同的读数。",
    "conflict_stored": "系统里这块表在这个时间已有不同的读数，请用更正。",
    "reverse": "读数比上次小，已存但不计用量。",
    "jump": "读数比上次大得不合常理，请核对。",
}
CHUNK = 5_000
MAX_REPORTED = 1_000
CLOCK_SLACK = timedelta(minutes=5)
FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M")


@dataclass(frozen=True, slots=True)
class RowNote:
    """What is wrong (or doubtful) with a row: line as counted in the file, field, code."""

    line: int
    field: str
    code: str

    @property
    def sentence(self) -> str:
        """In plain Chinese."""
        return SENTENCES[self.code]


@dataclass(slots=True)
class Report:
    """What became of a file; `errors` and `doubtful` list the first MAX_REPORTED."""

    rows: int = 0
    stored: int = 0
    duplicates: int = 0
    error_count: int = 0
    errors: list[RowNote] = field(default_factory=list)
    doubtful: list[RowNote] = field(default_factory=list)

    def refuse(self, note: RowNote) -> None:
        """Count a bad row."""
        self.error_count += 1
        if len(self.errors) < MAX_REPORTED:
            self.errors.append(note)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    address: str
    bus: str
    at: datetime
    number: Decimal
    unit: str
    note: str | None


class _Refused(Exception):
    def __init__(self, field: str, code: str):
        self.field, self.code = field, code


Seen = dict[tuple[int, datetime], tuple[int, int]]  # (meter, moment) -> register, line


def import_readings(
    file: IO[bytes], name: str, staff_id: int, now: datetime, *, dry_run: bool
) -> Report:
    """Take in every reading of a file, or none where one row is bad; a dry run takes in none.

    Problem import_too_large, import_unreadable, import_columns.  Audited where stored.
    """
    report = Report()
    whole = db.session.begin_nested()
    with contextlib.closing(tables.rows(file)) as rows:
        _take_in(rows, report, staff_id, now)
    if dry_run or report.error_count:
        whole.rollback()
        if report.error_count:
            report.stored = 0
        return report
    whole.commit()
    audit(
        "readings.imported", "file", name[:200], Principal("staff", staff_id), now=now,
        rows=report.rows, stored=report.stored, duplicates=report.duplicates,
    )  # fmt: skip
    return report


def _take_in(rows: Iterator[tables.Row], report: Report, staff_id: int, now: datetime) -> None:
    """Check and store chunk by chunk; once a row is bad the rest is only checked."""
    seen: Seen = {}
    parsed = _parsed(rows, report, now)
    while chunk := list(islice(parsed, CHUNK)):
        readings = _checked(chunk, report, seen, staff_id)
        if readings and report.error_count == 0:
            report.stored += _store(readings, report)


def _store(readings: dict[int, NewReading], report: Report) -> int:
    """Store a chunk (line -> reading), noting what is doubtful about it; returns how many new."""
    lines = {(r.meter_id, r.read_at): line for line, r in readings.items()}
    for reading in quality.flag(list(readings.values())):
        for flag in ("reverse", "jump"):
            if flag in reading.flags and len(report.doubtful) < MAX_REPORTED:
                line = lines[reading.meter_id, reading.read_at]
                report.doubtful.append(RowNote(line, "register", flag))
    return service.record(list(readings.values())).stored


def _parsed(rows: Iterator[tables.Row], report: Report, now: datetime) -> Iterator[_Row]:
    """The rows that can be read at all; the others go into the report."""
    columns = _columns(next(rows, (0, []))[1])
    for line, cells in rows:
        report.rows += 1
        padded = [*cells, *[None] * (tables.MAX_COLUMNS - len(cells))]
        try:
            yield _row(line, {name: padded[index] for name, index in columns.items()}, now)
        except _Refused as refused:
            report.refuse(RowNote(line, refused.field, refused.code))


def _columns(head: Sequence[tables.Cell]) -> dict[str, int]:
    """Field -> which column it stands in; Problem import_columns where one is missing."""
    titles = [str(title or "").strip().lower() for title in head]
    found = {
        name: titles.index(title)
        for name, names in COLUMNS.items()
        for title in names[::-1]
        if title in titles
    }
    missing = [COLUMNS[name][0] for name in NEEDED if name not in found]
    if missing:
        raise Problem("import_columns", f"表头缺少：{'、'.join(missing)}。")
    return found


def _row(line: int, cells: dict[str, tables.Cell], now: datetime) -> _Row:
    for name in NEEDED:
        if cells[name] in (None, ""):
            raise _Refused(name, "missing")
    at = _moment(cells["read_at"])
    if at > now + CLOCK_SLACK:
        raise _Refused("read_at", "in_future")
    if at < now - service.MAX_BACKDATED:
        raise _Refused("read_at", "too_old")
    return _Row(
        line,
        _address(cells["address"]),
        str(cells.get("bus") or ""),
        at,
        _number(cells["register"]),
        str(cells["unit"]).lower(),
        str(cells.get("note") or "")[:200] or None,
    )


def _address(cell: tables.Cell) -> str:
    """As text; a spreadsheet may have made a number of it."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).upper()


def _moment(cell: tables.Cell) -> datetime:
    """A local (Shanghai) time, or one that names its zone."""
    if isinstance(cell, datetime):
        return _shanghai(cell)
    for form in FORMATS:
        try:
            return _shanghai(datetime.strptime(str(cell), form))
        except ValueError:
            continue
    try:
        at = datetime.fromisoformat(str(cell))
    except ValueError:
        raise _Refused("read_at", "bad_time") from None
    if at.tzinfo is None:
        raise _Refused("read_at", "bad_time")
    return at.astimezone(UTC)


def _shanghai(local: datetime) -> datetime:
    return local.replace(tzinfo=SHANGHAI).astimezone(UTC)


def _number(cell: tables.Cell) -> Decimal:
    try:
        number = Decimal(str(cell))
    except InvalidOperation:
        raise _Refused("register", "not_a_number") from None
    if not number.is_finite() or isinstance(cell, bool):
        raise _Refused("register", "not_a_number")
    if abs(number.adjusted()) > 20:  # before anyone computes with 1E999999999
        raise _Refused("register", "impossible")
    return number


def _checked(
    chunk: Sequence[_Row], report: Report, seen: Seen, staff_id: int
) -> dict[int, NewReading]:
    """Line -> reading of what is new in a chunk."""
    meters = _meters({row.address for row in chunk})
    found: dict[int, NewReading] = {}
    for row in chunk:
        try:
            meter = _meter_of(row, meters.get(row.address.lstrip("0"), []))
            reading = _reading(row, meter, staff_id)
        except _Refused as refused:
            report.refuse(RowNote(row.line, refused.field, refused.code))
            continue
        key, register = (reading.meter_id, reading.read_at), reading.register
        assert register is not None
        before = seen.setdefault(key, (register, row.line))
        if before[1] == row.line:
            found[row.line] = reading
        elif before[0] == register:
            report.duplicates += 1
        else:
            report.refuse(RowNote(row.line, "register", "conflict_in_file"))
    return _not_stored_yet(found, report)


_STORED = sa.text("""
    SELECT r.meter_id, r.read_at, r.register
      FROM unnest(CAST(:meters AS bigint[]), CAST(:moments AS timestamptz[]))
           AS n(meter_id, read_at)
      JOIN reading r USING (meter_id, read_at)
     WHERE r.kind = 'manual' AND r.read_at BETWEEN :first AND :last
""")


def _not_stored_yet(found: dict[int, NewReading], report: Report) -> dict[int, NewReading]:
    """Without those already stored, which are counted, or refused where the register differs."""
    if not found:
        return {}
    moments = [r.read_at for r in found.values()]
    rows = db.session.execute(
        _STORED,
        {
            "meters": [r.meter_id for r in found.values()],
            "moments": moments,
            "first": min(moments),
            "last": max(moments),
        },
    )
    stored = {(row.meter_id, row.read_at): row.register for row in rows}
    fresh = {}
    for line, reading in found.items():
        register = stored.get((reading.meter_id, reading.read_at))
        if register is None:
            fresh[line] = reading
        elif register == reading.register:
            report.duplicates += 1
        else:
            report.refuse(RowNote(line, "register", "conflict_stored"))
    return fresh


Known = list[tuple[Meter, str]]


def _meters(addresses: Iterable[str]) -> dict[str, Known]:
    """Address without leading zeros (spreadsheets eat them) -> meters and their buses' codes."""
    plain = {address.lstrip("0") for address in addresses}
    rows = db.session.execute(
        sa.select(Meter, Bus.code)
        .join(Bus, Bus.id == Meter.bus_id)
        .where(sa.func.ltrim(sa.func.upper(Meter.address), "0").in_(plain))
    )
    found: dict[str, Known] = defaultdict(list)
    for meter, bus in rows:
        found[meter.address.upper().lstrip("0")].append((meter, bus))
    return found


def _meter_of(row: _Row, candidates: Known) -> Meter:
    """The one meter of that address which was in service at that moment."""
    there = [
        (meter, bus)
        for meter, bus in candidates
        if closing.in_service([meter], row.at, row.at + timedelta(microseconds=1))
        and row.bus in ("", bus)
    ]
    exact = [(m, bus) for m, bus in there if m.address.upper() == row.address]
    chosen = exact or there
    if not chosen:
        raise _Refused("address", "unknown_meter")
    if len(chosen) > 1:
        raise _Refused("address", "ambiguous_meter")
    return chosen[0][0]


def _reading(row: _Row, meter: Meter, staff_id: int) -> NewReading:
    factor = UNITS.get(meter.kind, {}).get(row.unit)
    if factor is None:
        raise _Refused("unit", "wrong_unit")
    register = round_half_up(Fraction(row.number) * factor)
    if not 0 <= register < (meter.register_max or quality.REGISTER_MAX):
        raise _Refused("register", "impossible")
    return NewReading(
        meter.id,
        row.at,
        "import",
        kind="manual",
        register=register,
        author_id=staff_id,
        reason=row.note,
    )
