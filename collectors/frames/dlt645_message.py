"""What a checked frame of DL/T 645 says, for both editions.

An `Edition` tells how wide its data ids are, which control codes carry one, and where to look
items up; the codecs `dlt645` (2007) and `dlt645_1997` each have one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from collectors.frames.dlt645_frame import ANSWER, MORE, REFUSED, Frame, addressed_to
from collectors.frames.dlt645_value import Field, Raw, Reading, read, read_moment, write
from collectors.frames.dlt645_words import Words, error_words
from collectors.frames.errors import FrameError

_FUNCTION: Final = 0x1F
_PART: Final = 192  # bytes of items in one answer: below 200 with data id and sequence
_CIPHERED: Final = ("98", "99")  # PA: what follows is encrypted and signed by a security module


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who orders: `level` PA, `password` P2 P1 P0 and `operator` C3..C0 as hexadecimal digits."""

    level: str = "02"
    password: str = "000000"
    operator: str = "00000000"


@dataclass(frozen=True, slots=True)
class Relay:
    """The order in a 1CH command: N1, N2 and until when it holds (None: not a date)."""

    n1: int
    n2: int
    expiry: datetime | None


@dataclass(frozen=True, slots=True)
class Message:
    """One good frame.

    address      12 hexadecimal digits, high byte first (as printed on the meter; AA: wildcard)
    control      C as sent; `is_answer`, `is_refusal` and `has_more` read its bits
    data         everything under L, 33H taken off; `payload` what follows id and credentials
    di           the data id, None where the control code has none
    sequence     of a follow-up request or answer
    named        the address in the data (read or write address)
    pattern      the freeze command's month, day, hour, minute; 99 stands for every
    when         the broadcast time, None where it is no time
    reading      the items, None where the frame carries none or they could not be told apart
    problem      why there is no reading or it can not be believed, else "":
                 "unknown_di" "length" "not_bcd" "fill_value" "time" "text" "structure"
                 "checksum" (of a load record) "encrypted"
    raw          68H to 16H; `offset` is where it began in the buffer
    """

    edition: Edition
    address: str
    control: int
    data: bytes
    raw: bytes
    offset: int
    preamble: int
    di: int | None = None
    payload: bytes = b""
    sequence: int | None = None
    credentials: Credentials | None = None
    named: str | None = None
    pattern: str | None = None
    when: datetime | None = None
    relay: Relay | None = None
    reading: Reading | None = None
    problem: str = ""

    @property
    def function(self) -> int:
        """The control code without direction, refusal and follow-up bits."""
        return self.control & _FUNCTION

    @property
    def is_answer(self) -> bool:
        return bool(self.control & ANSWER)

    @property
    def is_refusal(self) -> bool:
        return self.control & (ANSWER | REFUSED) == ANSWER | REFUSED

    @property
    def has_more(self) -> bool:
        """The answer goes on: ask for follow-up data."""
        return self.control & (ANSWER | REFUSED | MORE) == ANSWER | MORE

    def answers(self, request: Message) -> bool:
        """Whether this is the answer to `request`, or its refusal: a meter that was meant, the
        same function and, where both carry them, the same data id and sequence."""
        if not self.is_answer or self.function != request.function:
            return False
        if not addressed_to(request.address, self.address):
            return False
        if self.is_refusal or self.control not in self.edition.parsers or request.di is None:
            return True
        return (self.di, self.sequence) == (request.di, request.sequence)

    @property
    def error(self) -> int | None:
        """The error word of a refusal."""
        return self.data[0] if self.is_refusal and self.data else None

    @property
    def error_words(self) -> list[Words]:
        return error_words(self.error or 0, self.edition.name == "1997")

    @property
    def function_words(self) -> Words:
        return self.edition.controls.get(self.function, ("unknown control", "未知控制码"))


@dataclass
class Parts:
    """What a parser finds in the data; becomes the second half of a Message."""

    di: int | None = None
    payload: bytes = b""
    sequence: int | None = None
    credentials: Credentials | None = None
    named: str | None = None
    pattern: str | None = None
    when: datetime | None = None
    relay: Relay | None = None
    reading: Reading | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Edition:
    """parsers: control code (with direction and follow-up bits) -> what reads its data."""

    name: str
    di_size: int
    controls: Mapping[int, Words]
    fields_for: Callable[[int, int], tuple[Field, ...] | None]
    fields_of_count: Callable[[int, int], tuple[Field, ...] | None]
    is_known: Callable[[int], bool]
    parsers: Mapping[int, Callable[[Edition, bytes], Parts]] = field(default_factory=dict)
    read_special: Callable[[int, bytes], Reading | None] = lambda di, payload: None

    def di_bytes(self, di: int) -> bytes:
        """The data id as sent. Raises ValueError where it has another width."""
        if not 0 <= di < 256**self.di_size:
            raise ValueError(f"{di:X} is no data id of {self.di_size} bytes")
        return di.to_bytes(self.di_size, "little")

    def items(self, di: int, values: Sequence[Raw | None]) -> bytes:
        """The items of an answer to `di`, or of a write; as many as there are values. Raises
        ValueError where the id is unknown or has no such number of items."""
        fields = self.fields_of_count(di, len(values))
        if fields is None:
            raise ValueError(f"{di:0{2 * self.di_size}X} has no layout of {len(values)} items")
        return write(fields, values)


def message_of(frame: Frame, edition: Edition) -> Message:
    """The frame with its data taken apart; never raises. A refusal's data is its error word."""
    parser = edition.parsers.get(frame.control)
    parts = parser(edition, frame.data) if parser else Parts(payload=frame.data)
    return Message(
        edition,
        frame.address,
        frame.control,
        frame.data,
        frame.raw,
        frame.offset,
        frame.preamble,
        **vars(parts),
    )


# --- parsers shared by the editions -------------------------------------------------------------


def with_di(edition: Edition, data: bytes) -> Parts:
    """Data id, then anything."""
    size = edition.di_size
    if len(data) < size:
        return Parts(payload=data, problem="length")
    return Parts(di=int.from_bytes(data[:size], "little"), payload=data[size:])


def answer(edition: Edition, data: bytes) -> Parts:
    """Data id and the items it stands for."""
    parts = with_di(edition, data)
    if parts.di is not None:
        parts.reading, parts.problem = read_items(edition, parts.di, parts.payload)
    return parts


def part_answer(edition: Edition, data: bytes) -> Parts:
    """An answer that goes on in another frame: its items may end anywhere, so a misfit is none."""
    parts = answer(edition, data)
    if parts.problem == "length":
        parts.problem = ""
    return parts


def read_items(edition: Edition, di: int, payload: bytes) -> tuple[Reading | None, str]:
    """The items of an answer and what is wrong with them ("" for nothing)."""
    if not payload:
        return None, "length"
    try:
        special = edition.read_special(di, payload)
    except FrameError as error:
        return None, error.code
    if special is not None:
        return special, special.fault
    fields = edition.fields_for(di, len(payload))
    if fields is None:
        return None, "length" if edition.is_known(di) else "unknown_di"
    reading = read(payload, fields)
    return reading, reading.fault


def join(parts: Sequence[Message], read_control: int, next_control: int) -> Message:
    """The first answer completed by its follow-up answers, in order; see the codecs' `join`."""
    if not parts:
        raise FrameError("no answer")
    first, last = parts[0], parts[-1]
    if first.di is None:
        raise FrameError("the answer names no data id")
    for number, part in enumerate(parts):
        expected = next_control if number else read_control
        same = (part.function, part.di, part.address) == (expected, first.di, first.address)
        if not same or part.is_refusal or part.has_more != (part is not last):
            raise FrameError(f"part {number} does not belong to the answer")
        if number and part.sequence not in (number, None):
            raise FrameError(f"part {number} has number {part.sequence}")
    payload = b"".join(part.payload for part in parts)
    reading, problem = read_items(first.edition, first.di, payload)
    return replace(first, payload=payload, reading=reading, problem=problem)


def split(payload: bytes) -> list[bytes]:
    """A long answer's items in pieces for `encode_part`: the first one, then numbers 1, 2 …"""
    return [payload[at : at + _PART] for at in range(0, len(payload), _PART)] or [b""]


def sequence_request(edition: Edition, data: bytes) -> Parts:
    """Data id and the number of the follow-up frame."""
    parts = with_di(edition, data)
    if len(parts.payload) == 1:
        parts.sequence, parts.payload = parts.payload[0], b""
    elif not parts.problem:
        parts.problem = "length"
    return parts


def sequence_answer(edition: Edition, data: bytes) -> Parts:
    """Data id, a further part of the items, and the follow-up frame's number."""
    parts = with_di(edition, data)
    if parts.payload:
        parts.sequence, parts.payload = parts.payload[-1], parts.payload[:-1]
    elif not parts.problem:
        parts.problem = "length"
    return parts


def six_address(edition: Edition, data: bytes) -> Parts:
    """An address as data."""
    if len(data) != 6:
        return Parts(payload=data, problem="length" if data else "")
    named = data[::-1].hex().upper()
    return Parts(named=named, problem="" if named.isdecimal() else "not_bcd")


def broadcast_time(edition: Edition, data: bytes) -> Parts:
    """ssmmhhDDMMYY."""
    if len(data) != 6:
        return Parts(payload=data, problem="length")
    try:
        when = read_moment(data, "YMDhms")
    except FrameError as error:
        return Parts(payload=data, problem=error.code)
    if not isinstance(when, datetime):
        return Parts(payload=data, problem="time")
    return Parts(when=when)


def split_credentials(data: bytes) -> tuple[Credentials, bytes]:
    """PA P0 P1 P2 C0 C1 C2 C3 and what follows."""
    level, password, operator = data[:1], data[3:0:-1], data[7:3:-1]
    who = Credentials(level.hex().upper(), password.hex().upper(), operator.hex().upper())
    return who, data[8:]


def credential_bytes(who: Credentials) -> bytes:
    """PA P0 P1 P2 C0 C1 C2 C3, each given high byte first. Raises ValueError for other widths."""
    level, password, operator = (
        bytes.fromhex(text)[::-1] for text in (who.level, who.password, who.operator)
    )
    if (len(level), len(password), len(operator)) != (1, 3, 4):
        raise ValueError("a level has 2 digits, a password 6 and an operator 8")
    return level + password + operator


def is_ciphered(credentials: Credentials) -> bool:
    return credentials.level in _CIPHERED
