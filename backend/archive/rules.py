"""The heating season, how warm a room is, and one's home against homes like it: pure rules."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction

from backend.base.money import round_half_up

# What a meter may measure, and what its register counts. The first four are billed by themselves;
# a thermometer has no register.
UTILITIES = ("heat", "water", "gas", "electricity")
THERMOMETERS = ("room", "outdoor")
KINDS = {
    "heat": "Wh",
    "water": "l",
    "gas": "l",
    "electricity": "Wh",
    "hot_water": "l",
    "valve": "s",  # how long it stood open
    "hca": "units",  # a heat cost allocator
    "room_integral": "0.01 C h",  # a room-temperature integrator
    "room": None,
    "outdoor": None,
}

# 18 °C is what a heated home is owed; below 16 °C is cold in every province's rules.
TARGET_CDEG, COLD_BELOW_CDEG = 1800, 1600
STALE_AFTER = timedelta(hours=2)
# A mean of fewer homes would tell a neighbour's own figure.
SIMILAR_AT_LEAST = 3

_STATE_ZH = {"warm": "暖和", "cool": "偏凉", "cold": "偏冷"}


@dataclass(frozen=True, slots=True)
class Season:
    """A heating season; both days belong to it."""

    day_from: date
    day_to: date

    @property
    def name(self) -> str:
        """2026–2027 采暖季."""
        return f"{self.day_from.year}–{self.day_to.year} 采暖季"

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.day_to - self.day_from).days + 1


def month_day(text: str) -> tuple[int, int]:
    """'10-20' -> (10, 20); ValueError for anything that is not a day of every year."""
    month, _, day = text.partition("-")
    found = date(2001, int(month), int(day))  # not a leap year: 02-29 is refused
    return found.month, found.day


def heating_season(day: date, start: tuple[int, int], end: tuple[int, int]) -> Season:
    """The season `day` lies in, or the last one before it.

    `start` and `end` are (month, day) of the first and last day; a season ends in the year after.
    """
    year = day.year if (day.month, day.day) >= start else day.year - 1
    return Season(date(year, *start), date(year + 1, *end))


@dataclass(frozen=True, slots=True)
class Warmth:
    """What the home screen says first: `state` warm, cool, cold or unknown."""

    room_cdeg: int | None
    at: datetime | None
    state: str
    text: str


def warmth(room_cdeg: int | None, at: datetime | None, now: datetime) -> Warmth:
    """>= 18.00 warm, >= 16.00 cool, below cold; unknown where nothing came for two hours."""
    if room_cdeg is None or at is None:
        return Warmth(None, None, "unknown", "暂无室温数据")
    if now - at > STALE_AFTER:
        return Warmth(room_cdeg, at, "unknown", "室温数据已超过 2 小时未更新")
    state = "warm" if room_cdeg >= TARGET_CDEG else _below_target(room_cdeg)
    return Warmth(room_cdeg, at, state, f"室内 {celsius_zh(room_cdeg)} °C，{_STATE_ZH[state]}")


def _below_target(room_cdeg: int) -> str:
    return "cool" if room_cdeg >= COLD_BELOW_CDEG else "cold"


def celsius_zh(cdeg: int) -> str:
    """2144 -> '21.4'; cut, not rounded, so that 17.99 never reads as 18."""
    sign, tenths = ("-" if cdeg < 0 else ""), abs(cdeg) // 10
    return f"{sign}{tenths // 10}.{tenths % 10}"


def percent_of(now: int, before: int) -> int | None:
    """How much more (or, negative, less) `now` is than `before`, in whole percent."""
    return None if before <= 0 else round_half_up(Fraction(100 * (now - before), before))


@dataclass(frozen=True, slots=True)
class Similar:
    """One's heat a square metre beside the mean of `homes` others in the building."""

    used_wh_per_m2: int
    mine_wh_per_m2: int
    pct: int
    homes: int


def similar_homes(mine: tuple[int, int], others: tuple[int, int], homes: int) -> Similar | None:
    """One's own (used_wh, area_dm2) beside the sums of `homes` others.

    None for fewer than SIMILAR_AT_LEAST others: only sums come in, so no home's value goes out.
    """
    if homes < SIMILAR_AT_LEAST:
        return None
    own, theirs = per_m2(*mine), per_m2(*others)
    pct = percent_of(own, theirs)
    return None if pct is None else Similar(theirs, own, pct, homes)


def per_m2(used_wh: int, area_dm2: int) -> int:
    """Wh a square metre, from Wh and hundredths of a square metre."""
    return round_half_up(Fraction(used_wh * 100, area_dm2))
