"""采集总线, 总线任务, 拒收报文: seen by dispatchers, acted on by operators, closed to strangers."""

from datetime import timedelta

import pytest

from backend.base.db import db
from backend.metering import bus_jobs, bus_states, refused
from backend.metering.bus_states import Heard
from backend.metering.models import BusJob, Reading
from backend.metering.refused import Refusal
from tests import builders
from tests.builders import NOON
from tests.console.conftest import TODAY, count_reads, keep_state, post

FOUND = {
    "protocol": "mbus",
    "address": "2412000136EA0104",
    "names": ["2412000136EA0104", "24120001"],
    "kind": "heat",
    "maker": "NUA",
    "type_zh": "热量（回水安装）",
    "meter_type": None,
}


@pytest.fixture
def wires(app):
    """A silent, a slow and a good bus in one region, and one in another."""
    town = builders.make_region("公司", "company")
    east, west = (builders.make_region(name, parent=town) for name in ("城东", "城西"))
    places = {}
    for code, region in (("BAD", east), ("SLOW", east), ("GOOD", east), ("WEST", west)):
        building = builders.make_building(code, region)
        places[code] = builders.make_bus(building, code)
        places[code].flat = builders.make_household(building, "101")
        builders.make_meter(building, places[code].flat, bus=places[code], address=f"{code}-METER")
    heard = [
        Heard(places["BAD"].id, NOON, 0, 9.0, {"silent": 3, "garbled": 1}),
        Heard(places["SLOW"].id, NOON, 4, 700.0),
        Heard(places["GOOD"].id, NOON, 4, 9.0),
    ]
    bus_states.note(heard)
    db.session.commit()
    places["regions"] = (town, east, west)
    return places


def order_in(page, *texts):
    places = [page.index(text) for text in texts]
    return places == sorted(places)


def test_what_needs_a_person_stands_first_with_its_reason(sign_in, wires):
    page = sign_in("manager").get("/console/buses").text
    assert order_in(page, ">BAD<", ">SLOW<", ">GOOD<")
    assert "无响应" in page and "没有应答 3" in page and "残缺、杂音或冲突 1" in page
    assert "一轮 700 秒，周期 600 秒" in page


def test_buses_are_chosen_by_region_with_all_below_it_and_by_state(sign_in, wires):
    client = sign_in("operator")
    town, east, west = wires["regions"]
    assert ">WEST<" not in client.get(f"/console/buses?region={east.id}").text
    assert ">BAD<" not in client.get(f"/console/buses?region={west.id}").text
    assert ">BAD<" in client.get(f"/console/buses?region={town.id}").text
    page = client.get("/console/buses?state=overload").text
    assert ">SLOW<" in page and ">GOOD<" not in page


@pytest.mark.parametrize("query", ["region=x", "region=9" * 30, "state=%00", "page=-1", "page=²"])
def test_a_query_that_is_none_shows_the_list(sign_in, wires, query):
    assert sign_in("operator").get(f"/console/buses?{query}").status_code == 200


def test_the_list_is_paged_and_asks_as_many_statements_for_fifty_as_for_four(
    sign_in, wires, queries, monkeypatch
):
    client = sign_in("operator")
    queries.clear()
    client.get("/console/buses")
    few = len(queries)
    building = builders.make_building("MANY")
    for n in range(60):
        builders.make_bus(building, f"Z{n:02d}")
    queries.clear()
    page = client.get("/console/buses").text
    assert len(queries) == few and "下一页" in page and ">Z59<" not in page
    assert ">Z59<" in client.get("/console/buses?page=2").text


def test_a_bus_whose_collector_is_gone_says_so(sign_in, wires, clock):
    assert "采集程序已停止上报" not in sign_in("operator").get("/console/buses").text
    clock.advance(hours=1)
    assert "采集程序已停止上报" in sign_in("operator", login="b").get("/console/buses").text


def test_a_buss_page_shows_its_meters_with_success_clock_and_signal(sign_in, wires):
    good = wires["GOOD"]
    meter = builders.make_meter(
        db.session.get(builders.Building, good.building_id), bus=good, address="7777"
    )
    keep_state(meter.id, clock_drift_s=-3725, signal_dbm=-98, snr_ddb=75, last_ok_at=NOON)
    count_reads(meter.id, TODAY, 8, 6)
    bus_states.note_signal(good.id, -71, NOON)
    db.session.commit()
    page = sign_in("operator").get(f"/console/buses/{good.id}").text
    assert "7777" in page and "慢 1 小时 2 分" in page and "\u221298 dBm" in page
    assert "信噪比 7.5 dB" in page and "75.0%" in page and "\u221271 dBm" in page


def test_a_meters_page_tells_its_clock_signal_and_bus(sign_in, wires):
    meter = db.session.query(builders.Meter).filter_by(address="GOOD-METER").one()
    keep_state(meter.id, clock_drift_s=400, signal_dbm=-98)
    page = sign_in("operator").get(f"/console/meters/{meter.id}").text
    assert "时钟快 6 分 40 秒" in page and "信号 \u221298 dBm" in page
    assert f"/console/buses/{meter.bus_id}" in page


def test_a_manager_watches_and_has_no_buttons(sign_in, wires):
    page = sign_in("manager").get(f"/console/buses/{wires['GOOD'].id}").text
    assert "开始搜表" not in page
    assert "开始搜表" in sign_in("operator").get(f"/console/buses/{wires['GOOD'].id}").text


def test_a_pushed_bus_offers_no_search(sign_in, app):
    bus = builders.make_bus(builders.make_building("A"), link="push://ctwing")
    assert "开始搜表" not in sign_in("operator").get(f"/console/buses/{bus.id}").text


def start(client, bus, **form):
    form = {"way": "mbus/secondary", **form}
    return post(client, f"/console/buses/{bus.id}/search", at=f"/console/buses/{bus.id}", **form)


def job():
    db.session.expire_all()
    return db.session.query(BusJob).one()


def test_a_search_is_started_watched_and_cancelled(sign_in, wires):
    client, bus = sign_in("operator"), wires["GOOD"]
    answer = start(client, bus)
    assert answer.status_code == 303 and answer.location.endswith(f"/bus-jobs/{job().id}")
    (held,) = bus_jobs.take([bus.id], NOON)
    bus_jobs.progress(held, 250, 1000, NOON, note="表号 2＊＊＊＊＊＊＊", result={"found": [FOUND]})
    db.session.commit()
    live = client.get(f"/console/bus-jobs/{job().id}/live").text
    assert "25.0%" in live and "表号 2" in live and "24120001" in live and "hx-get" in live
    assert "任务结束后可建档" in live
    page = f"/console/bus-jobs/{job().id}"
    assert post(client, f"{page}/cancel", at=page).status_code == 303
    assert job().state == "cancelled"
    done = client.get(f"{page}/live", headers={"HX-Request": "true"}).text
    assert "hx-get" not in done and 'hx-swap-oob="true"' in done and "24120001" in done


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"way": ""}, "请选择搜表方式"),
        ({"way": "cjt188/range", "first": "1"}, "请填写 14 位数字"),
        ({"wait_ms": "soon"}, "请填写数字"),
        ({"wait_ms": "1"}, "等待时间"),
    ],
)
def test_a_search_that_makes_no_sense_says_why(sign_in, wires, form, words):
    client, bus = sign_in("operator"), wires["GOOD"]
    assert start(client, bus, **form).location.endswith(f"/buses/{bus.id}")
    assert words in client.get(f"/console/buses/{bus.id}").text
    assert db.session.query(BusJob).count() == 0


def test_a_second_search_of_a_bus_is_refused_in_words(sign_in, wires):
    client, bus = sign_in("operator"), wires["GOOD"]
    start(client, bus)
    start(client, bus)
    assert "已有一个同类任务" in client.get(f"/console/buses/{bus.id}").text


@pytest.fixture
def found(sign_in, wires):
    """(client, path) of a search that has found one new meter."""
    client, bus = sign_in("operator"), wires["GOOD"]
    start(client, bus)
    (held,) = bus_jobs.take([bus.id], NOON)
    bus_jobs.settle(held, {"found": [FOUND], "conflicts": ["表号 9＊"]}, None, NOON)
    db.session.commit()
    return client, f"/console/bus-jobs/{job().id}"


def test_a_found_meter_is_taken_into_the_archive_with_what_it_shows(found, wires):
    client, path = found
    page = client.get(path).text
    assert "未建档" in page and "多块表同时应答、未能分开：表号 9＊" in page
    form = {"address": FOUND["address"], "kind": "heat", "account_no": "GOOD-101"}
    post(client, f"{path}/adopt", at=path, **form, register="5000.25")
    meter = db.session.query(builders.Meter).filter_by(address=FOUND["address"]).one()
    assert (meter.household_id, meter.first_register) == (wires["GOOD"].flat.id, 5_000_250)
    assert db.session.query(Reading).one().register == 5_000_250
    page = client.get(path).text
    assert "已建档" in page and "未建档" not in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"account_no": "BAD-101"}, "这栋楼里没有这个户号"),
        ({"register": ""}, "请填写表上现在的底数"),
        ({"register": "1.00001"}, "底数请填写数字"),
        ({"register": "NaN"}, "底数请填写数字"),
        ({"kind": "smoke"}, "请选择表的种类"),
    ],
)
def test_what_cannot_be_taken_in_is_said_and_nothing_is_kept(found, wires, changes, words):
    client, path = found
    form = {"address": FOUND["address"], "kind": "heat", "account_no": "", "register": "1"}
    post(client, f"{path}/adopt", at=path, **{**form, **changes})
    assert words in client.get(path).text
    assert db.session.query(builders.Meter).filter_by(address=FOUND["address"]).count() == 0


def test_clocks_are_read_or_set_and_each_result_is_said(sign_in, wires):
    client, bus = sign_in("operator"), wires["GOOD"]
    at = f"/console/buses/{bus.id}"
    assert post(client, f"{at}/clock", at=at, action="set").status_code == 303
    (held,) = bus_jobs.take([bus.id], NOON)
    outcomes = [("set", 7200, 0), ("no_credentials", 360, 360), ("silent", None, None)]
    rows = [
        {"meter_id": 1, "address": f"M{n}", "outcome": o, "drift_s": d, "after_s": a}
        for n, (o, d, a) in enumerate(outcomes)
    ]
    bus_jobs.settle(held, {"clocks": rows}, None, NOON)
    db.session.commit()
    page = client.get(f"/console/bus-jobs/{job().id}").text
    for words in ("已校准（已回读）", "快 2 小时", "未配置写表密码", "没有应答"):
        assert words in page
    assert post(client, f"{at}/clock", at=at, action="wind").status_code == 400


def test_a_concentrator_is_told_its_meters_and_what_differs_is_said(sign_in, app):
    bus = builders.make_bus(builders.make_building("C"), link="concentrator://1101-00001")
    client, at = sign_in("operator"), f"/console/buses/{bus.id}"
    assert "开始搜表" not in client.get(at).text
    form = {"action": "download", "interval_min": "30", "reading_time": "00:10"}
    assert post(client, f"{at}/setup", at=at, **form).status_code == 303
    asked = {"interval_min": 30, "reading_time": "00:10", "remove_others": False}
    assert (job().kind, job().parameters) == ("download", asked)
    (held,) = bus_jobs.take([bus.id], NOON)
    differences = [{"index": 3, "words": "序号 3：地址不一致"}]
    result = {"written": 12, "left_out": [], "differences": differences}
    bus_jobs.settle(held, result, None, NOON)
    db.session.commit()
    page = client.get(f"/console/bus-jobs/{job().id}").text
    assert "写入 12 块" in page and "1 处不一致" in page and "序号 3：地址不一致" in page
    for wrong in ({"interval_min": "0"}, {"reading_time": "24:00"}):
        post(client, f"{at}/setup", at=at, **{**form, **wrong})
        assert db.session.query(BusJob).count() == 1


def test_a_plain_bus_cannot_be_set_up_as_a_concentrator(sign_in, wires):
    client, bus = sign_in("operator"), wires["GOOD"]
    at = f"/console/buses/{bus.id}"
    post(client, f"{at}/setup", at=at, action="download")
    assert "不是集中器" in client.get(at).text
    assert post(client, f"{at}/setup", at=at, action="format").status_code == 400


def test_the_jobs_of_all_buses_are_listed_by_state(found):
    client, path = found
    assert path in client.get("/console/bus-jobs").text
    assert path in client.get("/console/bus-jobs?state=done").text
    assert path not in client.get("/console/bus-jobs?state=failed").text
    assert client.get("/console/bus-jobs?state=%00").status_code == 200


@pytest.fixture
def refusals(wires):
    bus = wires["BAD"]
    made = [
        Refusal(bus.id, "checksum", "checksum A1, computed A0", b"\x68\x20", NOON, None, "cjt188"),
        Refusal(None, "unknown_device", "no such device", b"hello", NOON - timedelta(days=1)),
    ]
    refused.keep(
        made * 30, lambda one: [["错误", "checksum", "校验和不符<b>"]] if one.bus_id else []
    )
    db.session.commit()
    return bus


def test_refused_frames_are_shown_with_counts_hex_and_what_the_codec_makes_of_them(
    sign_in, refusals
):
    client = sign_in("operator")
    page = client.get("/console/refused").text
    assert "68 20" in page and "校验和不符&lt;b&gt;" in page and "校验错误" in page
    assert "nuan decode 协议 68656c6c6f" in client.get("/console/refused?page=2").text
    assert page.count(">30<") >= 2
    only = client.get("/console/refused?code=unknown_device").text
    assert "68 65 6C 6C 6F" in only and "68 20" not in only
    mine = client.get(f"/console/refused?bus={refusals.id}").text
    assert "68 20" in mine and "68 65 6C" not in mine
    assert client.get("/console/refused?bus=9999").status_code == 404


@pytest.mark.parametrize("role", ["finance", "reader"])
def test_others_see_nothing_of_it(sign_in, wires, role):
    client = sign_in(role)
    for path in ("buses", f"buses/{wires['BAD'].id}", "bus-jobs", "refused"):
        assert client.get(f"/console/{path}").status_code == 403
