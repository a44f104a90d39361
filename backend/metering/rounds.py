"""A round for the handheld or the clipboard (抄表册): the live meters of a region or building as
a table which, filled in, is imported again as it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from backend.archive.models import Building, Bus, Household, Meter
from backend.base.clock import SHANGHAI
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering.models import MeterState
from backend.metering.runs import chosen
from backend.metering.tables import MAX_ROWS

SCOPES: Final = ("region", "building")
ENCODINGS: Final = {"utf-8": "utf-8-sig", "gbk": "gb18030"}  # a mark, or Excel takes it for GBK
# The titles the table layout imports by stand among those a reader finds the meter by.
TITLES: Final = (
    "楼栋", "房号", "户号", "类型名", "表地址", "总线", "上次读数", "上次时间", "抄表时间", "读数",
    "单位", "备注",
)  # fmt: skip
KINDS: Final = {"heat": "热量表", "water": "水表", "gas": "燃气表", "electricity": "电表"}
# The unit a person reads a meter's face in, and what one is in the register's.
FACES: Final = {
    "heat": ("kWh", 1000),
    "electricity": ("kWh", 1000),
    "water": ("m3", 1000),
    "gas": ("m3", 1000),
}
CHUNK: Final = 1_000


def round_of(scope: str, scope_id: int) -> tuple[str, Iterator[Sequence[str]]]:
    """What was chosen is called, and the rows of its round, titles first, in walking order.

    Problems not_found, no_meters where none is live, round_too_large.
    """
    if scope not in SCOPES:
        raise Problem("not_found")
    meters, title = chosen(scope, [scope_id])
    wanted = (meters, Meter.removed_on.is_(None), Meter.kind.in_(KINDS))
    count = db.session.scalar(sa.select(sa.func.count()).select_from(Meter).where(*wanted)) or 0
    if count == 0:
        raise Problem("no_meters")
    if count > MAX_ROWS:
        raise Problem("round_too_large", f"共 {count} 块表，超过 {MAX_ROWS}，请分区域导出。")
    return title, _rows(wanted)


def _rows(wanted: tuple[sa.ColumnElement[bool], ...]) -> Iterator[Sequence[str]]:
    yield TITLES
    found = db.session.execute(
        sa.select(
            Building.code,
            Building.name,
            Household.unit_no,
            Household.account_no,
            Meter.kind,
            Meter.address,
            Bus.code.label("bus"),
            MeterState.register,
            MeterState.last_ok_at,
        )
        .join(Building, Building.id == Meter.building_id)
        .join(Bus, Bus.id == Meter.bus_id)
        .outerjoin(Household, Household.id == Meter.household_id)
        .outerjoin(MeterState, MeterState.meter_id == Meter.id)
        .where(*wanted)
        .order_by(Building.code, Household.floor.nulls_first(), Household.unit_no, Meter.id)
        .execution_options(yield_per=CHUNK)
    )
    for row in found:
        yield _row(row)


def _row(row: Any) -> Sequence[str]:
    unit, worth = FACES[row.kind]
    seen = "" if row.last_ok_at is None else f"{row.last_ok_at.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    register = "" if row.register is None else f"{row.register // worth}.{row.register % worth:03d}"
    cells = (
        f"{row.code} {row.name}",
        row.unit_no or "",
        row.account_no or "",
        KINDS[row.kind],
        row.address,
        row.bus,
        register,
        seen,
        "",
        "",
        unit,
        "",
    )
    return tuple(map(_harmless, cells))


def _harmless(cell: str) -> str:
    """A cell no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def as_csv(rows: Iterator[Sequence[str]], encoding: str) -> Iterator[bytes]:
    """The rows as a CSV in chunks; `encoding` is one of ENCODINGS.

    What GBK cannot say is a question mark; an address is ASCII.
    """
    coding = ENCODINGS[encoding]
    text = io.StringIO(newline="")
    write = csv.writer(text).writerow
    for count, row in enumerate(rows):
        write(row)
        if count % CHUNK == 0:
            yield _emptied(text, coding, is_first=count == 0)
    yield _emptied(text, coding, is_first=False)


def _emptied(text: io.StringIO, coding: str, *, is_first: bool) -> bytes:
    found = text.getvalue()
    text.seek(0)
    text.truncate()
    return found.encode(coding if is_first else coding.removesuffix("-sig"), "replace")
