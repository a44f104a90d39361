"""A season billed in advance, then settled, followed in a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from backend.allocation import settling
from backend.allocation.models import Settlement
from backend.archive.models import Household
from backend.base.db import db
from backend.billing import season, seasons
from backend.people.service import Principal
from tests import builders
from tests.billing.test_season import BEGIN, END, PRICE, heat, home
from tests.browser.test_console_reading import sign_in

__all__ = ["home"]


def test_an_advance_is_started_followed_and_its_left_out_homes_are_named(
    page: Page, shot: Callable[[Page, str], None], monkeypatch: Any
) -> None:
    monkeypatch.setattr("backend.console.settlements.EVERY_S", 1)
    builders.make_tariff("heat", "two_part", PRICE)
    houses = [builders.make_building(code) for code in ("A", "B")]
    for house in houses:
        for unit in ("101", "102"):
            home = builders.make_household(house, unit)
            builders.make_meter(house, home, "heat")
    builders.make_bill(home, 12_345)
    builders.make_household(houses[0], "201", customer_class="commercial")
    builders.make_staff("operator", roles=("finance",), name="钱会计")
    sign_in(page)
    page.get_by_role("link", name="计费", exact=True).click()
    page.get_by_role("link", name="采暖季", exact=True).click()
    shot(page, "console-seasons")
    page.get_by_role("button", name="预收").click()
    expect(page.locator("#settlement")).to_contain_text("0 / 2")
    run = db.session.query(Settlement).one()
    for house in houses:
        seasons.run(run.id, house.id, builders.NOON)
    expect(page.locator("#settlement")).to_contain_text("1 / 2")
    assert settling.progress(run.id).refused == 1
    expect(page.get_by_role("button", name="重试未预收的楼栋")).to_be_visible()
    shot(page, "console-season-run")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "console-season-run-phone")
    page.get_by_role("link", name="采暖季", exact=True).first.click()
    expect(page.get_by_text("全部楼栋预收")).to_be_visible()
    shot(page, "console-seasons-phone")


def test_a_settlement_shows_what_it_gives_back_and_whom_it_leaves_out(
    home: Household, page: Page, shot: Callable[[Page, str], None]
) -> None:
    season.advance(home.building_id, BEGIN, END, END, builders.NOON)
    heat(home, 0, 400_000, 1_000_000)
    builders.make_household(home.building, "909")
    clerk = Principal("staff", builders.make_staff("operator", roles=("finance",)).id)
    run = seasons.start("settle", None, BEGIN, END, None, clerk, builders.NOON)
    db.session.commit()
    seasons.run(run.id, home.building_id, builders.NOON)
    sign_in(page)
    expect(page.get_by_role("link", name="计费", exact=True)).to_be_visible()
    page.goto(page.url.split("/console/")[0] + f"/console/seasons/{run.id}")
    expect(page.locator("#settlement")).to_contain_text("1,201.69")
    expect(page.locator("#settlement")).to_contain_text("尚未出账")
    shot(page, "console-season-settled")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "console-season-settled-phone")
