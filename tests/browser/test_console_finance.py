"""A finance clerk's morning in a browser: sign in, fetch the statement, close the day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backend.base.clock import FixedClock
from backend.base.db import db
from backend.cashier import reconcile
from backend.cashier.models import FinanceDay
from tests import builders
from tests.browser.test_console_reading import sign_in
from tests.console.conftest import TODAY


@pytest.fixture
def clerk() -> Any:
    """A clerk who signs in as `cash`."""
    return builders.make_staff("cash", roles=("finance", "manager"), name="周敏")


@pytest.fixture
def earlier_days(clock: FixedClock) -> None:
    """The ten days before are closed, one of them over a difference."""
    for back in range(10, 0, -1):
        day = TODAY - timedelta(days=back)
        reconcile.close_day(day, None, None, clock.now())
        db.session.commit()


def test_a_day_that_agrees_is_closed_by_hand(
    page: Page,
    pay: Callable[[int], str],
    clerk: Any,
    clock: FixedClock,
    earlier_days: None,
    shot: Callable[[Page, str], None],
) -> None:
    for amount_fen in (128_56, 2_310_00, 96_40):
        pay(amount_fen)
    clock.advance(hours=23)
    sign_in(page, "cash")
    expect(page.get_by_role("heading", name="11月20日 周五").first).to_be_visible()
    shot(page, "finance-before")
    page.get_by_role("button", name="获取对账单").click()
    expect(page.get_by_text("对账完成，三方相符。")).to_be_visible()
    expect(page.get_by_role("cell", name="2,534.96")).to_have_count(3)
    shot(page, "finance-agreed")
    page.get_by_role("button", name="日结", exact=True).click()
    expect(page.get_by_role("heading", name="已日结")).to_be_visible()
    shot(page, "finance-closed")
    closed = db.session.get(FinanceDay, TODAY)
    assert closed is not None and closed.closed_by == clerk.id


def test_a_difference_is_signed_for_on_a_phone(
    small_page: Page,
    pay: Callable[[int], str],
    phone: Any,
    clerk: Any,
    clock: FixedClock,
    earlier_days: None,
    shot: Callable[[Page, str], None],
) -> None:
    pay(128_56)
    phone.behave("statement", "extra_row", match=TODAY.isoformat())
    clock.advance(hours=23)
    sign_in(small_page, "cash")
    small_page.get_by_role("button", name="获取对账单").tap()
    expect(small_page.get_by_text("STRANGER-ORDER-1")).to_be_visible()
    assert small_page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(small_page, "finance-phone")
    small_page.set_viewport_size({"width": 1440, "height": 900})
    shot(small_page, "finance-breaks")
    small_page.set_viewport_size({"width": 390, "height": 844})
    small_page.get_by_label("要现在日结").fill("渠道多记一笔，已去函微信支付核实")
    small_page.get_by_role("button", name="签字并日结").tap()
    expect(small_page.get_by_text("带差异签字日结")).to_be_visible()
    closed = db.session.get(FinanceDay, TODAY)
    assert closed is not None and closed.reason == "渠道多记一笔，已去函微信支付核实"


def test_the_door_is_shown_with_its_refusal(
    page: Page, clerk: Any, shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "cash", "wrong")
    expect(page.get_by_role("alert")).to_have_text("登录名或密码不正确。")
    shot(page, "sign-in")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "sign-in-phone")
