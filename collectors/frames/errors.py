"""The one error every codec knows: what was wrong, at which byte, and how to go on."""

from __future__ import annotations


class FrameError(ValueError):
    """Bytes that can not be a frame, or a frame that can not be believed.

    reason    one English sentence for a log, without the byte position
    at        offset of the offending byte, counted from the start of the buffer given to decode
    code      short and stable, for counters and tests:
              "start" "stop" "length" "checksum" "short" "not_bcd" "fill_value" "structure"
              "unsupported"
    consumed  bytes the caller drops before it decodes again; at least 1 when raised by a decode
    """

    __slots__ = ("at", "code", "consumed", "reason")

    def __init__(self, reason: str, *, at: int = 0, code: str = "structure", consumed: int = 1):
        super().__init__(reason)
        self.reason = reason
        self.at = at
        self.code = code
        self.consumed = consumed

    def __str__(self) -> str:
        return f"{self.reason} (byte {self.at})"
