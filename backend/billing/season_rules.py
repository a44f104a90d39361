"""A season's heat priced in one go over arrays: two parts, the cap, what was billed already.  Pure.

The arithmetic is that of billing.rules (each line exact, rounded half-up once, then summed), done
in whole numbers: prices are scaled to integers, so a city's season needs no fraction a household.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]
LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class SeasonFees:
    """A household a place: the fee's parts in fen, and what is still to pay (< 0: to give back)."""

    basic_fen: Whole
    metered_fen: Whole
    cap_fen: Whole | None  # the most it may come to; None: the price has no cap
    relief_fen: Whole  # what the cap takes off, >= 0
    due_fen: Whole

    @property
    def fee_fen(self) -> Whole:
        """The season's fee."""
        return self.basic_fen + self.metered_fen - self.relief_fen


def season_fees(
    area_dm2: Whole, heat_wh: Whole, billed_fen: Whole, params: Mapping[str, Any]
) -> SeasonFees:
    """Equation (11) for a season, capped at `cap_ratio` of the area fee, less what was billed.

    ValueError for a negative heat, or numbers beyond what 64 bits hold exactly.
    """
    if heat_wh.size and int(heat_wh.min()) < 0:
        raise ValueError("heat must not be negative")
    basic = product_fen(area_dm2, Decimal(params["k1"]) / 100)
    metered = product_fen(heat_wh, Decimal(params["k2"]) * Decimal("0.0000036"))
    cap, relief = None, np.zeros_like(basic)
    if "cap_ratio" in params:
        most = Decimal(params["area_price"]) * Decimal(params["cap_ratio"]) / 100
        cap = product_fen(area_dm2, most)
        relief = np.maximum(basic + metered - cap, 0)
    return SeasonFees(basic, metered, cap, relief, basic + metered - relief - billed_fen)


def product_fen(amounts: Whole, yuan_per_one: Decimal) -> Whole:
    """amount x price in fen, half-up, exactly; amounts >= 0.  ValueError beyond 64 bits."""
    sign, digits, exponent = (yuan_per_one * 100).normalize().as_tuple()
    if sign or not isinstance(exponent, int):
        raise ValueError("a price must be a number not below 0")
    numerator = int("".join(map(str, digits)) or "0") * 10 ** max(exponent, 0)
    denominator = 10 ** max(-exponent, 0)
    largest = int(amounts.max()) if amounts.size else 0
    if 2 * largest * numerator + denominator >= LIMIT:
        raise ValueError("an amount is beyond what can be priced exactly in 64 bits")
    rounded: Whole = (2 * amounts * numerator + denominator) // (2 * denominator)
    return rounded
