"""What came over a wire and was refused: all of it counted, a sample kept raw with its meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from backend.base.clock import business_day
from backend.base.db import changed, db
from backend.metering.models import RefusedCount, RefusedFrame

MAX_A_DAY: Final = 1000  # samples kept
MAX_BYTES, MAX_WORDS, MAX_CODE = 512, 500, 40
KEEP_FOR = timedelta(days=90)
COUNTS_KEPT_FOR = timedelta(days=400)
NO_BUS: Final = 0  # in the counts

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Bytes that were refused: why, on whose wire, asked of which meter in which protocol."""

    bus_id: int | None
    code: str
    reason: str
    frame: bytes
    at: datetime
    meter_id: int | None = None
    protocol: str | None = None


def keep(refused: Sequence[Refusal], explain: Callable[[Refusal], Rows]) -> int:
    """Count them all and keep the first, up to MAX_A_DAY in 24 hours; how many were kept.

    `explain` is asked only for those kept.  Three statements, however many there are.
    """
    if not refused:
        return 0
    _count(refused)
    newest = max(one.at for one in refused)
    day_ago = RefusedFrame.at > newest - timedelta(days=1)
    kept = db.session.scalar(sa.select(sa.func.count()).select_from(RefusedFrame).where(day_ago))
    rows = [_row(one, explain(one)) for one in refused[: max(0, MAX_A_DAY - (kept or 0))]]
    if rows:
        db.session.execute(sa.insert(RefusedFrame), rows)
    return len(rows)


def _row(one: Refusal, explained: Rows) -> dict[str, object]:
    return {
        "at": one.at,
        "bus_id": one.bus_id,
        "meter_id": one.meter_id,
        "protocol": one.protocol,
        "code": one.code[:MAX_CODE],
        "reason": one.reason[:MAX_WORDS],
        "frame": one.frame[:MAX_BYTES],
        "explained": explained,
    }


_COUNT = sa.text("""
INSERT INTO refused_count AS c (day, code, bus_id, count)
SELECT * FROM unnest(CAST(:days AS date[]), CAST(:codes AS text[]), CAST(:buses AS bigint[]),
                     CAST(:counts AS bigint[])) AS n(day, code, bus_id, count)
 ORDER BY 1, 2, 3
ON CONFLICT (day, code, bus_id) DO UPDATE SET count = c.count + excluded.count
""")


def _count(refused: Sequence[Refusal]) -> None:
    tally: Counter[tuple[date, str, int]] = Counter(
        (business_day(one.at), one.code[:MAX_CODE], one.bus_id or NO_BUS) for one in refused
    )
    days, codes, buses = zip(*tally, strict=True)
    counts = list(tally.values())
    db.session.execute(
        _COUNT, {"days": list(days), "codes": list(codes), "buses": list(buses), "counts": counts}
    )


def forget(now: datetime) -> int:
    """Delete samples KEEP_FOR old, and counts COUNTS_KEPT_FOR old; how many samples."""
    old_counts = RefusedCount.day < business_day(now - COUNTS_KEPT_FOR)
    db.session.execute(sa.delete(RefusedCount).where(old_counts))
    return changed(sa.delete(RefusedFrame).where(RefusedFrame.at < now - KEEP_FOR))
