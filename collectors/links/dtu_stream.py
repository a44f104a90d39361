"""What a DTU says besides its meters' bytes: registration, heartbeats, prefixes. Pure.

`frames.dtu` knows the forms of single packets.  Here is what a listener knows besides: which ids
there are, so that a bare one ends where something is glued to it, and that a stream may be torn
anywhere, so that a heartbeat falls between the two halves of an answer.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from collectors.frames import FrameError, dtu

# Heartbeats long enough to be told from a frame's bytes wherever they stand.
WORDS: Final = (b"heartbeat", b"keepalive", b"heart", b"alive", b"ping")
# Shorter than this, a registration might come by chance inside a frame: stripped only in front.
SURE_SIZE: Final = 8

# CTRL:, a length byte which makers count differently (so it is not believed), the id.
_CTRL = re.compile(rb"CTRL:.([0-9]{15})", re.DOTALL)
_TOKEN = re.compile(rb"[0-9A-Za-z_-]{4,40}")
_FRAME = re.compile(rb"\xfe|\x10|h[^\x21-\x7e]|h(.)\1h|h.{6}h", re.DOTALL)
_BEATS = re.compile(rb"(?:(?:" + b"|".join(WORDS) + rb")[\s\0]*)*", re.IGNORECASE)
_LEADING = re.compile(rb"(?:" + b"|".join(WORDS) + rb"|[\s\0\xfe])*", re.IGNORECASE)
_BINARY_SIZES = range(4, 13)


@dataclass(frozen=True, slots=True)
class Registration:
    """Who a DTU says it is.

    device_id   upper case; digits of a binary id as hex
    raw         the bytes that said so, which some DTUs repeat in front of every packet
    rest        what came after it in the same packet
    """

    device_id: str
    raw: bytes
    rest: bytes = b""


def registration(packet: bytes, known: Container[str]) -> Registration | None:
    """The registration at the beginning of `packet`, None where there is none.

    `known` settles where a bare id ends, and makes ids of binary packets; besides, whatever
    `frames.dtu` takes for a registration.  An id that is not known is returned too, for the
    caller to refuse.
    """
    packet = packet[_LEADING.match(packet).end() :]  # type: ignore[union-attr]
    if len(packet) in _BINARY_SIZES and packet.hex().upper() in known:
        return Registration(packet.hex().upper(), packet)
    return _known_prefix(packet, known) or _usual(packet)


def _usual(packet: bytes) -> Registration | None:
    """What `frames.dtu` finds. DDP modems want every answer in a frame of theirs: not served."""
    try:
        found, consumed = dtu.decode(packet)
    except FrameError:
        return None
    if found is None or found.id is None or found.kind == "heartbeat" or found.form == "ddp":
        return None
    if found.kind == "data":
        size = len(found.raw) - len(found.payload)
        return Registration(found.id.upper(), found.raw[:size], found.payload)
    return Registration(found.id.upper(), found.raw, packet[consumed:])


def _known_prefix(packet: bytes, known: Container[str]) -> Registration | None:
    """A known id with nothing behind it but a frame, heartbeats, or the same id again.

    Anything else after a known id makes another id of it, and that one may be unknown.
    """
    token = _TOKEN.match(packet)
    for size in range(token.end() if token else 0, 3, -1):
        name = packet[:size]
        if name.decode().upper() not in known:
            continue
        rest = packet[size:].lstrip(b"\r\n\0")
        while rest.startswith(name):
            rest = rest[size:].lstrip(b"\r\n\0")
        if not rest or _FRAME.match(rest) or _BEATS.fullmatch(rest):
            return Registration(name.decode().upper(), name, rest)
    return None


def is_heartbeat(packet: bytes) -> bool:
    """Whether a packet that came unasked is nothing but heartbeats: words, blanks, or one or
    two bytes of any value, which no meter's frame is (00, FE FE, HB)."""
    while len(packet) > 2 and packet.strip() and not _BEATS.fullmatch(packet):
        try:
            found, consumed = dtu.decode(packet)
        except FrameError:
            return False
        if found is None or found.kind != "heartbeat":
            return False
        packet = packet[consumed:]
    return True


class Stripper:
    """Takes heartbeats and repeated registrations out of what a DTU sends, also between the two
    halves of an answer.

    A tail that may be the beginning of one is held back until more comes (`feed`), or until the
    caller has waited long enough (`release`).
    """

    def __init__(self, device_id: str, raw: bytes):
        words = [_atoms(word) for word in WORDS]
        atoms = _registration_atoms(device_id, raw)
        self._front = re.compile(b"".join(atoms)) if len(atoms) < SURE_SIZE else None
        patterns = words if self._front else [atoms, *words]
        self._whole = re.compile(
            b"(?:" + b"|".join(b"".join(p) for p in patterns) + rb")(?:\r\n|\n)?",
            re.DOTALL | re.IGNORECASE,
        )
        parts = sorted({b"".join(p[:n]) for p in patterns for n in range(1, len(p))}, key=len)
        self._begun = re.compile(
            b"(?:" + b"|".join(reversed(parts)) + rb")\Z", re.DOTALL | re.IGNORECASE
        )
        self._held = b""
        self.stripped = 0

    @property
    def is_holding(self) -> bool:
        """Whether a tail is held back."""
        return bool(self._held)

    def feed(self, packet: bytes) -> bytes:
        """What of `packet`, and of a tail held back, are the meters' bytes."""
        data, self._held = self._held + packet, b""
        if self._front and (front := self._front.match(data)):
            data = data[front.end() :]
            self.stripped += 1
        data, count = self._whole.subn(b"", data)
        self.stripped += count
        if begun := self._begun.search(data):
            data, self._held = data[: begun.start()], data[begun.start() :]
        return data

    def release(self) -> bytes:
        """The tail held back: it was the meters' after all."""
        held, self._held = self._held, b""
        return held


def _atoms(literal: bytes) -> list[bytes]:
    return [re.escape(bytes((byte,))) for byte in literal]


def _registration_atoms(device_id: str, raw: bytes) -> list[bytes]:
    """The registration byte by byte; the length byte after CTRL: is another every time."""
    if _CTRL.match(raw):
        return [*_atoms(b"CTRL:"), b".", *_atoms(device_id.encode())]
    return _atoms(raw.rstrip())
