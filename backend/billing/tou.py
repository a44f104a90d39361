"""Time-of-use electricity (峰谷分时): a price by the hour and the season."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from backend.base.exact import Number, exact
from backend.billing.lines import Line, priced

DAY_MIN = 1440
MAX_MIN = 366 * DAY_MIN
TITLES_ZH = {"sharp": "尖峰电量", "peak": "高峰电量", "flat": "平段电量", "valley": "低谷电量"}


@dataclass(frozen=True, slots=True)
class TouRule:
    """`period` holds in [from_min, to_min) of the local day, in `months` (empty: all year).

    Where `to_min` is not above `from_min` it crosses midnight; the month is that of the moment.
    """

    period: str
    from_min: int
    to_min: int
    months: frozenset[int] = frozenset()

    def holds(self, minute: int, month: int) -> bool:
        """Whether the rule holds at that minute of a day in that month."""
        if self.months and month not in self.months:
            return False
        if self.from_min < self.to_min:
            return self.from_min <= minute < self.to_min
        return minute >= self.from_min or minute < self.to_min


@dataclass(frozen=True, slots=True)
class Interval:
    """`energy_kwh` used evenly over `minutes` from `start`, local wall-clock time."""

    start: datetime
    minutes: Number
    energy_kwh: Number


def minute_of(text: str) -> int:
    """'07:30' -> 450; '24:00' is the end of the day. Raises ValueError."""
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2):
        raise ValueError(f"{text!r} is not a time of day")
    minute = int(hours) * 60 + int(minutes)
    if minute > DAY_MIN or int(minutes) > 59:
        raise ValueError(f"{text!r} is not a time of day")
    return minute


def energy_by_period(
    schedule: Sequence[TouRule], intervals: Sequence[Interval]
) -> dict[str, Fraction]:
    """kWh in each period of the schedule; the first rule that holds wins.

    An interval over a boundary is split evenly by time. Raises ValueError where no rule holds.
    """
    energy = {rule.period: Fraction(0) for rule in schedule}
    for interval in intervals:
        minutes = exact(interval.minutes)
        if not 0 < minutes <= MAX_MIN:
            raise ValueError("an interval must be longer than 0 minutes, and no longer than a year")
        for period, part in _pieces(schedule, interval.start, minutes):
            energy[period] += exact(interval.energy_kwh) * part / minutes
    return energy


def _pieces(
    schedule: Sequence[TouRule], start: datetime, minutes: Fraction
) -> list[tuple[str, Fraction]]:
    """(period, minutes) from edge to edge of the schedule."""
    edges = sorted({rule.from_min for rule in schedule} | {rule.to_min for rule in schedule})
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    at = Fraction((start - midnight) / timedelta(microseconds=1)) / 60_000_000
    end, pieces = at + minutes, []
    while at < end:
        day, minute = divmod(at, DAY_MIN)
        following = next((edge for edge in edges if edge > minute), DAY_MIN)
        until = min(end, Fraction(day * DAY_MIN + following))
        month = (midnight + timedelta(days=int(day))).month
        pieces.append((_period_at(schedule, int(minute), month), until - at))
        at = until
    return pieces


def _period_at(schedule: Sequence[TouRule], minute: int, month: int) -> str:
    for rule in schedule:
        if rule.holds(minute, month):
            return rule.period
    raise ValueError(f"no time-of-use rule for {minute // 60:02d}:{minute % 60:02d}, month {month}")


def tou_lines(
    schedule: Sequence[TouRule], prices: Mapping[str, Number], intervals: Sequence[Interval]
) -> list[Line]:
    """A line for each period, also for those without usage: the table of prices is part of it."""
    missing = {rule.period for rule in schedule} - prices.keys()
    if missing:
        raise ValueError(f"no price for {', '.join(sorted(missing))}")
    if any(exact(price) < 0 for price in prices.values()):
        raise ValueError("a time-of-use price must not be negative")
    return [
        priced(period, TITLES_ZH.get(period, period), energy, "千瓦时", prices[period])
        for period, energy in energy_by_period(schedule, intervals).items()
    ]
