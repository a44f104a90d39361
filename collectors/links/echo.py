"""Half-duplex converters hand back what was just sent; an echo must never pass for an answer."""

from __future__ import annotations

from typing import Final

# auto: strip an exact copy where there is one. 0: the wire has no echo, and an answer that is the
# question again (Modbus writes) must come through. 1: the wire always echoes, so as many bytes as
# were sent are dropped, also where a collision or noise has changed them.
ECHOES: Final = ("auto", "0", "1")


class EchoStripper:
    """Drops one exact copy of the last bytes written where it comes first.

    Bytes that agree with the copy so far are held back until it is whole (and dropped) or
    broken off (and handed on: it was the answer, which may well begin like the question).
    `echo` is one of ECHOES.
    """

    def __init__(self, echo: str = "auto") -> None:
        if echo not in ECHOES:
            raise ValueError(f"echo={echo} is none of {', '.join(ECHOES)}")
        self._echo = echo
        self._expected = b""
        self._held = b""
        self.stripped = 0

    def expect(self, written: bytes) -> None:
        self._expected, self._held = (b"" if self._echo == "0" else written), b""

    def feed(self, chunk: bytes) -> bytes:
        """What of `chunk`, and of earlier bytes held back, is not echo."""
        if not self._expected:
            return chunk
        self._held += chunk
        size = min(len(self._held), len(self._expected))
        if self._echo == "auto" and self._held[:size] != self._expected[:size]:
            return self.release()
        if size < len(self._expected):
            return b""
        self.stripped += 1
        rest = self._held[size:]
        self._expected = self._held = b""
        return rest

    def release(self) -> bytes:
        """Stop waiting for the echo; give out what was held back, where it may be an answer."""
        held, self._expected, self._held = self._held, b"", b""
        return b"" if self._echo == "1" else held
