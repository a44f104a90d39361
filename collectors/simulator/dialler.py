"""Simulated devices that dial in themselves: DTUs and concentrators, over real sockets."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from collectors.simulator.faults import EFFECTS, Act, DtuFault, Fault, Occasion

LAST_REDIAL_S = 5.0


class Dialler(ABC):
    """Something that dials host:port until it is stopped, and again whenever it is hung up on.

    is_stranger   the next time it says that it is somebody else
    """

    def __init__(self, host: str, port: int, *, heartbeat_s: float, redial_s: float):
        self.host, self.port, self.heartbeat_s = host, port, heartbeat_s
        self.dials = 0
        self.is_stranger = False
        self._redial_s = redial_s
        self._calls: set[Call] = set()
        self._dialling: asyncio.Task[None] | None = None

    @abstractmethod
    def _call(self) -> Call:
        """The protocol of one more connection."""

    async def start(self) -> None:
        """Begin to dial, and go on until stopped."""
        self._dialling = asyncio.create_task(self._stay_online())

    async def stop(self) -> None:
        """Hang up for good."""
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.gather(self._dialling, return_exceptions=True)
        for call in list(self._calls):
            call.hang_up()
        await asyncio.sleep(0)

    def send(self, data: bytes) -> None:
        """Say something unasked over the newest connection."""
        for call in self._calls:
            if call.is_current:
                call.say(data)

    def opened(self, call: Call) -> None:
        for other in self._calls:
            other.is_current = False
        self._calls.add(call)
        self.dials += 1

    def closed(self, call: Call) -> None:
        self._calls.discard(call)

    async def _stay_online(self) -> None:
        loop, pause_s = asyncio.get_running_loop(), self._redial_s
        while True:
            call = self._call()
            try:
                await loop.create_connection(lambda: call, self.host, self.port)  # noqa: B023
                await call.lost.wait()
                pause_s = self._redial_s
            except OSError:
                pause_s = min(2 * pause_s, LAST_REDIAL_S)
            await asyncio.sleep(pause_s)


class Call(asyncio.Protocol):
    """One connection of a dialler."""

    def __init__(self, dialler: Dialler):
        self.lost = asyncio.Event()  # to be dialled again, although perhaps not closed
        self.is_current = True
        self._dialler = dialler
        self._transport: asyncio.Transport | None = None
        self._beat: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._dialler.opened(self)
        self._next_beat()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._beat is not None:
            self._beat.cancel()
        self._dialler.closed(self)
        self.lost.set()

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def say(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def reply(self, occasion: Occasion, fault: Fault | DtuFault | None) -> None:
        """Send an answer, in the way the fault says."""
        loop = asyncio.get_running_loop()
        for delay_s, piece in EFFECTS[fault](occasion):
            if delay_s:
                loop.call_later(delay_s, self._do, piece)
            else:
                self._do(piece)

    def _do(self, piece: bytes | Act) -> None:
        if isinstance(piece, bytes):
            self.say(piece)
        elif piece is Act.REDIAL:
            self.lost.set()
        else:
            self._dialler.is_stranger = piece is Act.STRANGE
            self.hang_up()

    def heartbeat(self) -> bytes:
        """What is said every heartbeat_s."""
        raise NotImplementedError

    def _next_beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(self._dialler.heartbeat_s, self._beat_now)

    def _beat_now(self) -> None:
        self.say(self.heartbeat())
        self._next_beat()
