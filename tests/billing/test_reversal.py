"""A bill is taken back whole, by two persons; what was paid on it pays the next one."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests, reversal, service, wallet
from backend.billing.models import Adjustment, Bill
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders, paper18
from tests.builders import NOON

FIRST = date(2026, 11, 17)
LAST = FIRST + timedelta(days=2)
HARBIN = {"k1": "16.5", "k2": "44.41", "season_days": 183}


@pytest.fixture
def people(app):
    clerk = builders.make_staff("clerk", roles=["finance"])
    boss = builders.make_staff("boss", roles=["finance", "manager"])
    roles = frozenset({"finance", "manager"})
    return Principal("staff", clerk.id, frozenset({"finance"})), Principal("staff", boss.id, roles)


@pytest.fixture
def home(app):
    return builders.make_household(builders.make_building())


def test_a_reversed_bill_leaves_nothing_owed_and_the_ledger_sound(people, home):
    bill = builders.make_bill(home, 12345)
    made = reversal.reverse(bill.id, "面积有误", *people, NOON)
    assert (made.amount_fen, made.kind, made.about_id) == (-12345, "reversal", bill.id)
    assert db.session.get(Bill, bill.id).state == "reversed"
    assert ledger.balance_fen(chart.receivable("heat", home.id).code) == 0
    assert ledger.balance_fen(chart.revenue("heat").code) == 0
    assert ledger.check() == []


def test_what_was_paid_becomes_the_balance_and_pays_the_oldest_open_bill_first(people, home):
    paid = builders.make_bill(home, 10_000)
    pay(paid, 10_000)
    older = builders.make_bill(home, 7_000, due_on=date(2026, 10, 1))
    newer = builders.make_bill(home, 7_000, due_on=date(2026, 10, 2))
    reversal.reverse(paid.id, "重复出账", *people, NOON)
    for row in (older, newer):
        db.session.refresh(row)
    assert (older.state, older.paid_fen, newer.state, newer.paid_fen) == (
        *("paid", 7_000),
        *("issued", 3_000),
    )
    assert wallet.held_fen(home.id) == 0
    assert [line for line in ledger.check() if "order" not in line] == []


def pay(bill, fen):
    assert service.apply_payment(bill.id, fen, NOON)
    ledger.post(
        f"cash:{bill.bill_no}",
        "cash",
        NOON,
        [(chart.bank("till"), fen), (chart.receivable(bill.utility, bill.household_id), -fen)],
    )
    db.session.commit()


def test_the_period_of_a_reversed_bill_can_be_billed_again(app, people):
    builders.make_tariff("heat", "two_part", HARBIN)
    house, flats = paper18.load(FIRST)
    service.issue(house.id, "heat", FIRST, LAST, NOON)
    first = db.session.scalars(sa.select(Bill).where(Bill.household_id == flats["101"].id)).one()
    reversal.reverse(first.id, "面积有误", *people, NOON)
    flats["101"].area_dm2 += 100
    (again,) = service.issue(house.id, "heat", FIRST, LAST, NOON).bills
    assert again.bill_no == f"{first.bill_no}-2"
    assert again.amount_fen > first.amount_fen
    assert again.run_id == first.run_id  # the others' bills still stand on the same sharing
    assert ledger.check() == []


def test_one_person_alone_cannot_reverse_a_bill(people, home):
    bill = builders.make_bill(home, 100)
    clerk, _ = people
    with pytest.raises(Problem) as refused:
        reversal.reverse(bill.id, "面积有误", clerk, clerk, NOON)
    assert refused.value.code == "second_person"


def test_a_bill_is_reversed_once(people, home):
    bill = builders.make_bill(home, 100)
    made = reversal.reverse(bill.id, "面积有误", *people, NOON)
    for number in (bill.id, made.id):
        with pytest.raises(Problem) as refused:
            reversal.reverse(number, "面积有误", *people, NOON)
        assert refused.value.code == "bill_not_standing"


def test_a_request_waits_for_somebody_else_and_is_decided_once(people, home):
    clerk, boss = people
    bill = builders.make_bill(home, 100)
    request = requests.ask_reversal(bill.id, "面积有误", clerk, NOON)
    with pytest.raises(Problem) as again:
        requests.ask_reversal(bill.id, "面积有误", clerk, NOON)
    with pytest.raises(Problem) as alone:
        requests.approve(request.id, clerk, NOON)
    done = requests.approve(request.id, boss, NOON)
    with pytest.raises(Problem) as late:
        requests.refuse(request.id, boss, NOON)
    codes = [e.value.code for e in (again, alone, late)]
    assert codes == ["request_open", "second_person", "request_decided"]
    assert done.result == {"bill_no": f"R{bill.bill_no}"}


def test_a_request_without_a_reason_is_refused(people, home):
    bill = builders.make_bill(home, 100)
    with pytest.raises(Problem) as refused:
        requests.ask_reversal(bill.id, " ", people[0], NOON)
    assert refused.value.code == "reason_missing"


def test_a_credit_pays_what_is_owed_and_is_never_edited(people, home):
    bill = builders.make_bill(home, 1_000)
    clerk, boss = people
    request = requests.ask_credit(home.id, "heat", 300, "多收费用更正", clerk, NOON)
    requests.approve(request.id, boss, NOON)
    db.session.refresh(bill)
    assert (bill.paid_fen, wallet.held_fen(home.id)) == (300, 0)
    assert ledger.check() == []
    db.session.commit()
    with pytest.raises(IntegrityError, match="append-only"):
        db.session.execute(sa.update(Adjustment).values(credit_fen=1))
    db.session.rollback()
