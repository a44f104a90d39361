"""A cold room on the phone: reported with a visit booked, measured in a cellar, shown decided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from flask import Flask
from playwright.sync_api import Page, expect

from backend.base.clock import FixedClock, business_day
from backend.base.db import db
from backend.billing import cold, topics
from backend.billing.models import ColdReport
from backend.people.service import Principal
from tests import builders
from tests.browser import h5
from tests.browser.h5 import app, hosts, site, take_phone
from tests.browser.test_h5_reader import sign_in as reader_signs_in
from tests.outside import Phone, phone, sandbox, sandbox_keys

__all__ = ["app", "hosts", "phone", "sandbox", "sandbox_keys", "site", "take_phone"]
PRICE = {"k1": "16.5", "k2": "44.41", "season_days": 183, "area_price": "38.32"}


def test_a_cold_room_from_the_report_to_what_the_owner_reads(
    app: Flask,
    clock: FixedClock,
    phone: Phone,
    take_phone: Callable[..., Page],
    shot: Callable[[Page, str], None],
) -> None:
    builders.make_tariff("heat", "two_part", PRICE)
    rule = topics.COLD_ROOM_PRESETS["heilongjiang_2021"]
    topics.put("cold_room", "heat", None, rule, date(2026, 10, 1), None, None, clock.now())
    phone.post("wechat/people", people=[{"openid": "person-zhang", "nickname": "张三"}])
    home = builders.make_household(builders.make_building(), phone="13800005678")
    builders.make_staff("chaobiao", roles=("reader",), name="孙师傅")
    db.session.commit()

    page = take_phone()
    h5.sign_in(page, "person-zhang")
    h5.bind(page, home.account_no, "张三", "5678")
    page.get_by_text("室温").first.wait_for()
    h5.go(page, "pages-chart/cold/index")
    expect(h5.front(page, "cold-rule")).to_contain_text("18 ℃ 到 20 ℃，退当日标准热费的 10%")
    h5.front(page, "cold-room-客厅").tap()
    h5.fill(page, "cold-note", "傍晚最冷")
    h5.fits(page)
    shot(page, "h5-cold-form")
    h5.front(page, "cold-submit").tap()
    expect(h5.front(page, "cold-open")).to_contain_text("约定上门")

    # At noon nobody measures; in the evening there is no signal at first.
    reader = take_phone()
    reader_signs_in(reader)
    h5.front(reader, "goto-visits").tap()
    h5.front(reader, "visit-open").tap()
    h5.fill(reader, "visit-celsius", "16.5")
    h5.fill(reader, "visit-resident", "张三")
    h5.front(reader, "visit-submit").tap()
    expect(reader.get_by_text("10:00 至 14:00 不得测温。")).to_be_visible()
    clock.advance(hours=6)
    reader.context.clock.set_fixed_time(clock.now())
    reader.context.set_offline(True)
    h5.front(reader, "visit-submit").tap()
    expect(h5.front(reader, "visit-saved")).to_be_visible()
    h5.fits(reader)
    shot(reader, "h5-cold-visit")
    reader.context.set_offline(False)
    h5.front(reader, "visit-open").tap()
    h5.front(reader, "visit-submit").tap()
    expect(h5.front(reader, "visit")).to_have_count(0)
    db.session.expire_all()
    report = db.session.query(ColdReport).one()
    assert (report.measured_cdeg, report.staff_signature) == (1650, "孙师傅")
    local = report.measured_at.astimezone(ZoneInfo("Asia/Shanghai"))
    assert local.hour == 18

    clock.advance(days=2)
    today = business_day(clock.now())
    clerk = Principal("staff", builders.make_staff("clerk").id, frozenset({"finance"}))
    days = (today - timedelta(days=2), today)
    cold.decide(report.id, "measurement", *days, clerk, clock.now())
    db.session.commit()
    page.context.clock.set_fixed_time(clock.now())
    page.reload()
    expect(h5.front(page, "cold-open")).to_contain_text("等待核准")
    shot(page, "h5-cold-decided")
    assert isinstance(clock.now(), datetime)
