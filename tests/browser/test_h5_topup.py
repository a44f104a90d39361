"""充值 on a phone: by a chip over WeChat, by an own amount at another channel's desk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from backend.archive.models import Household
from backend.base.clock import FixedClock, business_day
from backend.base.db import db
from backend.billing import ahead, wallet
from backend.billing.models import PrepaidAccount, PrepaidDay
from backend.ledger import chart
from backend.people.service import Principal
from tests import builders
from tests.browser import h5
from tests.browser.h5 import DESK, app, hosts, site, take_phone
from tests.outside import Phone, phone, sandbox, sandbox_keys

__all__ = ["app", "hosts", "phone", "sandbox", "sandbox_keys", "site", "take_phone"]


@pytest.fixture
def home(app: Flask, clock: FixedClock, phone: Phone) -> Household:
    """A household that owes 30 yuan and pays ahead for water, at about 2.50 yuan a day."""
    phone.post("wechat/people", people=[{"openid": "person-zhang", "nickname": "张三"}])
    household = builders.make_household(builders.make_building(), phone="13800005678")
    staff = Principal("staff", builders.make_staff("clerk").id)
    now, today = clock.now(), business_day(clock.now())
    builders.make_bill(household, 3_000)
    first = today - timedelta(days=7)
    ahead.open_account(household.id, "water", first, staff, now)
    ahead.top_up(household.id, "water", 5_500, "till-1", chart.bank("till"), now)
    tariff = builders.make_tariff("water", "flat", {"unit": "m3", "price": "2.5"})
    for n in range(7):
        db.session.add(
            PrepaidDay(
                household_id=household.id,
                utility="water",
                day=first + timedelta(days=n),
                used=1000,
                topup_fen=0,
                deduction_fen=250,
                balance_fen=0,
                tariff_id=tariff.id,
            )
        )
    account = db.session.get_one(PrepaidAccount, (household.id, "water"))
    account.through = today - timedelta(days=1)
    db.session.commit()
    return household


def at_the_page(take_phone: Callable[..., Page], home: Household, **more: Any) -> Page:
    page = take_phone(**more)
    h5.sign_in(page, "person-zhang")
    h5.bind(page, home.account_no, "张三", "5678")
    expect(h5.front(page, "home-owed")).to_have_text("30.00 元")
    page.goto("about:blank")
    h5.go(page, "pages/topup/index")
    expect(h5.front(page, "topup-into-wallet")).to_contain_text("待缴 30.00 元")
    return page


def test_a_balance_is_topped_up_by_a_chip_and_pays_the_debt(
    take_phone: Callable[..., Page], home: Household, shot: Callable[[Page, str], None]
) -> None:
    page = at_the_page(take_phone, home)
    expect(h5.front(page, "topup-into-water")).to_contain_text("约可用 22 天")
    h5.front(page, "topup-chip-5000").tap()
    expect(h5.front(page, "topup-button")).to_contain_text("50.00 元")
    h5.fits(page)
    shot(page, "h5-topup")
    h5.front(page, "topup-button").tap()
    page.get_by_test_id("wx-pay-confirm").tap()
    result = h5.front(page, "pay-result")
    expect(result).to_have_attribute("data-state", "paid")
    expect(result).to_contain_text("充值成功")
    shot(page, "h5-topup-done")
    assert wallet.held_fen(home.id) == 2_000  # 30 yuan paid the bill
    h5.go(page, "pages/bills/index")
    expect(h5.front(page, "account-card")).to_contain_text("20.00 元")
    shot(page, "h5-topup-account")


def test_water_is_paid_ahead_by_an_own_amount_at_alipays_desk(
    take_phone: Callable[..., Page], home: Household, shot: Callable[[Page, str], None]
) -> None:
    page = at_the_page(take_phone, home)
    h5.front(page, "topup-into-water").tap()
    h5.fill(page, "topup-amount", "0.5")
    expect(page.get_by_text("一次可充 1.00 至 5,000.00 元")).to_be_visible()
    expect(h5.front(page, "topup-button")).to_have_attribute("disabled", "true")
    h5.fill(page, "topup-amount", "12.34")
    h5.front(page, "pay-by-alipay").tap()
    shot(page, "h5-topup-water")
    h5.front(page, "topup-button").tap()
    page.get_by_role("button", name="确认支付").tap()
    expect(h5.front(page, "pay-result")).to_have_attribute("data-state", "paid")
    assert ahead.held_fen(home.id, "water") == 6_734


def test_the_page_fits_a_desk(
    take_phone: Callable[..., Page], home: Household, shot: Callable[[Page, str], None]
) -> None:
    page = at_the_page(take_phone, home, screen=DESK)
    h5.fits(page)
    shot(page, "h5-topup-desk")
