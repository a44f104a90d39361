"""A meter is replaced: what both counted adds up, whenever the change was made."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing, service
from backend.metering.models import DailyUsage, Reading
from backend.metering.replacement import NewMeter, replace_meter
from backend.metering.service import NewReading
from backend.people.models import AuditEvent
from tests import builders
from tests.builders import NOON

DAY = date(2026, 11, 16)
START = day_start(DAY)
DAYS = [DAY + timedelta(days=n) for n in range(3)]


@pytest.fixture
def staff(app):
    return builders.make_staff()


@pytest.fixture
def water(app):
    house = builders.make_building()
    return builders.make_meter(house, builders.make_household(house), "water", max_per_day=10**6)


def read(meter, at, register):
    service.record([NewReading(meter.id, at, "collector", register=register)])


def replace(meter, final, at, staff, first=0, *, reason="表计故障", **new):
    return replace_meter(meter.id, final, NewMeter(first, **new), at, staff.id, NOON, reason=reason)


def usage_of(day):
    """What the household's meters counted in a day, all together; None where one is unknown."""
    rows = db.session.scalars(sa.select(DailyUsage).where(DailyUsage.day == day)).all()
    known = [row.usage for row in rows]
    return None if not rows or None in known else sum(known)


def over_a_change(meter, staff, at, first=500):
    """100 l an hour for three days, the change at `at`; the new meter begins at `first`."""

    def used(moment):
        return int((moment - START).total_seconds()) // 36

    read(meter, START, 9_000)
    hours = [START + timedelta(hours=n) for n in range(1, 73)]
    for moment in (m for m in hours if m < at):
        read(meter, moment, 9_000 + used(moment))
    new = replace(meter, 9_000 + used(at), at, staff, first)
    for moment in (m for m in hours if m > at):
        read(new, moment, first + used(moment) - used(at))
    return new


@pytest.mark.parametrize(
    "at",
    [
        START + timedelta(days=1, hours=10, minutes=20),
        START + timedelta(days=1),
        START + timedelta(days=2),
        START + timedelta(days=1, minutes=1),
        START + timedelta(days=2, seconds=-1),
        START + timedelta(minutes=30),
    ],
    ids=["inside a day", "midnight", "next midnight", "just after", "just before", "first hour"],
)
def test_every_day_around_a_change_has_its_whole_usage(water, staff, at):
    over_a_change(water, staff, at)
    for day in DAYS:
        closing.close_usage(water.building_id, day)
    assert [usage_of(day) for day in DAYS] == [2400, 2400, 2400]


@pytest.mark.parametrize("hour", [10, 24, 36, 48, 71])
def test_a_period_over_a_change_is_the_sum_of_its_days(water, staff, hour):
    new = over_a_change(water, staff, START + timedelta(hours=hour))
    for begin, end in ((0, 3), (0, 1), (1, 2), (2, 3), (1, 3)):
        spans = closing.spans(
            [water, new], START + timedelta(days=begin), START + timedelta(days=end)
        )
        assert sum(span.usage for span in spans) == 2400 * (end - begin)
        assert all(span.close.reading_id and span.open.reading_id for span in spans)


@given(
    steps=st.lists(st.integers(0, 3000), min_size=13, max_size=13),
    minute=st.integers(1, 3 * 1440 - 1),
    first=st.integers(0, 10**6),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_usage_telescopes_over_a_replacement_at_any_minute(app, steps, minute, first):
    """Whatever flowed and whenever the meter was changed: the days add up to all that flowed."""
    house = builders.make_building(f"H{next(builders._numbers)}")
    meter = builders.make_meter(house, builders.make_household(house), "water", max_per_day=10**7)
    person = builders.make_staff(f"s{next(builders._numbers)}")
    at = START + timedelta(minutes=minute)
    moments = [START + timedelta(hours=6 * n) for n in range(13)]
    flowed = [sum(steps[:n]) for n in range(13)]  # at each of `moments`
    earlier = max(n for n, moment in enumerate(moments) if moment <= at)
    for moment, total in zip(moments[: earlier + 1], flowed, strict=False):
        if moment < at:
            read(meter, moment, total)
    new = replace(meter, flowed[earlier], at, person, first)
    for moment, total in zip(moments[earlier + 1 :], flowed[earlier + 1 :], strict=True):
        read(new, moment, first + total - flowed[earlier])
    spans = [
        span
        for n in range(3)
        for span in closing.spans(
            [meter, new], START + timedelta(days=n), START + timedelta(days=n + 1)
        )
    ]
    assert sum(span.usage for span in spans) == flowed[-1]


def test_the_change_leaves_a_reading_on_each_meter_and_a_line_in_the_audit(water, staff):
    read(water, NOON - timedelta(hours=2), 9_000)
    at = NOON - timedelta(hours=1)
    new = replace(water, 9_010, at, staff, 3, address="00000000000077")
    rows = db.session.scalars(sa.select(Reading).where(Reading.read_at == at)).all()
    assert {(r.meter_id, r.register, r.reason) for r in rows} == {
        (water.id, 9_010, "表计故障"),
        (new.id, 3, "表计故障"),
    }
    assert (new.household_id, new.bus_id, new.kind) == (water.household_id, water.bus_id, "water")
    line = db.session.scalars(sa.select(AuditEvent)).one()
    assert (line.action, line.actor_id, line.detail["new_meter_id"]) == (
        "meter.replaced",
        staff.id,
        new.id,
    )


def test_late_answers_to_the_old_address_never_count_for_the_old_meter(water, staff):
    """The change is typed in the evening; the new meter has answered to the old address all day."""
    read(water, START, 9_000)
    read(water, START + timedelta(hours=20), 150)  # already the new meter's register
    replace(water, 9_400, START + timedelta(hours=10), staff)
    (old, _new) = sorted(
        closing.spans(
            db.session.scalars(sa.select(closing.Meter)).all(), START, START + timedelta(days=1)
        ),
        key=lambda span: span.meter.id,
    )
    assert (old.usage, old.flags) == (400, ["meter_replaced"])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"final": 8_999}, "register_decreased"),
        ({"final": 9_000_000}, "register_jump"),
        ({"final": -1}, "register_impossible"),
        ({"final": 10**16}, "register_impossible"),
        ({"first": -1}, "register_impossible"),
        ({"at": NOON + timedelta(hours=1)}, "reading_in_future"),
        ({"at": NOON - timedelta(days=90)}, "reading_too_old"),
        ({"reason": " "}, "reason_missing"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(water, staff, change, code):
    read(water, NOON - timedelta(hours=3), 9_000)
    wanted = {"final": 9_010, "at": NOON - timedelta(hours=1), "staff": staff} | change
    with pytest.raises(Problem) as refused:
        replace(water, **wanted)
    assert refused.value.code == code
    assert water.removed_on is None


def test_a_meter_is_replaced_once_and_a_taken_address_refused(water, staff):
    other = builders.make_meter(
        db.session.get(builders.Building, water.building_id),
        bus=db.session.get(builders.Bus, water.bus_id),
        address="00000000000042",
    )
    at = NOON - timedelta(hours=1)
    with pytest.raises(Problem) as taken:
        replace(water, 5, at, staff, address=other.address)
    assert taken.value.code == "address_taken"
    db.session.rollback()
    replace(water, 5, at, staff)
    with pytest.raises(Problem) as again:
        replace(water, 5, at, staff)
    assert again.value.code == "meter_removed"
    with pytest.raises(Problem) as unknown:
        replace_meter(10**9, 5, NewMeter(), at, staff.id, NOON, reason="x")
    assert unknown.value.code == "not_found"
