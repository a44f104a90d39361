"""Sharing a whole number out so that the parts add up to it: the largest-remainder method."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Generic, TypeVar

from backend.base.exact import Number, exact

K = TypeVar("K", bound=int | str)


@dataclass(frozen=True, slots=True)
class Parts(Generic[K]):
    """Whole parts of a total, and how far the nearest rounding was from falling otherwise.

    `scaled` are the weights as whole numbers with one common factor, `whole` their sum. `margin`
    is in units: the least distance of an inexact quota from a whole number, or of the last
    remainder rounded up from the first rounded down; 1 where every quota was whole.
    """

    units: dict[K, int]
    scaled: dict[K, int]
    whole: int
    margin: Fraction


def largest_remainder(total: int, weights: Mapping[K, Number]) -> dict[K, int]:
    """`total` in whole parts proportional to `weights`; the parts always add up to it.

    Ties go to the lower key: numbers by value, strings by character ('1001' before '101').
    Raises ValueError for a negative total or weight, or if nobody has a weight.
    """
    return share_parts(total, weights).units


def share_parts(total: int, weights: Mapping[K, Number]) -> Parts[K]:
    """As `largest_remainder`, with the rounding margin."""
    scaled = _as_integers(total, weights)
    whole = sum(scaled.values())
    if whole == 0:
        return Parts(dict.fromkeys(weights, 0), scaled, whole, Fraction(1))
    quotas = {key: divmod(total * weight, whole) for key, weight in scaled.items()}
    left = total - sum(quotient for quotient, _ in quotas.values())
    order = sorted(sorted(quotas), key=lambda key: -quotas[key][1])
    raised = set(order[:left])
    units = {key: quotas[key][0] + (key in raised) for key in weights}
    return Parts(units, scaled, whole, _margin([quotas[key][1] for key in order], left, whole))


def _as_integers(total: int, weights: Mapping[K, Number]) -> dict[K, int]:
    """The weights times their common denominator: integer arithmetic is exact and fast."""
    fractions = {key: exact(weight) for key, weight in weights.items()}
    if total < 0:
        raise ValueError(f"cannot share out {total}: less than nothing")
    if any(weight < 0 for weight in fractions.values()):
        raise ValueError("a weight is negative")
    if total and not any(fractions.values()):
        raise ValueError(f"nobody to share {total} among: every weight is zero")
    scale = lcm(*(weight.denominator for weight in fractions.values()))
    return {
        key: weight.numerator * (scale // weight.denominator) for key, weight in fractions.items()
    }


def _margin(remainders: list[int], left: int, whole: int) -> Fraction:
    """How close, in units, the rounding came to another result (`remainders` falling)."""
    if left == 0:
        return Fraction(1)
    near = min(min(rest, whole - rest) for rest in remainders if rest)
    return Fraction(min(near, remainders[left - 1] - remainders[left]), whole)
