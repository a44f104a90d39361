"""Local wall-clock arithmetic shared by the models; Asia/Shanghai has no summer time."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from collectors.dialects import LOCAL

__all__ = ["DAY_S", "LOCAL", "STEPS", "STEP_S", "day_number", "local_seconds"]

DAY_S: Final = 86_400
STEP_S: Final = 600
STEPS: Final = DAY_S // STEP_S
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


def local_seconds(now: datetime) -> int:
    """Seconds of the local wall clock since 1970. Raises ValueError for a naive time."""
    if now.tzinfo is None:
        raise ValueError("the clock must know its time zone")
    return int(now.timestamp()) + 8 * 3_600


def day_number(day: date) -> int:
    """Local days since 1970."""
    return day.toordinal() - _EPOCH_ORDINAL
