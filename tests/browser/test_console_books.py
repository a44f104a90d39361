"""Finance's month in a browser: a batch, its result, the accounts, the month's close."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backend.base.db import db
from backend.cashier import (
    bank_accounts,
    bank_formats,
    vouchers,
)
from payments.flat_format import formats
from payments.sandbox import bank_desk
from tests import builders
from tests.browser.test_console_reading import sign_in
from tests.cashier import collecting
from tests.cashier.collecting import GOOD, LAYOUT, POOR, TODAY
from tests.cashier.test_months import home

__all__ = ["home"]


@pytest.fixture
def town(app: Any) -> Any:
    """A batch at the bank, and two more households that owe."""
    made = collecting.make_town()
    builders.make_staff("cash", roles=("finance",), name="周敏")
    bank_accounts.add_account("main", "工行基本户", "6222000011112222", "account-csv", TODAY)
    made.flat(GOOD, 123456, 3678)
    made.flat(POOR, 5120)
    made.flat(GOOD, 88000)
    db.session.commit()
    return made


def test_a_batch_and_its_result(
    town: Any, page: Page, small_page: Page, clock: Any, shot: Callable[[Page, str], None]
) -> None:
    batch = collecting.sent(town, clock.now())
    db.session.commit()
    answer = bank_desk.answer(LAYOUT, collecting.file_of(town, batch, clock.now()), TODAY)
    sign_in(page, "cash")
    page.goto("/console/collection")
    shot(page, "collection")
    upload = {"name": "回盘.txt", "mimeType": "text/plain", "buffer": answer[:-40]}
    page.locator("#file").set_input_files(upload)
    page.get_by_role("button", name="导入").click()
    expect(page.get_by_text("全部未入账")).to_be_visible()
    shot(page, "collection-refused")
    page.locator("#file").set_input_files({**upload, "buffer": answer})
    page.get_by_role("button", name="导入").click()
    expect(page.get_by_text("成功 2 笔，失败 1 笔")).to_be_visible()
    expect(page.get_by_text("账户余额不足")).to_be_visible()
    shot(page, "collection-batch")
    page.goto("/console/mandates")
    shot(page, "mandates")
    credits_ = [(f"代扣 {batch.batch_no}", 215134), ("往来款", 7700), ("财付通 结算", 4000)]
    data = bank_desk.account_file(formats()["account-csv"], "6222000011112222", TODAY, credits_)
    page.goto("/console/bank")
    page.locator("#file").set_input_files({**upload, "name": "流水.csv", "buffer": data})
    page.get_by_role("button", name="导入").click()
    expect(page.get_by_text(f"代扣批次 {batch.batch_no}")).to_be_visible()
    shot(page, "bank-statement")
    clock.advance(days=1)
    page.goto(f"/console/finance?day={TODAY.isoformat()}")
    page.get_by_role("button", name="核对银行").click()
    expect(page.get_by_text("不明来款")).to_be_visible()
    shot(page, "finance-banks")
    sign_in(small_page, "cash")
    for name, path in (
        ("collection", "/console/collection"),
        ("collection-batch", f"/console/collection/{batch.batch_no}"),
        ("mandates", "/console/mandates"),
        ("bank", "/console/bank"),
        ("bank-statement", "/console/bank/1"),
    ):
        small_page.goto(path)
        wide = small_page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, (path, wide)
        shot(small_page, f"{name}-390")


def test_a_month_and_its_vouchers(
    home: Any, page: Page, small_page: Page, clock: Any, shot: Callable[[Page, str], None]
) -> None:
    builders.make_staff("cash", roles=("finance",), name="周敏")
    sign_in(page, "cash")
    page.goto("/console/months?month=2026-10")
    expect(page.get_by_text("17 天没有日结").first).to_be_visible()
    shot(page, "months-open")
    page.get_by_label("要现在月结").fill("十五日之前未启用")
    page.get_by_role("button", name="签字并月结").click()
    expect(page.get_by_role("heading", name="已月结")).to_be_visible()
    page.goto("/console/vouchers")
    page.get_by_role("button", name="填入样例科目").click()
    expect(page.get_by_text("主营业务收入-热费")).to_be_visible()
    shot(page, "voucher-accounts")
    page.goto("/console/months?month=2026-10")
    with page.expect_download() as got:
        page.get_by_role("button", name="导出", exact=True).click()
    assert got.value.suggested_filename.startswith("凭证-202610-第1版")
    page.reload()
    shot(page, "months-closed")
    page.get_by_role("link", name="渠道在途 微信支付").click()
    expect(page.get_by_text("wechat:1")).to_be_visible()
    shot(page, "ledger-account")
    assert vouchers.runs(date(2026, 10, 1))[0].exports == 1
    assert bank_formats.layouts("account")
    sign_in(small_page, "cash")
    for name, path in (
        ("months-closed", "/console/months?month=2026-10"),
        ("voucher-accounts", "/console/vouchers"),
        ("ledger-account", "/console/ledger?code=clearing:wechat&month=2026-10"),
    ):
        small_page.goto(path)
        wide = small_page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, (path, wide)
        shot(small_page, f"{name}-390")
