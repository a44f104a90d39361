"""How each protocol asks a meter for its current reading, and what counts as the answer.

A dialect turns a target into steps. A step is bytes to send and a judge: shown every good frame
that comes back, it says whether this is the answer, and if not, why not. The session does the
rest: timeouts, retries, resynchronisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from collectors.frames import cjt188, mbus
from collectors.frames.cjt188_profiles import DI_CURRENT, DI_VALVE, PROFILES
from collectors.frames.mbus_encode import (
    CI_SELECT,
    SELECTED,
    SND_UD,
    encode_long,
    encode_req_ud2,
    encode_snd_nke,
)

# What a judge may say of a frame that is not the answer. "own" is no reply at all: our request.
ANSWERED: Final = ""
OWN: Final = "own"
WRONG_ADDRESS: Final = "wrong_address"
WRONG_ANSWER: Final = "wrong_answer"
REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class Target:
    """One meter on a bus.

    protocol     "cjt188", "mbus", "modbus" (RTU) or "modbus_tcp"
    address      CJ/T 188: 14 digits, high byte first. M-Bus: a primary address "0" to "250", or
                 the secondary address of 16 digits (id 8, manufacturer 4, version 2, medium 2 as
                 on the wire) or 8 (the id alone, the rest matching anything). Modbus: the
                 unit, "1" to "247"
    meter_type   CJ/T 188 type byte to ask with; a meter may answer with another of its family
    profile      CJ/T 188: which departures of its maker to expect (`cjt188_profiles.PROFILES`);
                 Modbus: its register map (`register_maps.names`), "default" being "heat"
    di           CJ/T 188: the data id to read; D120 to D12B are the last twelve settlement days
    """

    protocol: str
    address: str
    meter_type: int = 0x20
    profile: str = "default"
    di: int = DI_CURRENT


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes to send and the judge of what comes back."""

    request: bytes
    judge: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an answer says: values in the units of their names; `problem` where there are none."""

    values: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    meter_time: datetime | None = None
    status: bytes = b""


class Dialect(Protocol):
    """One protocol's way of reading a meter."""

    def decode(self, buffer: bytes) -> tuple[Any, int]:
        """The codec's decode, raising FrameError."""

    def steps(self, target: Target) -> list[Step]:
        """The conversation that ends in the meter's answer. Raises ValueError for an address
        the protocol does not have."""

    def meaning(self, message: Any) -> Meaning:
        """The values of the last step's answer."""


# CJ/T 188 register names -> the names all of Nuan uses, with their unit.
CJT_NAMES: Final = {
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


class CjtDialect:
    """CJ/T 188: one question, one answer, matched on address, control and data id.

    The answer's type and SER are not compared: meters of type 25H answer questions for 20H, and
    many keep a SER of their own.
    """

    def __init__(self, profile: str, di: int):
        if profile not in PROFILES:
            raise ValueError(f"no CJ/T 188 profile is called {profile!r}")
        self.profile, self.di = PROFILES[profile], di

    def decode(self, buffer: bytes) -> tuple[cjt188.Message | None, int]:
        return cjt188.decode(buffer, self.profile)

    def steps(self, target: Target) -> list[Step]:
        request = cjt188.encode_read(
            target.address, target.meter_type, di=self.di, profile=self.profile
        )
        address = target.address.upper()
        return [Step(request, lambda message: self._judge(message, address))]

    def valve_step(self, target: Target, is_open: bool) -> Step:
        """The order to the valve; it is answered by the status alone (§7.4)."""
        request = cjt188.encode_valve(
            target.address, target.meter_type, is_open=is_open, profile=self.profile
        )
        address, control = target.address.upper(), cjt188.WRITE
        return Step(request, lambda message: self._judge(message, address, control, DI_VALVE))

    def _judge(
        self,
        message: cjt188.Message,
        address: str,
        control: int = cjt188.READ,
        di: int | None = None,
    ) -> str:
        if not message.is_answer:
            return OWN
        if message.address != address:
            return WRONG_ADDRESS
        if message.is_refusal:
            return REFUSED
        is_ours = message.control == control | cjt188.ANSWER
        is_ours = is_ours and message.di == (self.di if di is None else di)
        return ANSWERED if is_ours else WRONG_ANSWER

    def meaning(self, message: cjt188.Message) -> Meaning:
        reading = message.reading
        if reading is None:
            return Meaning(problem="no known layout fits the answer")
        if not reading.is_readable:
            primary = reading.layout.primary
            return Meaning(problem=f"{primary}: {reading.faults[primary]}")
        values = {CJT_NAMES[v.name]: v.amount for v in reading.values if v.name in CJT_NAMES}
        return Meaning(values, "", reading.meter_time, reading.status or b"")


# D1 D0 of a CJ/T 188 status (table 6): 00 the valve is open, 01 closed, 11 something is wrong.
_VALVE_BITS: Final = {0b00: True, 0b01: False}


def valve_is_open(status: bytes) -> bool | None:
    """What a CJ/T 188 status says of the valve; None where it says nothing certain."""
    return _VALVE_BITS.get(status[0] & 0b11) if status else None


# M-Bus quantity -> our name and the record's own conversion. Only current, untariffed values of
# storage 0 are read; a qualified record (a maximum, a phase) is another thing.
MBUS_NAMES: Final = (
    ("Energy", "energy_wh", mbus.Record.as_wh),
    ("Volume", "volume_l", mbus.Record.as_litres),
    ("Volume flow", "flow_lph", mbus.Record.as_litres_per_hour),
    ("Power", "power_w", mbus.Record.as_watts),
    ("Flow temperature", "supply_cdeg", mbus.Record.as_cdeg),
    ("Return temperature", "return_cdeg", mbus.Record.as_cdeg),
)


class MbusDialect:
    """M-Bus (EN 13757-2/-3): reset the link or select, then REQ_UD2, and RSP_UD is the answer."""

    def decode(self, buffer: bytes) -> tuple[mbus.Message | None, int]:
        return mbus.decode(buffer)

    def steps(self, target: Target) -> list[Step]:
        if len(target.address) in (8, 16):
            secondary = target.address.upper().ljust(16, "F")
            return [
                Step(_select(secondary), _judge_ack),
                Step(encode_req_ud2(SELECTED, True), lambda m: _judge_secondary(m, secondary)),
            ]
        primary = int(target.address)
        if not 0 <= primary <= 250:
            raise ValueError(f"{primary} is no primary address of a meter (0 to 250)")
        return [
            Step(encode_snd_nke(primary), _judge_ack),
            Step(encode_req_ud2(primary, True), lambda m: _judge_primary(m, primary)),
        ]

    def meaning(self, message: mbus.Variable) -> Meaning:
        values = {}
        for quantity, name, convert in MBUS_NAMES:
            record = message.find(quantity)
            amount = convert(record) if record else None
            if amount is not None:
                values[name] = amount
        status = bytes((message.status or 0,))
        problem = "" if "energy_wh" in values else "energy: no believable record"
        return Meaning({} if problem else values, problem, None, status)


def _select(secondary: str) -> bytes:
    """Select by id, manufacturer, version and medium, all but the id as they go on the wire."""
    data = bytes.fromhex(secondary[:8])[::-1] + bytes.fromhex(secondary[8:])
    return encode_long(SND_UD, SELECTED, CI_SELECT, data)


def _judge_ack(message: mbus.Message) -> str:
    if isinstance(message, mbus.Ack):
        return ANSWERED
    # A request comes back only as an echo; what a meter sends has the direction bit clear.
    return OWN if getattr(message, "control", 0) & 0x40 else WRONG_ANSWER


def _judge_response(message: mbus.Message) -> str:
    """RSP_UD with variable data is the answer; an application error is a refusal."""
    control = getattr(message, "control", None)
    if control is None:
        return WRONG_ANSWER
    if control & 0x40:
        return OWN
    if isinstance(message, mbus.ApplicationError):
        return REFUSED
    is_data = isinstance(message, mbus.Variable) and control & 0x0F == 0x08
    return ANSWERED if is_data else WRONG_ANSWER


def _judge_primary(message: mbus.Message, primary: int) -> str:
    verdict = _judge_response(message)
    if verdict in (ANSWERED, REFUSED) and getattr(message, "address", None) != primary:
        return WRONG_ADDRESS
    return verdict


def _judge_secondary(message: mbus.Message, secondary: str) -> str:
    verdict = _judge_response(message)
    if (
        verdict == ANSWERED
        and isinstance(message, mbus.Variable)
        and not _is_id(message.id or "", secondary[:8])
    ):
        return WRONG_ADDRESS
    return verdict


def _is_id(found: str, asked: str) -> bool:
    """Whether an id matches one asked for, in which F stands for any digit (§11.5)."""
    return len(found) == 8 and all(a in ("F", f) for a, f in zip(asked, found, strict=True))


def valve_dialect_for(target: Target) -> CjtDialect:
    """The dialect a target's valve is ordered in. Raises ValueError where there is none."""
    if target.protocol != "cjt188":
        raise ValueError(f"{target.protocol} has no order for a valve")
    return CjtDialect(target.profile, target.di)


def dialect_for(target: Target) -> Dialect:
    """The dialect of a target's protocol. Raises ValueError for one there is none for."""
    if target.protocol == "cjt188":
        return CjtDialect(target.profile, target.di)
    if target.protocol == "mbus":
        return MbusDialect()
    if target.protocol in ("modbus", "modbus_tcp"):
        # Here, because that dialect is built from this module's parts.
        from collectors.modbus_dialect import ModbusDialect

        return ModbusDialect(target)
    raise ValueError(f"no protocol is called {target.protocol!r}")
