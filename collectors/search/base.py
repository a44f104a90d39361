"""What a way of searching is made of, and what can be made of the bytes a question brought."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final, Protocol

from collectors.dialects import WRONG_ANSWER, Step
from collectors.frames import FrameError

PREAMBLE: Final = b"\xfe"


@dataclass(frozen=True, slots=True)
class Found:
    """A meter that has answered.

    address   what it is asked by; `names` are all the addresses it may be known by
    kind      what it measures, "" where its protocol does not say
    maker     its manufacturer as far as the protocol tells; type_zh the kind of meter in words
    """

    protocol: str
    address: str
    names: tuple[str, ...]
    kind: str = ""
    maker: str = ""
    type_zh: str = ""
    meter_type: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "names": list(self.names)}


class Way(Protocol):
    """One way of searching: what to ask of a mask, and who answered."""

    @property
    def protocol(self) -> str: ...

    @property
    def roots(self) -> Sequence[str]:
        """The masks to begin with; together they match everybody."""

    def decode(self, buffer: bytes) -> tuple[Any, int]: ...

    def refusal(self, message: Any) -> str: ...

    def steps(self, mask: str) -> list[Step]:
        """The conversation that makes whoever matches a mask speak."""

    def found(self, mask: str, message: Any) -> Found | None:
        """The meter that sent a frame; None where it says nothing of one (our own question)."""

    def own(self, found: Found) -> str:
        """The mask that only this meter matches."""

    def is_crowded(self, mask: str, found: int, is_noisy: bool) -> bool:
        """Whether more than one meter seems to have answered."""

    def children(self, mask: str) -> Sequence[str]:
        """Narrower masks that together match all a mask matches; none where it cannot be."""

    def words(self, mask: str) -> str:
        """A mask for the person who watches."""


@dataclass
class Asking:
    """What all ways share; `timeout_s` None leaves each question the session's patience."""

    timeout_s: float | None = None
    protocol: ClassVar[str] = ""
    roots: Sequence[str] = field(default=(), init=False)

    def step(self, request: bytes, judge: Callable[[Any], str] | None = None) -> Step:
        """A question after which the bus is heard out, whoever speaks."""
        return Step(request, judge or hear_out, timeout_s=self.timeout_s)

    def refusal(self, message: Any) -> str:
        return ""

    def own(self, found: Found) -> str:
        return found.address

    def is_crowded(self, mask: str, found: int, is_noisy: bool) -> bool:
        return is_noisy or found > 1

    def children(self, mask: str) -> Sequence[str]:
        return ()

    def words(self, mask: str) -> str:
        return mask


def hear_out(_message: Any) -> str:
    """No frame ends the listening: another meter may speak after it."""
    return WRONG_ANSWER


def sift(
    decode: Callable[[bytes], tuple[Any, int]], heard: bytes, starts: bytes = b"\x68"
) -> tuple[list[Any], bool]:
    """(the good frames in what was heard, whether there was anything else: noise, or meters
    speaking at once). `starts` are the bytes a frame begins with."""
    found: list[Any] = []
    is_noisy = False
    while heard:
        try:
            message, consumed = decode(heard)
        except FrameError as error:
            is_noisy, heard = True, heard[error.consumed :]
            continue
        if message is None:
            return found, is_noisy or bool(heard.strip(PREAMBLE))
        is_noisy = is_noisy or heard.lstrip(PREAMBLE)[0] not in starts
        found.append(message)
        heard = heard[consumed:]
    return found, is_noisy
