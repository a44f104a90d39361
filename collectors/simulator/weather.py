"""Outdoor temperature as a pure function of time, so that every run sees the same weather."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from collectors.simulator.times import DAY_S

Floats = NDArray[np.float64]

YEAR_S = 365.2425 * DAY_S
COLDEST_S = 18 * DAY_S  # 18 January
WARMEST_OF_DAY_S = 14 * 3_600


@lru_cache(maxsize=4096)
def day_noise(seed: int, name: str, day: int) -> float:
    """A number in [-1, 1) that belongs to this seed, name and day for ever."""
    return random.Random(f"{seed}/{name}/{day}").uniform(-1.0, 1.0)


def smooth_noise(seed: int, names: Sequence[str], local_s: Floats) -> Floats:
    """Daily noise of each name joined up without steps, [moments, names]: at local midnight
    exactly `day_noise`."""
    days = np.floor(local_s / DAY_S).astype(np.int64)
    first, last = int(days.min()), int(days.max())
    knots = np.array([[day_noise(seed, n, d) for n in names] for d in range(first, last + 2)])
    share = local_s / DAY_S - days
    blend = ((1.0 - np.cos(np.pi * share)) / 2.0)[:, None]
    before, after = knots[days - first], knots[days - first + 1]
    result: Floats = before * (1.0 - blend) + after * blend
    return result


@dataclass(frozen=True, slots=True)
class Weather:
    """A place's weather in C. With `annual_c` 0, the default, it is always the heating season,
    so that a demonstration in July shows warm radiators too."""

    seed: int = 1
    mean_c: float = -9.9
    annual_c: float = 0.0
    daily_c: float = 4.0
    noise_c: float = 4.0

    def outdoor_c(self, local_s: Floats) -> Floats:
        """Outdoor temperature at local seconds (seconds of local wall clock since 1970)."""
        year = np.cos(2 * np.pi * (local_s % YEAR_S - COLDEST_S) / YEAR_S)
        day = np.cos(2 * np.pi * (local_s % DAY_S - WARMEST_OF_DAY_S) / DAY_S)
        noise = smooth_noise(self.seed, ("weather",), local_s)[:, 0]
        result: Floats = (
            self.mean_c - self.annual_c * year + self.daily_c * day + self.noise_c * noise
        )
        return result
