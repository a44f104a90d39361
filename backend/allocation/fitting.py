"""gamma mean(dt^B) fitted to what each flat must have given: all flats at once, in numpy."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.allocation.condensed import HIGH_B, LOW_B, interpolated_logs
from backend.allocation.inputs import Floats

LEAST_B, MOST_B = 0.2, 2.5
PRIOR_B, PRIOR_SD = 1.3, 0.25
_GRID, _ROUNDS = 47, 60
_STEP_B = 1e-4

Flags = NDArray[np.bool_]


class Powers(Protocol):
    """mean(dt^B) of each flat and day; `low` and `high` bound the B it can tell."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    def means(self, exponents: Floats) -> Floats:
        """[flats x days] at `exponents` [flats]; NaN where not known."""
        ...


@dataclass(frozen=True, slots=True)
class DailyExcess:
    """One tp - tn a day, `excess_k` [flats x days], NaN where missing."""

    excess_k: Floats
    low: float = LEAST_B
    high: float = MOST_B

    def means(self, exponents: Floats) -> Floats:
        """dt^B; a negative base is never raised."""
        warm = np.where(self.excess_k > 0, self.excess_k, np.nan)
        power: Floats = warm ** exponents[:, np.newaxis]
        return power


@dataclass(frozen=True, slots=True)
class CondensedPowers:
    """Closed days: `nodes` [flats x days x 8] of S(B) and their `covered_s` [flats x days]."""

    nodes: Floats
    covered_s: Floats
    low: float = LOW_B
    high: float = HIGH_B

    def means(self, exponents: Floats) -> Floats:
        """S(B) / covered seconds, by interpolation of ln S."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(self.nodes > 0, self.nodes, np.nan))
            means: Floats = np.exp(interpolated_logs(logs, exponents)) / self.covered_s
        return np.where(self.covered_s > 0, means, np.nan)


@dataclass(frozen=True, slots=True)
class SomeDays:
    """`powers` narrowed to some of the days."""

    powers: Powers
    kept: Flags

    @property
    def low(self) -> float:
        return self.powers.low

    @property
    def high(self) -> float:
        return self.powers.high

    def means(self, exponents: Floats) -> Floats:
        narrowed: Floats = self.powers.means(exponents)[:, self.kept]
        return narrowed


@dataclass(frozen=True, slots=True)
class Fit:
    """All flats at once: `exponents`, `gammas`, `cost` (sum of squares) and `b_errors` [flats]."""

    exponents: Floats
    gammas: Floats
    cost: Floats
    b_errors: Floats


def fit_all(powers: Powers, target: Floats, usable: Flags) -> Fit:
    """The prior's weight is the variance the free fit leaves, over that of the prior."""
    free = _least(powers, target, usable, np.zeros(len(target)))
    variance = _variance(_residuals(powers, target, usable, free), usable)
    exponents = _least(powers, target, usable, variance / PRIOR_SD**2)
    residuals = _residuals(powers, target, usable, exponents)
    slopes = _slopes(powers, target, usable, exponents)
    information = (slopes**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.sqrt(_variance(residuals, usable) / information)
    return Fit(
        exponents, _gammas(powers, target, usable, exponents), (residuals**2).sum(axis=1), errors
    )


def _variance(residuals: Floats, usable: Flags) -> Floats:
    freedom = np.maximum(usable.sum(axis=1) - 2, 1)
    variance: Floats = (residuals**2).sum(axis=1) / freedom
    return variance


def _relative(powers: Powers, target: Floats, usable: Flags, exponents: Floats) -> Floats:
    """mean(dt^B) / y, scaled to a mean of 1 a flat; 0 where not usable."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(usable, powers.means(exponents) / target, 0.0)
    mean = ratio.sum(axis=1) / np.maximum(usable.sum(axis=1), 1)
    scaled: Floats = ratio / np.where(mean > 0, mean, 1.0)[:, np.newaxis]
    return scaled


def _residuals(powers: Powers, target: Floats, usable: Flags, exponents: Floats) -> Floats:
    """gamma mean(dt^B) / y - 1 with the gamma that is best for that B."""
    ratio = _relative(powers, target, usable, exponents)
    squares = (ratio**2).sum(axis=1)
    best = ratio.sum(axis=1) / np.where(squares > 0, squares, 1.0)
    residuals: Floats = np.where(usable, best[:, np.newaxis] * ratio - 1.0, 0.0)
    return residuals


def _slopes(powers: Powers, target: Floats, usable: Flags, exponents: Floats) -> Floats:
    """d residual / d B by central differences, inside the bounds."""
    up = np.minimum(exponents + _STEP_B, powers.high)
    down = np.maximum(exponents - _STEP_B, powers.low)
    rise = _residuals(powers, target, usable, up) - _residuals(powers, target, usable, down)
    slopes: Floats = rise / (up - down)[:, np.newaxis]
    return slopes


def _gammas(powers: Powers, target: Floats, usable: Flags, exponents: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(usable, powers.means(exponents) / target, 0.0)
    squares = (ratio**2).sum(axis=1)
    gammas: Floats = ratio.sum(axis=1) / np.where(squares > 0, squares, 1.0)
    return gammas


def _least(powers: Powers, target: Floats, usable: Flags, prior: Floats) -> Floats:
    """The B [flats] of least cost: a grid, then Gauss-Newton kept beside the grid's best."""

    def cost(exponents: Floats) -> Floats:
        residuals = _residuals(powers, target, usable, exponents)
        total: Floats = (residuals**2).sum(axis=1) + prior * (exponents - PRIOR_B) ** 2
        return total

    grid = np.linspace(powers.low, powers.high, _GRID)
    costs = np.array([cost(np.full(len(target), b)) for b in grid])
    best: Floats = grid[np.argmin(costs, axis=0)]
    width = grid[1] - grid[0]
    low, high = np.maximum(best - width, powers.low), np.minimum(best + width, powers.high)
    held = cost(best)
    for _ in range(_ROUNDS):
        step = _newton_step(powers, target, usable, best, prior)
        if np.all(np.abs(step) < 1e-15):
            break
        tried = np.clip(best - step, low, high)
        found = cost(tried)
        better = found < held
        best, held = np.where(better, tried, best), np.where(better, found, held)
        if not better.any():
            break
    return best


def _newton_step(
    powers: Powers, target: Floats, usable: Flags, exponents: Floats, prior: Floats
) -> Floats:
    residuals = _residuals(powers, target, usable, exponents)
    slopes = _slopes(powers, target, usable, exponents)
    gradient = (residuals * slopes).sum(axis=1) + prior * (exponents - PRIOR_B)
    curve = (slopes**2).sum(axis=1) + prior
    step: Floats = np.divide(gradient, curve, out=np.zeros_like(gradient), where=curve > 0)
    return step
