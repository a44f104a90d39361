"""The DTU listener: modems with a bus behind them dial in, say who they are, and become links.

    listener = DtuListener(port=8600, on_unasked=log_it)
    await listener.start()
    session = Session(listener.link("13800138000"), clock=SystemClock())

Whoever is not known, says nothing, says too much or comes too often is hung up on, counted in
`listener.counts` and handed to `on_unasked` with the bytes it sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from collectors.links.dtu_link import DtuLink
from collectors.links.dtu_stream import Registration, is_heartbeat, registration

QUIET_S = 0.2  # after which what has come may be a registration; modems send it as one packet

# Codes of Unasked, also counted; the counts have "registered", "replaced", "too_many" and
# "too_often" besides.
UNKNOWN: Final = "dtu_unknown"
UNREGISTERED: Final = "dtu_unregistered"
MUTE: Final = "dtu_mute"
PUSH: Final = "dtu_push"


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
    pushes_per_s     a DTU may send unasked, in the long run; the rest is counted only
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


@dataclass(frozen=True, slots=True)
class Unasked:
    """Bytes nobody asked for: from a known DTU (code PUSH) or from a stranger."""

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


class DtuListener:
    """One TCP port for all DTUs of a process; port 0 takes a free one."""

    def __init__(
        self,
        *,
        host: str = "0.0.0.0",
        port: int = 0,
        on_unasked: Callable[[Unasked], None],
        limits: Limits = Limits(),
        answer_s: float = 5.0,
    ):
        self.host, self.port, self.limits = host, port, limits
        self.counts: Counter[str] = Counter()
        self.links: dict[str, DtuLink] = {}
        self._on_unasked, self._answer_s = on_unasked, answer_s
        self._sockets: set[_Socket] = set()
        self._attempts = Allowance(limits.attempts, limits.attempts_per_s)
        self._pushes = Allowance(limits.pushes, limits.pushes_per_s)
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Socket(self), self.host, self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep())

    @property
    def is_listening(self) -> bool:
        """Whether DTUs can dial in."""
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

    def link(self, device_id: str) -> DtuLink:
        """The link of that DTU, which is known from now on until the link is closed.

        Raises ValueError where it is somebody's already: two conversations on one bus would
        read each other's answers.
        """
        device_id = device_id.upper()
        if device_id in self.links:
            raise ValueError(f"DTU {device_id} carries another bus already")
        link = DtuLink(self, device_id, self._pushed, answer_s=self._answer_s)
        self.links[device_id] = link
        return link

    # The links' side ----------------------------------------------------------------------

    def claim(self, link: DtuLink) -> None:
        """Know a link again that was closed. Raises OSError where another took its place."""
        if self.links.setdefault(link.device_id, link) is not link:
            raise OSError("another bus has that DTU now")

    def forget(self, link: DtuLink) -> None:
        if self.links.get(link.device_id) is link:
            del self.links[link.device_id]

    def _pushed(self, device_id: str, data: bytes) -> None:
        self.counts[PUSH] += 1
        if self._pushes.take(device_id):
            self._on_unasked(Unasked(PUSH, f"DTU {device_id} sent it unasked", data, device_id))

    # The sockets' side --------------------------------------------------------------------

    def admits(self, socket: _Socket) -> bool:
        """Whether there is room for one more, and its address has not tried too often."""
        if len(self._sockets) >= self.limits.connections:
            self.counts["too_many"] += 1
            return False
        if not self._attempts.take(socket.address):
            self.counts["too_often"] += 1
            return False
        self._sockets.add(socket)
        return True

    def gone(self, socket: _Socket) -> None:
        self._sockets.discard(socket)

    def register(self, socket: _Socket, found: Registration) -> DtuLink | None:
        """The link of the DTU that has registered, None where nobody knows it."""
        link = self.links.get(found.device_id)
        if link is None:
            self.refuse(socket, UNKNOWN, f"no bus is on DTU {found.device_id}")
            return None
        self._attempts.give_back(socket.address)
        self.counts["replaced" if link.is_connected else "registered"] += 1
        assert socket.transport is not None
        link.attach(socket.transport, found.raw)
        return link

    def refuse(self, socket: _Socket, code: str, why: str) -> None:
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


class _Socket(asyncio.Protocol):
    """One TCP connection, from its first byte on."""

    def __init__(self, listener: DtuListener):
        self.transport: asyncio.Transport | None = None
        self.address = ""
        self.first = bytearray()
        self._listener = listener
        self._link: DtuLink | None = None
        self._since = self._heard_at = asyncio.get_running_loop().time()
        self._first_at = 0.0
        self._pause: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.address = transport.get_extra_info("peername")[0]
        if not self._listener.admits(self):
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        transport, self.transport = self.transport, None
        self._listener.gone(self)
        if self._pause is not None:
            self._pause.cancel()
        if self._link is not None and transport is not None:
            self._link.detach(transport)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        if self._link is not None:
            if self._link.is_over(self.transport):
                self._link.heard(data)
            return
        self.first += data[: self._listener.limits.first_bytes + 1]
        if self._pause is None:
            self._first_at = self._first_at or loop.time()
            self._pause = loop.call_later(QUIET_S, self._introduced)

    def _introduced(self) -> None:
        """Take what has come so far for the registration; half of one is given more time."""
        packet, listener = bytes(self.first), self._listener
        now, self._pause = asyncio.get_running_loop().time(), None
        is_last = now - self._first_at >= listener.limits.patience_s
        if len(packet) > listener.limits.first_bytes:
            listener.refuse(self, UNREGISTERED, "too many bytes before a registration")
        elif is_heartbeat(packet):
            self._begin_anew(packet)
        elif (found := registration(packet, listener.links)) is not None and (
            is_last or found.device_id in listener.links
        ):
            self._settle(found)
        elif is_last:
            listener.refuse(self, UNREGISTERED, "that is no registration")
        else:
            self._pause = asyncio.get_running_loop().call_later(QUIET_S, self._introduced)

    def _begin_anew(self, packet: bytes) -> None:
        """Heartbeats came first. Two bytes may be those of a torn registration and are kept."""
        self._first_at = 0.0
        if len(packet) > 2:
            self.first.clear()

    def _settle(self, found: Registration) -> None:
        self._link = self._listener.register(self, found)
        if self._link is not None and found.rest:
            self._link.heard(found.rest)

    def end_if_silent(self, now: float, limits: Limits) -> None:
        """Hang up on a socket that never registered, or has been quiet for idle_s."""
        if self._link is None and now - self._since > limits.register_s:
            self._listener.refuse(self, MUTE, "it did not register in time")
        elif now - self._heard_at > limits.idle_s:
            self._listener.counts["idle"] += 1
            self.hang_up()
