"""What a concentrator can be asked to take on: its meters' archive and reading plans."""

from __future__ import annotations

import re
from typing import Any, Final

from backend.base.errors import Problem

SCHEME: Final = "concentrator://"
ACTIONS: Final = ("download", "read_back")
INTERVAL_MIN, READING_TIME = 60, "00:05"
MAX_INTERVAL_MIN: Final = 255
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def parameters(
    *,
    interval_min: int | None = None,
    reading_time: str | None = None,
    remove_others: bool = False,
) -> dict[str, Any]:
    """A download's or read-back's parameters: how often the terminal reads, from when on, and
    whether rows that are not ours are taken out.  Problem validation, naming the field."""
    minutes = INTERVAL_MIN if interval_min is None else interval_min
    if not 1 <= minutes <= MAX_INTERVAL_MIN:
        words = f"抄表间隔为 1 到 {MAX_INTERVAL_MIN} 分钟。"
        raise Problem("validation", words, field="interval_min")
    moment = reading_time or READING_TIME
    if not _TIME.fullmatch(moment):
        raise Problem("validation", "抄表时刻格式应为 00:05。", field="reading_time")
    return {"interval_min": minutes, "reading_time": moment, "remove_others": remove_others}
