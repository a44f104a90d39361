"""Prices are versions: drafted, approved by a second person, never overlapping, nearest first."""

import itertools
from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import regions, service, tariff_params, tariffs, tasks, topics
from backend.billing.models import RegionRule, Tariff
from backend.metering.service import NewReading, record
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON

HEAT = {"k1": "16.5", "k2": "44.41", "season_days": 183}
WATER = {"unit": "m3", "price": "2.07"}
TIERS = {
    "unit": "m3",
    "tiers": [{"upto": "180", "price": "2.07"}, {"upto": None, "price": "4.07"}],
    "prices": {"sewage": "1.36"},
}


@pytest.fixture
def author(app):
    return Principal("staff", builders.make_staff("author", roles=["finance"]).id)


@pytest.fixture
def boss(app):
    return Principal("staff", builders.make_staff("boss", roles=["manager"]).id)


def fields(**changes):
    return {
        "name": "居民水价",
        "utility": "water",
        "customer_class": "residential",
        "kind": "flat",
        "params": WATER,
        "effective_from": date(2026, 1, 1),
    } | changes


def live(author, boss, **changes):
    made = tariffs.draft(author, NOON, **fields(**changes))
    return tariffs.approve(made.id, boss, NOON)


def test_a_draft_bills_nobody_until_a_second_person_approves_it(author, boss):
    building = builders.make_building()
    made = tariffs.draft(author, NOON, **fields())
    when = (building.id, "water", {"residential"}, date(2026, 11, 1), date(2026, 11, 2))
    with pytest.raises(Problem) as refused:
        tariffs.in_force(*when)
    assert refused.value.code == "tariff_missing"
    with pytest.raises(Problem) as alone:
        tariffs.approve(made.id, author, NOON)
    assert alone.value.code == "second_person"
    tariffs.approve(made.id, boss, NOON)
    assert tariffs.in_force(*when)["residential"].id == made.id


def test_a_new_version_ends_the_open_one_and_both_keep_their_days(author, boss):
    old = live(author, boss)
    new = live(author, boss, effective_from=date(2026, 12, 1))
    assert (old.effective_to, new.effective_to) == (date(2026, 12, 1), None)


def test_an_overlap_is_refused_with_the_version_that_is_in_the_way(author, boss):
    live(author, boss, effective_to=date(2027, 1, 1), name="旧水价")
    with pytest.raises(Problem) as refused:
        live(author, boss, effective_from=date(2026, 12, 1))
    assert refused.value.code == "tariff_overlap"
    assert "旧水价" in refused.value.detail
    assert "2026-12-31" in refused.value.detail


def test_the_database_itself_refuses_two_live_versions_on_one_day(app):
    for _ in range(2):
        db.session.add(Tariff(code="x", state="live", **fields()))
    with pytest.raises(IntegrityError, match="ex_tariff_live"):
        db.session.flush()


def test_prices_are_not_changed_under_bills_that_were_made(author, boss):
    old = live(author, boss)
    home = builders.make_household(builders.make_building())
    bill = builders.make_bill(home, utility="water", tariff=old)
    with pytest.raises(Problem) as refused:
        live(author, boss, effective_from=bill.period_from)
    assert refused.value.code == "tariff_in_use"
    assert bill.bill_no in refused.value.detail


def test_the_region_nearest_to_a_building_has_its_own_price(author, boss):
    company = builders.make_region("公司", "company")
    branch = builders.make_region("道里", "branch", company)
    station = builders.make_region("一站", "station", branch)
    near, far = builders.make_building("N", station), builders.make_building("F", company)
    general = live(author, boss)
    own = live(author, boss, region_id=branch.id)
    when = ("water", {"residential"}, date(2026, 11, 1), date(2026, 12, 1))
    assert tariffs.in_force(near.id, *when)["residential"].id == own.id
    assert tariffs.in_force(far.id, *when)["residential"].id == general.id


def test_a_gap_is_refused_with_its_days(author, boss):
    building = builders.make_building()
    live(author, boss, effective_to=date(2026, 11, 10))
    live(author, boss, effective_from=date(2026, 11, 15))
    with pytest.raises(Problem) as refused:
        tariffs.in_force(
            building.id, "water", {"residential"}, date(2026, 11, 1), date(2026, 12, 1)
        )
    assert "2026-11-10 至 2026-11-14" in refused.value.detail


def test_a_period_over_a_change_of_price_is_billed_in_two_parts(author, boss):
    building = builders.make_building()
    builders.make_meter(building, builders.make_household(building), "water")
    live(author, boss)
    live(author, boss, effective_from=date(2026, 11, 11))
    assert tasks.defer_issue(date(2026, 12, 3)) == 2
    rows = db.session.execute(
        sa.text("SELECT args->>'period_from' AS a, args->>'period_to' AS b FROM procrastinate_jobs")
    )
    assert {(row.a, row.b) for row in rows} == {
        ("2026-11-01", "2026-11-11"),
        ("2026-11-11", "2026-12-01"),
    }


@pytest.mark.parametrize(
    ("kind", "params", "field"),
    [
        ("two_part", {"k1": "16.5", "season_days": 183}, "k2"),
        ("two_part", {**HEAT, "k2": "-1"}, "k2"),
        ("two_part", {**HEAT, "k2": 44.41}, "k2"),
        ("two_part", {**HEAT, "cap_ratio": "1"}, "area_price"),
        ("two_part", {**HEAT, "colour": "red"}, "colour"),
        ("area", {"price": "30", "season_days": 0}, "season_days"),
        ("magic", {}, "kind"),
    ],
)
def test_a_draft_with_a_fault_is_refused_with_its_field(kind, params, field):
    assert field in [fault.field for fault in tariff_params.faults("heat", kind, params)]


@pytest.mark.parametrize(
    ("utility", "kind", "params"),
    [
        ("water", "flat", {"unit": "kWh", "price": "1"}),
        ("water", "tiered", {**TIERS, "tiers": TIERS["tiers"][::-1]}),
        ("water", "tiered", {**TIERS, "tiers": [{"upto": "1", "price": "x"}]}),
        (
            "electricity",
            "tou",
            {
                "prices": {"peak": "1"},
                "schedule": [{"period": "peak", "from": "8:00", "to": "22:00"}],
            },
        ),
        (
            "electricity",
            "tou",
            {"prices": {}, "schedule": [{"period": "peak", "from": "00:00", "to": "24:00"}]},
        ),
    ],
)
def test_a_price_that_leaves_something_open_is_no_price(utility, kind, params):
    assert tariff_params.faults(utility, kind, params)


def test_good_prices_have_no_faults():
    whole_day = [
        {"period": "valley", "from": "22:00", "to": "08:00"},
        {"period": "peak", "from": "08:00", "to": "22:00"},
    ]
    prices = {"valley": "0.3", "peak": "0.55"}
    tou = {"schedule": whole_day, "prices": prices}
    tiers = [{"upto": "2040", "price": "0"}, {"upto": None, "price": "0.05"}]
    assert tariff_params.faults("heat", "two_part", HEAT) == []
    assert tariff_params.faults("water", "tiered", TIERS) == []
    assert tariff_params.faults("electricity", "tou", tou) == []
    assert tariff_params.faults("electricity", "tou_tiered", {**tou, "tiers": tiers}) == []


@pytest.fixture
def water_home(app):
    building = builders.make_building()
    home = builders.make_household(building)
    meter = builders.make_meter(building, home, "water", max_per_day=50_000)
    return building, home, meter


def registers(meter, **litres):
    record(
        [
            NewReading(
                meter.id,
                day_start(date.fromisoformat(day.strip("d").replace("_", "-"))),
                "collector",
                register=value,
            )
            for day, value in litres.items()
        ]
    )


def test_tiers_go_on_from_bill_to_bill_within_a_year(water_home, clock):
    building, _home, meter = water_home
    builders.make_tariff("water", "tiered", TIERS)
    registers(meter, d2026_09_01=0, d2026_10_01=170_000, d2026_11_01=190_000)
    service.issue(building.id, "water", date(2026, 9, 1), date(2026, 10, 1), NOON)
    (bill,) = service.issue(building.id, "water", date(2026, 10, 1), date(2026, 11, 1), NOON).bills
    # 10 m3 are left of the first tier: 10 x 2.07, 10 x 4.07, 20 x 1.36
    assert [line.amount_fen for line in bill.lines] == [2070, 4070, 2720]


def test_new_year_starts_the_tiers_again_and_cuts_the_bill_by_days(water_home, clock):
    building, _home, meter = water_home
    builders.make_tariff("water", "tiered", TIERS)
    registers(meter, d2026_09_01=0, d2026_12_17=170_000, d2027_01_16=200_000)
    now = clock.advance(days=90)
    service.issue(building.id, "water", date(2026, 9, 1), date(2026, 12, 17), now)
    (bill,) = service.issue(building.id, "water", date(2026, 12, 17), date(2027, 1, 16), now).bills
    # 30 m3 over 15 + 15 days: 10 of the old year's first tier, 5 of its second, 15 of the new
    assert [line.amount_fen for line in bill.lines] == [2070, 2035, 3105, 4080]
    assert bill.basis["notes"] == ["new_year_by_days"]
    assert bill.basis["years"] == {"2026": 15_000, "2027": 15_000}


def test_a_larger_family_has_wider_tiers(water_home):
    building, home, meter = water_home
    home.persons = 5
    tiers = [{"upto": "180", "price": "2", "per_extra_person": "30"}, {"price": "4"}]
    params = {"unit": "m3", "base_persons": 4, "tiers": tiers}
    builders.make_tariff("water", "tiered", params)
    registers(meter, d2026_09_01=0, d2026_10_01=211_000)
    (bill,) = service.issue(building.id, "water", date(2026, 9, 1), date(2026, 10, 1), NOON).bills
    assert [line.amount_fen for line in bill.lines] == [42_000, 400]


TOU = {
    "schedule": [
        {"period": "valley", "from": "22:00", "to": "08:00"},
        {"period": "peak", "from": "08:00", "to": "22:00"},
    ],
    "prices": {"valley": "0.30", "peak": "0.60"},
    "tiers": [{"upto": "10", "price": "0"}, {"price": "0.05"}],
}


def hourly(meter, day, wh_of_hour):
    register, rows = 0, []
    for hour in range(25):
        rows.append(
            NewReading(
                meter.id, day_start(day) + timedelta(hours=hour), "collector", register=register
            )
        )
        register += wh_of_hour(hour)
    record(rows)


def test_electricity_is_priced_by_the_hour_over_midnight_and_by_tier(app):
    building = builders.make_building()
    meter = builders.make_meter(building, builders.make_household(building), "electricity")
    builders.make_tariff("electricity", "tou_tiered", TOU)
    day = date(2026, 11, 17)
    hourly(meter, day, lambda hour: 1_000)
    (bill,) = service.issue(building.id, "electricity", day, day + timedelta(1), NOON).bills
    found = {line.code: line.amount_fen for line in bill.lines}
    # 10 h of valley, 14 h of peak, 14 kWh above the year's first 10
    assert found == {"valley": 300, "peak": 840, "tier_1": 0, "tier_2": 70}
    assert bill.basis["notes"] == []


def test_hours_nobody_read_are_spread_evenly_and_the_bill_says_so(app):
    building = builders.make_building()
    meter = builders.make_meter(building, builders.make_household(building), "electricity")
    builders.make_tariff("electricity", "tou", {k: TOU[k] for k in ("schedule", "prices")})
    day = date(2026, 11, 17)
    record(
        [
            NewReading(meter.id, day_start(day), "collector", register=0),
            NewReading(meter.id, day_start(day + timedelta(1)), "collector", register=24_000),
        ]
    )
    (bill,) = service.issue(building.id, "electricity", day, day + timedelta(1), NOON).bills
    assert {line.code: line.amount_fen for line in bill.lines} == {"valley": 300, "peak": 840}
    assert bill.basis["notes"] == ["tou_coarse"]


def test_a_suspended_flat_pays_the_share_of_the_area_fee_its_price_names(app):
    params = {**HEAT, "area_price": "30", "suspension_ratio": "0.2"}
    building = builders.make_building()
    home = builders.make_household(building, suspended_from=date(2026, 10, 1))
    builders.make_tariff("heat", "two_part", params)
    builders.make_meter(building, home, "heat")
    (bill,) = service.issue(building.id, "heat", date(2026, 11, 1), date(2026, 11, 16), NOON).bills
    # 62.40 m2 x 30 x 20 % x 15/183 = 30.688...
    assert [line.amount_fen for line in bill.lines] == [3069]


def test_heat_by_area_needs_no_meter(app):
    builders.make_tariff("heat", "area", {"price": "38.32", "season_days": 183})
    building = builders.make_building()
    builders.make_household(building)
    (bill,) = service.issue(building.id, "heat", date(2026, 10, 20), date(2026, 11, 19), NOON).bills
    assert [line.code for line in bill.lines] == ["area"]


def rule(region_id, begin, end=None, **params):
    return RegionRule(
        topic="cycle",
        utility="water",
        region_id=region_id,
        params=params,
        effective_from=begin,
        effective_to=end,
    )


@given(
    st.lists(
        st.tuples(st.sampled_from([None, 1, 2]), st.integers(0, 60), st.integers(1, 60)),
        max_size=6,
    ),
    st.integers(0, 90),
    st.integers(1, 30),
)
def test_the_pieces_of_a_period_are_the_period_and_each_holds_all_its_days(found, first, length):
    origin = date(2026, 1, 1)
    rules = [rule(r, origin + timedelta(a), origin + timedelta(a + n)) for r, a, n in found]
    begin = origin + timedelta(first)
    end = begin + timedelta(length)
    pieces = regions.over(rules, [1, None], begin, end)
    assert pieces[0][0] == begin
    assert pieces[-1][1] == end
    for (_, upper, one), (lower, _, other) in itertools.pairwise(pieces):
        assert upper == lower
        assert one is not other
    for lower, upper, held in pieces:
        days = [lower + timedelta(n) for n in range((upper - lower).days)]
        assert all(regions.nearest(rules, [1, None], day) is held for day in days)


def test_a_region_settles_on_its_own_day(app):
    cycle = {"months": 2, "settle_day": 5}
    assert topics.period_end(cycle, date(2026, 11, 4)) == date(2026, 9, 5)
    assert topics.period_end(cycle, date(2026, 11, 5)) == date(2026, 11, 5)
    assert topics.period_before(cycle, date(2027, 1, 5)) == date(2026, 11, 5)


def test_a_rule_with_a_fault_is_refused_and_one_that_overlaps_too(app):
    with pytest.raises(Problem) as faulty:
        topics.put("cycle", "water", None, {"settle_day": 31}, date(2026, 1, 1), None, None, NOON)
    assert faulty.value.field == "settle_day"
    topics.put("cycle", "water", None, {"settle_day": 5}, date(2026, 1, 1), None, None, NOON)
    with pytest.raises(Problem) as twice:
        topics.put("cycle", "water", None, {"settle_day": 6}, date(2026, 1, 1), None, None, NOON)
    assert twice.value.code == "billing_rule_overlap"
    building = builders.make_building()
    assert topics.in_force(building.id, "cycle", "water", date(2026, 5, 1))["settle_day"] == 5
    assert topics.in_force(building.id, "cycle", "water", date(2025, 5, 1))["settle_day"] == 1
