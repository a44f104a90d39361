"""What no notice says is found by asking; what is owed back goes back, once."""

from datetime import timedelta

import pytest

from backend.base.db import db
from backend.cashier import asking, confirm, receiving, refunds, rules, service
from backend.cashier import parked as parked_money
from backend.cashier.models import PaymentOrder, Refund
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.outside import waiting, work


@pytest.fixture
def alice(app):
    resident = builders.make_resident("alice-openid")
    resident.household = builders.make_household(builders.make_building())
    builders.bind(resident, resident.household)
    return resident


def order_of(alice, clock, amount_fen=12345):
    bill = builders.make_bill(alice.household, amount_fen)
    order, pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    return bill, order, pay


def test_the_first_question_is_enqueued_with_the_order(alice, clock):
    _, order, _ = order_of(alice, clock)
    expected = {"out_trade_no": order.out_trade_no, "step": 0}
    assert waiting() == [("cashier.ask_channel", expected)]


def test_a_payment_whose_notice_never_comes_is_found_by_asking(alice, clock, phone, database):
    bill, order, pay = order_of(alice, clock)
    phone.behave("payment_notice", "never")
    phone.pay(pay)
    work(database)
    assert (order.state, bill.state) == ("paid", "paid")
    assert ledger.balance_fen("clearing:wechat") == 12345
    assert waiting() == []


def test_questions_end_with_the_order(alice, clock, phone, database):
    _, order, _ = order_of(alice, clock)
    clock.advance(minutes=116)
    work(database)
    assert order.state == "closed"
    assert waiting() == []


def test_an_open_order_is_asked_about_by_the_schedule(app, clock):
    now, expires = clock.now(), clock.now() + timedelta(minutes=115)
    seconds = [(rules.next_ask(now, expires, step) - now).total_seconds() for step in range(8)]
    assert seconds == [5, 30, 60, 300, 900, 1800, 3600, 6901]
    assert rules.next_ask(now, expires, 8) is None


def test_the_sweep_finds_orders_whose_questions_were_lost(alice, clock, phone, database):
    _, order, _ = order_of(alice, clock)
    db.session.execute(db.text("DELETE FROM procrastinate_jobs"))
    db.session.commit()
    assert asking.sweep(clock.now()) == 0
    clock.advance(hours=3)
    assert asking.sweep(clock.now()) == 1
    assert asking.sweep(clock.now()) == 1  # enqueued once all the same
    db.session.commit()
    assert len(waiting()) == 1
    work(database)
    assert order.state == "closed"


@pytest.fixture
def paid_twice(alice, clock, phone, hook):
    """The bill of an order that was paid is paid again over an older order."""
    bill, old, old_pay = order_of(alice, clock)
    db.session.query(PaymentOrder).filter_by(id=old.id).update({"state": "closed"})
    confirm.release(old.id)
    db.session.commit()
    _, new_pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    for n, pay in enumerate((new_pay, old_pay), 1):
        phone.pay(pay)
        headers, body = hook.wait(n)
        receiving.receive_notice("wechat", headers, body, clock.now())
    return old


def refund_of(order):
    return db.session.query(Refund).filter_by(order_id=order.id).one()


def test_the_second_payment_is_refunded_and_the_books_are_even(
    paid_twice, clock, phone, hook, database
):
    assert ledger.balance_fen("suspense:wechat") == -12345
    work(database)
    refund = refund_of(paid_twice)
    assert refund.state == "done"
    assert ledger.balance_fen("suspense:wechat") == 0
    assert ledger.balance_fen("clearing:wechat") == 12345
    assert ledger.check() == []


def test_a_refund_notice_ends_the_refund_once(paid_twice, clock, hook):
    refund = refund_of(paid_twice)
    refunds.send(refund.id, clock.now())
    assert refund.state == "processing"
    notice = hook.wait(3)
    outcomes = [receiving.receive_notice("wechat", *notice, clock.now()).outcome for _ in range(2)]
    assert outcomes == ["refund_done", "refund_repeat"]
    assert ledger.balance_fen("clearing:wechat") == 12345


def test_a_refund_unanswered_is_asked_again_under_the_same_number(
    paid_twice, clock, phone, database
):
    phone.behave("answer", "error_after", match="refund", times=3)
    work(database)
    assert refund_of(paid_twice).state == "done"
    assert phone.calls("/v3/refund/domestic/refunds") >= 4
    assert ledger.balance_fen("clearing:wechat") == 12345


def test_a_refund_waits_for_money_on_the_merchants_account(paid_twice, clock, phone, database):
    phone.behave("refund", "not_enough", match=paid_twice.out_trade_no)
    work(database)
    assert refund_of(paid_twice).state == "done"


@pytest.mark.parametrize("mode", ["abnormal", "closed"])
def test_a_refund_the_payers_bank_cannot_take_waits_for_a_person(
    paid_twice, clock, phone, database, mode
):
    phone.behave("refund", mode, match=paid_twice.out_trade_no)
    work(database)
    assert refund_of(paid_twice).state == mode
    assert ledger.balance_fen("suspense:wechat") == -12345


def test_a_refund_notice_with_another_amount_settles_nothing(paid_twice, clock, phone, hook):
    phone.behave("refund_notice", "wrong_amount", params={"amount_fen": 1})
    refunds.send(refund_of(paid_twice).id, clock.now())
    raw = receiving.receive_notice("wechat", *hook.wait(3), clock.now())
    assert raw.outcome == "refund_stuck"
    assert ledger.balance_fen("suspense:wechat") == -12345


def test_what_was_parked_can_be_given_back_by_staff(alice, clock, phone, hook, database):
    staff = builders.make_staff("cash", roles=["finance"])
    _, order, pay = order_of(alice, clock)
    phone.behave("payment", "wrong_amount", params={"amount_fen": 12000})
    phone.pay(pay)
    assert receiving.receive_notice("wechat", *hook.wait(), clock.now()).outcome == "parked"
    parked_money.refund(
        order.out_trade_no, Principal("staff", staff.id), "金额不符，退回", clock.now()
    )
    db.session.commit()
    work(database)
    assert (refund_of(order).amount_fen, refund_of(order).state) == (12000, "done")
    assert ledger.balance_fen("clearing:wechat") == 0
    assert ledger.check() == []
