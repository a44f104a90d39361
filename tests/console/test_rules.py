"""计费规则: what holds for a region and whose it is; a change by two persons."""

from datetime import date

import pytest

from backend.base.db import db
from backend.billing import requests, topics
from backend.billing.models import BillingRequest, RegionRule
from backend.console.forms import words
from backend.console.rule_forms import FORMS
from tests import builders
from tests.console.conftest import post

LATE = {"utility": "heat", "rate": "0.05", "cap_ratio": "100", "min_fen": "1.00"}
LATE |= {"grace_days": "5", "post": "daily", "enabled": "1"}
LATE |= {"effective_from": "2026-12-01", "reason": "省里的新规定"}


def ask(client, topic="late_fee", region="", **fields):
    at = f"/console/rules/{topic}/new?utility=heat&region={region}"
    return post(client, f"/console/rules/{topic}", at, **{**LATE, "region": str(region), **fields})


@pytest.mark.parametrize("topic", topics.TOPICS)
def test_every_field_of_a_topic_stands_in_its_form_and_takes_its_own_default(topic):
    fields = FORMS[topic].fields
    assert {one.name for one in fields} == set(topics.TOPICS[topic].fields)
    assert words(fields, topics.TOPICS[topic].defaults)


def test_a_rule_typed_by_one_holds_once_another_has_approved_it(app, sign_in):
    clerk, boss = sign_in("finance"), sign_in("manager")
    assert ask(clerk).status_code == 303
    waiting = db.session.scalars(db.select(BillingRequest)).one()
    assert waiting.params["params"]["rate"] == "0.0005"
    assert waiting.params["params"]["min_fen"] == 100
    seen = boss.get("/console/requests").text
    assert "热·违约金，2026-12-01 起：收取违约金 是；日费率 0.05 %" in seen
    post(boss, f"/console/requests/{waiting.id}/decide", "/console/requests", verb="approve")
    assert "待生效" in boss.get("/console/rules").text


def test_each_fault_stands_beside_its_field_and_nothing_is_asked(app, sign_in):
    clerk = sign_in("finance")
    answer = ask(clerk, rate="2", grace_days="1.5", min_fen="1.234", effective_from="", reason="")
    assert answer.status_code == 422
    for sentence in (
        "须在 0 到 1 之间。",
        "须为 0 到 90 的整数。",
        "最多两位小数",
        "请填写从哪天起。",
        "请填写为什么改。",
        "有 5 处需要改",
    ):
        assert sentence in answer.text
    assert db.session.scalar(db.select(db.func.count(BillingRequest.id))) == 0


def test_a_region_without_its_own_rule_shows_whose_it_follows_and_since_when(app, sign_in):
    branch = builders.make_region("城东分公司")
    quarter = builders.make_region("花园片区", parent=branch)
    rule = {**topics.TOPICS["late_fee"].defaults, "enabled": True}
    topics.put("late_fee", "heat", branch.id, rule, date(2026, 10, 1), None, None, builders.NOON)
    db.session.commit()
    boss = sign_in("manager")
    page = boss.get(f"/console/rules?region={quarter.id}").text
    assert "沿用城东分公司" in page
    assert "2026-10-01 起" in page
    assert "沿用城东分公司" not in boss.get("/console/rules").text
    assert "为花园片区另定" in page


def test_a_ready_made_choice_fills_the_form_of_cold_rooms(app, sign_in):
    clerk = sign_in("finance")
    at = "/console/rules/cold_room/new?preset=heilongjiang_2021"
    page = clerk.get(at).text
    assert 'name="promised_cdeg" value="20"' in page
    rows = {}
    for index, (below, ratio) in enumerate(
        [("14", "100"), ("16", "50"), ("18", "30"), ("20", "10")]
    ):
        rows |= {f"bands.{index}.below_cdeg": below, f"bands.{index}.ratio": ratio}
        assert f'name="bands.{index}.below_cdeg" value="{below}"' in page
    said = {"enabled": "1", "promised_cdeg": "20", "min_share": "50", "min_coverage": "80"}
    said |= {"rooms": "coldest", "window_fall_cdeg": "2", "window_max_minutes": "180"}
    said |= {"measure_within_hours": "24", "effective_from": "2026-12-01", "reason": "省规定"}
    assert post(clerk, "/console/rules/cold_room", at, utility="heat", **said, **rows).location
    wanted = requests.waiting()[0].params["params"]
    assert (
        wanted
        == topics.TOPICS["cold_room"].defaults | topics.COLD_ROOM_PRESETS["heilongjiang_2021"]
    )


def test_bands_that_do_not_rise_are_refused_at_the_bands(app, sign_in):
    clerk = sign_in("finance")
    said = {"promised_cdeg": "20", "min_share": "50", "min_coverage": "80", "rooms": "coldest"}
    said |= {"window_max_minutes": "180", "measure_within_hours": "24", "reason": "省规定"}
    rows = {"bands.0.below_cdeg": "18", "bands.0.ratio": "30"}
    rows |= {"bands.1.below_cdeg": "16", "bands.1.ratio": "50", "effective_from": "2026-12-01"}
    answer = post(
        clerk,
        "/console/rules/cold_room",
        "/console/rules/cold_room/new",
        utility="heat",
        **said,
        **rows,
    )
    assert answer.status_code == 422
    assert "第 2 档的温度须逐档升高" in answer.text


def test_no_other_utility_or_region_than_there_is(app, sign_in):
    clerk = sign_in("finance")
    for path in ("?utility=steam", "?region=999", "?region=x", "/cold_room/new?utility=water"):
        assert clerk.get(f"/console/rules{path}").status_code == 404
    assert db.session.scalar(db.select(db.func.count(RegionRule.id))) == 0
