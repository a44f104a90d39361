"""A cold room: what a day's temperature is, what goes back, and the way from report to ledger."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from backend.base.clock import SHANGHAI, business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import cold, cold_room, requests, topics, wallet
from backend.billing.models import Adjustment, BillingRequest
from backend.ledger import service as ledger
from backend.metering.models import DaySeries
from backend.metering.rules import MISSING
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON

TODAY = business_day(NOON)
HLJ = topics.TOPICS["cold_room"].defaults | topics.COLD_ROOM_PRESETS["heilongjiang_2021"]
COMMON = topics.TOPICS["cold_room"].defaults | topics.COLD_ROOM_PRESETS["common_18"]


@pytest.mark.parametrize(
    ("cdeg", "hlj", "common"),
    [
        (2000, "0", "0"),
        (1999, "0.1", "0"),
        (1800, "0.1", "0"),
        (1799, "0.3", "0.2"),
        (1600, "0.3", "0.2"),
        (1599, "0.5", "0.5"),
        (1400, "0.5", "0.5"),
        (1399, "1", "1"),
        (-100, "1", "1"),
    ],
)
def test_the_two_ready_made_rules_give_back_what_the_provinces_say(cdeg, hlj, common):
    assert cold_room.ratio_of(cdeg, HLJ) == Decimal(hlj)
    assert cold_room.ratio_of(cdeg, COMMON) == Decimal(common)


def day(*pieces):
    """Slots of (count, cdeg) pieces, filled up to a day with the last."""
    values = [cdeg for count, cdeg in pieces for _ in range(count)]
    return np.array(values + [pieces[-1][1]] * (144 - len(values)), dtype=np.int16)


def finding(*rooms, rule=COMMON, **changes):
    return cold_room.day_finding(TODAY, rooms, MISSING, rule | changes)


def test_a_day_is_as_warm_as_at_least_half_of_it_does_not_exceed():
    assert finding(day((72, 1700), (72, 1750))).cdeg == 1700
    assert finding(day((71, 1700), (73, 1750))).cdeg == 1750
    assert finding(day((30, 1700), (114, 1750)), min_share="0.2").cdeg == 1700


def test_the_coldest_room_counts_unless_the_rule_says_their_mean():
    rooms = (day((144, 1900)), day((144, 1700)))
    assert finding(*rooms).cdeg == 1700
    assert finding(*rooms, rooms="mean").cdeg == 1800


def test_a_day_with_too_few_samples_is_not_decided():
    half = day((72, 1500), (72, MISSING))
    found = finding(half)
    assert (found.cdeg, found.ratio, found.why) == (None, 0, "采样不足，72/144")
    assert finding(half, min_coverage="0.5").cdeg == 1500


def test_an_open_window_does_not_make_a_cold_day():
    aired = day((60, 2000), (12, 1500), (72, 2000))
    assert finding(aired, min_share="0.05").cdeg == 2000
    assert finding(aired, min_share="0.05", window_fall_cdeg=None).cdeg == 1500


def test_a_flat_that_only_cools_slowly_has_no_window_open():
    cooling = np.linspace(2000, 1300, 144).astype(np.int16)
    assert not cold_room.windows(cooling, MISSING, COMMON).any()


@given(
    st.lists(st.integers(-2000, 3500), min_size=144, max_size=144), st.sampled_from([HLJ, COMMON])
)
def test_a_days_temperature_is_one_of_its_samples_and_the_ratio_falls_with_it(values, rule):
    samples = np.array(values, dtype=np.int16)
    found = finding(samples, rule=rule, window_fall_cdeg=None)
    assert found.cdeg in values
    colder = finding(samples - 100, rule=rule, window_fall_cdeg=None)
    assert colder.ratio >= found.ratio


def test_the_refund_is_area_times_price_a_line_a_band_each_rounded_once():
    days = [
        cold_room.DayFinding(TODAY, 1700, Decimal("0.2")),
        cold_room.DayFinding(TODAY, 1700, Decimal("0.2")),
        cold_room.DayFinding(TODAY, 1300, Decimal(1)),
        cold_room.DayFinding(TODAY, None, Decimal(0), "采样不足，3/144"),
    ]
    back = cold_room.refund(days, 6240, "38.32", 183)
    # 62.40 x 38.32 / 183 = 13.0665...: one day whole 13.07; two at a fifth 5.2266 -> 5.23
    assert back.refund_fen == 1307 + 523
    assert "1 天未能判定" in back.sentences[-1]


AT = datetime(2026, 11, 18, 9, 0, tzinfo=SHANGHAI)


@pytest.mark.parametrize(
    ("after", "signed", "fault"),
    [
        (timedelta(hours=9), (True, True), None),
        (timedelta(minutes=59), (True, True), None),
        (timedelta(hours=1), (True, True), "10:00"),
        (timedelta(hours=4, minutes=59), (True, True), "10:00"),
        (timedelta(hours=5), (True, True), None),
        (timedelta(hours=24, minutes=1), (True, True), "24 小时"),
        (timedelta(hours=-1), (True, True), "早于"),
        (timedelta(hours=9), (True, False), "双方签字"),
    ],
)
def test_a_measurement_stands_only_within_the_rules(after, signed, fault):
    found = cold_room.measurement_faults(AT, AT + after, signed, COMMON)
    assert (fault is None and found == []) or any(fault in sentence for sentence in found)


@pytest.fixture
def people(app):
    roles = frozenset({"finance", "manager"})
    return [Principal("staff", builders.make_staff(name).id, roles) for name in ("zhao", "qian")]


@pytest.fixture
def home(people):
    household = builders.make_household(builders.make_building())
    params = {"k1": "16.5", "k2": "44.41", "season_days": 183, "area_price": "38.32"}
    builders.make_tariff("heat", "two_part", params)
    return household


def rule(**changes):
    params = topics.COLD_ROOM_PRESETS["common_18"] | changes
    topics.put("cold_room", "heat", None, params, date(2026, 10, 1), None, None, NOON)


def stored(home, cdeg, days=3):
    sensor = builders.make_meter(home.building, home, "room")
    for n in range(days):
        db.session.add(
            DaySeries(
                meter_id=sensor.id,
                quantity="room_cdeg",
                day=TODAY - timedelta(n + 1),
                interval_s=600,
                samples=np.full(144, cdeg, dtype="<i2").tobytes(),
            )
        )
    db.session.commit()


def reported(home, days_ago=3):
    return cold.report(home.id, "主卧", "晚上很冷", None, NOON - timedelta(days=days_ago))


def test_cold_days_of_the_stored_series_are_refunded_once_a_second_person_agrees(home, people):
    rule()
    stored(home, 1650)
    found = reported(home)
    cold.decide(found.id, "series", TODAY - timedelta(3), TODAY, people[0], NOON)
    request = db.session.scalars(sa.select(BillingRequest)).one()
    assert request.params["credit_fen"] == 784  # 3 x 13.0665... x 20 %
    assert wallet.held_fen(home.id) == 0
    requests.approve(request.id, people[1], NOON)
    assert wallet.held_fen(home.id) == 784
    assert cold.report_of(found.id).state == "decided"
    assert ledger.check() == []


def test_a_day_is_refunded_once_whatever_is_reported_again(home, people):
    rule()
    stored(home, 1650)
    for _ in range(2):
        found = reported(home)
        cold.decide(found.id, "series", TODAY - timedelta(3), TODAY, people[0], NOON)
        for request in requests.waiting():
            requests.approve(request.id, people[1], NOON)
    assert db.session.scalar(sa.select(sa.func.count(Adjustment.id))) == 1
    assert wallet.held_fen(home.id) == 784


def test_a_warm_home_is_decided_without_a_refund_and_says_so(home, people):
    rule()
    stored(home, 2100)
    found = cold.decide(reported(home).id, "series", TODAY - timedelta(3), TODAY, people[0], NOON)
    assert (found.state, found.finding["refund_fen"], requests.waiting()) == ("decided", 0, [])


def test_a_measurement_signed_by_both_decides_where_there_is_no_sensor(home, people):
    rule()
    found = reported(home)
    at = found.reported_at + timedelta(hours=8)
    with pytest.raises(Problem) as unsigned:
        cold.measure(found.id, at, 1350, "", "赵", people[0], NOON)
    assert unsigned.value.code == "measurement_invalid"
    cold.measure(found.id, at, 1350, "张三", "赵", people[0], NOON)
    cold.decide(found.id, "measurement", TODAY - timedelta(3), TODAY, people[0], NOON)
    (request,) = requests.waiting()
    assert request.params["credit_fen"] == 3920  # 3 x 13.0665..., whole


def test_without_a_rule_nothing_is_decided_and_the_sentence_says_what_to_do(home, people):
    with pytest.raises(Problem) as refused:
        cold.decide(reported(home).id, "series", TODAY - timedelta(3), TODAY, people[0], NOON)
    assert "请先设置" in refused.value.detail


def test_a_household_has_one_report_at_a_time(home):
    reported(home)
    with pytest.raises(Problem) as refused:
        reported(home)
    assert refused.value.code == "cold_report_open"
