"""Usage that changed after the fact: days not billed are counted again, billed ones flagged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa

from backend.allocation.tasks import close_building_day
from backend.archive.models import Household, Meter
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing.models import Bill
from backend.billing.usage import standing
from backend.metering import closing
from backend.metering.models import ClosedDay, DailyUsage, Reading

NEEDS_ADJUSTMENT = "changed_after_billing"
JUST_BEFORE = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Settled:
    """Days counted again, days left as billed, and the numbers of the bills to look at."""

    again: list[date]
    billed: list[date]
    bill_nos: list[str]


def settle(meter_id: int, since: datetime, now: datetime) -> Settled:
    """Bring closed days in line with what is now known of a meter from `since` on.

    Reaches from the day of the meter's reading before to the day of its next one, since every
    midnight in between may have been taken from the register at `since`.  A day of which a bill
    was made is not touched but flagged, and the bill named: its adjustment (a reversal and a new
    bill) is a person's decision.
    """
    meter = db.session.get_one(Meter, meter_id)
    first = _first_day(meter, since)
    bills = _bills(meter, first)
    again: list[date] = []
    billed: list[date] = []
    for day in _closed_days(meter, first, since):
        if any(b.period_from <= day < b.period_to for b in bills):
            billed.append(day)
        else:
            again.append(day)
    _flag([meter.id], billed)
    for day in again:
        _count_again(meter, day, now)
    touched = [b.bill_no for b in bills if any(b.period_from <= d < b.period_to for d in billed)]
    return Settled(again, billed, touched)


def recount(building_id: int, day: date, now: datetime) -> Settled:
    """Count a building's closed day again where readings came late.

    Nothing is touched where they change nothing.  A meter on whose usage a bill stands keeps the
    row it was billed by, flagged, and the bill is named.  A day not closed yet is left to its
    closing.
    """
    if db.session.get(ClosedDay, (building_id, day)) is None:
        return Settled([], [], [])
    changed = closing.changed_since(building_id, day)
    if not changed:
        return Settled([], [], [])
    bills = _bills_on(changed, day)
    billed = {meter_id for meter_id, _ in bills}
    if set(changed) - billed:
        close_building_day(building_id, day, now, leave=billed)
    _flag(sorted(billed), [day])
    numbers = sorted({number for _, number in bills})
    return Settled([day] if set(changed) - billed else [], [day] if billed else [], numbers)


def _bills_on(meters: Sequence[int], day: date) -> Sequence[tuple[int, str]]:
    """(meter, bill number) of the standing bills that may rest on these meters' day."""
    rests = sa.or_(
        Meter.household_id.is_(None), Meter.household_id == Household.id, Bill.run_id.is_not(None)
    )
    rows = db.session.execute(
        sa.select(Meter.id, Bill.bill_no)
        .join(Household, Household.building_id == Meter.building_id)
        .join(Bill, sa.and_(Bill.household_id == Household.id, Bill.utility == Meter.kind))
        .where(
            Meter.id.in_(meters),
            rests,
            standing(),
            Bill.period_from <= day,
            Bill.period_to > day,
        )
    )
    return [(row.id, row.bill_no) for row in rows]


def _first_day(meter: Meter, since: datetime) -> date:
    """The day of the meter's reading before `since`: from it on midnights may be estimates."""
    before = db.session.scalar(
        sa.select(sa.func.max(Reading.read_at)).where(
            Reading.meter_id == meter.id,
            Reading.read_at < since,
            Reading.read_at > since - closing.REACH,
            Reading.register.is_not(None),
        )
    )
    return business_day(before or since - JUST_BEFORE)


def _closed_days(meter: Meter, first: date, since: datetime) -> Sequence[date]:
    """The closed days that may stand on a register at `since`; a midnight belongs to two."""
    following = db.session.scalar(
        sa.select(sa.func.min(Reading.read_at)).where(
            Reading.meter_id == meter.id, Reading.read_at > since, Reading.register.is_not(None)
        )
    )
    gone = closing.removed_at(meter)
    # A meter taken away: whatever was counted of it afterwards has to go.
    last = since + closing.REACH if following is None or gone == since else following
    return db.session.scalars(
        sa.select(ClosedDay.day)
        .where(
            ClosedDay.building_id == meter.building_id,
            ClosedDay.day >= first,
            ClosedDay.day <= business_day(last - JUST_BEFORE),
        )
        .order_by(ClosedDay.day)
    ).all()


def _bills(meter: Meter, first: date) -> Sequence[Bill]:
    """Standing bills that may rest on the meter: its household's; where heat is shared, all."""
    mine = Household.building_id == meter.building_id
    if meter.household_id is not None:
        mine &= sa.or_(Household.id == meter.household_id, Bill.run_id.is_not(None))
    return db.session.scalars(
        sa.select(Bill)
        .join(Household, Household.id == Bill.household_id)
        .where(
            mine,
            Bill.utility == meter.kind,
            standing(),
            Bill.period_to > first,
        )
        .order_by(Bill.id)
    ).all()


def _flag(meters: Sequence[int], days: Sequence[date]) -> None:
    db.session.execute(
        sa.update(DailyUsage)
        .where(
            DailyUsage.meter_id.in_(meters),
            DailyUsage.day.in_(days),
            ~DailyUsage.flags.contains([NEEDS_ADJUSTMENT]),
        )
        .values(flags=sa.func.array_append(DailyUsage.flags, NEEDS_ADJUSTMENT))
    )


def _count_again(meter: Meter, day: date, now: datetime) -> None:
    """The building's day closed anew; a row of the meter that no longer belongs is taken away."""
    db.session.execute(
        sa.delete(DailyUsage).where(DailyUsage.meter_id == meter.id, DailyUsage.day == day)
    )
    close_building_day(meter.building_id, day, now)
