"""票据 on a phone: receipts and their PDF, an invoice whose answer was lost, titles by field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, Route, expect

from backend.base.clock import FixedClock
from backend.base.db import db
from backend.billing import wallet
from backend.billing.models import Bill
from backend.cashier.papers import invoices, press, titles, undoing
from backend.cashier.papers.models import InvoiceTitle, Paper
from tests import builders
from tests.browser import h5
from tests.browser.h5 import DESK, app, hosts, site, take_phone
from tests.cashier.papers.conftest import Ahead, Hall
from tests.outside import Phone, phone, sandbox, sandbox_keys

__all__ = ["app", "hosts", "phone", "sandbox", "sandbox_keys", "site", "take_phone"]
pytestmark = pytest.mark.timeout(120)

TAX_ID = "91110108551385082Q"
LONG = "哈尔滨市南岗区学府路暖阳小区物业服务与供热设施维护保养管理有限责任公司第二分公司（筹备处）"


@pytest.fixture
def hall(app: Flask, clock: FixedClock, phone: Phone) -> Hall:
    """A household whose resident is 张三 of WeChat, and the hall where it pays."""
    phone.post("wechat/people", people=[{"openid": "person-zhang", "nickname": "张三"}])
    made = Hall(clock)
    builders.bind(builders.make_resident("person-zhang"), made.household)
    return made


@pytest.fixture
def at_home(take_phone: Callable[..., Page], hall: Hall) -> Callable[..., Page]:
    """张三's phone, signed in."""

    def taken(**more: object) -> Page:
        page = take_phone(**more)
        h5.sign_in(page, "person-zhang")
        expect(h5.front(page, "nav-bills")).to_be_visible()
        return page

    return taken


def larger(page: Page) -> None:
    """Large type, as set on the phone."""
    h5.go(page, "pages/mine/index")
    h5.front(page, "large-text").tap()


def discounted(hall: Hall) -> tuple[Bill, Bill]:
    """Two bills of 100 yuan, of which 30 were paid out of a credit for a cold room."""
    first = hall.bill(10000)
    hall.pay(first)
    wish = wallet.Credit("cold", hall.household.id, "heat", "cold_room", 3000, "室温")
    wallet.credit(wish, hall.clock.now())
    db.session.commit()
    later = hall.bill(10000, issued_at=builders.NOON)
    wallet.pay_oldest(hall.household.id, hall.clock.now())
    db.session.commit()
    hall.pay(db.session.get(Bill, later.id, populate_existing=True))
    return first, later


def test_a_receipt_is_found_from_mine_and_its_pdf_is_kept_once_the_press_is_free(
    hall: Hall,
    at_home: Callable[..., Page],
    shot: Callable[[Page, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hall.pay(hall.bill(12345), hall.bill(6400, "water"))
    page = at_home()
    h5.go(page, "pages/mine/index")
    expect(h5.front(page, "goto-papers")).to_be_visible()
    shot(page, "h5-papers-mine")
    h5.front(page, "goto-papers").tap()
    expect(h5.front(page, "paper-item")).to_contain_text("187.45")
    h5.fits(page)
    shot(page, "h5-papers-list")
    h5.front(page, "paper-item").tap()
    expect(h5.front(page, "paper")).to_contain_text("壹佰捌拾柒元肆角伍分")
    shot(page, "h5-papers-receipt")

    monkeypatch.setattr(press, "WAIT_S", 0.01)
    with press._gate, press._gate:
        h5.front(page, "paper-pdf").tap()
        expect(h5.front(page, "paper-message")).to_contain_text("请")
        expect(h5.front(page, "paper-pdf")).to_have_text("再试一次")
    shot(page, "h5-papers-busy")
    with page.expect_download() as coming:
        h5.front(page, "paper-pdf").tap()
    assert coming.value.suggested_filename == "SJ01202600000001.pdf"
    assert Path(coming.value.path()).read_bytes().startswith(b"%PDF-")
    expect(h5.front(page, "paper-message")).to_contain_text("已保存")
    h5.fits(page)
    shot(page, "h5-papers-kept")


def test_a_pdf_without_signal_says_so_and_can_be_tried_again(
    hall: Hall, at_home: Callable[..., Page]
) -> None:
    hall.pay(hall.bill(12345))
    page = at_home()
    h5.go(page, "pages-paper/paper/index?no=SJ01202600000001")
    expect(h5.front(page, "paper")).to_be_visible()
    page.context.set_offline(True)
    h5.front(page, "paper-pdf").tap()
    expect(h5.front(page, "paper-message")).to_contain_text("网络不通")
    page.context.set_offline(False)
    with page.expect_download():
        h5.front(page, "paper-pdf").tap()


def test_an_invoice_whose_answer_was_lost_is_the_same_after_a_reload(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    first, later = discounted(hall)
    page = at_home()
    h5.go(page, f"pages/bill/index?id={later.id}")
    h5.front(page, "bill-invoice").tap()
    ticked = h5.front(page, f"invoice-bill-{later.id}")
    expect(ticked).to_have_attribute("aria-checked", "true")
    h5.front(page, f"invoice-bill-{first.id}").tap()
    expect(h5.front(page, "invoice-submit")).to_contain_text("200.00 元")
    h5.fits(page)
    shot(page, "h5-invoice-form")

    def lost(route: Route) -> None:
        assert route.fetch().status == 201
        route.abort("internetdisconnected")

    page.route("**/invoices", lost)
    h5.front(page, "invoice-submit").tap()
    expect(page.get_by_text("开出后不能自己撤销")).to_be_visible()
    page.wait_for_timeout(300)  # the sheet fades in
    shot(page, "h5-invoice-confirm")
    page.get_by_text("确认开票").tap()
    expect(h5.front(page, "invoice-pending")).to_contain_text("网络不通")
    shot(page, "h5-invoice-lost")
    page.unroute("**/invoices")
    page.reload()
    h5.front(page, "invoice-resend").tap()
    expect(h5.front(page, "paper-done")).to_be_visible()
    expect(h5.front(page, "paper")).to_contain_text("170.00")
    expect(page.get_by_text(invoices.DISCOUNT)).to_be_visible()
    h5.fits(page)
    shot(page, "h5-invoice-done")
    assert [one.amount_fen for one in db.session.query(Paper).filter_by(kind="invoice")] == [17000]

    h5.go(page, f"pages-paper/invoice/index?bill={later.id}")
    expect(page.get_by_text("没有可以开票的费用").and_(page.locator(":visible"))).to_be_visible()
    shot(page, "h5-invoice-nothing")


def test_what_is_taken_off_for_a_credit_is_said_with_the_invoice(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    discounted(hall)
    page = at_home()
    h5.go(page, "pages-paper/invoice/index")
    h5.front(page, "invoice-all").tap()
    h5.front(page, "invoice-submit").tap()
    page.get_by_text("确认开票").tap()
    expect(h5.front(page, "paper-done")).to_contain_text("其中 30.00 元是用退费抵扣的")
    shot(page, "h5-invoice-discount")


def test_a_month_paid_ahead_is_invoiced_beside_a_bill(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    bill = hall.bill(12345)
    hall.pay(bill)
    Ahead(hall, date(2026, 11, 1)).nights(300, 400)
    page = at_home()
    h5.go(page, f"pages-paper/invoice/index?bill={bill.id}")
    expect(h5.front(page, "invoice-submit")).to_contain_text("123.45 元")
    h5.front(page, "invoice-month-water-2026-11").tap()
    expect(h5.front(page, "invoice-submit")).to_contain_text("130.45 元")
    h5.fits(page)
    shot(page, "h5-invoice-month")
    h5.front(page, "invoice-submit").tap()
    page.get_by_text("确认开票").tap()
    expect(h5.front(page, "paper-done")).to_be_visible()
    expect(h5.front(page, "paper")).to_contain_text("130.45")
    h5.front(page, "paper-all").tap()
    expect(h5.front(page, "paper-item")).to_have_count(2)


def test_a_special_invoice_says_what_the_title_lacks_and_what_cannot_be(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    heat, water = hall.bill(12345), hall.bill(6400, "water")
    hall.pay(heat, water)
    whole = {"name": LONG, "tax_id": TAX_ID, "address": "学府路", "phone": "0451-8600000"}
    whole |= {"bank": "工商银行", "bank_account": "350004010900"}
    party = titles.checked("company", whole)
    kept = titles.add(hall.household.id, party, False, hall.cashier, hall.clock.now())
    bare = titles.checked("company", {"name": "另一家公司", "tax_id": TAX_ID})
    other = titles.add(hall.household.id, bare, True, hall.cashier, hall.clock.now())
    db.session.commit()
    page = at_home()
    h5.go(page, "pages-paper/invoice/index")
    h5.front(page, f"invoice-bill-{heat.id}").tap()
    h5.front(page, "tab-special").tap()
    expect(page.get_by_text("这个抬头还缺地址、电话、开户行、账号")).to_be_visible()
    h5.front(page, "invoice-other-title").tap()
    expect(h5.front(page, f"invoice-title-{other.id}")).to_have_attribute("aria-checked", "true")
    shot(page, "h5-invoice-titles")
    h5.front(page, f"invoice-title-{kept.id}").tap()
    h5.front(page, "invoice-submit").tap()
    page.get_by_text("确认开票").tap()
    expect(h5.front(page, "invoice-message")).to_contain_text("免税")
    h5.fits(page)
    shot(page, "h5-invoice-refused")
    h5.front(page, f"invoice-bill-{heat.id}").tap()
    h5.front(page, f"invoice-bill-{water.id}").tap()
    h5.front(page, "invoice-submit").tap()
    page.get_by_text("确认开票").tap()
    expect(h5.front(page, "paper")).to_contain_text("专用发票")
    h5.fits(page)
    shot(page, "h5-invoice-special")


def test_titles_are_added_changed_preferred_and_deleted(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    page = at_home()
    h5.go(page, "pages-paper/titles/index")
    expect(page.get_by_text("还没有抬头")).to_be_visible()
    shot(page, "h5-titles-none")
    h5.front(page, "title-add").tap()
    h5.front(page, "tab-company").tap()
    h5.front(page, "title-save").tap()
    expect(page.get_by_text("请填写企业名称。")).to_be_visible()
    h5.fill(page, "title-name", LONG)
    h5.fill(page, "title-tax_id", "91110108551385082A")
    h5.front(page, "title-save").tap()
    expect(page.get_by_text("纳税人识别号校验不通过")).to_be_visible()
    h5.fits(page)
    shot(page, "h5-title-wrong")
    h5.fill(page, "title-tax_id", TAX_ID.lower())
    h5.front(page, "title-save").tap()
    expect(page.get_by_text(LONG)).to_be_visible()

    h5.front(page, "title-add").tap()
    h5.fill(page, "title-name", "张三")
    h5.front(page, "title-is-default").tap()
    h5.front(page, "title-save").tap()
    expect(page.get_by_text("默认", exact=True).and_(page.locator(":visible"))).to_have_count(1)
    h5.fits(page)
    shot(page, "h5-titles")
    company, person = (row.id for row in db.session.query(InvoiceTitle).order_by("id"))
    h5.front(page, f"title-default-{company}").tap()
    expect(h5.front(page, f"title-{company}")).to_contain_text("默认")
    h5.front(page, f"title-edit-{company}").tap()
    h5.fill(page, "title-phone", "0451-8600000")
    shot(page, "h5-title-edit")
    h5.front(page, "title-save").tap()
    expect(h5.front(page, f"title-{person}")).to_be_visible()
    shown = titles.of_household(hall.household.id)
    assert [(one["name"], one["phone"], one["is_default"]) for one in shown] == [
        (LONG, "0451-8600000", True),
        ("张三", "", False),
    ]
    h5.front(page, f"title-edit-{person}").tap()
    h5.front(page, "title-drop").tap()
    page.get_by_text("删除", exact=True).tap()
    expect(h5.front(page, "title-add")).to_be_visible()
    expect(h5.front(page, f"title-{person}")).to_have_count(0)
    assert len(titles.of_household(hall.household.id)) == 1


def test_many_papers_come_a_page_at_a_time_with_what_became_of_them(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    for n in range(24):
        hall.pay(hall.bill(1000 + n, "water"))
    bills = db.session.query(Bill).order_by(Bill.id).all()
    for n, bill in enumerate(bills[:4]):
        wanted = invoices.Wanted(hall.household.id, (bill.id,), "invoice", None, f"k{n}")
        invoices.issue(wanted, hall.cashier, hall.clock.now())
        db.session.commit()
    now = hall.clock.now()
    undoing.void("FP01202600000001", "抬头写错", hall.cashier, None, now)
    undoing.take_back("FP01202600000002", 100, "多开", hall.cashier, None, now)
    undoing.take_back("FP01202600000003", None, "退费", hall.cashier, None, now)
    db.session.commit()
    page = at_home()
    h5.go(page, "pages-paper/list/index")
    items = h5.front(page, "paper-item")
    expect(items).to_have_count(20)
    states = {items.nth(n).get_attribute("data-state") for n in range(20)}
    assert states == {"valid", "part", "reversed", "red", "voided"}
    h5.fits(page)
    shot(page, "h5-papers-many")
    page.mouse.wheel(0, 20_000)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    expect(items).to_have_count(30)
    expect(page.get_by_text("就这些了")).to_be_visible()
    for no, name in (("1", "void"), ("2", "part"), ("3", "reversed"), ("5", "red")):
        page.goto("about:blank")  # else the router keeps the paper in front
        h5.go(page, f"pages-paper/paper/index?no=FP0120260000000{no}")
        expect(h5.front(page, "paper-note")).to_be_visible()
        h5.fits(page)
        shot(page, f"h5-paper-{name}")
    h5.front(page, "paper-other").tap()
    expect(h5.front(page, "paper")).to_have_attribute("data-state", "part")
    h5.go(page, "pages-paper/invoice/index")
    expect(h5.front(page, "invoice-all")).to_be_visible()
    shot(page, "h5-invoice-many")


def test_nothing_yet_says_so_and_large_type_fits(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    page = at_home()
    h5.go(page, "pages-paper/list/index")
    expect(page.get_by_text("还没有票据")).to_be_visible()
    shot(page, "h5-papers-none")
    hall.pay(hall.bill(123_456_789), hall.bill(6400, "water"))
    given = {"name": LONG, "tax_id": TAX_ID}
    titles.add(
        hall.household.id, titles.checked("company", given), True, hall.cashier, hall.clock.now()
    )
    db.session.commit()
    larger(page)
    for path, testid in (
        ("pages-paper/list/index", "paper-item"),
        ("pages-paper/paper/index?no=SJ01202600000001", "paper-pdf"),
        ("pages-paper/invoice/index", "invoice-submit"),
        ("pages-paper/titles/index", "title-add"),
        ("pages-paper/title/index", "title-save"),
    ):
        h5.go(page, path)
        expect(h5.front(page, testid)).to_be_visible()
        h5.fits(page)
        shot(page, f"h5-large-{path.split('/')[1]}")


def test_the_pages_fit_a_desk(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    hall.pay(hall.bill(12345))
    page = at_home(screen=DESK)
    for path, testid in (
        ("pages-paper/list/index", "paper-item"),
        ("pages-paper/invoice/index", "invoice-submit"),
    ):
        h5.go(page, path)
        expect(h5.front(page, testid)).to_be_visible()
        h5.fits(page)
        shot(page, f"h5-desk-{path.split('/')[1]}")


def test_a_payment_in_wechat_leads_to_its_receipt_and_on_to_an_invoice(
    hall: Hall, at_home: Callable[..., Page], shot: Callable[[Page, str], None]
) -> None:
    bill = hall.bill(3000, "water")
    page = at_home()
    h5.go(page, f"pages/bill/index?id={bill.id}")
    expect(h5.front(page, "bill-invoice")).to_have_count(0)
    h5.front(page, "pay-button").tap()
    page.get_by_test_id("wx-pay-confirm").tap()
    expect(h5.front(page, "pay-result")).to_have_attribute("data-state", "paid")
    shot(page, "h5-papers-paid")
    h5.front(page, "result-receipt").tap()
    expect(h5.front(page, "paper")).to_contain_text("叁拾元整")
    expect(page.get_by_text("微信支付")).to_be_visible()
    h5.front(page, "paper-invoice").tap()
    expect(h5.front(page, "invoice-submit")).to_contain_text("30.00 元")
    h5.front(page, "invoice-submit").tap()
    page.get_by_text("确认开票").tap()
    expect(h5.front(page, "paper-done")).to_be_visible()
    h5.go(page, f"pages/bill/index?id={bill.id}")
    expect(h5.front(page, "bill-invoice")).to_be_visible()
    shot(page, "h5-papers-bill")
