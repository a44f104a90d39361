"""充值 over the API: what is offered, what is ordered, and who may."""

from backend.api.schemas_bills import OrderCreated, OrderState
from backend.api.schemas_topups import TopupOffer
from backend.base.db import db
from backend.cashier.models import PaymentOrder
from tests import builders
from tests.api.conftest import household_of, problem


def place(client, who, key="topup-0000-0001", **wanted):
    body = {"household_id": who.household.id, "amount_fen": 5000, **wanted}
    return client.post("/api/v1/topups", json=body, headers={**who.headers, "Idempotency-Key": key})


def test_the_page_is_told_balances_debts_and_amounts_to_choose(merchant):
    alice, client = household_of("alice"), merchant.test_client()
    builders.make_bill(alice.household, 12345)
    path = f"/api/v1/households/{alice.household.id}/topup"
    offer = client.get(path, headers=alice.headers).json
    assert TopupOffer().validate(offer) == {}
    assert (offer["balance_fen"], offer["due_fen"]) == (0, 12345)
    assert offer["chips_fen"] == [5000, 10000, 20000, 50000, 100000, 200000]
    assert offer["channels"] == ["wechat"]
    charlie = builders.headers_for(builders.make_resident("charlie-openid"))
    assert problem(client.get(path, headers=charlie)) == (404, "not_found")


def test_a_top_up_is_paid_and_stands_in_the_balance(merchant, phone, hook):
    alice, client = household_of("alice"), merchant.test_client()
    made = place(client, alice)
    assert made.status_code == 201
    assert OrderCreated().validate(made.json) == {}
    assert (made.json["order"]["topup_into"], made.json["order"]["bill_ids"]) == ("wallet", [])
    phone.pay(made.json["client_pay"])
    headers, body = hook.wait()
    kept = {k: v for k, v in headers.items() if k.startswith("Wechatpay") or k == "Content-Type"}
    assert client.post("/webhooks/wechatpay", data=body, headers=kept).status_code == 204
    number = made.json["order"]["out_trade_no"]
    seen = client.get(f"/api/v1/orders/{number}", headers=alice.headers).json
    assert OrderState().validate(seen) == {} and seen["state"] == "paid"
    path = f"/api/v1/households/{alice.household.id}/topup"
    assert client.get(path, headers=alice.headers).json["balance_fen"] == 5000


def test_the_same_key_is_answered_once_and_another_body_refused(merchant, phone):
    alice, client = household_of("alice"), merchant.test_client()
    first, again = place(client, alice), place(client, alice)
    assert (again.status_code, again.json) == (201, first.json)
    assert db.session.query(PaymentOrder).count() == 1
    assert problem(place(client, alice, amount_fen=6000)) == (422, "idempotency_key_reused")
    assert problem(place(client, alice, key="topup-0000-0002", amount_fen=5)) == (
        422,
        "topup_amount",
    )


def test_a_stranger_orders_nothing(merchant):
    alice = household_of("alice")
    charlie = builders.headers_for(builders.make_resident("charlie-openid"))
    alice.headers = charlie
    assert problem(place(merchant.test_client(), alice)) == (404, "not_found")
    assert db.session.query(PaymentOrder).count() == 0
