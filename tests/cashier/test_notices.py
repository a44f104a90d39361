"""A payment notice is stored, verified, and becomes money exactly once."""

import json
from datetime import timedelta

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import service as billing
from backend.cashier import forgetting, receiving, service
from backend.cashier.models import IdempotencyKey, PaymentOrder, RawNotice, Refund
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.models import AuditEvent
from tests import builders


@pytest.fixture
def order(app, clock):
    """Alice's order over a bill for heat and one for water, 130.23 yuan."""
    household = builders.make_household(builders.make_building())
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    bills = [
        builders.make_bill(household, 12345),
        builders.make_bill(household, 678, utility="water"),
    ]
    made, pay = service.create_order(alice.id, [b.id for b in bills], service.Door(), clock.now())
    made.client_pay, made.bills = pay, bills
    return made


def receive(notice, clock):
    headers, body = notice
    return receiving.receive_notice("wechat", headers, body, clock.now())


def state_of(order):
    return service.order_view(order.out_trade_no)["state"]


def test_a_notice_pays_the_bills_and_posts_the_money(order, hook, phone, clock):
    told = phone.pay(order.client_pay)
    raw = receive(hook.wait(), clock)
    assert (raw.outcome, raw.out_trade_no) == ("posted", order.out_trade_no)
    assert receiving.acknowledged(raw)
    assert state_of(order) == "paid"
    assert [b.state for b in order.bills] == ["paid", "paid"]
    assert order.transaction_id == told["transaction_id"]
    assert {code: fen for code, _, fen in ledger.trial_balance()} == {
        "clearing:wechat": 13023,
        f"receivable:heat:{order.household_id}": 0,
        f"receivable:water:{order.household_id}": 0,
        "revenue:heat": -12345,
        "revenue:water": -678,
    }
    assert ledger.check() == []


def test_fifty_copies_at_once_post_once(order, hook, phone, clock, in_threads):
    phone.pay(order.client_pay)
    notice = hook.wait()
    outcomes = in_threads(50, lambda _n: receive(notice, clock).outcome)
    assert sorted(outcomes) == ["posted"] + ["repeat"] * 49
    assert ledger.balance_fen("clearing:wechat") == 13023
    assert db.session.query(RawNotice).count() == 50
    assert ledger.check() == []


def test_the_notice_is_kept_byte_for_byte_before_it_is_judged(order, hook, phone, clock):
    phone.behave("payment_notice", "forged_signature")
    phone.pay(order.client_pay)
    headers, body = hook.wait()
    raw = receive((headers | {"Cookie": "secret", "Authorization": "secret"}, body), clock)
    db.session.expire_all()
    kept = db.session.get_one(RawNotice, raw.id)
    assert kept.body == body
    assert kept.headers["wechatpay-signature"] == headers["Wechatpay-Signature"]
    assert not {"cookie", "authorization"} & set(kept.headers)


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("forged_signature", "signature"),
        ("probe", "probe"),
        ("stale", "timestamp"),
        ("unsigned", "header_missing"),
        ("wrong_mchid", "wrong_merchant"),
        ("wrong_appid", "wrong_appid"),
        ("wrong_currency", "wrong_currency"),
        ("wrong_key", "decrypt"),
        ("malformed", "malformed"),
    ],
)
def test_a_notice_not_to_be_believed_moves_nothing(order, hook, phone, clock, mode, code):
    phone.behave("payment_notice", mode)
    phone.pay(order.client_pay)
    raw = receive(hook.wait(), clock)
    assert (raw.outcome, raw.detail) == ("rejected", code)
    assert not receiving.acknowledged(raw)
    assert state_of(order) == "paying"
    assert ledger.balance_fen("clearing:wechat") == 0


def test_a_wrong_amount_is_parked_and_never_credited(order, hook, phone, clock):
    phone.behave("payment_notice", "wrong_amount", params={"amount_fen": 13022})
    phone.pay(order.client_pay)
    raw = receive(hook.wait(), clock)
    assert (raw.outcome, state_of(order)) == ("parked", "parked")
    assert receiving.acknowledged(raw)
    assert [b.paid_fen for b in order.bills] == [0, 0]
    assert ledger.balance_fen("suspense:wechat") == -13022
    assert ledger.balance_fen(f"receivable:heat:{order.household_id}") == 12345
    assert "130.22" in db.session.get_one(PaymentOrder, order.id).note
    assert db.session.query(AuditEvent).filter_by(action="cashier.parked").count() == 1
    assert receive(hook.wait(), clock).outcome == "repeat"
    assert ledger.check() == []


def test_a_payment_of_an_unknown_order_is_kept_and_taken_off_the_channels_hands(
    order, hook, phone, clock
):
    phone.pay(order.client_pay)
    notice, number = hook.wait(), order.out_trade_no
    db.session.query(PaymentOrder).filter_by(id=order.id).update({"out_trade_no": "N-OTHER"})
    db.session.commit()
    raw = receive(notice, clock)
    assert (raw.outcome, raw.out_trade_no) == ("unknown_order", number)
    assert receiving.acknowledged(raw)
    assert ledger.balance_fen("clearing:wechat") == 0


def test_a_late_payment_of_a_closed_order_is_accepted_while_the_bill_is_open(
    order, hook, phone, clock
):
    phone.pay(order.client_pay)
    db.session.query(PaymentOrder).filter_by(id=order.id).update({"state": "closed"})
    db.session.commit()
    assert receive(hook.wait(), clock).outcome == "posted"
    assert (state_of(order), order.bills[0].state) == ("paid", "paid")


def test_a_second_payment_of_a_paid_bill_goes_back_by_itself(order, hook, phone, clock):
    heat, water = order.bills
    billing.apply_payment(heat.id, 12345, clock.now())  # paid at the counter meanwhile
    ledger.post(
        "counter:1",
        "payment_counter",
        clock.now(),
        [(chart.bank("cash"), 12345), (chart.receivable("heat", order.household_id), -12345)],
    )
    db.session.commit()
    phone.pay(order.client_pay)
    assert receive(hook.wait(), clock).outcome == "refunding"
    assert water.state == "paid"
    (refund,) = db.session.query(Refund).all()
    assert (refund.amount_fen, refund.state) == (12345, "created")
    assert ledger.balance_fen("suspense:wechat") == -12345
    assert ledger.check() == []


def test_a_notice_that_fails_on_the_way_is_kept_and_can_come_again(
    order, hook, phone, clock, monkeypatch
):
    phone.pay(order.client_pay)
    notice = hook.wait()

    def burn(*_args):
        raise RuntimeError("the house is on fire")

    with monkeypatch.context() as patched:
        patched.setattr("backend.cashier.confirm.books.post_payment", burn)
        with pytest.raises(RuntimeError):
            receive(notice, clock)
    (raw,) = db.session.query(RawNotice).all()
    assert (raw.outcome, raw.detail) == ("failed", "RuntimeError")
    assert state_of(order) == "paying"
    assert receive(notice, clock).outcome == "posted"


def test_an_oversized_notice_is_refused_before_it_is_stored(app, clock):
    with pytest.raises(Problem, match="too_large"):
        receiving.receive_notice("wechat", {}, b"x" * 70_000, clock.now())
    assert db.session.query(RawNotice).count() == 0


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\xfe", json.dumps({"id": 1}).encode()])
def test_rubbish_is_stored_and_rejected(app, clock, body):
    raw = receiving.receive_notice("wechat", {"Content-Type": "text/plain"}, body, clock.now())
    assert raw.outcome == "rejected"


def test_whoever_forges_without_end_fills_no_disk(app, clock, monkeypatch):
    monkeypatch.setattr(receiving, "MAX_REJECTED_A_DAY", 3)
    for _ in range(5):
        assert receiving.receive_notice("wechat", {}, b"{}", clock.now()).outcome == "rejected"
    assert db.session.query(RawNotice).count() == 3
    clock.advance(days=1)
    receiving.receive_notice("wechat", {}, b"{}", clock.now())
    assert db.session.query(RawNotice).count() == 4


def test_what_was_rejected_is_kept_for_a_while_and_what_was_posted_for_good(
    order, hook, phone, clock
):
    phone.pay(order.client_pay)
    receive(hook.wait(), clock)
    receiving.receive_notice("wechat", {}, b"{}", clock.now())
    assert forgetting.forget(clock.now() + forgetting.REJECTED_KEPT_FOR) == 0
    later = clock.now() + forgetting.REJECTED_KEPT_FOR + timedelta(seconds=1)
    assert forgetting.forget(later) == 1
    assert [raw.outcome for raw in db.session.query(RawNotice)] == ["posted"]


def test_the_answer_to_an_old_request_is_forgotten(app, clock):
    old = IdempotencyKey(principal="resident:1", key="k", body_hash=b"", created_at=clock.now())
    db.session.add(old)
    db.session.commit()
    assert forgetting.forget(clock.now() + forgetting.ANSWERS_KEPT_FOR) == 0
    assert forgetting.forget(clock.now() + forgetting.ANSWERS_KEPT_FOR + timedelta(seconds=1)) == 1
