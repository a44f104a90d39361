"""Three-temperature allocation of a season against numpy's own power over the same samples,
from the samples and from condensed days.

The allocation reads three temperatures, looks for gaps, integrates and rounds; the yardstick is
only `excess ** B`, the difference already taken. Both are timed in turn, best of many, so that a
busy machine disturbs both alike.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from backend.allocation.condensed import NODE_B, CondensedDays, season_sums
from backend.allocation.inputs import Building, Household
from backend.allocation.rules import allocate, allocate_condensed

FLATS, DAYS, A_DAY = 120, 180, 144
ROUNDS = 25
GOAL = 0.8
CONDENSED_GOAL = 20


def season() -> Building:
    """120 flats over 180 days of 10-minute samples: 3.1 million differences."""
    rng = np.random.default_rng(18)
    shape = (FLATS, DAYS * A_DAY)
    tn = 21 + rng.normal(0, 0.6, shape)
    tg = 44 + rng.normal(0, 2.5, shape)
    flats = [
        Household(n, 60 + n / 4, {"gamma": 0.3 + n / 200, "B": 1.2 + 0.3 * n / FLATS})
        for n in range(FLATS)
    ]
    series = {"tg": tg, "th": tg - 7, "tn": tn}
    return Building("three_temperature", 10**9, flats, np.full(shape[1], 600.0), series)


def seconds(work: Callable[[], object]) -> float:
    """One timing of `work`."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def condensed(excess: np.ndarray) -> np.ndarray:
    """S at the nodes [flats x days x 8], as closing each day leaves it."""
    logs = np.log(excess.reshape(FLATS, DAYS, A_DAY))
    return np.stack([600.0 * np.exp(b * logs).sum(axis=2) for b in NODE_B], axis=2)


def from_days(building: Building, days: dict[int, CondensedDays]) -> object:
    """The whole allocation from condensed days."""
    return allocate_condensed(10**9, days, building.households, seconds=DAYS * 86_400.0)


def main() -> int:
    """Print one line; 1 where the goal is missed (a ratio of 1 is numpy's power alone)."""
    building = season()
    tg, th, tn = (building.series[name] for name in ("tg", "th", "tn"))
    excess = (tg + th) / 2 - tn
    exponents = np.array([[flat.constants["B"]] for flat in building.households])
    nodes = condensed(excess)
    ours = theirs = read = shared = float("inf")
    days = {
        flat.id: CondensedDays(nodes[n], np.full(DAYS, 86_400.0))
        for n, flat in enumerate(building.households)
    }
    for _ in range(ROUNDS):
        read = min(read, seconds(lambda: season_sums(nodes, exponents[:, 0])))
        shared = min(shared, seconds(lambda: from_days(building, days)))
        theirs = min(theirs, seconds(lambda: np.power(excess, exponents)))
        ours = min(ours, seconds(lambda: allocate(building)))
    ratio = theirs / ours
    speed, numpy_speed = (excess.size / t / 1e6 for t in (ours, theirs))
    print(
        f"three-temperature allocation: {speed:.0f} M samples/s, numpy's power "
        f"{numpy_speed:.0f} M samples/s, ratio {ratio:.2f} (goal {GOAL})"
    )
    far = theirs / read
    print(
        f"season of condensed days read: {FLATS / read:,.0f} flats/s ({FLATS / shared:,.0f} with "
        f"exact shares), the samples' power {FLATS / theirs:,.0f}, ratio {far:.0f} "
        f"(goal {CONDENSED_GOAL})"
    )
    return ratio < GOAL or far < CONDENSED_GOAL


if __name__ == "__main__":
    sys.exit(main())
