"""A paper is voided while it is fresh, taken back by red letters afterwards."""

from backend.base.db import db
from backend.billing import reversal, wallet
from backend.cashier.papers import (
    checks,
    undoing,
    worklist,
)
from backend.ledger import service as ledger
from tests.cashier.papers.conftest import invoice, refused


def test_a_red_letter_paper_takes_back_a_part_and_then_the_rest(hall):
    heat, water = hall.bill(12345), hall.bill(6401, "water")
    hall.pay(heat, water)
    made = invoice(hall, heat, water)
    parts = [
        undoing.take_back(made.paper_no, fen, "多收", hall.cashier, None, hall.clock.now())
        for fen in (1000, None)
    ]
    db.session.commit()
    assert [p.amount_fen for p in parts] == [-1000, -17746]
    assert sum(p.tax_fen for p in parts) == -made.tax_fen
    assert [p.number for p in (made, *parts)] == [1, 2, 3]
    with refused("red_too_much"):
        undoing.take_back(made.paper_no, 1, "多收", hall.cashier, None, hall.clock.now())
    with refused("red_of_red"):
        undoing.take_back(parts[0].paper_no, 1, "多收", hall.cashier, None, hall.clock.now())
    with refused("paper_not_voidable"):
        undoing.void(made.paper_no, "开错", hall.cashier, None, hall.clock.now())
    db.session.rollback()
    again = invoice(hall, heat, water, key="again")  # the money can be invoiced anew
    assert again.amount_fen == made.amount_fen
    assert ledger.check() == []


def test_above_the_limit_a_second_person_signs(hall):
    bill = hall.bill(100_001)
    hall.pay(bill)
    made = invoice(hall, bill)
    for second, code in ((None, "approval_needed"), (hall.cashier, "second_person")):
        with refused(code):
            undoing.take_back(made.paper_no, None, "退费", hall.cashier, second, hall.clock.now())
        with refused(code):
            undoing.void(made.paper_no, "开错", hall.cashier, second, hall.clock.now())
    red = undoing.take_back(
        made.paper_no, None, "退费", hall.cashier, hall.second, hall.clock.now()
    )
    assert red.second_by == hall.second.id


def test_an_invoice_is_voided_in_its_month_and_not_after_it(hall):
    bill = hall.bill()
    hall.pay(bill)
    made = invoice(hall, bill)
    hall.clock.advance(days=12)
    with refused("paper_not_voidable"):
        undoing.void(made.paper_no, "开错", hall.cashier, None, hall.clock.now())
    hall.clock.advance(days=-5)
    undoing.void(made.paper_no, "开错抬头", hall.cashier, None, hall.clock.now())
    db.session.commit()
    with refused("paper_voided"):
        undoing.void(made.paper_no, "开错", hall.cashier, None, hall.clock.now())
    db.session.rollback()
    assert invoice(hall, bill, key="again").number == 2
    assert checks.breaks() == []


def test_a_reversed_bill_leaves_its_invoice_on_the_worklist_until_it_is_taken_back(hall):
    bill = hall.bill(5000)
    hall.pay(bill)
    made = invoice(hall, bill)
    reversal.reverse(bill.id, "面积有误", hall.cashier, hall.second, hall.clock.now())
    db.session.commit()
    (task,) = worklist.waiting()
    assert (task.paper_no, task.over_fen) == (made.paper_no, 5000)
    assert worklist.put_right(hall.clock.now()) == 0  # a person's, unless the company says so
    undoing.take_back(made.paper_no, task.over_fen, task.why, hall.cashier, None, hall.clock.now())
    db.session.commit()
    assert worklist.waiting() == []


def test_by_rule_it_is_taken_back_by_itself_up_to_the_limit(hall, app):
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(paper_auto_red=True)
    small, large = hall.bill(5000), hall.bill(200_000, "water")
    hall.pay(small, large)
    made = invoice(hall, small), invoice(hall, large, key="k2")
    for bill in (small, large):
        reversal.reverse(bill.id, "面积有误", hall.cashier, hall.second, hall.clock.now())
    db.session.commit()
    assert worklist.put_right(hall.clock.now()) == 1
    assert worklist.put_right(hall.clock.now()) == 0
    assert [task.paper_no for task in worklist.waiting()] == [made[1].paper_no]
    assert checks.breaks() == []


def test_a_credit_after_the_invoice_is_to_be_taken_back(hall):
    bill = hall.bill(5000)
    hall.pay(bill)
    made = invoice(hall, bill)
    wish = wallet.Credit("cold", hall.household.id, "heat", "cold_room", 2000, "室温")
    wallet.credit(wish, hall.clock.now())
    db.session.commit()
    (task,) = worklist.waiting()
    assert (task.paper_no, task.over_fen) == (made.paper_no, 2000)
