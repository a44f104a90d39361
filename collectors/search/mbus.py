"""M-Bus: secondary addresses digit by digit (EN 13757-3 §11.5), or the 251 primary ones in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from collectors.dialects import ANSWERED, OWN, WRONG_ANSWER, Step
from collectors.frames import mbus
from collectors.frames import mbus_encode as mb
from collectors.frames.mbus_names import FIXED_MEDIA, MEDIA
from collectors.search.base import Asking, Found

_KINDS: Final = {
    **dict.fromkeys((0x04, 0x0C, 0x0D), "heat"),
    **dict.fromkeys((0x06, 0x07, 0x15, 0x16, 0x17), "water"),
    0x02: "electricity",
    0x03: "gas",
    0x1B: "room",
}
ANY: Final = "F" * 16
LAST_PRIMARY: Final = 250


@dataclass
class _Mbus(Asking):
    protocol: ClassVar[str] = "mbus"

    def __post_init__(self) -> None:
        self._is_there = False  # whether the last mask's first step was acknowledged

    def decode(self, buffer: bytes) -> tuple[mbus.Message | None, int]:
        return mbus.decode(buffer)

    def _hello(self, request: bytes) -> Step:
        self._is_there = False
        return self.step(request, self._acknowledged)

    def _acknowledged(self, message: mbus.Message) -> str:
        if isinstance(message, mbus.Ack):
            self._is_there = True
            return ANSWERED
        return OWN if getattr(message, "control", 0) & 0x40 else WRONG_ANSWER

    def is_crowded(self, mask: str, found: int, is_noisy: bool) -> bool:
        """Several E5 look like one; data of several that drown each other may leave nothing."""
        return is_noisy or found > 1 or (self._is_there and found == 0)

    def _found(self, message: mbus.Message, primary: int | None) -> Found | None:
        identity = getattr(message, "id", None)
        if not isinstance(message, mbus.Variable | mbus.Fixed) or message.control & 0x40:
            return None
        names: tuple[str, ...] = () if primary is None else (str(primary),)
        # The archive may know it by the primary address; 0 is what meters leave the factory with.
        also = (str(message.address),) if 1 <= message.address <= LAST_PRIMARY else ()
        if identity is None:  # no long header: it is known by its primary address alone
            return Found(self.protocol, names[0], names) if names else None
        if isinstance(message, mbus.Fixed):
            names = (*names, identity, *(() if names else also))
            return Found(self.protocol, names[0], names, "", "", FIXED_MEDIA[message.medium][1])
        names = (*names, secondary_of(message), identity, *(() if names else also))
        medium = message.medium or 0
        words = MEDIA.get(medium, ("", f"介质 {medium:02X}"))[1]
        maker = message.manufacturer or ""
        return Found(self.protocol, names[0], names, _KINDS.get(medium, ""), maker, words)


def secondary_of(message: mbus.Variable) -> str:
    """The sixteen digits of a secondary address, all but the id as they go on the wire."""
    maker = mb.manufacturer_bytes(message.manufacturer) if message.manufacturer else b"\xff\xff"
    return f"{message.id}{maker.hex()}{message.version:02x}{message.medium:02x}".upper()


@dataclass
class MbusSecondary(_Mbus):
    """Select by the first digit, the second, …; twins of one number by their medium."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.roots = [ANY]

    def steps(self, mask: str) -> list[Step]:
        data = bytes.fromhex(mask[:8])[::-1] + bytes.fromhex(mask[8:])
        select = mb.encode_long(mb.SND_UD, mb.SELECTED, mb.CI_SELECT, data)
        return [self._hello(select), self.step(mb.encode_req_ud2(mb.SELECTED, True))]

    def found(self, mask: str, message: mbus.Message) -> Found | None:
        return self._found(message, None)

    def own(self, found: Found) -> str:
        return found.address.ljust(16, "F")

    def children(self, mask: str) -> Sequence[str]:
        digits = mask[:8].rstrip("F")
        if len(digits) < 8:
            return [f"{digits}{n}".ljust(16, "F") for n in range(10)]
        if mask.endswith("FF"):
            return [f"{mask[:-2]}{medium:02X}" for medium in MEDIA]
        return ()

    def words(self, mask: str) -> str:
        return f"表号 {mask[:8].replace('F', '＊')}"


@dataclass
class MbusPrimary(_Mbus):
    """Greet each primary address, and ask whoever acknowledges."""

    first: int = 0
    last: int = LAST_PRIMARY

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.first <= self.last <= LAST_PRIMARY:
            raise ValueError(f"primary addresses are 0 to {LAST_PRIMARY}")
        self.roots = [str(n) for n in range(self.first, self.last + 1)]

    def steps(self, mask: str) -> list[Step]:
        address = int(mask)
        hello = self._hello(mb.encode_snd_nke(address))
        return [hello, self.step(mb.encode_req_ud2(address, True))]

    def found(self, mask: str, message: mbus.Message) -> Found | None:
        return self._found(message, int(mask))

    def words(self, mask: str) -> str:
        return f"一次地址 {mask}"


def way(parameters: dict[str, Any], timeout_s: float | None) -> MbusSecondary | MbusPrimary:
    """The way a job's parameters name. Raises ValueError."""
    if parameters.get("how") != "primary":
        return MbusSecondary(timeout_s)
    first, last = parameters.get("first", "0"), parameters.get("last", str(LAST_PRIMARY))
    return MbusPrimary(timeout_s, int(first), int(last))
