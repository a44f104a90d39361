"""The DTU listener: modems with a bus behind them dial in, say who they are, and become links.

    listener = DtuListener(port=8600, on_unasked=log_it)
    await listener.start()
    session = Session(listener.link("13800138000"), clock=SystemClock())

Who is let in and who is not, and how much of it: `links.listener`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from collectors.frames import dtu
from collectors.links.dtu_link import DtuLink
from collectors.links.dtu_stream import Registration, is_heartbeat, registration
from collectors.links.listener import USUAL, Allowance, Caller, Limits, Listener, Unasked

__all__ = ["MUTE", "PUSH", "SIGNAL", "UNKNOWN", "UNREGISTERED", "Allowance", "DtuListener"]
__all__ += ["Limits", "Unasked"]

QUIET_S = 0.2  # after which what has come may be a registration; modems send it as one packet

# Codes of Unasked, also counted; the counts have "registered", "replaced", "too_many" and
# "too_often" besides.
UNKNOWN: Final = "dtu_unknown"
UNREGISTERED: Final = "dtu_unregistered"
MUTE: Final = "dtu_mute"
PUSH: Final = "dtu_push"
SIGNAL: Final = "dtu_signal"  # a registration that tells how well the modem is heard


class DtuListener(Listener[DtuLink]):
    """One TCP port for all DTUs of a process; port 0 takes a free one."""

    mute = MUTE

    def __init__(
        self,
        *,
        host: str = "0.0.0.0",
        port: int = 0,
        on_unasked: Callable[[Unasked], None],
        limits: Limits = USUAL,
        answer_s: float = 5.0,
    ):
        super().__init__(host=host, port=port, on_unasked=on_unasked, limits=limits)
        self._answer_s = answer_s

    def _caller(self) -> _Socket:
        return _Socket(self)

    def link(self, device_id: str) -> DtuLink:
        """The link of that DTU, which is known from now on until the link is closed.

        Raises ValueError where it is somebody's already.
        """
        link = DtuLink(self, device_id.upper(), self._pushed, answer_s=self._answer_s)
        return self._know(link)

    def _pushed(self, device_id: str, data: bytes) -> None:
        self.report(Unasked(PUSH, f"DTU {device_id} sent it unasked", data, device_id))


class _Socket(Caller[DtuLink]):
    """A connection that introduces itself with one packet, which the network may have torn."""

    def __init__(self, listener: DtuListener):
        super().__init__(listener)
        self._first_at = 0.0
        self._pause: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pause is not None:
            self._pause.cancel()
        super().connection_lost(exc)

    def _introduce(self) -> None:
        loop = asyncio.get_running_loop()
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
        self._link = self._listener.register(self, found.device_id, found.raw, UNKNOWN)
        if self._link is not None and dtu.signal_dbm(found.raw) is not None:
            why = f"DTU {found.device_id} tells its signal"
            self._listener.report(Unasked(SIGNAL, why, found.raw, found.device_id))
        if self._link is not None and found.rest:
            self._link.heard(found.rest)
