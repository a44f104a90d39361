"""CJ/T 188: a single meter by the wildcard; many by type and by address digits; a range one by one.

The standard has a wildcard for all (AA…, §7.2.4) and none for some. Many meters also take an
address whose high bytes are AA (缩位寻址, as DL/T 645 has it): a crowd is taken apart by type and
then by the low bytes; meters that do not are found by asking a range of addresses one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from collectors.dialects import Step
from collectors.frames import cjt188
from collectors.frames.cjt188_profiles import ROOM_SENSOR_TYPE
from collectors.search.base import Asking, Found
from collectors.search.digits import low_bytes, spread

WILD_TYPE: Final = 0xAA
# What meters there are (§5.3.2), and how a person calls them.
TYPES: Final = {
    0x10: "冷水水表",
    0x11: "生活热水水表",
    0x12: "直饮水水表",
    0x13: "中水水表",
    0x19: "其他水表",
    0x20: "热量表（计热量）",
    0x21: "热量表（计冷量）",
    0x25: "冷热量表",
    ROOM_SENSOR_TYPE: "室温采集器",
    0x30: "燃气表",
    0x40: "电度表",
}
_KINDS: Final = {0x1: "water", 0x2: "heat", 0x3: "gas", 0x4: "electricity"}


class _Cjt(Asking):
    protocol: ClassVar[str] = "cjt188"

    def decode(self, buffer: bytes) -> tuple[cjt188.Message | None, int]:
        return cjt188.decode(buffer)

    def steps(self, mask: str) -> list[Step]:
        """A mask is the type and the address, sixteen digits."""
        meter_type, address = int(mask[:2], 16), mask[2:]
        if address == cjt188.BROADCAST:
            return [self.step(cjt188.encode_read_address(meter_type))]
        return [self.step(cjt188.encode_read(address, meter_type))]

    def found(self, mask: str, message: cjt188.Message) -> Found | None:
        if not message.is_answer or "A" in message.address:
            return None
        kind = _KINDS.get(message.meter_type >> 4, "")
        return Found(
            self.protocol,
            message.address,
            (message.address,),
            "room" if message.meter_type == ROOM_SENSOR_TYPE else kind,
            f"厂商代码 {message.address[:4]}",
            TYPES.get(message.meter_type, f"类型 {message.meter_type:02X}"),
            message.meter_type,
        )

    def own(self, found: Found) -> str:
        return f"{found.meter_type:02X}{found.address}"

    def words(self, mask: str) -> str:
        meter_type = int(mask[:2], 16)
        name = "全部类型" if meter_type == WILD_TYPE else TYPES.get(meter_type, mask[:2])
        return f"{name} {mask[2:].replace('AA', '＊')}"


@dataclass
class CjtWildcard(_Cjt):
    """Everybody, then everybody of a type, then by the lowest byte, the next, …"""

    def __post_init__(self) -> None:
        kinds = (WILD_TYPE, *TYPES)
        self.roots = [f"{kind:02X}{cjt188.BROADCAST}" for kind in kinds]

    def children(self, mask: str) -> Sequence[str]:
        if mask.startswith("AA"):
            return ()  # the types' own masks take it apart
        return [mask[:2] + address for address in low_bytes(mask[2:])]


@dataclass
class CjtRange(_Cjt):
    """Each address from `first` to `last`, asked for its reading."""

    first: str = ""
    last: str = ""
    meter_type: int = 0x20

    def __post_init__(self) -> None:
        self.roots = [f"{self.meter_type:02X}{a}" for a in spread(self.first, self.last, 14)]


def way(parameters: dict[str, Any], timeout_s: float | None) -> _Cjt:
    """The way a job's parameters name. Raises ValueError."""
    if parameters.get("how") == "range":
        meter_type = int(parameters.get("meter_type", 0x20))
        return CjtRange(timeout_s, parameters["first"], parameters["last"], meter_type)
    return CjtWildcard(timeout_s)
