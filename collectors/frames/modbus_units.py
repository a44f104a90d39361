"""What a map's units are worth in the units of Nuan's names, exactly."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

_WH_PER_GJ: Final = Fraction(2_500_000, 9)  # 1 Wh = 3600 J
_CALORIE_J: Final = Fraction("4.1868")  # the international table calorie
_WH_PER_BTU: Final = Fraction("1055.05585262") / 3600

ENERGY: Final = {
    "Wh": Fraction(1),
    "kWh": Fraction(1_000),
    "MWh": Fraction(1_000_000),
    "GWh": Fraction(1_000_000_000),
    "J": Fraction(1, 3600),
    "kJ": _WH_PER_GJ / 1_000_000,
    "MJ": _WH_PER_GJ / 1_000,
    "GJ": _WH_PER_GJ,
    "kcal": _CALORIE_J * 1_000 / 3600,
    "Mcal": _CALORIE_J * 1_000_000 / 3600,
    "Gcal": _CALORIE_J * 1_000_000_000 / 3600,
    "BTU": _WH_PER_BTU,
}
VOLUME: Final = {
    "mL": Fraction(1, 1_000),
    "L": Fraction(1),
    "m3": Fraction(1_000),
    "gal": Fraction("3.785411784"),  # US gallon
    "impgal": Fraction("4.54609"),
    "ft3": Fraction("28.316846592"),
}
FLOW: Final = {
    "L/h": Fraction(1),
    "L/min": Fraction(60),
    "L/s": Fraction(3_600),
    "m3/h": Fraction(1_000),
    "m3/min": Fraction(60_000),
    "m3/s": Fraction(3_600_000),
}
POWER: Final = {
    "W": Fraction(1),
    "kW": Fraction(1_000),
    "MW": Fraction(1_000_000),
    "kJ/h": _WH_PER_GJ / 1_000_000,
    "MJ/h": _WH_PER_GJ / 1_000,
    "GJ/h": _WH_PER_GJ,
    "kcal/h": _CALORIE_J * 1_000 / 3600,
}
# K counts differences; an absolute temperature in kelvin is C with the offset "-273.15".
TEMPERATURE: Final = {"cdeg": Fraction(1), "C": Fraction(100), "K": Fraction(100)}
HOURS: Final = {"h": Fraction(1), "min": Fraction(1, 60), "s": Fraction(1, 3600)}
PRESSURE: Final = {
    "Pa": Fraction(1),
    "kPa": Fraction(1_000),
    "MPa": Fraction(1_000_000),
    "bar": Fraction(100_000),
}
COUNT: Final = {"1": Fraction(1)}
SIGNAL: Final = {"dBm": Fraction(1)}
RATIO: Final = {"dB": Fraction(10)}  # tenths of a decibel
VOLTAGE: Final = {"mV": Fraction(1), "V": Fraction(1_000)}
SHARE: Final = {"%": Fraction(1), "1": Fraction(100)}

# The end of a name says its unit.
BY_SUFFIX: Final = {
    "_wh": ENERGY,
    "_l": VOLUME,
    "_lph": FLOW,
    "_w": POWER,
    "_cdeg": TEMPERATURE,
    "_h": HOURS,
    "_pa": PRESSURE,
    "_count": COUNT,
    "_dbm": SIGNAL,
    "_ddb": RATIO,
    "_mv": VOLTAGE,
    "_percent": SHARE,
}


def units_for(name: str) -> dict[str, Fraction]:
    """The units a value of this name may come in. Raises ValueError for a name without one."""
    suffix = "_" + name.rpartition("_")[2]
    if suffix not in BY_SUFFIX or name == suffix:
        raise ValueError(f"{name!r} does not end in one of {', '.join(sorted(BY_SUFFIX))}")
    return BY_SUFFIX[suffix]
