"""A prepaid account follows the pure rule night by night, and the ledger follows the account."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import ahead, cutoff, prepayment, requests, topics
from backend.billing.models import BillingRequest, PrepaidAccount, PrepaidDay
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.metering import closing, commands
from backend.metering.models import DailyUsage, DaySeries
from backend.metering.rules import pack_day
from backend.metering.service import NewReading, record
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON

TODAY = business_day(NOON)
FIRST = TODAY - timedelta(days=4)
WATER = {"unit": "m3", "price": "3.333"}


@pytest.fixture
def boss(app):
    staff = builders.make_staff("boss", roles=["manager"])
    return Principal("staff", staff.id, frozenset({"manager"}))


@pytest.fixture
def home(boss):
    household = builders.make_household(builders.make_building())
    builders.make_tariff("water", "flat", WATER)
    builders.make_meter(household.building, household, "water")
    ahead.open_account(household.id, "water", FIRST, boss, NOON)
    return household


def used(home, *litres, kind="water"):
    """Usage of FIRST and the days after; None: unknown."""
    meter = next(m for m in meters(home) if m.kind == kind)
    for n, value in enumerate(litres):
        row = DailyUsage(meter_id=meter.id, day=FIRST + timedelta(n), usage=value, flags=[])
        db.session.merge(row)
    db.session.commit()


def meters(home):
    return db.session.scalars(sa.select(Meter).where(Meter.household_id == home.id)).all()


def top_up(home, fen, key="t1", at=NOON - timedelta(days=6)):
    ahead.top_up(home.id, "water", fen, key, chart.bank("till"), at)


def charge(home, now=NOON):
    made = prepayment.charge_building(home.building_id, "water", now)
    db.session.commit()
    return made


def nights():
    return db.session.scalars(sa.select(PrepaidDay).order_by(PrepaidDay.day)).all()


def account(home):
    return db.session.get_one(PrepaidAccount, (home.id, "water"), populate_existing=True)


def test_every_day_is_charged_once_with_cumulative_rounding_and_the_ledger_agrees(home):
    top_up(home, 10_000)
    used(home, 100, 100, 100, 100)  # 33.33 fen each
    assert charge(home) == 4
    assert charge(home) == 0
    assert [d.deduction_fen for d in nights()] == [33, 34, 33, 33]
    assert account(home).balance_fen == 10_000 - 133
    assert ledger.balance_fen(chart.prepaid("water", home.id).code) == -(10_000 - 133)
    assert ledger.check() == []


def test_nights_run_one_by_one_come_to_the_same_as_all_at_once(home):
    top_up(home, 10_000)
    used(home, 100, 100, 100, 100)
    for n in range(1, 5):
        charge(home, day_start(FIRST + timedelta(n)) + timedelta(hours=3))
    assert [d.deduction_fen for d in nights()] == [33, 34, 33, 33]


def test_a_day_not_closed_makes_the_account_wait_and_says_why(home):
    used(home, 100)
    assert charge(home) == 1
    assert str(FIRST + timedelta(1)) in account(home).waiting


def test_an_unknown_day_costs_nothing_once_a_later_one_carries_it(home):
    used(home, None)
    assert charge(home) == 0
    used(home, None, 2_000)
    assert charge(home) == 2
    assert [(d.deduction_fen, d.flags) for d in nights()] == [(0, ["usage_follows"]), (667, [])]


def test_a_top_up_counts_before_the_days_charge_and_one_told_late_on_the_next(home):
    used(home, 1_000, 1_000)
    top_up(home, 333, at=day_start(FIRST) + timedelta(hours=20))
    charge(home)
    assert [(d.topup_fen, d.balance_fen) for d in nights()] == [(333, 0), (0, -334)]
    top_up(home, 500, key="t2", at=day_start(FIRST) + timedelta(hours=21))
    used(home, 1_000, 1_000, 1_000)
    charge(home)
    assert nights()[2].topup_fen == 500
    assert ledger.check() == []


def test_a_day_counted_otherwise_later_is_made_up_the_next_night(home):
    used(home, 1_000, 2_000)
    charge(home)
    used(home, 1_600, 2_000, 1_000)  # a reading of the first day was corrected
    charge(home)
    used(home, 1_600, 2_000, 1_000, 1_000)
    charge(home)
    assert [(d.used, d.flags) for d in nights()] == [
        *[(1_000, []), (2_000, [])],
        *[(1_600, ["corrected"]), (1_000, [])],
    ]
    assert ledger.check() == []


def test_money_comes_from_the_balance_only_as_far_as_it_reaches(home):
    with pytest.raises(Problem) as refused:
        ahead.from_wallet(home.id, "water", 100, "w1", NOON)
    assert refused.value.code == "balance_short"
    ledger.post("gift:1", "gift", NOON, [(chart.bank("b"), 100), (chart.wallet(home.id), -100)])
    for _ in range(2):
        ahead.from_wallet(home.id, "water", 100, "w1", NOON)
    assert ledger.balance_fen(chart.prepaid("water", home.id).code) == -100


def rule(topic, **params):
    day = date(2026, 1, 1)
    for utility in ("water", "heat"):
        topics.put(topic, utility, None, params, day, None, None, NOON)


def cut_off_requests():
    return db.session.scalars(sa.select(BillingRequest)).all()


def test_without_a_rule_nobody_is_ever_asked_to_be_cut_off(home):
    rule("prepaid", close_after_days=1)
    used(home, 1_000, 1_000, 1_000, 1_000)
    charge(home)
    assert "close" in nights()[0].events
    assert cut_off_requests() == []


def test_after_the_days_of_the_rule_a_person_is_asked_once_and_closing_waits(home, boss):
    rule("prepaid", close_after_days=2, overdraft_fen=500)
    rule("cutoff", enabled=True, classes=["residential"])
    used(home, 1_000)
    charge(home)
    assert cut_off_requests() == []
    used(home, 1_000, 1_000, 1_000)
    charge(home)
    used(home, 1_000, 1_000, 1_000, 1_000)
    charge(home)
    (request,) = cut_off_requests()
    assert request.asked_by is None
    done = requests.approve(request.id, boss, NOON)
    assert commands.command_of(done.result["command_id"]).state == "queued"


def test_an_overdraft_that_is_allowed_is_no_reason(home):
    rule("prepaid", close_after_days=1, overdraft_fen=100_000)
    rule("cutoff", enabled=True, classes=["residential"])
    used(home, 1_000, 1_000)
    charge(home)
    assert cut_off_requests() == []


def outdoor(building, cdeg):
    sensor = builders.make_meter(building, None, "outdoor")
    for day in (TODAY, TODAY - timedelta(1)):
        db.session.add(
            DaySeries(
                meter_id=sensor.id,
                quantity="room_cdeg",
                day=day,
                interval_s=600,
                samples=pack_day([(3600, cdeg)], 600),
            )
        )
    db.session.commit()


@pytest.mark.parametrize(("cdeg", "allowed"), [(None, False), (-500, False), (1500, True)])
def test_heat_is_never_cut_while_it_is_cold_outdoors_or_unknown(home, cdeg, allowed):
    rule("cutoff", enabled=True, classes=["residential"], heat_min_outdoor_cdeg=1000)
    if cdeg is not None:
        outdoor(home.building, cdeg)
    assert (cutoff.refusal(home, "heat", TODAY) is None) is allowed


def test_a_class_not_named_is_protected(home):
    rule("cutoff", enabled=True, classes=["commercial"])
    assert "不适用" in cutoff.refusal(home, "water", TODAY)


def test_two_part_heat_takes_the_basic_fee_in_equal_parts_and_the_heat_by_the_gj(boss):
    home = builders.make_household(builders.make_building())
    builders.make_tariff("heat", "two_part", {"k1": "18.3", "k2": "40", "season_days": 183})
    builders.make_meter(home.building, home, "heat")
    ahead.open_account(home.id, "heat", FIRST, boss, NOON)
    used(home, 250_000, 0, kind="heat")
    assert prepayment.charge_building(home.building_id, "heat", NOON) == 2
    # 62.40 m2 x 18.3 = 1,141.92 yuan / 183 days = 6.24; 0.9 GJ x 40 = 36.00
    assert [d.deduction_fen for d in nights()] == [624 + 3600, 624]


def test_an_account_without_a_price_waits_and_says_which_day(boss):
    home = builders.make_household(builders.make_building())
    builders.make_meter(home.building, home, "gas")
    ahead.open_account(home.id, "gas", FIRST, boss, NOON)
    used(home, 100, kind="gas")
    prepayment.charge_building(home.building_id, "gas", NOON)
    waiting = db.session.get_one(PrepaidAccount, (home.id, "gas")).waiting
    assert str(FIRST) in waiting
    assert "价格" in waiting


def test_an_account_is_opened_once(home, boss):
    with pytest.raises(Problem) as refused:
        ahead.open_account(home.id, "water", FIRST, boss, NOON)
    assert refused.value.code == "prepaid_open"


HOURS = {
    "schedule": [
        {"period": "peak", "from": "08:00", "to": "20:00"},
        {"period": "valley", "from": "20:00", "to": "08:00"},
    ],
    "prices": {"peak": "0.8", "valley": "0.3"},
}


@pytest.fixture
def powered(boss):
    household = builders.make_household(builders.make_building("P"))
    builders.make_meter(household.building, household, "electricity")
    prepayment_ahead(household, boss)
    return household


def prepayment_ahead(household, boss):
    ahead.open_account(household.id, "electricity", FIRST, boss, NOON)
    source = chart.bank("till")
    ahead.top_up(household.id, "electricity", 100_000, "e", source, NOON - timedelta(6))


def registers(home, *points):
    """(hours after FIRST, Wh) of the electricity meter; its days closed."""
    meter = next(m for m in meters(home) if m.kind == "electricity")
    record(
        [
            NewReading(meter.id, day_start(FIRST) + timedelta(hours=h), "collector", register=wh)
            for h, wh in points
        ]
    )
    for n in range(4):
        closing.close_usage(home.building_id, FIRST + timedelta(n))
    db.session.commit()


def charge_power(home):
    prepayment.charge_building(home.building_id, "electricity", NOON)
    db.session.commit()
    return nights()


def test_a_day_is_charged_by_the_hours_its_energy_was_used_in(powered):
    builders.make_tariff("electricity", "tou", HOURS)
    registers(powered, *((h, 1_000 * h) for h in range(4 * 24 + 1)))  # 1 kWh an hour
    days = charge_power(powered)
    assert [d.deduction_fen for d in days] == [12 * 80 + 12 * 30] * 4
    assert days[0].detail == {"hours": {"peak": "12", "valley": "12"}}
    assert days[0].flags == []
    assert ledger.check() == []


def test_where_the_hours_are_not_known_the_day_is_even_and_says_so(powered):
    builders.make_tariff("electricity", "tou", HOURS)
    registers(powered, *((24 * n, 24_000 * n) for n in range(5)))
    days = charge_power(powered)
    assert [d.deduction_fen for d in days] == [12 * 80 + 12 * 30] * 4
    assert {tuple(d.flags) for d in days} == {("tou_coarse",)}


def test_the_years_tiers_are_a_surcharge_on_all_of_the_energy(powered):
    tiers = [{"upto": "30", "price": "0"}, {"price": "0.1"}]
    builders.make_tariff("electricity", "tou_tiered", {**HOURS, "tiers": tiers})
    registers(powered, *((h, 1_000 * h) for h in range(4 * 24 + 1)))
    days = charge_power(powered)
    base = 12 * 80 + 12 * 30
    assert [d.deduction_fen - base for d in days] == [0, 18 * 10, 24 * 10, 24 * 10]


def test_a_correction_is_priced_by_the_hours_of_the_day_that_makes_it_up(powered):
    builders.make_tariff("electricity", "tou", HOURS)
    hourly = [(h, 1_000 * h) for h in range(2 * 24 + 1)]
    # of the third day only the peak is used; its night adds what the first day lacked
    registers(powered, *hourly, (56, 48_000), (68, 60_000), (72, 60_000), (96, 60_000))
    charge_power(powered)
    registers(powered, (104, 60_000), (116, 72_000), (120, 72_000))
    closing.close_usage(powered.building_id, FIRST + timedelta(4))
    db.session.execute(sa.update(DailyUsage).where(DailyUsage.day == FIRST).values(usage=30_000))
    prepayment.charge_building(powered.building_id, "electricity", NOON + timedelta(1))
    last = nights()[-1]
    assert last.used == 18_000
    assert last.flags == ["corrected", "tou_coarse"]
    assert last.deduction_fen == 18 * 80
