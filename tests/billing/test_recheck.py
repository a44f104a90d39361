"""A bill is made again from what was read: equal, or the sentence says where it is not."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.allocation.seasons import condense
from backend.archive.models import Meter
from backend.base.clock import day_start
from backend.base.db import db
from backend.billing import explain, recheck, reversal, service, topics
from backend.billing.lateness import post_building
from backend.billing.models import Bill, BillLine
from backend.metering import corrections
from backend.metering.models import DaySeries, Reading
from backend.metering.rules import pack_day
from backend.metering.service import NewReading, record
from backend.people.service import Principal
from tests import builders, paper18
from tests.billing.framed import read, tamper
from tests.builders import NOON

FIRST = date(2026, 11, 17)
LAST = FIRST + timedelta(days=2)
HARBIN = {"k1": "16.5", "k2": "44.41", "season_days": 183}


@pytest.fixture
def bill(app):
    builders.make_tariff("heat", "two_part", HARBIN)
    house, flats = paper18.load(FIRST)
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    db.session.commit()
    return db.session.scalars(sa.select(Bill).where(Bill.household_id == flats["101"].id)).one()


@pytest.fixture
def water(app):
    builders.make_tariff("water", "flat", {"unit": "m3", "price": "2.07"})
    home = builders.make_household(builders.make_building())
    meter = builders.make_meter(home.building, home, "water")
    read(meter, (day_start(FIRST), 100_000), (day_start(LAST), 107_340))
    (made,) = service.issue(home.building_id, "water", FIRST, LAST, NOON).bills
    db.session.commit()
    return made


def test_a_heat_bill_made_again_is_equal(bill):
    assert recheck.check_bill(bill.id).differences == []


def test_a_metered_bill_made_again_is_equal_down_to_its_frames(water):
    found = recheck.check_bill(water.id, lambda _meter, reading: {"register": reading.register})
    assert (found.differences, found.frames) == ([], 2)


def test_a_frame_that_says_something_else_is_found(water):
    found = recheck.check_bill(water.id, lambda _meter, _reading: {"register": 7})
    assert len(found.differences) == 2
    assert "报文解得读数 7" in found.differences[0]


def test_a_reading_corrected_after_billing_is_found(water):
    reading = db.session.scalars(sa.select(Reading).where(Reading.register == 107_340)).one()
    clerk = Principal("staff", builders.make_staff("clerk").id)
    corrections.correct(reading.id, 107_000, clerk.id, "抄错", NOON)
    assert any("按现有读数用量为 7000" in s for s in recheck.check_bill(water.id).differences)


def test_a_line_that_was_tampered_with_is_found(water):
    db.session.execute(sa.update(BillLine).values(amount_fen=BillLine.amount_fen + 1))
    said = recheck.check_bill(water.id).differences
    assert any("重算" in sentence for sentence in said)
    assert any("合计" in sentence for sentence in said)


def test_late_fees_and_reversals_are_checked_too(water):
    params = {"enabled": True, "post": "daily", "rate": "0.005"}
    topics.put("late_fee", "water", None, params, date(2026, 1, 1), None, None, NOON)
    later = NOON + timedelta(days=100)
    home = db.session.get(Bill, water.id).household_id
    building = db.session.scalar(sa.select(Meter.building_id).where(Meter.household_id == home))
    (late,) = post_building(building, later)
    people = [Principal("staff", builders.make_staff(name).id) for name in ("a", "b")]
    assert recheck.check_bill(late.id).differences == []
    made = reversal.reverse(water.id, "抄错", *people, later)
    assert recheck.check_bill(made.id).differences == []


def test_the_explanation_says_the_formula_in_numbers_and_that_it_is_calibrated(bill):
    text = "".join(explain.explain(bill.id)["sentences"])
    assert "算式：10,530 ×" in text
    assert "邻户间传热" in text


def outdoor(sensor, begin, cdeg):
    for n in range(2):
        db.session.add(
            DaySeries(
                meter_id=sensor.id,
                quantity="room_cdeg",
                day=begin + timedelta(n),
                interval_s=600,
                samples=pack_day([(600 * slot, cdeg) for slot in range(144)], 600),
            )
        )


def test_last_year_is_compared_and_corrected_by_the_weather(app):
    home = builders.make_household(builders.make_building())
    sensor = builders.make_meter(home.building, None, "outdoor")
    year = FIRST.replace(year=2025)
    for begin, used in ((year, 100_000), (FIRST, 90_000)):
        made = builders.make_bill(home, 100, period_from=begin)
        made.period_to = begin + timedelta(2)
        made.basis = {"used": used}
    outdoor(sensor, year, -1200)  # 30 K below 18
    outdoor(sensor, FIRST, -300)  # 21 K
    db.session.commit()
    found = explain.explain(made.id)
    assert found["comparison"]["last_year_used"] == 100_000
    assert found["comparison"]["last_year_corrected_wh"] == 70_000
    assert "按今年的天气折算为 70 千瓦时" in "".join(found["sentences"])


def shared_from_condensed_days():
    builders.make_tariff("heat", "two_part", HARBIN)
    house, flats = paper18.load(FIRST)
    for n in range(2):
        condense(house.id, FIRST + timedelta(n))
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    db.session.commit()
    return db.session.scalars(sa.select(Bill).where(Bill.household_id == flats["101"].id)).one()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE day_series SET samples = set_byte(samples, 7, 9) WHERE day = :day", "浓缩值"),
        ("UPDATE condensed_day SET nodes[3] = nodes[3] * 1.001 WHERE day = :day", "浓缩值"),
        ("UPDATE allocation_share SET energy_wh = energy_wh + 1", "分摊结果为"),
        ("UPDATE allocation_run SET total_wh = total_wh + 1", "楼栋总热量现为"),
        ("UPDATE allocation_run SET result_sha256 = 'x'", "结果不同"),
        ("DELETE FROM reading WHERE meter_id = (SELECT max(id) FROM meter)", "已不在库中"),
    ],
)
def test_whatever_is_changed_behind_a_shared_bill_is_named(app, statement, said):
    bill = shared_from_condensed_days()
    found = recheck.check_bill(bill.id)
    assert found.differences == []
    assert found.notes == ["有 108 个传感器日的采样没有原始读数可核。"]
    tamper(statement, **({"day": FIRST} if ":day" in statement else {}))
    assert said in "".join(recheck.check_bill(bill.id).differences)


def test_a_sample_that_is_not_what_its_reading_said_is_named(app):
    bill = shared_from_condensed_days()
    sensor = db.session.scalars(sa.select(Meter).where(Meter.kind == "room")).first()
    at = day_start(FIRST) + timedelta(hours=3)
    record([NewReading(sensor.id, at, "collector", room_cdeg=2_345)])
    for n in range(2):
        condense(sensor.building_id, FIRST + timedelta(n))
    db.session.commit()
    tamper(
        "UPDATE day_series SET samples = set_byte(samples, 36, 1) WHERE meter_id = :id",
        id=sensor.id,
    )
    said = "".join(recheck.check_bill(bill.id).differences)
    assert f"{FIRST} 03:00 起的室温采样为" in said
    assert "读数为 2345" in said
