"""A half-duplex wire: one who talks at a time is understood, two are not.

Whatever is put on the wire lasts as long as its bits and is heard by everybody else when it is
over. Where two talk at once, the bytes both sent are what the receivers see of either: a space (0)
of one wins over a mark (1) of the other, on RS-485 with its usual drivers as on an M-Bus, whose
meters draw current for a space. Times are the event loop's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

BITS_PER_BYTE: Final = 11  # start, eight data, even parity, stop (8E1)


class Station(Protocol):
    """Somebody who listens."""

    @property
    def hears_itself(self) -> bool: ...

    def hear(self, data: bytes, sender: object, lasted_s: float) -> None:
        """What a sender has said, as it came over the wire, and how long that took."""


@dataclass(eq=False, slots=True)
class _Burst:
    sender: object
    data: bytearray
    begin: float
    lasts_s: float


class Wire:
    """The line of one bus.

    baud        None: bytes take no time, and only what is said in the same instant collides
    gap_bits    idle bits between two bytes of a burst
    collisions  how many bursts were spoilt by another
    said_bytes  how many bytes were put on it by anybody
    """

    def __init__(self, baud: int | None = None, *, gap_bits: int = 0):
        self.baud, self.gap_bits = baud, gap_bits
        self.collisions = self.said_bytes = 0
        self._stations: list[Station] = []
        self._on_air: list[_Burst] = []

    def join(self, station: Station) -> None:
        self._stations.append(station)

    def leave(self, station: Station) -> None:
        if station in self._stations:
            self._stations.remove(station)

    @property
    def byte_s(self) -> float:
        """How long one byte lasts."""
        return (BITS_PER_BYTE + self.gap_bits) / self.baud if self.baud else 0.0

    def say(self, data: bytes, sender: object) -> None:
        """Put bytes on the wire, behind what the same sender is still saying; the others hear
        them when the last bit is over."""
        if not data:
            return
        loop = asyncio.get_running_loop()
        now, lasts_s = loop.time(), len(data) * self.byte_s
        begin = max([now, *(b.begin + b.lasts_s for b in self._on_air if b.sender is sender)])
        burst = _Burst(sender, bytearray(data), begin, lasts_s)
        for other in self._on_air:
            self._collide(other, burst)
        self._on_air.append(burst)
        self.said_bytes += len(data)
        if lasts_s:
            loop.call_at(begin + lasts_s, self._over, burst)
        else:
            loop.call_soon(self._over, burst)

    def _collide(self, one: _Burst, other: _Burst) -> None:
        """Spoil what two senders say at the same time; a burst may have to wait for its turn."""
        if one.sender is other.sender:
            return
        first, second = (one, other) if one.begin <= other.begin else (other, one)
        begin = int((second.begin - first.begin) / self.byte_s) if self.byte_s else 0
        size = min(len(first.data) - begin, len(second.data))
        for n in range(size):
            both = first.data[begin + n] & second.data[n]
            first.data[begin + n] = second.data[n] = both
        if size > 0:
            self.collisions += 1

    def _over(self, burst: _Burst) -> None:
        self._on_air.remove(burst)
        heard = bytes(burst.data)
        for station in tuple(self._stations):
            if station is not burst.sender or station.hears_itself:
                station.hear(heard, burst.sender, burst.lasts_s)
