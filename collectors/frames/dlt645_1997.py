"""DL/T 645-1997: the older edition, with data ids of two bytes and other control codes.

The same frame and the same `Message` as `dlt645`; tables are `dlt645_1997_di`. Many water and heat
meters speak it too and mean their own unit by 9010: what an item counts is then the archive's
business, not the frame's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from collectors.frames import dlt645_frame as frames
from collectors.frames import dlt645_message as messages
from collectors.frames.dlt645_1997_di import fields_for, fields_of_count, is_known
from collectors.frames.dlt645_frame import ANSWER, BROADCAST, MORE, REFUSED, WILDCARD, address_bytes
from collectors.frames.dlt645_message import (
    Credentials,
    Edition,
    Message,
    Parts,
    credential_bytes,
    split,
)
from collectors.frames.dlt645_value import Raw, Reading, Value, read, write_moment
from collectors.frames.dlt645_words import CONTROLS_1997

__all__ = [
    "BROADCAST",
    "EDITION",
    "WILDCARD",
    "Credentials",
    "Message",
    "decode",
    "join",
    "split",
]

READ: Final = 0x01
READ_NEXT: Final = 0x02
READ_AGAIN: Final = 0x03
WRITE: Final = 0x04
BROADCAST_TIME: Final = 0x08
WRITE_ADDRESS: Final = 0x0A
SPEED: Final = 0x0C
PASSWORD: Final = 0x0F
CLEAR_DEMAND: Final = 0x10
_SEPARATOR: Final = b"\xaa"


def decode(buffer: bytes | bytearray | memoryview) -> tuple[Message | None, int]:
    """Find the first frame; see `collectors.frames` for the contract.

    Raises FrameError with code "start", "length", "stop" or "checksum" where a 68H is not the
    beginning of a good frame. What a good frame's data fail to say is its `problem`.
    """
    frame, consumed = frames.find(buffer)
    return (None if frame is None else messages.message_of(frame, EDITION)), consumed


def _write_request(edition: Edition, data: bytes) -> Parts:
    """Data id, PA P0 P1 P2, items; there is no operator in this edition."""
    parts = messages.with_di(edition, data)
    if parts.di is None or len(parts.payload) < 4:
        return replace(parts, problem="length")
    head, parts.payload = parts.payload[:4], parts.payload[4:]
    level, password = head[:1].hex().upper(), head[:0:-1].hex().upper()
    parts.credentials = Credentials(level, password, "")
    parts.reading, problem = messages.read_items(edition, parts.di, parts.payload)
    return replace(parts, problem=problem if parts.reading else "")


def _block(di: int, payload: bytes) -> Reading | None:
    """A block whose end many meters mark with AA, which is no BCD byte; or, where the id ends in
    FF, all blocks of that DI1 in order, each so marked. None where it is neither."""
    if di & 0xF != 0xF or not payload.endswith(_SEPARATOR):
        return None
    rows = [di]
    if di & 0xFF == 0xFF:
        rows = [row for n in range(15) if is_known(row := di & 0xFF00 | n << 4 | 0xF)]
    sections = payload[:-1].split(_SEPARATOR)
    if len(rows) != len(sections):
        return None
    values: list[Value] = []
    for row, section in zip(rows, sections, strict=True):
        fields = fields_for(row, len(section))
        if fields is None:
            return None
        values += read(section, fields).values
    return Reading(tuple(values))


EDITION: Final = Edition(
    "1997",
    2,
    CONTROLS_1997,
    fields_for,
    fields_of_count,
    is_known,
    {
        READ: messages.with_di,
        READ | ANSWER: messages.answer,
        READ | ANSWER | MORE: messages.part_answer,
        READ_NEXT: messages.with_di,
        READ_NEXT | ANSWER: messages.part_answer,
        READ_NEXT | ANSWER | MORE: messages.part_answer,
        READ_AGAIN | ANSWER: messages.answer,
        READ_AGAIN | ANSWER | MORE: messages.part_answer,
        WRITE: _write_request,
        BROADCAST_TIME: messages.broadcast_time,
        WRITE_ADDRESS: messages.six_address,
    },
    _block,
)


def join(parts: Sequence[Message]) -> Message:
    """The first answer (81H, A1H) completed by its follow-up answers (82H, A2H), in order.

    Raises FrameError, code "structure", where a part belongs to another answer or more were to
    follow. Follow-up frames carry no number in this edition.
    """
    return messages.join(parts, READ, READ_NEXT)


# --- requests -----------------------------------------------------------------------------------


def encode_read(address: str, di: int) -> bytes:
    """Ask for a data id (01H)."""
    return frames.encode(address, READ, EDITION.di_bytes(di))


def encode_read_next(address: str, di: int) -> bytes:
    """Ask for the follow-up data of a data id (02H)."""
    return frames.encode(address, READ_NEXT, EDITION.di_bytes(di))


def encode_read_again(address: str) -> bytes:
    """Ask for the last answer once more (03H)."""
    return frames.encode(address, READ_AGAIN)


def _password(who: Credentials) -> bytes:
    return credential_bytes(replace(who, operator="00000000"))[:4]


def encode_write(
    address: str,
    di: int,
    values: Sequence[Raw | None] | bytes,
    credentials: Credentials | None = None,
) -> bytes:
    """Write a data id's items, or bytes as they are (04H). Raises ValueError where the values do
    not fit its layout."""
    payload = values if isinstance(values, bytes) else EDITION.items(di, values)
    data = EDITION.di_bytes(di) + _password(credentials or Credentials()) + payload
    return frames.encode(address, WRITE, data)


def encode_write_address(new: str, *, address: str = WILDCARD) -> bytes:
    """Give a meter a new address (0AH); by default the only one on a line."""
    return frames.encode(address, WRITE_ADDRESS, address_bytes(new))


def encode_broadcast_time(when: datetime, *, address: str = BROADCAST) -> bytes:
    """Set the clocks of all meters, in local time (08H); nobody answers."""
    return frames.encode(address, BROADCAST_TIME, write_moment(when, "YMDhms"))


def encode_speed(address: str, feature: int) -> bytes:
    """Change the speed of the line (0CH) to that of a feature byte."""
    return frames.encode(address, SPEED, bytes((feature,)))


def encode_password(address: str, old: Credentials, new: Credentials) -> bytes:
    """Replace a password (0FH)."""
    return frames.encode(address, PASSWORD, _password(old) + _password(new))


def encode_clear_demand(address: str, credentials: Credentials | None = None) -> bytes:
    """Clear the maximum demand (10H); some meters ask for the password with it."""
    return frames.encode(address, CLEAR_DEMAND, _password(credentials) if credentials else b"")


# --- answers, for those who play the meter ------------------------------------------------------


def encode_answer(request: Message, values: Sequence[Raw | None] = (), *, address: str) -> bytes:
    """A meter's one-frame answer: items to a read, otherwise the acknowledgement the standard
    gives. Raises ValueError where the values do not fit."""
    if request.function in (READ, READ_NEXT) and request.di is not None:
        return encode_part(request, EDITION.items(request.di, values), address=address)
    data = b""
    if request.function == SPEED:
        data = request.payload
    elif request.function == PASSWORD:
        data = request.payload[4:8]
    return frames.encode(address, request.control | ANSWER, data)


def encode_part(request: Message, payload: bytes, *, address: str, more: bool = False) -> bytes:
    """One frame of an answer to a read (81H, A1H) or a follow-up request (82H, A2H)."""
    if request.di is None:
        raise ValueError("the request names no data id")
    control = request.control | ANSWER | (MORE if more else 0)
    return frames.encode(address, control, EDITION.di_bytes(request.di) + payload)


def encode_refusal(request: Message, error: int, *, address: str) -> bytes:
    """A meter's refusal with its error word: D7 and D6 set."""
    return frames.encode(address, request.control | ANSWER | REFUSED, bytes((error,)))
