"""The link to one DTU: a `DialledLink` that tells the meters' bytes from the modem's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collectors.links.dialled import DialledLink, Home
from collectors.links.dtu_stream import Stripper, is_heartbeat

HOLD_S = 0.1  # how long the beginning of a heartbeat waits for its end
PUSH_QUIET_S = 0.3  # a pause this long ends what came unasked
PUSH_LIMIT = 1024  # bytes; what came unasked is handed on when it reaches this


class DtuLink(DialledLink):
    """Bytes to and from the bus behind the DTU of that id, over whichever socket it dials with.

    Bytes within answer_s of a question are the session's; later ones came unasked and go to
    `on_push`, heartbeats apart.
    """

    def __init__(
        self,
        home: Home,
        device_id: str,
        on_push: Callable[[str, bytes], None],
        *,
        answer_s: float = 5.0,
        connect_timeout_s: float = 5.0,
    ):
        super().__init__(home, device_id, f"dtu {device_id}", connect_timeout_s=connect_timeout_s)
        self.heartbeats = 0
        self._on_push, self._answer_s = on_push, answer_s
        self._stripper = Stripper(device_id, device_id.encode())
        self._asked_until = 0.0
        self._unasked = bytearray()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # The listener's side ------------------------------------------------------------------

    def attach(self, transport: asyncio.Transport, raw: bytes) -> None:
        self._stripper = Stripper(self.device_id, raw)
        super().attach(transport, raw)

    def heard(self, packet: bytes) -> None:
        """Take a packet of the DTU's."""
        before = self._stripper.stripped
        self._pass_on(self._stripper.feed(packet))
        self.heartbeats += self._stripper.stripped - before
        self._restart("hold", HOLD_S if self._stripper.is_holding else None, self._release)

    def _release(self) -> None:
        self._pass_on(self._stripper.release())

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        if asyncio.get_running_loop().time() < self._asked_until:
            self.data_received(data)
            return
        self.counters.bytes_in += len(data)
        self._unasked += data
        while len(self._unasked) >= PUSH_LIMIT:
            self._pushed()
        self._restart("push", PUSH_QUIET_S if self._unasked else None, self._pushed)

    def _pushed(self) -> None:
        data = bytes(self._unasked[:PUSH_LIMIT])
        del self._unasked[:PUSH_LIMIT]
        if is_heartbeat(data):
            self.heartbeats += 1
        else:
            self._on_push(self.device_id, data)

    def _restart(self, name: str, delay_s: float | None, act: Callable[[], None]) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
        if delay_s is not None:
            self._timers[name] = asyncio.get_running_loop().call_later(delay_s, act)

    # The session's side -------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self._asked_until = asyncio.get_running_loop().time() + self._answer_s

    async def close(self) -> None:
        """Hang up and give the id back; the DTU is a stranger until the next `connect`."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await super().close()
