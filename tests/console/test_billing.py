"""Prices drafted by one and approved by another; requests decided by a second; cold rooms."""

from datetime import date, timedelta

import sqlalchemy as sa

from backend.base.db import db
from backend.billing import cold, requests, topics
from backend.billing.models import Tariff
from backend.people.service import Principal
from tests import builders
from tests.console.conftest import post

DRAFT = {
    "name": "居民水价 2027",
    "utility": "water",
    "customer_class": "residential",
    "kind": "flat",
    "region_id": "",
    "effective_from": "2027-01-01",
    "effective_to": "",
    "unit": "m3",
    "price": "2.50",
    "title": "",
}


def test_a_price_is_drafted_tried_and_approved_by_somebody_else(app, sign_in):
    builders.make_bill(
        builders.make_household(builders.make_building()),
        utility="water",
        period_from=date(2026, 10, 1),
    )
    clerk, boss = sign_in("finance"), sign_in("manager")
    answer = post(clerk, "/console/tariffs", "/console/tariffs/new", **DRAFT)
    assert answer.status_code == 303
    page = boss.get(answer.location)
    assert "核准生效" in page.text
    assert "没有保存计费依据" in page.text  # the builder's bill keeps no facts: said, not guessed
    assert "核准生效" not in clerk.get(answer.location).text
    number = db.session.scalar(sa.select(Tariff.id).where(Tariff.state == "draft"))
    post(boss, f"/console/tariffs/{number}/approve")
    assert "待生效" in boss.get("/console/tariffs?utility=water").text


def test_a_request_shows_what_it_asks_and_is_carried_out_once(app, sign_in):
    home = builders.make_household(builders.make_building())
    bill = builders.make_bill(home, 1000)
    asker = Principal("staff", builders.make_staff("asker").id)
    request = requests.ask_reversal(bill.id, "面积有误", asker, builders.NOON)
    db.session.commit()
    boss = sign_in("manager")
    page = boss.get("/console/requests")
    assert bill.bill_no in page.text
    assert "面积有误" in page.text
    post(boss, f"/console/requests/{request.id}/decide", verb="approve")
    assert "没有等待核准的事项" in boss.get("/console/requests").text
    again = post(boss, f"/console/requests/{request.id}/decide", verb="approve")
    assert "已经处理过" in boss.get(again.location).text


def test_a_cold_room_is_measured_decided_and_left_for_a_second_person(app, sign_in):
    params = {"k1": "16.5", "k2": "44.41", "season_days": 183, "area_price": "38.32"}
    builders.make_tariff("heat", "two_part", params)
    preset = topics.COLD_ROOM_PRESETS["common_18"]
    topics.put("cold_room", "heat", None, preset, date(2026, 10, 1), None, None, builders.NOON)
    home = builders.make_household(builders.make_building())
    found = cold.report(home.id, "主卧", "冷", None, builders.NOON - timedelta(days=2))
    db.session.commit()
    operator, clerk = sign_in("operator"), sign_in("finance")
    form = {"celsius": "15.5", "resident_signature": "张三", "staff_signature": "王师傅"}
    url = f"/console/cold/{found.id}/measure"
    noon = post(operator, url, measured_at="2026-11-18T13:00", **form)
    assert "10:00 至 14:00 不得测温" in operator.get(noon.location).text
    post(operator, url, measured_at="2026-11-18T20:00", **form)
    days = {"from": "2026-11-18", "to": "2026-11-20"}
    post(clerk, f"/console/cold/{found.id}/decide", source="measurement", **days)
    page = clerk.get("/console/cold").text
    assert "等待核准" in page
    assert "15.50 ℃" in page
    assert "13.07" in clerk.get("/console/requests").text  # two days, half of 13.07 each
