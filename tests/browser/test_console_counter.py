"""A cashier's morning in a browser: open, take, give change, close; and the same on a phone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backend.base.db import db
from backend.cashier import shifts
from backend.cashier.models import CounterPayment, Shift
from tests import builders
from tests.browser.test_console_reading import sign_in


@pytest.fixture
def hall(app: Any) -> Any:
    """A cashier, a drawer, a terminal, and a household with three bills."""
    builders.make_staff("cash", roles=("finance",), name="周敏")
    builders.make_staff("boss", roles=("manager",), name="李主管")
    flat = builders.make_household(builders.make_building(), owner="张三丰", account_no="10086")
    shifts.add_drawer("D1", "一号台")
    shifts.add_terminal("T1", "大厅 POS", "icbc")
    db.session.commit()
    builders.make_bill(flat, 123456, due_on=date(2026, 11, 10))
    builders.make_bill(flat, 3678, utility="water")
    builders.make_bill(flat, 5120, utility="gas")
    return flat


def open_shift(page: Page) -> None:
    page.goto("/console/shifts")
    page.get_by_label("100 元").fill("2")
    page.get_by_label("10 元").fill("10")
    expect(page.locator("[data-counted]")).to_have_text("300.00")
    page.get_by_label("备用金").fill("300")


def test_a_cashier_opens_takes_and_closes(
    page: Page, hall: Any, shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "cash")
    open_shift(page)
    shot(page, "counter-open")
    page.get_by_role("button", name="开班").click()
    page.get_by_label("户号").fill("10086")
    page.get_by_role("button", name="查找").click()
    expect(page.locator("[data-total]")).to_have_text("1,322.54")
    page.get_by_text("燃气费").click()  # untick it
    expect(page.locator("[data-total]")).to_have_text("1,271.34")
    page.get_by_label("实收现金").fill("1300")
    expect(page.locator("[data-change]")).to_have_text("28.66")
    shot(page, "counter-take")
    page.get_by_role("button", name="确认收款").click()
    expect(page.get_by_role("heading", name="已收款")).to_be_visible()
    expect(page.get_by_text("28.66")).to_be_visible()
    shot(page, "counter-taken")
    page.get_by_label("户号").fill("10086")
    page.get_by_role("button", name="查找").click()
    page.get_by_label("刷卡", exact=True).check()
    expect(page.get_by_label("实收现金")).to_be_hidden()
    page.get_by_label("签购单号").fill("000771")
    shot(page, "counter-card")
    page.get_by_role("button", name="确认收款").click()
    expect(page.get_by_role("heading", name="已收款")).to_be_visible()
    page.goto(f"/console/shifts/{db.session.query(Shift).one().id}")
    expect(page.get_by_role("cell", name="1,271.34")).to_be_visible()
    shot(page, "counter-shift")
    for label, pieces in (("100 元", "15"), ("50 元", "1"), ("20 元", "1"), ("1 元", "1")):
        page.get_by_label(label, exact=True).fill(pieces)
    page.get_by_label("签购单合计").fill("51.20")
    page.get_by_label("留给下一班").fill("300")
    page.get_by_label("写明原因").fill("零钱短少")
    page.get_by_role("button", name="交班").click()
    expect(page.get_by_text("已交班", exact=True)).to_be_visible()
    expect(page.get_by_text("−0.34")).to_be_visible()
    shot(page, "counter-closed")
    page.emulate_media(media="print")
    expect(page.get_by_text("接班人签字")).to_be_visible()
    expect(page.get_by_role("link", name="日结")).to_be_hidden()
    shot(page, "counter-paper")
    page.emulate_media(media="screen")
    page.goto("/console/shifts")
    shot(page, "counter-shifts")
    page.goto("/console/finance?day=2026-11-20")
    expect(page.get_by_role("rowheader", name="钱箱 D1")).to_be_visible()
    shot(page, "counter-finance")
    assert db.session.query(CounterPayment).count() == 2


def test_the_counter_fits_a_phone(
    small_page: Page, hall: Any, shot: Callable[[Page, str], None]
) -> None:
    sign_in(small_page, "cash")
    open_shift(small_page)
    shot(small_page, "counter-phone-open")
    small_page.get_by_role("button", name="开班").tap()
    small_page.get_by_label("户号").fill("10086")
    small_page.get_by_role("button", name="查找").tap()
    small_page.get_by_label("实收现金").fill("1400")
    shot(small_page, "counter-phone-take")
    small_page.get_by_role("button", name="确认收款").tap()
    expect(small_page.get_by_role("heading", name="已收款")).to_be_visible()
    shot(small_page, "counter-phone-taken")
    small_page.goto(f"/console/shifts/{db.session.query(Shift).one().id}")
    shot(small_page, "counter-phone-shift")
    small_page.get_by_text("撤销", exact=True).tap()
    small_page.get_by_placeholder("原因", exact=True).fill("收错户")
    shot(small_page, "counter-phone-void")
    assert small_page.evaluate("document.documentElement.scrollWidth") <= 390
    small_page.get_by_role("button", name="撤销并退款").tap()
    expect(small_page.get_by_text("超过限额，须由另一位同事当场核准。")).to_be_visible()
    small_page.get_by_text("撤销", exact=True).tap()
    small_page.get_by_placeholder("原因", exact=True).fill("收错户")
    small_page.get_by_placeholder("大额：核准人").fill("boss")
    small_page.get_by_placeholder("密码", exact=True).fill("correct horse")
    small_page.get_by_role("button", name="撤销并退款").tap()
    expect(small_page.get_by_text("已撤销，请把钱退给住户。")).to_be_visible()
    assert small_page.evaluate("document.documentElement.scrollWidth") <= 390
