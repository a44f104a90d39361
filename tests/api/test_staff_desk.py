"""The finance desk over the API: lists and details in their shapes, and money moved once."""

import pytest

from backend.api.schemas_desk import (
    CaseDetail,
    CasesOut,
    DecidedOut,
    DeskOrderDetail,
    DeskOrdersOut,
)
from backend.base.db import db
from backend.cashier import cases, service
from backend.cashier.confirm import confirm
from backend.cashier.models import Refund
from backend.ledger import service as ledger
from payments.channel import TradeState, TradeStatus
from tests import builders
from tests.api.conftest import household_of, problem


@pytest.fixture
def desk(merchant, clock):
    """A wrong amount and a paid bill of Alice's; the client and headers of finance."""
    alice = household_of("alice")
    numbers = []
    for n, paid_fen in enumerate((12000, 500)):
        bill = builders.make_bill(alice.household, (12345, 500)[n], utility=("heat", "water")[n])
        order, _ = service.create_order(alice.resident.id, [bill.id], service.Door(), clock.now())
        told = TradeState(
            order.out_trade_no, TradeStatus.PAID, f"42{n}", paid_fen, "a", clock.now()
        )
        confirm("wechat", told, clock.now())
        db.session.commit()
        numbers.append((order.out_trade_no, bill.id))
    staff = builders.make_staff("min", roles=["finance"])
    alice.client, alice.finance = merchant.test_client(), builders.headers_for(staff)
    alice.numbers, alice.case = numbers, cases.found("order", "wechat:420")
    return alice


def test_cases_and_orders_come_in_their_shapes(desk):
    listed = desk.client.get("/api/v1/staff/cases?kind=order", headers=desk.finance).json
    assert CasesOut().validate(listed) == {}
    assert [one["type"] for one in listed["cases"]] == ["wrong_amount"]
    one = desk.client.get(f"/api/v1/staff/cases/{desk.case.id}", headers=desk.finance).json
    assert CaseDetail().validate(one) == {}
    assert one["actions"] == ["take", "assign", "comment", "move", "refund"]
    orders = desk.client.get("/api/v1/staff/orders?search=A-101", headers=desk.finance).json
    assert DeskOrdersOut().validate(orders) == {} and len(orders["orders"]) == 2
    number = desk.numbers[1][0]
    order = desk.client.get(f"/api/v1/staff/orders/{number}", headers=desk.finance).json
    assert DeskOrderDetail().validate(order) == {}
    assert (order["refundable_fen"], order["bills"][0]["state"]) == (500, "paid")


def test_residents_and_readers_see_none_of_it(desk):
    reader = builders.headers_for(builders.make_staff("reader", roles=["reader"]))
    for headers in (desk.headers, reader):
        answer = desk.client.get(f"/api/v1/staff/cases/{desk.case.id}", headers=headers)
        assert problem(answer) == (403, "forbidden")


def refund(desk, key="refund-0001", **body):
    number, bill_id = desk.numbers[1]
    headers = {**desk.finance, "Idempotency-Key": key}
    wanted = {"amount_fen": 300, "reason": "多收", "bill_id": bill_id, **body}
    return desk.client.post(f"/api/v1/staff/orders/{number}/refunds", json=wanted, headers=headers)


def test_the_same_key_gives_back_once_and_another_body_is_refused(desk):
    first, again = refund(desk), refund(desk)
    assert first.status_code == 201 and DecidedOut().validate(first.json) == {}
    assert again.json == first.json
    assert db.session.query(Refund).count() == 1
    assert problem(refund(desk, amount_fen=200)) == (422, "idempotency_key_reused")
    assert problem(refund(desk, key="refund-0002")) == (409, "refund_too_much")
    assert problem(refund(desk, key="")) == (422, "validation")


def test_parked_money_is_moved_once(desk):
    path = f"/api/v1/staff/cases/{desk.case.id}/move"
    body = {"account_no": "A-101", "amount_fen": 12000, "text": "来电核实"}
    assert desk.client.post(path, json=body, headers=desk.finance).json["request_id"] is None
    again = desk.client.post(path, json=body, headers=desk.finance)
    assert problem(again) == (409, "case_ended")
    assert ledger.check() == []
