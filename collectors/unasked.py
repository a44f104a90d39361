"""Bytes that came unasked, from a DTU or a platform, become readings where a meter said them.

A frame is believed only as what it would be had its meter been asked for its current values: the
answer of the last step of that conversation, readable, and with the register of the meter's kind.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from collectors.dialects import ANSWERED, Target, dialect_for, judge_unasked
from collectors.frames import FrameError
from collectors.reading import REGISTERS, Asked
from collectors.session import Read

Heard = tuple[Any, bytes]  # a message of a codec, and its bytes


class NotBelieved(Exception):
    """A frame that is no reading of a meter: a short code, and why."""

    def __init__(self, code: str, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


def messages(target: Target, payload: bytes) -> list[Heard]:
    """Every good frame of a meter's protocol in a payload.

    Raises ValueError where the target's protocol, profile or address is none.
    """
    decode = dialect_for(target).decode
    found: list[Heard] = []
    while payload:
        message, raw, payload = _first(decode, payload)
        if message is not None:
            found.append((message, raw))
    return found


def _first(
    decode: Callable[[bytes], tuple[Any, int]], payload: bytes
) -> tuple[Any | None, bytes, bytes]:
    """The first frame (None: bytes that are none), its bytes, and what is left."""
    try:
        message, consumed = decode(payload)
    except FrameError as error:
        return None, b"", payload[error.consumed :]
    if message is None:
        return None, b"", b""  # the beginning of a frame that never ended
    return message, bytes(getattr(message, "raw", payload[:consumed])), payload[consumed:]


def believe(asked: Asked, target: Target, heard: Heard, at: datetime) -> Read:
    """What a frame says of a meter; `target` is it under the address its frames carry.

    Raises NotBelieved: "wrong_answer", "unreadable" or "wrong_type".
    """
    message, raw = heard
    dialect = dialect_for(target)
    try:
        verdict = judge_unasked(dialect, target, message, at)
    except ValueError as error:
        raise NotBelieved("wrong_answer", str(error)) from None
    if verdict != ANSWERED:
        raise NotBelieved("wrong_answer", f"no reading: {verdict}")
    meaning = dialect.meaning([message])
    if meaning.problem:
        raise NotBelieved("unreadable", meaning.problem)
    register = REGISTERS.get(asked.kind)
    if register is not None and register not in meaning.values:
        raise NotBelieved("wrong_type", f"a {asked.kind} meter without {register}")
    return Read(target, meaning.values, raw, at, meaning.meter_time, meaning.status)
