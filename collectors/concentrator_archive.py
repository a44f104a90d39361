"""What a concentrator's archive and reading plans ought to be, and where they are not. Pure.

Rows and plans are as the codec writes them (AFN 04 F10, F33).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, Final

from collectors.frames.qgdw3761_archive import MOST_POINTS, meter_row
from collectors.reading import Asked

BEYOND = 20  # further indices that are looked at, for meters that are not ours
NO_ROW: Final = "row"
COMPARED: Final = ("point", "port_rate", "protocol", "address", "digits", "collector", "user_class")
LABELS: Final = {
    "point": "测量点号",
    "port_rate": "速率和端口",
    "protocol": "通信协议",
    "address": "表地址",
    "digits": "示值位数",
    "collector": "采集器地址",
    "user_class": "用户类号",
    NO_ROW: "档案",
    "reading_time": "抄表时间",
    "interval_min": "抄表间隔",
    "reading_days": "抄表日",
}

Row = dict[str, Any]


@dataclass(slots=True)
class Archive:
    """What a concentrator ought to hold: rows by index, and meters that can have none."""

    rows: dict[int, Row] = field(default_factory=dict)
    left_out: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, meters: Sequence[Asked]) -> Archive:
        """From the meters of its bus; a point claimed twice is nobody's."""
        archive = cls()
        for asked in meters:
            try:
                row = row_of(asked)
                if row["index"] in archive.rows:
                    raise ValueError(f"测量点 {row['index']} 已有另一块表")
                archive.rows[row["index"]] = row
            except ValueError as error:
                archive.left_out.append({"meter_id": asked.meter_id, "words": str(error)})
        return archive

    @property
    def ports(self) -> list[int]:
        """The terminal's ports these meters hang on."""
        return sorted({row["port_rate"] & 0x1F for row in self.rows.values()})


def row_of(asked: Asked) -> Row:
    """A meter's row (F10). Raises ValueError, in Chinese, where the archive can hold no such."""
    target, point = asked.target, asked.target.point
    if point is None:
        raise ValueError("未填写测量点号")
    return meter_row(
        point.number,
        target.protocol,
        target.address,
        target.meter_type,
        port=point.port,
        baud=point.baud,
        collector=point.collector,
    )


def plan_of(port: int, parameters: Mapping[str, Any]) -> Row:
    """A port's reading plan (F33): every day, every `interval_min` from `reading_time` on.

    Raises ValueError for an interval or a time that is none.
    """
    interval_min = int(parameters.get("interval_min", 60))
    if not 1 <= interval_min <= 255:
        raise ValueError(f"{interval_min} min between readings")
    return {
        "port": port,
        "control": "0000",
        "reading_days": "FFFFFF7F",
        "reading_time": time.fromisoformat(str(parameters.get("reading_time", "00:05"))),
        "interval_min": interval_min,
        "broadcast_time": "00 00:00",
        "periods": [{"start": time(0, 0), "end": time(23, 59)}],
    }


# --- differences -------------------------------------------------------------------------------


def difference(index: int, name: str, ours: Any, theirs: Any, *, what: str = "序号") -> Row:
    """One line of a comparison, with its sentence."""
    label = LABELS.get(name, name)
    return {
        "index": index,
        "field": name,
        "ours": as_json(ours),
        "theirs": as_json(theirs),
        "words": f"{what} {index}：{label}应为 {_shown(ours)}，集中器为 {_shown(theirs)}",
    }


def _shown(value: Any) -> str:
    return "无" if value is None else str(as_json(value))


def as_json(value: Any) -> Any:
    """Times and days as they are written."""
    if isinstance(value, time):
        return f"{value:%H:%M}"
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def compare(ours: Mapping[int, Row], theirs: Mapping[int, Row]) -> list[Row]:
    """Where an archive is not as it ought to be: rows missing or too many, values that differ."""
    found = []
    for index in sorted(ours.keys() | theirs.keys()):
        mine, its = ours.get(index), theirs.get(index)
        if mine is None or its is None:
            found.append(
                difference(index, NO_ROW, mine and mine["address"], its and its["address"])
            )
            continue
        found += [
            difference(index, name, mine[name], its.get(name))
            for name in COMPARED
            if its.get(name) != mine[name]
        ]
    return found


def compare_plans(ours: Iterable[Row], theirs: Mapping[int, Row]) -> list[Row]:
    """Where ports are not read as they ought to be."""
    found = []
    for plan in ours:
        its = theirs.get(plan["port"], {})
        found += [
            difference(plan["port"], name, plan[name], its.get(name), what="端口")
            for name in ("reading_time", "interval_min", "reading_days")
            if its.get(name) != plan[name]
        ]
    return found


def looked_at(archive: Archive) -> range:
    """The indices to read back: ours, and some behind them for meters that are not ours."""
    return range(1, min(MOST_POINTS, max(archive.rows, default=0) + BEYOND) + 1)
