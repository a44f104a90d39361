"""票据 in a browser: found, invoiced, taken back; a template and what it prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backend.base.db import db
from backend.cashier.papers.models import PaperTemplate
from tests.browser.test_console_reading import sign_in
from tests.cashier.papers.conftest import Hall

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def hall(app: Any, clock: Any) -> Hall:
    """A household that has paid three bills and got a receipt for each."""
    made = Hall(clock)
    for fen, utility in ((12345, "heat"), (6400, "water"), (880, "electricity")):
        made.pay(made.bill(fen, utility))
    return made


def test_an_invoice_is_made_and_taken_back_in_part(
    page: Page, hall: Hall, shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "zhou")
    page.goto("/console/papers")
    expect(page.get_by_role("row")).to_have_count(4)
    shot(page, "papers")
    page.get_by_role("link", name="开发票").first.click()
    page.get_by_label("户号").fill(hall.household.account_no)
    page.get_by_role("button", name="查找").click()
    shot(page, "papers-invoice")
    page.get_by_role("button", name="开具").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("发票")
    shot(page, "papers-paper")
    page.locator("summary", has_text="开红字票据").click()
    page.locator("#amount").fill("1.00")
    page.locator("#red-reason").fill("多开")
    shot(page, "papers-red-form")
    page.get_by_role("button", name="开红字票据").click()
    expect(page.get_by_text("红字票据，冲销")).to_be_visible()
    shot(page, "papers-red")
    page.goto("/console/papers/report")
    expect(page.get_by_text("连号无缺").first).to_be_visible()
    shot(page, "papers-report")


def test_the_papers_fit_a_phone(
    small_page: Page, hall: Hall, shot: Callable[[Page, str], None]
) -> None:
    sign_in(small_page, "zhou")
    one = db.session.query(PaperTemplate).filter_by(kind="receipt", size="a5").one()
    account = hall.household.account_no
    for path, name in (
        ("/console/papers", "papers-390"),
        ("/console/papers/SJ01202600000001", "papers-paper-390"),
        (f"/console/papers/invoice?account_no={account}", "papers-invoice-390"),
        ("/console/papers/report", "papers-report-390"),
        ("/console/paper-templates", "papers-templates-390"),
        (f"/console/paper-templates/{one.id}", "papers-template-390"),
    ):
        small_page.goto(path)
        wide = small_page.evaluate("document.documentElement.scrollWidth")
        shot(small_page, name)
        assert wide <= 390, (path, wide)


def test_a_template_shows_what_it_prints(
    page: Page, hall: Hall, shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "zhou")
    one = db.session.query(PaperTemplate).filter_by(kind="receipt", size="a5").one()
    page.goto("/console/paper-templates")
    shot(page, "papers-templates")
    page.goto(f"/console/paper-templates/{one.id}")
    page.wait_for_timeout(1500)
    shot(page, "papers-template")
