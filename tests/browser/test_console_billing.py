"""Prices, what waits for a second person and cold rooms, in a real browser at both sizes."""

from datetime import date, timedelta

import pytest

from backend.archive.models import Household
from backend.base.db import db
from backend.billing import cold, requests, service, tariffs
from backend.people.service import Principal
from tests import builders, paper18
from tests.browser.test_console_reading import sign_in

NOON = builders.NOON
FIRST = date(2026, 11, 17)
PRICE = {"k1": "16.5", "k2": "44.41", "season_days": 183, "area_price": "38.32"}


@pytest.fixture
def town(app):
    """The published building billed, a draft of a dearer price, a reversal and a cold room."""
    builders.make_tariff("heat", "two_part", PRICE)
    house, flats = paper18.load(FIRST)
    last = FIRST + timedelta(2)
    bills = service.issue(house.id, "heat", FIRST, last, NOON).bills
    clerk = Principal("staff", builders.make_staff("clerk", name="李会计").id)
    draft = tariffs.draft(
        clerk,
        NOON,
        name="居民热价 2027",
        utility="heat",
        customer_class="residential",
        kind="two_part",
        params={**PRICE, "k1": "18.0", "k2": "40.00"},
        effective_from=date(2027, 10, 20),
    )
    requests.ask_reversal(bills[0].id, "面积登记有误", clerk, NOON)
    cold.report(flats["101"].id, "主卧", "夜里只有十五六度", None, NOON - timedelta(days=2))
    db.session.commit()
    return draft


def shown(page, site, town):
    for path, heading in (
        ("/console/tariffs", "价格方案"),
        ("/console/tariffs/new", "起草价格方案"),
        (f"/console/tariffs/{town.id}?from=2026-11-01&to=2026-12-01", "居民热价 2027"),
        ("/console/requests", "待核准"),
        ("/console/cold", "室温报修"),
    ):
        page.goto(f"{site}{path}")
        page.get_by_role("heading", name=heading).first.wait_for()
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, path
        yield path, page


def test_the_pages_of_billing_fit_a_desk_and_a_phone(site, page, small_page, town, shot):
    builders.make_staff("manager", roles=["manager"], name="赵经理")
    sign_in(page, "manager")
    sign_in(small_page, "manager")
    for name, one in (("desk", page), ("phone", small_page)):
        for number, (_path, opened) in enumerate(shown(one, site, town)):
            shot(opened, f"console-billing-{name}-{number}")


def test_a_price_is_tried_while_it_is_typed(site, page, small_page, town, shot):
    builders.make_staff("manager", roles=["manager"], name="赵经理")
    sign_in(page, "manager")
    page.goto(f"{site}/console/tariffs/new")
    page.locator("#tried tfoot").get_by_text("469.73").wait_for()
    page.get_by_label("计量热价").fill("50")
    page.locator("#tried tfoot").get_by_text("499.92").wait_for()
    page.get_by_role("button", name="用最近一年的账单试算").click()
    page.get_by_text("18 张账单").wait_for()
    shot(page, "tariff-heat")
    page.get_by_label("能源种类").select_option("electricity")
    page.get_by_label("价格类型").select_option("tou_tiered")
    page.get_by_text("阶梯加价（按年累计").wait_for()
    page.locator("#tried tfoot").wait_for()
    shot(page, "tariff-tou")
    sign_in(small_page, "manager")
    small_page.goto(f"{site}/console/tariffs/new?utility=water&kind=tiered")
    small_page.locator("#tried tfoot").wait_for()
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert small_page.evaluate(wide) <= 0
    shot(small_page, "tariff-phone")


def test_a_draft_is_approved_by_a_press_of_somebody_else(site, page, town):
    builders.make_staff("manager", roles=["manager"], name="赵经理")
    sign_in(page, "manager")
    page.goto(f"{site}/console/tariffs/{town.id}")
    page.get_by_role("button", name="核准生效").click()
    page.get_by_text("已核准，按生效日执行。").wait_for()


def test_a_households_pages_fit_a_desk_and_a_phone(site, page, small_page, town, shot):
    builders.make_staff("manager", roles=["manager"], name="赵经理")
    home = db.session.scalars(db.select(Household).limit(1)).one()
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for name, one in (("desk", page), ("phone", small_page)):
        sign_in(one, "manager")
        for number, path in enumerate(("", f"/{home.id}", f"/{home.id}/handover")):
            one.goto(f"{site}/console/households{path}")
            one.get_by_role("heading", level=1).wait_for()
            for summary in one.locator("main section:first-of-type summary").all():
                summary.click()
            assert one.evaluate(wide) <= 0, path
            shot(one, f"household-{name}-{number}")
