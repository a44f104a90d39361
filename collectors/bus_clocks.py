"""The bus job `clock`: how far every meter's clock is off, and setting those that are.

parameters: `action` read, or set; `beyond_s` sets only clocks off by more; `meter_ids` only these.
Where the protocol has a broadcast, it goes first and once, to the meters within its reach; the
others are set one by one. What was set is read back: `set` means the clock was seen to be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backend.metering.bus_rules import drift_s
from collectors.dialects import CannotAsk, clocks
from collectors.jobs import JobFailed, Report
from collectors.reading import Asked
from collectors.session import Clock, Conversation, Failed, Session

TOLERANCE_S: Final = 10  # seen after setting
TOLERANCES_S: Final = {"mbus": 90}  # its clock tells no seconds
BEYOND_S: Final = 60
TRIES: Final = 2  # the bus may have been busy between asking and sending
RIGHT, SET, NOT_SET, NO_CLOCK = "right", "set", "not_set", "no_clock"
NOT_SETTABLE: Final = "not_settable"


@dataclass(slots=True)
class Checked:
    """One meter's clock: its drift before and after (None: not known), and what came of it."""

    asked: Asked
    outcome: str = NO_CLOCK
    drift_s: int | None = None
    after_s: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "meter_id": self.asked.meter_id,
            "address": self.asked.target.address,
            "outcome": self.outcome,
            "drift_s": self.drift_s,
            "after_s": self.after_s,
        }


class Clocks:
    """The clocks of one bus, read and set over its session."""

    def __init__(self, session: Session, clock: Clock, report: Report, beyond_s: int):
        self._session, self._clock, self._report = session, clock, report
        self._beyond_s = beyond_s

    async def run(self, meters: Sequence[Asked], *, is_set: bool) -> dict[str, Any]:
        checked = [Checked(asked) for asked in meters]
        total = len(checked) * (2 if is_set else 1)
        for n, one in enumerate(checked):
            await self._report(n, total, f"读取时钟 {one.asked.target.address}")
            await self._read(one)
        wrong = [one for one in checked if is_set and self._is_off(one.drift_s, self._beyond_s)]
        await self._broadcast(wrong)
        for n, one in enumerate(wrong):
            note = f"校时 {one.asked.target.address}"
            await self._report(len(checked) + n, total, note, _result(checked))
            await self._set(one)
        return _result(checked)

    @staticmethod
    def _is_off(drift: int | None, by_s: float) -> bool:
        return drift is not None and abs(drift) > by_s

    async def _read(self, one: Checked) -> None:
        drift, why = await self._drift(one.asked)
        one.drift_s = drift
        one.outcome = RIGHT if drift is not None else why
        if self._is_off(drift, self._beyond_s):
            one.outcome = "off"

    async def _drift(self, asked: Asked) -> tuple[int | None, str]:
        """The meter's clock minus ours in seconds, or None and why."""
        reader = clocks.READERS.get(asked.target.protocol)
        shown: datetime | None
        if reader is None:
            read = await self._session.read(asked.target)
            if isinstance(read, Failed):
                return None, read.reason
            shown, at = read.meter_time, read.at
        else:
            told = await self._session.run(reader(asked.target))
            if isinstance(told, Failed):
                return None, told.reason
            shown, at = told.value, told.at
        if shown is None:
            return None, NO_CLOCK
        return drift_s(shown, clocks.wall_of(at)), ""

    async def _broadcast(self, wrong: Sequence[Checked]) -> None:
        """Set all within reach at once, where the protocol can and midnight is far."""
        reach_s = clocks.BROADCAST_REACH.total_seconds()
        near = [one for one in wrong if not self._is_off(one.drift_s, reach_s)]
        near = [one for one in near if one.asked.target.protocol in clocks.BROADCASTERS]
        if not near or not clocks.may_broadcast(self._clock.now()):
            return
        target = near[0].asked.target
        broadcast = clocks.BROADCASTERS[target.protocol]
        await self._session.run(broadcast(target, self._clock.now()), retries=0)

    async def _set(self, one: Checked) -> None:
        """Set a clock unless the broadcast has, and look."""
        one.after_s, _ = await self._drift(one.asked)
        for _ in range(TRIES):
            if self._is_right(one):
                break
            refusal = await self._order(one.asked)
            if refusal:
                one.outcome = refusal
                return
            one.after_s, _ = await self._drift(one.asked)
        one.outcome = SET if self._is_right(one) else NOT_SET

    def _is_right(self, one: Checked) -> bool:
        tolerance_s = TOLERANCES_S.get(one.asked.target.protocol, TOLERANCE_S)
        return one.after_s is not None and not self._is_off(one.after_s, tolerance_s)

    async def _order(self, asked: Asked) -> str:
        """Order one clock to be set; why it was not taken, "" where it was."""
        setter = clocks.SETTERS.get(asked.target.protocol)
        if setter is None:
            return NOT_SETTABLE
        try:
            errand = setter(asked.target, self._clock.now(), self._session.credentials)
        except CannotAsk as error:
            return error.reason
        told = await self._session.run(errand, retries=0)
        return told.reason if isinstance(told, Failed) and told.reason == "refused" else ""


def _result(checked: Sequence[Checked]) -> dict[str, Any]:
    return {"clocks": [one.as_json() for one in checked]}


def drifts_of(result: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(meter id, drift in seconds) of every clock that was seen, as it was seen last."""
    known = ((c["meter_id"], _last_seen(c)) for c in result.get("clocks", ()))
    return [(meter_id, drift) for meter_id, drift in known if drift is not None]


def _last_seen(one: Mapping[str, Any]) -> int | None:
    after: int | None = one["after_s"]
    before: int | None = one["drift_s"]
    return before if after is None else after


async def clock(
    conversation: Conversation,
    meters: Sequence[Asked],
    parameters: Mapping[str, Any],
    clock: Clock,
    report: Report,
) -> dict[str, Any]:
    """Read or set the clocks of a bus's meters."""
    if not isinstance(conversation, Session):
        raise JobFailed("not_supported")
    wanted, beyond_s = parameters.get("meter_ids"), parameters.get("beyond_s", BEYOND_S)
    if not isinstance(beyond_s, int) or parameters.get("action") not in ("read", "set"):
        raise JobFailed("bad_parameters")
    chosen = [m for m in meters if not wanted or m.meter_id in wanted]
    if not chosen:
        raise JobFailed("no_meters")
    job = Clocks(conversation, clock, report, max(beyond_s, 1))
    return await job.run(chosen, is_set=parameters["action"] == "set")
