"""A reading put right or a meter replaced: open days are counted again, billed ones flagged."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.allocation.tasks import close_building_day
from backend.archive.models import Meter
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import changes, service
from backend.metering import closing
from backend.metering.corrections import correct
from backend.metering.models import DailyUsage, Reading
from backend.metering.replacement import NewMeter, replace_meter
from backend.metering.service import NewReading, record
from backend.people.models import AuditEvent
from tests import builders, paper18
from tests.builders import NOON

FIRST = date(2026, 11, 16)
DAYS = [FIRST + timedelta(days=n) for n in range(3)]


@pytest.fixture
def staff(app):
    return builders.make_staff()


@pytest.fixture
def water(app):
    """A water meter with a register at every midnight, 300 l a day, its three days closed."""
    house = builders.make_building()
    meter = builders.make_meter(house, builders.make_household(house), "water")
    builders.make_tariff("water")
    for n in range(4):
        record(
            [NewReading(meter.id, day_start(FIRST + timedelta(n)), "collector", register=300 * n)]
        )
    for day in DAYS:
        close_building_day(house.id, day, NOON)
    db.session.commit()
    return meter


def reading_at(day):
    return db.session.scalars(
        sa.select(Reading).where(Reading.read_at == day_start(day), Reading.corrects_id == 0)
    ).one()


def usages():
    db.session.expire_all()
    return list(db.session.scalars(sa.select(DailyUsage.usage).order_by(DailyUsage.day)))


def put_right(reading, register, staff, reason="看错一位"):
    made = correct(reading.id, register, staff.id, reason, NOON)
    return made, changes.settle(made.meter_id, made.read_at, NOON)


def test_a_correction_is_a_new_row_and_both_its_days_are_counted_again(water, staff):
    old = reading_at(DAYS[1])
    made, settled = put_right(old, 250, staff)
    assert settled == changes.Settled([DAYS[0], DAYS[1]], [], [])
    assert usages() == [250, 350, 300]
    kept = reading_at(DAYS[1])
    assert (kept.id, kept.register) == (old.id, 300)
    row = db.session.scalars(sa.select(Reading).where(Reading.id == made.reading_id)).one()
    assert (row.corrects_id, row.author_id, row.reason) == (old.id, staff.id, "看错一位")
    assert db.session.scalars(sa.select(AuditEvent.action)).one() == "reading.corrected"


def test_a_correction_can_itself_be_corrected_but_a_row_only_once(water, staff):
    old = reading_at(DAYS[1])
    made, _ = put_right(old, 250, staff)
    with pytest.raises(Problem) as refused:
        correct(old.id, 260, staff.id, "again", NOON)
    assert refused.value.code == "already_corrected"
    changes.settle(*_second(made, staff), NOON)
    assert usages() == [280, 320, 300]


def _second(made, staff):
    again = correct(made.reading_id, 280, staff.id, "再次核对", NOON)
    return again.meter_id, again.read_at


def test_days_already_billed_are_flagged_and_their_bill_named(water, staff):
    issued = service.issue(water.building_id, "water", DAYS[0], DAYS[1], NOON)
    db.session.commit()
    _, settled = put_right(reading_at(DAYS[1]), 250, staff)
    assert (settled.again, settled.billed) == ([DAYS[1]], [DAYS[0]])
    assert settled.bill_nos == [issued.bills[0].bill_no]
    assert usages() == [300, 350, 300]
    flags = db.session.scalars(sa.select(DailyUsage.flags).order_by(DailyUsage.day)).all()
    assert flags == [["changed_after_billing"], [], []]


@pytest.mark.parametrize(
    ("register", "reason", "code"),
    [
        (-1, "x", "register_impossible"),
        (10**16, "x", "register_impossible"),
        (5, "", "reason_missing"),
    ],
)
def test_a_correction_that_cannot_be_is_refused(water, staff, register, reason, code):
    with pytest.raises(Problem) as refused:
        correct(reading_at(DAYS[1]).id, register, staff.id, reason, NOON)
    assert refused.value.code == code


def test_an_unknown_reading_is_not_found(staff):
    with pytest.raises(Problem) as refused:
        correct(10**9, 5, staff.id, "x", NOON)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize("hours", [5, 24, 30, 47])
def test_a_bill_over_a_replacement_has_what_both_meters_counted(water, staff, hours):
    at = day_start(FIRST) + timedelta(hours=hours)
    final = 300 * (hours // 24) + 60
    new = replace_meter(water.id, final, NewMeter(1000), at, staff.id, NOON, reason="换表")
    for day in (d for d in [*DAYS, FIRST + timedelta(3)] if day_start(d) > at):
        passed = 300 * (day - FIRST).days - final
        record([NewReading(new.id, day_start(day), "collector", register=1000 + passed)])
    changes.settle(water.id, at, NOON)
    (bill,) = service.issue(water.building_id, "water", DAYS[0], FIRST + timedelta(3), NOON).bills
    assert bill.basis["used"] == 900
    assert [part["meter_id"] for part in bill.basis["meters"]] == [water.id, new.id]
    by_day = {
        day: sum(rows)
        for day, rows in (
            (d, db.session.scalars(sa.select(DailyUsage.usage).where(DailyUsage.day == d)).all())
            for d in DAYS
        )
    }
    assert sum(by_day.values()) == 900


def test_a_bill_before_a_meter_was_put_up_does_not_wait_for_it(water, staff):
    at = day_start(DAYS[2]) + timedelta(hours=1)
    replace_meter(water.id, 610, NewMeter(), at, staff.id, NOON, reason="换表")
    (bill,) = service.issue(water.building_id, "water", DAYS[0], DAYS[1], NOON).bills
    assert bill.basis["used"] == 300


def test_a_buildings_heat_over_a_replaced_settlement_meter_is_shared_whole(app, staff):
    house, _ = paper18.load(FIRST + timedelta(days=1))
    whole = db.session.scalars(sa.select(Meter).where(Meter.scope == "building")).one()
    begin, end = FIRST + timedelta(days=1), FIRST + timedelta(days=3)
    before = allocation.allocate(house.id, begin, end, "trial", NOON).total_wh
    at = day_start(begin) + timedelta(hours=30)
    opened = closing.last_register(whole.id, at).register
    closed = closing.last_register(whole.id, day_start(end)).register
    new = replace_meter(whole.id, opened, NewMeter(7), at, staff.id, NOON, reason="换表")
    record([NewReading(new.id, day_start(end), "collector", register=7 + closed - opened)])
    run = allocation.allocate(house.id, begin, end, "trial", NOON)
    assert run.total_wh == before
