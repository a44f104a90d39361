"""The dispatcher's desk in a browser: a search followed, a find adopted, a refused frame read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from playwright.sync_api import Page, expect

from backend.archive.models import Bus
from backend.base.db import db
from backend.metering import bus_jobs, bus_states, refused
from backend.metering.bus_states import Heard
from backend.metering.refused import Refusal
from collectors.reading import explained
from tests import builders
from tests.browser.test_console_reading import sign_in
from tests.builders import NOON
from tests.console.conftest import TODAY, count_reads, keep_state


def found(number: int, kind: str = "heat", type_zh: str = "热量（回水安装）") -> dict[str, Any]:
    address = f"{24120000 + number}36EA0104"
    return {
        "protocol": "mbus",
        "address": address,
        "names": [address, address[:8]],
        "kind": kind,
        "maker": "NUA",
        "type_zh": type_zh,
        "meter_type": None,
    }


def fill() -> Bus:
    """Five buses in every state, one with meters of all sorts; that one."""
    region = builders.make_region("城东分公司")
    looks = [
        ("1号楼-总线", Heard(0, NOON, 0, 9.0, {"silent": 14, "garbled": 2})),
        ("2号楼-总线", Heard(0, NOON, 16, 733.0)),
        ("3号楼-总线", Heard(0, NOON, 0, 0.0)),
        ("4号楼-总线", Heard(0, NOON, 15, 41.2, {"silent": 1})),
    ]
    wires = []
    for n, (code, heard) in enumerate(looks):
        building = builders.make_building(f"B{n}", region, name=f"{n + 1}号楼")
        bus = builders.make_bus(
            building, code, link="dtu://13800000001" if n == 1 else "tcp://10.0.0.9:4001"
        )
        bus_states.note([Heard(bus.id, heard.at, heard.answered, heard.took_s, heard.reasons)])
        wires.append(bus)
        if n == 2:
            continue
        for flat_no in range(1, 5):
            flat = builders.make_household(building, f"{flat_no}01")
            meter = builders.make_meter(building, flat, bus=bus, address=f"{n}001{flat_no:010d}")
            keep_state(
                meter.id,
                last_ok_at=NOON - timedelta(minutes=flat_no),
                clock_drift_s=(3, -42, 7325, None)[flat_no - 1],
                clock_at=NOON,
                signal_dbm=(-71, -98, None, None)[flat_no - 1],
                snr_ddb=(75, None, None, None)[flat_no - 1],
            )
            for back in range(7):
                count_reads(meter.id, TODAY - timedelta(days=back), 100, 0 if n == 0 else 99)
    bus_states.note_signal(wires[1].id, -83, NOON)
    good = b"\x68\x20\x67\x05\x17\x24\x00\x00\x00\x81\x16\x1f\x90\x00\x00\x77\x66\x55\x16"
    bad = [
        Refusal(
            wires[0].id, "garbled", "no whole frame came", b"\x68\x20\x67\x05", NOON, None, "cjt188"
        ),
        Refusal(wires[0].id, "checksum", "checksum 55, computed 21", good, NOON, None, "cjt188"),
        Refusal(None, "unknown_device", "no DTU is called 13900000002", b"\xfe13900000002", NOON),
    ]
    refused.keep(bad * 4, explained)
    db.session.commit()
    return wires[3]


def test_a_bus_is_searched_and_a_find_is_adopted(
    page: Page, shot: Callable[[Page, str], None], monkeypatch: Any
) -> None:
    monkeypatch.setattr("backend.console.bus_jobs.EVERY_S", 1)
    bus = fill()
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="采集总线").click()
    expect(page.get_by_role("cell", name="无响应")).to_be_visible()
    shot(page, "console-buses")
    page.get_by_role("link", name="4号楼-总线").click()
    expect(page.get_by_text("快 2 小时 2 分")).to_be_visible()
    shot(page, "console-bus")
    page.get_by_label("搜表方式").select_option(label="M-Bus 二次地址，逐位排查")
    page.get_by_role("button", name="开始搜表").click()
    expect(page.locator("#job")).to_contain_text("等待采集程序")
    (held,) = bus_jobs.take([bus.id], NOON)
    progress = {"found": [found(1)], "conflicts": []}
    bus_jobs.progress(held, 412, 1000, NOON, note="表号 241＊＊＊＊＊", result=progress)
    db.session.commit()
    expect(page.locator("#job")).to_contain_text("41.2%")
    expect(page.locator("#job")).to_contain_text("2412000136EA0104")
    shot(page, "console-bus-job-running")
    result = {
        "found": [found(1), found(2, "water", "水"), found(3, "", "未知介质")],
        "conflicts": ["表号 24129999"],
        "probes": 87,
    }
    bus_jobs.settle(held, result, None, NOON)
    db.session.commit()
    expect(page.locator("#job")).to_contain_text("已完成")
    expect(page.get_by_role("button", name="取消任务")).to_have_count(0)
    shot(page, "console-bus-job-done")
    row = page.get_by_role("row", name="2412000136EA0104")
    row.get_by_label("户号").fill("B3-101")
    row.get_by_label("底数").fill("5000.25")
    row.get_by_role("button", name="建档").click()
    expect(page.get_by_text("已建档，下一轮抄表开始读它")).to_be_visible()
    expect(page.get_by_role("row", name="2412000136EA0104")).to_contain_text("已建档")
    page.get_by_role("link", name="总线任务").first.click()
    expect(page.get_by_role("link", name="搜表 M-Bus")).to_be_visible()
    shot(page, "console-bus-jobs")


def test_a_refused_frame_is_read_by_a_person(page: Page, shot: Callable[[Page, str], None]) -> None:
    fill()
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="拒收报文").click()
    page.get_by_role("link", name="校验错误").click()
    page.locator("details").first.click()
    expect(page.get_by_text("帧有误").first).to_be_visible()
    shot(page, "console-refused")


def test_the_desk_fits_a_phone(small_page: Page, shot: Callable[[Page, str], None]) -> None:
    bus = fill()
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(small_page)
    store = builders.make_bus(builders.make_building("K"), "K-1", "concentrator://1101-00001")
    pages = {
        "buses": "buses",
        "bus": f"buses/{bus.id}",
        "concentrator": f"buses/{store.id}",
        "refused": "refused",
    }
    for name, path in pages.items():
        small_page.goto(f"/console/{path}")
        wide = small_page.evaluate("document.documentElement.scrollWidth")
        shot(small_page, f"console-{name}-phone")
        assert wide <= 390, name
