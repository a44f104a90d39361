"""What the card terminals took is settled by their acquirer, slip by slip, and reaches the bank."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import (
    acquirers,
    bank_accounts,
    bank_day,
    bank_views,
    counter,
    shifts,
)
from backend.cashier.counter import Taking, Tender
from backend.ledger import service as ledger
from payments import bank
from payments.flat_format import formats
from payments.sandbox.bank_desk import account_file
from tests import builders
from tests.cashier.collecting import staff

TODAY = business_day(builders.NOON)
SHEET = formats()["acquirer-csv"].sheets["settlement"]


@pytest.fixture
def hall(app, clock):
    """A terminal of an acquirer, and three card payments of today: 100, 50 and 20 yuan."""
    zhou = staff("zhou")
    household = builders.make_household(builders.make_building())
    shifts.add_drawer("D1", "一号台")
    terminal = shifts.add_terminal("10000001", "大厅 POS", "ylsw")
    acquirers.add("ylsw", "银联商务", "acquirer-csv", TODAY)
    bank_accounts.add_account("main", "基本户", "6222", "account-csv", TODAY)
    shifts.open_shift(zhou, 1, {}, clock.now())
    db.session.commit()
    for slip, fen, utility in (
        ("001", 10000, "heat"),
        ("002", 5000, "water"),
        ("003", 2000, "gas"),
    ):
        bill = builders.make_bill(household, fen, utility=utility)
        tender = Tender("pos", fen, terminal.id, slip)
        taking = Taking(household.id, (bill.id,), 0, fen, tender)
        counter.take(zhou, f"k{slip}", taking, clock.now())
    return zhou


def row(slip, fen, fee=0, terminal="10000001", day=TODAY):
    return {
        "terminal_no": terminal,
        "reference": slip,
        "traded_on": day,
        "amount_fen": fen,
        "fee_fen": fee,
        "card_kind": "借记卡",
    }


ALL = [row("001", 10000, 38), row("002", 5000, 19), row("003", 2000, 8)]


def take(zhou, clock, rows, number="S2026112001"):
    data = bank.write(SHEET, {"settlement_no": number, "day": TODAY}, rows)
    made, new = acquirers.take("ylsw", "结算.csv", data, zhou, clock.now())
    db.session.commit()
    return made, new


def found(clock, day=TODAY):
    bank_day.examine_all(day, clock.now())
    return {
        (b["kind"], b["reference"], b["ours_fen"], b["theirs_fen"])
        for one in bank_day.summary(day)
        for b in one["breaks"]
        if b["resolved_at"] is None and one["channel"].startswith("acquirer")
    }


def test_cards_leave_the_terminal_for_the_bank_less_fees(hall, clock):
    take(hall, clock, ALL)
    assert ledger.balance_fen("pos:10000001") == 0
    assert ledger.balance_fen("clearing:acquirer-ylsw") == 17000 - 65
    assert ledger.balance_fen("fee:acquirer-ylsw") == 65
    assert found(clock) == set()
    clock.advance(days=1)
    layout = formats()["account-csv"]
    data = account_file(
        layout, "6222", TODAY + timedelta(days=1), [("银联商务 S2026112001", 16935)]
    )
    bank_accounts.take("main", "x.csv", data, hall, clock.now())
    assert ledger.balance_fen("clearing:acquirer-ylsw") == 0
    assert ledger.balance_fen("bank:main") == 16935
    assert ledger.check() == []


def test_the_same_settlement_again_changes_nothing_and_another_is_refused(hall, clock):
    first, _ = take(hall, clock, ALL)
    again, new = take(hall, clock, ALL)
    assert (again.id, new) == (first.id, False)
    with pytest.raises(Problem, match=r"^statement_changed:"):
        take(hall, clock, ALL[:1])
    db.session.rollback()
    take(
        hall, clock, ALL, number="S2026112002"
    )  # the same slips under another number: settled twice?
    assert ledger.balance_fen("clearing:acquirer-ylsw") == 16935
    assert {kind for kind, *_ in found(clock)} == {"duplicate"}


def test_every_sort_of_difference_is_found_and_none_invented(hall, clock):
    rows = [
        row("001", 10000, 38),
        row("002", 5001, 19),
        row("777", 300),
        row("001", 10000, 38, terminal="99"),
    ]
    take(hall, clock, rows)
    assert found(clock) == {
        ("amount", "10000001 002", 5000, 5001),
        ("missing_here", "10000001 777", None, 300),
        ("missing_here", "99 001", None, 10000),
        ("missing_there", "10000001 003", 2000, None),
    }
    assert ledger.balance_fen("pos:10000001") == 7000


def test_a_fee_beyond_what_is_agreed_is_said(hall, clock):
    take(hall, clock, [row("001", 10000, 101), *ALL[1:]])
    assert found(clock) == {("fee", "10000001 001", None, 101)}


def test_what_is_settled_later_is_found_when_the_day_is_looked_at_again(hall, clock):
    take(hall, clock, ALL[:2])
    assert found(clock) == {("missing_there", "10000001 003", 2000, None)}
    take(hall, clock, ALL[2:], number="S2026112002")
    assert found(clock) == set()
    assert ledger.balance_fen("pos:10000001") == 0


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda d: d.replace(b"170.00", b"171.00"), "totals_differ"),
        (lambda d: d.replace("凭证号".encode("gbk"), "凭证".encode("gbk")), "header"),
        (lambda d: d.decode("gbk").encode("utf-8"), "encoding"),
        (lambda d: b"", "empty"),
        (lambda d: d[: len(d) * 2 // 3], "columns"),
        (lambda d: d + d.splitlines(keepends=True)[-1], "totals_differ"),
        (lambda d: d.replace(b",\r\n", b",USD\r\n"), "currency"),
        (lambda d: d.replace(b"2026-11-20,3", b"2026-11-21,3"), "header"),
        (lambda d: d.replace(b",20.00,", b",20.0.0,"), "amount"),
        (lambda d: d + b"x" * 10_000, "too_large"),
    ],
)
def test_a_spoilt_settlement_changes_nothing(hall, clock, monkeypatch, spoil, code):
    monkeypatch.setattr(bank, "MAX_FILE_BYTES", 5_000)
    data = bank.write(SHEET, {"settlement_no": "S2026112001", "day": TODAY}, ALL)
    with pytest.raises(Problem) as caught:
        acquirers.take("ylsw", "x", spoil(data), hall, clock.now())
    db.session.rollback()
    fault = caught.value.extra["rows"][0]
    assert (caught.value.code, fault["code"]) == ("statement_broken", code)
    assert f"第 {fault['line']} 行：{fault['reason']}" in caught.value.detail
    assert ledger.balance_fen("pos:10000001") == 17000
    assert bank_views.settlements() == []


@pytest.mark.parametrize("wrong", [row("001", 100, 101), row("001", 100, -1), row("001", 0)])
def test_a_fee_beyond_its_card_or_no_money_at_all_is_refused(hall, clock, wrong):
    with pytest.raises(Problem) as caught:
        take(hall, clock, [wrong])
    db.session.rollback()
    assert caught.value.extra["rows"][0]["line"] == 3
    assert bank_views.settlements() == []


def test_a_settlement_of_an_acquirer_there_is_none_of_is_refused(hall, clock):
    with pytest.raises(Problem, match=r"^not_found:"):
        acquirers.take("none", "x", b"x", hall, clock.now())
