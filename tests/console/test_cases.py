"""资金待办 and 订单与退款: what waits is seen, taken, dealt with, and others only look."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from backend.base.clock import FixedClock
from backend.base.db import db
from backend.billing.models import BillingRequest
from backend.cashier import service as cashier
from backend.cashier.case_models import MoneyCase
from backend.cashier.confirm import confirm
from backend.cashier.models import PaymentOrder, Refund
from backend.ledger import service as ledger
from payments.channel import TradeState, TradeStatus
from tests import builders
from tests.console.conftest import TODAY, post


@pytest.fixture
def wrong(app: Flask, clock: FixedClock) -> MoneyCase:
    """120 yuan came for a bill of 123.45."""
    resident = builders.make_resident()
    household = builders.make_household(builders.make_building("P"))
    builders.bind(resident, household)
    bill = builders.make_bill(household, 12345)
    order, _ = cashier.create_order(resident.id, [bill.id], cashier.Door(), clock.now())
    told = TradeState(order.out_trade_no, TradeStatus.PAID, "4200X", 12000, "a", clock.now())
    assert confirm("wechat", told, clock.now()) == "parked"
    db.session.commit()
    return db.session.query(MoneyCase).one()


def page_of(one: MoneyCase) -> str:
    return f"/console/cases/{one.id}"


def test_what_waits_is_listed_with_its_owner_and_amount(
    sign_in: Callable[..., Any], wrong: MoneyCase
) -> None:
    client = sign_in("finance")
    page = client.get("/console/cases").text
    assert "金额不符" in page and "120.00" in page and "无人认领" in page
    post(client, page_of(wrong), verb="take")
    assert "已认领。" in client.get(page_of(wrong)).text
    assert "周敏" in client.get("/console/cases?owner=me").text
    assert "没有等待处理的款项。" in client.get("/console/cases?kind=refund").text
    assert "没有等待处理的款项。" in client.get(f"/console/cases?day={TODAY}&channel=alipay").text


def test_parked_money_is_moved_onto_the_household_by_its_form(
    sign_in: Callable[..., Any], wrong: MoneyCase
) -> None:
    client = sign_in("finance")
    page = client.get(page_of(wrong)).text
    assert "可入该户余额、冲抵账单，或原路退回" in page
    post(client, page_of(wrong), verb="move", account_no="P-101", amount="120.00", text="来电核实")
    page = client.get(page_of(wrong)).text
    assert "款项已转出。" in page and "已了结" in page
    assert ledger.check() == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"verb": "move", "account_no": "NO-SUCH", "amount": "1", "text": "核实"}, "没有这个户号"),
        ({"verb": "move", "account_no": "P-101", "amount": "一百", "text": "核实"}, "金额请填写元"),
        ({"verb": "move", "account_no": "P-101", "amount": "500", "text": "核实"}, "已有同事处理"),
        ({"verb": "comment", "text": " "}, "请写明原因"),
        ({"verb": "sign", "text": "算了"}, "款项还没有处理完"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_moves(
    sign_in: Callable[..., Any], wrong: MoneyCase, fields: dict[str, str], said: str
) -> None:
    client = sign_in("finance")
    post(client, page_of(wrong), **fields)
    assert said in client.get(page_of(wrong)).text
    assert db.session.get_one(MoneyCase, wrong.id, populate_existing=True).left_fen == 12000


def test_a_manager_looks_and_does_not_act(sign_in: Callable[..., Any], wrong: MoneyCase) -> None:
    client = sign_in("manager")
    assert client.get(page_of(wrong)).status_code == 200
    assert post(client, page_of(wrong), verb="take").status_code == 403
    assert sign_in("operator").get(page_of(wrong)).status_code == 403


def test_an_order_is_found_by_its_number_and_given_back(
    sign_in: Callable[..., Any], pay: Callable[[int], str]
) -> None:
    number = pay(12345)
    client = sign_in("finance")
    assert number in client.get(f"/console/orders?search={number}").text
    assert number in client.get("/console/orders?search=P-101").text
    assert "没有这样的订单。" in client.get("/console/orders?search=nothing").text
    page = client.get(f"/console/orders/{number}").text
    assert "还可退 123.45 元" in page and "验签通过" in page and "4200" in page
    assert "****" in page  # the payer is masked
    bill_id = re.search(r'name="bill_id" value="(\d+)"', page)
    assert bill_id
    fields = {"amount": "100.00", "text": "重复收费", "bill_id": bill_id.group(1), "key": "k-1"}
    for _ in range(2):  # a double click
        post(client, f"/console/orders/{number}/refund", at=f"/console/orders/{number}", **fields)
    refund = db.session.query(Refund).one()
    assert (refund.amount_fen, refund.bill_id) == (10000, int(bill_id.group(1)))
    assert "还可退 23.45 元" in client.get(f"/console/orders/{number}").text


def test_beyond_the_limit_the_form_asks_for_a_second_person_who_approves(
    sign_in: Callable[..., Any], pay: Callable[[int], str]
) -> None:
    number = pay(80_000)
    client = sign_in("finance", login="min")
    page = client.get(f"/console/orders/{number}").text
    bill_id = re.search(r'name="bill_id" value="(\d+)"', page)
    assert bill_id
    fields = {"amount": "800", "text": "退费", "bill_id": bill_id.group(1), "key": "k-1"}
    post(client, f"/console/orders/{number}/refund", at=f"/console/orders/{number}", **fields)
    assert db.session.query(Refund).count() == 0
    request = db.session.query(BillingRequest).one()
    second = sign_in("finance", login="hua")
    assert f"订单 {number} 退 800.00 元" in second.get("/console/requests").text
    path = f"/console/requests/{request.id}/decide"
    post(second, path, at="/console/requests", verb="approve")
    assert db.session.query(Refund).one().approved_by is not None
    assert ledger.check() == []


def test_a_page_of_many_cases_takes_as_many_statements_as_of_one(
    sign_in: Callable[..., Any], wrong: MoneyCase, queries: list[str], clock: FixedClock
) -> None:
    client = sign_in("finance")

    def statements(path: str) -> int:
        before = len(queries)
        assert client.get(path).status_code == 200
        return len(queries) - before

    one, orders = statements("/console/cases"), statements("/console/orders")
    for n in range(60):
        db.session.add(
            MoneyCase(
                kind="notice",
                reference=f"wechat:{n}",
                type="unknown_order",
                channel="wechat",
                day=TODAY,
                opened_at=clock.now(),
                owner_id=1,
            )
        )
        db.session.add(
            PaymentOrder(
                out_trade_no=f"N{n:06}",
                channel="wechat",
                amount_fen=1,
                created_at=clock.now(),
                expires_at=clock.now(),
            )
        )
    db.session.commit()
    assert statements("/console/cases") == one <= 9
    assert statements("/console/orders") == orders <= 9
    assert "下一页" in client.get("/console/cases").text
