"""A resident's evening with the bill, on a phone: sign in, bind, look, ask why, pay.

The pages are the built ones, WeChat is the sandbox, the heat is the published 18-flat building's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from backend.allocation.tasks import close_building_day
from backend.archive.models import Household, Meter
from backend.base.clock import FixedClock
from backend.base.db import db
from backend.billing import peers
from backend.billing import service as billing
from backend.billing.models import Bill
from backend.cashier.models import PaymentOrder
from backend.metering.service import NewReading, record
from tests import builders, paper18
from tests.browser import h5
from tests.browser.h5 import app, hosts, site, take_phone
from tests.outside import Phone, phone, sandbox, sandbox_keys

__all__ = ["app", "hosts", "phone", "sandbox", "sandbox_keys", "site", "take_phone"]

TODAY = date(2026, 11, 20)
FIRST = TODAY - timedelta(days=paper18.DAYS)
ROOM_RGB = "168,63,27"
NOT_FOUND = "没有找到您要的内容。"
MISMATCH = "户号与户主信息不符，请核对后再试。"


@dataclass
class Town:
    """The building as it was billed: flats by number, and every flat's bill."""

    flats: dict[str, Household]
    bills: dict[str, Bill]


@pytest.fixture
def town(app: Flask, clock: FixedClock, phone: Phone) -> Town:
    """Two days of the building closed and billed; its people have WeChat."""
    builders.make_tariff("heat")
    building, flats = paper18.load(FIRST)
    for n in range(paper18.DAYS):
        close_building_day(building.id, FIRST + timedelta(days=n), clock.now())
    issued = billing.issue(building.id, "heat", FIRST, TODAY, clock.now())
    _is_warm(flats["101"], clock)
    peers.count(clock.now())
    db.session.commit()
    people = (("person-zhang", "张三"), ("person-li", "李四"))
    phone.post("wechat/people", people=[{"openid": o, "nickname": n} for o, n in people])
    unit_of = {flat.id: unit for unit, flat in flats.items()}
    return Town(flats, {unit_of[bill.household_id]: bill for bill in issued.bills})


def _is_warm(flat: Household, clock: FixedClock) -> None:
    """The room has 21.44 degrees just now."""
    meter = db.session.scalars(db.select(Meter).filter_by(household_id=flat.id, kind="room")).one()
    record([NewReading(meter.id, clock.now(), "collector", room_cdeg=2144)])


def yuan(amount_fen: int) -> str:
    return f"{amount_fen // 100:,}.{amount_fen % 100:02d}"


def test_from_signing_in_to_the_paid_bill(
    take_phone: Callable[..., Page], town: Town, shot: Callable[[Page, str], None]
) -> None:
    page, bill = take_phone(), town.bills["101"]
    h5.sign_in(page, "person-zhang")
    binds_the_flat(page, shot)
    looks_at_home(page, bill, shot)
    looks_at_the_temperatures(page, shot)
    looks_at_the_days(page, shot)
    asks_why(page, town, shot)
    pays(page, bill, shot)


def binds_the_flat(page: Page, shot: Any) -> None:
    h5.bind(page, "P18-101", "李四", "")
    refused = page.locator(".field").filter(has=page.get_by_role("alert"))
    expect(refused).to_contain_text(["请填写手机号的最后四位数字。"])
    # What was wrong is not told, so that nobody can find out whose flat it is.
    h5.bind(page, "P18-101", "李四", "1234")
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(MISMATCH)
    h5.fits(page)
    shot(page, "h5-bind-refused")
    h5.bind(page, "P18-101", "张三", "1234")


def looks_at_home(page: Page, bill: Bill, shot: Any) -> None:
    expect(h5.front(page, "home-room")).to_contain_text("21.4")
    expect(h5.front(page, "home-owed")).to_have_text(f"{yuan(bill.amount_fen)} 元")
    # Two days of a season begun a month ago: there are no same days to stand beside.
    expect(page.get_by_text("比上月同期")).to_have_count(0)
    h5.fits(page)
    shot(page, "h5-home")


def looks_at_the_temperatures(page: Page, shot: Any) -> None:
    h5.front(page, "nav-temperature").tap()
    h5.drawn(page, ROOM_RGB, 100)
    pictures = {h5.picture(page)}
    shot(page, "h5-temperature")
    for span in ("7", "30"):
        h5.front(page, f"tab-{span}").tap()
        h5.drawn(page, ROOM_RGB, 20)
        pictures.add(h5.picture(page))
    assert len(pictures) == 3
    h5.fits(page)
    shot(page, "h5-temperature-30")
    page.go_back()


def looks_at_the_days(page: Page, shot: Any) -> None:
    h5.front(page, "nav-consumption").tap()
    h5.drawn(page, ROOM_RGB, 100)
    known = page.locator(".consumption-day").filter(has_text="kWh")
    expect(known).to_have_count(paper18.DAYS)
    # 28 days of 30 are not known, so there is nothing to stand beside.
    expect(page.get_by_text("比上一段")).to_have_count(0)
    h5.fits(page)
    shot(page, "h5-consumption")
    page.go_back()


def asks_why(page: Page, town: Town, shot: Any) -> None:
    h5.front(page, "nav-bills").tap()
    item = h5.front(page, "bill-item")
    expect(item).to_have_attribute("data-state", "due")
    shot(page, "h5-bills")
    item.tap()
    shot(page, "h5-bill")
    h5.front(page, "bill-explain").tap()
    expect(page.get_by_text("整栋楼用了多少热").filter(visible=True)).to_be_visible()
    front = page.locator("uni-page").filter(visible=True).last
    expect(front).to_contain_text("10,530 kWh")  # 10_530_000 Wh, as published
    own_wh = paper18.case()["expected"]["units"]["101"]
    expect(front).to_contain_text(f"{own_wh // 1000:,}.{own_wh % 1000:03d} kWh")
    expect(front).to_contain_text(f"您家 {100 * own_wh / 10_530_000:.3f}")
    for line in town.bills["101"].lines:
        expect(front).to_contain_text(f"{yuan(line.amount_fen)} 元")
    the_readings_are_there(page)
    stands_beside_others(page)
    h5.fits(page)
    shot(page, "h5-explain")
    page.go_back()


def stands_beside_others(page: Page) -> None:
    card = page.locator("uni-page").filter(visible=True).last
    expect(card).to_contain_text("60–90 平方米的住户共 18 户（含您家）")
    expect(card).to_contain_text("同类住户的中位数")


def the_readings_are_there(page: Page) -> None:
    h5.front(page, "explain-readings").tap()
    shown = h5.front(page, "explain-reading")
    expect(shown).to_have_count(2)
    assert all("#" in text for text in shown.all_inner_texts())


def pays(page: Page, bill: Bill, shot: Any) -> None:
    h5.front(page, "pay-button").tap()
    expect(page.get_by_test_id("wx-pay-amount")).to_have_text(f"¥{bill.amount_fen / 100:.2f}")
    shot(page, "h5-pay-sheet")
    page.get_by_test_id("wx-pay-cancel").tap()
    expect(page.get_by_text("您取消了支付，没有扣款。")).to_be_visible()
    h5.front(page, "pay-button").tap()
    page.get_by_test_id("wx-pay-confirm").tap()
    result = h5.front(page, "pay-result")
    expect(result).to_have_attribute("data-state", "paid")
    expect(result).to_contain_text(yuan(bill.amount_fen))
    shot(page, "h5-paid")
    orders = db.session.scalars(db.select(PaymentOrder)).all()
    assert [order.state for order in orders] == ["paid"]  # cancelling made no second order
    h5.front(page, "result-home").tap()
    expect(h5.front(page, "home-owed")).to_have_text("没有欠费")
    h5.front(page, "nav-bills").tap()
    expect(h5.front(page, "bill-item")).to_have_attribute("data-state", "paid")
    expect(h5.front(page, "bill-item")).to_contain_text("已缴清")


def test_a_resident_in_a_browser_pays_at_another_channels_desk_and_comes_back(
    take_phone: Callable[..., Page], town: Town, shot: Callable[[Page, str], None]
) -> None:
    page, bill = take_phone(), town.bills["102"]
    h5.sign_in(page, "person-li")
    h5.bind(page, "P18-102", "张三", "1234")
    expect(h5.front(page, "home-owed")).to_have_text(f"{yuan(bill.amount_fen)} 元")
    page.goto("about:blank")
    h5.go(page, "pages/pay/index")
    for channel in ("unionpay", "alipay"):
        h5.front(page, f"pay-by-{channel}").tap()
    h5.fits(page)
    shot(page, "h5-pay-choice")
    h5.front(page, "pay-button").tap()
    page.get_by_role("button", name="确认支付").wait_for()
    shot(page, "h5-alipay-desk")
    page.get_by_role("button", name="确认支付").tap()
    result = h5.front(page, "pay-result")
    expect(result).to_have_attribute("data-state", "paid")
    expect(result).to_contain_text(yuan(bill.amount_fen))
    orders = db.session.scalars(db.select(PaymentOrder)).all()
    assert [(order.channel, order.way, order.state) for order in orders] == [
        ("alipay", "wap", "paid")
    ]


def test_a_stranger_with_the_address_of_a_bill_is_told_there_is_none(
    take_phone: Callable[..., Page], town: Town, shot: Callable[[Page, str], None]
) -> None:
    page, bill = take_phone(), town.bills["101"]
    h5.sign_in(page, "person-li")
    h5.bind(page, "P18-102", "张三", "1234")
    expect(h5.front(page, "home-owed")).to_have_text(f"{yuan(town.bills['102'].amount_fen)} 元")
    for path in ("pages/bill/index", "pages/explain/index"):
        page.goto("about:blank")
        h5.go(page, f"{path}?id={bill.id}")
        expect(page.get_by_text(NOT_FOUND)).to_be_visible()
        expect(page.get_by_text(yuan(bill.amount_fen))).to_have_count(0)
        expect(page.get_by_text(bill.bill_no)).to_have_count(0)
    shot(page, "h5-stranger")


def test_who_has_not_signed_in_is_taken_to_the_door_and_back(
    take_phone: Callable[..., Page], town: Town
) -> None:
    page = take_phone()
    h5.go(page, f"pages/bill/index?id={town.bills['101'].id}")
    expect(page.get_by_test_id("signin-wechat")).to_be_visible()
    expect(page.get_by_text(yuan(town.bills["101"].amount_fen))).to_have_count(0)


def test_a_bill_stands_beside_the_year_before_and_others_also_in_large_text(
    take_phone: Callable[..., Page], town: Town, shot: Callable[[Page, str], None]
) -> None:
    before = builders.make_bill(town.flats["101"], 9_876, period_from=FIRST - timedelta(days=365))
    before.period_to = TODAY - timedelta(days=365)
    before.basis = {"used": 480_000}
    db.session.commit()
    page = take_phone()
    h5.sign_in(page, "person-zhang")
    h5.bind(page, "P18-101", "张三", "1234")
    h5.front(page, "nav-mine").tap()
    h5.front(page, "large-text").tap()
    page.goto("about:blank")
    h5.go(page, f"pages/explain/index?id={town.bills['101'].id}")
    stands_beside_others(page)
    expect(page.locator("uni-page").filter(visible=True).last).to_contain_text("480.0 kWh")
    h5.fits(page)
    shot(page, "h5-explain-large")


def test_large_text_makes_every_page_larger_and_stays(
    take_phone: Callable[..., Page], town: Town, shot: Callable[[Page, str], None]
) -> None:
    page = take_phone()
    h5.sign_in(page, "person-zhang")
    h5.bind(page, "P18-101", "张三", "1234")
    before = size_of(page, "home-owed")
    h5.front(page, "nav-mine").tap()
    h5.front(page, "large-text").tap()
    page.reload()
    # uni-app's router is not there yet for somebody who goes back while the page is loading.
    expect(h5.front(page, "large-text")).to_be_visible()
    page.go_back()
    assert size_of(page, "home-owed") >= 1.2 * before
    h5.fits(page)
    shot(page, "h5-home-large")


def test_on_a_desk_the_pages_are_a_column_that_does_not_scroll_sideways(
    take_phone: Callable[..., Page], town: Town, shot: Callable[[Page, str], None]
) -> None:
    page = take_phone(h5.DESK)
    h5.sign_in(page, "person-zhang")
    h5.bind(page, "P18-101", "张三", "1234")
    expect(h5.front(page, "home-owed")).to_be_visible()
    h5.fits(page)
    shot(page, "h5-desk-home")
    h5.front(page, "nav-bills").tap()
    expect(h5.front(page, "bill-item")).to_be_visible()
    h5.fits(page)
    shot(page, "h5-desk-bills")


def size_of(page: Page, testid: str) -> float:
    """The size of its letters, in CSS pixels."""
    expect(h5.front(page, testid)).to_be_visible()
    return float(
        h5.front(page, testid).evaluate("node => parseFloat(getComputedStyle(node).fontSize)")
    )
