"""Simulated DTUs: they dial the listener and carry a simulated bus's meters, faults to order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import chain, repeat
from typing import Any

from collectors.simulator.bus import SimulatedBus

PIECE_S = 0.03  # between the packets one answer is torn into
LAST_REDIAL_S = 5.0


class DtuFault(Enum):
    """What a DTU does with one of its meters' answers instead of passing it on whole."""

    DROP = "drop"  # the connection is lost and the answer with it; it dials again
    REDIAL = "redial"  # as DROP, but the old socket stays open, as after a lost carrier
    HALVES = "halves"  # two packets
    GLUED = "glued"  # one packet with heartbeats before and after
    HEARTBEAT = "heartbeat"  # a heartbeat between the two halves
    STRANGER = "stranger"  # as DROP, and the next registration is somebody else's


class SimulatedDtu:
    """A modem with `bus` (which need not listen itself) on its serial port.

    registration    what it says first; the device id unless told otherwise
    is_prefixed     it says so before every answer too
    heartbeat_s     between heartbeats
    faults          what befalls its answers, in turn; None is no fault
    """

    def __init__(
        self,
        bus: SimulatedBus,
        device_id: str,
        port: int,
        *,
        host: str = "127.0.0.1",
        registration: bytes | None = None,
        is_prefixed: bool = False,
        heartbeat: bytes = b"ping",
        heartbeat_s: float = 60.0,
        redial_s: float = 0.1,
        faults: Sequence[DtuFault | None] = (),
    ):
        self.bus, self.device_id, self.host, self.port = bus, device_id, host, port
        self.registration = registration or device_id.encode()
        self.heartbeat, self.heartbeat_s = heartbeat, heartbeat_s
        self.prefix = self.registration if is_prefixed else b""
        self.dials = 0
        self.is_stranger = False
        self._redial_s = redial_s
        self._faults: Iterator[DtuFault | None] = chain(faults, repeat(None))
        self._modems: set[_Modem] = set()
        self._dialling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to dial, and go on until stopped."""
        self._dialling = asyncio.create_task(self._stay_online())

    async def stop(self) -> None:
        """Hang up for good."""
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.gather(self._dialling, return_exceptions=True)
        for modem in list(self._modems):
            modem.hang_up()
        await asyncio.sleep(0)

    def send(self, data: bytes) -> None:
        """Say something unasked over the newest connection."""
        for modem in self._modems:
            if modem.is_current:
                modem.say(data)

    def next_fault(self) -> DtuFault | None:
        return next(self._faults)

    def introduction(self) -> bytes:
        """The registration; a stranger's once after a STRANGER fault."""
        if not self.is_stranger:
            return self.registration
        self.is_stranger = False
        return b"0000" + self.registration[::-1]

    def opened(self, modem: _Modem) -> None:
        for other in self._modems:
            other.is_current = False
        self._modems.add(modem)
        self.dials += 1

    def closed(self, modem: _Modem) -> None:
        self._modems.discard(modem)

    async def _stay_online(self) -> None:
        loop, pause_s = asyncio.get_running_loop(), self._redial_s
        while True:
            modem = _Modem(self)
            try:
                await loop.create_connection(lambda: modem, self.host, self.port)  # noqa: B023
                await modem.lost.wait()
                pause_s = self._redial_s
            except OSError:
                pause_s = min(2 * pause_s, LAST_REDIAL_S)
            await asyncio.sleep(pause_s)


class _Modem(asyncio.Protocol):
    """One connection of a DTU: bytes for the bus come in, answers go out through `_Wire`."""

    def __init__(self, dtu: SimulatedDtu):
        self.lost = asyncio.Event()  # to be dialled again, although perhaps not closed
        self.is_current = True
        self._dtu = dtu
        self._line = dtu.bus.line()
        self._transport: asyncio.Transport | None = None
        self._beat: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._dtu.opened(self)
        self._line.connection_made(_Wire(self))
        self.say(self._dtu.introduction())
        self._next_beat()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._beat is not None:
            self._beat.cancel()
        self._line.connection_lost(exc)
        self._dtu.closed(self)
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        self._line.data_received(data)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def say(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def _next_beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(self._dtu.heartbeat_s, self._beat_now)

    def _beat_now(self) -> None:
        self.say(self._dtu.heartbeat)
        self._next_beat()

    def answer(self, data: bytes) -> None:
        """Pass a meter's answer on, in the way the next fault says."""
        dtu = self._dtu
        fault, half, beat = dtu.next_fault(), len(data) // 2, dtu.heartbeat
        if fault is None:
            self.say(dtu.prefix + data)
        elif fault is DtuFault.GLUED:
            self.say(beat + dtu.prefix + data + beat)
        elif fault is DtuFault.HALVES:
            self._say_in_turn(dtu.prefix + data[:half], data[half:])
        elif fault is DtuFault.HEARTBEAT:
            self._say_in_turn(dtu.prefix + data[:half], beat, data[half:])
        elif fault is DtuFault.REDIAL:
            self.lost.set()
        else:
            dtu.is_stranger = fault is DtuFault.STRANGER
            self.hang_up()

    def _say_in_turn(self, *pieces: bytes) -> None:
        loop = asyncio.get_running_loop()
        for n, piece in enumerate(pieces):
            loop.call_later(n * PIECE_S, self.say, piece)


class _Wire(asyncio.Transport):
    """What the bus takes for its socket."""

    def __init__(self, modem: _Modem):
        super().__init__()
        self._modem = modem

    def write(self, data: Any) -> None:
        self._modem.answer(bytes(data))

    def abort(self) -> None:
        self._modem.hang_up()
