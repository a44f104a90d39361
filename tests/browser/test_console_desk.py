"""The finance desk in a browser: a wrong amount found, taken and moved; an order given back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backend.base.clock import FixedClock, business_day
from backend.base.db import db
from backend.billing.models import Bill
from backend.cashier import asking, breaks, cases, refund_desk, refunds
from backend.cashier import service as cashier
from backend.cashier.case_models import MoneyCase
from backend.cashier.confirm import confirm
from backend.cashier.models import Refund
from backend.ledger import service as ledger
from backend.people.models import Staff
from backend.people.service import Principal
from payments.channel import TradeState, TradeStatus
from tests import builders
from tests.browser.test_console_reading import sign_in
from tests.cashier.telling import line, told


@pytest.fixture
def desk(app: Any, clock: FixedClock, pay: Callable[[int], str]) -> str:
    """A wrong amount, a stuck refund, an unknown order; the number of an order well paid."""
    builders.make_staff("min", roles=("finance",), name="周敏")
    builders.make_staff("hua", roles=("finance",), name="华姐")
    home = builders.make_household(builders.make_building("A"))
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, home)
    bill = builders.make_bill(home, 12345)
    order, _ = cashier.create_order(alice.id, [bill.id], cashier.Door(), clock.now())
    told = TradeState(order.out_trade_no, TradeStatus.PAID, "4200X", 12000, "a", clock.now())
    confirm("wechat", told, clock.now())
    unknown = TradeState("N20261119000001", TradeStatus.PAID, "4200Y", 800, "a", clock.now())
    confirm("wechat", unknown, clock.now())
    db.session.commit()
    return pay(6789)


def test_a_wrong_amount_is_taken_and_moved_into_the_balance(
    page: Page, desk: str, shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "min")
    page.goto("/console/cases")
    expect(page.get_by_role("link", name="金额不符")).to_be_visible()
    shot(page, "desk-cases")
    page.get_by_role("link", name="金额不符").click()
    shot(page, "desk-case")
    page.get_by_role("button", name="认领").click()
    expect(page.get_by_text("已认领。")).to_be_visible()
    page.locator("#move-why").fill("已致电用户")
    page.get_by_role("button", name="转入").click()
    expect(page.get_by_text("款项已转出。")).to_be_visible()
    expect(page.get_by_text("已了结")).to_be_visible()
    shot(page, "desk-case-done")
    assert cases.counts() == {"notice": 1}


def test_an_order_is_given_back_in_part_under_a_name(
    page: Page, desk: str, shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "min")
    page.goto("/console/orders")
    shot(page, "desk-orders")
    page.get_by_label("单号或户号").fill(desk)
    page.get_by_role("button", name="查找").click()
    page.get_by_role("link", name=desk).click()
    page.get_by_label("金额（元）").fill("7.89")
    page.get_by_label("原因").fill("多收")
    page.get_by_role("button", name="退款").click()
    expect(page.get_by_text("退款已提交给渠道。")).to_be_visible()
    expect(page.get_by_text("还可退 60.00 元")).to_be_visible()
    shot(page, "desk-order")


@pytest.fixture
def abnormal(desk: str, clock: FixedClock, phone: Any) -> MoneyCase:
    """A refund the payer's bank has sent back."""
    who = db.session.query(Staff).filter_by(login="min").one()
    phone.behave("refund", "abnormal", match=desk)
    actor = Principal("staff", who.id, frozenset({"finance"}))
    bill_id = asking.order_by_number(desk).items[0].bill_id
    wanted = refund_desk.Wanted(desk, 789, bill_id=bill_id)
    made = refund_desk.ask(wanted, "多收", "abnormal", actor, clock.now())
    db.session.commit()
    refunds.send(made.id, clock.now())
    db.session.commit()
    return db.session.query(MoneyCase).filter_by(kind="refund").one()


def test_an_abnormal_refund_goes_on_to_a_card_by_two(
    page: Page,
    small_page: Page,
    abnormal: MoneyCase,
    clock: FixedClock,
    shot: Callable[[Page, str], None],
) -> None:
    sign_in(page, "min")
    page.goto(f"/console/cases/{abnormal.id}")
    assert "abnormal" not in page.locator("body").inner_text()  # said in Chinese
    shot(page, "desk-abnormal")
    page.get_by_label("开户银行").select_option("ICBC_DEBIT")
    page.get_by_label("银行卡号").fill("6222 0212 3456 7890 129")
    page.get_by_label("持卡人姓名").fill("王小明")
    page.locator("#card-why").fill("原卡已注销")
    page.locator("form", has=page.get_by_label("银行卡号")).get_by_role("button").click()
    expect(page.get_by_text("银行卡号有误，请核对。")).to_be_visible()
    shot(page, "desk-abnormal-wrong")
    page.get_by_label("开户银行").select_option("ICBC_DEBIT")
    page.get_by_label("银行卡号").fill("6222 0212 3456 7890 128")
    page.get_by_label("持卡人姓名").fill("王小明")
    page.locator("#card-why").fill("原卡已注销")
    page.locator("form", has=page.get_by_label("银行卡号")).get_by_role("button").click()
    expect(page.get_by_text("等待另一位同事")).to_be_visible()
    shot(page, "desk-abnormal-asked")
    sign_in(small_page, "hua")
    small_page.goto("/console/requests")
    expect(small_page.get_by_text("工商银行尾号 0128")).to_be_visible()
    assert small_page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(small_page, "desk-abnormal-agree")
    small_page.get_by_role("button", name="核准").first.click()
    expect(small_page.get_by_text("工商银行尾号 0128").first).to_be_visible()
    db.session.rollback()
    sent = db.session.query(Refund).filter_by(state="to_card").one()
    refunds.send(sent.id, clock.now())
    db.session.commit()
    small_page.goto(f"/console/cases/{abnormal.id}")
    expect(small_page.get_by_text("尾号 0128").first).to_be_visible()
    assert small_page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(small_page, "desk-abnormal-sent")
    assert "王小明" not in small_page.content()


def test_the_desk_fits_a_phone(
    small_page: Page, desk: str, shot: Callable[[Page, str], None]
) -> None:
    sign_in(small_page, "min")
    one = db.session.query(MoneyCase).filter_by(kind="order").one()
    for path, name in (
        ("/console/cases", "desk-cases-small"),
        (f"/console/cases/{one.id}", "desk-case-small"),
        ("/console/orders", "desk-orders-small"),
        (f"/console/orders/{desk}", "desk-order-small"),
    ):
        small_page.goto(path)
        wide = small_page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, path
        shot(small_page, name)


@pytest.fixture
def differing(desk: str, clock: FixedClock, pay: Callable[[int], str]) -> dict[str, MoneyCase]:
    """A day of which the channel tells an amount, a fee and a duplicate otherwise; the cases."""
    day = business_day(clock.now())
    short, dear, twice = (asking.order_by_number(pay(fen)) for fen in (20000, 30000, 4000))
    parked = asking.order_by_number(db.session.query(MoneyCase.out_trade_no).first()[0])
    again = TradeState(twice.out_trade_no, TradeStatus.PAID, "4200Z", 4000, "a", clock.now())
    confirm("wechat", again, clock.now())
    db.session.commit()
    clock.advance(hours=23)
    rows = [
        line(asking.order_by_number(desk)),
        line(parked, 12000),
        line(short, 19900),
        line(dear, fee_fen=900),
        line(twice),
        line(twice, transaction_id="4200Z"),
    ]
    return told(day, rows, clock)


def test_a_difference_is_put_aside_and_charged_to_whose_it_is(
    page: Page, differing: dict[str, MoneyCase], shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "min")
    one = next(
        case
        for case in db.session.query(MoneyCase).filter_by(kind="break", type="amount")
        if breaks.about(case)[0].gap_fen
    )
    page.goto(f"/console/cases/{one.id}")
    shot(page, "desk-difference")
    page.locator("#aside-why").fill("渠道少记一元")
    page.get_by_role("button", name="挂账").click()
    expect(page.get_by_text("已挂账。")).to_be_visible()
    shot(page, "desk-difference-aside")
    order = asking.order_by_number(one.out_trade_no)
    bill = db.session.get_one(Bill, order.items[0].bill_id)
    page.get_by_label("账单号").fill(bill.bill_no)
    page.locator("#move-why").fill("向用户补收")
    page.get_by_role("button", name="补收").click()
    expect(page.get_by_text("款项已转出。")).to_be_visible()
    expect(page.get_by_text("已了结").first).to_be_visible()
    shot(page, "desk-difference-done")
    db.session.rollback()
    assert ledger.check() == []


def test_a_fee_and_what_was_paid_twice_say_what_to_do(
    page: Page, differing: dict[str, MoneyCase], shot: Callable[[Page, str], None]
) -> None:
    sign_in(page, "min")
    page.goto(f"/console/cases/{differing['fee'].id}")
    expect(page.get_by_text("短款挂账 6.00 元")).to_be_visible()
    shot(page, "desk-fee")
    page.goto(f"/console/cases/{differing['duplicate'].id}")
    shot(page, "desk-duplicate")
    page.get_by_role("link", name="同一订单重复付款").click()
    expect(page.get_by_role("button", name="退款")).to_be_visible()


def test_differences_fit_a_phone(
    small_page: Page, differing: dict[str, MoneyCase], shot: Callable[[Page, str], None]
) -> None:
    sign_in(small_page, "min")
    for kind, one in differing.items():
        small_page.goto(f"/console/cases/{one.id}")
        wide = small_page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, kind
        shot(small_page, f"desk-{kind}-small")
