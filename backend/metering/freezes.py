"""What a meter has kept: which frozen registers can still be asked for, and until when.

A meter keeps its register as it stood at 00:00 of the last DAYS_KEPT days and of the settlement
day of the last MONTHS_KEPT months (DL/T 645 and CJ/T 188-2018 alike). Pure: no session, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from backend.base.clock import add_months, business_day, day_start
from backend.base.errors import Problem

CURRENT: Final = "current"
DAY: Final = "day"
MONTH: Final = "month"
WHATS: Final = (CURRENT, DAY, MONTH)

DAYS_KEPT, MONTHS_KEPT = 31, 12
NO_FREEZE: Final = "no_freeze"  # what a collector says where a meter does not keep it

# Which freezes the meters of a protocol keep, where `meter.options["freezes"]` says nothing else.
# What a make does not keep after all it says itself when asked (NO_FREEZE).
KEPT_BY_PROTOCOL: Final[dict[str, tuple[str, ...]]] = {
    "cjt188": (MONTH,),
    "dlt645_2007": (DAY, MONTH),
    "dlt645_1997": (MONTH,),
    "mbus": (DAY, MONTH),
    "modbus": (DAY, MONTH),
    "modbus_tcp": (DAY, MONTH),
}
# The same where a make keeps more than its protocol says.
KEPT_BY_PROFILE: Final[dict[tuple[str, str], tuple[str, ...]]] = {("cjt188", "2018"): (DAY, MONTH)}


def keeps(protocol: str, profile: str, options: Mapping[str, Any], what: str) -> bool:
    """Whether a meter of this protocol and make may be asked for `what`, going by its record."""
    usual = KEPT_BY_PROFILE.get((protocol, profile), KEPT_BY_PROTOCOL.get(protocol, ()))
    return what == CURRENT or what in options.get("freezes", usual)


def makes_that_keep(what: str) -> list[str]:
    """`protocol` or `protocol:profile` of the meters that keep `what`, options aside."""
    by_profile = [":".join(make) for make, kept in KEPT_BY_PROFILE.items() if what in kept]
    return by_profile + [name for name, kept in KEPT_BY_PROTOCOL.items() if what in kept]


def oldest(what: str, now: datetime) -> date:
    """The earliest day whose freeze is still kept: this morning's is the newest."""
    today = business_day(now)
    if what == DAY:
        return today - timedelta(days=DAYS_KEPT - 1)
    return add_months(today, 1 - MONTHS_KEPT)


def kept_until(what: str, on: date) -> datetime:
    """The moment from which a freeze is out of reach."""
    if what == DAY:
        return day_start(on + timedelta(days=DAYS_KEPT))
    return day_start(add_months(on, MONTHS_KEPT))


def check(what: str, on: date | None, now: datetime) -> None:
    """Problem freeze_out_of_reach, or validation where `what` and the date do not go together."""
    if what == CURRENT:
        if on is not None:
            raise Problem("validation", "抄当前值不需要冻结日期。", field="frozen_on")
        return
    if on is None:
        raise Problem("validation", "请选择冻结日期。", field="frozen_on")
    first, last = oldest(what, now), business_day(now)
    if not first <= on <= last:
        reach = (
            f"只能抄最近 {DAYS_KEPT} 天的日冻结，即 {first} 至 {last}。"
            if what == DAY
            else f"只能抄最近 {MONTHS_KEPT} 个月的月冻结，即 {first:%Y-%m} 至 {last:%Y-%m}。"
        )
        raise Problem("freeze_out_of_reach", reach, field="frozen_on")
