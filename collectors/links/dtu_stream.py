"""What a DTU says besides its meters' bytes: registration, heartbeats, prefixes. Pure.

A DTU is a modem with a serial port: it dials the centre, says who it is once (or before every
packet), and repeats a heartbeat so that the carrier does not forget it.  No standard says how; the
forms here are those the common makes ship with.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

WORDS: Final = (b"heartbeat", b"keepalive", b"heart", b"alive", b"ping")
# Shorter than this, a registration might come by chance inside a frame: stripped only in front.
SURE_SIZE: Final = 8

_KEYS = rb"REGISTER|REG|LOGIN|DTUID|DTU|DEVICE|ID|IMEI|ICCID|SN|TEL|PHONE|NAME"
# CTRL:, a length byte which makers count differently (so it is not believed), the id.
_CTRL = re.compile(rb"CTRL:.([0-9]{15})", re.DOTALL)
_TEXT = re.compile(
    rb'[\s{\[<$#*@+&"\']*(?:(?:' + _KEYS + rb')["\'\s]*[=:,#]["\'\s]*)?([0-9A-Za-z_-]{4,40})',
    re.IGNORECASE,
)
_FRAME = re.compile(rb"\xfe|\x10|h[^\x21-\x7e]|h(.)\1h|h.{6}h", re.DOTALL)
_CLOSING = re.compile(rb"[\"'}\]>#*;&\s\0]*")
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

    Forms: the bare id (phone number, IMEI, ICCID, name; with or without a line end), `KEY:id` and
    `KEY=id`, JSON whose first member is the id, `CTRL:` length id, and a binary id of 4 to 12
    bytes.  `known` settles where a bare id ends when something is glued to it; an id which is not
    in it is returned too, for the caller to refuse.
    """
    packet = packet[_LEADING.match(packet).end() :]  # type: ignore[union-attr]
    if ctrl := _CTRL.match(packet):
        return Registration(ctrl[1].decode(), ctrl[0], packet[ctrl.end() :])
    if len(packet) in _BINARY_SIZES and packet.hex().upper() in known:
        return Registration(packet.hex().upper(), packet)
    text = _TEXT.match(packet)
    if text is None:
        return None
    return _known_prefix(packet, text, known) or _whole(packet, text)


def _whole(packet: bytes, text: re.Match[bytes]) -> Registration:
    closing = _CLOSING.match(packet, text.end())
    end = closing.end() if closing else text.end()
    return Registration(text[1].decode().upper(), packet[:end], packet[end:])


def _known_prefix(
    packet: bytes, text: re.Match[bytes], known: Container[str]
) -> Registration | None:
    """The id without what is glued to it: a frame, heartbeats, or the same id again.

    Anything else after a known id makes another id of it, and that one may be unknown.
    """
    token = text[1].decode().upper()
    for size in range(len(token), 3, -1):
        if token[:size] not in known:
            continue
        end = text.start(1) + size
        again = re.compile(b"(?:" + re.escape(packet[:end]) + rb"\s*)*")
        rest = packet[again.match(packet, end).end() :]  # type: ignore[union-attr]
        if size == len(token) and rest == packet[end:]:
            return _whole(packet, text)
        if not rest or _FRAME.match(rest) or _BEATS.fullmatch(rest):
            return Registration(token[:size], packet[:end], rest)
    return None


def is_heartbeat(packet: bytes) -> bool:
    """Whether a packet that came unasked is nothing but heartbeats: words, blanks, or one or
    two bytes of any value, which no meter's frame is (00, FE FE, HB)."""
    return len(packet) <= 2 or not packet.strip() or bool(_BEATS.fullmatch(packet))


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
