"""What was deducted from a prepaid account is invoiced once, and never more of it."""

import threading
from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import wallet
from backend.billing.models import Handover
from backend.cashier.papers import checks, deductions, invoices, undoing, worklist
from backend.cashier.papers.deductions import Night
from backend.cashier.papers.invoices import Wanted
from backend.cashier.papers.models import PaperDeduction
from tests import builders
from tests.cashier.papers.conftest import Ahead, refused

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)


class Prepaid(Ahead):
    """The same, asking for its invoices."""

    def left(self):
        today = business_day(self.hall.clock.now())
        return {
            row["month"]: row["left_fen"]
            for row in deductions.invoiceable(self.household.id, today)
        }

    def invoice(self, *months, key="k1", household=None, kind="invoice"):
        who = household or self.household
        wanted = Wanted(
            who.id, (), kind, None, key, months=tuple(("water", month) for month in months)
        )
        made = invoices.issue(wanted, self.hall.cashier, self.hall.clock.now())
        db.session.commit()
        return made


@pytest.fixture
def prepaid(hall):
    return Prepaid(hall)


def test_a_month_of_deductions_is_a_line_with_its_tax_and_what_was_used(prepaid):
    prepaid.nights(*[300] * 7, *[400] * 3)  # 25 to 31 October, 1 to 3 November
    assert prepaid.left() == {"2026-10": 2100, "2026-11": 1200}
    made = prepaid.invoice(OCTOBER, NOVEMBER)
    first, second = made.lines
    assert first.title == "2026年10月25日至10月31日 水费（预付费）"
    assert (first.amount_fen, first.tax_fen, first.rate_bp) == (2100, 173, 900)
    assert (first.quantity, first.unit, second.amount_fen) == (7, "m³", 1200)
    assert [part.amount_fen for part in second.deductions] == [400] * 3
    assert prepaid.left() == {}
    assert checks.breaks() == worklist.waiting() == []


def test_the_days_after_an_invoice_go_onto_the_next(prepaid):
    prepaid.nights(*[300] * 7, 400)
    prepaid.invoice(NOVEMBER)
    prepaid.nights(500, 600)
    assert prepaid.left()["2026-11"] == 1100
    made = prepaid.invoice(NOVEMBER, key="k2")
    assert made.lines[0].title == "2026年11月2日至11月3日 水费（预付费）"
    assert made.amount_fen == 1100
    with refused("nothing_to_invoice"):
        prepaid.invoice(NOVEMBER, key="k3")


def test_the_same_request_is_the_same_invoice(prepaid):
    prepaid.nights(300)
    assert prepaid.invoice(OCTOBER).id == prepaid.invoice(OCTOBER).id


def test_an_overdraft_is_not_invoiced_until_it_is_paid(hall):
    prepaid = Prepaid(hall, paid_fen=1000)
    prepaid.nights(*[300] * 5)
    assert prepaid.left() == {"2026-10": 1000}
    made = prepaid.invoice(OCTOBER)
    assert [part.amount_fen for part in made.lines[0].deductions] == [300, 300, 300, 100]
    prepaid.pays(500, "till-2")
    assert prepaid.left() == {"2026-10": 500}


def test_a_correction_lowers_its_month(prepaid):
    prepaid.nights(300, 300, -200)
    assert prepaid.left() == {"2026-10": 400}
    assert prepaid.invoice(OCTOBER).amount_fen == 400


def test_what_is_corrected_after_its_invoice_is_to_be_taken_back(prepaid):
    prepaid.nights(*[300] * 6)
    made = prepaid.invoice(OCTOBER)
    prepaid.nights(-500)
    (task,) = worklist.waiting()
    assert (task.paper_no, task.over_fen) == (made.paper_no, 500)
    hall = prepaid.hall
    red = undoing.take_back(made.paper_no, 500, task.why, hall.cashier, None, hall.clock.now())
    db.session.commit()
    # The newest days first, so that the paper's oldest stand.
    assert [(part.day.day, part.amount_fen) for part in red.lines[0].deductions] == [
        (29, -200),
        (30, -300),
    ]
    assert worklist.waiting() == []
    assert prepaid.left() == {}  # the month came to 1300, and so much is invoiced
    assert checks.breaks() == []


def test_what_red_letters_took_back_can_be_invoiced_again(prepaid):
    prepaid.nights(*[300] * 3)
    made, hall = prepaid.invoice(OCTOBER), prepaid.hall
    for fen in (350, None):
        undoing.take_back(made.paper_no, fen, "抬头有误", hall.cashier, None, hall.clock.now())
        db.session.commit()
    assert prepaid.left() == {"2026-10": 900}
    assert prepaid.invoice(OCTOBER, key="again").amount_fen == 900


def test_a_voided_invoice_frees_its_days(prepaid):
    prepaid.nights(300)
    made, hall = prepaid.invoice(OCTOBER), prepaid.hall
    undoing.void(made.paper_no, "抬头有误", hall.cashier, None, hall.clock.now())
    db.session.commit()
    assert prepaid.left() == {"2026-10": 300}


def test_a_credit_makes_a_discount_of_deductions_as_of_bills(prepaid):
    prepaid.nights(*[300] * 4)
    wish = wallet.Credit("w", prepaid.household.id, "water", "goodwill", 200, "退水费")
    wallet.credit(wish, prepaid.hall.clock.now())
    db.session.commit()
    made = prepaid.invoice(OCTOBER)
    assert [line.amount_fen for line in made.lines] == [1200, -200]


def test_bills_and_deductions_stand_on_one_invoice(prepaid):
    hall = prepaid.hall
    bill = hall.bill(5000)
    hall.pay(bill)
    prepaid.nights(300)
    wanted = Wanted(
        hall.household.id, (bill.id,), "invoice", None, "k", months=(("water", OCTOBER),)
    )
    made = invoices.issue(wanted, hall.cashier, hall.clock.now())
    db.session.commit()
    assert [line.treatment for line in made.lines] == ["exempt", "taxed"]
    assert made.amount_fen == 5300


def test_a_strangers_deductions_are_nobody_elses(prepaid):
    prepaid.nights(300)
    stranger = builders.make_household(builders.make_building("B"))
    with refused("nothing_to_invoice"):
        prepaid.invoice(OCTOBER, household=stranger)
    db.session.rollback()
    assert prepaid.left() == {"2026-10": 300}


def test_what_an_earlier_owner_used_is_not_the_next_ones(prepaid):
    prepaid.nights(*[300] * 4)
    made = Handover(
        household_id=prepaid.household.id,
        moved_on=date(2026, 10, 27),
        old_name_sealed=b"-",
        old_phone_sealed=b"-",
        state="done",
        asked_by=prepaid.hall.second.id,
        asked_at=prepaid.hall.clock.now(),
    )
    db.session.add(made)
    db.session.commit()
    assert prepaid.left() == {"2026-10": 600}


def test_twenty_at_once_over_one_month_issue_one_invoice(prepaid, in_threads):
    prepaid.nights(*[300] * 5)

    def one(n):
        try:
            return prepaid.invoice(OCTOBER, key=f"k{n}").amount_fen
        except Problem as problem:
            db.session.rollback()
            return problem.code

    came = Counter(in_threads(20, one))
    assert came == {1500: 1, "nothing_to_invoice": 19}
    assert checks.breaks() == []


def test_two_programs_that_forget_to_wait_are_stopped_by_the_database(
    prepaid, in_threads, monkeypatch
):
    prepaid.nights(*[300] * 5)
    start = threading.Barrier(2)
    monkeypatch.setattr(invoices, "hold", lambda _name: None)
    found = deductions.left
    monkeypatch.setattr(
        deductions, "left", lambda *asked: [found(*asked), start.wait(30)][0]
    )  # both have counted before either issues

    def one(n):
        try:
            return prepaid.invoice(OCTOBER, key=f"k{n}").amount_fen
        except DBAPIError as error:
            db.session.rollback()
            return "invoices of 600 fen over 300 fen" in str(error)

    assert sorted(in_threads(2, one)) == [True, 1500]
    assert checks.breaks() == []


def test_the_database_refuses_lines_that_are_not_the_sum_of_their_deductions(prepaid):
    prepaid.nights(300, 300)
    made = prepaid.invoice(OCTOBER)
    more = PaperDeduction(
        paper_id=made.id,
        seq=1,
        day=date(2026, 10, 27),
        household_id=prepaid.household.id,
        utility="water",
        amount_fen=100,
    )
    prepaid.nights(300)
    db.session.add(more)
    with pytest.raises(DBAPIError, match="is not the sum of its deductions"):
        db.session.commit()
    db.session.rollback()


def test_a_hundred_nights_ask_as_many_questions_as_one(prepaid, queries):
    def asked(key, month):
        db.session.expunge_all()
        queries.clear()
        prepaid.invoice(month, key=key)
        return len(queries)

    prepaid.nights(300)
    asked("warm", OCTOBER)
    prepaid.nights(300)
    few = asked("few", OCTOBER)
    prepaid.nights(*[300] * 30)
    assert asked("many", NOVEMBER) == few


NIGHTS = st.lists(st.tuples(st.integers(-500, 1000), st.integers(0, 1000)), min_size=1, max_size=70)


@given(NIGHTS, st.integers(0, 20_000))
def test_never_more_is_left_than_was_deducted_of_a_day_a_month_and_in_all(drawn, unpaid_fen):
    nights = [
        Night(OCTOBER + timedelta(n), fen, 10, min(max(0, fen), invoiced))
        for n, (fen, invoiced) in enumerate(drawn)
    ]
    by_day = {night.day: night for night in nights}
    for month in deductions.months("water", nights, unpaid_fen):
        mine = [night for night in nights if night.day.replace(day=1) == month.month]
        for day, fen in month.days:
            assert 0 < fen <= by_day[day].deduction_fen - by_day[day].invoiced_fen
        invoiced_fen = sum(night.invoiced_fen for night in mine)
        assert 0 < month.left_fen <= sum(n.deduction_fen for n in mine) - invoiced_fen
    taken = sum(m.left_fen for m in deductions.months("water", nights, unpaid_fen))
    positive = sum(max(0, n.deduction_fen) - n.invoiced_fen for n in nights)
    assert taken <= positive
    assert deductions.months("water", nights, 10**9) == []  # all unpaid: nothing
