"""The register at a midnight: frozen, read near it, or estimated; and days counted again."""

from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from backend.allocation.tasks import close_building_day
from backend.archive.models import Building, Household
from backend.base.clock import day_start
from backend.base.db import db
from backend.billing import changes, explain, service
from backend.metering import closing, rules
from backend.metering.corrections import correct
from backend.metering.models import DailyUsage, Reading
from backend.metering.rules import Boundary, Register, register_at, scaled
from backend.metering.service import NewReading, record
from tests import builders
from tests.builders import NOON

AT = day_start(date(2026, 11, 19))
PLAIN = Register(10**8, 10**6)


def shown(minutes, register, number=1):
    return Boundary(AT + timedelta(minutes=minutes), register, (number,))


def test_what_was_frozen_then_goes_before_anything_read_near_it():
    frozen = shown(0, 500, 9)
    assert register_at(AT, frozen, shown(-1, 499), shown(1, 501), PLAIN) == frozen


@pytest.mark.parametrize(
    ("before", "after", "register"),
    [(-15, 600, 10), (-600, 15, 20), (-9, 8, 20), (-8, 9, 10), (-8, 8, 10), (0, 1, 10)],
)
def test_a_reading_within_tolerance_stands_as_it_is_the_nearest_of_two(before, after, register):
    found = register_at(AT, None, shown(before, 10, 1), shown(after, 20, 2), PLAIN)
    assert (found.register, found.flags, len(found.reading_ids)) == (register, (), 1)


def test_between_two_readings_further_off_it_is_an_estimate_that_names_both():
    found = register_at(AT, None, shown(-60, 100, 1), shown(120, 130, 2), PLAIN)
    assert found == Boundary(AT, 110, (1, 2), ("estimated",))


def test_an_estimate_runs_over_the_top_of_the_display():
    found = register_at(AT, None, shown(-60, 90, 1), shown(60, 30, 2), Register(100, 1000))
    assert found.register == 10


def test_with_nothing_after_it_the_last_register_is_carried_and_says_so():
    assert register_at(AT, None, shown(-60, 100), None, PLAIN).flags == ("stale_boundary",)


def test_a_register_that_fell_is_carried_and_never_interpolated():
    found = register_at(AT, None, shown(-60, 100), shown(60, 50), PLAIN)
    assert (found.register, found.flags) == (100, ("stale_boundary",))


def test_a_register_only_known_later_is_not_known():
    assert register_at(AT, None, None, shown(60, 50), PLAIN) is None


@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=12),
    st.lists(st.integers(0, 10**4), min_size=12, max_size=12),
)
def test_estimates_never_run_backwards_and_stay_between_their_readings(minutes, steps):
    moments = sorted(set(minutes))
    total, readings = 0, []
    for number, minute in enumerate(moments):
        total += steps[number]
        readings.append((minute, total))
    begin, end = readings[0], readings[-1]
    found = []
    for minute in range(begin[0], end[0] + 1, max(1, (end[0] - begin[0]) // 7)):
        at = AT + timedelta(minutes=minute)
        before = max(r for r in readings if r[0] <= minute)
        later = [r for r in readings if r[0] > minute]
        after = shown(*min(later)) if later else None
        found.append(register_at(at, None, shown(*before), after, PLAIN).register)
    assert found == sorted(found)
    assert begin[1] <= found[0] and found[-1] <= end[1]


@given(
    st.lists(st.integers(0, 999), min_size=2, max_size=10),
    st.fractions(Fraction(1, 1000), 400, max_denominator=1000),
)
def test_days_add_up_to_their_month_whatever_the_ratio(steps, ratio):
    register, total = Register(10**9, 10**9), 0
    registers = [total := total + step for step in steps]
    parts = [scaled(a, b, register, Fraction(b - a), ratio) for a, b in pairwise(registers)]
    whole = registers[-1] - registers[0]
    assert sum(parts) == scaled(registers[0], registers[-1], register, Fraction(whole), ratio)
    assert abs(sum(parts) - whole * ratio) < 1 and min(parts) >= 0


# From the database.


@pytest.fixture
def water(app):
    house = builders.make_building()
    builders.make_tariff("water")
    return builders.make_meter(house, builders.make_household(house), "water")


DAY = date(2026, 11, 16)
DAYS = [DAY + timedelta(days=n) for n in range(3)]


def read(meter, day, register, minutes=0, **more):
    at = day_start(day) + timedelta(minutes=minutes)
    more = {"kind": "current", **more}
    record([NewReading(meter.id, at, "collector", register=register, **more)])


def close(meter, days=DAYS):
    for day in days:
        close_building_day(meter.building_id, day, NOON)
    db.session.commit()


def days_of(meter):
    db.session.expire_all()
    rows = db.session.scalars(
        sa.select(DailyUsage).where(DailyUsage.meter_id == meter.id).order_by(DailyUsage.day)
    )
    return [(row.usage, row.flags) for row in rows]


def recounts():
    """The days to be counted again; yesterday, which may be closing this moment, left out."""
    rows = db.session.execute(
        sa.text("SELECT args FROM procrastinate_jobs WHERE task_name = 'billing.recount'")
    )
    days = sorted(date.fromisoformat(row.args["day"]) for row in rows)
    return [day for day in days if day <= DAYS[-1]]


def recount_all(meter):
    for day in recounts():
        changes.recount(meter.building_id, day, NOON)
    db.session.commit()


def test_the_frozen_register_is_used_although_another_was_read_the_same_minute(water):
    read(water, DAYS[0], 100)
    read(water, DAYS[1], 399, minutes=-1)
    read(water, DAYS[1], 400, kind="freeze")
    read(water, DAYS[1], 402, minutes=2)
    close(water, [DAYS[0]])
    assert days_of(water) == [(300, [])]


def test_a_freeze_put_right_goes_before_the_freeze(water):
    staff = builders.make_staff()
    read(water, DAYS[0], 100)
    read(water, DAYS[1], 400, kind="freeze")
    wrong = db.session.scalars(sa.select(Reading).where(Reading.kind == "freeze")).one()
    correct(wrong.id, 350, staff.id, "抄错", NOON)
    close(water, [DAYS[0]])
    assert days_of(water) == [(250, [])]


def test_silent_days_are_estimated_when_the_meter_answers_and_put_right_by_a_late_freeze(water):
    read(water, DAYS[0], 1000)
    close(water, DAYS[:2])  # silent: nothing is known of them, which is not zero
    assert [usage for usage, _ in days_of(water)] == [None, None]
    read(water, DAYS[2], 1400)
    assert recounts() == DAYS[:2]
    recount_all(water)
    assert days_of(water) == [(200, ["estimated"]), (200, ["estimated"])]
    read(water, DAYS[1], 1350, kind="freeze")
    recount_all(water)
    assert days_of(water) == [(350, []), (50, [])]


def test_a_late_freeze_wakes_only_the_days_it_can_change(water):
    for n in range(4):
        read(water, DAYS[0] + timedelta(n), 300 * n)
    close(water)
    read(water, DAYS[1], 290, kind="freeze")
    assert recounts() == DAYS[:2]
    recount_all(water)
    assert [usage for usage, _ in days_of(water)] == [290, 310, 300]


def test_readings_that_follow_each_other_wake_nothing(water, queries):
    for n in range(4):
        read(water, DAYS[0] + timedelta(n), 300 * n)
    close(water)
    queries.clear()
    read(water, DAYS[2] + timedelta(days=1), 905, minutes=10)
    assert recounts() == []
    assert not any("closed_day" in query for query in queries)


def test_a_batch_of_late_readings_enqueues_each_day_once(water):
    other = builders.make_meter(db.session.get_one(Building, water.building_id))
    for meter in (water, other):
        read(meter, DAYS[0], 0)
        read(meter, DAYS[2] + timedelta(days=1), 900)
    close(water)
    record(
        [
            NewReading(m.id, day_start(DAYS[1]), "collector", kind="freeze", register=200)
            for m in (water, other)
        ]
    )
    assert recounts() == sorted(set(recounts()))
    assert set(DAYS[:2]) <= set(recounts())


def test_a_billed_day_is_left_as_it_was_billed_flagged_and_the_bill_named(water):
    for n in (0, 1, 3):
        read(water, DAYS[0] + timedelta(n), 300 * n)
    close(water)
    service.issue(water.building_id, "water", DAYS[0], DAYS[2], NOON)
    db.session.commit()
    before = days_of(water)
    read(water, DAYS[2], 650, kind="freeze")
    settled = changes.recount(water.building_id, DAYS[1], NOON)
    assert (settled.again, settled.billed, len(settled.bill_nos)) == ([], [DAYS[1]], 1)
    assert changes.recount(water.building_id, DAYS[2], NOON).again == [DAYS[2]]
    after = days_of(water)
    assert after[1] == (before[1][0], [*before[1][1], "changed_after_billing"])
    assert after[2] == (250, [])


def test_a_recount_that_changes_nothing_touches_nothing(water):
    for n in range(4):
        read(water, DAYS[0] + timedelta(n), 300 * n)
    close(water)
    assert changes.recount(water.building_id, DAYS[0], NOON) == changes.Settled([], [], [])


def test_one_meters_recount_leaves_a_neighbours_billed_row_alone(water):
    house = db.session.get_one(Building, water.building_id)
    gas = builders.make_meter(house, db.session.get_one(Household, water.household_id), "gas")
    for meter in (water, gas):
        for n in (0, 1, 3):
            read(meter, DAYS[0] + timedelta(n), 300 * n)
    close(water)
    service.issue(water.building_id, "water", DAYS[0], DAYS[2], NOON)
    for meter in (water, gas):
        read(meter, DAYS[2], 650, kind="freeze")
    changes.recount(water.building_id, DAYS[1], NOON)
    assert days_of(water)[1] == (300, ["estimated", "changed_after_billing"])
    assert days_of(gas)[1] == (350, [])


@pytest.mark.parametrize(
    ("ratio", "used"), [("40", 12_000), ("0.1", 30), ("2.5", 750), (None, 300)]
)
def test_a_ratio_turns_the_registers_steps_into_what_was_used(water, ratio, used):
    water.options = {"ratio": ratio} if ratio else {}
    water.max_per_day = 10**6
    db.session.commit()
    read(water, DAYS[0], 1000)
    read(water, DAYS[1], 1300)
    close(water, [DAYS[0]])
    assert days_of(water) == [(used, [])]


def test_a_bill_over_a_ratio_says_how_its_usage_comes_about(water):
    water.options, water.max_per_day = {"ratio": "40"}, 10**6
    db.session.commit()
    read(water, DAYS[0], 1000)
    read(water, DAYS[2], 1300)
    (bill,) = service.issue(water.building_id, "water", DAYS[0], DAYS[2], NOON).bills
    assert bill.basis["used"] == 12_000
    said = "".join(explain.explain(bill.id)["sentences"])
    assert "从 1 走到 1.3 m³，乘以倍率 40，用量 12 m³" in said


@pytest.mark.parametrize("ratio", ["0", "-1", "forty", "NaN"])
def test_a_ratio_that_is_none_gives_no_usage_and_says_so(water, ratio):
    water.options = {"ratio": ratio}
    db.session.commit()
    read(water, DAYS[0], 1000)
    read(water, DAYS[1], 1300)
    close(water, [DAYS[0]])
    assert days_of(water) == [(None, ["ratio_invalid"])]


def test_a_rollover_is_believed_only_where_a_day_can_bring_it(water):
    water.register_max, water.max_per_day = 100_000, 500
    db.session.commit()
    read(water, DAYS[0], 99_900)
    read(water, DAYS[1], 200)
    close(water, [DAYS[0]])
    assert days_of(water) == [(300, ["rollover"])]


def test_an_estimate_keeps_the_readings_it_lies_between(water):
    read(water, DAYS[0], 100, minutes=-120)
    read(water, DAYS[0], 160, minutes=120)
    read(water, DAYS[1], 400)
    (span,) = closing.spans([water], day_start(DAYS[0]), day_start(DAYS[1]))
    assert (span.open.register, span.usage, span.flags) == (130, 270, [rules.ESTIMATED])
    assert len(span.basis()["estimated_between"]) == 2
