"""Bills come from stored usage, once, balanced in the ledger, and explain themselves."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.allocation.models import AllocationRun
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import explain, service, tasks
from backend.billing.models import Bill
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.metering.service import NewReading, record
from tests import builders, paper18
from tests.builders import NOON

FIRST = date(2026, 11, 17)
LAST = FIRST + timedelta(days=2)
HARBIN = {"k1": "16.5", "k2": "44.41", "season_days": 183}


@pytest.fixture
def heat(app):
    builders.make_tariff("heat", "two_part", HARBIN)
    return paper18.load(FIRST)


def bills():
    return db.session.scalars(sa.select(Bill).order_by(Bill.id)).all()


def test_every_flat_gets_its_two_part_bill_and_the_ledger_the_same_sum(heat):
    house, flats = heat
    issued = service.issue(house.id, "heat", FIRST, LAST, NOON)
    assert len(issued.bills) == len(flats)
    bill = next(b for b in issued.bills if b.household_id == flats["101"].id)
    # 62.40 m2 x 16.5 x 2/183 = 11.25 yuan; 463019 Wh = 1.6668684 GJ x 44.41 = 74.03 yuan
    assert [line.amount_fen for line in bill.lines] == [1125, 7403]
    assert bill.amount_fen == 8528
    assert ledger.balance_fen(chart.receivable("heat", bill.household_id).code) == 8528
    total = sum(b.amount_fen for b in issued.bills)
    assert ledger.balance_fen(chart.revenue("heat").code) == -total


def test_issuing_again_issues_nothing_and_the_billed_run_is_locked(heat):
    house, flats = heat
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    assert service.issue(house.id, "heat", FIRST, LAST, NOON).bills == []
    assert len(bills()) == len(flats)
    assert db.session.scalars(sa.select(AllocationRun.locked_at)).one() is not None


def test_a_period_that_is_not_over_is_not_billed(heat):
    house, _ = heat
    with pytest.raises(Problem) as refused:
        service.issue(house.id, "heat", FIRST, date(2026, 11, 21), NOON)
    assert refused.value.code == "period_not_over"


def test_without_a_price_nothing_is_billed(app):
    house, _ = paper18.load(FIRST)
    with pytest.raises(Problem) as refused:
        service.issue(house.id, "heat", FIRST, LAST, NOON)
    assert refused.value.code == "tariff_missing"
    assert bills() == []


def test_a_suspended_flat_pays_its_basic_part_only(heat):
    house, flats = heat
    flats["101"].suspended_from = FIRST - timedelta(days=1)
    issued = service.issue(house.id, "heat", FIRST, LAST, NOON)
    bill = next(b for b in issued.bills if b.household_id == flats["101"].id)
    assert [line.code for line in bill.lines] == ["basic"]


def test_the_explanation_leads_back_to_readings_and_never_names_a_neighbour(heat):
    house, flats = heat
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    bill = next(b for b in bills() if b.household_id == flats["101"].id)
    why = explain.explain(bill.id)
    assert why["heat"]["building_wh"] == 10_530_000
    assert why["heat"]["own_wh"] == 463_019
    assert why["heat"]["others"] == 17
    assert why["heat"]["share_percent"] == "4.39714"
    assert [r["register"] for r in why["readings"]] == [1_000_000, 11_530_000]
    text = "".join(why["sentences"])
    assert "4.39714%" in text
    assert "85.28 元" in text
    neighbours = [u for unit, u in paper18.case()["expected"]["units"].items() if unit != "101"]
    assert not any(str(wh) in text or f"{wh / 1000:,.3f}" in text for wh in neighbours)


@pytest.fixture
def water(app):
    builders.make_tariff(
        "water",
        "components",
        {
            "unit": "m3",
            "prices": {"water": "2.07", "sewage": "1.36"},
            "titles": {"water": "水费", "sewage": "污水处理费"},
        },
    )
    building = builders.make_building()
    homes = [builders.make_household(building, f"10{n}") for n in (1, 2)]
    meters = [builders.make_meter(building, home, "water", max_per_day=10_000) for home in homes]
    record(
        [
            NewReading(meters[0].id, day_start(FIRST), "collector", register=100_000),
            NewReading(meters[0].id, day_start(LAST), "collector", register=112_345),
        ]
    )
    return building, homes


def test_a_metered_utility_is_billed_by_its_own_registers(water):
    building, _homes = water
    issued = service.issue(building.id, "water", FIRST, LAST, NOON)
    (bill,) = issued.bills
    # 12.345 m3 x 2.07 = 25.55415 -> 25.55; x 1.36 = 16.7892 -> 16.79
    assert [line.amount_fen for line in bill.lines] == [2555, 1679]
    assert "12.345" in "".join(explain.explain(bill.id)["sentences"])


def test_a_flat_whose_usage_is_unknown_is_left_out_with_a_reason(water):
    building, homes = water
    builders.make_household(building, "103")  # no water meter: no customer, not left out
    issued = service.issue(building.id, "water", FIRST, LAST, NOON)
    assert list(issued.left_out) == [homes[1].id]


def test_a_payment_is_counted_once_and_never_above_the_bill(app):
    bill = builders.make_bill(builders.make_household(builders.make_building()), 1000)
    assert service.apply_payment(bill.id, 1000, NOON)
    assert not service.apply_payment(bill.id, 1000, NOON)
    db.session.refresh(bill)
    assert (bill.state, bill.paid_fen) == ("paid", 1000)


def test_a_price_change_inside_the_period_is_refused_with_what_to_do(heat):
    house, _ = heat
    builders.make_tariff("heat", "two_part", HARBIN, effective_from=FIRST + timedelta(days=1))
    with pytest.raises(Problem) as refused:
        service.issue(house.id, "heat", FIRST, LAST, NOON)
    assert refused.value.code == "tariff_missing"


def test_no_day_is_billed_twice_even_in_another_period(heat):
    house, _flats = heat
    service.issue(house.id, "heat", FIRST, FIRST + timedelta(days=1), NOON)
    assert service.issue(house.id, "heat", FIRST, LAST, NOON).bills == []


def queued():
    rows = db.session.execute(
        sa.text("SELECT args FROM procrastinate_jobs WHERE task_name = 'billing.issue'")
    )
    return [row.args for row in rows]


def test_bills_are_due_from_where_the_last_ones_ended(heat):
    house, _flats = heat
    until = date(2026, 12, 1)
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    assert tasks.defer_issue(until) == 1
    (args,) = queued()
    assert (args["period_from"], args["period_to"]) == (str(LAST), str(until))


def test_what_was_billed_to_the_end_is_not_due_again(heat):
    house, _flats = heat
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    assert tasks.defer_issue(LAST) == 0


def test_the_number_of_statements_does_not_grow_with_the_number_of_flats(heat, queries):
    house, flats = heat
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    assert len(queries) < 2 * len(flats)
