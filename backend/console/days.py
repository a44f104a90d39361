"""The day a page is asked for: `?day=2026-11-19`, checked."""

from __future__ import annotations

from datetime import date

from flask import request

from backend.base.errors import Problem

EARLIEST, LATEST = date(2000, 1, 1), date(2099, 12, 31)


def parse_day(text: str, latest: date) -> date:
    """An ISO day not before EARLIEST and not after `latest`; Problem validation otherwise."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Problem("validation", "日期格式应为 2026-11-20。", field="day") from None
    if not EARLIEST <= day <= latest:
        raise Problem("validation", f"日期不能晚于 {latest.isoformat()}。", field="day")
    return day


def asked_day(default: date, latest: date) -> date:
    """The day in the query string, or the default where none is given."""
    text = request.args.get("day", "").strip()
    return parse_day(text, latest) if text else default
