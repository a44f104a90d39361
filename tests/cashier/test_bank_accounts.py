"""What a bank took reaches the company's account, to the fen, or the day says what is missing."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import bank_accounts, bank_day, bank_views, books, reconcile
from backend.cashier.bank_rules import Payout, payout_words, recognise
from backend.cashier.collection_models import CollectingBank
from backend.cashier.models import Reconciliation
from backend.ledger import service as ledger
from payments import bank
from payments.flat_format import formats
from payments.sandbox.bank_desk import account_file
from tests.cashier import collecting
from tests.cashier.collecting import GOOD, TODAY, answered, sent, take

NO = "6222000012345678"
MORROW = TODAY + timedelta(days=1)
LAYOUT = formats()["account-csv"]


@pytest.fixture
def town(app):
    made = collecting.make_town()
    bank_accounts.add_account("main", "基本户", NO, "account-csv", TODAY)
    db.session.commit()
    return made


@pytest.fixture
def batch(town, clock):
    """A batch of 12.00 yuan that the bank has taken today."""
    town.flat(GOOD, 1000, 200)
    made = sent(town, clock.now())
    take(town, answered(town, made, clock.now()), clock.now())
    return made


def arrive(town, clock, day, *credits_):
    made, new = bank_accounts.take(
        "main", "流水.csv", account_file(LAYOUT, NO, day, credits_), town.zhou, clock.now()
    )
    db.session.commit()
    return made, new


def next_noon(clock):
    clock.advance(days=1)


def close(day, town, clock, reason=None):
    made = reconcile.close_day(day, town.zhou.id, reason, clock.now())
    db.session.commit()
    return made


def found(day, name="account:main"):
    query = sa.select(Reconciliation).where(
        Reconciliation.day == day, Reconciliation.channel == name
    )
    return db.session.scalars(query).one()


def breaks(day):
    return {
        (b["kind"], b["reference"], b["ours_fen"], b["theirs_fen"])
        for row in bank_day.summary(day)
        for b in row["breaks"]
        if b["resolved_at"] is None
    }


def test_the_days_close_once_the_money_has_arrived(town, batch, clock):
    next_noon(clock)
    arrive(town, clock, TODAY)
    close(TODAY, town, clock)
    assert found(TODAY, "bank").state == "agreed"
    assert found(TODAY, "bank").channel_fen == 1200
    arrive(town, clock, MORROW, (f"代扣 {batch.batch_no}", 1200))
    assert ledger.balance_fen("clearing:bank") == 0
    assert ledger.balance_fen("bank:main") == 1200
    next_noon(clock)
    close(MORROW, town, clock)
    row = found(MORROW)
    assert (row.ledger_fen, row.channel_fen, row.orders_fen) == (1200, 1200, 1200)
    assert ledger.check() == []


def test_what_the_bank_keeps_by_contract_is_booked_as_its_fee(town, batch, clock):
    db.session.execute(sa.update(CollectingBank).values(fee_per_line_fen=30))
    arrive(town, clock, TODAY, (f"代扣 {batch.batch_no}", 1170))
    assert ledger.balance_fen("clearing:bank") == 0
    assert ledger.balance_fen("bank:main") == 1170
    assert ledger.balance_fen("fee:bank") == 30


def test_a_day_whose_payout_did_not_come_closes_only_signed(town, batch, clock):
    next_noon(clock)
    arrive(town, clock, MORROW)
    bank_day.examine_all(MORROW, clock.now())
    assert breaks(MORROW) == {("payout_missing", f"batch:{batch.batch_no}", 1200, None)}
    next_noon(clock)
    with pytest.raises(Problem, match=r"^day_has_breaks:"):
        close(MORROW, town, clock)
    db.session.rollback()
    assert close(MORROW, town, clock, "银行周末不记账").reason == "银行周末不记账"


def test_a_payout_that_is_short_says_by_how_much_and_the_rest_may_follow(town, batch, clock):
    next_noon(clock)
    arrive(town, clock, MORROW, (batch.batch_no, 1000))
    bank_day.examine_all(MORROW, clock.now())
    assert breaks(MORROW) == {("payout_amount", f"batch:{batch.batch_no}", 1200, 1000)}
    assert ledger.balance_fen("clearing:bank") == 200
    next_noon(clock)
    arrive(town, clock, MORROW + timedelta(days=1), (batch.batch_no, 200))
    assert ledger.balance_fen("clearing:bank") == 0


def test_a_credit_nobody_knows_waits_for_a_person_and_moves_nothing(town, batch, clock):
    arrive(town, clock, TODAY, ("往来款", 777), (batch.batch_no, 1201))
    bank_day.examine_all(TODAY, clock.now())
    kinds = {(kind, theirs) for kind, _, _, theirs in breaks(TODAY)}
    assert kinds == {("credit_unknown", 777), ("credit_unknown", 1201)}
    assert ledger.balance_fen("bank:main") == 0


def test_a_channels_payout_leaves_its_clearing_account(town, clock):
    arrive(town, clock, TODAY, ("财付通支付科技有限公司 结算款", 5000))
    assert ledger.balance_fen("bank:main") == 5000
    assert ledger.balance_fen("clearing:wechat") == -5000


def test_a_statement_that_was_not_imported_is_a_difference(town, clock):
    bank_day.examine_all(TODAY, clock.now())
    assert breaks(TODAY) == {("statement_missing", "main", None, None)}
    arrive(town, clock, TODAY)
    bank_day.examine_all(TODAY, clock.now())
    assert breaks(TODAY) == set()


def test_the_same_statement_again_is_the_one_there_and_another_is_refused(town, batch, clock):
    first, _ = arrive(town, clock, TODAY, (batch.batch_no, 1200))
    again, new = arrive(town, clock, TODAY, (batch.batch_no, 1200))
    assert (again.id, new) == (first.id, False)
    assert ledger.balance_fen("bank:main") == 1200
    with pytest.raises(Problem, match=r"^statement_changed:"):
        arrive(town, clock, TODAY, (batch.batch_no, 1199))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda d: d.replace(b"12.00", b"13.00", 1), "totals_differ"),
        (lambda d: d.replace(NO.encode(), b"6222000012345679"), "account"),
        (lambda d: d.replace("流水号".encode(), "流水".encode()), "header"),
        (lambda d: d.replace(b"2026-11-20,J", b"2026-11-19,J"), "time"),
        (lambda d: b"\xff" + d, "encoding"),
        (lambda d: b"", "empty"),
        (lambda d: d[: len(d) * 2 // 3], "columns"),
        (lambda d: d.replace(b",\r\n", b",USD\r\n"), "currency"),
        (lambda d: d.replace(b"12.00", b"1x.00"), "amount"),
        (lambda d: d + d.splitlines(keepends=True)[-1], "totals_differ"),
        (lambda d: d.replace(b"2026-11-20", b"2026-11-21"), "time"),
        (lambda d: d.replace(b"12.00", b"0.00"), "amount"),
    ],
)
def test_a_spoilt_statement_changes_nothing(town, batch, clock, spoil, code):
    data = spoil(account_file(LAYOUT, NO, TODAY, [(batch.batch_no, 1200)]))
    with pytest.raises(Problem) as caught:
        bank_accounts.take("main", "流水.csv", data, town.zhou, clock.now())
    db.session.rollback()
    assert caught.value.code == "statement_broken"
    assert caught.value.extra["rows"][0]["code"] == code
    assert ledger.balance_fen("bank:main") == 0


def test_a_serial_twice_or_of_another_day_is_refused(town, batch, clock):
    first = account_file(LAYOUT, NO, TODAY, [("一", 100), ("二", 200)])
    with pytest.raises(Problem) as caught:
        spoilt = first.replace(b"J20261120000002", b"J20261120000001")
        bank_accounts.take("main", "流水.csv", spoilt, town.zhou, clock.now())
    db.session.rollback()
    assert caught.value.extra["rows"] == [{"line": 4, "code": "duplicate", "reason": "流水号重复"}]
    arrive(town, clock, TODAY, ("一", 100))
    next_noon(clock)
    again = account_file(LAYOUT, NO, MORROW, [("一", 100)]).replace(b"J20261121", b"J20261120")
    with pytest.raises(Problem, match="流水号重复"):
        bank_accounts.take("main", "流水.csv", again, town.zhou, clock.now())
    db.session.rollback()
    assert [row["day"] for row in bank_views.statements()] == [TODAY]


def test_a_statement_beyond_the_limit_or_of_no_account_of_ours_is_refused(town, clock, monkeypatch):
    with pytest.raises(Problem, match=r"^not_found:"):
        bank_accounts.take("none", "流水.csv", b"x", town.zhou, clock.now())
    monkeypatch.setattr(bank, "MAX_FILE_BYTES", 1_000)
    with pytest.raises(Problem) as caught:
        bank_accounts.take("main", "流水.csv", b"x" * 1_001, town.zhou, clock.now())
    assert caught.value.extra["rows"][0]["code"] == "too_large"
    assert bank_views.statements() == []


def test_money_of_a_closed_day_is_posted_today(town, batch, clock):
    next_noon(clock)
    arrive(town, clock, TODAY)
    close(TODAY, town, clock)
    assert books.moment_on(TODAY, clock.now()) == clock.now()


def test_what_a_credit_is_by_rule():
    payouts = {"B1": Payout("batch:B1", "bank", 1000, 50, 0, 0)}
    payouts["LONG-1"] = Payout("batch:LONG-1", "bank", 1000, 50, 0, 0)
    deposits = {"J0012": (7, 400)}
    words = payout_words("财付通=wechat, 支付宝=alipay")

    def key(text, fen):
        got = recognise(text, fen, payouts, deposits, words)
        return got and (got.key, got.fee_fen)

    assert key("代扣LONG-1", 950) == ("batch:LONG-1", 50)
    assert key("代扣LONG-1", 1000) == ("batch:LONG-1", 0)
    assert key("代扣LONG-1", 1001) is None
    assert key("现金缴存 J0012", 400) == ("deposit:7", 0)
    assert key("现金缴存 J0012", 401) is None
    assert key("支付宝（中国）", 9) == ("channel:alipay", 0)
    with pytest.raises(ValueError, match="word=channel"):
        payout_words("财付通")
