"""抄表任务: a run is started, watched and cancelled; a valve is ordered by two persons."""

import pytest

from backend.base.db import db
from backend.metering import commands, meter_notes, runs
from backend.metering.meter_notes import Signal
from backend.metering.models import MeterCommand, ReadingRun
from tests import builders
from tests.console.conftest import post


@pytest.fixture
def house(app):
    building = builders.make_building("A", builders.make_region("城东"))
    building.meters = [
        builders.make_meter(building, builders.make_household(building, unit), kind="gas")
        for unit in ("101", "102")
    ]
    return building


@pytest.fixture
def op(sign_in):
    return sign_in("operator", login="op")


def started(op, what):
    answer = post(op, "/console/runs", what=what)
    assert answer.status_code == 303, answer.text
    return answer.location


@pytest.mark.parametrize(("scope", "total"), [("region", 2), ("building", 2), ("meter", 1)])
def test_a_run_is_started_for_what_was_chosen_and_shows_its_progress(op, house, scope, total):
    ids = {"region": house.region_id, "building": house.id, "meter": house.meters[0].id}
    page = op.get(started(op, f"{scope}:{ids[scope]}")).text
    assert "进行中" in page and f'0 <span class="of">/ {total}</span></dd>' in page


@pytest.mark.parametrize("what", ["", "town:1", "building:999", "building:-1", "meter:" + "9" * 40])
def test_what_cannot_be_chosen_is_not_found_and_begins_nothing(op, house, what):
    assert post(op, "/console/runs", what=what).status_code == 404
    assert db.session.query(ReadingRun).count() == 0


def test_the_page_refreshes_itself_while_it_runs_and_names_who_is_silent(op, house):
    path = started(op, f"building:{house.id}")
    for meter, error in zip(house.meters, ("silent", ""), strict=True):
        (claim,) = runs.take([meter.bus_id], builders.NOON)
        runs.settle([runs.Settled(claim, error)], builders.NOON)
    db.session.commit()
    live = op.get(f"{path}/live").text
    assert live.lstrip().startswith(f'<div id="run" hx-get="{path}/live"') and "<html" not in live
    assert "50.0%" in live and "没有应答" in live and house.meters[0].address in live
    assert house.meters[1].address not in live


def test_a_run_that_ends_while_it_is_watched_takes_its_cancel_button_away(op, house):
    path = started(op, f"building:{house.id}")
    watching = {"HX-Request": "true"}
    assert "run-act" not in op.get(f"{path}/live", headers=watching).text
    for meter in house.meters:
        (claim,) = runs.take([meter.bus_id], builders.NOON)
        runs.settle([runs.Settled(claim, "")], builders.NOON)
    runs.sweep(builders.NOON)
    db.session.commit()
    assert (
        '<div id="run-act" hx-swap-oob="true"></div>'
        in op.get(f"{path}/live", headers=watching).text
    )


def test_a_cancelled_run_says_so_and_refreshes_no_more(op, house):
    path = started(op, f"building:{house.id}")
    assert post(op, f"{path}/cancel", at=path).status_code == 303
    page = op.get(path).text
    assert "已取消。" in page and "hx-get" not in page and "取消任务" not in page
    again = post(op, f"{path}/cancel", at="/console/runs")
    assert again.status_code == 303 and "已经结束" in op.get(path).text


def test_a_manager_watches_but_starts_nothing(sign_in, op, house):
    path = started(op, f"building:{house.id}")
    boss = sign_in("manager")
    assert "开始抄表" not in boss.get("/console/runs").text
    assert "取消任务" not in boss.get(path).text
    assert "A号楼" in boss.get("/console/runs").text


def test_a_meter_is_found_by_its_number_and_read_now(op, house):
    meter = house.meters[0]
    found = op.get("/console/meters", query_string={"address": meter.address})
    assert found.location == f"/console/meters/{meter.id}"
    assert "立即抄表" in op.get(found.location).text
    assert op.get("/console/meters", query_string={"address": "no\x00ne"}).status_code == 404


def test_a_plan_is_chosen_on_the_meters_page(op, house):
    path = f"/console/meters/{house.meters[0].id}"
    assert post(op, f"{path}/plan", at=path, plan="weekly").status_code == 303
    assert '<option value="weekly" selected>每周</option>' in op.get(path).text
    assert post(op, f"{path}/plan", at=path, plan="yearly").status_code == 400


def test_a_valve_is_closed_by_two_persons(sign_in, op, house):
    path = f"/console/meters/{house.meters[0].id}"
    post(op, f"{path}/supply", at=path, action="close", reason="欠费停气")
    page = op.get(path).text
    assert "待核准" in page and ">核准</button>" not in page
    command = db.session.query(MeterCommand).one()
    approve = f"/console/commands/{command.id}/approve"
    post(op, approve, at=path)
    assert "不能自己核准" in op.get(path).text
    other = sign_in("manager", login="boss")
    assert ">核准</button>" in other.get("/console/runs").text
    post(other, approve, at="/console/runs")
    assert "待下发" in other.get(path).text
    db.session.rollback()
    assert [o.is_open for o in commands.take([house.meters[0].bus_id], builders.NOON)] == [False]


def test_a_relay_is_tripped_and_closed_in_the_trades_own_words(sign_in, op, house):
    flat = builders.make_household(house, "901")
    meter = builders.make_meter(house, flat, kind="electricity", protocol="dlt645_2007")
    path = f"/console/meters/{meter.id}"
    page = op.get(path).text
    assert (
        "合闸</button>" in page
        and "申请拉闸</button>" in page
        and "阀" not in page.split("<main")[1]
    )
    post(op, f"{path}/supply", at=path, action="close", reason="欠费停电")
    assert ">拉闸</td>" in op.get(path).text
    other = sign_in("manager", login="boss")
    assert ">拉闸</td>" in other.get("/console/runs").text
    db.session.rollback()
    assert db.session.query(MeterCommand).one().supply == "relay"


def test_how_a_meter_is_heard_and_fed_stands_on_its_page(op, house):
    meter = house.meters[0]
    meter_notes.keep_signals([Signal(meter.id, builders.NOON, -97, 75, 3_610, 81)])
    db.session.commit()
    page = op.get(f"/console/meters/{meter.id}").text
    assert "97 dBm" in page and "信噪比 7.5 dB" in page
    assert "电量 81%" in page and "电池 3.61 V" in page


def test_an_order_without_a_reason_is_not_taken(op, house):
    path = f"/console/meters/{house.meters[0].id}"
    post(op, f"{path}/supply", at=path, action="close", reason=" ")
    assert "请写明原因" in op.get(path).text
    assert db.session.query(MeterCommand).count() == 0


def test_a_withdrawn_order_is_over(op, house):
    path = f"/console/meters/{house.meters[0].id}"
    post(op, f"{path}/supply", at=path, action="close", reason="<b>欠费</b>")
    command = db.session.query(MeterCommand).one()
    post(op, f"/console/commands/{command.id}/withdraw", at=path)
    page = op.get(path).text
    assert "已撤回" in page and "&lt;b&gt;欠费" in page and ">撤回</button>" not in page


def test_a_meter_without_a_valve_has_no_such_buttons(op, house):
    heat = builders.make_meter(house)
    page = op.get(f"/console/meters/{heat.id}").text
    assert "开阀" not in page and "楼栋总表" in page


def test_the_list_takes_a_fixed_number_of_statements(op, house, queries):
    def count():
        before = len(queries)
        assert op.get("/console/runs").status_code == 200
        return len(queries) - before

    started(op, f"building:{house.id}")
    count()
    few = count()
    for _ in range(4):
        started(op, f"building:{house.id}")
    count()
    assert count() == few
