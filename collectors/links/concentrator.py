"""The listener concentrators dial: Q/GDW 376.1 terminals log in, report, and become links.

    listener = ConcentratorListener(port=8601, on_unasked=log_it, on_upload=store_it)
    await listener.start()
    link = listener.link("0171-2082")

A terminal is known by its address, A1 (four digits) and A2 (decimal). Its login, heartbeats and
logout are confirmed here; what it uploads goes to `on_upload`, which confirms it when it is safe;
its answers are the session's. Who is let in and who is not: `links.listener`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Final

from collectors.frames import FrameError, qgdw3761
from collectors.frames.qgdw3761 import Message
from collectors.frames.qgdw3761_encode import HEARTBEAT, LOGOUT, encode_confirm
from collectors.frames.qgdw3761_tables import CLASS_3, LINK, V2009
from collectors.links.dialled import DialledLink, Home
from collectors.links.listener import Caller, Limits, Listener, Unasked

# Codes of Unasked, also counted; the counts have "early", "registered", "replaced", "too_many",
# "too_often" and "idle" besides.
UNKNOWN: Final = "concentrator_unknown"
UNREGISTERED: Final = "concentrator_unregistered"
MUTE: Final = "concentrator_mute"
GARBLED: Final = "concentrator_garbled"
STRANGER: Final = "concentrator_other_address"

# A terminal may upload what it has before it logs in again; heartbeats come at most hourly.
USUAL: Final = Limits(first_bytes=2_048, idle_s=1_800.0)

_ID: Final = re.compile(r"([0-9A-F]{4})-([0-9]{1,5})")

Upload = Callable[["ConcentratorLink", Message], None]


def terminal_id(message: Message) -> str:
    """Who sent a frame, as buses name it."""
    return f"{message.a1}-{message.a2}"


def parse_id(name: str) -> tuple[str, int]:
    """A1 and A2 of "<a1>-<a2>"; raises ValueError."""
    found = _ID.fullmatch(name.upper())
    if not found or not 1 <= int(found[2]) <= 0xFFFE:
        raise ValueError(f"{name!r} is no terminal: A1 in four digits, a dash, A2 in decimal")
    return found[1], int(found[2])


class Unframer:
    """Frames out of a stream; what is none is handed to `on_bad` with the reason."""

    def __init__(self, on_bad: Callable[[FrameError, bytes], None]):
        self._on_bad = on_bad
        self._held = b""

    def rest(self) -> bytes:
        """What is left of a frame that is not whole, or of frames not yet taken; once."""
        held, self._held = self._held, b""
        return held

    def feed(self, data: bytes) -> Iterator[Message]:
        """Every frame that is whole now. Adjacent bad bytes are reported together."""
        self._held += data
        bad, first = b"", None
        while self._held:
            try:
                message, consumed = qgdw3761.decode(self._held)
            except FrameError as error:
                first = first or error
                bad += self._held[: error.consumed]
                self._held = self._held[error.consumed :]
                continue
            gap = self._held[: message.offset if message else consumed]
            if gap:
                bad += gap
                first = first or FrameError("bytes of no frame", code="start")
            self._held = self._held[consumed:]
            if message is None:
                break
            if bad and first:
                self._on_bad(first, bad)
                bad, first = b"", None
            yield message
        if bad and first:
            self._on_bad(first, bad)


class ConcentratorLink(DialledLink):
    """Frames to and from one terminal, over whichever socket it dials in with.

    What `read` gives are whole frames which answer something; `version` is the protocol version
    the terminal spoke last. `events` counts its important events (EC1, None until it says so),
    `events_told` those it has told: where they differ there is something to ask for (ACD).
    """

    def __init__(
        self,
        home: Home,
        device_id: str,
        report: Callable[[Unasked], None],
        on_upload: Upload,
        *,
        connect_timeout_s: float = 5.0,
    ):
        name = f"concentrator {device_id}"
        super().__init__(home, device_id, name, echo="0", connect_timeout_s=connect_timeout_s)
        self.version = V2009
        self.heartbeats = self.uploads = 0
        self.events: int | None = None
        self.events_told: int | None = None
        self._report, self._on_upload = report, on_upload
        self._frames = Unframer(self._garbled)

    # The listener's side ------------------------------------------------------------------

    def attach(self, transport: asyncio.Transport, raw: bytes) -> None:
        self._frames = Unframer(self._garbled)
        super().attach(transport, raw)

    def heard(self, packet: bytes) -> None:
        """Take a packet of the terminal's."""
        for message in self._frames.feed(packet):
            self._take(message)

    def _take(self, message: Message) -> None:
        if terminal_id(message) != self.device_id or not message.is_up:
            why = f"a frame of {terminal_id(message)} came from {self.device_id}"
            self._report(Unasked(STRANGER, why, message.raw, self.device_id))
            return
        self.version = message.version
        if message.events is not None:
            self.events = message.events[0]
        if message.afn == CLASS_3:
            self._told(message)
        if not message.is_started:
            self.data_received(message.raw)
        elif message.afn == LINK:
            self._keep_up(message)
        else:
            self.uploads += 1
            self._on_upload(self, message)

    def _told(self, message: Message) -> None:
        """Note up to where important events (F1) have been told."""
        for item in message.items:
            if item.fn == 1 and item.values and item.values.get("last") is not None:
                self.events_told = item.values["last"]

    def _keep_up(self, message: Message) -> None:
        """Login, heartbeat and logout are confirmed at once (§5.2)."""
        self.heartbeats += message.functions == (HEARTBEAT,)
        self.confirm(message)
        if message.functions == (LOGOUT,) and self._transport is not None:
            self._transport.close()

    def confirm(self, message: Message) -> None:
        """Confirm what the terminal sent, where it is still there to hear it."""
        if self._transport is not None and not self._transport.is_closing():
            frame = encode_confirm(message)
            self.counters.bytes_out += len(frame)
            self._transport.write(frame)

    def _garbled(self, error: FrameError, raw: bytes) -> None:
        self._report(Unasked(GARBLED, str(error), raw, self.device_id))


class ConcentratorListener(Listener[ConcentratorLink]):
    """One TCP port for all concentrators of a process; port 0 takes a free one.

    on_upload   takes what a terminal sends by itself, and confirms it (`link.confirm`)
    """

    mute = MUTE

    def __init__(
        self,
        *,
        host: str = "0.0.0.0",
        port: int = 0,
        on_unasked: Callable[[Unasked], None],
        on_upload: Upload,
        limits: Limits = USUAL,
    ):
        super().__init__(host=host, port=port, on_unasked=on_unasked, limits=limits)
        self._on_upload = on_upload

    def _caller(self) -> _Socket:
        return _Socket(self)

    def link(self, name: str, *, connect_timeout_s: float = 5.0) -> ConcentratorLink:
        """The link of the terminal "<a1>-<a2>", which is known from now on until it is closed.

        Raises ValueError where that is no address, or is somebody's already.
        """
        a1, a2 = parse_id(name)
        return self._know(
            ConcentratorLink(
                self,
                f"{a1}-{a2}",
                self.report,
                self._on_upload,
                connect_timeout_s=connect_timeout_s,
            )
        )


class _Socket(Caller[ConcentratorLink]):
    """A connection that introduces itself with a login, or with a heartbeat where it believes
    that it is still logged in. Anything else before that is not confirmed, so it comes again."""

    def __init__(self, listener: ConcentratorListener):
        super().__init__(listener)
        self._frames = Unframer(lambda error, raw: None)
        self._fed = 0

    def _introduce(self) -> None:
        fresh, self._fed = bytes(self.first[self._fed :]), len(self.first)
        for message in self._frames.feed(fresh):
            if message.is_up and message.afn == LINK and message.functions != (LOGOUT,):
                self._settle(message)
                return
            self._listener.counts["early"] += 1
        if len(self.first) > self._listener.limits.first_bytes:
            self._listener.refuse(self, UNREGISTERED, "too many bytes before a login")

    def _settle(self, message: Message) -> None:
        name = terminal_id(message)
        self._link = self._listener.register(self, name, message.raw, UNKNOWN)
        if self._link is not None:
            self._link.heard(message.raw + self._frames.rest())
