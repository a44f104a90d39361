"""CJ/T 188 on a bus: one question, one answer, matched on address, control and data id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from collectors.dialects.base import (
    ANSWERED,
    NO_FREEZE,
    OWN,
    REFUSED,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    CannotAsk,
    Freeze,
    Meaning,
    Memory,
    Step,
    Target,
)
from collectors.frames import cjt188
from collectors.frames.cjt188_profiles import DI_VALVE, PROFILES
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
DI_MONTH: Final = 0xD120  # the last settlement day; D12B the twelfth last
MONTHS: Final = 12


class CjtDialect:
    """The answer's type and SER are not compared: meters of type 25H answer questions for 20H,
    and many keep a SER of their own."""

    def __init__(self, target: Target, memory: Memory):
        if target.profile not in PROFILES:
            raise ValueError(f"no CJ/T 188 profile is called {target.profile!r}")
        self.profile, self.freeze, self.di = PROFILES[target.profile], target.freeze, target.di

    def decode(self, buffer: bytes) -> tuple[cjt188.Message | None, int]:
        return cjt188.decode(buffer, self.profile)

    def steps(self, target: Target, now: datetime) -> list[Step]:
        di = _frozen_di(target.freeze, now) if target.freeze else target.di
        request = cjt188.encode_read(target.address, target.meter_type, di=di, profile=self.profile)
        return [Step(request, partial(judge, target.address.upper(), cjt188.READ, di))]

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


def _frozen_di(freeze: Freeze, now: datetime) -> int:
    if freeze.period == "day":
        raise CannotAsk("CJ/T 188 meters keep no days", NO_FREEZE)
    return DI_MONTH + freeze.back(now, MONTHS) - 1


def _as_frozen(meaning: Meaning, freeze: Freeze) -> Meaning:
    """What is called the settlement day's is what the meter counted then."""
    values = {name.removeprefix("settlement_"): v for name, v in meaning.values.items()}
    return replace(meaning, values=values, frozen_at=freeze.at)


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
