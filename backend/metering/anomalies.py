"""异常读数: what is odd about readings lately, meter by meter, and what a person does about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from backend.base.db import db
from backend.metering.quality import USABLE

LOOK_BACK: Final = timedelta(days=30)
PAGE: Final = 50
MAX_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Meaning:
    """A flag as people call it, what it says, and what to do."""

    title: str
    says: str
    to_do: str


FLAGS: Final[Mapping[str, Meaning]] = {
    "reverse": Meaning(
        "读数倒退",
        "读数比上一次可信读数小，且不是满量程归零；不计入用量。",
        "到现场核对表号和读数：换过表的补登换表，抄错的更正读数。",
    ),
    "jump": Meaning(
        "读数突增",
        "两次读数之间的用量超过这块表一天可能的最大值；不计入用量，间隔够长后自动采信。",
        "核对现场读数；确实用了这么多的，请录入一条经确认的读数，或调整这块表的日最大用量。",
    ),
    "stuck": Meaning(
        "读数不走",
        "连续多日读数不变，而本表有流量，或同楼同类表至少一半在走；用量按零计，请核查。",
        "检查表计是否卡滞、电池耗尽或被短接；坏表请登记换表。",
    ),
    "impossible": Meaning(
        "超出量程",
        "读数超出表的量程，或温度不可能出现；不计入用量和温度曲线。",
        "检查传感器接线和表型设置；读数确有其事的，请改正表的量程。",
    ),
    "clock_drift": Meaning(
        "时钟偏差",
        "表的时钟与系统相差超过设定值；读数照常采用，但冻结时刻会偏。",
        "对所在总线执行校时；校不准的表请更换电池或换表。",
    ),
    "wrong_type": Meaning(
        "表型不符",
        "应答里没有档案所说的量，像是另一种表；不计入用量。",
        "核对档案中的表型、协议和型号配置，以及表号是否接错。",
    ),
    "out_of_order": Meaning(
        "迟到读数",
        "比已有读数更早的读数，后来才到；可信的照常采用，已结日会自动重算。",
        "一般无需处理；经常出现请检查采集器的网络和时钟。",
    ),
    "duplicate": Meaning(
        "同刻异值",
        "同一块表同一时刻已有另一个读数；后来的未采用，原始报文已保留。",
        "检查总线上是否有两块表用同一地址，或平台重复推送。",
    ),
    "unknown_meter": Meaning(
        "未知表",
        "收到了档案里没有的表的读数；原始报文已保留。",
        "核对表号后在档案里登记这块表，或查清它为何接在这里。",
    ),
}
# Readings that never became rows: refusals by their code -> the flag they are shown under.
REFUSED_AS: Final = {"duplicate": "duplicate", "unknown_device": "unknown_meter"}

_ODD = """
WITH odd AS (
    SELECT f.flag, r.meter_id, NULL::bigint AS bus_id, max(r.read_at) AS last_at,
           min(r.read_at) AS first_at, count(*) AS times, NULL::bigint AS refused_id
      FROM reading r CROSS JOIN LATERAL unnest(r.flags) AS f(flag)
     WHERE r.flags <> '{}' AND r.read_at > :since AND f.flag = ANY(:flags)
       AND NOT EXISTS (SELECT 1 FROM reading c WHERE c.meter_id = r.meter_id
                          AND c.read_at = r.read_at AND c.corrects_id = r.id)
     GROUP BY f.flag, r.meter_id
    UNION ALL
    SELECT CASE code WHEN 'duplicate' THEN 'duplicate' ELSE 'unknown_meter' END, meter_id, bus_id,
           max(at), min(at), count(*), max(id)
      FROM refused_frame WHERE code = ANY(:codes) AND at > :since
     GROUP BY code, meter_id, bus_id, CASE WHEN meter_id IS NULL THEN reason END
)
"""
_COUNTS = sa.text(f"{_ODD} SELECT flag, count(*) AS n FROM odd GROUP BY flag")
_ROWS = sa.text(f"""{_ODD}, page AS (
    SELECT * FROM odd WHERE CAST(:flag AS text) IS NULL OR flag = :flag
     ORDER BY last_at DESC, flag, meter_id NULLS LAST, refused_id LIMIT :limit OFFSET :offset
)
SELECT p.flag, p.meter_id, p.last_at, p.first_at, p.times, m.address, m.kind, b.name AS building,
       h.unit_no, bus.name AS bus, now_.id AS reading_id, now_.register, now_.room_cdeg,
       now_.supply_cdeg, now_.return_cdeg, before.register AS previous,
       before.read_at AS previous_at, s.clock_drift_s, x.reason,
       coalesce(now_.frame, x.frame) AS frame
  FROM page p
  LEFT JOIN meter m ON m.id = p.meter_id
  LEFT JOIN bus ON bus.id = coalesce(p.bus_id, m.bus_id)
  LEFT JOIN building b ON b.id = coalesce(m.building_id, bus.building_id)
  LEFT JOIN household h ON h.id = m.household_id
  LEFT JOIN meter_state s ON s.meter_id = p.meter_id
  LEFT JOIN refused_frame x ON x.id = p.refused_id
  LEFT JOIN LATERAL (
       SELECT * FROM reading r WHERE p.refused_id IS NULL AND r.meter_id = p.meter_id
          AND r.read_at = p.last_at AND p.flag = ANY(r.flags) LIMIT 1) now_ ON true
  LEFT JOIN LATERAL (
       SELECT r.register, r.read_at FROM reading r
        WHERE r.meter_id = p.meter_id AND r.read_at < p.last_at AND r.register IS NOT NULL
          AND r.read_at > p.last_at - interval '400 days' AND {USABLE}
        ORDER BY r.read_at DESC, r.corrects_id DESC LIMIT 1) before ON true
 ORDER BY p.last_at DESC, p.flag, p.meter_id NULLS LAST, p.refused_id
""")


@dataclass(frozen=True, slots=True)
class Anomalies:
    """One page of what is odd: a row a meter and flag, the newest first; how many by flag."""

    rows: list[Any]
    counts: dict[str, int]
    flag: str | None
    page: int

    @property
    def total(self) -> int:
        """Rows of the flag that is shown, on all pages."""
        return self.counts.get(self.flag, 0) if self.flag else sum(self.counts.values())

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // PAGE))


def recent(now: datetime, flag: str | None = None, page: int = 1) -> Anomalies:
    """What was odd in LOOK_BACK, of one flag or all; two statements whatever there is.

    Each row is a meter's newest reading with the flag, beside the usable one before it; a reading
    that has been corrected is left out.
    """
    which = {"since": now - LOOK_BACK, "flags": list(FLAGS), "codes": list(REFUSED_AS)}
    counts = {row.flag: row.n for row in db.session.execute(_COUNTS, which)}
    shown = {**which, "flag": flag, "limit": PAGE, "offset": (page - 1) * PAGE}
    rows = list(db.session.execute(_ROWS, shown))
    return Anomalies(rows, counts, flag, page)
