"""EN 834 from stored samples: K sum (dT/60)^n dtau over a flat's allocators, in numpy.

The same rule as scalars' hca_electronic, for a season of 10-minute samples of every radiator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from backend.allocation.inputs import Floats, Household, Measured, Rules
from backend.allocation.series import coverage_of, is_missing, steady
from backend.base.exact import exact
from backend.metering.rules import MISSING

BASE_CDEG = 6000  # 60 K, the standard's excess


@dataclass(frozen=True, slots=True)
class Allocator:
    """One radiator: temperatures [samples] in hundredths of C, and its rating.

    `factor` is KQ KC KT, `exponent` n, `least_cdeg` dT_min below which nothing counts.
    """

    heater_cdeg: NDArray[np.int16]
    room_cdeg: NDArray[np.int16]
    factor: float
    exponent: float
    least_cdeg: int


def electronic_measure(
    household: Household,
    allocators: Sequence[Allocator],
    starts_s: Floats,
    interval_s: float,
    rules: Rules,
) -> Measured:
    """A flat's weight; an interval counts where all its radiators have it.

    `starts_s` [samples] seconds after the start of the period.  A flat without allocators, or
    with too few intervals, is missing.
    """
    here = (starts_s >= household.active_from_s) & (starts_s < household.active_to_s)
    if household.suspended or not here.any():
        return Measured(household, Fraction(0), Fraction(0))
    active = exact(float(here.sum()) * interval_s)
    known = here.copy() if allocators else np.zeros_like(here)
    for one in allocators:
        known &= (one.heater_cdeg != MISSING) & (one.room_cdeg != MISSING)
    coverage = coverage_of(float(known.sum()) * interval_s, active)
    if is_missing(coverage, rules):
        return Measured(household, None, active, coverage)
    weight = steady(sum(_counted(one, known) for one in allocators) * interval_s)
    return Measured(
        household, weight if rules.gap_rule == "zero" else weight / coverage, active, coverage
    )


def _counted(one: Allocator, known: NDArray[np.bool_]) -> float:
    excess = one.heater_cdeg[known].astype(np.int32) - one.room_cdeg[known]
    counts = excess[(excess > 0) & (excess >= one.least_cdeg)]
    return one.factor * float(((counts / BASE_CDEG) ** one.exponent).sum())
