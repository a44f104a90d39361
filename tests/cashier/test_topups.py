"""充值: money into a balance over a channel, exactly once, and never to anybody else."""

from datetime import date, timedelta

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import ahead, topics, wallet
from backend.billing.models import Bill, BillingRequest
from backend.cashier import asking, receiving, reconcile, topups
from backend.cashier.models import PaymentOrder, Reconciliation, Refund
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON
from tests.cashier.till import ALIPAY, DOORS, WECHAT, alice, app, newest, tap
from tests.outside import work

__all__ = ["alice", "app", "tap"]

DAY = date(2026, 11, 20)


@pytest.fixture
def boss(app):
    staff = builders.make_staff("boss", roles=["manager"])
    return Principal("staff", staff.id, frozenset({"manager"}))


@pytest.fixture
def paid_ahead(alice, boss):
    """Alice's household pays ahead for water."""
    ahead.open_account(alice.household.id, "water", DAY, boss, NOON)
    db.session.commit()


def wish_of(who, amount_fen=5000, into="wallet"):
    return topups.Wish(who.household.id, into, amount_fen)


def ordered(who, clock, amount_fen=5000, into="wallet", door=WECHAT):
    return topups.create(who.id, wish_of(who, amount_fen, into), door, clock.now())


def paid(who, clock, tap, phone, amount_fen=5000, into="wallet", door=WECHAT):
    """A top-up paid at the channel and found by asking."""
    order, pay = ordered(who, clock, amount_fen, into, door)
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(door, pay)
    return asking.refresh(order.out_trade_no, clock.now())


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.channel)
def test_a_top_up_is_in_the_balance_once_and_proven_the_next_day(alice, tap, hook, clock, door):
    order, pay = ordered(alice, clock, door=door)
    tap(door, pay)
    notice = hook.wait() if door is WECHAT else newest(hook, order.out_trade_no)
    outcomes = [
        receiving.receive_notice(door.channel, *notice, clock.now()).outcome for _ in range(3)
    ]
    assert outcomes == ["posted", "repeat", "repeat"]
    assert wallet.held_fen(alice.household.id) == 5000
    clock.advance(hours=23)
    reconcile.close_day(DAY, None, None, clock.now())
    row = db.session.query(Reconciliation).filter_by(channel=door.channel, day=DAY).one()
    assert (row.state, row.channel_fen, row.orders_fen) == ("agreed", 5000, 5000)
    assert ledger.check() == []


def test_the_balance_pays_the_oldest_debt_first(alice, tap, phone, clock):
    newer = builders.make_bill(alice.household, 4000, due_on=date(2026, 12, 20))
    older = builders.make_bill(alice.household, 3000, due_on=date(2026, 11, 1))
    paid(alice, clock, tap, phone)
    assert (older.state, newer.state, newer.paid_fen) == ("paid", "issued", 2000)
    assert wallet.held_fen(alice.household.id) == 0
    assert ledger.check() == []


def test_a_company_may_leave_a_utilitys_bills_alone(alice, tap, phone, clock, boss):
    topics.put("balance", "heat", None, {"pays_debts": False}, DAY, None, boss.id, NOON)
    heat = builders.make_bill(alice.household, 3000, due_on=date(2026, 11, 1))
    water = builders.make_bill(alice.household, 1000, utility="water")
    paid(alice, clock, tap, phone)
    assert (heat.state, water.state) == ("issued", "paid")
    assert wallet.held_fen(alice.household.id) == 4000


def test_a_prepaid_account_is_topped_up_and_shows_it_at_once(alice, paid_ahead, tap, phone, clock):
    order = paid(alice, clock, tap, phone, 8000, "water", ALIPAY)
    assert (order.state, order.topup_into) == ("paid", "water")
    (found,) = topups.offer(alice.household, clock.now())["prepaid"]
    assert (found["balance_fen"], found["marks"]) == (8000, [])
    assert ledger.check() == []


def test_where_the_company_says_so_a_prepaid_top_up_pays_debts_first(
    alice, paid_ahead, tap, phone, clock, boss
):
    topics.put("balance", "water", None, {"topup_pays_debts": True}, DAY, None, boss.id, NOON)
    debt = builders.make_bill(alice.household, 3000, utility="water")
    paid(alice, clock, tap, phone, 8000, "water")
    assert debt.state == "paid"
    assert ahead.held_fen(alice.household.id, "water") == 5000
    assert ledger.check() == []


def test_a_household_good_again_is_not_cut_off_and_may_be_opened(
    alice, paid_ahead, tap, phone, clock, boss, monkeypatch
):
    from backend.billing import cutoff, requests
    from backend.metering.models import MeterCommand

    meter = builders.make_meter(alice.household.building, alice.household, "water")
    account = ahead.locked(alice.household.id, "water")
    account.marks, account.balance_fen = ["closed"], 0
    asked = requests.ask("cutoff", meter.id, "欠费", None, NOON, alice.household.id, {})
    db.session.add(
        MeterCommand(
            meter_id=meter.id,
            bus_id=meter.bus_id,
            supply="valve",
            action="close",
            reason="欠费",
            state="done",
            asked_by=boss.id,
            asked_at=NOON,
            expires_at=NOON,
            due_at=NOON,
        )
    )
    db.session.commit()
    paid(alice, clock, tap, phone, 8000, "water")
    assert db.session.get(BillingRequest, asked.id, populate_existing=True).state == "refused"
    (reopening,) = db.session.query(BillingRequest).filter_by(kind="reopen", state="open")
    assert reopening.subject_id == meter.id
    requests.approve(reopening.id, boss, clock.now())
    order = db.session.query(MeterCommand).filter_by(action="open").one()
    assert order.state == "approved"
    assert cutoff.ask_reopening(alice.household, "water", [meter], clock.now())  # once decided


def test_a_stranger_tops_up_nobody_elses_household(alice, clock):
    charlie = builders.make_resident("charlie-openid")
    with pytest.raises(Problem, match="not_found"):
        topups.create(charlie.id, wish_of(alice), WECHAT, clock.now())
    assert db.session.query(PaymentOrder).count() == 0


@pytest.mark.parametrize("amount_fen", [0, 99, 500_001])
def test_amounts_beyond_the_limits_are_refused(alice, clock, amount_fen):
    with pytest.raises(Problem, match="topup_amount"):
        ordered(alice, clock, amount_fen)


@pytest.mark.parametrize("into", ["water", "nothing", "heat; DROP TABLE bill"])
def test_an_account_that_is_not_there_cannot_be_topped_up(alice, clock, into):
    with pytest.raises(Problem, match="topup_closed"):
        ordered(alice, clock, into=into)


def test_a_household_has_its_limit_a_day_whoever_pays(alice, clock, tap, phone):
    bob = builders.make_resident("bob-openid")
    builders.bind(bob, alice.household)
    bob.household = alice.household
    for who in (alice, bob):
        paid(who, clock, tap, phone, 450_000)
    with pytest.raises(Problem, match="topup_day_limit"):
        ordered(bob, clock, 200_000)
    offer = topups.offer(alice.household, clock.now())
    assert (offer["day_left_fen"], offer["max_fen"]) == (100_000, 100_000)
    clock.advance(days=1)
    assert topups.offer(alice.household, clock.now())["day_left_fen"] == 1_000_000


def test_two_at_once_are_held_to_one_days_limit(alice, clock, in_threads):
    friends = []
    for n in range(4):
        friend = builders.make_resident(f"friend-{n}")
        builders.bind(friend, alice.household)
        friends.append(friend.id)
    wish, now = wish_of(alice, 400_000), clock.now()
    results = in_threads(4, lambda n: topups.create(friends[n], wish, WECHAT, now)[0].amount_fen)
    refused = [one for one in results if isinstance(one, Problem)]
    assert sorted(map(str, results)).count("400000") == 2
    assert {problem.code for problem in refused} == {"topup_day_limit"}


def test_the_same_wish_again_is_the_same_order_and_another_ends_it(alice, clock):
    first, _ = ordered(alice, clock)
    again, _ = ordered(alice, clock)
    other, _ = ordered(alice, clock, 7000)
    assert again.id == first.id != other.id
    assert asking.order_by_number(first.out_trade_no).state == "closed"
    assert db.session.query(PaymentOrder).filter_by(state="paying").count() == 1


def test_a_double_tap_makes_one_order(alice, clock, in_threads):
    wish, now, who = wish_of(alice), clock.now(), alice.id
    results = in_threads(4, lambda n: topups.create(who, wish, WECHAT, now)[0].out_trade_no)
    assert len(set(results)) == 1, results


def test_money_of_somebody_who_has_moved_out_goes_back_to_him(alice, clock, tap, phone, database):
    from backend.archive.models import Binding

    order, pay = ordered(alice, clock)
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(WECHAT, pay)
    db.session.query(Binding).update({"ended_at": clock.now()})
    db.session.commit()
    asking.refresh(order.out_trade_no, clock.now())
    work(database)
    refund = db.session.query(Refund).one()
    assert (refund.state, refund.amount_fen) == ("done", 5000)
    assert wallet.held_fen(alice.household.id) == 0
    assert ledger.check() == []


def test_a_prepaid_account_closed_meanwhile_gives_the_money_back(
    alice, paid_ahead, clock, tap, phone, database
):
    order, pay = ordered(alice, clock, into="water")
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(WECHAT, pay)
    ahead.locked(alice.household.id, "water").closed_on = DAY
    db.session.commit()
    asking.refresh(order.out_trade_no, clock.now())
    work(database)
    assert db.session.query(Refund).one().state == "done"
    assert ledger.check() == []


def late(app, rule):
    values = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = values.replace(late_payment=rule)


@pytest.mark.parametrize(
    ("rule", "outcome", "held_fen"),
    [("accept", "posted", 5000), ("refund", "refunding", 0), ("park", "parked", 0)],
)
def test_a_payment_after_the_order_ended_follows_the_companys_rule(
    app, alice, clock, rule, outcome, held_fen
):
    from backend.cashier.confirm import confirm
    from payments.channel import TradeState, TradeStatus

    late(app, rule)
    order, _ = ordered(alice, clock)
    clock.advance(hours=3)
    assert asking.refresh(order.out_trade_no, clock.now()).state == "closed"
    paid_at = clock.now() - timedelta(minutes=5)
    trade = TradeState(order.out_trade_no, TradeStatus.PAID, "4200LATE", 5000, "a", paid_at)
    assert confirm("wechat", trade, clock.now()) == outcome
    db.session.commit()
    assert wallet.held_fen(alice.household.id) == held_fen
    assert ledger.check() == []


def test_a_wrong_amount_is_parked_and_never_credited(alice, clock, tap, phone):
    order, pay = ordered(alice, clock)
    phone.behave("payment", "wrong_amount", match=order.out_trade_no, params={"amount_fen": 9000})
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    tap(WECHAT, pay)
    assert asking.refresh(order.out_trade_no, clock.now()).state == "parked"
    assert wallet.held_fen(alice.household.id) == 0
    assert db.session.query(Bill).count() == 0
    assert ledger.check() == []
