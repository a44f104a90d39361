"""Registers (usage between readings, what is odd about a new one) and packed days of samples.

Pure: no session, no clock. Amounts are exact numbers in the register's own unit (whole Wh or
litres from the database, decimals from a display); nothing here rounds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backend.base.exact import Number, exact

DAY_S = 86_400
# Flags of a stretch of usage.
ROLLOVER = "rollover"
NEGATIVE_DELTA = "negative_delta"
METER_REPLACED = "meter_replaced"
NO_PAIR = "fewer_than_two_readings"
# Flags of one reading.
DUPLICATE, IMPOSSIBLE, REVERSE = "duplicate", "impossible", "reverse"
JUMP, STUCK, LATE = "jump", "stuck", "out_of_order"
WRONG_TYPE = "wrong_type"
# Such a reading is kept raw and never becomes usage, series or a meter's state...
UNUSABLE = (IMPOSSIBLE, WRONG_TYPE)
UNUSABLE_TEMPERATURES = frozenset(UNUSABLE)
# ... nor does such a one, unless a person has written it down.
DOUBTFUL = (REVERSE, JUMP)
# Flags of a register at an instant.
ESTIMATED, STALE = "estimated", "stale_boundary"

# A reading so near to an instant stands for it as it is; so does a freeze whose meter's clock is
# no further off (the dialects believe no other).
TOLERANCE = timedelta(minutes=15)
FREEZE_WITHIN = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Register:
    """A cumulative register: it shows values below `modulus` and then begins again at 0.

    `max_per_day`: the most that can plausibly pass in a day, in the register's unit.
    """

    modulus: Number
    max_per_day: Number

    @classmethod
    def of_digits(cls, digits: int, max_per_day: Number, resolution: Number = 1) -> "Register":
        """A display of 1 to 18 `digits` whose last one counts `resolution` units."""
        if not 1 <= digits <= 18 or exact(resolution) <= 0 or exact(max_per_day) < 0:
            raise ValueError("a register has 1 to 18 digits, and limits that are not negative")
        return cls(10**digits * exact(resolution), max_per_day)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a register showed at a moment (an aware datetime)."""

    at: datetime
    value: Number


@dataclass(frozen=True, slots=True)
class Replacement:
    """The old meter's last value and the new one's first, at the moment of the change."""

    at: datetime
    old_final: Number
    new_initial: Number


@dataclass(frozen=True, slots=True)
class Usage:
    """`amount` in the register's unit; None where it cannot be told, and a flag says why."""

    amount: Fraction | None
    flags: tuple[str, ...]


def usage(events: Sequence[Reading | Replacement], register: Register) -> Usage:
    """What passed from the first reading to the last.

    A decrease is a rollover only if the wrapped difference is plausible in the time between
    (max_per_day); else the amount is None: negative consumption is never credited. A replacement
    closes the old register and opens the new one. Order of `events` does not matter; of two at
    one moment the order given stands. Raises ValueError for a value the register cannot show.
    """
    ordered = sorted(events, key=lambda event: event.at)
    total, flags = Fraction(0), dict[str, None]()
    for before, after in pairwise(ordered):
        step, step_flag = _step(before, after, register)
        total = total + step if step is not None else total
        flags.update(dict.fromkeys([step_flag] if step_flag else []))
        if isinstance(after, Replacement):
            flags[METER_REPLACED] = None
    if len(ordered) < 2:
        return Usage(None, (NO_PAIR,))
    return Usage(None if NEGATIVE_DELTA in flags else total, tuple(flags))


def _step(
    before: Reading | Replacement, after: Reading | Replacement, register: Register
) -> tuple[Fraction | None, str | None]:
    first = before.new_initial if isinstance(before, Replacement) else before.value
    last = after.old_final if isinstance(after, Replacement) else after.value
    begin, end = _shown(first, register), _shown(last, register)
    if end >= begin:
        return end - begin, None
    wrapped = end - begin + exact(register.modulus)
    days = Fraction((after.at - before.at).total_seconds()) / DAY_S
    if wrapped <= exact(register.max_per_day) * days:
        return wrapped, ROLLOVER
    return None, NEGATIVE_DELTA


def _shown(value: Number, register: Register) -> Fraction:
    number = exact(value)
    if not 0 <= number < exact(register.modulus):
        raise ValueError(f"the register cannot show {value}")
    return number


@dataclass(frozen=True, slots=True)
class Limits:
    """What is believable of a quantity, in its own unit.

    A register has `register` (and may not fall); a temperature has `max_step` between readings.
    `stuck_after_s`: unchanged for this long is suspicious (None: may stand still for ever).
    """

    lowest: Number
    highest: Number
    register: Register | None = None
    max_step: Number | None = None
    stuck_after_s: int | None = None


def quality_flags(
    new: Reading,
    previous: Reading | None,
    limits: Limits,
    unchanged_since: datetime | None = None,
) -> list[str]:
    """What is odd about `new`, given the reading before it; [] for a good one.

    'impossible' out of limits | 'duplicate' same moment | 'out_of_order' older than the last |
    'reverse' a register fell implausibly | 'jump' rose or stepped too far | 'stuck' has not moved
    since `unchanged_since` (default: the previous reading).
    """
    value = exact(new.value)
    if not exact(limits.lowest) <= value <= exact(limits.highest):
        return [IMPOSSIBLE]
    if previous is None:
        return []
    if new.at == previous.at:
        return [DUPLICATE]
    if new.at < previous.at:
        return [LATE]
    flags = _moved(new, previous, limits)
    if exact(previous.value) == value and _stood_still(new, unchanged_since or previous.at, limits):
        flags.append(STUCK)
    return flags


def _stood_still(new: Reading, since: datetime, limits: Limits) -> bool:
    if limits.stuck_after_s is None:
        return False
    return (new.at - since).total_seconds() >= limits.stuck_after_s


def _moved(new: Reading, previous: Reading, limits: Limits) -> list[str]:
    if limits.register is not None:
        return _register_moved(new, previous, limits.register)
    step = abs(exact(new.value) - exact(previous.value))
    return [JUMP] if limits.max_step is not None and step > exact(limits.max_step) else []


def _register_moved(new: Reading, previous: Reading, register: Register) -> list[str]:
    begin, end = exact(previous.value), exact(new.value)
    if max(begin, end) >= exact(register.modulus):
        return [IMPOSSIBLE]
    step, flag = _step(previous, new, register)
    if step is None:
        return [REVERSE]
    days = Fraction((new.at - previous.at).total_seconds()) / DAY_S
    if flag is None and step > exact(register.max_per_day) * days:
        return [JUMP]
    return []


def is_usable(flags: Iterable[str], author_id: int | None = None) -> bool:
    """Whether a reading with these flags may become usage; `author_id` where a person wrote it."""
    bad = UNUSABLE if author_id is not None else UNUSABLE + DOUBTFUL
    return not any(flag in bad for flag in flags)


@dataclass(frozen=True, slots=True)
class Boundary:
    """A register at an instant: what it showed, when, and the readings that say so (0, 1 or 2).

    `flags`: estimated (between two readings) or stale_boundary (the last one before is all).
    """

    at: datetime
    register: int
    reading_ids: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def reading_id(self) -> int | None:
        """The first of the readings; None for a register that the archive says."""
        return self.reading_ids[0] if self.reading_ids else None


def register_at(
    at: datetime,
    frozen: Boundary | None,
    before: Boundary | None,
    after: Boundary | None,
    register: Register,
) -> Boundary | None:
    """The register at an instant, from the best there is.

    1. what the meter froze then; 2. the nearest reading within TOLERANCE (of two as near the
    earlier); 3. between the readings on both sides, in proportion to time, rounded down and
    flagged `estimated`; 4. the last one before, flagged `stale_boundary`.  None where nothing is
    known up to `at`.  `before` is the last reading at or before `at`, `after` the first one after;
    corrected readings come as corrected.
    """
    if frozen is not None:
        return frozen
    near = [b for b in (before, after) if b is not None and abs(b.at - at) <= TOLERANCE]
    if near:
        return min(near, key=lambda b: abs(b.at - at))
    if before is None:
        return None
    carried = Boundary(before.at, before.register, before.reading_ids, (STALE,))
    return carried if after is None else _between(at, before, after, register) or carried


def _between(
    at: datetime, before: Boundary, after: Boundary, register: Register
) -> Boundary | None:
    """The register on the straight line between two readings; None where it fell implausibly."""
    begin, end = Reading(before.at, before.register), Reading(after.at, after.register)
    step, _ = _step(begin, end, register)
    if step is None:
        return None
    microsecond = timedelta(microseconds=1)
    passed, whole = (at - before.at) // microsecond, (after.at - before.at) // microsecond
    shown = (before.register + int(step * passed / whole)) % int(exact(register.modulus))
    return Boundary(at, shown, before.reading_ids + after.reading_ids, (ESTIMATED,))


def scaled(opened: int, closed: int, register: Register, used: Fraction, ratio: Fraction) -> int:
    """What passed between two registers, times the meter's ratio, in whole units.

    Rounded down at the registers and not at the difference, so that days add up to their month
    whatever the ratio.  `used` is the difference in the register's unit, over a rollover too.
    """
    wraps = (opened + used - closed) / exact(register.modulus)
    end = closed + wraps * exact(register.modulus)
    return int(end * ratio) - int(opened * ratio)


def stands_still(
    unchanged_s: float, flow_lph: int | None, moving: int, neighbours: int, after_s: int
) -> bool:
    """Whether a register is stuck: `unchanged_s` without a movement while something moves.

    That something is the meter's own flow, or at least half of its `neighbours` (meters of its
    kind in the building), of which `moving` have counted within `after_s`.
    """
    if unchanged_s < after_s:
        return False
    return bool(flow_lph) or (neighbours > 0 and 2 * moving >= neighbours)


MISSING = -32768
LOWEST, HIGHEST = -32767, 32767
_PACKED = np.dtype("<i2")

Slots = NDArray[np.int16]


def pack_day(samples: Iterable[tuple[int, int]], interval_s: int) -> bytes:
    """A day of samples as packed little-endian int16, one row a (sensor, quantity, day).

    (second of the day, value) pairs: slot k stands for the seconds [k, k+1) x
    `interval_s` of the business day, MISSING where nothing came; a later sample replaces.

    Raises ValueError for a second outside the day, a value outside int16 or an interval that does
    not divide the day.
    """
    slots = empty_day(interval_s)
    for second, value in samples:
        if not 0 <= second < DAY_S:
            raise ValueError(f"second {second} is not in the day")
        if not LOWEST <= value <= HIGHEST:
            raise ValueError(f"sample {value} does not fit into 16 bits")
        slots[second // interval_s] = value
    return slots.astype(_PACKED).tobytes()


def unpack_day(packed: bytes) -> Slots:
    """The slots [86400 / interval] as int16, MISSING where nothing came."""
    if not packed or len(packed) % 2 or DAY_S % (len(packed) // 2):
        raise ValueError(f"{len(packed)} bytes are not a packed day")
    return np.frombuffer(packed, dtype=_PACKED).astype(np.int16)


def merge(older: bytes, newer: bytes) -> bytes:
    """Both days in one: a sample of `newer` replaces one of `older`, a gap never does."""
    old, new = unpack_day(older), unpack_day(newer)
    if old.shape != new.shape:
        raise ValueError("two packed days of different intervals cannot be merged")
    return np.where(new == MISSING, old, new).astype(_PACKED).tobytes()


def empty_day(interval_s: int) -> Slots:
    """A day of nothing but gaps."""
    if interval_s <= 0 or DAY_S % interval_s:
        raise ValueError(f"an interval of {interval_s} s does not divide the day")
    return np.full(DAY_S // interval_s, MISSING, dtype=np.int16)


def interval_of(packed: bytes) -> int:
    """Seconds a slot of this packed day."""
    return DAY_S // len(unpack_day(packed))
