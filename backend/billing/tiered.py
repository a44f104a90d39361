"""Step prices over a year's accumulated usage (阶梯价)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from backend.base.exact import Number, exact, plain
from backend.billing.lines import Line, priced

NUMERALS_ZH = "一二三四五六七八九十"


@dataclass(frozen=True, slots=True)
class Tier:
    """Usage up to and including `upto` a year (None: no bound) at `price` yuan a unit.

    Every person above the tariff's `base_persons` widens the bound by `per_extra_person`.
    """

    upto: Number | None
    price: Number
    per_extra_person: Number = 0


@dataclass(frozen=True, slots=True)
class TierTariff:
    """Tiers in rising order, the last one unbounded."""

    tiers: Sequence[Tier]
    base_persons: int = 0

    def __post_init__(self) -> None:
        uppers = [tier.upto for tier in self.tiers]
        if not uppers or uppers[-1] is not None or None in uppers[:-1]:
            raise ValueError("the last tier, and only it, has no upper bound")
        if any(exact(tier.price) < 0 or exact(tier.per_extra_person) < 0 for tier in self.tiers):
            raise ValueError("a tier's price and per_extra_person must not be negative")
        for lower, upper in pairwise([Fraction(0), *(exact(u) for u in uppers if u is not None)]):
            if upper <= lower:
                raise ValueError("tier bounds must rise")


def tier_bounds(
    tariff: TierTariff, persons: int | None = None, months: Number = 12
) -> list[Fraction | None]:
    """The bounds for a household of `persons` living there `months` of the year, unrounded."""
    if not 0 < exact(months) <= 12:
        raise ValueError("months must be above 0 and at most 12")
    if persons is not None and persons < 0:
        raise ValueError("persons must not be negative")
    extra = max(0, (persons if persons is not None else tariff.base_persons) - tariff.base_persons)
    part = exact(months) / 12
    return [
        None
        if tier.upto is None
        else (exact(tier.upto) + extra * exact(tier.per_extra_person)) * part
        for tier in tariff.tiers
    ]


def tier_usage(before: Number, after: Number, bounds: Sequence[Fraction | None]) -> list[Fraction]:
    """How much of the step from `before` to `after` falls into each tier.

    A bound belongs to the lower tier. A correction (after < before) undoes the dearest usage
    first: it gives negative usage of the marginal tiers.
    """
    begin, end = exact(before), exact(after)
    parts, lower = [], None
    for upper in bounds:
        parts.append(_within(end, lower, upper) - _within(begin, lower, upper))
        lower = upper
    return parts


def _within(value: Fraction, lower: Fraction | None, upper: Fraction | None) -> Fraction:
    """The part of `value` above `lower` (None: no floor) and up to `upper` (None: no ceiling)."""
    capped = value if upper is None else min(value, upper)
    return capped if lower is None else max(capped - lower, Fraction(0))


def tiered_lines(
    tariff: TierTariff,
    usage: Number,
    unit: str,
    *,
    prior: Number = 0,
    persons: int | None = None,
    months: Number = 12,
    title_zh: str = "阶梯用量",
) -> list[Line]:
    """A line for each tier that `usage` touches on top of `prior` used already this year."""
    bounds = tier_bounds(tariff, persons, months)
    before = exact(prior)
    after = before + exact(usage)
    parts = tier_usage(before, after, bounds)
    return [
        priced(
            f"tier_{index + 1}",
            f"{title_zh}第{NUMERALS_ZH[index]}档（{_range_zh(index, bounds)}）",
            part,
            unit,
            tier.price,
            tier=index + 1,
            year_before=plain(before),
            year_after=plain(after),
        )
        for index, (tier, part) in enumerate(zip(tariff.tiers, parts, strict=True))
        if part
    ]


def _range_zh(index: int, bounds: Sequence[Fraction | None]) -> str:
    lower, upper = (bounds[index - 1] if index else None), bounds[index]
    if upper is None:
        return f"年累计 {plain(lower, 8)} 以上" if lower is not None else "不分档"
    return f"年累计 {plain(lower or Fraction(0), 8)}–{plain(upper, 8)}"
