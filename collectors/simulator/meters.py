"""Simulated meters: given a request frame and the time, the bytes of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, Final, Protocol

from collectors.frames import cjt188
from collectors.frames import cjt188_payload as payloads
from collectors.frames import cjt188_profiles as tables
from collectors.frames.cjt188_units import UNITS
from collectors.simulator.faults import FaultPlan
from collectors.simulator.times import LOCAL

Source = Callable[[datetime], Mapping[str, int]]
Answer = bytes | None
Content = tuple[tables.Layout | None, Mapping[str, Any]]  # of an answer

WATER_TYPE, HEAT_TYPE, GAS_TYPE, ELECTRICITY_TYPE = 0x10, 0x20, 0x30, 0x40
WILD_TYPE: Final = 0xAA


class Meter(Protocol):
    """Something that hangs on a bus. `address` is what a session's Target names it by."""

    address: str
    faults: FaultPlan

    @property
    def protocol(self) -> str: ...

    def answer(self, request: Any, now: datetime) -> Answer:
        """The answer to a request frame, None where the meter is not meant or has none."""

    def stranger(self, request: Any, now: datetime) -> Answer:
        """The same answer as a meter of another address would give it."""


def month_start(now: datetime) -> datetime:
    """The settlement moment: local midnight of the first of the month `now` is in."""
    return now.astimezone(LOCAL).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def earlier_month(moment: datetime, months: int) -> datetime:
    for _ in range(months):
        moment = month_start(moment - timedelta(days=1))
    return moment


def _rolled_over(layout: tables.Layout | None, amounts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Registers as their dials show them: past the last digit they begin again at zero."""
    shown = dict(amounts)
    for item in layout.fields if layout else ():
        if item.unit is not None and isinstance(shown.get(item.name), int):
            unit = UNITS[item.unit]
            counts = 10 ** (2 * item.size - item.decimals)
            shown[item.name] %= counts * unit.numerator // unit.denominator
    return shown


@dataclass
class CjtMeter:
    """What all CJ/T 188 meters share: whose answer it is, reading the address, the valve, the
    settlement-day history, refusing what it does not know."""

    address: str
    source: Source
    meter_type: int = HEAT_TYPE
    layout: tables.Layout = tables.HEAT_2004
    history: tables.Layout | None = None
    register: str = ""  # the source's name of the register that is settled
    has_valve: bool = False
    takes_wildcards: bool = False  # answers to its low address bytes alone, the others being AA
    faults: FaultPlan = field(default_factory=FaultPlan)
    is_valve_open: bool = True
    clock_error: timedelta = timedelta(0)  # what its clock is ahead of the bus's
    valve_orders: int = 0  # how often the valve has been told to move
    days: int = 0  # how many midnights it keeps (2018: water and gas meters)
    freezes_hourly: bool = False  # its plan of freezes is one an hour instead
    is_2018: bool = False  # keeps its months as D2xx too
    settlement_day: int = 1
    reading_day: int = 1
    key_version: int = 1
    protocol: ClassVar[str] = "cjt188"

    def __post_init__(self) -> None:
        self.address = self.address.upper()
        # The last settlement's register is asked for in every answer and changes once a month.
        self._settled = lru_cache(maxsize=16)(lambda when: self.source(when)[self.register])

    @property
    def status(self) -> bytes:
        """D0: the valve is closed."""
        return bytes((0 if self.is_valve_open else 1, 0))

    def answer(self, request: cjt188.Message, now: datetime) -> Answer:
        if request.is_answer or not self._is_meant(request):
            return None
        return self._answer_as(self.address, request, now)

    def _is_meant(self, request: cjt188.Message) -> bool:
        if (
            request.meter_type not in (self.meter_type, WILD_TYPE)
            and request.address != self.address
        ):
            return False
        if self.takes_wildcards and request.address.startswith("AA"):
            return self.address.endswith(request.address.lstrip("A"))
        return request.address in (self.address, cjt188.BROADCAST)

    def stranger(self, request: cjt188.Message, now: datetime) -> Answer:
        other = f"{(int(self.address, 16) + 1) % 16**14:014X}"
        return self._answer_as(other, request, now)

    def _answer_as(self, address: str, request: cjt188.Message, now: datetime) -> bytes:
        answer = self._content(request, now)
        if answer is None:
            return cjt188.encode_refusal(
                request, address=address, meter_type=self.meter_type, status=self.status
            )
        layout, amounts = answer
        shown = _rolled_over(layout, amounts)
        return cjt188.encode_answer(
            request, layout, shown, address=address, meter_type=self.meter_type
        )

    def _content(self, request: cjt188.Message, now: datetime) -> Content | None:
        """Layout and amounts of the answer, or None to refuse."""
        control, di = request.control, request.di
        if control == cjt188.READ_ADDRESS:
            return None if di is None else (None, {})
        if control == cjt188.READ_KEY and di == tables.DI_KEY_VERSION:
            return tables.KEY_VERSION, {"key_version": self.key_version}
        if control == cjt188.WRITE_ADDRESS and di == tables.DI_WRITE_ADDRESS:
            return self._take_address(request.payload)
        if control == cjt188.WRITE:
            return self._write(di, request.payload, now)
        if control != cjt188.READ or di is None:
            return None
        return self._read(di, now)

    def _read(self, di: int, now: datetime) -> Content | None:
        if di == tables.DI_CURRENT:
            return self.layout, self.amounts(now)
        if di == tables.DI_CLOCK:
            return tables.CLOCK, {"meter_time": self._clock(now)}
        if di == tables.DI_SETTLEMENT_DAY:
            return tables.SETTLEMENT_DAY, {"settlement_day": self.settlement_day}
        if di == tables.DI_READING_DAY:
            return tables.READING_DAY, {"reading_day": self.reading_day}
        if self.history and 0xD120 <= di <= 0xD12B:
            moment = earlier_month(month_start(now), di - 0xD120)
            return self.history, {self.history.primary: self._settled(moment)}
        if self.history and self.is_2018 and di >> 8 == 0xD2:
            return self._month_2018(self.history, earlier_month(month_start(now), di & 0xFF))
        return self._frozen(di & 0xFF, now) if di >> 8 == 0xD3 else None

    def _month_2018(self, history: tables.Layout, moment: datetime) -> Content:
        if history is not tables.HISTORY_HEAT:
            return history, {history.primary: self._settled(moment)}
        then = self.source(moment)
        amounts = {"settlement_heat": then["energy_wh"], "settlement_volume": then["volume_l"]}
        return tables.HISTORY_HEAT_2018, {**amounts, "settlement_cooling": 0}

    def _frozen(self, number: int, now: datetime) -> Content | None:
        """What was frozen by plan, the newest first."""
        wall = now.astimezone(LOCAL).replace(minute=0, second=0, microsecond=0)
        step = timedelta(hours=1) if self.freezes_hourly else timedelta(days=1)
        if not self.freezes_hourly:
            wall = wall.replace(hour=0)
        if number * step >= timedelta(days=self.days):
            return None
        moment = wall - number * step
        amounts = {
            "meter_time": moment.replace(tzinfo=None),
            "cumulative_volume": self.source(moment)["volume_l"],
        }
        return tables.FREEZE_VOLUME, {**amounts, "flow": 0, "water_temp": 1_500, "pressure": 30}

    def _write(self, di: int | None, payload: bytes, now: datetime) -> Content | None:
        if di == tables.DI_VALVE and self.has_valve:
            return self._move_valve(payload)
        if di == tables.DI_SET_CLOCK:
            return self._set_clock(payload, now)
        is_day = len(payload) == 1 and payload.hex().isdecimal() and 0 < int(payload.hex()) < 32
        if di == tables.DI_SET_SETTLEMENT_DAY and is_day:
            self.settlement_day = int(payload.hex())
            return None, {}
        if di == tables.DI_SET_READING_DAY and is_day:
            self.reading_day = int(payload.hex())
            return None, {}
        return None

    def _take_address(self, wire: bytes) -> Content | None:
        if len(wire) != 7:
            return None
        self.address = wire[::-1].hex().upper()
        return None, {}

    def _move_valve(self, order: bytes) -> Content | None:
        if order not in (bytes((cjt188.VALVE_OPEN,)), bytes((cjt188.VALVE_CLOSE,))):
            return None
        self.valve_orders += 1
        self.is_valve_open = order[0] == cjt188.VALVE_OPEN
        return tables.STATUS_ONLY, {"status": self.status}

    def _set_clock(self, time: bytes, now: datetime) -> Content | None:
        wall = payloads.read_time(time)
        if wall is None:
            return None
        self.clock_error = wall.replace(tzinfo=LOCAL) - now
        return None, {}

    def amounts(self, now: datetime) -> Mapping[str, Any]:
        """The registers of `layout` at a moment."""
        raise NotImplementedError

    def _clock(self, now: datetime) -> datetime:
        shown = now + self.clock_error + self.faults.clock_shift
        return shown.astimezone(LOCAL).replace(tzinfo=None, microsecond=0)


class CjtHeatMeter(CjtMeter):
    """A flat's heat meter. The source gives energy_wh, volume_l, flow_lph, power_w,
    supply_cdeg and return_cdeg."""

    def __init__(self, address: str, source: Source, **options: Any):
        super().__init__(
            address, source, history=tables.HISTORY_HEAT, register="energy_wh", **options
        )

    def amounts(self, now: datetime) -> Mapping[str, Any]:
        now_values = self.source(now)
        return {
            "settlement_heat": self._settled(month_start(now)),
            "current_heat": now_values["energy_wh"],
            "heat_power": now_values["power_w"],
            "flow": now_values["flow_lph"],
            "cumulative_volume": now_values["volume_l"],
            "supply_temp": now_values["supply_cdeg"],
            "return_temp": now_values["return_cdeg"],
            "working_hours": now_values.get("working_h"),
            "meter_time": self._clock(now),
            "status": self.status,
        }


class CjtRoomSensor(CjtMeter):
    """A flat's room thermostat, type 2AH. The source gives room_cdeg."""

    def __init__(self, address: str, source: Source, **options: Any):
        super().__init__(
            address,
            source,
            meter_type=tables.ROOM_SENSOR_TYPE,
            layout=tables.ROOM_SENSOR,
            **options,
        )

    def amounts(self, now: datetime) -> Mapping[str, Any]:
        return {"room_temp": self.source(now)["room_cdeg"], "status": self.status}


# kind -> type byte, layouts of now and of history, the source's register, the two slots' names
_UTILITIES: Final = {
    "water": (
        WATER_TYPE,
        tables.VOLUME_METER,
        tables.HISTORY_VOLUME,
        "volume_l",
        ("cumulative_volume", "settlement_volume"),
    ),
    "gas": (
        GAS_TYPE,
        tables.VOLUME_METER,
        tables.HISTORY_VOLUME,
        "volume_l",
        ("cumulative_volume", "settlement_volume"),
    ),
    "electricity": (
        ELECTRICITY_TYPE,
        tables.ENERGY_METER,
        tables.HISTORY_ENERGY,
        "energy_wh",
        ("current_energy", "settlement_energy"),
    ),
}


class CjtUtilityMeter(CjtMeter):
    """A flat's water, gas or electricity meter with a valve (a relay). The source gives volume_l,
    or energy_wh for electricity."""

    def __init__(self, kind: str, address: str, source: Source, **options: Any):
        meter_type, layout, history, register, self._slots = _UTILITIES[kind]
        super().__init__(
            address,
            source,
            meter_type=meter_type,
            layout=layout,
            history=history,
            register=register,
            has_valve=True,
            **options,
        )
        self.kind = kind

    def amounts(self, now: datetime) -> Mapping[str, Any]:
        current, settled = self._slots
        return {
            current: self.source(now)[self.register],
            settled: self._settled(month_start(now)),
            "meter_time": self._clock(now),
            "status": self.status,
        }
