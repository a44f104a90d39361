"""The import page in a browser: choose a file, see what is wrong, put it right, take it in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from playwright.sync_api import Page, expect

from backend.base.clock import SHANGHAI
from tests import builders
from tests.browser.test_console_reading import sign_in

AT = (builders.NOON - timedelta(hours=3)).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
HEAD = "表地址,抄表时间,读数,单位\n"


def test_a_file_is_checked_put_right_and_taken_in(
    page: Page, shot: Callable[[Page, str], None]
) -> None:
    house = builders.make_building()
    builders.make_meter(house, builders.make_household(house), "water", address="4711")
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="导入读数").click()

    def send(text: str, button: str) -> None:
        file = {"name": "十一月.csv", "mimeType": "text/csv", "buffer": text.encode()}
        page.get_by_label("文件", exact=True).set_input_files(file)  # type: ignore[arg-type]
        page.get_by_role("button", name=button, exact=True).click()

    send(f"{HEAD}4711,{AT},1.5,m3\n815,{AT},1.5,m3\n", "导入")
    expect(page.locator("tbody tr")).to_contain_text(["没有这块表"])
    shot(page, "import-errors")
    send(f"{HEAD}4711,{AT},1.5,m3\n", "只检查")
    expect(page.get_by_role("status")).to_contain_text("可导入 1 条")
    send(f"{HEAD}4711,{AT},1.5,m3\n", "导入")
    expect(page.get_by_role("status")).to_contain_text("导入 1 条")


def test_a_handhelds_text_is_checked_and_the_round_downloaded(
    page: Page, shot: Callable[[Page, str], None]
) -> None:
    house = builders.make_building()
    builders.make_meter(house, builders.make_household(house), "water", address="4711")
    builders.make_staff("operator", roles=("operator",), name="高工")
    sign_in(page)
    page.get_by_role("link", name="导入读数").click()
    page.get_by_label("范围").select_option(value=f"building:{house.id}")
    page.get_by_label("编码").select_option(label="GBK（手持机）")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="下载抄表册").click()
    assert "4711" in downloading.value.path().read_text("gb18030")
    assert downloading.value.suggested_filename.startswith("抄表册-")
    page.get_by_label("文件格式").select_option(value="handheld-txt")
    text = f"4711\t{AT}\t1.5\tm3\n4712\t{AT}\t1.5\tm3\n".encode("gb18030")
    file = {"name": "抄表.txt", "mimeType": "text/plain", "buffer": text}
    page.get_by_label("文件", exact=True).set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="导入", exact=True).click()
    expect(page.locator("tbody tr")).to_contain_text(["没有这块表"])
    expect(page.get_by_label("文件格式")).to_have_value("handheld-txt")
    shot(page, "import-handheld")
