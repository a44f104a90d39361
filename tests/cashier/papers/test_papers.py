"""Papers are numbered without gaps, never issued twice over the same money, never edited."""

import threading

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import reversal, wallet
from backend.billing.models import Bill
from backend.cashier import asking, counter, refund_desk, service, topups
from backend.cashier.papers import (
    checks,
    invoices,
    issuing,
    numbering,
    receipts,
    tax,
    titles,
    undoing,
    worklist,
)
from backend.cashier.papers.invoices import Wanted
from backend.cashier.papers.models import Paper, PaperSeries, PaperVoid
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.outside import work


def refused(code):
    return pytest.raises(Problem, match=f"^{code}:")


def invoice(hall, *bills, kind="invoice", title_id=None, key="k1", household=None):
    who = household or hall.household
    wanted = Wanted(who.id, tuple(b.id for b in bills), kind, title_id, key)
    made = invoices.issue(wanted, hall.cashier, hall.clock.now())
    db.session.commit()
    return made


def company(hall, **more):
    given = {
        "name": "样张（北京）科技有限公司",
        "tax_id": "9111 0108 5513 8508 2q",
        "address": "海淀区",
        "phone": "010-5555000",
        "bank": "工商银行",
        "bank_account": "3500 0401 0900",
        **more,
    }
    party = titles.checked("company", given)
    made = titles.add(hall.household.id, party, False, hall.cashier, hall.clock.now())
    db.session.commit()
    return made


def test_a_counter_payment_has_its_receipt_with_the_next_number(hall):
    first = hall.pay(hall.bill(), topup_fen=500)
    second = hall.pay(hall.bill(700, "water"))
    papers = [issuing.known(receipts.counter_key(p.receipt_no)) for p in (first, second)]
    assert [p.paper_no for p in papers] == ["SJ01202600000001", "SJ01202600000002"]
    assert [p.amount_fen for p in papers] == [12845, 700]
    assert [(line.title, line.amount_fen) for line in papers[0].lines] == [
        ("2026年10月 热费", 12345),
        (receipts.TOPUP, 500),
    ]
    assert titles.opened(papers[0].party_sealed, issuing.PARTY).name == "张㛃"
    assert ledger.check() == []


def test_a_voided_payments_receipt_is_voided_and_its_number_is_never_used_again(hall):
    first = hall.pay(hall.bill())
    counter.void(hall.cashier, first.receipt_no, "收错户", None, hall.clock.now())
    db.session.commit()
    paper = issuing.known(receipts.counter_key(first.receipt_no))
    assert (paper.void.reason, paper.number) == ("收错户", 1)
    hall.pay(hall.bill(700, "water"))
    (row,) = numbering.report()
    assert (row["papers"], row["voided"], row["last_no"], row["gapless"]) == (2, 1, 2, True)
    assert row["amount_fen"] == 700
    assert ledger.check() == []


def test_a_payment_that_is_refused_takes_no_number(hall):
    bill = hall.bill()
    hall.pay(bill)
    with refused("bill_not_payable"):
        hall.pay(bill, topup_fen=100)
    db.session.rollback()
    hall.pay(hall.bill(900))
    assert [row["last_no"] for row in numbering.report()] == [2]


def test_a_channel_payment_has_one_receipt_swept_up_or_asked_for(hall, phone):
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, hall.household)
    order, pay = service.create_order(alice.id, [hall.bill().id], service.Door(), hall.clock.now())
    with refused("nothing_paid"):
        receipts.for_order(order.out_trade_no, hall.clock.now())
    db.session.rollback()
    phone.pay(pay)
    asking.refresh(order.out_trade_no, hall.clock.now())
    assert receipts.issue_missing(hall.clock.now()) == 1
    assert receipts.issue_missing(hall.clock.now()) == 0
    paper = receipts.for_order(order.out_trade_no, hall.clock.now())
    assert (paper.amount_fen, paper.content["method"], paper.number) == (12345, "微信支付", 1)
    assert paper.content["reference"]
    assert ledger.check() == []


def test_a_top_up_over_a_channel_has_its_receipt(hall, phone):
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, hall.household)
    wish = topups.Wish(hall.household.id, "wallet", 5000)
    order, pay = topups.create(alice.id, wish, service.Door(), hall.clock.now())
    phone.pay(pay)
    asking.refresh(order.out_trade_no, hall.clock.now())
    paper = receipts.for_order(order.out_trade_no, hall.clock.now())
    db.session.commit()
    assert [(line.title, line.amount_fen) for line in paper.lines] == [(receipts.TOPUP, 5000)]


def test_a_payment_that_went_back_whole_has_no_receipt(hall, phone):
    bill = hall.bill()
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, hall.household)
    order, pay = service.create_order(alice.id, [bill.id], service.Door(), hall.clock.now())
    db.session.execute(sa.update(Bill).values(state="issued"))
    db.session.commit()
    db.session.execute(sa.text("UPDATE order_item SET open = false"))
    db.session.execute(sa.text("UPDATE payment_order SET state = 'paying'"))
    db.session.commit()
    hall.pay(db.session.get(Bill, bill.id, populate_existing=True))
    phone.pay(pay)
    asking.refresh(order.out_trade_no, hall.clock.now())
    assert receipts.issue_missing(hall.clock.now()) == 0
    with refused("nothing_paid"):
        receipts.for_order(order.out_trade_no, hall.clock.now())


def paid_over_wechat(hall, phone, fen=12345):
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, hall.household)
    wish = topups.Wish(hall.household.id, "wallet", fen)
    order, pay = topups.create(alice.id, wish, service.Door(), hall.clock.now())
    phone.pay(pay)
    asking.refresh(order.out_trade_no, hall.clock.now())
    receipts.issue_missing(hall.clock.now())
    return order


def give_back(hall, order, fen, key, database):
    wish = refund_desk.Wanted(order.out_trade_no, fen)
    refund = refund_desk.ask(wish, "用户申请退款", key, hall.cashier, hall.clock.now())
    db.session.commit()
    work(database)
    assert refund_desk.refund_of(refund.out_refund_no).state == "done"


def test_the_receipt_of_a_payment_given_back_is_to_be_taken_back(hall, phone, database):
    order = paid_over_wechat(hall, phone, 5000)
    receipt = receipts.for_order(order.out_trade_no, hall.clock.now())
    assert worklist.waiting() == []
    give_back(hall, order, 2000, "part", database)
    (task,) = worklist.waiting()
    assert (task.paper_no, task.kind, task.over_fen) == (receipt.paper_no, "receipt", 2000)
    assert task.why == "这笔收款已退款"
    now = hall.clock.now()
    undoing.take_back(receipt.paper_no, 2000, task.why, hall.cashier, None, now)
    db.session.commit()
    assert worklist.waiting() == []
    give_back(hall, order, 3000, "rest", database)
    assert [task.over_fen for task in worklist.waiting()] == [3000]  # less what was taken back
    assert checks.breaks() == []


def test_a_payment_given_back_is_taken_back_by_itself_where_the_rule_says_so(
    hall, phone, database, app
):
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(paper_auto_red=True)
    order = paid_over_wechat(hall, phone, 5000)
    give_back(hall, order, 5000, "all", database)
    assert worklist.put_right(hall.clock.now()) == 1
    assert worklist.waiting() == []
    red = db.session.query(Paper).filter(Paper.about_id.isnot(None)).one()
    assert (red.kind, red.amount_fen, red.number) == ("receipt", -5000, 2)


def test_a_voided_receipt_has_nothing_to_take_back(hall, phone, database):
    order = paid_over_wechat(hall, phone, 5000)
    receipt = receipts.for_order(order.out_trade_no, hall.clock.now())
    undoing.void(receipt.paper_no, "用户退款", hall.cashier, None, hall.clock.now())
    db.session.commit()
    give_back(hall, order, 5000, "all", database)
    assert worklist.waiting() == []


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


def test_a_branch_issues_under_its_own_code(hall):
    region = builders.make_region("城西分公司")
    db.session.execute(
        sa.text("INSERT INTO paper_issuer (code, region_id, name) VALUES ('02', :r, '城西热力')"),
        {"r": region.id},
    )
    db.session.commit()
    west = builders.make_household(builders.make_building("W", region))
    hall.pay(builders.make_bill(west, 500), household=west)
    hall.pay(hall.bill())
    assert sorted(db.session.scalars(sa.select(Paper.paper_no))) == [
        "SJ01202600000001",
        "SJ02202600000001",
    ]


# --- whatever a program does


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE paper SET amount_fen = 1",
        "DELETE FROM paper_line",
        "UPDATE paper_line SET title = 'x'",
        "UPDATE paper_void SET reason = 'x'",
        "DELETE FROM paper_void",
        "TRUNCATE paper CASCADE",
        "UPDATE paper_series SET last_no = last_no + 2",
        "UPDATE paper_series SET last_no = last_no + 1",  # a number that is no paper
        "DELETE FROM paper_series",
        "UPDATE paper_template SET source = 'x' WHERE version = 1",
        "DELETE FROM paper_template",
        """INSERT INTO paper_line (paper_id, seq, utility, title, amount_fen, treatment, tax_fen)
           SELECT min(id), 9, '', 'x', 1, 'none', 0 FROM paper""",
    ],
)
def test_no_statement_gets_past_the_guards(hall, statement):
    done = hall.pay(hall.bill())
    counter.void(hall.cashier, done.receipt_no, "收错户", None, hall.clock.now())
    db.session.commit()
    with pytest.raises(DBAPIError):
        db.session.execute(sa.text(statement))
        db.session.commit()
    db.session.rollback()
    assert checks.breaks() == []


def test_the_database_itself_refuses_a_second_invoice_over_the_same_money(hall, monkeypatch):
    bill = hall.bill()
    hall.pay(bill)
    invoice(hall, bill)
    monkeypatch.setattr(invoices, "_invoiced", lambda _ids: {})  # a program that forgets
    monkeypatch.setattr(invoices, "_discounts", lambda _household, _lines: [])
    with pytest.raises(DBAPIError, match="invoices of 24690 fen over 12345 fen paid"):
        invoice(hall, bill, key="again")
    db.session.rollback()
    assert [row["last_no"] for row in numbering.report() if row["kind"] == "invoice"] == [1]


def test_fifty_at_once_are_numbered_one_to_fifty_and_the_rolled_back_leave_no_gap(hall, in_threads):
    households = [builders.make_household(hall.building, f"{n}") for n in range(1001, 1051)]
    bills = [builders.make_bill(one, 1000) for one in households]
    for one, bill in zip(households, bills, strict=True):
        hall.pay(bill, household=one)
    start = threading.Barrier(50)

    def one(n):
        start.wait(30)
        wanted = Wanted(households[n].id, (bills[n].id,), "invoice", None, "k")
        made = invoices.issue(wanted, hall.cashier, hall.clock.now())
        if n % 5 == 0:
            db.session.rollback()
            return None
        db.session.commit()
        return made.number

    numbers = [n for n in in_threads(50, one) if n is not None]
    assert sorted(numbers) == list(range(1, 41))
    assert checks.breaks() == []


def test_fifty_requests_over_one_bill_issue_one_invoice(hall, in_threads):
    bill = hall.bill()
    hall.pay(bill)

    def one(n):
        wanted = Wanted(hall.household.id, (bill.id,), "invoice", None, f"k{n}")
        try:
            made = invoices.issue(wanted, hall.cashier, hall.clock.now())
            db.session.commit()
            return made.paper_no
        except Problem as problem:
            db.session.rollback()
            return problem.code

    came = in_threads(50, one)
    assert sorted(came)[0] == "FP01202600000001"
    assert sorted(came)[1:] == ["nothing_to_invoice"] * 49
    assert checks.breaks() == []


def test_a_connection_cut_in_the_middle_of_issuing_leaves_no_gap(hall, app, database):
    bill = hall.bill()
    hall.pay(bill)
    wanted = Wanted(hall.household.id, (bill.id,), "invoice", None, "k")
    for _ in range(3):
        invoices.issue(wanted, hall.cashier, hall.clock.now())
        pid = db.session.scalar(sa.text("SELECT pg_backend_pid()"))
        with psycopg.connect(database, autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(DBAPIError):
            db.session.commit()
        db.session.rollback()
    made = invoices.issue(wanted, hall.cashier, hall.clock.now())
    db.session.commit()
    assert made.number == 1
    assert db.session.get(PaperSeries, (made.issuer_id, "invoice", 2026)).last_no == 1
    assert checks.breaks() == []


def test_issuing_asks_a_fixed_number_of_questions_however_many_bills(hall, queries):
    def statements(count, key):
        bills = [hall.bill(100 + n) for n in range(count)]
        hall.pay(*bills)
        wanted = Wanted(hall.household.id, tuple(b.id for b in bills), "invoice", None, key)
        db.session.expunge_all()
        queries.clear()
        invoices.issue(wanted, hall.cashier, hall.clock.now())
        db.session.commit()
        return len(queries)

    statements(1, "warm")
    assert statements(2, "two") == statements(12, "twelve")
    assert db.session.query(PaperVoid).count() == 0
