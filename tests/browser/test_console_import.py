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
