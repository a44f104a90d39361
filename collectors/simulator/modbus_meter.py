"""A simulated Modbus meter: answers by a register map, refuses what the map does not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Final

from collectors import register_maps
from collectors.frames import modbus, modbus_map
from collectors.frames import modbus_pdu as pdus
from collectors.frames.modbus_map import RegisterMap
from collectors.simulator.faults import FaultPlan
from collectors.simulator.meters import Answer, Source, earlier_month, month_start
from collectors.simulator.times import LOCAL

ILLEGAL_FUNCTION: Final = 0x01
ILLEGAL_ADDRESS: Final = 0x02
ILLEGAL_VALUE: Final = 0x03
IDENTITY: Final = {0: b"Nuan", 1: b"simulated heat meter", 2: b"V1"}


@dataclass
class ModbusMeter:
    """A heat meter on Modbus.

    address    the unit in decimals, "1" to "247"
    source     gives the map's values by name: energy_wh, volume_l, flow_lph, power_w, …
    map_name   which register map it has; it answers reads within the map's blocks only
    settings   (function, address) -> register, for what the map leaves to the meter: its unit
               and multiplier registers
    """

    address: str
    source: Source
    map_name: str = "heat"
    is_tcp: bool = False
    settings: Mapping[tuple[int, int], int] = field(default_factory=dict)
    faults: FaultPlan = field(default_factory=FaultPlan)
    exception: int | None = None  # refuses everything with this code

    @property
    def protocol(self) -> str:
        return "modbus_tcp" if self.is_tcp else "modbus"

    def answer(self, request: modbus.Message, now: datetime) -> Answer:
        if request.unit != int(self.address) or request.pdu.kind == "response":
            return None
        return self._answer_as(request.unit, request, now)

    def stranger(self, request: modbus.Message, now: datetime) -> Answer:
        return self._answer_as(request.unit % 247 + 1, request, now)

    def _answer_as(self, unit: int, request: modbus.Message, now: datetime) -> bytes:
        pdu = self._content(request.pdu, now)
        if self.is_tcp:
            return modbus.encode_tcp(request.transaction or 0, unit, pdu)
        return modbus.encode_rtu(unit, pdu)

    def _content(self, asked: modbus.Pdu, now: datetime) -> bytes:
        if self.exception is not None:
            return pdus.answer_exception(asked.function, self.exception)
        if asked.function == pdus.ENCAPSULATED:
            return pdus.answer_device_id(1, IDENTITY)
        if asked.function not in (pdus.READ_HOLDING, pdus.READ_INPUT):
            return pdus.answer_exception(asked.function, ILLEGAL_FUNCTION)
        count, address = asked.count or 0, asked.address or 0
        if not 1 <= count <= pdus.MAX_READ_REGISTERS:
            return pdus.answer_exception(asked.function, ILLEGAL_VALUE)
        places = [(asked.function, address + n) for n in range(count)]
        registers = self._registers(now)
        if not registers.keys() >= set(places):
            registers |= self._past(now)
        wanted = [registers.get(place) for place in places]
        found = [word for word in wanted if word is not None]
        if len(found) < count:
            return pdus.answer_exception(asked.function, ILLEGAL_ADDRESS)
        return pdus.answer_registers(asked.function, found)

    def _registers(self, now: datetime) -> dict[tuple[int, int], int]:
        shown: dict[str, int | str | datetime | None] = {
            **self.source(now),
            "meter_time": _wall(now + self.faults.clock_shift),
            "status": "0000",
        }
        return modbus_map.write(register_maps.shipped(self.map_name), shown, self.settings)

    def _past(self, now: datetime) -> dict[tuple[int, int], int]:
        """What the meter has frozen, by the map's blocks."""
        whole = register_maps.shipped(self.map_name)
        midnight = datetime.combine(now.astimezone(LOCAL).date(), time(), LOCAL)
        registers: dict[tuple[int, int], int] = {}
        for back in range(whole.month.count if whole.month else 0):
            moment = earlier_month(month_start(now), back)
            registers |= self._block(modbus_map.kept(whole, "month", back + 1), moment)
        for back in range(whole.day.count if whole.day else 0):
            moment = midnight - timedelta(days=back)
            registers |= self._block(modbus_map.kept(whole, "day", back + 1), moment)
        return registers

    def _block(self, block: RegisterMap | None, moment: datetime) -> dict[tuple[int, int], int]:
        shown: dict[str, int | str | datetime | None] = {
            **self.source(moment),
            "meter_time": _wall(moment),
        }
        return modbus_map.write(block, shown, self.settings) if block else {}


def _wall(moment: datetime) -> datetime:
    return moment.astimezone(LOCAL).replace(tzinfo=None, microsecond=0)
