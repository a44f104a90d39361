"""Faults to order: what goes wrong on a wire, in a modem or at a platform, answer by answer.

Each fault is one row of a table: given the `Occasion` it gives the pieces that are sent instead of
the answer, each some seconds later. A plan says which fault befalls which answer:

    FaultPlan([Fault.SILENCE, None])        once silent, then well for good
    FaultPlan([Fault.NOISE], for_ever=True) always noisy
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import chain, cycle, repeat
from typing import Any, Final

SLOW_S = 3.0
DRIP_S = 0.002  # between the bytes of a dripping line
PIECE_S = 0.03  # between the packets one answer is torn into
CLOCK_DRIFT: Final = timedelta(hours=-49, minutes=-7)


class Fault(Enum):
    """What happens to one answer of a meter instead of, or besides, its being sent."""

    NOISE = "noise"  # random bytes before and after it; the answer itself is whole
    ECHO = "echo"  # the question comes back first, as half-duplex converters do
    HALF_FRAME = "half_frame"  # only the first half of it
    COLLISION = "collision"  # another meter talks into it
    SILENCE = "silence"  # nothing
    SLOW = "slow"  # all of it, SLOW_S later
    DRIP = "drip"  # all of it, a byte at a time
    TWICE = "twice"  # all of it, and again
    REPLAY = "replay"  # what was last said on the wire comes again instead
    WRONG_ADDRESS = "wrong_address"  # a good frame of another meter
    BAD_CHECKSUM = "bad_checksum"
    CLOCK_DRIFT = "clock_drift"  # a good answer, and the meter's clock is two days behind
    DISCONNECT = "disconnect"  # the serial server hangs up


class DtuFault(Enum):
    """What a DTU does with one of its meters' answers instead of passing it on whole."""

    DROP = "drop"  # the connection is lost and the answer with it; it dials again
    REDIAL = "redial"  # as DROP, but the old socket stays open, as after a lost carrier
    STRANGER = "stranger"  # as DROP, and the next registration is somebody else's
    HALVES = "halves"  # two packets
    GLUED = "glued"  # one packet with heartbeats before and after
    HEARTBEAT = "heartbeat"  # a heartbeat between the two halves
    LATE = "late"  # SLOW_S later
    TWICE = "twice"  # in two equal packets
    DISORDER = "disorder"  # the second half first
    NEVER = "never"  # not at all


class PushFault(Enum):
    """What goes wrong with one push of a platform."""

    REPLAY = "replay"  # sent twice, byte for byte
    WRONG_SIGNATURE = "wrong_signature"
    TRUNCATED = "truncated"  # half of the JSON
    OVERSIZE = "oversize"  # padded beyond 64 KiB
    LATE = "late"  # stamped an hour before, as one that was held up and overtaken
    CLOCK_AHEAD = "clock_ahead"  # stamped a day ahead
    DISORDER = "disorder"  # sent after the next one
    NEVER = "never"  # not sent at all


AnyFault = Fault | DtuFault | PushFault | None


class Act(Enum):
    """What is done instead of sending a piece."""

    HANG_UP = "hang up"
    REDIAL = "dial again and leave the old socket open"
    STRANGE = "hang up, and dial again as somebody else"


Piece = tuple[float, bytes | Act]  # after so many seconds


@dataclass(frozen=True)
class Occasion:
    """An answer that a fault befalls.

    answer    as it should go out; `question` what it answers
    stranger  gives the same answer as another meter would give it
    previous  what was last said on this wire
    prefix    what a modem puts before each packet, `beat` its heartbeat
    """

    answer: bytes
    question: bytes = b""
    stranger: Callable[[], bytes] = bytes
    previous: bytes = b""
    prefix: bytes = b""
    beat: bytes = b""
    dice: random.Random = field(default_factory=random.Random)

    @property
    def halves(self) -> tuple[bytes, bytes]:
        middle = len(self.answer) // 2
        return self.prefix + self.answer[:middle], self.answer[middle:]


def _noise(occasion: Occasion) -> list[Piece]:
    """Such as a badly ended line gives: any bytes but those that begin a frame, which would only
    make the answer late."""
    quiet = [byte for byte in range(256) if byte not in (0x10, 0x68, 0xE5)]
    before, after = (bytes(occasion.dice.choices(quiet, k=7)) for _ in range(2))
    return [(0, before + occasion.answer + after)]


def _collision(occasion: Occasion) -> list[Piece]:
    """Another meter begins a few bytes later; where both talk, a 0 of either is a 0."""
    other = occasion.stranger() or occasion.dice.randbytes(len(occasion.answer))
    begin = occasion.dice.randrange(1, max(2, len(occasion.answer) // 2))
    return [(0, collided(occasion.answer, other, begin))]


def collided(first: bytes, second: bytes, begin: int) -> bytes:
    """What is heard where `second` begins `begin` bytes into `first`: a space wins over a mark."""
    whole = bytearray(first[:begin].ljust(begin, b"\xff"))
    rest = first[begin:]
    size = max(len(rest), len(second))
    for one, other in zip(rest.ljust(size, b"\xff"), second.ljust(size, b"\xff"), strict=True):
        whole.append(one & other)
    return bytes(whole)


def _drip(occasion: Occasion) -> list[Piece]:
    return [(DRIP_S * (n + 1), bytes((byte,))) for n, byte in enumerate(occasion.answer)]


def _bad_checksum(occasion: Occasion) -> list[Piece]:
    """The checksum off by one; an acknowledgement becomes another byte."""
    answer = occasion.answer
    if len(answer) == 1:
        return [(0, b"\xa5")]
    return [(0, answer[:-2] + bytes(((answer[-2] + 1) & 0xFF, answer[-1])))]


def _in_turn(*pieces: bytes) -> list[Piece]:
    return [(n * PIECE_S, piece) for n, piece in enumerate(pieces)]


def _whole(occasion: Occasion) -> list[Piece]:
    return [(0, occasion.prefix + occasion.answer)]


EFFECTS: Final[Mapping[AnyFault, Callable[[Occasion], list[Piece]]]] = {
    None: _whole,
    Fault.NOISE: _noise,
    Fault.ECHO: lambda o: [(0, o.question + o.answer)],
    Fault.HALF_FRAME: lambda o: [(0, o.answer[: len(o.answer) // 2])],
    Fault.COLLISION: _collision,
    Fault.SILENCE: lambda o: [],
    Fault.SLOW: lambda o: [(SLOW_S, o.answer)],
    Fault.DRIP: _drip,
    Fault.TWICE: lambda o: [(0, o.answer), (PIECE_S, o.answer)],
    Fault.REPLAY: lambda o: [(0, o.previous)],
    Fault.WRONG_ADDRESS: lambda o: [(0, o.stranger())],
    Fault.BAD_CHECKSUM: _bad_checksum,
    Fault.CLOCK_DRIFT: _whole,  # the meter's own answer is already wrong: FaultPlan.clock_shift
    Fault.DISCONNECT: lambda o: [(0, Act.HANG_UP)],
    DtuFault.DROP: lambda o: [(0, Act.HANG_UP)],
    DtuFault.REDIAL: lambda o: [(0, Act.REDIAL)],
    DtuFault.STRANGER: lambda o: [(0, Act.STRANGE)],
    DtuFault.HALVES: lambda o: _in_turn(*o.halves),
    DtuFault.GLUED: lambda o: [(0, o.beat + o.prefix + o.answer + o.beat)],
    DtuFault.HEARTBEAT: lambda o: _in_turn(o.halves[0], o.beat, o.halves[1]),
    DtuFault.LATE: lambda o: [(SLOW_S, o.prefix + o.answer)],
    DtuFault.TWICE: lambda o: _in_turn(o.prefix + o.answer, o.prefix + o.answer),
    DtuFault.DISORDER: lambda o: _in_turn(*reversed(o.halves)),
    DtuFault.NEVER: lambda o: [],
}


@dataclass(frozen=True, slots=True)
class PushEffect:
    """How a push is spoilt.

    shift      how far off its stamp is
    is_forged  its signature is somebody else's
    padding    bytes of nothing put into it
    keeps      the part of it that is sent
    times      how often it is sent
    is_held    it is sent after the next one
    """

    shift: timedelta = timedelta()
    is_forged: bool = False
    padding: int = 0
    keeps: float = 1.0
    times: int = 1
    is_held: bool = False


PUSH_EFFECTS: Final[Mapping[PushFault | None, PushEffect]] = {
    None: PushEffect(),
    PushFault.REPLAY: PushEffect(times=2),
    PushFault.WRONG_SIGNATURE: PushEffect(is_forged=True),
    PushFault.TRUNCATED: PushEffect(keeps=0.5),
    PushFault.OVERSIZE: PushEffect(padding=70_000),
    PushFault.LATE: PushEffect(shift=timedelta(hours=-1)),
    PushFault.CLOCK_AHEAD: PushEffect(shift=timedelta(days=1)),
    PushFault.DISORDER: PushEffect(is_held=True),
    PushFault.NEVER: PushEffect(times=0),
}


class FaultPlan:
    """Which fault befalls each answer, in turn; None is no fault."""

    def __init__(self, faults: Sequence[AnyFault] = (), *, for_ever: bool = False):
        self._turns: Iterator[AnyFault] = (
            cycle(faults) if for_ever and faults else chain(faults, repeat(None))
        )
        self._coming = next(self._turns)

    def next(self) -> Any:
        """The fault of the answer that goes out now."""
        now, self._coming = self._coming, next(self._turns)
        return now

    @property
    def clock_shift(self) -> timedelta:
        """How far off the meter's clock is in its next answer."""
        return CLOCK_DRIFT if self._coming is Fault.CLOCK_DRIFT else timedelta()
