"""Energy is a whole number of Wh; it is never rounded on its way to a price."""

from decimal import Decimal
from fractions import Fraction

from backend.base.exact import exact
from backend.base.money import round_half_up

# 1 Wh = 3600 J exactly, so Wh -> GJ always ends; GJ -> Wh (277777.7...) does not.
GJ_PER_WH = Decimal("0.0000036")
WH_PER_GJ = Fraction(10**9, 3600)


def gj_from_wh(energy_wh: int) -> Decimal:
    """Wh -> GJ, exactly."""
    return Decimal(energy_wh) * GJ_PER_WH


def kwh_from_wh(energy_wh: int) -> Decimal:
    """Wh -> kWh, exactly."""
    return Decimal(energy_wh).scaleb(-3)


def wh_from_gj(energy_gj: Decimal | int) -> int:
    """GJ as a register shows it -> the nearest Wh."""
    return round_half_up(exact(energy_gj) * WH_PER_GJ)


def wh_from_kwh(energy_kwh: Decimal | int) -> int:
    """kWh as a register shows it -> the nearest Wh."""
    return round_half_up(exact(energy_kwh) * 1000)
