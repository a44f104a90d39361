"""What state a bus is in, and how far a meter's clock is off.

Pure: no session, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

IDLE: Final = "idle"  # well, and waiting for its next cycle
READING: Final = "reading"  # its collector is asking somebody this moment
OVERLOAD: Final = "overload"  # asking all its meters takes longer than the plan leaves
NO_LOAD: Final = "no_load"  # no meter on it
SILENT: Final = "silent"  # everybody was asked, nobody was understood
STATES: Final = (IDLE, READING, OVERLOAD, NO_LOAD, SILENT)

# Reasons for which something was on the wire and no frame came out of it: noise, or several
# meters speaking at once.
GARBAGE: Final = ("garbled", "checksum")
STALE_CYCLES: Final = 3
PUSH_SILENT_AFTER: Final = timedelta(hours=26)  # a pushing meter reports once a day at least

CLOCK_DRIFT: Final = "clock_drift"
MOST_DRIFT_S: Final = 10**9  # a clock that is further off has simply lost the date


@dataclass(frozen=True, slots=True)
class Cycle:
    """What asking all of a bus's meters once has brought.

    reasons     how many failed for each reason of a session's (silent, garbled, link_down, …)
    took_s      how long it took; interval_s is what the bus's plan leaves for it
    """

    asked: int
    answered: int
    took_s: float
    interval_s: int
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def garbled(self) -> int:
        """How many answers were noise, or several meters at once."""
        return sum(self.reasons.get(reason, 0) for reason in GARBAGE)


def state_of(cycle: Cycle) -> str:
    """The state a cycle leaves its bus in; what is worse goes first.

    A bus some of whose meters answer is idle: the others are the meters' trouble, and their
    success rates show it.
    """
    if cycle.asked == 0:
        return NO_LOAD
    if cycle.answered == 0:
        return SILENT
    return OVERLOAD if cycle.took_s > cycle.interval_s else IDLE


def push_state_of(meters: int, last_seen_at: datetime | None, now: datetime) -> str:
    """The state of a bus nobody asks: its meters' platform pushes."""
    if meters == 0:
        return NO_LOAD
    is_heard = last_seen_at is not None and now - last_seen_at <= PUSH_SILENT_AFTER
    return IDLE if is_heard else SILENT


def is_stale(cycle: Mapping[str, Any], interval_s: int, now: datetime) -> bool:
    """Whether the last cycle (as `Bus.cycle`) is so old that its collector cannot be running."""
    ended_at = cycle.get("ended_at")
    if not ended_at:
        return False
    age_s: float = (now - datetime.fromisoformat(ended_at)).total_seconds()
    expected_s = max(interval_s, float(cycle.get("took_s", 0)), 60.0)
    return age_s > STALE_CYCLES * expected_s


def drift_s(meter_time: datetime, local_now: datetime) -> int:
    """The meter's clock minus ours in whole seconds, ahead is positive (both naive, one zone)."""
    seconds = round((meter_time - local_now).total_seconds())
    return max(-MOST_DRIFT_S, min(MOST_DRIFT_S, seconds))


def is_drifted(drift: int | None, limit_s: int) -> bool:
    """Whether a clock is off by more than `limit_s`; an unknown one is not."""
    return drift is not None and abs(drift) > limit_s
