"""Movements, acquirers' settlements, months and vouchers over the API, and strangers."""

from __future__ import annotations

import base64
import csv
import io

import pytest

from backend.base.db import db
from backend.cashier import acquirers, bank_accounts, counter, shifts
from backend.cashier.counter import Taking, Tender
from backend.ledger import service as ledger
from backend.people.models import Staff
from payments import bank
from payments.flat_format import formats
from payments.sandbox.bank_desk import account_file
from tests import builders
from tests.api.conftest import problem
from tests.cashier import collecting
from tests.cashier.collecting import GOOD, TODAY, answered, sent
from tests.cashier.test_months import IN_OCTOBER

ROOT = "/api/v1/staff"
NO = "6222000012345678"


@pytest.fixture
def town(app):
    made = collecting.make_town()
    bank_accounts.add_account("main", "基本户", NO, "account-csv", TODAY)
    acquirers.add("ylsw", "银联商务", "acquirer-csv", TODAY)
    db.session.commit()
    return made


@pytest.fixture
def ask(app, town):
    """Somebody's request; zhou and li are of finance, wang reads meters, chen lives here."""
    people = {
        "zhou": builders.headers_for(db.session.get_one(Staff, town.zhou.id)),
        "li": builders.headers_for(db.session.get_one(Staff, town.li.id)),
        "wang": builders.headers_for(builders.make_staff("wang", roles=["reader"])),
        "chen": builders.headers_for(builders.make_resident("chen")),
    }

    def send(method, path, body=None, who="zhou"):
        return app.test_client().open(ROOT + path, method=method, json=body, headers=people[who])

    return send


def sent_file(data, **more):
    return {**more, "name": "流水.csv", "file": base64.b64encode(data).decode()}


def test_movements_are_taken_listed_and_looked_at_again(ask, town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    credits_ = [(f"代扣 {batch.batch_no}", 1000), ("往来款", 7)]
    data = account_file(formats()["account-csv"], NO, TODAY, credits_)
    body = sent_file(data, account="main")
    first, again = (ask("POST", "/bank/statements", body).json for _ in range(2))
    assert (first["rows"], first["new"], again["new"]) == (2, True, False)
    assert first["unknown_credits"] == 2  # the bank has not told us yet that it took them
    collecting.take(town, answered(town, batch, clock.now()), clock.now())
    path = f"/bank/statements/{first['id']}"
    found = ask("POST", f"{path}/match").json
    assert (found["found"], found["unknown_credits"]) == (1, 1)
    assert ask("POST", f"{path}/match").json["found"] == 0
    assert ledger.balance_fen("bank:main") == 1000
    matched = [row["matched"] for row in ask("GET", f"{path}/lines").json["items"]]
    assert matched == [f"batch:{batch.batch_no}", None]
    assert ask("GET", f"{path}/lines?after=2").json["items"] == []
    (listed,) = ask("GET", "/bank/statements?code=main").json["items"]
    assert (listed["id"], listed["credit_fen"]) == (first["id"], 1007)
    assert ask("GET", "/bank/statements?code=other").json["items"] == []
    assert ask("GET", f"/bank/statements?before={first['id']}").json["items"] == []
    assert [row["code"] for row in ask("GET", "/bank/accounts").json["items"]] == ["main"]


def test_what_is_no_statement_is_refused_by_name(ask, town):
    spoilt = sent_file(b"\xff", account="main")
    assert problem(ask("POST", "/bank/statements", spoilt)) == (422, "statement_broken")
    body = {**spoilt, "file": "%%%"}
    answer = ask("POST", "/bank/statements", body)
    assert (*problem(answer), answer.json["field"]) == (422, "validation", "file")
    assert problem(ask("POST", "/bank/statements", {**spoilt, "account": "no"})) == (
        404,
        "not_found",
    )
    broken = sent_file(b"", acquirer="ylsw")
    assert problem(ask("POST", "/acquirers/settlements", broken)) == (422, "validation")
    broken = sent_file(b"x", acquirer="ylsw")
    assert problem(ask("POST", "/acquirers/settlements", broken)) == (422, "statement_broken")
    for path in ("/bank/statements/9/match", "/bank/statements/9/lines", "/bank/statements/9"):
        method = "POST" if path.endswith("match") else "GET"
        assert problem(ask(method, path)) == (404, "not_found")
    for path in ("/acquirers/settlements/9", "/acquirers/settlements/9/rows"):
        assert problem(ask("GET", path)) == (404, "not_found")


def test_a_settlement_is_taken_and_its_rows_name_the_receipts(ask, town, clock):
    household = builders.make_household(town.building, "901")
    shifts.add_drawer("D1", "一号台")
    terminal = shifts.add_terminal("10000001", "大厅 POS", "ylsw")
    shifts.open_shift(town.zhou, 1, {}, clock.now())
    bill = builders.make_bill(household, 5000)
    taking = Taking(household.id, (bill.id,), 0, 5000, Tender("pos", 5000, terminal.id, "001"))
    paid = counter.take(town.zhou, "tap", taking, clock.now())
    rows = [
        {
            "terminal_no": "10000001",
            "reference": slip,
            "traded_on": TODAY,
            "amount_fen": fen,
            "fee_fen": 19,
            "card_kind": "借记卡",
        }
        for slip, fen in (("001", 5000), ("777", 800))
    ]
    sheet = formats()["acquirer-csv"].sheets["settlement"]
    data = bank.write(sheet, {"settlement_no": "S1", "day": TODAY}, rows)
    body = sent_file(data, acquirer="ylsw")
    first, again = (ask("POST", "/acquirers/settlements", body).json for _ in range(2))
    assert (first["amount_fen"], first["unknown_rows"], first["new"]) == (5800, 1, True)
    assert (again["id"], again["new"]) == (first["id"], False)
    other = sent_file(data.replace(b"777", b"778"), acquirer="ylsw")
    assert problem(ask("POST", "/acquirers/settlements", other)) == (409, "statement_changed")
    path = f"/acquirers/settlements/{first['id']}"
    receipts = [row["receipt_no"] for row in ask("GET", f"{path}/rows").json["items"]]
    assert receipts == [paid.receipt_no, None]
    (listed,) = ask("GET", "/acquirers/settlements?code=ylsw").json["items"]
    assert listed["number"] == ask("GET", path).json["number"] == "S1"
    assert [row["code"] for row in ask("GET", "/acquirers").json["items"]] == ["ylsw"]


def test_a_month_is_opened_again_by_two_and_its_vouchers_come_twice_the_same(ask, town):
    builders.make_bill(builders.make_household(town.building, "901"), 10000, issued_at=IN_OCTOBER)
    month = "/ledger/months/2026-10"
    assert problem(ask("POST", f"{month}/reopen")) == (409, "month_not_closed")
    closed = ask("POST", f"{month}/close", {"reason": "十五日之前未启用"}).json
    assert (closed["state"], closed["runs"]) == ("closed", 1)
    wanted = {"format": "generic-csv"}
    assert problem(ask("POST", f"{month}/vouchers", wanted)) == (409, "vouchers_unmapped")
    groups = ask("GET", f"{month}/vouchers").json["unmapped"]
    for prefix in groups:
        line = {"prefix": prefix, "erp_code": "1122", "erp_name": "应收"}
        assert ask("PUT", "/ledger/voucher-accounts", line).status_code == 200
    assert len(ask("GET", "/ledger/voucher-accounts").json["items"]) == len(groups) == 2
    first, again = (ask("POST", f"{month}/vouchers", wanted) for _ in range(2))
    assert first.data == again.data and first.headers["Cache-Control"] == "no-store"
    lines = list(csv.reader(io.StringIO(first.data.decode("utf-8-sig"))))
    assert len(lines) == 3 and any("100.00" in cell for cell in lines[1])
    (export,) = ask("GET", f"{month}/vouchers").json["exports"]
    assert (export["exports"], export["lines"]) == (2, 2)
    assert problem(ask("POST", f"{month}/vouchers", {"format": "no"})) == (404, "not_found")
    assert problem(ask("POST", f"{month}/reopen-request", {})) == (422, "reason_missing")
    asked = ask("POST", f"{month}/reopen-request", {"reason": "漏记一笔退款"}).json
    assert (asked["reopen_asked_by"], asked["reopen_reason"]) == (town.zhou.id, "漏记一笔退款")
    assert problem(ask("POST", f"{month}/reopen")) == (409, "second_person")
    opened = ask("POST", f"{month}/reopen", who="li").json
    assert (opened["state"], opened["sha256"]) == ("reopened", None)


def test_a_list_costs_the_same_however_long_it_is(ask, town, clock, queries):
    layout = formats()["account-csv"]

    def cost():
        queries.clear()
        ask("GET", "/bank/statements")
        return len(queries)

    bank_accounts.take("main", "x", account_file(layout, NO, TODAY, []), town.zhou, clock.now())
    db.session.commit()
    few = cost()
    for n in range(5):
        bank_accounts.add_account(f"n{n}", "户", f"99{n}", "account-csv", TODAY)
        data = account_file(layout, f"99{n}", TODAY, [("往来款", 7)])
        bank_accounts.take(f"n{n}", "x", data, town.zhou, clock.now())
    db.session.commit()
    assert cost() == few


@pytest.mark.parametrize("who", ["wang", "chen"])
def test_whoever_is_not_of_finance_sees_no_account(ask, who):
    asked = [
        ("GET", "/bank/accounts"),
        ("GET", "/bank/statements"),
        ("POST", "/bank/statements/1/match"),
        ("GET", "/acquirers"),
        ("GET", "/acquirers/settlements"),
        ("GET", "/ledger/voucher-accounts"),
        ("GET", "/ledger/months/2026-10/vouchers"),
        ("POST", "/ledger/months/2026-10/reopen"),
    ]
    for method, path in asked:
        assert problem(ask(method, path, who=who)) == (403, "forbidden"), path
