"""异常读数: each meter's newest odd reading of each kind, what it means, and what to do."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.metering import anomalies, refused
from backend.metering.corrections import correct
from backend.metering.models import Reading
from backend.metering.refused import Refusal
from backend.metering.service import NewReading, record
from tests import builders
from tests.builders import NOON

HOUR = timedelta(hours=1)


@pytest.fixture
def op(sign_in):
    return sign_in("operator", login="op")


@pytest.fixture
def meter(app):
    house = builders.make_building("A", name="甲楼")
    made = builders.make_meter(house, builders.make_household(house, "301"), "water")
    read(made, NOON - 9 * HOUR, 12_345)
    return made


def read(meter, at, register, **more):
    record([NewReading(meter.id, at, "collector", register=register, **more)])
    db.session.commit()


def test_a_reading_that_fell_is_listed_with_its_meter_both_values_frame_and_remedy(op, meter):
    read(meter, NOON - 8 * HOUR, 11_000, frame=bytes.fromhex("6810AABB16"))
    page = op.get("/console/anomalies").text
    for part in (
        meter.address, "甲楼", "301", "读数倒退", "11.000 m³", "12.345 m³", "68 10 AA BB 16",
        "换过表的补登换表",
    ):  # fmt: skip
        assert part in page


def test_each_flag_is_listed_once_a_meter_and_says_how_often(op, meter):
    for hours in (8, 7, 6):
        read(meter, NOON - hours * HOUR, 11_000)
    page = op.get("/console/anomalies").text
    assert page.count("读数倒退</span>") == 1 and "共 3 次" in page


def test_the_filter_shows_one_flag_and_explains_it(op, meter):
    read(meter, NOON - 8 * HOUR, 11_000)
    read(meter, NOON - 7 * HOUR, 12_346, clock_drift_s=4000)
    both = op.get("/console/anomalies").text
    one = op.get("/console/anomalies?flag=clock_drift").text
    assert "读数倒退</span>" in both and "时钟偏差</span>" in both
    assert "读数倒退</span>" not in one and "时钟偏差</span>" in one
    assert anomalies.FLAGS["clock_drift"].says in one


@pytest.mark.parametrize("query", ["flag=none", "flag='%00", "page=0", "page=x", "page=99999"])
def test_a_filter_or_page_that_is_none_is_refused(op, meter, query):
    assert op.get(f"/console/anomalies?{query}").status_code in (404, 422)


def test_what_has_been_corrected_or_is_older_than_a_month_is_listed_no_more(op, meter):
    read(meter, NOON - 8 * HOUR, 11_000)
    wrong = db.session.scalars(sa.select(Reading).where(Reading.register == 11_000)).one()
    correct(wrong.id, 12_400, builders.make_staff().id, "看错", NOON)
    db.session.commit()
    assert "没有异常读数" in op.get("/console/anomalies").text
    read(meter, NOON - timedelta(days=31), 50)
    assert "没有异常读数" in op.get("/console/anomalies").text


def test_an_unknown_meter_and_a_second_value_come_from_what_was_refused(op, meter):
    read(meter, NOON - 9 * HOUR, 77_000, frame=b"\x68\x77")
    refused.keep(
        [Refusal(meter.bus_id, "unknown_device", "no meter has the address 999", b"\x68", NOON)],
        lambda _: [],
    )
    db.session.commit()
    page = op.get("/console/anomalies").text
    assert "同刻异值" in page and "77000" in page and "68 77" in page
    assert "未知表" in page and "999" in page


def test_a_page_holds_fifty_and_costs_two_statements(op, meter, queries):
    house = builders.make_building("B")
    others = [builders.make_meter(house, kind="water") for _ in range(51)]
    for at, register in ((NOON - 5 * HOUR, 100), (NOON - 4 * HOUR, 90)):
        record([NewReading(m.id, at, "collector", register=register) for m in others])
    db.session.commit()
    op.get("/console/anomalies")
    queries.clear()
    first = op.get("/console/anomalies").text
    counted = sum("unnest(r.flags)" in query for query in queries)
    assert (counted, first.count("读数倒退</span>")) == (2, 50)
    second = op.get("/console/anomalies?page=2").text
    assert "第 2 / 2 页" in second and second.count("读数倒退</span>") == 1


def test_every_flag_has_a_meaning_and_a_remedy():
    named = {"reverse", "stuck", "jump", "impossible", "clock_drift", "duplicate", "unknown_meter"}
    assert named | {"wrong_type", "out_of_order"} == set(anomalies.FLAGS)
    assert all(m.title and m.says and m.to_do for m in anomalies.FLAGS.values())


@pytest.mark.parametrize(("role", "status"), [("manager", 200), ("finance", 403)])
def test_who_may_look(sign_in, role, status):
    assert sign_in(role).get("/console/anomalies").status_code == status
