"""CJ/T 188 as data: payload layouts, and the ways in which makers depart from them.

Nothing here decides anything; `cjt188` reads these tables. A new maker is a new row.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a payload: `size` bytes of BCD, low byte first, with `decimals` digits after
    the point, and a unit code beside it where `unit` (the code an encoder writes) is not None.
    `quantity` is a key of `cjt188_units.BASE_UNITS`, or "time" (7 bytes) or "status" (2 bytes)."""

    name: str
    size: int
    quantity: str
    decimals: int = 0
    unit: int | None = None
    signed: bool = False  # the highest bit of the last byte is a minus sign
    width: int = field(init=False, repr=False, compare=False)  # with the unit's byte

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.size + (self.unit is not None))


@dataclass(frozen=True, slots=True)
class Layout:
    """What follows the SER byte. `primary` is the register the reading is taken for: where it
    can not be read, nothing was read. `size` is the number of bytes."""

    name: str
    fields: tuple[Field, ...]
    primary: str
    unit_first: bool = False
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", sum(one.width for one in self.fields))


def _heat(name: str, decimals: int = 2) -> Field:
    return Field(name, 4, "heat", decimals, 0x05)


def _volume(name: str) -> Field:
    return Field(name, 4, "volume", 2, 0x2C)


_TIME: Final = Field("meter_time", 7, "time")
_STATUS: Final = Field("status", 2, "status")

# CJ/T 188-2004 §7.3, table "data 901F of heat meters": 43 bytes after SER.
HEAT_2004: Final = Layout(
    "heat-2004",
    (
        _heat("settlement_heat"),
        _heat("current_heat"),
        Field("heat_power", 4, "power", 2, 0x17),
        Field("flow", 4, "flow", 4, 0x35),
        _volume("cumulative_volume"),
        Field("supply_temp", 3, "temperature", 2),
        Field("return_temp", 3, "temperature", 2),
        Field("working_hours", 3, "hours"),
        _TIME,
        _STATUS,
    ),
    "current_heat",
)

# CJ/T 188-2018: shorter power, flow and temperatures, longer hours: 40 bytes after SER. Only
# one public implementation was seen; it gives the flow three decimals here and four in 911F.
HEAT_2018: Final = Layout(
    "heat-2018",
    (
        _heat("settlement_heat"),
        _heat("current_heat"),
        Field("heat_power", 3, "power", 2, 0x17),
        Field("flow", 3, "flow", 3, 0x35),
        _volume("cumulative_volume"),
        Field("supply_temp", 2, "temperature", 2),
        Field("return_temp", 2, "temperature", 2),
        Field("working_hours", 4, "hours"),
        _TIME,
        _STATUS,
    ),
    "current_heat",
)

# CJ/T 188-2018, 911F: heat and cooling with pressures, 54 bytes after SER.
HEAT_COOLING_2018: Final = Layout(
    "heat-cooling-2018",
    (
        _heat("settlement_heat"),
        _heat("settlement_cooling"),
        _heat("current_heat"),
        _heat("current_cooling"),
        Field("heat_power", 3, "power", 2, 0x17),
        Field("flow", 3, "flow", 4, 0x35),
        _volume("cumulative_volume"),
        Field("supply_temp", 2, "temperature", 2),
        Field("return_temp", 2, "temperature", 2),
        Field("supply_pressure", 2, "pressure", 2),
        Field("return_pressure", 2, "pressure", 2),
        Field("working_hours", 4, "hours"),
        _TIME,
        _STATUS,
    ),
    "current_heat",
)

# Water and gas, both editions: 19 bytes after SER.
VOLUME_METER: Final = Layout(
    "volume",
    (_volume("cumulative_volume"), _volume("settlement_volume"), _TIME, _STATUS),
    "cumulative_volume",
)

# 40H-49H are "other meters"; electricity meters on such a bus keep the volume meters' shape with
# an energy unit.
ENERGY_METER: Final = Layout(
    "energy",
    (_heat("current_energy"), _heat("settlement_energy"), _TIME, _STATUS),
    "current_energy",
)

# A water collector's answer of 9 data bytes: no unit (cubic metres) and no time.
SHORT_VOLUME: Final = Layout(
    "short-volume",
    (Field("cumulative_volume", 4, "volume", 2), _STATUS),
    "cumulative_volume",
)

# A room thermostat answering on the heating bus as type 2AH. The standard gives 2AH-2FH to nobody;
# this is Nuan's own device: room temperature, 2 bytes of BCD in hundredths of a degree with the
# highest bit as the minus sign, then the status: 4 bytes after SER.
ROOM_SENSOR: Final = Layout(
    "room-sensor",
    (Field("room_temp", 2, "temperature", 2, signed=True), _STATUS),
    "room_temp",
)

# D120-D12B: the settlement-day register of the last 12 months (5 bytes after SER); the 2018
# edition adds D200-D2FF, with cooling and volume for heat meters.
HISTORY_HEAT: Final = Layout("history-heat", (_heat("settlement_heat"),), "settlement_heat")
HISTORY_VOLUME: Final = Layout(
    "history-volume", (_volume("settlement_volume"),), "settlement_volume"
)
HISTORY_ENERGY: Final = Layout("history-energy", (_heat("settlement_energy"),), "settlement_energy")
HISTORY_HEAT_2018: Final = Layout(
    "history-heat-2018",
    (_heat("settlement_heat"), _heat("settlement_cooling"), _volume("settlement_volume")),
    "settlement_heat",
)
# D300-D4FF (2018): what a water or gas meter froze by plan or by order: 23 bytes after SER.
FREEZE_VOLUME: Final = Layout(
    "freeze-volume",
    (
        _TIME,
        _volume("cumulative_volume"),
        Field("flow", 4, "flow", 4, 0x35),
        Field("water_temp", 3, "temperature", 2),
        Field("pressure", 3, "pressure", 2),
    ),
    "cumulative_volume",
)
CLOCK: Final = Layout("clock", (_TIME,), "meter_time")
STATUS_ONLY: Final = Layout("status", (_STATUS,), "status")
# 8102 to 8106: prices with the volume up to which each holds, settlement day, reading day, what
# was bought, the version of the key (§7.3; the 2018 edition keeps them).
PRICES: Final = Layout(
    "prices",
    tuple(
        field
        for n in (1, 2, 3)
        for field in (
            Field(f"price_{n}", 3, "money", 2),
            *((Field(f"volume_{n}", 3, "volume"),) if n < 3 else ()),
        )
    ),
    "price_1",
)
SETTLEMENT_DAY: Final = Layout(
    "settlement-day", (Field("settlement_day", 1, "day"),), "settlement_day"
)
READING_DAY: Final = Layout("reading-day", (Field("reading_day", 1, "day"),), "reading_day")
BOUGHT: Final = Layout(
    "bought",
    (
        Field("purchase_no", 1, "count"),
        Field("bought_now", 4, "money", 2),
        Field("bought_total", 4, "money", 2),
        Field("balance", 4, "money", 2),
        _STATUS,
    ),
    "balance",
)
KEY_VERSION: Final = Layout("key-version", (Field("key_version", 1, "count"),), "key_version")

DI_CURRENT: Final = 0x901F
DI_CURRENT_COOLING: Final = 0x911F
DI_CLOCK: Final = 0x907F
DI_VALVE: Final = 0xA017
DI_ADDRESS: Final = 0x810A
DI_WRITE_ADDRESS: Final = 0xA018
DI_SET_CLOCK: Final = 0xA015
DI_PRICES: Final = 0x8102
DI_SETTLEMENT_DAY: Final = 0x8103
DI_READING_DAY: Final = 0x8104
DI_BOUGHT: Final = 0x8105
DI_KEY_VERSION: Final = 0x8106
DI_SET_SETTLEMENT_DAY: Final = 0xA011
DI_SET_READING_DAY: Final = 0xA012
DI_SYNCHRONISE: Final = 0xA016

# What is kept: the first data id, that of the newest, and how many there are.
MONTHS_2004: Final = (0xD120, 12)
MONTHS_2018: Final = (0xD200, 256)
TIMED_2018: Final = (0xD300, 256)


@lru_cache(maxsize=256)
def unit_before_value(layout: Layout) -> Layout:
    """The same layout from a maker who sends each unit code before its digits."""
    return replace(layout, name=layout.name + "/unit-first", unit_first=True)


def renamed(layout: Layout, suffix: str, names: dict[str, str]) -> Layout:
    """The same bytes under other names, for a maker who gives the slots another meaning."""
    fields = tuple(replace(f, name=names.get(f.name, f.name)) for f in layout.fields)
    primary = names.get(layout.primary, layout.primary)
    return replace(layout, name=f"{layout.name}/{suffix}", fields=fields, primary=primary)


COOLING_NAMES: Final = {"settlement_heat": "settlement_cooling", "current_heat": "current_cooling"}
# Type 21H counts cold: the same bytes, and cold must never be booked as heat.
COOLING_2004: Final = renamed(HEAT_2004, "cooling", COOLING_NAMES)
COOLING_2018: Final = renamed(HEAT_2018, "cooling", COOLING_NAMES)
# Some heat and cooling meters put the running cold register where the standard has the
# settlement day's heat. The bytes can not tell, so this is chosen by name only.
COOLING_FIRST_2004: Final = renamed(
    HEAT_2004, "cooling-first", {"settlement_heat": "current_cooling"}
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model of meter sends.

    `current`, by family ("heat", "cooling", "volume", "energy"), lists the layouts of 901F in the
    order in which they are tried: the standard's own first. A later one is taken only where all
    its units and digits fit and no other departure fits as well. `di_high_first` is the order in
    which requests write the data id (2004: 90 1F; 2018 and many 2004 meters: 1F 90); answers are
    read in either. `months` are its settlement days, `days` what it freezes by plan, once a day
    (water and gas meters, 2018); None: it does not. `is_unit_first` is about what it keeps.
    """

    name: str
    current: dict[str, tuple[Layout, ...]]
    di_high_first: bool = True
    months: tuple[int, int] = MONTHS_2004
    days: tuple[int, int] | None = None
    is_unit_first: bool = False


_STANDARD_CURRENT: Final[dict[str, tuple[Layout, ...]]] = {
    "heat": (HEAT_2004, HEAT_2018, unit_before_value(HEAT_2004), unit_before_value(HEAT_2018)),
    "room": (ROOM_SENSOR, HEAT_2004, HEAT_2018),
    "cooling": (
        COOLING_2004,
        COOLING_2018,
        unit_before_value(COOLING_2004),
        unit_before_value(COOLING_2018),
    ),
    "volume": (VOLUME_METER, unit_before_value(VOLUME_METER), SHORT_VOLUME),
    "energy": (ENERGY_METER, unit_before_value(ENERGY_METER), VOLUME_METER),
}
# A broadcast or unheard-of type: whatever fits.
_STANDARD_CURRENT["any"] = (
    *_STANDARD_CURRENT["heat"],
    *_STANDARD_CURRENT["volume"],
    *_STANDARD_CURRENT["energy"][:2],
)

DEFAULT: Final = Profile("default", _STANDARD_CURRENT)
LOW_FIRST: Final = Profile("low-first", _STANDARD_CURRENT, di_high_first=False)
COOLING_FIRST: Final = Profile(
    "cooling-first", {**_STANDARD_CURRENT, "heat": (COOLING_FIRST_2004,)}, di_high_first=False
)
UNIT_FIRST: Final = Profile(
    "unit-first",
    {**_STANDARD_CURRENT, "heat": (unit_before_value(HEAT_2004), unit_before_value(HEAT_2018))},
    is_unit_first=True,
)
# The standard's 2018 edition: data ids low byte first, months with cooling and volume, and days.
EDITION_2018: Final = Profile(
    "2018", _STANDARD_CURRENT, di_high_first=False, months=MONTHS_2018, days=TIMED_2018
)
PROFILES: Final = {p.name: p for p in (DEFAULT, LOW_FIRST, COOLING_FIRST, UNIT_FIRST, EDITION_2018)}

ROOM_SENSOR_TYPE: Final = 0x2A


def family(meter_type: int) -> str:
    """The family of a type byte T (§5.3.2: 10H-19H water, 20H-29H heat, 30H-39H gas, 40H-49H
    other). 22H-2FH occur in the field for heat meters; anything else is "any"."""
    if meter_type == ROOM_SENSOR_TYPE:
        return "room"
    if meter_type == 0x21:
        return "cooling"
    return {1: "volume", 2: "heat", 3: "volume", 4: "energy"}.get(meter_type >> 4, "any")


_HISTORY: Final = {
    "heat": HISTORY_HEAT,
    "cooling": renamed(HISTORY_HEAT, "cooling", COOLING_NAMES),
    "energy": HISTORY_ENERGY,
}


_FIXED: Final[dict[int, Layout]] = {
    DI_CURRENT_COOLING: HEAT_COOLING_2018,
    DI_CLOCK: CLOCK,
    DI_VALVE: STATUS_ONLY,
    DI_SYNCHRONISE: STATUS_ONLY,
    DI_PRICES: PRICES,
    DI_SETTLEMENT_DAY: SETTLEMENT_DAY,
    DI_READING_DAY: READING_DAY,
    DI_BOUGHT: BOUGHT,
    DI_KEY_VERSION: KEY_VERSION,
}


def layouts_for(di: int, meter_type: int, profile: Profile) -> tuple[Layout, ...]:
    """The layouts an answer to `di` may have, in the order in which they are tried."""
    kind = family(meter_type)
    if di == DI_CURRENT:
        return profile.current.get(kind, ())
    if di in _FIXED:
        return (_FIXED[di],)
    kept = _kept(di, kind)
    if kept is None:
        return ()
    either = kept, unit_before_value(kept)
    return either[1:] if profile.is_unit_first else either


def _kept(di: int, kind: str) -> Layout | None:
    """The standard's layout of what a meter has frozen."""
    if 0xD200 <= di <= 0xD2FF and kind in ("heat", "cooling"):
        return HISTORY_HEAT_2018
    if 0xD120 <= di <= 0xD12B or 0xD200 <= di <= 0xD2FF:
        return _HISTORY.get(kind, HISTORY_VOLUME)
    return FREEZE_VOLUME if 0xD300 <= di <= 0xD4FF and kind == "volume" else None
