"""An answer of several frames (§4.3.4.4.2), put together. Pure.

FIR and FIN mark the first and last frame; RSEQ of the first is the request's PSEQ and counts on
from there, though some terminals keep it as it is. A frame that comes twice counts once.
"""

from __future__ import annotations

from typing import Final

from collectors.frames.qgdw3761 import FINAL, FIRST, Item, Message, read_units
from collectors.frames.qgdw3761_tables import CONFIRM

MAX_FRAMES: Final = 64


class Answer:
    """The answer to `request`, frame by frame."""

    def __init__(self, request: Message):
        self._request = request
        self.frames: list[Message] = []

    def add(self, message: Message) -> bool:
        """Take a frame in where it belongs here; whether it does."""
        request = self._request
        is_ours = (message.a1, message.a2) == (request.a1, request.a2)
        is_ours = is_ours and message.is_up and not message.is_started
        if not is_ours or message.afn not in (request.afn, CONFIRM):
            return False
        if message.seq & FIRST:
            if message.number != request.number:
                return False
            if not self.frames or message.raw != self.frames[0].raw:
                self.frames = [message]
            return True
        return self._continue(message)

    def _continue(self, message: Message) -> bool:
        if not self.frames or len(self.frames) >= MAX_FRAMES:
            return False
        if message.raw == self.frames[-1].raw:
            return True
        if message.number not in (
            self._request.number + len(self.frames) & 0x0F,
            self._request.number,
        ):
            return False
        self.frames.append(message)
        return True

    @property
    def is_whole(self) -> bool:
        """Whether the last frame has come."""
        return bool(self.frames) and bool(self.frames[-1].seq & FINAL)

    @property
    def is_confirmed(self) -> bool:
        """A plain yes (AFN 00 F1, or F3 with no error)."""
        return self._confirms(1)

    @property
    def is_denied(self) -> bool:
        """A plain no (AFN 00 F2, or F3 with an error)."""
        return self._confirms(2)

    def _confirms(self, function: int) -> bool:
        last = self.frames[-1] if self.frames else None
        if last is None or last.afn != CONFIRM or not last.items:
            return False
        item = last.items[0]
        if item.fn != 3:
            return item.fn == function
        rows = (item.values or {}).get("results", ())
        return all(row["error"] == 0 for row in rows) is (function == 1)

    @property
    def items(self) -> tuple[Item, ...]:
        """The data units of all frames; one that was cut between two frames is whole again."""
        if all(_fits(frame) for frame in self.frames):
            return tuple(item for frame in self.frames for item in frame.items)
        units = b"".join(frame.units for frame in self.frames)
        items, _ = read_units(units, self._request.afn, True, self._request.version)
        return items

    @property
    def raw(self) -> bytes:
        """All frames as they came."""
        return b"".join(frame.raw for frame in self.frames)

    def raw_of(self, item: Item) -> bytes:
        """The frame a data unit stands in; all of them where it was cut between two."""
        for frame in self.frames:
            if any(one is item for one in frame.items):
                return frame.raw
        return self.raw


def _fits(message: Message) -> bool:
    """Every unit of the frame ends in it, or cannot be read anyway."""
    return not message.trailing and not any("body" in item.faults for item in message.items)
