"""How a Modbus meter is asked for its current reading: the reads its register map needs.

Target("modbus", "17", profile="tuf-2000")       RTU, on a serial line or behind a serial server
Target("modbus_tcp", "1", profile="heat")        MBAP, a gateway or meter that speaks Modbus TCP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Final

from collectors import register_maps
from collectors.dialects.base import (
    ANSWERED,
    LOCAL,
    NO_FREEZE,
    NO_SUPPLY,
    REFUSED,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    CannotAsk,
    Freeze,
    Meaning,
    Memory,
    Step,
    Target,
    is_of,
)
from collectors.frames import modbus, modbus_map
from collectors.frames import modbus_pdu as pdus
from collectors.frames.dlt645_message import Credentials
from collectors.frames.modbus_map import MapReading, Read, RegisterMap

MAP_BY_DEFAULT: Final = "heat"
_MOST_BACK: Final = 400
# Acknowledged, busy, and a gateway that did not reach the meter: asking again may help.
_PASSING: Final = frozenset((0x05, 0x06, 0x0A, 0x0B))

# A late answer must not pass for the next question's, nor for another conversation's.
_transactions = count(1)


class ModbusDialect:
    """Modbus: one question for each block of the map, the one with the primary register last, so
    that what comes unasked can be that one. The frames of all are kept with the reading: a register
    may be scaled by another block.

    An RTU answer says only whose it is, the function and how many registers: all three must be
    what was asked for.
    """

    def __init__(self, target: Target, memory: Memory):
        profile = MAP_BY_DEFAULT if target.profile == "default" else target.profile
        self.whole = register_maps.shipped(profile)
        self.freeze = target.freeze
        self.is_tcp = target.protocol == "modbus_tcp"
        self.unit = _unit(target.address)
        self._use(self.whole)

    def _use(self, map_: RegisterMap) -> None:
        """Ask for the registers of one map from now on, the one with the primary last."""
        self.map = map_
        primary = next(r.field for r in map_.registers if r.name == map_.primary)
        self._reads = sorted(modbus_map.plan(map_), key=lambda read: read.holds(primary))

    def decode(self, buffer: bytes) -> tuple[modbus.Message | None, int]:
        if self.is_tcp:
            return modbus.decode_tcp(buffer, side="response")
        return modbus.decode_rtu(buffer, side="response", unit=self.unit)

    def steps(self, target: Target, now: datetime) -> list[Step]:
        if target.freeze:
            self._use(self._kept(target.freeze, now))
        return [self._step(read) for read in self._reads]

    def _kept(self, freeze: Freeze, now: datetime) -> RegisterMap:
        back = freeze.back(now, _MOST_BACK)
        found = modbus_map.kept(self.whole, freeze.period, back)
        if found is None:
            raise CannotAsk(
                f"the map {self.whole.name} has no {freeze.period} {back} back", NO_FREEZE
            )
        return found

    def supply_steps(
        self, target: Target, *, is_open: bool, until: datetime, credentials: Credentials | None
    ) -> list[Step]:
        raise CannotAsk("Modbus has no order for a valve", NO_SUPPLY)

    def _step(self, read: Read) -> Step:
        pdu = pdus.request_read(read.function, read.address, read.count)
        if not self.is_tcp:
            return Step(modbus.encode_rtu(self.unit, pdu), self._judge_for(read, None))
        transaction = next(_transactions) & 0xFFFF
        request = modbus.encode_tcp(transaction, self.unit, pdu)
        return Step(request, self._judge_for(read, transaction))

    def _judge_for(self, read: Read, transaction: int | None) -> Callable[[modbus.Message], str]:
        return partial(self._judge, read, transaction)

    def _judge(self, read: Read, transaction: int | None, message: modbus.Message) -> str:
        pdu = message.pdu
        if message.unit != self.unit:
            return WRONG_ADDRESS
        if pdu.function != read.function or message.transaction != transaction:
            return WRONG_ANSWER
        if message.is_exception:
            return WRONG_ANSWER if pdu.code in _PASSING else REFUSED
        if pdu.registers is None or len(pdu.registers) != read.count:
            return WRONG_ANSWER
        return ANSWERED

    def meaning(self, answers: Sequence[modbus.Message]) -> Meaning:
        registers: dict[tuple[int, int], int] = {}
        # What came unasked is one block only: the last, which has the primary register.
        for read, message in zip(self._reads[-len(answers) :], answers, strict=True):
            registers |= modbus_map.registers_of(read, message.pdu.registers or ())
        reading = modbus_map.read(self.map, registers)
        if not reading.is_readable:
            primary = self.map.primary
            return Meaning(problem=f"{primary}: {reading.faults[primary]}")
        if self.freeze:
            return _frozen(self.freeze, reading)
        return Meaning(dict(reading.values), "", reading.meter_time, reading.status)

    def refusal(self, message: modbus.Message) -> str:
        return f"exception {message.pdu.code:02X}" if message.pdu.code is not None else ""


def _frozen(freeze: Freeze, reading: MapReading) -> Meaning:
    moment = reading.meter_time
    if moment is not None and not is_of(moment, freeze.on):
        return Meaning(problem="that block is of another day", reason=NO_FREEZE)
    stated = moment.replace(tzinfo=LOCAL).astimezone(UTC) if moment else freeze.at
    return Meaning(dict(reading.values), frozen_at=stated)


def _unit(address: str) -> int:
    unit = int(address)
    if not 1 <= unit <= 247:
        raise ValueError(f"{unit} is no address of a Modbus meter (1 to 247)")
    return unit
