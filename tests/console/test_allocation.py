"""结算 and 参数辨识 in the console."""

from backend.allocation import settling
from backend.base.db import db
from tests import builders
from tests.allocation import stored
from tests.allocation.stored import FIRST, LAST
from tests.builders import NOON
from tests.console.conftest import post


def begin():
    settlement = settling.start(None, FIRST, LAST, None, NOON)
    db.session.commit()
    return settlement


def test_a_settlement_is_started_from_the_form_and_followed(app, sign_in):
    stored.house("area")
    client = sign_in("operator")
    answer = post(
        client, "/console/settlements", **{"region": "", "from": str(FIRST), "to": str(LAST)}
    )
    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "全部楼栋" in page
    assert "hx-get" in page
    assert "取消结算" in page


def test_what_could_not_be_settled_is_said_and_can_be_tried_again(app, sign_in):
    house, _ = stored.house("area")
    settlement = begin()
    settling.settle(settlement.id, house.id, NOON)
    page = sign_in("manager").get(f"/console/settlements/{settlement.id}").text
    assert "还没有日结" in page
    assert "重试未结算的楼栋" in page
    assert "hx-get" not in page


def test_finance_may_watch_and_not_act(app, sign_in):
    stored.house("area")
    settlement = begin()
    page = sign_in("finance").get(f"/console/settlements/{settlement.id}").text
    assert "取消结算" not in page


def test_when_it_ends_under_watch_the_button_changes(app, sign_in):
    house, _ = stored.house("area")
    settlement = begin()
    settling.settle(settlement.id, house.id, NOON)
    live = sign_in("operator").get(
        f"/console/settlements/{settlement.id}/live", headers={"HX-Request": "true"}
    )
    assert 'id="settlement-act" hx-swap-oob="true"' in live.text
    assert "csrf_token" in live.text


def test_a_season_not_over_is_said_on_the_page(app, sign_in):
    stored.house("area")
    client = sign_in("operator")
    post(client, "/console/settlements", **{"region": "", "from": "2026-10-20", "to": "2027-04-20"})
    assert "还没有结束" in client.get("/console/settlements").text


def test_a_report_shows_its_figures_and_the_manager_decides(app, sign_in):
    home = builders.make_household(builders.make_building("A"))
    row = builders.make_calibration(home, builders.make_staff("other", ["operator"]))
    client = sign_in("manager")
    path = f"/console/calibrations/{row.id}"
    page = client.get(path).text
    assert "1.312" in page
    assert "核准采用" in page
    assert "<svg" in page
    answer = post(client, f"{path}/approve", at=path, effective_from="2026-11-20")
    assert answer.status_code == 303
    assert "已核准，自 2026-11-20 起" in client.get(path).text


def test_an_operator_sees_no_approval(app, sign_in):
    home = builders.make_household(builders.make_building("A"))
    row = builders.make_calibration(home, builders.make_staff("other", ["operator"]))
    page = sign_in("operator").get(f"/console/calibrations/{row.id}").text
    assert "核准采用" not in page
    assert "不采用" in page


def test_a_building_without_data_is_refused_with_what_to_do(app, sign_in):
    home = builders.make_household(builders.make_building("A"))
    client = sign_in("operator")
    answer = post(
        client,
        "/console/calibrations",
        **{"building": str(home.building_id), "from": "2026-10-21", "to": "2026-11-20"},
    )
    assert "请修复室温传感器" in client.get(answer.location).text
