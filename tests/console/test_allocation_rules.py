"""分摊规则: a building's method chosen from what it has, typed, in time, and never over a bill."""

from datetime import date

from backend.allocation import ruling
from backend.allocation.models import AllocationRun
from backend.base.db import db
from backend.billing import requests, service
from tests import builders, paper18
from tests.console.conftest import post

FIRST = date(2026, 11, 17)
RULES = {"gap_rule": "time_scale", "min_coverage": "60", "missing_rule": "neighbours_mean"}
RULES |= {"missing_limit": "25", "common": "fixed_fraction", "common_fraction": "15"}
RULES |= {"effective_from": "2026-12-01", "effective_to": ""}


def versions(building):
    db.session.expire_all()
    return ruling.versions(building.id)


def test_a_building_shows_its_method_and_what_each_method_would_still_need(app, sign_in):
    house, _ = paper18.load(FIRST)
    boss = sign_in("manager")
    page = boss.get(f"/console/allocation/{house.id}").text
    assert "基准室温三温度法" in page
    assert "室温传感器 18 / 18 户" in page
    assert "热水表 0 / 18 户" in page
    assert "缺：101、102、103、201、202 等 18 户" in page
    assert "基准室温三温度法" in boss.get("/console/allocation").text
    assert "没有这样的楼栋" in boss.get("/console/allocation?q=不存在").text


def test_a_new_rule_is_typed_and_the_one_before_it_ends_where_it_begins(app, sign_in):
    house, flats = paper18.load(FIRST)
    boss = sign_in("manager")
    url = f"/console/allocation/{house.id}/temperature_area"
    rows = {"neighbours.0.unit": "101", "neighbours.0.others": "102、201"}
    more = {"source": "sensor", "base": "fixed", "base_c": "12"}
    answer = post(boss, url, **RULES, **rows, **more)
    assert answer.status_code == 303, answer.text
    old, new = versions(house)
    assert old.effective_to == new.effective_from == date(2026, 12, 1)
    assert new.options["base"] == "12"
    assert new.options["rules"]["common_fraction"] == "0.15"
    wanted = {str(flats["101"].id): [flats["102"].id, flats["201"].id]}
    assert new.options["rules"]["neighbours"] == wanted
    assert ruling.rules_of(new.options).min_coverage * 100 == 60
    page = boss.get(answer.location).text
    assert "待生效" in page
    assert "房号 101，邻居房号 102、201" in page


def test_what_is_wrong_stands_beside_its_field_and_the_old_rule_goes_on(app, sign_in):
    house, _ = paper18.load(FIRST)
    boss = sign_in("manager")
    url = f"/console/allocation/{house.id}/area"
    for wrong, sentence in (
        ({"min_coverage": "160"}, "须在 0 到 100 之间。"),
        ({"common_fraction": ""}, "请填写固定比例。"),
        ({"neighbours.0.unit": "101", "neighbours.0.others": "999"}, "这栋楼没有房号 999。"),
        ({"effective_to": "2026-11-30"}, "起始日期不能晚于结束日期"),
    ):
        answer = post(boss, url, **{**RULES, **wrong})
        assert answer.status_code == 422
        assert sentence in answer.text
    assert [v.effective_to for v in versions(house)] == [None]


def test_a_version_is_ended_by_a_manager_and_looked_at_by_an_operator(app, sign_in):
    house, _ = paper18.load(FIRST)
    rule = versions(house)[0]
    operator, boss = sign_in("operator"), sign_in("manager")
    seen = operator.get(f"/console/allocation/{house.id}").text
    assert "结束这条规则" not in seen
    url = f"/console/allocation-rules/{rule.id}/end"
    assert (
        post(operator, url, f"/console/allocation/{house.id}", day="2026-12-01").status_code == 403
    )
    answer = post(boss, url, f"/console/allocation/{house.id}", day="2026-12-01")
    assert "2026-12-01 起不再执行" in boss.get(answer.location).text
    assert versions(house)[0].effective_to == date(2026, 12, 1)


def test_a_method_or_building_that_is_not_there_is_not_found(app, sign_in):
    boss = sign_in("manager")
    house = builders.make_building()
    assert boss.get(f"/console/allocation/{house.id}/guess").status_code == 404
    assert boss.get("/console/allocation/99999").status_code == 404
    assert boss.get("/console/allocation/99999/area").status_code == 404


def test_a_billed_run_is_asked_to_be_corrected_from_its_buildings_page(app, sign_in):
    builders.make_tariff("heat", "two_part", {"k1": "16.5", "k2": "44.41", "season_days": 183})
    house, _ = paper18.load(FIRST)
    service.issue(house.id, "heat", FIRST, date(2026, 11, 19), builders.NOON)
    db.session.commit()
    boss = sign_in("manager")
    at = f"/console/allocation/{house.id}"
    assert "2026-11-17 至 2026-11-18" in boss.get(at).text
    run_id = db.session.scalar(db.select(AllocationRun.id))
    post(boss, f"/console/allocation-runs/{run_id}/correct", at, reason="户表装反")
    (asked,) = requests.waiting()
    assert (asked.kind, asked.subject_id, asked.reason) == ("reallocation", run_id, "户表装反")
