"""What every dialect is made of: the target, the steps of a conversation, what an answer means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from collectors.frames.cjt188_profiles import DI_CURRENT
from collectors.frames.dlt645_message import Credentials

T = TypeVar("T")

# What a judge may say of a frame that is not the answer. "own" is no reply at all: our request.
ANSWERED: Final = ""
OWN: Final = "own"
WRONG_ADDRESS: Final = "wrong_address"
WRONG_ANSWER: Final = "wrong_answer"
REFUSED: Final = "refused"

# Reasons that are known before anything is sent, or from what the answer says.
BAD_TARGET: Final = "bad_target"
NO_FREEZE: Final = "no_freeze"  # out of the meter's reach, or its protocol keeps none
NO_SUPPLY: Final = "no_supply"  # no valve or relay that could be ordered
NO_CREDENTIALS: Final = "no_credentials"  # the password such an order needs is not set
UNREADABLE: Final = "unreadable"  # the right answer, without a believable register

# What a session remembers of its meters between conversations, by protocol and address.
Memory = dict[tuple[str, str], Any]

LOCAL: Final = timezone(timedelta(hours=8))  # Asia/Shanghai, which has no summer time


class CannotAsk(ValueError):
    """There is no such conversation with this target; `reason` is what a Failed says."""

    def __init__(self, message: str, reason: str = BAD_TARGET):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Freeze:
    """A value the meter has kept: as it stood at 00:00 (Asia/Shanghai) of the business day `on`.

    A month's is its settlement day's, usually the first.
    """

    period: Literal["day", "month"]
    on: date

    @property
    def at(self) -> datetime:
        """Its moment in UTC."""
        return datetime(self.on.year, self.on.month, self.on.day, tzinfo=LOCAL).astimezone(UTC)

    def back(self, now: datetime, at_most: int) -> int:
        """How many freezes ago: 1 is the newest, this morning's or this month's.

        Raises CannotAsk (no_freeze) for one yet to come, or more than `at_most` ago.
        """
        today = now.astimezone(LOCAL).date()
        if self.period == "day":
            count = (today - self.on).days + 1
        else:
            months = (today.year - self.on.year) * 12 + today.month - self.on.month
            count = months + (today.day >= self.on.day)
        if not 1 <= count <= at_most:
            reach = f"{count} {self.period}s back is out of reach (1 to {at_most})"
            raise CannotAsk(reach, NO_FREEZE)
        return count


@dataclass(frozen=True, slots=True)
class Point:
    """Where a concentrator has a meter: its measuring point (1 to 2040), and the port it hangs on
    with the rate and parity there; `collector` is the acquisition unit in between, if any."""

    number: int
    port: int = 2
    baud: int = 2400
    parity: str = "E"
    collector: str = ""


_MOST_SKEW: Final = timedelta(minutes=30)
_MOST_LOOKS: Final = 6


def is_of(moment: datetime, on: date) -> bool:
    """Whether a moment on a meter's wall clock is the 00:00 of that day; some say 23:59."""
    return abs(moment - datetime(on.year, on.month, on.day)) <= _MOST_SKEW


def look_next(looks: Sequence[tuple[int, datetime]], on: date, at_most: int) -> int | None:
    """Where else to look for the freeze of a day: how many back, from 1, or None to give up.

    `looks` are the places looked at, in order, and the moments (wall clock) found there. One a
    day is supposed until two of them tell better: a meter may freeze by the hour, or have been
    without power on some midnights. What lies further back is older, so the place is between the
    newest too old and the oldest too new: never one looked at already.
    """
    back, moment = looks[-1]
    wanted = datetime(on.year, on.month, on.day)
    step, off = timedelta(days=1), moment - wanted
    if len(looks) > 1:
        before = looks[-2]
        step = (before[1] - moment) / (back - before[0])
    elif abs(off) < step:
        off = step  # of that day, and not its midnight: the next one shows how often it freezes
    if len(looks) >= _MOST_LOOKS or step <= timedelta(0):
        return None
    too_new = max((place for place, at in looks if at > wanted), default=0)
    too_old = min((place for place, at in looks if at < wanted), default=at_most + 1)
    if too_old - too_new <= 1:
        return None
    return min(max(back + round(off / step), too_new + 1), too_old - 1)


@dataclass(frozen=True, slots=True)
class Target:
    """One meter on a bus.

    protocol     "cjt188", "mbus", "modbus" (RTU), "modbus_tcp", "dlt645_2007", "dlt645_1997"
    address      CJ/T 188: 14 digits, high byte first. M-Bus: a primary address "0" to "250", or
                 the secondary address of 16 digits (id 8, manufacturer 4, version 2, medium 2 as
                 on the wire) or 8 (the id alone, the rest matching anything). Modbus: the
                 unit, "1" to "247". DL/T 645: 12 digits, high byte first
    meter_type   CJ/T 188 type byte to ask with; a meter may answer with another of its family
    profile      CJ/T 188: which departures of its maker to expect (`cjt188_profiles.PROFILES`);
                 Modbus: its register map (`register_maps.names`), "default" being "heat";
                 M-Bus and DL/T 645: `PROFILES` of their dialects
    di           CJ/T 188: the data id to read; D120 to D12B are the last twelve settlement days
    freeze       what the meter has kept instead of what it counts now
    with_supply  also ask how the relay stands, where the reading itself does not say
    point        behind a concentrator: where it has the meter
    """

    protocol: str
    address: str
    meter_type: int = 0x20
    profile: str = "default"
    di: int = DI_CURRENT
    freeze: Freeze | None = None
    with_supply: bool = False
    point: Point | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes to send and the judge of what comes back.

    judge        None: nobody answers (a broadcast)
    then         what to ask next because of this answer, None where it was whole
    is_aside     its answer says nothing: a link reset, a selection
    is_optional  silence will do as well, and is not waited for long
    timeout_s    how long to wait for the answer where the session's patience is too much
    """

    request: bytes
    judge: Callable[[Any], str] | None
    then: Callable[[Any], Step | None] | None = None
    is_aside: bool = False
    is_optional: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an answer says: values in the units of their names; `problem` in words where there are
    none, and its `reason`."""

    values: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    meter_time: datetime | None = None
    status: bytes = b""
    frozen_at: datetime | None = None
    reason: str = UNREADABLE


@dataclass(frozen=True, slots=True)
class Errand(Generic[T]):
    """Anything else one does with a meter: the steps, and what the answers to them say.

    `says` raises ValueError where the right answers can not be believed.
    """

    target: Target
    dialect: Dialect
    steps: Sequence[Step]
    says: Callable[[Sequence[Any]], T]


class Hearing(Protocol):
    """One protocol's way of understanding what comes back."""

    def decode(self, buffer: bytes) -> tuple[Any, int]:
        """The codec's decode, raising FrameError."""

    def refusal(self, message: Any) -> str:
        """What a refusal says, in words; "" where it says nothing."""


class Dialect(Hearing, Protocol):
    """One protocol's way of speaking with one target."""

    def steps(self, target: Target, now: datetime) -> list[Step]:
        """The conversation that ends in the meter's answer. Raises ValueError for an address
        the protocol does not have, CannotAsk where there is no such freeze."""

    def meaning(self, answers: Sequence[Any]) -> Meaning:
        """The values in the answers to all steps but asides, in order; the reading's own is the
        last."""

    def supply_steps(
        self, target: Target, *, is_open: bool, until: datetime, credentials: Credentials | None
    ) -> list[Step]:
        """The order to the valve or relay, void after `until` where the protocol can say so.
        Raises CannotAsk (no_supply, no_credentials)."""
