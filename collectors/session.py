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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from collectors.dialects import (
    ANSWERED,
    BAD_TARGET,
    NO_CREDENTIALS,
    NO_FREEZE,
    NO_SUPPLY,
    OWN,
    REFUSED,
    UNREADABLE,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    CannotAsk,
    Dialect,
    Errand,
    Hearing,
    Meaning,
    Memory,
    Step,
    Target,
    dialect_for,
)
from collectors.frames import FrameError
from collectors.frames.dlt645_message import Credentials
from collectors.links.link import Link, LinkDown

__all__ = ["Conversation", "Failed", "Heard", "Read", "Session", "Target", "Told"]

T = TypeVar("T")

# Reasons of Failed, besides those the dialects give.
SILENT: Final = "silent"  # not a byte came
GARBLED: Final = "garbled"  # bytes came, and never a whole good frame
CHECKSUM: Final = "checksum"
LINK_DOWN: Final = "link_down"
LATE: Final = "late"  # an order whose time was over before the bus was free
REASONS: Final = (
    SILENT,
    GARBLED,
    CHECKSUM,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    REFUSED,
    UNREADABLE,
    LINK_DOWN,
    BAD_TARGET,
    NO_FREEZE,
    NO_SUPPLY,
    NO_CREDENTIALS,
    LATE,
)
# What an order fails with before anything of it was sent, and would again.
NEVER_SENT: Final = (BAD_TARGET, NO_SUPPLY, NO_CREDENTIALS)

# Trying again does not help where the meter has answered, or the target is nonsense.
_FINAL: Final = frozenset((REFUSED, NO_FREEZE, UNREADABLE, LINK_DOWN, BAD_TARGET))
# An answer that has begun and goes on is heard out: the longest takes 9.6 s at 300 baud. A line
# that babbles is not.
_WHOLE_S: Final = 12.0
_MOST_HEARD: Final = 1024  # bytes
# A meter that always has more to say must not hold the bus for ever.
_MOST_PARTS: Final = 64
_MOST_REMEMBERED: Final = 4096  # meters of one bus


class Clock(Protocol):
    """Anything that can tell the time in UTC; `backend.base.clock` has some."""

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Read:
    """A good reading.

    values      integers in the unit of their names: energy_wh, volume_l, flow_lph, power_w,
                supply_cdeg, return_cdeg, room_cdeg, settlement_energy_wh, …
    raw         the answer's frame, without preambles, as it came; of a conversation in
                several all of them, so that the values can be decoded from them again
    at          the clock when the answer was whole (UTC); meter_time is the meter's own, naive
    frozen_at   of a freeze: its moment (UTC) as the meter states it, else as asked
    """

    target: Target
    values: dict[str, int]
    raw: bytes
    at: datetime
    meter_time: datetime | None = None
    status: bytes = b""
    tries: int = 1
    frozen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """No reading: why (one of REASONS), in words, and the last bytes that came."""

    target: Target
    reason: str
    detail: str
    at: datetime
    raw: bytes = b""
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What came of an errand, and the frames it was told in."""

    value: T
    raw: bytes
    at: datetime


class Conversation(Protocol):
    """What can be asked of a bus, whatever carries the questions: a `Session` on its wire, or a
    concentrator's session that speaks for its meters.

    at_once     how many meters it is best asked for together
    """

    at_once: int

    async def read(self, target: Target) -> Read | Failed:
        """Read a meter; never raises."""

    async def read_many(self, targets: Sequence[Target]) -> list[Read | Failed]:
        """Read meters, in whatever way is quickest; their results in the same order."""

    async def order_supply(
        self, target: Target, *, is_open: bool, not_after: datetime
    ) -> Read | Failed:
        """Order a meter's valve or relay, once; never raises."""

    async def close(self) -> None:
        """Let go of the wire."""


@dataclass(slots=True)
class Heard:
    """What a conversation has heard: the answers to its steps, or why there is none.

    answers     the answer to each step that is no aside and to what followed from it, in order;
                all of them where `is_answered`
    reason      "" where it is; else one of REASONS, with `detail` in words
    raw         the frames of all these answers; where it failed, the last good frame
    bytes_seen  every byte since the last question
    """

    reason: str = SILENT
    detail: str = "no byte came"
    answers: list[Any] = field(default_factory=list)
    raw: bytes = b""
    bytes_seen: bytearray = field(default_factory=bytearray)
    tries: int = 0

    @property
    def is_answered(self) -> bool:
        return not self.reason

    def note(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


class Session:
    """Conversations on one bus.

    timeout_s    how long to wait for the first byte of an answer
    idle_s       how long a pause ends an answer that has begun badly
    retries      further attempts after one that failed
    credentials  who writes to DL/T 645 meters and orders their relays; None: such an order is
                 refused before it is sent
    """

    at_once: int = 1

    def __init__(
        self,
        link: Link,
        *,
        clock: Clock,
        timeout_s: float = 2.0,
        idle_s: float = 0.3,
        retries: int = 2,
        credentials: Credentials | None = None,
    ):
        self.link = link
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._timeout_s, self._idle_s, self._retries = timeout_s, idle_s, retries
        self.credentials = credentials
        self._memory: Memory = {}
        self._turn = asyncio.Lock()

    async def read(self, target: Target) -> Read | Failed:
        """Read a meter's values, current or frozen. Never raises for what a bus or a meter does."""
        async with self._turn:
            now = self._clock.now()
            if len(self._memory) > _MOST_REMEMBERED:
                self._memory.clear()
            try:
                dialect = dialect_for(target, self._memory)
                steps = dialect.steps(target, now)
            except ValueError as error:
                return self._unable(target, error)
            again = partial(dialect.steps, target, now)
            heard = await self._converse(dialect, steps, self._retries, again)
        return self._outcome(target, dialect, heard)

    async def read_many(self, targets: Sequence[Target]) -> list[Read | Failed]:
        """Read meters in turn; a wire takes one question at a time."""
        return [await self.read(target) for target in targets]

    async def order_supply(
        self, target: Target, *, is_open: bool, not_after: datetime
    ) -> Read | Failed:
        """Order a valve or relay open or closed to what is supplied: `Read` without values where
        the meter says yes.

        Sent once and never again, whatever comes back: whoever has no answer has to look at it
        (`read`, `dialects.supply_is_open`). Nothing is sent after `not_after`.
        """
        try:
            dialect = dialect_for(target, self._memory)
            steps = dialect.supply_steps(
                target, is_open=is_open, until=not_after, credentials=self.credentials
            )
        except ValueError as error:
            return self._unable(target, error)
        heard = await self.ask(dialect, steps, retries=0, not_after=not_after)
        if not heard.is_answered:
            return self._fail(target, heard)
        return self._succeed(target, Meaning(), heard)

    async def run(self, errand: Errand[T], *, retries: int | None = None) -> Told[T] | Failed:
        """Do an errand: anything but reading and ordering a supply. Never raises."""
        heard = await self.ask(errand.dialect, errand.steps, retries=retries)
        if not heard.is_answered:
            return self._fail(errand.target, heard)
        try:
            value = errand.says(heard.answers)
        except ValueError as error:
            heard.note(UNREADABLE, str(error))
            return self._fail(errand.target, heard)
        self.counts["errand"] += 1
        return Told(value, heard.raw, self._clock.now())

    async def ask(
        self,
        dialect: Hearing,
        steps: Sequence[Step],
        *,
        retries: int | None = None,
        not_after: datetime | None = None,
    ) -> Heard:
        """One conversation, all its steps in turn, when the bus is free; never raises for what a
        bus does. Not begun after `not_after`."""
        async with self._turn:
            if not_after is not None and self._clock.now() > not_after:
                return Heard(LATE, "the bus was not free in time")
            tries = self._retries if retries is None else retries
            return await self._converse(dialect, steps, tries, lambda: steps)

    def _outcome(self, target: Target, dialect: Dialect, heard: Heard) -> Read | Failed:
        if not heard.is_answered:
            return self._fail(target, heard)
        meaning = dialect.meaning(heard.answers)
        if meaning.problem:
            heard.note(meaning.reason, meaning.problem)
            return self._fail(target, heard)
        return self._succeed(target, meaning, heard)

    def _succeed(self, target: Target, meaning: Meaning, heard: Heard) -> Read:
        self.counts["read"] += 1
        return Read(
            target,
            meaning.values,
            heard.raw,
            self._clock.now(),
            meaning.meter_time,
            meaning.status,
            heard.tries,
            meaning.frozen_at,
        )

    def _fail(self, target: Target, heard: Heard) -> Failed:
        self.counts[heard.reason] += 1
        raw = heard.raw or bytes(heard.bytes_seen)
        return Failed(target, heard.reason, heard.detail, self._clock.now(), raw, heard.tries)

    def _unable(self, target: Target, error: ValueError) -> Failed:
        reason = error.reason if isinstance(error, CannotAsk) else BAD_TARGET
        return self._fail(target, Heard(reason, str(error)))

    async def close(self) -> None:
        """Give the wire back, once the conversation under way has ended."""
        async with self._turn:
            await self.link.close()

    async def _converse(
        self,
        dialect: Hearing,
        steps: Sequence[Step],
        retries: int,
        again: Callable[[], Sequence[Step]],
    ) -> Heard:
        """Try all steps in turn, and where one fails those of `again`, `retries` times."""
        tries, heard = 0, Heard()
        while tries <= retries:
            tries += 1
            try:
                heard = await self._try(dialect, steps if tries == 1 else again())
            except LinkDown as error:
                heard = Heard(LINK_DOWN, str(error))
                # A wire lost in mid-conversation is worth opening once more; a dead one is not.
                if tries > 1:
                    break
                continue
            if heard.is_answered or heard.reason in _FINAL:
                break
        heard.tries = tries
        return heard

    async def _try(self, dialect: Hearing, steps: Sequence[Step]) -> Heard:
        await self.link.connect()
        whole = Heard("", "")
        for step in steps:
            heard = await self._follow(dialect, step)
            if not heard.is_answered:
                return heard
            if not step.is_aside:
                whole.raw += heard.raw
                whole.answers += heard.answers
        return whole

    async def _follow(self, dialect: Hearing, first: Step) -> Heard:
        """One step and whatever its answers lead to."""
        whole = Heard("", "")
        step: Step | None = first
        while step is not None:
            if len(whole.answers) >= _MOST_PARTS:
                return Heard(WRONG_ANSWER, f"more than {_MOST_PARTS} parts", raw=whole.raw[-256:])
            heard = await self._put(dialect, step)
            if not heard.is_answered:
                return heard
            whole.raw += heard.raw
            whole.answers += heard.answers
            step = step.then(heard.answers[0]) if step.then and heard.answers else None
        return whole

    async def _put(self, dialect: Hearing, step: Step) -> Heard:
        """One question and its answer, or the bus left alone where none is to come."""
        self.link.discard()
        await self.link.write(step.request)
        if step.judge is None:
            await asyncio.sleep(self._idle_s)
            return Heard("", "")
        patience_s = self._idle_s if step.is_optional else self._timeout_s
        heard = await self._listen(dialect, step, step.timeout_s or patience_s)
        return Heard("", "") if step.is_optional and heard.reason == SILENT else heard

    async def _listen(self, dialect: Hearing, step: Step, timeout_s: float) -> Heard:
        """Hear the bus out until the answer, silence, or a pause after something else."""
        heard, buffer = Heard(), b""
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        while (left := deadline - now()) > 0:
            wait = min(left, self._idle_s) if heard.bytes_seen else left
            chunk = await self.link.read(wait)
            if not chunk:
                break
            if not heard.bytes_seen:
                heard.note(GARBLED, "no whole frame came")
                deadline = max(deadline, now() + _WHOLE_S)
            heard.bytes_seen += chunk
            buffer = _judge_all(dialect, step.judge, heard, buffer + chunk)
            is_babble = len(heard.bytes_seen) > _MOST_HEARD
            if heard.is_answered or heard.reason in _FINAL or is_babble:
                break
        return heard


def _judge_all(
    dialect: Hearing, judge: Callable[[Any], str] | None, heard: Heard, buffer: bytes
) -> bytes:
    """Show the judge every whole frame in `buffer`; what is left is not whole yet."""
    while buffer and judge is not None:
        try:
            message, consumed = dialect.decode(buffer)
        except FrameError as error:
            if error.code == CHECKSUM:
                heard.note(CHECKSUM, str(error))
            elif heard.reason in (SILENT, GARBLED):  # what else was heard says more
                heard.note(GARBLED, str(error))
            buffer = buffer[error.consumed :]
            continue
        if message is None:
            return buffer[consumed:]
        verdict = judge(message)
        if verdict != OWN:
            raw = bytes(getattr(message, "raw", buffer[:consumed]))
            _note(dialect, verdict, heard, message, raw)
            if heard.is_answered or heard.reason in _FINAL:
                return b""
        buffer = buffer[consumed:]
    return buffer


def _note(dialect: Hearing, verdict: str, heard: Heard, message: Any, raw: bytes) -> None:
    heard.raw = raw
    if verdict == ANSWERED:
        heard.note("", "")
        heard.answers.append(message)
        return
    words = dialect.refusal(message) if verdict in (REFUSED, NO_FREEZE) else ""
    heard.note(verdict, words or f"not the answer: {verdict.replace('_', ' ')}")
