"""Late fees are bills by the pure rule: at payment, by month or by day, never twice, never waived
and back again."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.base.clock import business_day
from backend.base.db import db
from backend.billing import lateness, reversal, service, tasks, topics
from backend.billing.models import Bill
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON

TODAY = business_day(NOON)  # 2026-11-20
DUE = date(2026, 11, 10)


@pytest.fixture
def home(app):
    return builders.make_household(builders.make_building())


def rule(**params):
    topics.put(
        "late_fee",
        "heat",
        None,
        {"enabled": True, "rate": "0.001", **params},
        date(2026, 1, 1),
        None,
        None,
        NOON,
    )


def late_bills():
    return db.session.scalars(
        sa.select(Bill).where(Bill.kind == "late_fee").order_by(Bill.id)
    ).all()


def pay(bill, fen, at):
    assert service.apply_payment(bill.id, fen, at)
    lines = [(chart.bank("till"), fen), (chart.receivable("heat", bill.household_id), -fen)]
    ledger.post(f"cash:{bill.bill_no}:{fen}", "cash", at, lines)
    db.session.commit()


def test_nobody_pays_late_fees_where_no_rule_says_so(home):
    builders.make_bill(home, 100_000, DUE)
    assert lateness.post_building(home.building_id, NOON) == []


def test_an_unpaid_bill_accrues_by_the_day_and_each_day_once(home, clock):
    rule(post="daily")
    builders.make_bill(home, 100_000, DUE)
    # 9 days by the end of yesterday, a thousandth of 1,000 yuan each
    assert [b.amount_fen for b in lateness.post_building(home.building_id, NOON)] == [900]
    assert lateness.post_building(home.building_id, NOON) == []
    later = clock.advance(days=2)
    (more,) = lateness.post_building(home.building_id, later)
    assert more.amount_fen == 200
    assert ledger.balance_fen(chart.revenue("late_fee").code) == -1100
    assert ledger.check() == []


def test_a_bill_paid_late_gets_its_fee_the_night_after_counting_the_day_of_payment(home):
    rule()
    bill = builders.make_bill(home, 100_000, DUE)
    pay(bill, 60_000, NOON - timedelta(days=5))
    assert lateness.post_building(home.building_id, NOON) == []  # by month's end, not today
    pay(bill, 40_000, NOON)
    (fee,) = lateness.post_building(home.building_id, NOON + timedelta(days=1))
    # 5 days of 1,000 yuan, 5 days of 400 yuan
    assert fee.amount_fen == 500 + 200
    assert lateness.post_building(home.building_id, NOON + timedelta(days=2)) == []


def test_a_bill_paid_in_time_has_none(home):
    rule()
    bill = builders.make_bill(home, 100_000, TODAY)
    pay(bill, 100_000, NOON)
    assert lateness.post_building(home.building_id, NOON + timedelta(days=1)) == []


def test_a_fee_never_exceeds_the_principal(home):
    rule(post="daily", rate="0.01")
    builders.make_bill(home, 1_000, DUE - timedelta(days=300))
    (fee,) = lateness.post_building(home.building_id, NOON)
    assert fee.amount_fen == 1_000


def test_what_was_waived_does_not_come_back_and_a_reversed_bill_takes_its_fee_along(home):
    rule(post="daily")
    people = [Principal("staff", builders.make_staff(name).id) for name in ("a", "b")]
    bill = builders.make_bill(home, 100_000, DUE)
    (fee,) = lateness.post_building(home.building_id, NOON)
    reversal.reverse(fee.id, "减免", *people, NOON)
    assert lateness.post_building(home.building_id, NOON) == []
    (more,) = lateness.post_building(home.building_id, NOON + timedelta(days=1))
    reversal.reverse(bill.id, "面积有误", *people, NOON + timedelta(days=1))
    assert {b.state for b in late_bills()} == {"reversed"}
    assert more.amount_fen == 100
    assert ledger.balance_fen(chart.receivable("heat", home.id).code) == 0
    assert ledger.balance_fen(chart.revenue("late_fee").code) == 0
    assert ledger.check() == []


def test_late_fees_do_not_keep_a_period_from_being_billed(home):
    rule(post="daily")
    bill = builders.make_bill(home, 100_000, DUE)
    builders.make_meter(home.building, home, "heat")
    lateness.post_building(home.building_id, NOON)
    tasks.defer_issue(date(2026, 12, 1))
    begin = db.session.scalar(sa.text("SELECT args->>'period_from' FROM procrastinate_jobs"))
    assert begin == str(bill.period_to)


def test_the_night_enqueues_a_task_a_building_once(home):
    rule(post="daily")
    builders.make_bill(home, 100_000, DUE)
    assert [tasks.defer_nightly(TODAY) for _ in range(2)] == [2, 2]  # and the homes' comparison
    names = db.session.scalars(sa.text("SELECT task_name FROM procrastinate_jobs")).all()
    assert sorted(names) == ["billing.late_fees", "billing.peers"]
