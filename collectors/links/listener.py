"""What all listeners share: who may come in, how many, how often, and who is hung up on.

DTUs (`links.dtu`) and concentrators (`links.concentrator`) dial in and say who they are, each in
their own way. Whoever is not known, says nothing, says too much or comes too often is hung up on,
counted in `listener.counts` and handed to `on_unasked` with the bytes it sent.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from collectors.links.dialled import DialledLink

L = TypeVar("L", bound=DialledLink)


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers and friends may take of us.

    connections      sockets open at once
    first_bytes      a registration may have
    patience_s       for the rest of one that the network tore; only then it is refused
    register_s       after which a socket that has not registered is hung up
    idle_s           after which one that has said nothing is (heartbeats come every minute or so)
    attempts         an address may make that have not ended in a registration; a carrier hides
                     thousands of modems behind one address, and they all dial after a power cut
    attempts_per_s   given back to it
    pushes_per_s     a device may send unasked, in the long run; the rest is counted only
    pushes           at once
    """

    connections: int = 5_000
    first_bytes: int = 256
    patience_s: float = 2.0
    register_s: float = 30.0
    idle_s: float = 600.0
    attempts: int = 1_000
    attempts_per_s: float = 5.0
    pushes: int = 20
    pushes_per_s: float = 0.1


USUAL: Final = Limits()


@dataclass(frozen=True, slots=True)
class Unasked:
    """Bytes nobody asked for or believes: from a known device, or from a stranger."""

    code: str
    detail: str
    raw: bytes
    device_id: str = ""


class Allowance:
    """Token buckets by key: `take` says whether there is one left."""

    def __init__(self, burst: int, per_s: float):
        self._burst, self._per_s = float(burst), per_s
        self._left: dict[str, tuple[float, float]] = {}

    def _now(self, key: str) -> tuple[float, float]:
        now = asyncio.get_running_loop().time()
        left, at = self._left.get(key, (self._burst, now))
        return min(self._burst, left + (now - at) * self._per_s), now

    def take(self, key: str) -> bool:
        left, now = self._now(key)
        if left < 1:
            return False
        self._left[key] = left - 1, now
        return True

    def give_back(self, key: str) -> None:
        left, now = self._now(key)
        self._left[key] = left + 1, now

    def tidy(self) -> None:
        """Forget the keys that have all of theirs."""
        for key in [k for k in self._left if self._now(k)[0] >= self._burst]:
            del self._left[key]


class Listener(ABC, Generic[L]):
    """One TCP port for all devices of a kind; port 0 takes a free one.

    `mute` is the code of one that does not say who it is in time.
    """

    mute = "mute"

    def __init__(
        self, *, host: str, port: int, on_unasked: Callable[[Unasked], None], limits: Limits
    ):
        self.host, self.port, self.limits = host, port, limits
        self.counts: Counter[str] = Counter()
        self.links: dict[str, L] = {}
        self.on_late: Callable[[str], None] = lambda device_id: None  # there, and was missed
        self._on_unasked = on_unasked
        self._sockets: set[Caller[L]] = set()
        self._attempts = Allowance(limits.attempts, limits.attempts_per_s)
        self._pushes = Allowance(limits.pushes, limits.pushes_per_s)
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @abstractmethod
    def _caller(self) -> Caller[L]:
        """The protocol of one more connection."""

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._caller, self.host, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep())

    @property
    def is_listening(self) -> bool:
        """Whether devices can dial in."""
        return self._server is not None

    async def stop(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._server is None or self._sweeper is None:
            return
        self._sweeper.cancel()
        self._server.close()
        for socket in list(self._sockets):
            socket.hang_up()
        await asyncio.sleep(0)
        await self._server.wait_closed()
        self._server = None

    def _know(self, link: L) -> L:
        """Let the link's device in from now on, until the link is closed.

        Raises ValueError where it is somebody's already: two conversations on one bus would
        read each other's answers.
        """
        if link.device_id in self.links:
            raise ValueError(f"{link.name} carries another bus already")
        self.links[link.device_id] = link
        return link

    # The links' side ----------------------------------------------------------------------

    def claim(self, link: Any) -> None:
        """Know a link again that was closed. Raises OSError where another took its place."""
        if self.links.setdefault(link.device_id, link) is not link:
            raise OSError("another bus has it now")

    def forget(self, link: Any) -> None:
        device_id: str = link.device_id
        if self.links.get(device_id) is link:
            del self.links[device_id]

    def report(self, unasked: Unasked) -> None:
        """Count what a known device sent unasked, and hand it on while it is not too much."""
        self.counts[unasked.code] += 1
        if self._pushes.take(unasked.device_id):
            self._on_unasked(unasked)

    # The sockets' side --------------------------------------------------------------------

    def admits(self, socket: Caller[L]) -> bool:
        """Whether there is room for one more, and its address has not tried too often."""
        if len(self._sockets) >= self.limits.connections:
            self.counts["too_many"] += 1
            return False
        if not self._attempts.take(socket.address):
            self.counts["too_often"] += 1
            return False
        self._sockets.add(socket)
        return True

    def gone(self, socket: Caller[L]) -> None:
        self._sockets.discard(socket)

    def register(self, socket: Caller[L], device_id: str, raw: bytes, unknown: str) -> L | None:
        """The link of the device that has said who it is with `raw`; None where nobody knows it,
        which is refused with the code `unknown`."""
        link = self.links.get(device_id)
        if link is None:
            self.refuse(socket, unknown, f"no bus is on {device_id}")
            return None
        self._attempts.give_back(socket.address)
        self.counts["replaced" if link.is_connected else "registered"] += 1
        assert socket.transport is not None
        is_late = link.is_missed
        link.attach(socket.transport, raw)
        if is_late:
            self.on_late(device_id)
        return link

    def refuse(self, socket: Caller[L], code: str, why: str) -> None:
        """Count, report and hang up, once for a socket."""
        if socket.transport is None or socket.transport.is_closing():
            return
        self.counts[code] += 1
        self._on_unasked(Unasked(code, f"{socket.address}: {why}", bytes(socket.first)))
        socket.hang_up()

    async def _sweep(self) -> None:
        """Hang up on those that have been silent for too long."""
        while True:
            await asyncio.sleep(min(self.limits.register_s, self.limits.idle_s) / 10)
            now = asyncio.get_running_loop().time()
            for socket in list(self._sockets):
                socket.end_if_silent(now, self.limits)
            self._attempts.tidy()
            self._pushes.tidy()


class Caller(asyncio.Protocol, Generic[L]):
    """One TCP connection, from its first byte on: `first` until it has said who it is, then its
    bytes are its link's. Subclasses say what an introduction is (`_introduce`)."""

    def __init__(self, listener: Listener[L]):
        self.transport: asyncio.Transport | None = None
        self.address = ""
        self.first = bytearray()
        self._listener = listener
        self._link: L | None = None
        self._since = self._heard_at = asyncio.get_running_loop().time()

    def _introduce(self) -> None:
        """More of `first` has come."""
        raise NotImplementedError

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.address = transport.get_extra_info("peername")[0]
        if not self._listener.admits(self):
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self.transport = self.transport, None
        self._listener.gone(self)
        if self._link is not None and transport is not None:
            self._link.detach(transport)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if self._link is not None:
            if self._link.is_over(self.transport):
                self._link.heard(data)
            return
        self.first += data[: self._listener.limits.first_bytes + 1]
        self._introduce()

    def end_if_silent(self, now: float, limits: Limits) -> None:
        """Hang up on a socket that never registered, or has been quiet for idle_s."""
        if self._link is None and now - self._since > limits.register_s:
            self._listener.refuse(self, self._listener.mute, "it did not register in time")
        elif now - self._heard_at > limits.idle_s:
            self._listener.counts["idle"] += 1
            self.hang_up()
