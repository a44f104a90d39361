"""One conversation on one bus: select, ask, match the answer, retry, give up.

    session = Session(link, clock=SystemClock())
    outcome = await session.read(Target("cjt188", "00000024170567", meter_type=0x20))

A session owns its link and lets one conversation at a time onto the wire; sessions of different
buses run at once. Nothing a bus does raises: every read ends as `Read` or as `Failed`, and is
counted in `session.counts`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from collectors.dialects import (
    ANSWERED,
    OWN,
    REFUSED,
    Dialect,
    Meaning,
    Step,
    Target,
    dialect_for,
    valve_dialect_for,
)
from collectors.frames import FrameError
from collectors.links.link import Link, LinkDown

__all__ = ["Failed", "Read", "Session", "Target"]

# Reasons of Failed, besides those the dialects' judges give.
SILENT: Final = "silent"  # not a byte came
GARBLED: Final = "garbled"  # bytes came, and never a whole good frame
CHECKSUM: Final = "checksum"
UNREADABLE: Final = "unreadable"  # the right answer, without a believable register
LINK_DOWN: Final = "link_down"
BAD_TARGET: Final = "bad_target"
LATE: Final = "late"  # an order whose time was over before the bus was free
REASONS: Final = (
    SILENT,
    GARBLED,
    CHECKSUM,
    "wrong_address",
    "wrong_answer",
    REFUSED,
    UNREADABLE,
    LINK_DOWN,
    BAD_TARGET,
    LATE,
)

# Trying again does not help where the meter has answered, or the target is nonsense.
_FINAL: Final = frozenset((REFUSED, UNREADABLE, LINK_DOWN, BAD_TARGET))


class Clock(Protocol):
    """Anything that can tell the time in UTC; `backend.base.clock` has some."""

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Read:
    """A good reading.

    values      integers in the unit of their names: energy_wh, volume_l, flow_lph, power_w,
                supply_cdeg, return_cdeg, room_cdeg, settlement_energy_wh, …
    raw         the answer's frame, without preambles, as it came
    at          the clock when the answer was whole (UTC); meter_time is the meter's own, naive
    """

    target: Target
    values: dict[str, int]
    raw: bytes
    at: datetime
    meter_time: datetime | None = None
    status: bytes = b""
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Failed:
    """No reading: why (one of REASONS), in words, and the last bytes that came."""

    target: Target
    reason: str
    detail: str
    at: datetime
    raw: bytes = b""
    tries: int = 1


@dataclass(slots=True)
class _Heard:
    """What one step has heard: the answer, or the best reason why there is none."""

    reason: str = SILENT
    detail: str = "no byte came"
    message: Any = None
    raw: bytes = b""
    bytes_seen: bytearray = field(default_factory=bytearray)

    def note(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


class Session:
    """Conversations on one bus.

    timeout_s   how long to wait for the first byte of an answer, and at most for a whole one
    idle_s      how long a pause ends an answer that has begun badly
    retries     further attempts after one that failed
    """

    def __init__(
        self,
        link: Link,
        *,
        clock: Clock,
        timeout_s: float = 2.0,
        idle_s: float = 0.3,
        retries: int = 2,
    ):
        self.link = link
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._timeout_s, self._idle_s, self._retries = timeout_s, idle_s, retries
        self._turn = asyncio.Lock()

    async def read(self, target: Target) -> Read | Failed:
        """Read a meter's current values. Never raises for what a bus or a meter does."""
        try:
            dialect = dialect_for(target)
            steps = dialect.steps(target)
        except ValueError as error:
            return self._fail(target, _Heard(BAD_TARGET, str(error)), 0)
        async with self._turn:
            heard, tries = await self._converse(dialect, steps)
        if heard.message is None:
            return self._fail(target, heard, tries)
        meaning = dialect.meaning(heard.message)
        if meaning.problem:
            heard.note(UNREADABLE, meaning.problem)
            return self._fail(target, heard, tries)
        return self._succeed(target, meaning, heard, tries)

    async def order_valve(
        self, target: Target, *, is_open: bool, not_after: datetime
    ) -> Read | Failed:
        """Order a valve open or closed: `Read` without values where the meter says yes.

        Sent once and never again, whatever comes back: whoever has no answer has to look at the
        valve (`read`, `dialects.valve_is_open`). Nothing is sent after `not_after`.
        """
        try:
            dialect = valve_dialect_for(target)
            step = dialect.valve_step(target, is_open)
        except ValueError as error:
            return self._fail(target, _Heard(BAD_TARGET, str(error)), 0)
        async with self._turn:
            if self._clock.now() > not_after:
                return self._fail(target, _Heard(LATE, "the bus was not free in time"), 0)
            try:
                heard = await self._try(dialect, [step])
            except LinkDown as error:
                heard = _Heard(LINK_DOWN, str(error))
        if heard.message is None:
            return self._fail(target, heard, 1)
        return self._succeed(target, Meaning(status=heard.message.status or b""), heard, 1)

    def _succeed(self, target: Target, meaning: Meaning, heard: _Heard, tries: int) -> Read:
        self.counts["read"] += 1
        return Read(
            target,
            meaning.values,
            heard.raw,
            self._clock.now(),
            meaning.meter_time,
            meaning.status,
            tries,
        )

    def _fail(self, target: Target, heard: _Heard, tries: int) -> Failed:
        self.counts[heard.reason] += 1
        raw = heard.raw or bytes(heard.bytes_seen)
        return Failed(target, heard.reason, heard.detail, self._clock.now(), raw, tries)

    async def close(self) -> None:
        """Give the wire back, once the conversation under way has ended."""
        async with self._turn:
            await self.link.close()

    async def _converse(self, dialect: Dialect, steps: list[Step]) -> tuple[_Heard, int]:
        """Try all steps in turn, `retries` times again from the first where one fails."""
        tries, heard = 0, _Heard()
        while tries <= self._retries:
            tries += 1
            try:
                heard = await self._try(dialect, steps)
            except LinkDown as error:
                heard = _Heard(LINK_DOWN, str(error))
                # A wire lost in mid-conversation is worth opening once more; a dead one is not.
                if tries > 1:
                    break
                continue
            if heard.message is not None or heard.reason in _FINAL:
                break
        return heard, tries

    async def _try(self, dialect: Dialect, steps: list[Step]) -> _Heard:
        await self.link.connect()
        heard = _Heard()
        for step in steps:
            self.link.discard()
            await self.link.write(step.request)
            heard = await self._listen(dialect, step)
            if heard.message is None:
                break
        return heard

    async def _listen(self, dialect: Dialect, step: Step) -> _Heard:
        """Hear the bus out until the answer, silence, or a pause after something else."""
        heard, buffer = _Heard(), b""
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeout_s
        while (left := deadline - now()) > 0:
            wait = min(left, self._idle_s) if heard.bytes_seen else left
            chunk = await self.link.read(wait)
            if not chunk:
                break
            if not heard.bytes_seen:
                heard.note(GARBLED, "no whole frame came")
            heard.bytes_seen += chunk
            buffer = _judge_all(dialect, step, heard, buffer + chunk)
            if heard.message is not None or heard.reason in _FINAL:
                break
        return heard


def _judge_all(dialect: Dialect, step: Step, heard: _Heard, buffer: bytes) -> bytes:
    """Show the step's judge every whole frame in `buffer`; what is left is not whole yet."""
    while buffer:
        try:
            message, consumed = dialect.decode(buffer)
        except FrameError as error:
            heard.note(CHECKSUM if error.code == CHECKSUM else GARBLED, str(error))
            buffer = buffer[error.consumed :]
            continue
        if message is None:
            return buffer[consumed:]
        if _is_final(step.judge(message), heard, message, buffer[:consumed]):
            return b""
        buffer = buffer[consumed:]
    return buffer


def _is_final(verdict: str, heard: _Heard, message: Any, raw: bytes) -> bool:
    """Note a verdict; true where there is nothing more to wait for."""
    if verdict == OWN:
        return False
    heard.raw = getattr(message, "raw", raw)
    if verdict == ANSWERED:
        heard.message = message
        return True
    heard.note(verdict, f"not the answer: {verdict.replace('_', ' ')}")
    return verdict == REFUSED
