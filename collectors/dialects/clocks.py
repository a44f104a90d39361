"""Meters' clocks in every protocol that has them: how each is read and set.

Times on the wire are the meter's wall clock, Asia/Shanghai. A protocol without a row in READERS
tells the time with its reading or not at all; one without a row in SETTERS cannot be set.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from collectors.dialects import cjt188 as cjt_dialect
from collectors.dialects import dlt645 as dlt_dialect
from collectors.dialects import mbus as mbus_dialect
from collectors.dialects.base import (
    LOCAL,
    NO_CREDENTIALS,
    CannotAsk,
    Errand,
    Step,
    Target,
)
from collectors.frames import cjt188
from collectors.frames.cjt188_profiles import DI_SET_CLOCK
from collectors.frames.dlt645_di import DI_DATE, DI_TIME
from collectors.frames.dlt645_message import Credentials

# DL/T 645: a broadcast moves a clock by no more, once a day, and not about midnight, where it
# would freeze a day twice or never (§7.2.9).
BROADCAST_REACH: Final = timedelta(minutes=5)

Setter = Callable[[Target, datetime, Credentials | None], Errand[None]]


def may_broadcast(now: datetime) -> bool:
    """Whether it is far enough from midnight (Asia/Shanghai) to set clocks by a broadcast."""
    wall = now.astimezone(LOCAL)
    since = wall - wall.replace(hour=0, minute=0, second=0, microsecond=0)
    return BROADCAST_REACH <= since <= timedelta(days=1) - BROADCAST_REACH


def wall_of(when: datetime) -> datetime:
    """A moment as a meter's clock shows it."""
    return when.astimezone(LOCAL).replace(tzinfo=None, microsecond=0)


def _set_cjt188(target: Target, when: datetime, _who: Credentials | None) -> Errand[None]:
    """Write the standard time (C = 04H, data id A015)."""
    dialect = cjt_dialect.CjtDialect(target, {})
    request = cjt188.encode_clock(
        target.address, target.meter_type, wall_of(when), profile=dialect.profile
    )
    judge = partial(cjt_dialect.judge, target.address.upper(), cjt188.WRITE, DI_SET_CLOCK)
    return Errand(target, dialect, [Step(request, judge)], _nothing)


def _set_dlt645(target: Target, when: datetime, who: Credentials | None) -> Errand[None]:
    """Write date and time (14H, 1997: 04H), by any number of hours; it wants the password."""
    if who is None:
        raise CannotAsk("the password for writing is not set", NO_CREDENTIALS)
    dialect = dlt_dialect.Dlt645Dialect(target, {})
    wall, codec = wall_of(when), dialect.codec
    ids = (0xC010, 0xC011) if dialect.is_1997 else (DI_DATE, DI_TIME)
    judge = partial(dlt_dialect.judge, dialect.address, codec.WRITE)
    parts = zip(ids, (wall.date(), wall.time()), strict=True)
    steps = [
        Step(codec.encode_write(dialect.address, di, (part,), who), judge) for di, part in parts
    ]
    return Errand(target, dialect, steps, _nothing)


def _set_mbus(target: Target, when: datetime, _who: Credentials | None) -> Errand[None]:
    """Write date and time, to the minute."""
    return mbus_dialect.set_clock(target, when)


def _nothing(_answers: object) -> None:
    return None


READERS: Final[dict[str, Callable[[Target], Errand[datetime]]]] = {
    "dlt645_1997": dlt_dialect.read_clock,
    "dlt645_2007": dlt_dialect.read_clock,
}
SETTERS: Final[dict[str, Setter]] = {
    "cjt188": _set_cjt188,
    "dlt645_1997": _set_dlt645,
    "dlt645_2007": _set_dlt645,
    "mbus": _set_mbus,
}
# Who can be set all at once, where nobody answers.
BROADCASTERS: Final[dict[str, Callable[[Target, datetime], Errand[None]]]] = {
    "dlt645_1997": dlt_dialect.broadcast_time,
    "dlt645_2007": dlt_dialect.broadcast_time,
}
