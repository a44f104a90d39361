"""Odd readings in a browser: filtered, their frames opened; a frozen day asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from playwright.sync_api import Page, expect

from backend.base.db import db
from backend.metering.service import NewReading, record
from tests import builders
from tests.browser.test_console_reading import sign_in

HOUR = timedelta(hours=1)
FRAME = bytes.fromhex("6810AABBCCDDEEFF118116901F00341200002C" + "00" * 20 + "16")


def fill() -> None:
    """Five flats whose meters are each odd in a way of their own."""
    house = builders.make_building("A", name="暖阳小区甲楼")
    bus = builders.make_bus(house)
    odd = [(9_500, {}), (12_000_000, {}), (-5, {}), (10_001, {"clock_drift_s": 4000}), (9_000, {})]
    for n, (register, more) in enumerate(odd, 1):
        flat = builders.make_household(house, f"{n}01")
        meter = builders.make_meter(house, flat, "water", bus=bus)
        for at, value, said in ((9, 10_000, {}), (8 - n, register, more)):
            moment = builders.NOON - at * HOUR
            reading = NewReading(meter.id, moment, "collector", register=value, frame=FRAME, **said)
            record([reading])
    db.session.commit()


def test_odd_readings_are_filtered_and_their_frames_opened(
    page: Page, shot: Callable[[Page, str], None]
) -> None:
    fill()
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="异常读数").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    shot(page, "console-anomalies")
    page.get_by_role("link", name="读数倒退").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_text("原始报文").first.click()
    expect(page.locator("code.frame").first).to_contain_text("68 10 AA BB")
    shot(page, "console-anomalies-reverse")


def test_the_date_asked_for_goes_with_what_is_read(
    page: Page, shot: Callable[[Page, str], None]
) -> None:
    fill()
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="抄表任务").click()
    expect(page.get_by_label("日冻结的日期")).to_be_hidden()
    page.get_by_label("抄什么").select_option(label="日冻结")
    page.get_by_label("日冻结的日期").fill("2026-11-18")
    expect(page.get_by_label("月冻结的月份")).to_be_hidden()
    page.get_by_label("范围").select_option(label="A 暖阳小区甲楼")
    shot(page, "console-runs-frozen")
    page.get_by_role("button", name="开始抄表").click()
    expect(page.get_by_text("日冻结 2026-11-18")).to_be_visible()


def test_on_a_phone_each_reading_is_a_card(
    small_page: Page, shot: Callable[[Page, str], None]
) -> None:
    fill()
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(small_page)
    small_page.goto("/console/anomalies")
    expect(small_page.locator("tbody tr")).to_have_count(5)
    small_page.get_by_text("原始报文").first.click()
    shot(small_page, "console-anomalies-small")
    small_page.goto("/console/runs")
    small_page.get_by_label("抄什么").select_option(label="月冻结")
    expect(small_page.get_by_label("月冻结的月份")).to_be_visible()
    shot(small_page, "console-runs-small")
    width = small_page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
