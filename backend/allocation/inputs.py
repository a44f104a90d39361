"""What an allocation is given and what it returns. Plain values: no session, no clock, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.base.exact import Number

Id = int | str
Floats = NDArray[np.float64]
WHOLE = Fraction(1)

GAP_RULES = ("time_scale", "building_profile", "zero")
MISSING_RULES = ("building_mean_per_area", "neighbours_mean", "last_period")
COMMON_RULES = ("pro_rata", "fixed_fraction", "metered_loss")


class Refused(ValueError):
    """The input cannot be allocated honestly; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices a company makes around a method; the defaults are the project's.

    `min_coverage`: below this part of its active time a household counts as missing.
    `missing_limit`: strictly above this part of area x active time missing, all goes by area.
    `neighbours`: household -> those whose mean stands in for it (neighbours_mean).
    `last_shares`: household -> its share of the building last period (last_period).
    `common_fraction`: part of the total shared by area (fixed_fraction needs it).
    """

    gap_rule: str = "time_scale"
    min_coverage: Fraction = Fraction(1, 2)
    missing_rule: str = "building_mean_per_area"
    missing_limit: Fraction = Fraction(1, 4)
    neighbours: Mapping[Id, Sequence[Id]] = field(default_factory=dict)
    last_shares: Mapping[Id, Number] = field(default_factory=dict)
    common: str = "pro_rata"
    common_fraction: Fraction | None = None

    def __post_init__(self) -> None:
        _one_of("gap_rule", self.gap_rule, GAP_RULES)
        _one_of("missing_rule", self.missing_rule, MISSING_RULES)
        _one_of("common", self.common, COMMON_RULES)
        for name in ("min_coverage", "missing_limit", "common_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise Refused(f"{name} must be between 0 and 1")
        if self.common == "fixed_fraction" and self.common_fraction is None:
            raise Refused("a fixed_fraction needs its common_fraction")


@dataclass(frozen=True, slots=True)
class Household:
    """One flat. `constants` are its method's: gamma, B | a, Fn, beta, alpha | room_constant | ...

    It takes part from `active_from_s` to `active_to_s`, seconds after the start of the window.
    """

    id: Id
    area_m2: Number
    constants: Mapping[str, object] = field(default_factory=dict)
    suspended: bool = False
    active_from_s: float = 0.0
    active_to_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Building:
    """One building's samples on a common grid.

    `dt_s` [samples] seconds each sample stands for; `series` name -> [households x samples] in C
    ('tg' supply, 'th' return, 'tn' room; a method reads those it needs); `outdoor` [samples] in C.
    NaN marks a missing sample (at the door, JSON null is missing and NaN is refused).
    `base`: temperature_area's base in C, or 'outdoor'. `total_units`: whole Wh (or any quantum).
    """

    method: str
    total_units: int
    households: Sequence[Household]
    dt_s: Floats
    series: Mapping[str, Floats]
    outdoor: Floats | None = None
    base: float | Literal["outdoor"] = "outdoor"
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one household's instruments gave, after the method and before any rule.

    `weight` None: missing (no data, too little of it, or a fault). Seconds count active time.
    """

    household: Household
    weight: Fraction | None
    active_s: Fraction
    coverage: Fraction = WHOLE


@dataclass(frozen=True, slots=True)
class AllocationResult:
    """Each household's part of the total, and everything a bill must be able to say about it.

    `units` add up to the total. `shares` are exact to 15 digits. `coverage` lists only households
    with gaps. `flags`: 'substituted:<rule>', 'whole_building_by_area'. `building_flag`:
    'all_zero_weights_by_area' or None. `rounding_margin`: see base.shares.Parts.
    """

    units: dict[Id, int]
    shares: dict[Id, Decimal]
    weights: dict[Id, Fraction]
    flags: dict[Id, list[str]]
    building_flag: str | None
    coverage: dict[Id, Decimal]
    rounding_margin: float


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise Refused(f"{name} {value!r} is none of {', '.join(allowed)}")
