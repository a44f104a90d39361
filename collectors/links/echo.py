"""Half-duplex converters hand back what was just sent; an echo must never pass for an answer."""

from __future__ import annotations


class EchoStripper:
    """Drops one exact copy of the last bytes written where it comes first.

    Bytes that agree with the copy so far are held back until it is whole (and dropped) or
    broken off (and handed on: it was the answer, which may well begin like the question).
    """

    def __init__(self) -> None:
        self._expected = b""
        self._held = b""
        self.stripped = 0

    def expect(self, written: bytes) -> None:
        self._expected, self._held = written, b""

    def feed(self, chunk: bytes) -> bytes:
        """What of `chunk`, and of earlier bytes held back, is not echo."""
        if not self._expected:
            return chunk
        self._held += chunk
        size = min(len(self._held), len(self._expected))
        if self._held[:size] != self._expected[:size]:
            return self.release()
        if size < len(self._expected):
            return b""
        self.stripped += 1
        rest = self._held[size:]
        self._expected = self._held = b""
        return rest

    def release(self) -> bytes:
        """Stop waiting for the echo; give out what was held back."""
        held, self._expected, self._held = self._held, b"", b""
        return held
