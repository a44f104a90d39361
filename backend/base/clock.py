"""Time: instants are UTC, business days are Asia/Shanghai, and the clock is always passed in."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")


class Clock(Protocol):
    """Anything that can tell the time; tests pass a `FixedClock`."""

    def now(self) -> datetime:
        """The current instant, timezone-aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is set or moved."""

    def __init__(self, at: datetime):
        self.at = at.astimezone(UTC)

    def now(self) -> datetime:
        return self.at

    def advance(self, **delta: float) -> datetime:
        """Move on by timedelta(**delta) and return the new instant."""
        self.at += timedelta(**delta)
        return self.at


def business_day(at: datetime) -> date:
    """The Asia/Shanghai calendar day an instant belongs to."""
    return at.astimezone(SHANGHAI).date()


def day_start(day: date) -> datetime:
    """The instant (UTC) at which a business day begins."""
    return datetime.combine(day, time.min, SHANGHAI).astimezone(UTC)


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The half-open interval [start, end) of a business day, in UTC."""
    return day_start(day), day_start(day + timedelta(days=1))


def second_of_day(at: datetime) -> int:
    """Seconds since local midnight, 0..86399."""
    local = at.astimezone(SHANGHAI)
    return local.hour * 3600 + local.minute * 60 + local.second


def month_start(day: date) -> date:
    """The first day of the month `day` is in."""
    return day.replace(day=1)


def add_months(day: date, months: int) -> date:
    """The first of the month `months` after (or before) the month `day` is in."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
