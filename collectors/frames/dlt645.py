"""DL/T 645-2007: the bus of Chinese electricity meters (and of some that count heat or water).

`decode` finds, checks and reads one frame; the `encode_*` write every request, `encode_answer` and
`encode_refusal` what a meter says. Framing is `dlt645_frame`, the tables of data ids `dlt645_di`;
integers keep the digits sent with their exponent and unit (`dlt645_value.Value`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from collectors.frames import dlt645_frame as frames
from collectors.frames import dlt645_message as messages
from collectors.frames.dlt645_di import fields_for, fields_of_count, is_known
from collectors.frames.dlt645_frame import (
    ANSWER,
    BROADCAST,
    MORE,
    REFUSED,
    WILDCARD,
    address_bytes,
    addressed_to,
)
from collectors.frames.dlt645_load import is_load_record, read_record
from collectors.frames.dlt645_message import (
    Credentials,
    Edition,
    Message,
    Parts,
    Relay,
    credential_bytes,
    is_ciphered,
    split,
    split_credentials,
)
from collectors.frames.dlt645_value import Raw, Reading, Value, read_moment, write_moment
from collectors.frames.dlt645_words import CONTROLS_2007
from collectors.frames.errors import FrameError

__all__ = [
    "BROADCAST",
    "EDITION",
    "WILDCARD",
    "Credentials",
    "Message",
    "Reading",
    "Relay",
    "Value",
    "addressed_to",
    "decode",
    "join",
    "split",
]

BROADCAST_TIME: Final = 0x08
READ: Final = 0x11
READ_NEXT: Final = 0x12
READ_ADDRESS: Final = 0x13
WRITE: Final = 0x14
WRITE_ADDRESS: Final = 0x15
FREEZE: Final = 0x16
SPEED: Final = 0x17
PASSWORD: Final = 0x18
CLEAR_DEMAND: Final = 0x19
CLEAR_METER: Final = 0x1A
CLEAR_EVENTS: Final = 0x1B
RELAY: Final = 0x1C

# §7.2.8: the speed's feature byte.
SPEEDS: Final = {600: 0x02, 1200: 0x04, 2400: 0x08, 4800: 0x10, 9600: 0x20, 19200: 0x40}
EVERY: Final = "99"
NOW: Final = "99999999"


def decode(buffer: bytes | bytearray | memoryview) -> tuple[Message | None, int]:
    """Find the first frame; see `collectors.frames` for the contract.

    Raises FrameError with code "start", "length", "stop" or "checksum" where a 68H is not the
    beginning of a good frame. What a good frame's data fail to say is its `problem`.
    """
    frame, consumed = frames.find(buffer)
    return (None if frame is None else messages.message_of(frame, EDITION)), consumed


# --- reading the data ---------------------------------------------------------------------------


def _special(di: int, payload: bytes) -> Reading | None:
    return read_record(di, payload) if is_load_record(di) else None


def _write_request(edition: Edition, data: bytes) -> Parts:
    """§7.2.5: data id, who orders, and the items (ciphered for levels 98 and 99)."""
    parts = messages.with_di(edition, data)
    if parts.di is None or len(parts.payload) < 8:
        return replace(parts, problem="length")
    parts.credentials, parts.payload = split_credentials(parts.payload)
    if is_ciphered(parts.credentials):
        return replace(parts, problem="encrypted")
    parts.reading, problem = messages.read_items(edition, parts.di, parts.payload)
    return replace(parts, problem=problem if parts.reading else "")


def _order(edition: Edition, data: bytes) -> Parts:
    """Who orders, then anything."""
    if len(data) < 8:
        return Parts(payload=data, problem="length")
    credentials, rest = split_credentials(data)
    return Parts(credentials=credentials, payload=rest)


def _clear_events(edition: Edition, data: bytes) -> Parts:
    parts = _order(edition, data)
    if len(parts.payload) == 4:
        parts.di = int.from_bytes(parts.payload, "little")
    return parts


def _relay(edition: Edition, data: bytes) -> Parts:
    """N1 N2 ssmmhhDDMMYY behind who orders; longer where a security module ciphers it."""
    parts = _order(edition, data)
    if len(data) != 16:
        ciphered = parts.credentials is not None and is_ciphered(parts.credentials)
        return replace(parts, problem="encrypted" if ciphered else "length")
    try:
        until = read_moment(parts.payload[2:], "YMDhms")
    except FrameError:
        until = None
    expiry = until if isinstance(until, datetime) else None
    return replace(parts, relay=Relay(parts.payload[0], parts.payload[1], expiry))


def _freeze(edition: Edition, data: bytes) -> Parts:
    """mmhhDDMM as MMDDhhmm; 99 stands for every (§7.2.7)."""
    if len(data) != 4:
        return Parts(payload=data, problem="length")
    pattern = data[::-1].hex()
    return Parts(pattern=pattern, problem="" if pattern.isdecimal() else "not_bcd")


EDITION: Final = Edition(
    "2007",
    4,
    CONTROLS_2007,
    fields_for,
    fields_of_count,
    is_known,
    {
        BROADCAST_TIME: messages.broadcast_time,
        READ: messages.with_di,
        READ | ANSWER: messages.answer,
        READ | ANSWER | MORE: messages.part_answer,
        READ_NEXT: messages.sequence_request,
        READ_NEXT | ANSWER: messages.sequence_answer,
        READ_NEXT | ANSWER | MORE: messages.sequence_answer,
        READ_ADDRESS | ANSWER: messages.six_address,
        WRITE: _write_request,
        WRITE_ADDRESS: messages.six_address,
        FREEZE: _freeze,
        PASSWORD: messages.with_di,
        CLEAR_DEMAND: _order,
        CLEAR_METER: _order,
        CLEAR_EVENTS: _clear_events,
        RELAY: _relay,
    },
    _special,
)


def join(parts: Sequence[Message]) -> Message:
    """The first answer (91H or B1H) completed by its follow-up answers (92H, B2H), in order.

    Raises FrameError, code "structure", where a part is missing, out of order, of another meter or
    data id, or more were to follow.
    """
    return messages.join(parts, READ, READ_NEXT)


# --- requests -----------------------------------------------------------------------------------


def encode_read(
    address: str, di: int, *, count: int | None = None, since: datetime | None = None
) -> bytes:
    """Ask for a data id (11H, §7.2.2). Load records take how many blocks, and from when on."""
    data = EDITION.di_bytes(di)
    if count is not None:
        data += bytes((count,))
        data += b"" if since is None else write_moment(since, "YMDhm")
    return frames.encode(address, READ, data)


def encode_read_next(address: str, di: int, sequence: int) -> bytes:
    """Ask for follow-up data number `sequence`, 1 to 255 (12H, §7.2.3)."""
    return frames.encode(address, READ_NEXT, EDITION.di_bytes(di) + bytes((sequence,)))


def encode_read_address() -> bytes:
    """Ask the only meter on a line for its address (13H, §7.2.4)."""
    return frames.encode(WILDCARD, READ_ADDRESS)


def encode_write(
    address: str,
    di: int,
    values: Sequence[Raw | None] | bytes,
    credentials: Credentials | None = None,
) -> bytes:
    """Write a data id's items, or bytes as they are (14H, §7.2.5). Raises ValueError where the
    values do not fit its layout."""
    payload = values if isinstance(values, bytes) else EDITION.items(di, values)
    data = EDITION.di_bytes(di) + credential_bytes(credentials or Credentials()) + payload
    return frames.encode(address, WRITE, data)


def encode_write_address(new: str) -> bytes:
    """Give the only meter on a line a new address (15H, §7.2.6)."""
    return frames.encode(WILDCARD, WRITE_ADDRESS, address_bytes(new))


def encode_broadcast_time(when: datetime, *, address: str = BROADCAST) -> bytes:
    """Set the clocks of all meters, in local time (08H, §7.2.9); nobody answers."""
    return frames.encode(address, BROADCAST_TIME, write_moment(when, "YMDhms"))


def encode_freeze(pattern: str = NOW, *, address: str = BROADCAST) -> bytes:
    """Freeze at month, day, hour, minute as eight digits MMDDhhmm, 99 for every; all 9: at once
    (16H, §7.2.7). Raises ValueError where these are not eight digits."""
    if len(pattern) != 8 or not pattern.isdecimal():
        raise ValueError(f"a freeze is eight digits MMDDhhmm, not {pattern!r}")
    return frames.encode(address, FREEZE, bytes.fromhex(pattern)[::-1])


def encode_speed(address: str, baud: int) -> bytes:
    """Change the speed of the line (17H, §7.2.8). Raises KeyError for a speed it does not have."""
    return frames.encode(address, SPEED, bytes((SPEEDS[baud],)))


def encode_password(address: str, di: int, old: Credentials, new: Credentials) -> bytes:
    """Replace a password, 04000C01 to 04000C0A (18H, §7.2.10); the operators are not sent."""
    levels = credential_bytes(old)[:4] + credential_bytes(new)[:4]
    return frames.encode(address, PASSWORD, EDITION.di_bytes(di) + levels)


def encode_clear(
    address: str, control: int, credentials: Credentials, *, events: int | None = None
) -> bytes:
    """Clear demand (19H), the meter (1AH) or events (1BH: `events` is a data id or FFFFFFFF for
    all of them)."""
    data = credential_bytes(credentials)
    if control == CLEAR_EVENTS:
        data += EDITION.di_bytes(0xFFFFFFFF if events is None else events)
    return frames.encode(address, control, data)


def encode_relay(
    address: str, n1: int, expiry: datetime, credentials: Credentials | None = None, *, n2: int = 0
) -> bytes:
    """Order the relay (1CH): N1 as in `dlt645_words`, void after `expiry` (the meter's local
    time). For a line that ciphers (level 98) use its security module instead."""
    order = bytes((n1, n2)) + write_moment(expiry, "YMDhms")
    return frames.encode(address, RELAY, credential_bytes(credentials or Credentials()) + order)


# --- answers, for those who play the meter ------------------------------------------------------


def encode_answer(request: Message, values: Sequence[Raw | None] = (), *, address: str) -> bytes:
    """A meter's one-frame answer: items to a read, its address to 13H, otherwise the bare
    acknowledgement the standard gives. Raises ValueError where the values do not fit."""
    if request.function == READ and request.di is not None:
        return encode_part(request, EDITION.items(request.di, values), address=address)
    data = b""
    if request.function == READ_ADDRESS:
        data = address_bytes(address)
    elif request.function == SPEED:
        data = request.payload
    elif request.function == PASSWORD:
        data = request.payload[4:8]
    return frames.encode(address, request.control | ANSWER, data)


def encode_part(request: Message, payload: bytes, *, address: str, more: bool = False) -> bytes:
    """One frame of an answer to a read (91H, B1H) or a follow-up request (92H, B2H)."""
    if request.di is None:
        raise ValueError("the request names no data id")
    tail = b"" if request.sequence is None else bytes((request.sequence,))
    control = request.control | ANSWER | (MORE if more else 0)
    return frames.encode(address, control, EDITION.di_bytes(request.di) + payload + tail)


def encode_refusal(request: Message, error: int, *, address: str) -> bytes:
    """A meter's refusal with its error word: D7 and D6 set (§7.2, table 8)."""
    return frames.encode(address, request.control | ANSWER | REFUSED, bytes((error,)))
