"""Refunds a person decides on: who may, how much, what becomes of them, the ledger after each."""

from datetime import date

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import ahead, requests, wallet
from backend.billing.models import Bill, BillingRequest
from backend.cashier import asking, cases, reconcile, refund_desk, refunds, service, topups
from backend.cashier.case_models import MoneyCase
from backend.cashier.models import Reconciliation, Refund
from backend.ledger import service as ledger
from backend.people.service import Principal
from payments.channel import RefundState, RefundStatus
from tests import builders
from tests.builders import NOON
from tests.cashier.till import DOORS, WECHAT, alice, app, tap
from tests.outside import work

__all__ = ["alice", "app", "tap"]

DAY = date(2026, 11, 20)
Wanted = refund_desk.Wanted


@pytest.fixture
def people(app):
    """Two of finance."""
    made = [builders.make_staff(name, roles=["finance"]) for name in ("min", "hua")]
    return [Principal("staff", one.id, frozenset({"finance"})) for one in made]


@pytest.fixture
def paid(alice, clock, tap, phone):
    """A bill paid over a door; its order and the bill."""

    def run(amount_fen=12345, door=WECHAT):
        bill = builders.make_bill(alice.household, amount_fen)
        order, pay = service.create_order(alice.id, [bill.id], door, clock.now())
        return _told(order, pay, door, phone, tap, clock), bill

    return run


@pytest.fixture
def topped(alice, clock, tap, phone):
    """A top-up paid over a door; its order."""

    def run(amount_fen=5000, into="wallet", door=WECHAT):
        wish = topups.Wish(alice.household.id, into, amount_fen)
        order, pay = topups.create(alice.id, wish, door, clock.now())
        return _told(order, pay, door, phone, tap, clock)

    return run


def _told(order, pay, door, phone, tap, clock):
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(door, pay)
    return asking.refresh(order.out_trade_no, clock.now())


def give(order, amount_fen, who, clock, key="tap-1", **more):
    made = refund_desk.ask(
        Wanted(order.out_trade_no, amount_fen, **more), "用户申请退款", key, who, clock.now()
    )
    db.session.commit()
    return made


def stuck(order, amount_fen, who, clock, phone, database, mode):
    """A refund the channel does not carry out."""
    phone.behave("refund", mode, match=order.out_trade_no)
    made = give(order, amount_fen, who, clock)
    work(database)
    return refund_desk.refund_of(made.out_refund_no)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.channel)
def test_an_unused_top_up_goes_back_in_part_and_the_day_is_proven(
    alice, people, topped, clock, database, door
):
    order = topped(5000, door=door)
    refund = give(order, 2000, people[0], clock)
    assert wallet.held_fen(alice.household.id) == 3000  # at once: nobody can spend it meanwhile
    work(database)
    assert refund_desk.refund_of(refund.out_refund_no).state == "done"
    clock.advance(hours=23)
    reconcile.close_day(DAY, None, None, clock.now())
    row = db.session.query(Reconciliation).filter_by(channel=door.channel, day=DAY).one()
    assert (row.state, row.channel_fen, row.orders_fen) == ("agreed", 3000, 3000)
    assert ledger.check() == []


def test_never_more_goes_back_than_is_left_of_a_top_up(alice, people, topped, clock):
    builders.make_bill(alice.household, 3500)
    order = topped(5000)  # which paid the bill
    with pytest.raises(Problem, match="refund_too_much"):
        give(order, 1501, people[0], clock)
    db.session.rollback()
    give(order, 1000, people[0], clock)
    with pytest.raises(Problem, match="refund_too_much"):
        give(order, 501, people[0], clock, key="tap-2")
    db.session.rollback()
    assert wallet.held_fen(alice.household.id) == 500
    assert ledger.check() == []


def test_a_prepaid_top_up_goes_back_and_the_next_night_knows(
    alice, people, topped, clock, database
):
    ahead.open_account(alice.household.id, "water", DAY, people[0], NOON)
    db.session.commit()
    order = topped(5000, "water")
    give(order, 2000, people[0], clock)
    work(database)
    assert ahead.held_fen(alice.household.id, "water") == 3000
    account = ahead.locked(alice.household.id, "water")
    assert account.balance_fen == -2000  # the night adds the 5000 it has not counted yet
    assert ledger.check() == []


def test_the_same_tap_is_the_same_refund(people, topped, clock):
    order = topped()
    first, again = (give(order, 1000, people[0], clock) for _ in range(2))
    assert first.id == again.id
    assert db.session.query(Refund).count() == 1


def test_two_at_once_give_back_no_more_than_there_is(people, topped, clock, in_threads):
    order, who = topped(5000), people[0]
    results = in_threads(4, lambda n: give(order, 2000, who, clock, key=f"tap-{n}") and "given")
    assert results.count("given") == 2
    assert {r.code for r in results if isinstance(r, Problem)} == {"refund_too_much"}
    assert ledger.check() == []


def test_beyond_the_limit_a_second_person_agrees_or_nothing_moves(people, paid, clock, database):
    order, bill = paid(60_000)
    request = give(order, 60_000, people[0], clock, bill_id=bill.id)
    assert isinstance(request, BillingRequest)
    assert db.session.query(Refund).count() == 0 and bill.state == "paid"
    with pytest.raises(Problem, match="second_person"):
        requests.approve(request.id, people[0], clock.now())
    db.session.rollback()
    requests.approve(request.id, people[1], clock.now())
    db.session.commit()
    work(database)
    refund = db.session.query(Refund).one()
    signed = (refund.state, refund.asked_by, refund.approved_by)
    assert signed == ("done", people[0].id, people[1].id)
    assert ledger.check() == []


def test_nobody_gets_round_the_limit_in_parts(people, topped, clock):
    order = topped(60_000)
    assert isinstance(give(order, 30_000, people[0], clock), Refund)
    assert isinstance(give(order, 30_000, people[1], clock, key="tap-2"), BillingRequest)


def test_a_paid_bill_given_back_is_due_again(alice, people, paid, clock, database):
    order, bill = paid()
    give(order, 12345, people[0], clock, bill_id=bill.id)
    work(database)
    assert (bill.state, bill.paid_fen) == ("issued", 0)
    assert db.session.query(Refund).one().state == "done"
    again, _ = service.create_order(alice.id, [bill.id], WECHAT, clock.now())
    assert again.amount_fen == 12345
    assert ledger.check() == []


def test_a_paid_bill_given_back_may_be_reversed_by_two_persons(people, paid, clock, database):
    order, bill = paid()
    request = give(order, 12345, people[0], clock, bill_id=bill.id, then="reversed")
    requests.approve(request.id, people[1], clock.now())
    db.session.commit()
    work(database)
    assert bill.state == "reversed"
    assert db.session.query(Refund).one().state == "done"
    assert wallet.held_fen(bill.household_id) == 0
    assert ledger.check() == []


def test_a_bill_of_another_order_is_not_given_back(people, paid, alice, clock):
    order, _ = paid()
    other = builders.make_bill(alice.household, 500, utility="water")
    with pytest.raises(Problem, match="not_found"):
        give(order, 500, people[0], clock, bill_id=other.id)


def test_too_late_and_too_often_are_refused_before_the_channel_is_asked(people, topped, clock):
    order = topped(5000)
    for n in range(50):
        give(order, 1, people[0], clock, key=f"tap-{n:03}")
    with pytest.raises(Problem, match="refund_too_many"):
        give(order, 1, people[0], clock, key="tap-051")
    db.session.rollback()
    other = topped(700)
    clock.advance(days=366)
    with pytest.raises(Problem, match="refund_too_late"):
        give(other, 700, people[0], clock)


def test_a_refund_the_channel_closed_waits_for_a_person_who_asks_again(
    people, topped, clock, phone, database
):
    order = topped()
    refund = stuck(order, 1000, people[0], clock, phone, database, "closed")
    assert refund.state == "closed"
    one = cases.found("refund", refund.out_refund_no)
    assert (one.type, one.state, one.household_id) == ("closed", "open", order.household_id)
    again = refund_desk.retry(refund.out_refund_no, people[1], clock.now())
    db.session.commit()
    assert (again.out_refund_no, again.state) == (refund.out_refund_no, "processing")
    with pytest.raises(Problem, match="refund_moved_on"):
        refund_desk.retry(refund.out_refund_no, people[1], clock.now())
    assert [step["verb"] for step in cases.history(one.id)] == ["opened", "retried"]
    assert ledger.check() == []


def failed(refund):
    """As a channel's refusal for good leaves it."""
    refund.state, refund.said = "failed", "NOTENOUGH"
    cases.open_case("refund", "failed", refund.out_refund_no, "wechat", DAY, NOON)
    db.session.execute(sa.text("DELETE FROM procrastinate_jobs"))
    db.session.commit()


def test_a_failed_refund_is_done_after_a_retry_and_its_case_ends(people, topped, clock, database):
    refund = give(topped(), 1000, people[0], clock)
    failed(refund)
    refund_desk.retry(refund.out_refund_no, people[0], clock.now())
    db.session.commit()
    work(database)
    assert refund_desk.refund_of(refund.out_refund_no).state == "done"
    assert cases.found("refund", refund.out_refund_no).state == "done"
    assert db.session.query(Refund).count() == 1
    assert ledger.check() == []


def test_a_refund_taken_back_stands_in_the_balance_again(alice, people, topped, clock):
    refund = give(topped(5000), 2000, people[0], clock)
    failed(refund)
    refund_desk.withdraw(refund.out_refund_no, "用户不退了", people[0], clock.now())
    db.session.commit()
    assert wallet.held_fen(alice.household.id) == 5000
    assert cases.found("refund", refund.out_refund_no).state == "done"
    assert ledger.check() == []


def test_a_bills_refund_taken_back_pays_the_bill_again(people, paid, clock):
    order, bill = paid()
    refund = give(order, 12345, people[0], clock, bill_id=bill.id)
    failed(refund)
    refund_desk.withdraw(refund.out_refund_no, "用户不退了", people[0], clock.now())
    db.session.commit()
    assert bill.state == "paid"
    assert ledger.check() == []


@pytest.fixture
def paid_out(people, topped, clock, phone, database):
    """An abnormal refund paid out by the bank, with a document and two persons' names."""
    refund = stuck(topped(), 1000, people[0], clock, phone, database, "abnormal")
    assert refund.state == "abnormal"
    number = refund.out_refund_no
    with pytest.raises(Problem, match="refund_moved_on"):
        refund_desk.withdraw(number, "撤回", people[0], clock.now())
    with pytest.raises(Problem, match="validation"):
        refund_desk.ask_pay_out(number, " ", "卡已注销", people[0], clock.now())
    request = refund_desk.ask_pay_out(number, "HX-2026-001", "卡已注销", people[0], clock.now())
    db.session.commit()
    requests.approve(request.id, people[1], clock.now())
    db.session.commit()
    return refund_desk.refund_of(number)


def test_an_abnormal_refund_is_paid_out_another_way(paid_out):
    assert (paid_out.state, paid_out.document) == ("paid_out", "HX-2026-001")
    assert ledger.balance_fen("bank:payout") == -1000
    assert cases.found("refund", paid_out.out_refund_no).state == "done"
    assert ledger.check() == []


def test_what_the_channel_pays_after_all_is_posted_and_told_to_a_person(paid_out, clock):
    number = paid_out.out_refund_no
    told = RefundState("", number, "50", RefundStatus.SUCCESS, 1000, 5000, clock.now())
    assert refunds.settle("wechat", told, clock.now()) == "refund_stuck"
    assert refunds.settle("wechat", told, clock.now()) == "refund_repeat"
    db.session.commit()
    assert cases.found("refund", number).type == "paid_twice"
    assert ledger.balance_fen("shortage:wechat") == 1000  # ours to claim
    assert ledger.check() == []


def test_only_money_that_came_can_be_given_back(people, alice, clock):
    bill = builders.make_bill(alice.household, 500)
    order, _ = service.create_order(alice.id, [bill.id], WECHAT, clock.now())
    with pytest.raises(Problem, match="not_found"):
        give(order, 500, people[0], clock, bill_id=bill.id)
    assert db.session.query(MoneyCase).count() == 0
    assert db.session.query(Bill).one().state == "issued"
