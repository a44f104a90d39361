"""The reading page in a browser: it keeps itself up to date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from playwright.sync_api import Page, expect

from backend.base.db import db
from backend.metering.models import ReadSuccess
from tests import builders
from tests.console.conftest import TODAY, count_reads, keep_state


def fill(town_of: int = 2) -> list[int]:
    """Buildings with meters that answer more or less well; the meters' ids."""
    branch = builders.make_region("城东分公司")
    ids = []
    for n in range(town_of):
        building = builders.make_building(f"{n + 1}", branch)
        bus = builders.make_bus(building, f"{n + 1}号楼 M-Bus")
        for floor in (1, 2, 3):
            flat = builders.make_household(building, f"{floor}01")
            meter = builders.make_meter(building, flat, bus=bus)
            keep_state(meter.id, last_ok_at=builders.NOON - timedelta(seconds=8))
            for back in range(7):
                answered = 100 - (13 * n + 3 * back * n) % 60
                count_reads(meter.id, TODAY - timedelta(days=back), 100, answered)
            ids.append(meter.id)
    return ids


def sign_in(page: Page, login: str = "operator", password: str = "correct horse") -> None:
    """Through the sign-in page, as a person does."""
    page.goto("/console/")
    page.get_by_label("登录名").fill(login)
    page.get_by_label("密码", exact=True).fill(password)
    page.get_by_role("button", name="登录").click()


def test_the_figures_follow_the_readings_without_a_hand(
    page: Page, shot: Callable[[Page, str], None], monkeypatch: Any
) -> None:
    monkeypatch.setattr("backend.console.reading.EVERY_S", 1)
    meters = fill()
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    expect(page.get_by_role("heading", name="抄表成功率", level=1)).to_be_visible()
    first = page.locator("tbody tr", has_text="1号楼").first
    expect(first).to_contain_text("100%")
    row = db.session.get(ReadSuccess, (meters[0], TODAY))
    assert row is not None
    row.asked += 100
    db.session.commit()
    expect(page.locator("tbody tr", has_text="1号楼").first).to_contain_text("75.0%")
    shot(page, "reading-live")


def test_a_phone_shows_every_figure_without_scrolling_sideways(
    small_page: Page, shot: Callable[[Page, str], None]
) -> None:
    fill()
    bus = builders.make_bus(builders.make_building("9", name="9号楼"), "9号楼 M-Bus")
    dead = builders.make_meter(bus_building(bus), bus=bus, address="20261234567890")
    keep_state(
        dead.id,
        last_ok_at=builders.NOON - timedelta(days=3),
        last_error_at=builders.NOON - timedelta(seconds=4),
        last_error="3 s 内没有应答",
    )
    builders.make_staff("operator", roles=("operator", "manager"), name="高工")
    sign_in(small_page)
    small_page.goto("/console/reading")
    expect(small_page.get_by_text("20261234567890")).to_be_visible()
    width = small_page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    shot(small_page, "reading-phone")
    small_page.set_viewport_size({"width": 1440, "height": 900})
    shot(small_page, "reading-desktop")


def bus_building(bus: Any) -> Any:
    """The building a bus is in."""
    from backend.archive.models import Building

    return db.session.get(Building, bus.building_id)
