"""Every kind of difference has its repair: a person carries it out, and the ledger follows."""

from datetime import date, timedelta

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests
from backend.billing.models import Bill
from backend.cashier import (
    breaks,
    cases,
    checks,
    desk_views,
    parked,
)
from backend.cashier.confirm import confirm
from backend.cashier.models import Break
from backend.cashier.parked import Move
from backend.ledger import service as ledger
from payments.channel import TradeState, TradeStatus
from payments.statement import RowKind
from tests.cashier.telling import again, line, told

DAY = date(2026, 11, 20)
NEXT = DAY + timedelta(days=1)


def balances(*families):
    return [ledger.balance_fen(f"{family}:wechat") for family in families]


def sound():
    return ledger.check() == [] and checks.breaks() == []


def bill_no(order):
    return db.session.get_one(Bill, order.items[0].bill_id).bill_no


def test_more_than_we_counted_is_put_aside_and_finds_its_owner(pay, people, clock, alice):
    order = pay(12345)
    one = told(DAY, [line(order, 12445)], clock)["amount"]
    assert desk_views.actions(one, None) == [
        "take",
        "assign",
        "comment",
        "repair",
        "put_aside",
        "explain",
    ]
    breaks.put_aside(one.id, "渠道多记一元", people[0], clock.now())
    db.session.commit()
    assert balances("clearing", "overage") == [12445, -100]
    assert again(DAY, clock) == {} and sound()
    wanted = Move(one.id, alice.household.account_no, 60)
    parked.move(wanted, "核实为该户多付", people[0], clock.now())
    db.session.commit()
    assert (cases.case_of(one.id).state, cases.case_of(one.id).left_fen) == ("suspense", 40)
    parked.move(Move(one.id, alice.household.account_no, 40), "余下", people[0], clock.now())
    db.session.commit()
    assert balances("overage") == [0]
    assert ledger.balance_fen(f"wallet:{alice.household.id}") == -100
    assert cases.case_of(one.id).state == "done" and sound()
    assert [step["verb"] for step in cases.history(one.id)] == [
        "opened", "put_aside", "moved", "moved", "ended",
    ]  # fmt: skip
    assert again(DAY, clock) == {}


def test_less_than_we_counted_is_owed_again_or_let_go_by_two(pay, people, clock, alice):
    order = pay(12345)
    one = told(DAY, [line(order, 12000)], clock)["amount"]
    breaks.put_aside(one.id, "渠道少记", people[0], clock.now())
    db.session.commit()
    assert balances("clearing", "shortage") == [12000, 345]
    number, account_no = bill_no(order), alice.household.account_no
    with pytest.raises(Problem, match="case_moved"):
        parked.move(Move(one.id, account_no, 346, number), "补收", people[0], clock.now())
    db.session.rollback()
    with pytest.raises(Problem, match="case_not_so"):  # there is nothing in the balance to take
        parked.move(Move(one.id, account_no, 300), "补收", people[0], clock.now())
    db.session.rollback()
    parked.move(Move(one.id, account_no, 300, number), "补收", people[0], clock.now())
    db.session.commit()
    bill = db.session.query(Bill).one()
    assert (bill.state, bill.paid_fen) == ("issued", 12045)
    assert balances("shortage") == [45] and sound()
    request = breaks.ask_write_off(one.id, "零头不追", people[0], clock.now())
    db.session.commit()
    requests.approve(request.id, people[1], clock.now())
    db.session.commit()
    assert balances("shortage", "over_short") == [0, 45]
    assert cases.case_of(one.id).state == "done" and sound()


def test_a_wrong_amount_that_lies_in_suspense_already_is_decided_on_there(
    pay, people, clock, phone, alice
):
    phone.behave("payment", "wrong_amount", params={"amount_fen": 12000})
    order = pay(12345)
    one = told(DAY, [line(order, 12000)], clock)["amount"]
    with pytest.raises(Problem, match="case_not_so"):
        breaks.put_aside(one.id, "不该挂两次", people[0], clock.now())
    db.session.rollback()
    (there,) = desk_views.case_view(one.id, clock.now())["related"]
    assert there["title"] == "金额不符"
    parked.move(
        Move(there["id"], alice.household.account_no, 12000), "入账", people[0], clock.now()
    )
    db.session.commit()
    assert again(DAY, clock) == {} and sound()


def test_a_fee_beyond_the_contract_is_claimed_from_the_channel(pay, people, clock, alice):
    order = pay(12345)
    one = told(DAY, [line(order, fee_fen=500)], clock)["fee"]
    breaks.put_aside(one.id, "多收，向渠道追回", people[0], clock.now())
    db.session.commit()
    assert balances("fee", "shortage", "clearing") == [124, 376, 12345 - 500]
    assert "move" not in desk_views.actions(one, None)  # no household owes the channel's fee
    with pytest.raises(Problem, match="case_not_so"):
        parked.move(Move(one.id, alice.household.account_no, 1), "补收", people[0], clock.now())
    db.session.rollback()
    assert again(DAY, clock) == {} and sound()
    breaks.take_back(one.id, "合同确有此费率", people[1], clock.now())
    breaks.sign(one.id, "按新费率认可", people[1], clock.now())
    db.session.commit()
    assert balances("fee", "shortage") == [500, 0]
    assert cases.case_of(one.id).state == "done" and sound()


def test_a_fee_kept_on_what_was_given_back_counts_the_other_way(pay, people, clock):
    order = pay(10000)
    back = line(order, 100, fee_fen=3, kind=RowKind.REFUND)._replace(out_refund_no="R1")
    one = told(DAY, [line(order), back], clock)["fee"]
    assert breaks.about(one)[0].gap_fen == -3  # the channel took three where it should give


def test_money_told_on_two_days_is_proven_by_both(pay, people, clock):
    order, other = pay(12345), pay(500)
    clock.advance(hours=23)
    one = told(DAY, [line(other)], clock)["missing_there"]
    breaks.put_aside(one.id, "等次日对账单", people[0], clock.now())
    db.session.commit()
    assert balances("shortage") == [12345]
    clock.advance(hours=24)
    two = told(NEXT, [line(order)], clock)["cross_day"]
    breaks.pair(two.id, people[1], clock.now())
    db.session.commit()
    assert balances("shortage", "clearing") == [0, 12845] and sound()
    assert {cases.case_of(case.id).state for case in (one, two)} == {"done"}
    said = db.session.get(Break, int(two.reference)).resolution
    assert said == "跨日核对相符：渠道记在 2026-11-21，本方记在 2026-11-20"
    assert again(NEXT, clock) == {}


def test_two_days_that_do_not_add_up_stay_open(pay, people, clock):
    order = pay(12345)
    clock.advance(hours=47)
    one = told(NEXT, [line(order)], clock)["cross_day"]
    told(DAY, [line(order)], clock)  # told twice
    with pytest.raises(Problem, match="case_not_so"):
        breaks.pair(one.id, people[0], clock.now())
    db.session.rollback()
    assert cases.case_of(one.id).state == "open" and sound()


def test_nothing_else_is_paired(pay, people, clock):
    one = told(DAY, [line(pay(12345), 12000)], clock)["amount"]
    with pytest.raises(Problem, match="case_not_so"):
        breaks.pair(one.id, people[0], clock.now())


def test_what_was_paid_twice_is_given_back_where_it_lies_and_the_difference_goes(
    pay, people, clock, alice
):
    order = pay(12345)
    twice = TradeState(order.out_trade_no, TradeStatus.PAID, "4200TWICE", 12345, "a", clock.now())
    assert confirm("wechat", twice, clock.now()) == "parked"
    db.session.commit()
    found = told(DAY, [line(order), line(order, transaction_id="4200TWICE")], clock)
    assert set(found) == {"duplicate"}
    one = found["duplicate"]
    (there,) = desk_views.case_view(one.id, clock.now())["related"]
    assert there["title"] == "同一订单重复付款"
    wanted = Move(there["id"], alice.household.account_no, 12345)
    parked.move(wanted, "付款人要求入余额", people[0], clock.now())
    db.session.commit()
    assert again(DAY, clock) == {} and sound()
    assert cases.case_of(one.id).state == "done"


def test_a_stranger_who_paid_twice_stands_aside_with_both(pay, people, clock):
    order = pay(12345)
    strange = [
        line(order, 100, transaction_id=number)._replace(out_trade_no="STRANGER")
        for number in ("4200A", "4200B")
    ]
    one = told(DAY, [line(order), *strange], clock)["missing_here"]
    breaks.put_aside(one.id, "来历不明", people[0], clock.now())
    db.session.commit()
    assert balances("overage", "clearing") == [-200, 12545]


def test_every_kind_a_channels_proof_finds_has_a_repair_and_words():
    from backend.cashier import rules

    for kind, able in breaks.REPAIRS.items():
        assert able and kind in rules.SUGGESTIONS and kind in cases.TYPES_ZH
