"""M-Bus (EN 13757-2/-3) on a bus: reset the link or select, then REQ_UD2; RSP_UD is the answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from collectors.dialects.base import (
    ANSWERED,
    NO_FREEZE,
    NO_SUPPLY,
    OWN,
    REFUSED,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    CannotAsk,
    Meaning,
    Memory,
    Step,
    Target,
)
from collectors.frames import mbus
from collectors.frames.dlt645_message import Credentials
from collectors.frames.mbus_encode import (
    CI_SELECT,
    SELECTED,
    SND_UD,
    encode_long,
    encode_req_ud2,
    encode_snd_nke,
)

# M-Bus quantity -> our name and the record's own conversion. Only current, untariffed values of
# storage 0 are read; a qualified record (a maximum, a phase) is another thing.
NAMES: Final = (
    ("Energy", "energy_wh", mbus.Record.as_wh),
    ("Volume", "volume_l", mbus.Record.as_litres),
    ("Volume flow", "flow_lph", mbus.Record.as_litres_per_hour),
    ("Power", "power_w", mbus.Record.as_watts),
    ("Flow temperature", "supply_cdeg", mbus.Record.as_cdeg),
    ("Return temperature", "return_cdeg", mbus.Record.as_cdeg),
)


class MbusDialect:
    def __init__(self, target: Target, memory: Memory):
        self.target = target

    def decode(self, buffer: bytes) -> tuple[mbus.Message | None, int]:
        return mbus.decode(buffer)

    def steps(self, target: Target, now: datetime) -> list[Step]:
        if target.freeze:
            raise CannotAsk("not read from M-Bus meters yet", NO_FREEZE)
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

    def supply_steps(
        self, target: Target, *, is_open: bool, until: datetime, credentials: Credentials | None
    ) -> list[Step]:
        raise CannotAsk("M-Bus has no order for a valve", NO_SUPPLY)

    def meaning(self, answers: Sequence[mbus.Variable]) -> Meaning:
        message = answers[-1]
        values = {}
        for quantity, name, convert in NAMES:
            record = message.find(quantity)
            amount = convert(record) if record else None
            if amount is not None:
                values[name] = amount
        status = bytes((message.status or 0,))
        problem = "" if "energy_wh" in values else "energy: no believable record"
        return Meaning({} if problem else values, problem, None, status)

    def refusal(self, message: mbus.Message) -> str:
        return message.meaning()


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
