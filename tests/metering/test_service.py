"""Readings go in once, are never changed, and bad ones never become usage."""

from datetime import date, timedelta

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing, rules, series, service
from backend.metering.models import DailyUsage, DaySeries, MeterState, Reading, ReadSuccess
from backend.metering.service import NewReading
from tests import builders
from tests.builders import NOON

DAY = date(2026, 11, 19)


@pytest.fixture
def meter(app):
    building = builders.make_building()
    return builders.make_meter(building, builders.make_household(building))


def read(meter, at, register=None, **more):
    return NewReading(meter.id, at, "collector", register=register, **more)


def test_the_same_reading_twice_is_one_reading(meter):
    batch = [read(meter, NOON, 1000, frame=b"\x68")]
    assert service.record(batch).stored == 1
    again = service.record(batch)
    assert (again.stored, again.duplicates) == (0, 1)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Reading)) == 1
    assert db.session.scalars(sa.select(ReadSuccess.answered)).one() == 1


def test_a_batch_that_repeats_itself_or_an_unbelievable_reading_is_stored_once(meter):
    odd = read(meter, NOON, 1000, room_cdeg=9900)  # does not move the meter's state
    assert service.record([odd]).stored == 1
    later = read(meter, NOON + timedelta(minutes=10), 1001)
    assert service.record([odd, later, later]).stored == 1
    assert service.record([odd, later]).stored == 0
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Reading)) == 2
    assert db.session.scalars(sa.select(ReadSuccess.answered)).one() == 2


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    st.binary(max_size=300),
    st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    st.lists(st.sampled_from([rules.STUCK, rules.REVERSE, rules.LATE]), unique=True),
)
def test_what_is_stored_is_what_was_said_to_the_byte(meter, reason, frame, power_w, flags):
    more = {"reason": reason, "frame": frame, "power_w": power_w, "flags": flags}
    odd = read(meter, NOON + timedelta(microseconds=1), 1000, author_id=7, **more)
    assert service.record([odd, read(meter, NOON, 999)]).stored == 2
    row = db.session.scalars(sa.select(Reading).where(Reading.read_at == odd.read_at)).one()
    assert (row.reason, bytes(row.frame), row.power_w) == (reason, frame, power_w)
    assert set(flags) <= set(row.flags)
    db.session.rollback()


def test_a_batch_costs_the_same_statements_whatever_its_size(meter, queries):
    service.record([read(meter, NOON, 1000, supply_cdeg=4500)])
    small = len(queries)
    queries.clear()
    service.record(
        [
            read(meter, NOON + timedelta(minutes=10 * i), 1000 + i, supply_cdeg=4500)
            for i in range(1, 60)
        ]
    )
    assert len(queries) <= small + 1


@pytest.mark.parametrize("change", ["UPDATE reading SET register = 1", "DELETE FROM reading"])
def test_a_stored_reading_cannot_be_changed(meter, database, change):
    service.record([read(meter, NOON, 1000)])
    db.session.commit()
    with (
        psycopg.connect(database) as other,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        other.execute(change)


def test_an_older_reading_does_not_move_the_meters_state_back(meter):
    service.record([read(meter, NOON, 2000)])
    service.record([read(meter, NOON - timedelta(hours=1), 1900)])
    assert db.session.get(MeterState, meter.id, populate_existing=True).register == 2000


def test_an_impossible_temperature_is_kept_raw_but_never_enters_the_series(meter):
    service.record([read(meter, NOON, 1000, room_cdeg=9900)])
    assert db.session.scalars(sa.select(Reading.flags)).one() == ["impossible"]
    assert db.session.scalar(sa.select(sa.func.count()).select_from(DaySeries)) == 0


def test_temperatures_fill_ten_minute_slots_and_the_last_of_a_slot_stands(meter):
    start = day_start(DAY)
    service.record(
        [
            read(meter, start + timedelta(seconds=s), 1, room_cdeg=c)
            for s, c in ((0, 2000), (599, 2010), (600, 2050), (86399, 1900))
        ]
    )
    slots = series.load([meter.id], "room_cdeg", [DAY])[meter.id]
    assert (slots[0], slots[1], slots[143]) == (2010, 2050, 1900)
    assert (slots == rules.MISSING).sum() == 141


def test_a_failed_read_counts_as_asked_and_names_its_reason(meter):
    service.record_failures([(meter.id, NOON, "timeout")])
    row = db.session.scalars(sa.select(ReadSuccess)).one()
    assert (row.asked, row.answered) == (1, 0)
    assert db.session.get(MeterState, meter.id).last_error == "timeout"


def test_usage_telescopes_over_days_and_keeps_its_readings(meter):
    days = [DAY - timedelta(days=n) for n in (2, 1, 0)]
    for n, day in enumerate([*days, DAY + timedelta(days=1)]):
        service.record([read(meter, day_start(day), 10_000 * n)])
    for day in days:
        closing.close_usage(meter.building_id, day)
        closing.close_usage(meter.building_id, day)  # again: the same rows
    rows = db.session.scalars(sa.select(DailyUsage).order_by(DailyUsage.day)).all()
    assert [row.usage for row in rows] == [10_000] * 3
    assert rows[0].close_reading_id == rows[1].open_reading_id


def test_a_register_that_fell_has_no_usage_and_says_so(meter):
    service.record([read(meter, day_start(DAY), 50_000)])
    service.record([read(meter, day_start(DAY + timedelta(days=1)), 49_000)])
    closing.close_usage(meter.building_id, DAY)
    row = db.session.scalars(sa.select(DailyUsage)).one()
    assert row.usage is None
    assert row.flags == [rules.NO_PAIR, rules.REVERSE]


def test_a_midnight_between_two_readings_is_estimated_in_proportion_and_flagged(meter):
    service.record([read(meter, day_start(DAY) - timedelta(hours=6), 1000)])
    service.record([read(meter, day_start(DAY + timedelta(days=1)), 4000)])
    closing.close_usage(meter.building_id, DAY)
    row = db.session.scalars(sa.select(DailyUsage)).one()
    assert (row.usage, row.flags) == (2400, ["estimated"])


def test_an_old_closing_register_with_nothing_after_it_is_used_but_flagged(meter):
    service.record([read(meter, day_start(DAY), 1000)])
    service.record([read(meter, day_start(DAY) + timedelta(hours=19), 3000)])
    closing.close_usage(meter.building_id, DAY)
    row = db.session.scalars(sa.select(DailyUsage)).one()
    assert (row.usage, row.flags) == (2000, ["stale_boundary"])


def test_a_day_without_any_reading_has_no_usage_rather_than_zero(meter):
    service.record([read(meter, day_start(DAY) - timedelta(hours=1), 1000)])
    closing.close_usage(meter.building_id, DAY)
    assert db.session.scalars(sa.select(DailyUsage.usage)).one() is None


def typed(meter, register, staff, client_id="c-1", *, confirm=False, note=None, at=NOON):
    return service.typed_reading(
        meter.id, register, at, staff.id, client_id, confirm=confirm, note=note, now=NOON
    )


def test_a_typed_reading_sent_twice_is_stored_once_and_answers_the_same(meter):
    staff = builders.make_staff()
    service.record([read(meter, NOON - timedelta(days=1), 1000)])
    first = typed(meter, 5000, staff)
    assert first[2] == 4000
    assert typed(meter, 5000, staff) == first
    assert (
        db.session.scalar(
            sa.select(sa.func.count()).select_from(Reading).where(Reading.kind == "manual")
        )
        == 1
    )


def test_a_backdated_typed_reading_is_held_against_its_own_moment(meter):
    staff = builders.make_staff()
    for days, register in ((3, 1000), (0, 9000)):
        service.record([read(meter, NOON - timedelta(days=days), register)])
    at = NOON - timedelta(days=2)
    _, flags, since = typed(meter, 3000, staff, at=at)
    assert (flags, since) == (["out_of_order"], 2000)
    with pytest.raises(Problem, match="register_decreased"):
        typed(meter, 9500, staff, "c-2", at=at + timedelta(hours=1))
    assert db.session.get(MeterState, meter.id).register == 9000


def test_another_reader_cannot_see_the_answer_to_a_client_id(meter):
    typed(meter, 5000, builders.make_staff("one"))
    with pytest.raises(Problem) as refused:
        typed(meter, 5000, builders.make_staff("two"))
    assert refused.value.code == "not_found"


def test_a_typed_reading_below_the_last_needs_a_confirmation_in_words(meter):
    staff = builders.make_staff()
    service.record([read(meter, NOON - timedelta(days=1), 9000)])
    with pytest.raises(Problem) as refused:
        typed(meter, 5000, staff)
    assert refused.value.code == "register_decreased"
    reading_id, flags, _ = typed(meter, 5000, staff, confirm=True, note="换表未登记")
    assert "reverse" in flags
    assert (
        db.session.scalars(sa.select(Reading.reason).where(Reading.id == reading_id)).one()
        == "换表未登记"
    )


def test_a_typed_reading_cannot_come_from_the_future(meter):
    with pytest.raises(Problem) as refused:
        typed(meter, 5000, builders.make_staff(), at=NOON + timedelta(hours=1))
    assert refused.value.code == "reading_in_future"
