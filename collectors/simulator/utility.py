"""Water, gas and electricity of one flat: a register as a pure function of time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from itertools import accumulate
from typing import Final

from collectors.simulator.times import DAY_S, day_number, local_seconds
from collectors.simulator.weather import day_noise

# Share of a day's use in each local hour, in parts of 1,000: mornings and evenings.
_HOURS: Final = (
    10,
    8,
    6,
    6,
    8,
    20,
    60,
    80,
    60,
    35,
    30,
    40,
    65,
    40,
    30,
    30,
    35,
    60,
    90,
    95,
    80,
    60,
    37,
    15,
)
_DONE: Final = (0, *accumulate(_HOURS))
assert _DONE[-1] == 1_000


class UtilityModel:
    """A register in L or Wh. `per_day` is the mean daily use, by which a day varies by at most
    two fifths; before `start` the register stands at `first`."""

    def __init__(
        self, name: str, quantity: str, *, seed: int, per_day: int, start: date, first: int = 0
    ):
        self._name, self._quantity, self._seed = name, quantity, seed
        self._per_day, self._first, self._start = per_day, first, day_number(start)
        self._before = [0]

    def __call__(self, now: datetime) -> Mapping[str, int]:
        """The register at a moment, under its name (volume_l or energy_wh)."""
        return {self._quantity: self._first + self._used(local_seconds(now))}

    def _day_use(self, day: int) -> int:
        return round(self._per_day * (1.0 + 0.4 * day_noise(self._seed, self._name, day)))

    def _used(self, second: int) -> int:
        day, rest = divmod(second, DAY_S)
        day -= self._start
        if day < 0:
            return 0
        while len(self._before) <= day:
            self._before.append(self._before[-1] + self._day_use(len(self._before) - 1))
        hour, part = divmod(rest, 3_600)
        done = _DONE[hour] * 3_600 + _HOURS[hour] * part
        return self._before[day] + self._day_use(day) * done // (1_000 * 3_600)
