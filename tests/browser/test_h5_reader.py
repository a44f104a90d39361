"""A meter reader's round on a phone: into the basement without signal, and out again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Locator, Page, expect

from backend.archive.models import Meter
from backend.base.clock import FixedClock
from backend.base.db import db
from backend.metering.models import Reading
from backend.metering.service import NewReading, record
from tests import builders
from tests.browser import h5
from tests.browser.h5 import app, hosts, site, take_phone
from tests.console.conftest import keep_state
from tests.outside import phone, sandbox, sandbox_keys

__all__ = ["app", "hosts", "phone", "sandbox", "sandbox_keys", "site", "take_phone"]

REGISTER_L = 100_000
STYLED = "[...document.querySelectorAll('link[rel=stylesheet]')].every(link => link.sheet)"


@pytest.fixture
def meters(app: Flask, clock: FixedClock) -> dict[str, Meter]:
    """Two water meters read the day before; the second was asked today and said nothing."""
    building = builders.make_building("1")
    found = {}
    for unit in ("101", "102"):
        flat = builders.make_household(building, unit)
        found[unit] = builders.make_meter(building, flat, "water")
        at = clock.now() - timedelta(days=1)
        record([NewReading(found[unit].id, at, "collector", register=REGISTER_L)])
    silent = builders.make_meter(building, builders.make_household(building, "103"), "heat")
    error = {"last_error": "3 s 内没有应答", "last_error_at": clock.now() - timedelta(hours=1)}
    keep_state(silent.id, **error)
    builders.make_staff("chaobiao", roles=("reader",), name="孙师傅")
    return found


def sign_in(page: Page, password: str = "correct horse") -> None:
    """By the link on the residents' door."""
    page.goto("/")
    page.get_by_test_id("goto-staff").tap()
    h5.fill(page, "staff-login", "chaobiao")
    h5.fill(page, "staff-password", password)
    h5.front(page, "reader-login").tap()


def row(page: Page, unit: str) -> Locator:
    return h5.front(page, "reader-item").filter(has_text=unit)


def typed(page: Page, cubic_metres: str) -> None:
    """Type a figure and send it."""
    h5.fill(page, "reader-input", cubic_metres)
    h5.front(page, "reader-submit").tap()


def readings_of(meter: Meter) -> list[Reading]:
    db.session.rollback()
    query = db.select(Reading).filter_by(meter_id=meter.id, source="reader").order_by(Reading.id)
    return list(db.session.scalars(query))


def test_a_reading_typed_without_signal_is_sent_when_there_is_some(
    take_phone: Callable[..., Page], meters: dict[str, Meter], shot: Callable[[Page, str], None]
) -> None:
    page = take_phone()
    # The page for typing is fetched with the list, before anybody goes down the stairs.
    with page.expect_response(lambda answer: "/assets/pages-reader-meter" in answer.url):
        sign_in(page)
    page.wait_for_function(STYLED)
    expect(h5.front(page, "reader-item")).to_have_count(2)
    expect(h5.front(page, "tab-failed")).to_have_text("失败 1")
    h5.fits(page)
    shot(page, "h5-round")
    page.context.set_offline(True)
    row(page, "101").tap()
    typed(page, "101.5")
    expect(h5.front(page, "reader-saved")).to_contain_text("待上传 1")
    shot(page, "h5-meter-offline")
    h5.front(page, "reader-next").tap()
    expect(h5.front(page, "reader-waiting")).to_contain_text("待上传 1")
    assert readings_of(meters["101"]) == []
    shot(page, "h5-round-offline")
    page.context.set_offline(False)
    expect(page.get_by_test_id("reader-waiting")).to_have_count(0)
    expect(page.get_by_text("没有信号")).to_have_count(0)  # the list is today's again, too
    h5.front(page, "tab-read").tap()
    expect(row(page, "101")).to_have_attribute("data-state", "read")
    expect(row(page, "101")).to_contain_text("101.500 m³")
    shot(page, "h5-round-uploaded")
    assert [r.register for r in readings_of(meters["101"])] == [101_500]


def test_a_reading_below_the_last_is_taken_with_a_reason_only(
    take_phone: Callable[..., Page], meters: dict[str, Meter], shot: Callable[[Page, str], None]
) -> None:
    page = take_phone()
    sign_in(page)
    row(page, "102").tap()
    typed(page, "3.2")
    expect(h5.front(page, "reader-conflict")).to_contain_text("读数比上次小")
    shot(page, "h5-meter-lower")
    h5.front(page, "reader-submit").tap()
    expect(page.get_by_text("请写明原因，例如")).to_be_visible()
    assert readings_of(meters["102"]) == []
    h5.fill(page, "reader-note", "换表")
    h5.front(page, "reader-submit").tap()
    expect(h5.front(page, "reader-done")).to_contain_text("已上传")
    h5.fits(page)
    shot(page, "h5-meter-done")
    (kept,) = readings_of(meters["102"])
    assert (kept.register, kept.reason) == (3_200, "换表")
    assert "reverse" in kept.flags
    h5.front(page, "reader-next").tap()
    h5.front(page, "tab-read").tap()
    expect(row(page, "102")).to_have_attribute("data-state", "read")


def test_a_wrong_password_is_refused_at_its_field(
    take_phone: Callable[..., Page], meters: dict[str, Meter]
) -> None:
    page = take_phone()
    sign_in(page, "wrong")
    refused: Any = page.locator(".field").filter(has=page.get_by_role("alert"))
    expect(refused).to_contain_text("登录名或密码不正确。")
    expect(refused.get_by_test_id("staff-password")).to_be_visible()
