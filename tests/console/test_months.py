"""月结 in the console: what blocks a month, its close, its vouchers, and its opening again."""

from __future__ import annotations

from datetime import date

import pytest

from tests.cashier.test_months import close_days, home
from tests.console.conftest import post

__all__ = ["home"]

PAGE = "/console/months?month=2026-10"
ACT = "/console/months/2026-10/act"


@pytest.fixture
def zhou(sign_in):
    return sign_in("finance", login="z2")


def test_a_month_from_its_checklist_to_its_vouchers(home, zhou, sign_in):
    page = zhou.get(PAGE).text
    assert "17 天没有日结" in page and "签字并月结" in page
    for code, fen in (("应收 热费", "60.00"), ("渠道在途 微信支付", "40.00")):
        assert code in page and fen in page
    close_days(date(2026, 10, 15), date(2026, 10, 31))
    post(zhou, ACT, PAGE, do="close")
    page = zhou.get(PAGE).text
    assert "已月结" in page and "申请重开" in page
    refused = post(zhou, "/console/months/2026-10/vouchers", PAGE, format="generic-csv")
    assert refused.status_code == 303
    assert "还有科目没有对应的 ERP 科目" in zhou.get(PAGE).text
    post(zhou, "/console/vouchers", do="sample")
    file = post(zhou, "/console/months/2026-10/vouchers", PAGE, format="generic-csv")
    assert "记".encode() in file.data and file.mimetype == "text/csv"
    again = post(zhou, "/console/months/2026-10/vouchers", PAGE, format="generic-csv")
    assert again.data == file.data and "%E9%87%8D%E5%A4%8D" in again.headers["Content-Disposition"]
    post(zhou, ACT, PAGE, do="ask", reason="漏记一笔收款")
    assert "同意重开" not in zhou.get(PAGE).text
    boss = sign_in("manager", login="b2")
    post(boss, ACT, PAGE, do="reopen")
    assert "已重开，待月结" in boss.get(PAGE).text


def test_an_accounts_statement_is_reached_from_the_trial_balance(home, zhou):
    group = zhou.get("/console/ledger?code=receivable:heat&month=2026-10").text
    assert f"receivable:heat:{home.id}" in group
    page = zhou.get(f"/console/ledger?code=receivable:heat:{home.id}&month=2026-10").text
    assert "100.00" in page and "60.00" in page and "wechat:1" in page
    assert zhou.get("/console/ledger?code=no:such").status_code == 404
    assert zhou.get("/console/ledger?month=13").status_code == 404


def test_managers_close_no_month_and_set_no_accounts(home, sign_in):
    boss = sign_in("manager")
    assert post(boss, ACT, "/console/shifts", do="close").status_code == 403
    assert "保存" not in boss.get("/console/vouchers").text
