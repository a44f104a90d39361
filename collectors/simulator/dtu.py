"""Simulated DTUs: they dial the listener and carry a simulated bus's meters, faults to order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from collectors.simulator.bus import SimulatedBus
from collectors.simulator.faults import EFFECTS, Act, DtuFault, FaultPlan, Occasion

LAST_REDIAL_S = 5.0


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
        faults_for_ever: bool = False,
    ):
        self.bus, self.device_id, self.host, self.port = bus, device_id, host, port
        self.registration = registration or device_id.encode()
        self.heartbeat, self.heartbeat_s = heartbeat, heartbeat_s
        self.prefix = self.registration if is_prefixed else b""
        self.dials = 0
        self.is_stranger = False
        self._redial_s = redial_s
        self.faults = FaultPlan(faults, for_ever=faults_for_ever)
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
        self._door = dtu.bus.door()
        self._transport: asyncio.Transport | None = None
        self._beat: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._dtu.opened(self)
        self._door.connection_made(_Wire(self))
        self.say(self._dtu.introduction())
        self._next_beat()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._beat is not None:
            self._beat.cancel()
        self._door.connection_lost(exc)
        self._dtu.closed(self)
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        self._door.data_received(data)

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
        dtu, loop = self._dtu, asyncio.get_running_loop()
        occasion = Occasion(data, prefix=dtu.prefix, beat=dtu.heartbeat)
        for delay_s, piece in EFFECTS[dtu.faults.next()](occasion):
            if delay_s:
                loop.call_later(delay_s, self._do, piece)
            else:
                self._do(piece)

    def _do(self, piece: bytes | Act) -> None:
        if isinstance(piece, bytes):
            self.say(piece)
        elif piece is Act.REDIAL:
            self._door.connection_lost(None)
            self.lost.set()
        else:
            self._dtu.is_stranger = piece is Act.STRANGE
            self.hang_up()


class _Wire(asyncio.Transport):
    """What the bus takes for its socket."""

    def __init__(self, modem: _Modem):
        super().__init__()
        self._modem = modem

    def write(self, data: Any) -> None:
        self._modem.answer(bytes(data))

    def abort(self) -> None:
        self._modem.hang_up()
