"""Rules of a region and of a building, typed in a real browser at both sizes."""

from datetime import date

import pytest

from backend.base.db import db
from backend.billing import topics
from tests import builders, paper18
from tests.browser.test_console_reading import sign_in

WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def town(app):
    """A branch with a rule of its own, and a quarter below it that follows."""
    branch = builders.make_region("城东分公司")
    quarter = builders.make_region("花园片区", parent=branch)
    rule = {**topics.TOPICS["late_fee"].defaults, "enabled": True}
    topics.put("late_fee", "heat", branch.id, rule, date(2026, 10, 1), None, None, builders.NOON)
    builders.make_staff("finance", roles=["finance"], name="李会计")
    db.session.commit()
    return quarter


def test_the_pages_of_rules_fit_a_desk_and_a_phone(site, page, small_page, town, shot):
    for name, one in (("desk", page), ("phone", small_page)):
        sign_in(one, "finance")
        for number, path in enumerate(
            (
                f"/console/rules?region={town.id}",
                "/console/rules/cold_room/new?preset=heilongjiang_2021",
            )
        ):
            one.goto(f"{site}{path}")
            one.get_by_role("heading", level=1).wait_for()
            assert one.evaluate(WIDE) <= 0, path
            shot(one, f"rules-{name}-{number}")


def test_the_pages_of_sharing_heat_fit_a_desk_and_a_phone(site, page, small_page, app, shot):
    house, _ = paper18.load(date(2026, 11, 17))
    builders.make_staff("boss", roles=["manager"], name="赵经理")
    for name, one in (("desk", page), ("phone", small_page)):
        sign_in(one, "boss")
        for number, path in enumerate(("", f"/{house.id}", f"/{house.id}/temperature_area")):
            one.goto(f"{site}/console/allocation{path}")
            one.get_by_role("heading", level=1).wait_for()
            assert one.evaluate(WIDE) <= 0, path
            shot(one, f"allocation-{name}-{number}")


def test_another_band_is_one_press_and_what_is_wrong_stands_beside_it(site, page, town, shot):
    sign_in(page, "finance")
    page.goto(f"{site}/console/rules/cold_room/new?preset=common_18")
    page.get_by_role("button", name="再加一行").click()
    page.locator("[name='bands.4.below_cdeg']").fill("17")
    page.locator("[name='bands.4.ratio']").fill("10")
    page.get_by_label("为什么改").fill("试一试")
    page.get_by_role("button", name="提交核准").click()
    page.get_by_text("第 4 档的温度须逐档升高").wait_for()
    shot(page, "rules-wrong")
