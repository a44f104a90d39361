"""Alipay and UnionPay from the tap to the closed day, beside WeChat Pay, in one till."""

from datetime import date

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import asking, receiving, reconcile, service
from backend.cashier.models import RawNotice, Reconciliation, Refund
from backend.cashier.service import Door, PayWay
from backend.ledger import service as ledger
from tests import builders
from tests.cashier.till import ALIPAY, UNIONPAY, alice, app, newest, tap
from tests.outside import work

__all__ = ["alice", "app", "tap"]

DAY = date(2026, 11, 20)


def order_of(resident, bill, door, clock):
    return service.create_order(resident.id, [bill.id], door, clock.now())


@pytest.mark.parametrize("door", [ALIPAY, UNIONPAY], ids=lambda door: door.channel)
def test_a_payment_is_told_posted_once_and_proven_the_next_day(alice, tap, hook, clock, door):
    bill = builders.make_bill(alice.household, 12345)
    order, pay = order_of(alice, bill, door, clock)
    tap(door, pay)
    notice = newest(hook, order.out_trade_no)
    raw = receiving.receive_notice(door.channel, *notice, clock.now())
    assert (raw.outcome, raw.out_trade_no) == ("posted", order.out_trade_no)
    again = receiving.receive_notice(door.channel, *notice, clock.now())
    assert again.outcome == "repeat"
    assert bill.state == "paid"
    clock.advance(hours=23)
    reconcile.close_day(DAY, None, None, clock.now())
    db.session.commit()
    row = db.session.query(Reconciliation).filter_by(channel=door.channel, day=DAY).one()
    assert (row.state, row.channel_fen, row.ledger_fen) == ("agreed", 12345, 12345)
    assert row.fee_fen == 74
    assert ledger.check() == []


@pytest.mark.parametrize("door", [ALIPAY, UNIONPAY], ids=lambda door: door.channel)
def test_a_notice_that_never_comes_is_found_by_asking(alice, tap, phone, clock, database, door):
    bill = builders.make_bill(alice.household, 500)
    order, pay = order_of(alice, bill, door, clock)
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(door, pay)
    assert asking.refresh(order.out_trade_no, clock.now()).state == "paid"
    assert ledger.check() == []


def test_a_bill_paid_over_two_channels_is_given_back_once_by_itself(
    alice, tap, hook, clock, database, phone
):
    bill = builders.make_bill(alice.household, 9900)
    first, pay_first = order_of(alice, bill, Door(), clock)
    second, pay_second = order_of(alice, bill, ALIPAY, clock)
    for door, number, pay in (
        (Door(), first.out_trade_no, pay_first),
        (ALIPAY, second.out_trade_no, pay_second),
    ):
        phone.behave("payment_notice", "never", match=number)
        tap(door, pay)
        asking.refresh(number, clock.now())
    work(database)
    (refund,) = db.session.query(Refund)
    assert (refund.state, refund.amount_fen) == ("done", 9900)
    clock.advance(hours=23)
    reconcile.close_day(DAY, None, None, clock.now())
    states = {r.channel: r.state for r in db.session.query(Reconciliation)}
    assert states == {"wechat": "agreed", "alipay": "agreed", "unionpay": "agreed"}
    assert ledger.check() == []


def test_unionpays_day_ends_at_eleven_and_the_proof_knows(alice, tap, phone, clock):
    clock.advance(hours=11, minutes=30)  # 23:30 in Shanghai: tomorrow's settlement day
    bill = builders.make_bill(alice.household, 700)
    order, pay = order_of(alice, bill, UNIONPAY, clock)
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(UNIONPAY, pay)
    asking.refresh(order.out_trade_no, clock.now())
    clock.advance(hours=12)
    reconcile.close_day(DAY, None, None, clock.now())
    today = db.session.query(Reconciliation).filter_by(channel="unionpay", day=DAY).one()
    assert (today.state, today.ledger_fen, today.channel_fen) == ("agreed", 0, 0)
    clock.advance(days=1)
    reconcile.close_day(date(2026, 11, 21), None, None, clock.now())
    next_day = (
        db.session.query(Reconciliation).filter_by(channel="unionpay", day=date(2026, 11, 21)).one()
    )
    assert (next_day.state, next_day.ledger_fen, next_day.channel_fen) == ("agreed", 700, 700)


@pytest.mark.parametrize("door", [ALIPAY, UNIONPAY], ids=lambda door: door.channel)
def test_a_wrong_amount_is_parked_for_a_person(alice, tap, phone, clock, door):
    bill = builders.make_bill(alice.household, 700)
    order, pay = order_of(alice, bill, door, clock)
    phone.behave("payment", "wrong_amount", match=order.out_trade_no, params={"amount_fen": 1})
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(door, pay)
    assert asking.refresh(order.out_trade_no, clock.now()).state == "parked"
    assert bill.state == "issued"


@pytest.mark.parametrize("channel", ["alipay", "unionpay"])
def test_a_forged_notice_is_kept_and_changes_nothing(app, clock, channel):
    raw = receiving.receive_notice(channel, {}, b"out_trade_no=N1&total_amount=1.00", clock.now())
    assert raw.outcome == "rejected"
    assert not receiving.acknowledged(raw)
    assert db.session.query(RawNotice).one().body == b"out_trade_no=N1&total_amount=1.00"


def test_a_way_the_channel_has_not_is_refused_before_anything_is_written(alice, clock):
    bill = builders.make_bill(alice.household, 700)
    with pytest.raises(Problem) as problem:
        order_of(alice, bill, Door("unionpay", PayWay.QR), clock)
    assert problem.value.code == "way_unknown"
