"""The building's mean room temperature of each day, where some flats' sensors were silent.

A flat without its temperature costs that flat's day and nobody else's.  Its part of the mean is
first guessed at (its usual distance from the mean of the others), then taken out of the heat
balance itself: on such a day the one unknown, the mean, stands in every other flat's equation.
"""

from __future__ import annotations

import numpy as np

from backend.allocation.fitting import Fit, Flags, Powers
from backend.allocation.inputs import Floats

# The mean of a day is told by flats with this part of the area, or the day does not count: what
# may be missing is what may be missing of a building that is billed.
LEAST_AREA = 0.75
# No silent flat is taken to have been further from where it usually is than this.
MOST_OFF_K = 5.0
_SETTLES = 30


def known_area(areas_m2: Floats, room_c: Floats) -> Floats:
    """The part of the area whose room temperature is known [days], of the flats ever heard."""
    heard = np.isfinite(room_c).any(axis=1)
    whole = max(float(areas_m2[heard].sum()), np.finfo(float).tiny)
    part: Floats = areas_m2 @ np.isfinite(room_c) / whole
    return part


def guessed(areas_m2: Floats, room_c: Floats) -> Floats:
    """Area-mean room temperature [days]; a missing flat at its usual distance from the mean.

    A flat that was never heard stands at the mean.
    """
    known = np.isfinite(room_c)
    rooms = np.where(known, room_c, 0.0)
    weights = areas_m2[:, np.newaxis] * known
    mean: Floats = (weights * rooms).sum(axis=0) / weights.sum(axis=0)
    if known.all():
        return mean
    heard = known.any(axis=1)
    for _ in range(_SETTLES):
        away = ((rooms - mean) * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        filled = np.where(known, rooms, away[:, np.newaxis] + mean)
        mean = areas_m2[heard] @ filled[heard] / areas_m2[heard].sum()
    return mean


def balanced(
    areas_m2: Floats, room_c: Floats, powers: Powers, target: Floats, usable: Flags, fit: Fit
) -> Floats:
    """What each day's targets [days] (W/m2) lack to agree with `fit`; 0 on days without a gap."""
    model = fit.gammas[:, np.newaxis] * powers.means(fit.exponents)
    weights = np.where(usable, areas_m2[:, np.newaxis], 0.0)
    lacks = (weights * np.where(usable, model - target, 0.0)).sum(axis=0)
    mean: Floats = lacks / np.maximum(weights.sum(axis=0), np.finfo(float).tiny)
    return np.where(known_area(areas_m2, room_c) < 1, mean, 0.0)
