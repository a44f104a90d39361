"""A household's money besides its bills, on a phone: refund, prepaid balance, running late fee."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from flask import Flask
from playwright.sync_api import Page, expect

from backend.base.clock import FixedClock, business_day
from backend.base.db import db
from backend.billing import ahead, topics, wallet
from backend.billing.models import PrepaidAccount
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.browser import h5
from tests.browser.h5 import app, hosts, site, take_phone
from tests.outside import Phone, phone, sandbox, sandbox_keys

__all__ = ["app", "hosts", "phone", "sandbox", "sandbox_keys", "site", "take_phone"]


def test_refunds_late_fees_and_the_prepaid_balance_stand_above_the_bills(
    app: Flask,
    clock: FixedClock,
    phone: Phone,
    take_phone: Callable[..., Page],
    shot: Callable[[Page, str], None],
) -> None:
    phone.post("wechat/people", people=[{"openid": "person-zhang", "nickname": "张三"}])
    home = builders.make_household(builders.make_building(), phone="13800005678")
    staff = Principal("staff", builders.make_staff("clerk").id)
    now, today = clock.now(), business_day(clock.now())
    terms = {"enabled": True, "rate": "0.001"}
    topics.put("late_fee", "heat", None, terms, date(2026, 1, 1), None, None, now)
    builders.make_bill(home, 100_000, today - timedelta(days=10))
    said = ["2 天按日标准热费的 50% 退费 = 13.07 元"]
    refund = wallet.Credit(
        "cold:1", home.id, "heat", "cold_room", 1_307, "室温不达标退费", detail={"sentences": said}
    )
    wallet.credit(refund, now)
    ahead.open_account(home.id, "water", today, staff, now)
    ahead.top_up(home.id, "water", 2_500, "top-up", chart.bank("till"), now)
    account = db.session.get_one(PrepaidAccount, (home.id, "water"))
    account.balance_fen, account.counted_fen, account.marks = 1_800, 2_500, ["warned"]
    lines = [(chart.prepaid("water", home.id), 700), (chart.revenue("water"), -700)]
    ledger.post(f"prepaid:water:{home.id}:{today}", "prepaid", now, lines)
    db.session.commit()
    page = take_phone()
    h5.sign_in(page, "person-zhang")
    h5.bind(page, home.account_no, "张三", "5678")
    expect(h5.front(page, "owed-card").or_(page.get_by_text("热费").first)).to_be_visible()
    h5.go(page, "pages/bills/index")
    card = h5.front(page, "account-card")
    expect(card).to_contain_text("室温不达标退费")
    expect(card).to_contain_text("+13.07")
    expect(card).to_contain_text("余额不多，请及时充值")
    # ten days of a thousandth of 1,000 yuan; the refund was paid today, whose start still counts
    expect(card).to_contain_text("10.00 元")
    h5.fits(page)
    shot(page, "h5-account")
