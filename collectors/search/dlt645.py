"""DL/T 645: a single meter by 13H; many by addresses shortened to their low bytes (§5.2.4).

A meter answers a reading request whose high address bytes are AA where the low ones are its own,
with its whole address, so a crowd is taken apart from the lowest byte on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from collectors.dialects import Step
from collectors.frames import dlt645, dlt645_1997
from collectors.frames.dlt645_message import Message
from collectors.search.base import Asking, Found
from collectors.search.digits import low_bytes, spread

ALL: Final = "A" * 12
WHO: Final = "?"  # the mask of 13H, which asks for the address itself
ENERGY_2007, ENERGY_1997 = 0x0001_0000, 0x9010  # total forward active energy: all meters have it


@dataclass
class Dlt645Way(Asking):
    """DL/T 645-2007 from everybody down, or (`first` to `last`) one address after the other."""

    first: str = ""
    last: str = ""
    protocol: ClassVar[str] = "dlt645_2007"

    def __post_init__(self) -> None:
        self.roots = spread(self.first, self.last, 12) if self.first else self.everybody()

    def everybody(self) -> list[str]:
        return [WHO, ALL]

    def decode(self, buffer: bytes) -> tuple[Message | None, int]:
        return dlt645.decode(buffer)

    def steps(self, mask: str) -> list[Step]:
        return [self.step(dlt645.encode_read_address() if mask == WHO else self.read(mask))]

    def read(self, address: str) -> bytes:
        return dlt645.encode_read(address, ENERGY_2007)

    def found(self, mask: str, message: Message) -> Found | None:
        address = message.named or message.address
        if not message.is_answer or not address.isdecimal():
            return None
        return Found(self.protocol, address, (address,), "electricity", "", "电能表")

    def children(self, mask: str) -> Sequence[str]:
        return () if mask == WHO else low_bytes(mask)

    def words(self, mask: str) -> str:
        return "读通信地址" if mask == WHO else f"地址 {mask.replace('AA', '＊')}"


@dataclass
class Dlt645Of1997Way(Dlt645Way):
    """DL/T 645-1997: the same, without a question for the address."""

    protocol: ClassVar[str] = "dlt645_1997"

    def everybody(self) -> list[str]:
        return [ALL]

    def decode(self, buffer: bytes) -> tuple[Message | None, int]:
        return dlt645_1997.decode(buffer)

    def read(self, address: str) -> bytes:
        return dlt645_1997.encode_read(address, ENERGY_1997)


def way(parameters: dict[str, Any], timeout_s: float | None) -> Dlt645Way:
    """The way a job's parameters name. Raises ValueError."""
    made = Dlt645Of1997Way if parameters["protocol"] == "dlt645_1997" else Dlt645Way
    if parameters.get("how") == "range":
        return made(timeout_s, parameters["first"], parameters["last"])
    return made(timeout_s)
