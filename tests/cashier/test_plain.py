"""The one statement of a plain payment leaves what the rules leave, and touches nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.base.db import alone, db
from backend.billing import service as billing
from backend.billing.models import BillPayment
from backend.cashier import plain, receiving, service
from backend.cashier.channels import channel_for
from backend.cashier.models import RawNotice
from backend.ledger import service as ledger
from tests import builders


@pytest.fixture
def pays(app, clock, hook, phone):
    """pays(*bills in fen) -> (order, its bills, the notice) of a household of its own."""
    building = builders.make_building()

    def pay(*amounts_fen):
        number = len(hook.received) + 1
        household = builders.make_household(building, f"{number}01")
        resident = builders.make_resident(f"openid-{number}")
        builders.bind(resident, household)
        bills = [
            builders.make_bill(household, fen, utility=("heat", "water")[n % 2])
            for n, fen in enumerate(amounts_fen)
        ]
        order, fields = service.create_order(
            resident.id, [bill.id for bill in bills], service.Door(), clock.now()
        )
        phone.pay(fields)
        return order, bills, hook.wait(number)

    # The first payment over a channel opens its account; from then on they are plain.
    receiving.receive_notice("wechat", *pay(1)[2], clock.now())
    return pay


def left_by(order, bills, outcome):
    """Everything a payment leaves behind, without the numbers that differ."""
    db.session.expire_all()
    entry = ledger.entry_by_key(f"wechat:{order.transaction_id}")
    raw = db.session.get(RawNotice, outcome.id)
    counted = db.session.query(BillPayment).order_by(BillPayment.bill_id)
    return {
        "outcome": (outcome.outcome, outcome.detail, outcome.out_trade_no == order.out_trade_no),
        "order": (order.state, order.received_fen, order.paid_at, order.note),
        "items": [(item.amount_fen, item.open) for item in order.items],
        "bills": [(bill.state, bill.paid_fen, bill.paid_at) for bill in bills],
        "counted": [
            (one.amount_fen, one.paid_at, one.day)
            for one in counted.filter(BillPayment.bill_id.in_([bill.id for bill in bills]))
        ],
        "entry": (entry.kind, entry.at, entry.day, entry.memo, entry.reverses_id),
        "told": {**entry.detail, "out_trade_no": order.out_trade_no == raw.out_trade_no},
        "postings": [
            (p.account.code.removesuffix(f":{order.household_id}"), p.amount_fen)
            for p in entry.postings
        ],
        "kept": (raw.channel, raw.received_at, sorted(raw.headers), raw.outcome, raw.detail),
    }


@pytest.mark.parametrize("amounts_fen", [(12345,), (12345, 678), (5, 5, 5, 7)])
def test_it_leaves_what_the_rules_leave(pays, clock, monkeypatch, amounts_fen):
    order, bills, notice = pays(*amounts_fen)
    asked = []
    kept = plain.post
    monkeypatch.setattr(plain, "post", lambda *given: asked.append(kept(*given)) or asked[-1])
    ours = left_by(order, bills, receiving.receive_notice("wechat", *notice, clock.now()))
    assert asked == [True]
    monkeypatch.setattr(plain, "post", lambda *_given: False)
    order, bills, notice = pays(*amounts_fen)
    ruled = left_by(order, bills, receiving.receive_notice("wechat", *notice, clock.now()))
    assert ours == ruled
    assert ledger.check() == []


def told(notice, clock):
    """A notice's kept id and channel, and what it says."""
    headers, body = notice
    trade = channel_for("wechat").parse_notice(headers, body, clock.now()).trade
    raw = RawNotice(channel="wechat", received_at=clock.now(), headers={}, body=body)
    db.session.add(raw)
    db.session.commit()
    return (raw.id, "wechat"), trade


def posted(*given):
    with alone() as driver:
        return plain.post(driver, *given)


def another_amount(trade, _order, _bills, _clock):
    return replace(trade, amount_fen=trade.amount_fen + 1)


def another_order(trade, _order, _bills, _clock):
    return replace(trade, out_trade_no="N" + "0" * 20)


def a_bill_paid_meanwhile(trade, _order, bills, clock):
    billing.apply_payment(bills[-1].id, 1, clock.now())
    db.session.commit()
    return trade


def too_late(trade, order, _bills, _clock):
    return replace(trade, paid_at=order.expires_at + timedelta(seconds=1))


def a_day_that_may_be_closed(trade, _order, _bills, clock):
    clock.advance(days=1)
    return trade


@pytest.mark.parametrize(
    "change",
    [another_amount, another_order, a_bill_paid_meanwhile, too_late, a_day_that_may_be_closed],
)
def test_whatever_is_not_plain_it_leaves_alone(pays, clock, change):
    order, bills, notice = pays(12345, 678)
    kept, trade = told(notice, clock)
    trade = change(trade, order, bills, clock)
    before = everything()
    assert not posted(*kept, trade, clock.now())
    assert everything() == before


def test_the_same_payment_again_is_not_plain(pays, clock):
    _, _, notice = pays(12345)
    kept, trade = told(notice, clock)
    assert posted(*kept, trade, clock.now())
    before = everything()
    assert not posted(*kept, trade, clock.now())
    assert everything() == before


def test_it_is_two_transactions_of_a_statement_each_the_notice_and_what_it_does(
    pays, clock, queries
):
    _, _, notice = pays(12345, 678)
    before = transaction_number()
    queries.clear()
    receiving.receive_notice("wechat", *notice, clock.now())
    assert len(queries) == 0  # both go straight through the driver
    assert transaction_number() - before - 1 == 2


def transaction_number():
    """The number of a transaction of our own."""
    number = db.session.scalar(db.text("SELECT pg_current_xact_id()::text::bigint"))
    db.session.commit()
    return number


def test_a_notice_is_kept_before_it_is_looked_at(pays, clock, monkeypatch):
    _, _, notice = pays(12345)
    seen = []

    def look(*_given):
        seen.extend(raw.outcome for raw in db.session.query(RawNotice).order_by(RawNotice.id))
        raise RuntimeError

    monkeypatch.setattr(channel_for("wechat"), "parse_notice", look)
    with pytest.raises(RuntimeError):
        receiving.receive_notice("wechat", *notice, clock.now())
    assert seen == ["posted", "received"]
    last = db.session.query(RawNotice).order_by(RawNotice.id.desc()).first()
    assert (last.outcome, last.detail, last.body) == ("failed", "RuntimeError", notice[1])


def everything():
    """All rows a payment could have touched."""
    tables = "payment_order order_item bill bill_payment entry posting balance raw_notice account"
    rows = {
        table: db.session.execute(db.text(f"SELECT * FROM {table} ORDER BY 1, 2")).all()
        for table in tables.split()
    }
    db.session.commit()
    return rows
