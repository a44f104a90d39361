"""Readings from a file (a handheld's, the reader app's, a spreadsheet): all of them or none.

Which column is what, a layout says (`file_layouts`).  Every bad row is reported with its line,
field, a stable code and a sentence; a reading already stored is counted, not stored again.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import islice
from typing import IO

import sqlalchemy as sa

from backend.archive.models import Bus, Meter
from backend.base.db import db
from backend.base.money import round_half_up
from backend.metering import closing, import_rows, quality, service, tables
from backend.metering.batch import Batch
from backend.metering.file_layouts import DEFAULT, Layout, layouts
from backend.metering.import_rows import ImportRow, Refused
from backend.metering.service import NewReading
from backend.people.service import Principal, audit

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
    "no_midnight": "冻结读数的时间须是某日 00:00，或只写日期。",
    "unknown_kind": "类型只能是 抄表 或 冻结。",
    "reverse": "读数比上次小，已存但不计用量。",
    "jump": "读数比上次大得不合常理，请核对。",
}
CHUNK = 5_000
MAX_REPORTED = 1_000


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
    """What became of a file; `errors` and `doubtful` list the first MAX_REPORTED.

    blank: rows of a round nobody filled in.
    """

    rows: int = 0
    blank: int = 0
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


Key = tuple[int, datetime, str]  # meter, moment, kind
Seen = dict[Key, tuple[int, int]]  # -> register, line


def import_readings(
    file: IO[bytes],
    name: str,
    staff_id: int,
    now: datetime,
    *,
    dry_run: bool,
    layout: Layout | None = None,
) -> Report:
    """Take in every reading of a file, or none where one row is bad; a dry run takes in none.

    Problem import_too_large, import_unreadable, import_columns.  Audited where stored.
    """
    layout = layout or layouts()[DEFAULT]
    report = Report()
    whole = db.session.begin_nested()
    found = tables.rows(file, separator=layout.separator, widths=layout.widths)
    with contextlib.closing(found) as rows:
        _take_in(_parsed(rows, layout, report, now), layout, report, staff_id)
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


def _take_in(parsed: Iterator[ImportRow], layout: Layout, report: Report, staff_id: int) -> None:
    """Check and store chunk by chunk; once a row is bad the rest is only checked."""
    seen: Seen = {}
    while chunk := list(islice(parsed, CHUNK)):
        readings = _checked(chunk, layout, report, seen, staff_id)
        if readings and report.error_count == 0:
            report.stored += _store(readings, report)


def _store(readings: dict[int, NewReading], report: Report) -> int:
    """Store a chunk (line -> reading), noting what is doubtful about it; returns how many new."""
    lines = {_key(r): line for line, r in readings.items()}
    for reading in quality.flag(Batch.of(list(readings.values()))):
        for flag in ("reverse", "jump"):
            if flag in reading.flags and len(report.doubtful) < MAX_REPORTED:
                line = lines[_key(reading)]
                report.doubtful.append(RowNote(line, "register", flag))
    return service.record(list(readings.values())).stored


def _key(reading: NewReading) -> Key:
    return reading.meter_id, reading.read_at, reading.kind


def _parsed(
    rows: Iterator[tables.Row], layout: Layout, report: Report, now: datetime
) -> Iterator[ImportRow]:
    """The rows that can be read at all; the others go into the report."""
    places = layout.places(next(rows, None) if layout.has_header else None)
    for line, cells in rows:
        report.rows += 1
        padded = [*cells, *[None] * (tables.MAX_COLUMNS - len(cells))]
        named = {name: padded[index] for name, index in places.items()}
        if import_rows.is_blank(named, layout):
            report.blank += 1
            continue
        try:
            yield import_rows.row_of(line, named, layout, now)
        except Refused as refused:
            report.refuse(RowNote(line, refused.field, refused.code))


def _checked(
    chunk: Sequence[ImportRow], layout: Layout, report: Report, seen: Seen, staff_id: int
) -> dict[int, NewReading]:
    """Line -> reading of what is new in a chunk."""
    meters = _meters({row.address for row in chunk})
    found: dict[int, NewReading] = {}
    for row in chunk:
        try:
            meter = _meter_of(row, meters.get(row.address.lstrip("0"), []))
            reading = _reading(row, layout.scale, meter, staff_id)
        except Refused as refused:
            report.refuse(RowNote(row.line, refused.field, refused.code))
            continue
        register = reading.register
        assert register is not None
        before = seen.setdefault(_key(reading), (register, row.line))
        if before[1] == row.line:
            found[row.line] = reading
        elif before[0] == register:
            report.duplicates += 1
        else:
            report.refuse(RowNote(row.line, "register", "conflict_in_file"))
    return _not_stored_yet(found, report)


_STORED = sa.text("""
    SELECT r.meter_id, r.read_at, r.kind, r.register
      FROM unnest(CAST(:meters AS bigint[]), CAST(:moments AS timestamptz[]),
                  CAST(:kinds AS text[])) AS n(meter_id, read_at, kind)
      JOIN reading r USING (meter_id, read_at, kind)
     WHERE r.corrects_id = 0 AND r.read_at BETWEEN :first AND :last
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
            "kinds": [r.kind for r in found.values()],
            "first": min(moments),
            "last": max(moments),
        },
    )
    stored = {(row.meter_id, row.read_at, row.kind): row.register for row in rows}
    fresh = {}
    for line, reading in found.items():
        register = stored.get(_key(reading))
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


def _meter_of(row: ImportRow, candidates: Known) -> Meter:
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
        raise Refused("address", "unknown_meter")
    if len(chosen) > 1:
        raise Refused("address", "ambiguous_meter")
    return chosen[0][0]


def _reading(row: ImportRow, scale: Fraction, meter: Meter, staff_id: int) -> NewReading:
    factor = UNITS.get(meter.kind, {}).get(row.unit)
    if factor is None:
        raise Refused("unit", "wrong_unit")
    register = round_half_up(Fraction(row.number) * scale * factor)
    if not 0 <= register < (meter.register_max or quality.REGISTER_MAX):
        raise Refused("register", "impossible")
    return NewReading(
        meter.id,
        row.at,
        "import",
        kind=row.kind,
        register=register,
        author_id=staff_id,
        reason=row.note,
    )
