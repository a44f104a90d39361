"""A payment has one receipt; what is given back is taken back or voided."""

import sqlalchemy as sa

from backend.base.db import db
from backend.billing.models import Bill
from backend.cashier import asking, counter, refund_desk, service, topups
from backend.cashier.papers import (
    checks,
    issuing,
    numbering,
    receipts,
    titles,
    undoing,
    worklist,
)
from backend.cashier.papers.models import Paper
from backend.ledger import service as ledger
from tests import builders
from tests.cashier.papers.conftest import refused
from tests.outside import work


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
