"""What stands in for households whose instruments gave nothing (allocation rules, §3)."""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from backend.allocation.inputs import Id, Rules
from backend.base.exact import exact

Weights = dict[Id, Fraction]


def is_widely_missing(known: Weights, by_area: Weights, rules: Rules) -> bool:
    """Whether too much of the building (area x active time) is missing to guess at it."""
    missing = sum((area for key, area in by_area.items() if key not in known), Fraction(0))
    return not known or missing > rules.missing_limit * sum(by_area.values())


def fill_missing(
    known: Weights, by_area: Weights, rules: Rules
) -> tuple[Weights, dict[Id, list[str]]]:
    """Weights with every missing household substituted, and the flag that says how.

    A household its rule cannot serve (no usable neighbour, no last period) gets the mean.
    """
    missing = [key for key in by_area if key not in known]
    served = _neighbours(missing, known, by_area, rules)
    mean = _mean_per_area(known, known, by_area)
    last = _usable_last_shares(missing, rules)
    weights = {
        key: known.get(key, served.get(key, mean * by_area[key]))
        for key in by_area
        if key not in last
    }
    whole = sum(weights.values(), Fraction(0)) / (1 - sum(last.values()))
    weights |= {key: share * whole for key, share in last.items()}
    by_rule = served.keys() | last.keys()
    flags = {
        key: [f"substituted:{rules.missing_rule if key in by_rule else 'building_mean_per_area'}"]
        for key in missing
    }
    return {key: weights[key] for key in by_area}, flags


def _mean_per_area(keys: Iterable[Id], known: Weights, by_area: Weights) -> Fraction:
    keys = list(keys)
    return sum((known[key] for key in keys), Fraction(0)) / sum(by_area[key] for key in keys)


def _neighbours(missing: list[Id], known: Weights, by_area: Weights, rules: Rules) -> Weights:
    if rules.missing_rule != "neighbours_mean":
        return {}
    usable = {
        key: sorted({n for n in rules.neighbours.get(key, ()) if n in known}, key=str)
        for key in missing
    }
    return {
        key: _mean_per_area(names, known, by_area) * by_area[key]
        for key, names in usable.items()
        if names
    }


def _usable_last_shares(missing: list[Id], rules: Rules) -> Mapping[Id, Fraction]:
    """Last period's shares of the missing households; none where they would leave no rest."""
    if rules.missing_rule != "last_period":
        return {}
    shares = {key: exact(rules.last_shares[key]) for key in missing if key in rules.last_shares}
    if any(share < 0 for share in shares.values()) or sum(shares.values()) >= 1:
        return {}
    return shares
