"""What waits for a person: who has it, what can be done, what was done, and that it ends once."""

from datetime import date, timedelta

import pytest
import requests as requests_of_http
from click.testing import CliRunner

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests, wallet
from backend.billing.models import BillingRequest
from backend.cashier import (
    aside,
    asking,
    breaks,
    cases,
    desk_cli,
    parked,
    receiving,
    reconcile,
    service,
)
from backend.cashier.case_models import MoneyCase
from backend.cashier.cases import Filter
from backend.cashier.confirm import confirm
from backend.cashier.models import Break, PaymentOrder, Reconciliation
from backend.cashier.parked import Move
from backend.ledger import service as ledger
from payments.channel import TradeState, TradeStatus
from tests import builders
from tests.outside import work

DAY = date(2026, 11, 20)


@pytest.fixture
def wrong(alice, clock):
    """A wrong amount paid for a bill; its case."""

    def run(paid_fen=12000, owed_fen=12345):
        bill = builders.make_bill(alice.household, owed_fen)
        order, _ = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
        told = TradeState(
            order.out_trade_no, TradeStatus.PAID, f"42{order.id}", paid_fen, "a", clock.now()
        )
        assert confirm("wechat", told, clock.now()) == "parked"
        db.session.commit()
        return cases.found("order", f"wechat:42{order.id}")

    return run


def order_of(one):
    return asking.order_by_number(one.out_trade_no)


def verbs(one):
    return [step["verb"] for step in cases.history(one.id)]


def moved(one, who, clock, amount_fen, account_no="A-101", **more):
    made = parked.move(Move(one.id, account_no, amount_fen, **more), "付款人来电", who, clock.now())
    db.session.commit()
    return made


def test_a_wrong_amount_waits_with_its_facts_and_is_taken_by_somebody(wrong, people, clock):
    one = wrong()
    assert (one.type, one.amount_fen, one.left_fen, one.day) == ("wrong_amount", 12000, 12000, DAY)
    cases.take(one.id, people[0], clock.now())
    cases.comment(one.id, "已致电用户", people[0], clock.now())
    cases.assign(one.id, people[1].id, "请接手", people[0], clock.now())
    db.session.commit()
    assert cases.case_of(one.id).owner_id == people[1].id
    assert verbs(one) == ["opened", "taken", "said", "assigned"]
    assert cases.history(one.id)[3]["detail"] == {"to": "王师傅"}


def test_nobody_but_finance_is_given_money_to_look_after(wrong, people, clock):
    reader = builders.make_staff("reader", roles=["reader"])
    with pytest.raises(Problem, match="validation"):
        cases.assign(wrong().id, reader.id, "", people[0], clock.now())


def test_parked_money_goes_into_the_payers_balance_which_pays(alice, wrong, people, clock):
    one = wrong(12000, 12345)
    moved(one, people[0], clock, 12000)
    assert order_of(one).state == "paid"
    assert cases.case_of(one.id).state == "done"
    assert wallet.held_fen(alice.household.id) == 0  # the bill took it
    assert ledger.check() == []


def test_parked_money_is_matched_to_a_bill_in_part_and_the_rest_goes_back(
    alice, wrong, people, clock, database, phone
):
    bill = builders.make_bill(alice.household, 2000, utility="water")
    one = wrong(12000, 12345)
    moved(one, people[0], clock, 2000, bill_no=bill.bill_no)
    assert bill.state == "paid" and cases.case_of(one.id).left_fen == 10000
    with pytest.raises(Problem, match="case_not_so"):
        cases.sign_off(one.id, "算了", people[0], clock.now())
    parked.refund(one.out_trade_no, people[0], "余款退回", clock.now())
    db.session.commit()
    assert (cases.case_of(one.id).state, order_of(one).state) == ("done", "refunded")
    assert ledger.check() == []


def test_money_moved_to_somebody_else_needs_a_second_person(alice, wrong, people, clock):
    bob = builders.make_household(alice.household.building, "102")
    one = wrong()
    request = moved(one, people[0], clock, 12000, bob.account_no)
    assert isinstance(request, BillingRequest)
    assert wallet.held_fen(bob.id) == 0
    with pytest.raises(Problem, match="second_person"):
        requests.approve(request.id, people[0], clock.now())
    db.session.rollback()
    requests.approve(request.id, people[1], clock.now())
    db.session.commit()
    assert wallet.held_fen(bob.id) == 12000
    assert ledger.check() == []


def test_beyond_the_limit_parts_count_together(wrong, people, clock):
    one = wrong(90_000, 95_000)
    assert isinstance(moved(one, people[0], clock, 40_000), MoneyCase)
    assert isinstance(moved(one, people[0], clock, 40_000), BillingRequest)


def test_two_at_once_move_the_money_once(wrong, people, clock, in_threads):
    one, who = wrong(), people[0]
    results = in_threads(4, lambda n: moved(one, who, clock, 12000) and "moved")
    assert results.count("moved") == 1, results
    refused = {r.code for r in results if isinstance(r, Problem)}
    assert refused <= {"case_moved", "case_ended"}
    assert ledger.check() == []


def test_a_second_payment_of_an_order_is_a_case_of_its_own(alice, wrong, clock):
    one = wrong()
    again = TradeState(one.out_trade_no, TradeStatus.PAID, "4299", 12345, "a", clock.now())
    assert confirm("wechat", again, clock.now()) == "parked"
    db.session.commit()
    second = cases.found("order", "wechat:4299")
    assert (second.type, second.left_fen) == ("second_payment", 12345)
    assert ledger.check() == []


def test_forged_notices_are_one_case_a_day_however_many(app, clock):
    for n in range(5):
        body = b'{"forged": %d}' % n
        assert receiving.receive_notice("wechat", {}, body, clock.now()).outcome == "rejected"
    one = db.session.query(MoneyCase).one()
    assert (one.kind, one.type) == ("notice", "rejected")
    clock.advance(days=1)
    receiving.receive_notice("wechat", {}, b"{}", clock.now())
    assert db.session.query(MoneyCase).count() == 2


def test_what_was_signed_off_and_comes_again_is_open_again(app, people, clock):
    receiving.receive_notice("wechat", {}, b"{}", clock.now())
    one = db.session.query(MoneyCase).one()
    cases.sign_off(one.id, "伪造，已记录", people[0], clock.now())
    db.session.commit()
    with pytest.raises(Problem, match="case_ended"):
        cases.take(one.id, people[0], clock.now())
    db.session.rollback()
    receiving.receive_notice("wechat", {}, b"{}", clock.now())
    assert cases.case_of(one.id).state == "open"
    assert verbs(one) == ["opened", "signed", "opened"]


@pytest.fixture
def unknown(alice, clock, phone):
    """The channel has money of an order whose row we lost; the case and the order's number."""
    bill = builders.make_bill(alice.household, 12345)
    order, pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    phone.pay(pay)
    number = order.out_trade_no
    db.session.execute(db.text("DELETE FROM order_item"))
    db.session.execute(db.text("DELETE FROM payment_order"))
    db.session.commit()
    db.session.expunge_all()
    told = TradeState(number, TradeStatus.PAID, "4200LOST", 12345, "a", clock.now())
    assert confirm("wechat", told, clock.now()) == "unknown_order"
    db.session.commit()
    return cases.found("notice", "wechat:4200LOST"), number


def test_money_of_an_unknown_order_is_taken_in_on_the_channels_word_and_given_back(
    unknown, people, clock, database
):
    one, number = unknown
    assert ledger.balance_fen("clearing:wechat") == 0  # a notice alone is not believed
    parked.adopt(one.id, people[0], clock.now())
    assert cases.case_of(one.id).state == "done"
    assert ledger.balance_fen("suspense:wechat") == -12345
    with pytest.raises(Problem, match="case_ended"):
        parked.adopt(one.id, people[0], clock.now())
    db.session.rollback()
    parked.refund(number, people[0], "无法确认付款人", clock.now())
    db.session.commit()
    work(database)
    assert asking.order_by_number(number).state == "refunded"
    assert ledger.balance_fen("suspense:wechat") == 0
    assert ledger.check() == []


def test_what_the_channel_has_never_heard_of_is_not_taken_in(app, people, clock):
    told = TradeState("N20261120FORGED", TradeStatus.PAID, "4200F", 100, "a", clock.now())
    assert confirm("wechat", told, clock.now()) == "unknown_order"
    db.session.commit()
    one = cases.found("notice", "wechat:4200F")
    with pytest.raises(Problem, match="case_not_so"):
        parked.adopt(one.id, people[0], clock.now())
    assert db.session.query(PaymentOrder).count() == 0


def test_the_terminal_lists_what_waits_and_gives_back(wrong, people, clock, terminal):
    one = wrong()
    run = CliRunner().invoke
    listed = run(desk_cli.desk, ["cases", "--kind", "order", "--nobody"])
    assert listed.exit_code == 0, listed.output
    assert f"{one.id} order wrong_amount wechat 2026-11-20" in listed.output
    assert "1 open" in listed.output
    shown = run(desk_cli.desk, ["case", str(one.id)])
    assert "can be done: take, assign, comment, move, refund" in shown.output
    refused = run(
        desk_cli.desk,
        ["refund", one.out_trade_no, "1.00", "--reason", "退款", "--staff", "min"],
    )
    assert refused.exit_code == 1 and "validation" in refused.output
    unknown = run(desk_cli.desk, ["retry-refund", "R-NO-SUCH", "--staff", "min"])
    assert unknown.exit_code == 1 and "not_found" in unknown.output


def test_a_page_of_cases_is_filtered_and_goes_on_where_it_ended(wrong, people, clock):
    made = [wrong(100 + n) for n in range(3)]
    cases.take(made[0].id, people[0], clock.now())
    db.session.commit()
    now = clock.now()

    def ids(**wanted):
        return [one.id for one in cases.listed(Filter(**wanted), now)]

    newest = [one.id for one in made][::-1]
    assert ids() == newest
    assert ids(limit=1) == newest[:2]  # one more tells that there are more
    assert ids(before=newest[0]) == newest[1:]
    assert ids(owner=people[0].id) == [made[0].id]
    assert ids(owner=0) == newest[:2]
    assert ids(kind="refund") == ids(channel="alipay") == ids(day=DAY - timedelta(1)) == []
    assert ids(older_than_days=1) == [] and ids(older_than_days=0) == newest
    assert cases.counts() == {"order": 3}


# --- differences of a day


@pytest.fixture
def stranger(alice, wrong, clock, phone):
    """The statement of a closed-to-be day has a payment nobody here knows; its case."""
    bill = builders.make_bill(alice.household, 500)
    order, pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    phone.pay(pay)
    asking.refresh(order.out_trade_no, clock.now())
    phone.behave("statement", "extra_row", match=DAY.isoformat())
    clock.advance(hours=23)
    reconcile.fetch_statement("wechat", DAY, clock.now())
    reconcile.reconcile("wechat", DAY, clock.now())
    db.session.commit()
    return db.session.query(MoneyCase).filter_by(kind="break").one()


def test_a_difference_is_a_case_and_goes_into_suspense_and_out_again(stranger, people, clock):
    found, _ = breaks.about(stranger)
    assert (stranger.type, found.gap_fen) == ("missing_here", found.theirs_fen)
    breaks.put_aside(stranger.id, "渠道多款，待查", people[0], clock.now())
    db.session.commit()
    assert ledger.balance_fen("overage:wechat") == -found.theirs_fen
    assert cases.case_of(stranger.id).state == "suspense"
    assert db.session.get(Break, found.id).resolution.startswith("长款挂账")
    breaks.take_back(stranger.id, "渠道次日更正", people[1], clock.now())
    db.session.commit()
    assert ledger.balance_fen("overage:wechat") == 0
    assert verbs(stranger) == ["opened", "put_aside", "taken_back"]
    assert ledger.check() == []


def test_what_stands_aside_is_written_off_by_two(stranger, people, clock):
    breaks.put_aside(stranger.id, "渠道多款，待查", people[0], clock.now())
    request = breaks.ask_write_off(stranger.id, "查无此人，转收益", people[0], clock.now())
    db.session.commit()
    with pytest.raises(Problem, match="second_person"):
        requests.approve(request.id, people[0], clock.now())
    db.session.rollback()
    requests.approve(request.id, people[1], clock.now())
    db.session.commit()
    assert ledger.balance_fen("overage:wechat") == 0
    assert ledger.balance_fen("over_short:wechat") < 0
    assert cases.case_of(stranger.id).state == "done"
    assert ledger.check() == []


def test_a_day_over_open_differences_is_closed_once_each_has_been_signed(stranger, people, clock):
    with pytest.raises(Problem, match="day_has_breaks"):
        reconcile.close_day(DAY, None, None, clock.now())
    db.session.rollback()
    breaks.sign(stranger.id, "测试商户的款，与本公司无关", people[0], clock.now())
    db.session.commit()
    assert reconcile.close_day(DAY, None, None, clock.now()).day == DAY


def test_what_stands_aside_comes_back_by_itself_once_the_difference_is_gone(
    stranger, people, clock
):
    breaks.put_aside(stranger.id, "渠道多款，待查", people[0], clock.now())
    db.session.commit()
    day = breaks.about(stranger)[1]
    aside.release(day.id, [(stranger.type, breaks.about(stranger)[0].reference)], clock.now())
    assert ledger.balance_fen("overage:wechat") < 0  # it is one still
    aside.release(day.id, [], clock.now())
    db.session.commit()
    assert ledger.balance_fen("overage:wechat") == 0
    assert cases.case_of(stranger.id).state == "done"
    aside.release(day.id, [], clock.now())  # once
    assert verbs(stranger) == ["opened", "put_aside", "taken_back", "ended"]
    assert ledger.check() == []


def test_an_order_only_the_statement_knows_is_taken_in_from_its_difference(
    alice, people, clock, phone
):
    bill = builders.make_bill(alice.household, 12345)
    order, pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    phone.pay(pay)
    number = order.out_trade_no
    db.session.execute(db.text("DELETE FROM order_item"))
    db.session.execute(db.text("DELETE FROM payment_order"))
    db.session.commit()
    db.session.expunge_all()
    clock.advance(hours=23)
    reconcile.fetch_statement("wechat", DAY, clock.now())
    reconcile.reconcile("wechat", DAY, clock.now())
    db.session.commit()
    one = db.session.query(MoneyCase).filter_by(kind="break").one()
    assert one.type == "missing_here"
    parked.adopt(one.id, people[0], clock.now())
    breaks.apply(one.id, people[0], clock.now())
    assert cases.case_of(one.id).state == "done"
    assert asking.order_by_number(number).state == "parked"
    assert reconcile.close_day(DAY, None, None, clock.now()).reason is None
    assert ledger.check() == []


def test_asking_the_channel_about_a_difference_is_written_down(stranger, people, clock):
    said = breaks.apply(stranger.id, people[0], clock.now())
    assert "没有这个单号" in said and "仍有差异" in said
    assert verbs(stranger) == ["opened", "repaired"]


def test_a_difference_the_channel_can_prove_by_now_goes_with_its_case(alice, people, clock, phone):
    bill = builders.make_bill(alice.household, 12345)
    order, pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    phone.behave("payment_notice", "never", match=order.out_trade_no)
    phone.pay(pay)
    clock.advance(hours=23)
    reconcile.fetch_statement("wechat", DAY, clock.now())
    db.session.commit()
    phone.behave("answer", "error", match="query", times=9)
    reconcile.reconcile("wechat", DAY, clock.now())
    db.session.commit()
    one = db.session.query(MoneyCase).filter_by(kind="break").one()
    assert one.out_trade_no == order.out_trade_no
    requests_of_http.delete(f"{phone.url}/sandbox/behaviour", timeout=5)
    said = breaks.apply(one.id, people[0], clock.now())
    assert "已付款" in said and "已相符" in said
    assert cases.case_of(one.id).state == "done"
    assert db.session.query(Reconciliation).one().state == "agreed"
    assert asking.order_by_number(order.out_trade_no).state == "paid"
    assert ledger.check() == []
