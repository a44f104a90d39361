"""A settlement's progress and a calibration's report in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from playwright.sync_api import Page, expect

from backend.allocation import settling
from backend.allocation.models import Settlement
from backend.allocation.tasks import close_building_day
from backend.base.db import db
from tests import builders
from tests.allocation import stored
from tests.allocation.test_calibration import END, balanced
from tests.browser.test_console_reading import sign_in


def test_a_settlement_is_started_followed_and_tried_again(
    page: Page, shot: Callable[[Page, str], None], monkeypatch: Any
) -> None:
    monkeypatch.setattr("backend.console.settlements.EVERY_S", 1)
    houses = [stored.house("area", code=code)[0] for code in ("A", "B", "C")]
    for house in houses[:2]:
        for day in range(stored.DAYS):
            close_building_day(house.id, stored.FIRST + timedelta(days=day), builders.NOON)
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="热分摊").click()
    page.get_by_role("link", name="结算", exact=True).click()
    page.locator("#from").fill(str(stored.FIRST))
    page.locator("#to").fill(str(stored.LAST))
    page.get_by_role("button", name="开始结算").click()
    expect(page.locator("#settlement")).to_contain_text("0 / 3")
    settlement = db.session.query(Settlement).one()
    for house in houses:
        settling.settle(settlement.id, house.id, builders.NOON)
    db.session.commit()
    expect(page.locator("#settlement")).to_contain_text("2 / 3")
    expect(page.get_by_text("还没有日结")).to_be_visible()
    expect(page.get_by_role("button", name="取消结算")).to_have_count(0)
    shot(page, "console-settlement")
    page.get_by_role("button", name="重试未结算的楼栋").click()
    expect(page.locator("#settlement")).to_contain_text("进行中")
    page.get_by_role("link", name="结算", exact=True).first.click()
    shot(page, "console-settlements")


def test_a_calibration_is_asked_for_and_its_report_read(
    page: Page, shot: Callable[[Page, str], None]
) -> None:
    building, homes = balanced()
    for home, gamma in zip(homes.values(), ("0.8", "0.6", "0.75"), strict=True):
        stored.thermal(home, gamma, "1.3")
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="热分摊").click()
    page.get_by_role("link", name="参数辨识").click()
    page.get_by_label("楼栋").select_option(label=f"C3 {building.name}")
    page.locator("#from").fill(str(END - timedelta(days=20)))
    page.locator("#to").fill(str(END))
    shot(page, "console-calibrations")
    page.get_by_role("button", name="开始辨识").click()
    expect(page.locator("svg.dots")).to_be_visible()
    expect(page.get_by_text("待核准").first).to_be_visible()
    shot(page, "console-calibration")
