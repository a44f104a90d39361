"""What was paid is invoiced once, to a checked title, with its tax."""

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import wallet
from backend.billing.models import Bill
from backend.cashier.papers import (
    invoices,
    numbering,
    tax,
    titles,
    worklist,
)
from backend.cashier.papers.invoices import Wanted
from backend.cashier.papers.models import Paper
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.cashier.papers.conftest import company, invoice, refused


def test_an_invoice_names_who_issued_it_and_whom_the_issuer_names(hall):
    issuer = numbering.company()
    issuer.payee, issuer.reviewer, issuer.drawer = "钱出纳", "李复核", "系统开票"
    bill, more = hall.bill(), hall.bill()
    hall.pay(bill, more)
    content = invoice(hall, bill).content
    assert (content["payee"], content["reviewer"], content["drawer"]) == (
        "钱出纳",
        "李复核",
        "zhou",
    )
    resident = Principal("resident", builders.make_resident("alice-openid").id)
    wanted = Wanted(hall.household.id, (more.id,), "invoice", None, "mine")
    made = invoices.issue(wanted, resident, hall.clock.now())
    assert made.content["drawer"] == "系统开票"


def test_an_invoice_shows_exempt_heat_and_taxed_water_and_adds_up(hall):
    heat, water = hall.bill(12345), hall.bill(6400, "water")
    hall.pay(heat, water)
    made = invoice(hall, heat, water)
    assert made.paper_no == "FP01202600000001"
    assert [(line.treatment, line.rate_bp, line.tax_fen) for line in made.lines] == [
        ("exempt", None, 0),
        ("taxed", 900, 528),
    ]
    assert (made.amount_fen, made.tax_fen) == (18745, 528)
    assert ledger.check() == []


def test_the_same_money_is_invoiced_once(hall):
    bill = hall.bill()
    hall.pay(bill)
    first = invoice(hall, bill)
    assert invoice(hall, bill).id == first.id  # the same request
    with refused("nothing_to_invoice"):
        invoice(hall, bill, key="another")
    db.session.rollback()
    assert db.session.query(Paper).filter(Paper.kind == "invoice").count() == 1
    assert invoices.invoiceable(hall.household.id) == []


def test_a_partly_paid_bill_is_invoiced_part_by_part(hall):
    bill = hall.bill(10000)
    wish = wallet.Credit("w", hall.household.id, "water", "goodwill", 4000, "退水费")
    wallet.credit(wish, hall.clock.now())
    db.session.commit()
    bill = db.session.get(Bill, bill.id, populate_existing=True)
    assert bill.paid_fen == 4000
    first = invoice(hall, bill)
    hall.pay(bill)
    second = invoice(hall, bill, key="rest")
    assert [p.amount_fen for p in (first, second)] == [4000, 6000]
    assert "部分" in first.lines[0].title


def test_an_unpaid_and_a_strangers_bill_cannot_be_invoiced(hall):
    bill = hall.bill()
    with refused("nothing_to_invoice"):
        invoice(hall, bill)
    stranger = builders.make_household(builders.make_building("B"))
    theirs = builders.make_bill(stranger, 500)
    hall.pay(theirs, household=stranger)
    with refused("not_found"):
        invoice(hall, theirs)
    with refused("not_found"):
        invoice(hall, theirs, title_id=company(hall).id, household=stranger)


def test_what_was_paid_out_of_a_credit_is_a_discount(hall):
    hall.pay(hall.bill(10000))
    wish = wallet.Credit("cold", hall.household.id, "heat", "cold_room", 3000, "室温")
    wallet.credit(wish, hall.clock.now())
    db.session.commit()
    later = hall.bill(10000)
    wallet.pay_oldest(hall.household.id, hall.clock.now())
    db.session.commit()
    hall.pay(db.session.get(Bill, later.id, populate_existing=True))
    made = invoice(hall, *db.session.scalars(sa.select(Bill)).all())
    assert made.amount_fen == 17000  # what the household really paid
    assert (made.lines[-1].title, made.lines[-1].amount_fen) == (invoices.DISCOUNT, -3000)
    assert worklist.waiting() == []


def test_a_special_invoice_wants_a_whole_company_title_and_taxed_lines(hall):
    heat, water = hall.bill(), hall.bill(6400, "water")
    hall.pay(heat, water)
    with refused("special_refused"):
        invoice(hall, water, kind="special")
    whole, bare = company(hall), company(hall, name="另一家公司", bank="")
    with refused("special_refused"):
        invoice(hall, water, kind="special", title_id=bare.id)
    with refused("special_refused"):
        invoice(hall, heat, kind="special", title_id=whole.id)
    db.session.rollback()
    made = invoice(hall, water, kind="special", title_id=whole.id)
    assert made.paper_no == "ZP01202600000001"


def test_a_line_without_a_tax_rate_is_refused(hall):
    gas = hall.bill(500, "gas")
    hall.pay(gas)
    db.session.execute(sa.text("DELETE FROM tax_rate WHERE utility = 'gas'"))
    db.session.commit()
    with refused("tax_rate_missing"):
        invoice(hall, gas)


def test_a_rate_ends_where_its_successor_begins_and_two_sign(hall):
    day = hall.clock.now().date()
    new = ("water", "", "residential", "taxed", 300, day, "简易计税")
    for second, code in ((None, "approval_needed"), (hall.cashier, "second_person")):
        with refused(code):
            tax.put(*new, hall.cashier, second)
    tax.put(*new, hall.cashier, hall.second)
    db.session.commit()
    held = tax.holding("residential", day)
    assert tax.rate_for(held, "water", "usage") == ("taxed", 300)
    with refused("tax_rate_overlap"):
        tax.put(*new, hall.cashier, hall.second)


def test_a_title_is_checked_and_one_is_the_default(hall):
    for wrong, field in (
        ({"tax_id": "91110108551385082A"}, "tax_id"),
        ({"tax_id": ""}, "tax_id"),
        ({"bank_account": "abc"}, "bank_account"),
        ({"name": "x"}, "name"),
    ):
        with pytest.raises(Problem) as caught:
            company(hall, **wrong)
        assert caught.value.field == field
    first, second = company(hall), company(hall, name="另一家公司")
    assert company(hall).id == first.id  # the same again
    assert [(t["id"], t["is_default"]) for t in titles.of_household(hall.household.id)] == [
        (first.id, True),
        (second.id, False),
    ]
    titles.make_default(second)
    titles.drop(first, hall.cashier, hall.clock.now())
    db.session.commit()
    (left,) = titles.of_household(hall.household.id)
    assert (left["name"], left["tax_id"], left["is_default"]) == (
        "另一家公司",
        "91110108551385082Q",
        True,
    )
    kept = db.session.execute(sa.text("SELECT sealed FROM invoice_title")).scalars().all()
    assert not any("公司".encode() in bytes(row) for row in kept)
