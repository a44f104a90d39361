"""A season is settled once: what was billed against what it came to, capped, to the fen."""

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import reversal, rules, season, season_rules, service, wallet
from backend.billing.lines import total_fen
from backend.billing.models import Adjustment, Bill
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.metering.service import NewReading, record
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON

BEGIN, MIDDLE, END = date(2026, 10, 20), date(2026, 11, 1), date(2026, 11, 19)
PRICE = {
    "k1": "16.5",
    "k2": "44.41",
    "season_days": 30,
    "area_price": "38.32",
    "cap_ratio": "1",
}


@given(
    st.integers(1, 10**6),
    st.integers(0, 10**9),
    st.integers(0, 10**7),
    st.decimals("0", "200", places=3),
    st.decimals("0", "200", places=2),
    st.decimals("0", "2", places=2),
)
def test_the_arithmetic_over_arrays_is_that_of_the_rule(area, heat, paid, k1, k2, ratio):
    params = {"k1": str(k1), "k2": str(k2), "area_price": "38.32", "cap_ratio": str(ratio)}
    one = season_rules.season_fees(*(np.array([n]) for n in (area, heat, paid)), params)
    m2, gj = Decimal(area).scaleb(-2), Decimal(heat) * Decimal("0.0000036")
    lines = rules.two_part_heat(m2, gj, k1, k2)
    capped = rules.cap_lines(lines, m2, Decimal("38.32"), ratio)
    assert int(one.fee_fen[0]) == total_fen(capped)
    assert int(one.due_fen[0]) == rules.settlement_fen(capped, paid)


def test_what_cannot_be_exact_in_64_bits_is_refused():
    with pytest.raises(ValueError, match="64 bits"):
        season_rules.product_fen(np.array([10**15]), Decimal("123456.789"))


@pytest.fixture
def home(app):
    builders.make_tariff("heat", "two_part", PRICE)
    household = builders.make_household(builders.make_building())
    builders.make_meter(household.building, household, "heat", max_per_day=10**9)
    return household


def heat(home, *wh):
    """Registers at BEGIN, MIDDLE and END."""
    from backend.archive.models import Meter

    meter = db.session.scalars(sa.select(Meter).where(Meter.household_id == home.id)).one()
    record(
        [
            NewReading(meter.id, day_start(day), "collector", register=value)
            for day, value in zip((BEGIN, MIDDLE, END), wh, strict=True)
        ]
    )


def settle(home):
    return season.settle(home.building_id, BEGIN, END, NOON)


def test_monthly_bills_are_settled_to_what_the_whole_season_comes_to(home):
    heat(home, 0, 400_000, 1_000_000)
    for begin, end in ((BEGIN, MIDDLE), (MIDDLE, END)):
        service.issue(home.building_id, "heat", begin, end, NOON)
    settled = settle(home)
    # 62.40 x 16.5 = 1029.60; 3.6 GJ x 44.41 = 159.88: below the cap; billed is the same sum
    assert [b.amount_fen for b in settled.bills] == [0]
    assert settled.left_out == {}
    assert settle(home).bills == []
    assert ledger.check() == []


def test_above_the_cap_the_difference_goes_back_and_pays_what_is_owed(home):
    heat(home, 0, 4_000_000, 10_000_000)
    for begin, end in ((BEGIN, MIDDLE), (MIDDLE, END)):
        service.issue(home.building_id, "heat", begin, end, NOON)
    (credit,) = settle(home).credits
    billed = db.session.scalar(sa.select(sa.func.sum(Bill.amount_fen)))
    assert billed - credit.credit_fen == 239_117  # 62.40 x 38.32 = 2391.168
    owed = ledger.balance_fen(chart.receivable("heat", home.id).code)
    assert (owed, wallet.held_fen(home.id)) == (239_117, 0)
    assert settle(home).credits == []
    assert ledger.check() == []


def test_who_paid_by_area_in_advance_gets_back_what_he_did_not_use(home):
    (bill,) = season.advance(home.building_id, BEGIN, END, date(2026, 10, 31), NOON)
    assert bill.amount_fen == 239_117
    assert season.advance(home.building_id, BEGIN, END, date(2026, 10, 31), NOON) == []
    heat(home, 0, 400_000, 1_000_000)
    assert service.issue(home.building_id, "heat", BEGIN, MIDDLE, NOON).bills == []
    (credit,) = settle(home).credits
    assert credit.credit_fen == 239_117 - (102_960 + 15_988)
    assert ledger.check() == []


def test_a_settlement_taken_back_is_made_again(home):
    heat(home, 0, 400_000, 1_000_000)
    for begin, end in ((BEGIN, MIDDLE), (MIDDLE, END)):
        service.issue(home.building_id, "heat", begin, end, NOON)
    (first,) = settle(home).bills
    people = [Principal("staff", builders.make_staff(name).id) for name in ("a", "b")]
    reversal.reverse(first.id, "重算", *people, NOON)
    (again,) = settle(home).bills
    assert (again.bill_no, again.state) == (f"{first.bill_no}-2", "paid")
    assert ledger.check() == []


@pytest.fixture
def cost(home, queries):
    """How many statements settling a building of so many homes takes, credits and all."""

    def of(homes):
        building = builders.make_building(f"S{homes}", home.building.region)
        for n in range(homes):
            flat = builders.make_household(building, f"{n + 1}01")
            builders.make_meter(building, flat, "heat", max_per_day=10**9)
            heat(flat, 0, 4_000_000, 10_000_000)
        for begin, end in ((BEGIN, MIDDLE), (MIDDLE, END)):
            service.issue(building.id, "heat", begin, end, NOON)
        queries.clear()
        assert len(season.settle(building.id, BEGIN, END, NOON).credits) == homes
        return len(queries)

    return of


def test_what_a_season_gives_back_takes_as_many_statements_however_many_homes_there_are(cost):
    assert cost(2) == cost(7)
    assert ledger.check() == []


def test_days_nobody_billed_are_named_and_nothing_is_settled(home):
    heat(home, 0, 400_000, 1_000_000)
    service.issue(home.building_id, "heat", BEGIN, MIDDLE, NOON)
    (why,) = settle(home).left_out.values()
    assert "2026-11-01 至 2026-11-18 尚未出账" in why
    assert db.session.scalar(sa.select(sa.func.count(Adjustment.id))) == 0


def test_a_season_that_is_not_over_is_not_settled(home):
    with pytest.raises(Problem) as refused:
        season.settle(home.building_id, BEGIN, END + timedelta(days=30), NOON)
    assert refused.value.code == "period_not_over"
    assert "2026-12-19" in refused.value.detail
