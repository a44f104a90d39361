"""A reading run in a browser: its progress moves without a hand, and it can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from backend.base.db import db
from backend.metering import runs
from tests import builders
from tests.browser.test_console_reading import sign_in


def test_a_run_is_started_followed_and_cancelled(
    page: Page, shot: Callable[[Page, str], None], monkeypatch: Any
) -> None:
    monkeypatch.setattr("backend.console.runs.EVERY_S", 1)
    building = builders.make_building("A")
    bus = builders.make_bus(building)
    for n in range(1, 11):
        flat = builders.make_household(building, f"{n}01")
        builders.make_meter(building, flat, kind="gas", bus=bus)
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="抄表任务").click()
    shot(page, "console-runs")
    page.get_by_label("范围").select_option(label="A A号楼")
    page.get_by_role("button", name="开始抄表").click()
    expect(page.locator("#run")).to_contain_text("0 / 10")
    answer(bus.id)
    expect(page.locator("#run")).to_contain_text("7 / 10")
    expect(page.get_by_role("cell", name="没有应答")).to_be_visible()
    shot(page, "console-run")
    page.get_by_role("button", name="取消任务").click()
    expect(page.locator("#run")).to_contain_text("已取消")
    page.locator("#run th a").first.click()
    page.get_by_label("原因").fill("欠费停气")
    page.get_by_role("button", name="申请关阀").click()
    expect(page.get_by_role("cell", name="待核准")).to_be_visible()
    shot(page, "console-meter")


def test_power_is_cut_in_the_trades_words(page: Page, shot: Callable[[Page, str], None]) -> None:
    building = builders.make_building("A")
    flat = builders.make_household(building, "101")
    meter = builders.make_meter(building, flat, kind="electricity", protocol="dlt645_2007")
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="抄表任务").click()
    page.get_by_label("表号").fill(meter.address)
    page.get_by_role("button", name="查表").click()
    page.get_by_label("原因").fill("欠费停电")
    page.get_by_role("button", name="申请拉闸").click()
    expect(page.get_by_role("cell", name="待核准")).to_be_visible()
    expect(page.get_by_role("cell", name="拉闸", exact=True)).to_be_visible()
    shot(page, "console-relay")


def answer(bus_id: int) -> None:
    """What a collector would do: seven meters answer and one does not."""
    claims = runs.take([bus_id], builders.NOON)
    results = [runs.Settled(claim, "" if n else "silent") for n, claim in enumerate(claims)]
    runs.settle(results, builders.NOON)
    db.session.commit()
