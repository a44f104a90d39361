"""Faults to order: what goes wrong on a wire, meter by meter, answer by answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import chain, cycle, repeat


class Fault(Enum):
    """What happens to one answer instead of, or besides, its being sent."""

    NOISE = "noise"  # random bytes before and after it; the answer itself is whole
    ECHO = "echo"  # the question comes back first, as half-duplex converters do
    HALF_FRAME = "half_frame"  # only the first half of it
    SILENCE = "silence"  # nothing
    SLOW = "slow"  # all of it, SLOW_S later
    DRIP = "drip"  # all of it, a byte at a time
    WRONG_ADDRESS = "wrong_address"  # a good frame of another meter
    BAD_CHECKSUM = "bad_checksum"
    DISCONNECT = "disconnect"  # the serial server hangs up


SLOW_S = 3.0


class FaultPlan:
    """Which fault befalls each answer of a meter, in turn; None is no fault.

    FaultPlan([Fault.SILENCE, None])        once silent, then well for good
    FaultPlan([Fault.NOISE], for_ever=True) always noisy
    """

    def __init__(self, faults: Sequence[Fault | None] = (), *, for_ever: bool = False):
        self._turns: Iterator[Fault | None] = (
            cycle(faults) if for_ever and faults else chain(faults, repeat(None))
        )

    def next(self) -> Fault | None:
        return next(self._turns)
