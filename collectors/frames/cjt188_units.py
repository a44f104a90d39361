"""Unit codes of CJ/T 188 (2004 table 10, 2018 table 20: the same codes)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Quantities and the integer unit each is turned into.
BASE_UNITS: Final = {
    "heat": "Wh",
    "power": "W",
    "flow": "L/h",
    "volume": "L",
    "temperature": "cdeg",
    "pressure": "cMPa",
    "hours": "h",
    "day": "",
    "count": "",
    "money": "fen",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit code: one count is numerator / denominator of the quantity's base unit."""

    symbol: str
    quantity: str
    numerator: int
    denominator: int = 1


# First code of three (one, ten, a hundred of it), symbol, quantity, its size. 1 Wh = 3600 J.
_LADDERS: Final = (
    (0x02, "Wh", "heat", 1, 1),
    (0x05, "kWh", "heat", 1_000, 1),
    (0x08, "MWh", "heat", 1_000_000, 1),
    (0x0B, "kJ", "heat", 5, 18),
    (0x0E, "MJ", "heat", 2_500, 9),
    (0x11, "GJ", "heat", 2_500_000, 9),
    (0x14, "W", "power", 1, 1),
    (0x17, "kW", "power", 1_000, 1),
    (0x1A, "MW", "power", 1_000_000, 1),
    (0x29, "L", "volume", 1, 1),
    (0x2C, "m3", "volume", 1_000, 1),
    (0x32, "L/h", "flow", 1, 1),
    (0x35, "m3/h", "flow", 1_000, 1),
    (0x43, "kJ/h", "power", 5, 18),
    (0x46, "MJ/h", "power", 2_500, 9),
    (0x49, "GJ/h", "power", 2_500_000, 9),
)


def _units() -> dict[int, Unit]:
    units = {0x01: Unit("J", "heat", 1, 3600), 0x40: Unit("J/h", "power", 1, 3600)}
    for first, symbol, quantity, numerator, denominator in _LADDERS:
        for step, times in enumerate(("", "*10", "*100")):
            scaled = numerator * 10**step
            units[first + step] = Unit(symbol + times, quantity, scaled, denominator)
    return units


UNITS: Final[dict[int, Unit]] = _units()
