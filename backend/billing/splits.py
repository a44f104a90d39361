"""One sum in several parts: over periods of time, or over basic and variable cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from itertools import pairwise

from backend.base.exact import Number, exact
from backend.base.money import round_half_up
from backend.base.shares import largest_remainder

Id = int | str


def split_over_periods(
    total: int,
    begin: date,
    end: date,
    cuts: Sequence[date],
    degree_days: Sequence[Number] | None = None,
) -> list[int]:
    """`total` over [begin, end) cut at `cuts`: by days, or by the degree-days of each day.

    A bill over New Year, a change of owner. The parts add up; ties go to the earlier part. Where
    the degree-days are all 0 it goes by days. Raises ValueError for a cut outside the period.
    """
    if begin >= end:
        raise ValueError("the period is empty")
    if any(not begin <= cut <= end for cut in cuts):
        raise ValueError("a cut lies outside the period")
    daily = _daily((end - begin).days, degree_days)
    edges = [begin, *sorted(cuts), end]
    weights = {
        index: sum(daily[(lower - begin).days : (upper - begin).days], Fraction(0))
        for index, (lower, upper) in enumerate(pairwise(edges))
    }
    sign = -1 if total < 0 else 1
    return [sign * part for part in largest_remainder(abs(total), weights).values()]


def _daily(days: int, degree_days: Sequence[Number] | None) -> list[Fraction]:
    if degree_days is None:
        return [Fraction(1)] * days
    weights = [exact(value) for value in degree_days]
    if len(weights) != days:
        raise ValueError(f"{len(weights)} degree-days for {days} days")
    if any(weight < 0 for weight in weights):
        raise ValueError("degree-days must not be negative")
    return weights if any(weights) else [Fraction(1)] * days


@dataclass(frozen=True, slots=True)
class CostShare:
    """One household's area and its metered weight in a cost."""

    id: Id
    area_m2: Number
    weight: Number


@dataclass(frozen=True, slots=True)
class SplitCost:
    """Each household's basic and variable part of a cost, in fen."""

    basic_fen: dict[Id, int]
    variable_fen: dict[Id, int]

    @property
    def total_fen(self) -> dict[Id, int]:
        """Both parts together; they add up to the cost."""
        return {key: fen + self.variable_fen[key] for key, fen in self.basic_fen.items()}


def split_cost(total_fen: int, base_ratio: Number, households: Sequence[CostShare]) -> SplitCost:
    """`base_ratio` of a cost by area, the rest by weight (by area where nobody has a weight).

    Raises ValueError for a ratio outside 0 to 1, a negative cost, area or weight.
    """
    ratio = exact(base_ratio)
    if not 0 <= ratio <= 1:
        raise ValueError("base_ratio must be between 0 and 1")
    areas: dict[Id, Number] = {household.id: household.area_m2 for household in households}
    if len(areas) < len(households):
        raise ValueError("two households have the same id")
    weights: dict[Id, Number] = {household.id: household.weight for household in households}
    basic_fen = round_half_up(total_fen * ratio)
    by = weights if any(exact(weight) for weight in weights.values()) else areas
    variable = largest_remainder(total_fen - basic_fen, by)
    return SplitCost(largest_remainder(basic_fen, areas), variable)
