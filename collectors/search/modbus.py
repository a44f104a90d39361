"""Modbus: each unit in turn, asked for one register; whoever answers or refuses is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, ClassVar, Final

from collectors.dialects import Step
from collectors.frames import modbus
from collectors.frames import modbus_pdu as pdus
from collectors.search.base import Asking, Found

LAST_UNIT: Final = 247
# A gateway that has not reached the unit says so in its name.
_NOBODY: Final = frozenset((0x0A, 0x0B))
_transactions = count(1)


@dataclass
class ModbusScan(Asking):
    """Units `first` to `last`; the mask is the unit."""

    first: int = 1
    last: int = LAST_UNIT
    protocol: ClassVar[str] = "modbus"

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= LAST_UNIT:
            raise ValueError(f"units are 1 to {LAST_UNIT}")
        self.roots = [str(unit) for unit in range(self.first, self.last + 1)]
        self._decode = partial(modbus.decode_rtu, side="response")

    def decode(self, buffer: bytes) -> tuple[modbus.Message | None, int]:
        return self._decode(buffer)

    def steps(self, mask: str) -> list[Step]:
        unit = int(mask)
        self._decode = partial(modbus.decode_rtu, side="response", unit=unit)
        request = modbus.encode_rtu(unit, pdus.request_read(pdus.READ_HOLDING, 0, 1))
        return [self.step(request)]

    def found(self, mask: str, message: modbus.Message) -> Found | None:
        if message.unit != int(mask) or (message.is_exception and message.pdu.code in _NOBODY):
            return None
        return Found(self.protocol, mask, (mask,), "heat", "", "Modbus 从站")

    def words(self, mask: str) -> str:
        return f"从站 {mask}"


@dataclass
class ModbusTcpScan(ModbusScan):
    """The same through a gateway that speaks Modbus TCP."""

    protocol: ClassVar[str] = "modbus_tcp"

    def decode(self, buffer: bytes) -> tuple[modbus.Message | None, int]:
        return modbus.decode_tcp(buffer, side="response")

    def steps(self, mask: str) -> list[Step]:
        pdu = pdus.request_read(pdus.READ_HOLDING, 0, 1)
        return [self.step(modbus.encode_tcp(next(_transactions) & 0xFFFF, int(mask), pdu))]


def way(parameters: dict[str, Any], timeout_s: float | None) -> ModbusScan:
    """The way a job's parameters name. Raises ValueError."""
    made = ModbusTcpScan if parameters["protocol"] == "modbus_tcp" else ModbusScan
    first, last = parameters.get("first", "1"), parameters.get("last", str(LAST_UNIT))
    return made(timeout_s, int(first), int(last))
