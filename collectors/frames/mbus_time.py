"""M-Bus dates and times (EN 13757-3 Annex A, types F, G, I and J).

A meter's clock has no time zone; what is returned is the wall time it showed. `None` stands for
"invalid", "every day/month/year" and impossible dates alike: none of them is a moment.
"""

from __future__ import annotations

from datetime import date, datetime, time


def _year(low: int, century: int = 0) -> int:
    """Two-digit years up to 80 belong to 2000 unless the hundred-year bits say otherwise."""
    if century:
        return 1900 + 100 * century + low
    return 2000 + low if low <= 80 else 1900 + low


def type_g(data: bytes) -> date | None:
    """Two bytes: day 5 bits, month 4, year 7 (split 3 low, 4 high)."""
    low, high = data
    year = low >> 5 | (high & 0xF0) >> 1
    if year > 99:
        return None
    try:
        return date(_year(year), high & 0x0F, low & 0x1F)
    except ValueError:
        return None


def type_f(data: bytes) -> datetime | None:
    """Four bytes: minute, hour, type G date; bit 7 of the first byte marks an invalid time."""
    minute, hour, low, high = data
    year = low >> 5 | (high & 0xF0) >> 1
    if minute & 0x80 or year > 99:
        return None
    century = hour >> 5 & 3
    try:
        return datetime(_year(year, century), high & 0x0F, low & 0x1F, hour & 0x1F, minute & 0x3F)
    except ValueError:
        return None


def type_i(data: bytes) -> datetime | None:
    """Six bytes: second, minute (bit 7: invalid), hour, type G date, week and summer time."""
    second, minute, hour, low, high, _ = data
    year = low >> 5 | (high & 0xF0) >> 1
    if minute & 0x80 or year > 99:
        return None
    try:
        return datetime(
            _year(year), high & 0x0F, low & 0x1F, hour & 0x1F, minute & 0x3F, second & 0x3F
        )
    except ValueError:
        return None


def type_j(data: bytes) -> time | None:
    """Three bytes: second, minute, hour."""
    second, minute, hour = data
    try:
        return time(hour & 0x1F, minute & 0x3F, second & 0x3F)
    except ValueError:
        return None


BY_LENGTH = {2: type_g, 3: type_j, 4: type_f, 6: type_i}


def encode_type_g(day: date) -> bytes:
    """A date as type G; raises ValueError outside 1981..2080."""
    return _date_bytes(day)


def encode_type_f(moment: datetime) -> bytes:
    """A minute as type F (seconds are dropped); raises ValueError outside 1981..2080."""
    return bytes((moment.minute, moment.hour)) + _date_bytes(moment)


def _date_bytes(day: date) -> bytes:
    if not 1981 <= day.year <= 2080:
        raise ValueError(f"year {day.year} does not fit a two-digit M-Bus year")
    year = day.year % 100
    return bytes((day.day | (year & 7) << 5, day.month | (year & 0x78) << 1))
