"""CJ/T 188 on a bus: one question, one answer, matched on address, control and data id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from collectors.dialects.base import (
    ANSWERED,
    LOCAL,
    NO_FREEZE,
    OWN,
    REFUSED,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    CannotAsk,
    Errand,
    Freeze,
    Meaning,
    Memory,
    Step,
    Target,
    is_of,
    look_next,
)
from collectors.frames import cjt188
from collectors.frames.cjt188_profiles import (
    DI_ADDRESS,
    DI_KEY_VERSION,
    DI_READING_DAY,
    DI_SET_READING_DAY,
    DI_SET_SETTLEMENT_DAY,
    DI_SETTLEMENT_DAY,
    DI_VALVE,
    DI_WRITE_ADDRESS,
    PROFILES,
    READING_DAY,
    SETTLEMENT_DAY,
    Layout,
    family,
)
from collectors.frames.dlt645_message import Credentials

# CJ/T 188 register names -> the names all of Nuan uses, with their unit.
NAMES: Final = {
    "current_heat": "energy_wh",
    "current_energy": "energy_wh",
    "settlement_heat": "settlement_energy_wh",
    "settlement_energy": "settlement_energy_wh",
    "current_cooling": "cooling_wh",
    "settlement_cooling": "settlement_cooling_wh",
    "cumulative_volume": "volume_l",
    "settlement_volume": "settlement_volume_l",
    "heat_power": "power_w",
    "flow": "flow_lph",
    "supply_temp": "supply_cdeg",
    "return_temp": "return_cdeg",
    "room_temp": "room_cdeg",
    "working_hours": "working_h",
}
Looks = tuple[tuple[int, datetime], ...]


class CjtDialect:
    """The answer's type and SER are not compared: meters of type 25H answer questions for 20H,
    and many keep a SER of their own."""

    def __init__(self, target: Target, memory: Memory):
        if target.profile not in PROFILES:
            raise ValueError(f"no CJ/T 188 profile is called {target.profile!r}")
        if target.address.upper() == cjt188.BROADCAST:
            raise ValueError("the wildcard is no address of one meter")
        self.profile, self.freeze, self.target = PROFILES[target.profile], target.freeze, target
        self.address = target.address.upper()

    def decode(self, buffer: bytes) -> tuple[cjt188.Message | None, int]:
        return cjt188.decode(buffer, self.profile)

    def steps(self, target: Target, now: datetime) -> list[Step]:
        if target.freeze is None:
            return [self.ask(target.di)]
        if target.freeze.period == "day":
            return [self._day(target.freeze, now)]
        first, count = self.profile.months
        return [self.ask(first + target.freeze.back(now, count) - 1)]

    def ask(self, di: int, then: Callable[[cjt188.Message], Step | None] | None = None) -> Step:
        """A question for one data id."""
        request = cjt188.encode_read(
            self.target.address, self.target.meter_type, di=di, profile=self.profile
        )
        return Step(request, partial(self._judge, di), then)

    def _judge(self, di: int, message: cjt188.Message) -> str:
        verdict = judge(self.address, cjt188.READ, di, message)
        # It can not say why, and asking again for what it does not keep is no use.
        return NO_FREEZE if verdict == REFUSED and self.freeze else verdict

    def _day(self, freeze: Freeze, now: datetime) -> Step:
        """What was frozen by plan, each with its moment (D3xx, 2018: water and gas meters)."""
        if self.profile.days is None or family(self.target.meter_type) != "volume":
            raise CannotAsk("this CJ/T 188 meter keeps no days", NO_FREEZE)
        return self._look(freeze, freeze.back(now, self.profile.days[1]), ())

    def _look(self, freeze: Freeze, back: int, looks: Looks) -> Step:
        first = self.profile.days[0] if self.profile.days else 0
        return self.ask(first + back - 1, partial(self._on_moment, freeze, back, looks))

    def _on_moment(
        self, freeze: Freeze, back: int, looks: Looks, answer: cjt188.Message
    ) -> Step | None:
        moment = answer.reading.meter_time if answer.reading else None
        if moment is None or is_of(moment, freeze.on) or self.profile.days is None:
            return None
        looks = (*looks, (back, moment))
        elsewhere = look_next(looks, freeze.on, self.profile.days[1])
        return None if elsewhere is None else self._look(freeze, elsewhere, looks)

    def supply_steps(
        self, target: Target, *, is_open: bool, until: datetime, credentials: Credentials | None
    ) -> list[Step]:
        """The order to the valve; it is answered by the status alone (§7.4). It knows no expiry."""
        request = cjt188.encode_valve(
            target.address, target.meter_type, is_open=is_open, profile=self.profile
        )
        address = target.address.upper()
        return [Step(request, partial(judge, address, cjt188.WRITE, DI_VALVE))]

    def meaning(self, answers: Sequence[cjt188.Message]) -> Meaning:
        message = answers[-1]
        reading = message.reading
        if reading is None:
            return Meaning(problem="no known layout fits the answer")
        if not reading.is_readable:
            primary = reading.layout.primary
            return Meaning(problem=f"{primary}: {reading.faults[primary]}")
        values = {NAMES[v.name]: v.amount for v in reading.values if v.name in NAMES}
        meaning = Meaning(values, "", reading.meter_time, reading.status or b"")
        return _as_frozen(meaning, self.freeze) if self.freeze else meaning

    def refusal(self, message: cjt188.Message) -> str:
        return f"status {message.status.hex().upper()}" if message.status else ""


def _as_frozen(meaning: Meaning, freeze: Freeze) -> Meaning:
    """What is called the settlement day's is what the meter counted then."""
    moment = meaning.meter_time
    if moment is not None and not is_of(moment, freeze.on):
        return Meaning(problem="that day was not frozen", reason=NO_FREEZE)
    values = {name.removeprefix("settlement_"): v for name, v in meaning.values.items()}
    stated = moment.replace(tzinfo=LOCAL).astimezone(UTC) if moment else freeze.at
    return replace(meaning, values=values, meter_time=None, frozen_at=stated)


def judge(address: str, control: int, di: int, message: cjt188.Message) -> str:
    """Whether a frame is the answer of that address to that question."""
    if not message.is_answer:
        return OWN
    if message.address != address:
        return WRONG_ADDRESS
    if message.is_refusal:
        return REFUSED
    is_ours = message.control == control | cjt188.ANSWER and message.di == di
    return ANSWERED if is_ours else WRONG_ANSWER


# D1 D0 of a CJ/T 188 status (table 6): 00 the valve is open, 01 closed, 11 something is wrong.
_VALVE_BITS: Final = {0b00: True, 0b01: False}


def valve_is_open(status: bytes) -> bool | None:
    """What a CJ/T 188 status says of the valve; None where it says nothing certain."""
    return _VALVE_BITS.get(status[0] & 0b11) if status else None


# --- errands ------------------------------------------------------------------------------------

# What the two days of the month are read by, written by, and their layout.
_DAYS: Final[dict[str, tuple[int, int, Layout]]] = {
    "settlement": (DI_SETTLEMENT_DAY, DI_SET_SETTLEMENT_DAY, SETTLEMENT_DAY),
    "reading": (DI_READING_DAY, DI_SET_READING_DAY, READING_DAY),
}


def read_address(meter_type: int = 0xAA, profile: str = "default") -> Errand[str]:
    """The address of the only meter on a line, by the wildcard (C = 03H, §7.2.4)."""
    anybody = Target("cjt188", "0" * 14, meter_type, profile)
    dialect = CjtDialect(anybody, {})
    request = cjt188.encode_read_address(meter_type, profile=dialect.profile)
    steps = [Step(request, _judge_address)]
    return Errand(anybody, dialect, steps, lambda answers: str(answers[-1].address))


def _judge_address(message: cjt188.Message) -> str:
    return judge(message.address, cjt188.READ_ADDRESS, DI_ADDRESS, message)


def write_address(target: Target, new: str) -> Errand[None]:
    """Give a meter a new address of 14 digits; it answers under either."""
    dialect = CjtDialect(target, {})
    request = cjt188.encode_write_address(
        target.address, target.meter_type, new, profile=dialect.profile
    )

    def judged(message: cjt188.Message) -> str:
        address = new.upper() if message.address == new.upper() else dialect.address
        return judge(address, cjt188.WRITE_ADDRESS, DI_WRITE_ADDRESS, message)

    return Errand(target, dialect, [Step(request, judged)], lambda answers: None)


def read_day(target: Target, which: str) -> Errand[int]:
    """The day of the month on which it settles ("settlement") or is read ("reading")."""
    di, _, layout = _DAYS[which]
    dialect = CjtDialect(target, {})
    return Errand(target, dialect, [dialect.ask(di)], partial(_item, layout.primary))


def write_day(target: Target, which: str, day: int) -> Errand[None]:
    """Set that day, 1 to 28: no month is without it. Raises ValueError for another."""
    if not 1 <= day <= 28:
        raise ValueError(f"{day} is no day that every month has")
    _, di, layout = _DAYS[which]
    dialect = CjtDialect(target, {})
    request = cjt188.encode_write(
        target.address,
        target.meter_type,
        di,
        layout,
        {layout.primary: day},
        profile=dialect.profile,
    )
    steps = [Step(request, partial(judge, dialect.address, cjt188.WRITE, di))]
    return Errand(target, dialect, steps, lambda answers: None)


def read_key_version(target: Target) -> Errand[int]:
    """Which version of its key a meter has (C = 09H)."""
    dialect = CjtDialect(target, {})
    request = cjt188.encode_read_key_version(
        target.address, target.meter_type, profile=dialect.profile
    )
    steps = [Step(request, partial(judge, dialect.address, cjt188.READ_KEY, DI_KEY_VERSION))]
    return Errand(target, dialect, steps, partial(_item, "key_version"))


def _item(name: str, answers: Sequence[cjt188.Message]) -> int:
    reading = answers[-1].reading
    amount = reading.amount(name) if reading else None
    if amount is None:
        raise ValueError(f"{name} can not be read")
    return amount
