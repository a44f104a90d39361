"""An order is made once, handed out again, and ended when its time is over."""

from datetime import timedelta

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.models import Bill
from backend.cashier import asking, service
from backend.cashier.models import OrderItem, PaymentOrder
from backend.ledger import service as ledger
from tests import builders


@pytest.fixture
def home(app):
    """Alice's household with a bill for heat and one for water."""
    household = builders.make_household(builders.make_building())
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    heat = builders.make_bill(household, 12345)
    water = builders.make_bill(household, 678, utility="water")
    return alice, household, heat, water


def order(resident, bills, clock):
    return service.create_order(
        resident.id, [bill.id for bill in bills], service.Door(), clock.now()
    )


def refused(code):
    return pytest.raises(Problem, match=code)


def test_an_order_is_what_its_bills_still_owe(home, clock):
    alice, household, heat, water = home
    made, pay = order(alice, [heat, water], clock)
    assert (made.amount_fen, made.state, made.household_id) == (13023, "paying", household.id)
    assert set(pay) == {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"}
    view = service.order_view(made.out_trade_no)
    assert view["bill_ids"] == [heat.id, water.id]
    assert view["expires_at"] - view["created_at"] == timedelta(minutes=115)


def test_the_sandbox_knows_the_order_by_our_number_and_amount(home, clock, phone):
    alice, _, heat, _ = home
    made, _ = order(alice, [heat], clock)
    (theirs,) = phone.get("orders")["orders"]
    assert (theirs["out_trade_no"], theirs["total_fen"]) == (made.out_trade_no, 12345)
    assert theirs["openid"] == "alice-openid"
    assert theirs["description"] == "热费"


def test_asking_again_gives_the_same_order(home, clock, phone):
    alice, _, heat, _ = home
    first, pay = order(alice, [heat], clock)
    clock.advance(minutes=30)
    again, pay_again = order(alice, [heat], clock)
    assert again.out_trade_no == first.out_trade_no
    assert pay_again["package"] == pay["package"]
    assert pay_again["paySign"] != pay["paySign"]
    assert phone.pay(pay_again)["trade_state"] == "SUCCESS"


def test_two_taps_at_once_are_one_order(home, clock, in_threads):
    alice, _, heat, _ = home
    numbers = in_threads(8, lambda _n: order(alice, [heat], clock)[0].out_trade_no)
    assert len(set(numbers)) == 1, numbers
    assert db.session.query(PaymentOrder).count() == 1


def test_another_choice_of_bills_ends_the_earlier_order(home, clock, phone):
    alice, _, heat, water = home
    first, first_pay = order(alice, [heat], clock)
    second, _ = order(alice, [heat, water], clock)
    assert service.order_view(first.out_trade_no)["state"] == "closed"
    assert second.amount_fen == 13023
    with pytest.raises(AssertionError, match="该订单已关闭"):
        phone.pay(first_pay)


def test_a_bill_paid_meanwhile_is_not_ordered_again(home, clock, phone):
    alice, _, heat, water = home
    first, pay = order(alice, [heat], clock)
    phone.behave("payment_notice", "never")
    phone.pay(pay)
    with refused("bill_not_payable"):
        order(alice, [heat, water], clock)
    assert service.order_view(first.out_trade_no)["state"] == "paid"
    assert ledger.balance_fen("clearing:wechat") == 12345


def test_someone_else_of_the_household_waits_while_a_payment_is_going_on(home, clock):
    alice, household, heat, _ = home
    bob = builders.make_resident("bob-openid")
    builders.bind(bob, household)
    first, _ = order(alice, [heat], clock)
    with refused("order_open"):
        order(bob, [heat], clock)
    clock.advance(minutes=11)
    second, _ = order(bob, [heat], clock)
    assert service.order_view(first.out_trade_no)["state"] == "closed"
    assert second.resident_id == bob.id


def test_a_stranger_is_told_nothing_about_a_bill(home, clock):
    _, _, heat, _ = home
    charlie = builders.make_resident("charlie-openid")
    with refused("not_found"):
        order(charlie, [heat], clock)
    with refused("not_found"):
        service.create_order(charlie.id, [10**9], service.Door(), clock.now())


def test_a_stranger_is_told_nothing_about_an_order(home, clock):
    alice, _, heat, _ = home
    made, _ = order(alice, [heat], clock)
    charlie = builders.make_resident("charlie-openid")
    with refused("not_found"):
        service.order_for(charlie.id, made.out_trade_no)
    assert service.order_for(alice.id, made.out_trade_no).id == made.id


@pytest.mark.parametrize("ids", [[], [1, 1], list(range(1, 30))])
def test_a_senseless_choice_of_bills_is_refused(home, clock, ids):
    alice, _, _heat, _ = home
    with pytest.raises(Problem) as told:
        service.create_order(alice.id, ids, service.Door(), clock.now())
    assert told.value.code in ("validation", "not_found")


def test_bills_of_two_households_are_not_one_order(home, clock):
    alice, household, heat, _ = home
    other = builders.make_household(household.building, "102")
    builders.bind(alice, other)
    with refused("bills_not_together"):
        order(alice, [heat, builders.make_bill(other)], clock)


@pytest.mark.parametrize("state", ["paid", "reversed"])
def test_only_open_bills_are_paid(home, clock, state):
    alice, _, heat, _ = home
    db.session.query(Bill).filter_by(id=heat.id).update({"state": state})
    db.session.commit()
    with refused("bill_not_payable"):
        order(alice, [heat], clock)


def test_an_unknown_channel_is_refused(home, clock):
    with refused("channel_unknown"):
        service.create_order(home[0].id, [home[2].id], service.Door("beads"), clock.now())


def test_a_silent_channel_leaves_an_order_that_can_be_tried_again(home, clock, phone):
    alice, _, heat, _ = home
    phone.behave("answer", "error", match="create")
    with refused("channel_unavailable"):
        order(alice, [heat], clock)
    (left,) = db.session.query(PaymentOrder).all()
    assert left.state == "created"
    made, pay = order(alice, [heat], clock)
    assert made.out_trade_no == left.out_trade_no
    assert phone.pay(pay)["out_trade_no"] == left.out_trade_no


def test_an_order_the_channel_refuses_for_good_does_not_block_the_bill(home, clock, phone):
    alice, _, heat, _ = home
    phone.behave("answer", "error", match="create", params={"status": 400, "code": "PARAM_ERROR"})
    with refused("channel_unavailable"):
        order(alice, [heat], clock)
    assert db.session.query(OrderItem).filter_by(open=True).count() == 0
    made, _ = order(alice, [heat], clock)
    assert made.state == "paying"


def test_an_order_out_of_time_is_asked_about_and_closed(home, clock, phone):
    alice, _, heat, _ = home
    made, _ = order(alice, [heat], clock)
    clock.advance(minutes=115)
    assert asking.refresh(made.out_trade_no, clock.now()).state == "closed"
    assert phone.get("orders")["orders"][0]["state"] == "CLOSED"
    again, _ = order(alice, [heat], clock)
    assert again.out_trade_no != made.out_trade_no


def test_an_order_paid_in_its_last_second_is_not_closed(home, clock, phone):
    alice, _, heat, _ = home
    made, pay = order(alice, [heat], clock)
    phone.behave("payment_notice", "never")
    clock.advance(minutes=114, seconds=59)
    phone.pay(pay)
    clock.advance(seconds=30)
    assert asking.refresh(made.out_trade_no, clock.now()).state == "paid"


def test_a_channel_that_gives_no_word_changes_nothing(home, clock, phone):
    alice, _, heat, _ = home
    made, _ = order(alice, [heat], clock)
    phone.behave("answer", "error", match="query", times=0)
    assert asking.refresh(made.out_trade_no, clock.now()).state == "paying"


def test_an_order_the_channel_never_heard_of_ends_after_a_minute(home, clock, phone):
    alice, _, heat, _ = home
    phone.behave("answer", "error", match="create")
    with refused("channel_unavailable"):
        order(alice, [heat], clock)
    number = db.session.query(PaymentOrder).one().out_trade_no
    assert asking.refresh(number, clock.now()).state == "created"
    clock.advance(seconds=60)
    assert asking.refresh(number, clock.now()).state == "closed"
