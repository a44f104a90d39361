"""Bills, the derivation of one, orders and the notice that pays them."""

import threading
from datetime import date

import pytest

from backend.api.idempotency import _digest
from backend.api.schemas_bills import BillsOut, BillWithLines, ExplanationOut, OrderCreated
from backend.base.db import db
from backend.billing import peers
from backend.billing.models import Bill
from backend.cashier.models import IdempotencyKey, PaymentOrder, RawNotice
from tests import builders
from tests.api.conftest import household_of, problem
from tests.builders import NOON


def test_bills_come_newest_first_a_page_at_a_time(client, alice):
    made = [builders.make_bill(alice.household, 100 + n).id for n in range(5)]
    other = builders.make_household(alice.building, "102")
    builders.make_bill(other, 999)
    path = f"/api/v1/households/{alice.household.id}/bills"
    seen, before = [], None
    for _ in range(4):
        page = client.get(
            path,
            query_string={"limit": 2, "before": before} if before else {"limit": 2},
            headers=alice.headers,
        ).json
        assert BillsOut().validate(page) == {}
        seen += [bill["id"] for bill in page["bills"]]
        before = page["next_before"]
        if before is None:
            break
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("due_on", "state"),
    [(date(2026, 11, 19), "overdue"), (date(2026, 11, 20), "due"), (date(2026, 12, 1), "due")],
)
def test_a_bill_is_overdue_from_the_day_after_it_was_due(client, alice, due_on, state):
    bill = builders.make_bill(alice.household, due_on=due_on)
    found = client.get(f"/api/v1/bills/{bill.id}", headers=alice.headers).json
    assert BillWithLines().validate(found) == {}
    assert (found["state"], found["title"]) == (state, "2026年10月 热费")
    assert found["lines"][0]["amount_fen"] == bill.amount_fen


def test_a_paid_bill_is_paid_even_if_it_was_late(client, alice):
    bill = builders.make_bill(alice.household, due_on=date(2026, 11, 1))
    bill.state, bill.paid_fen, bill.paid_at = "paid", bill.amount_fen, NOON
    db.session.commit()
    found = client.get(f"/api/v1/bills/{bill.id}", headers=alice.headers).json
    assert (found["state"], found["paid_at"]) == ("paid", "2026-11-20T04:00:00+00:00")


def test_a_period_that_is_no_month_is_named_by_its_days(client, alice):
    bill = builders.make_bill(alice.household)
    bill.period_from, bill.period_to = date(2026, 10, 20), date(2026, 11, 1)
    db.session.commit()
    found = client.get(f"/api/v1/bills/{bill.id}", headers=alice.headers).json
    assert found["title"] == "2026年10月20日至10月31日 热费"


def test_a_bill_explains_itself_in_sentences(client, alice):
    bill = builders.make_bill(alice.household, 12345)
    answer = client.get(f"/api/v1/bills/{bill.id}/explain", headers=alice.headers)
    found = answer.json
    assert ExplanationOut().validate(found) == {}
    assert found["bill"]["id"] == bill.id
    assert found["sentences"][-1].endswith("= 123.45 元。")
    assert found["tariff"]["params"]["k2"] == "44.41"


def test_a_bill_stands_beside_homes_like_it_and_no_neighbour_shows(client, alice, app):
    homes = [builders.make_household(alice.building, f"2{n:02}", area_dm2=6500) for n in range(9)]
    bills = [builders.make_bill(home) for home in (alice.household, *homes)]
    for n, bill in enumerate(bills):
        bill.basis = {"used": 100_000 + 1_000 * n}
    db.session.commit()
    peers.count(builders.NOON)
    db.session.commit()
    path = f"/api/v1/bills/{bills[0].id}/explain"
    answer = client.get(path, headers=alice.headers).json
    assert ExplanationOut().validate(answer) == {}
    found = answer["comparison"]["similar"]
    assert (found["homes"], found["unit"], found["mine"]) == (10, "wh_per_m2", 1_603)
    assert found["low"] < found["median"] < found["high"]
    assert "60–90 平方米的住户共 10 户" in "".join(answer["sentences"])
    assert all(home.unit_no not in "".join(answer["sentences"]) for home in homes)


@pytest.mark.parametrize("tail", ["", "/explain"])
def test_a_strangers_bill_is_not_found(client, alice, charlie, tail):
    bill = builders.make_bill(alice.household)
    for number in (bill.id, bill.id + 1):
        answer = client.get(f"/api/v1/bills/{number}{tail}", headers=charlie)
        assert problem(answer) == (404, "not_found")


def test_a_list_of_bills_costs_no_more_than_one_bill(client, alice, queries):
    path = f"/api/v1/households/{alice.household.id}/bills"
    counts = []
    for _ in range(2):
        for n in range(3):
            builders.make_bill(alice.household, 100 + n)
        queries.clear()
        client.get(path, headers=alice.headers)
        counts.append(len(queries))
    assert counts == [4, 4]  # token, household, since when it is this owner's, bills


# --- orders -----------------------------------------------------------------------------------


@pytest.fixture
def payer(merchant):
    """Alice with a bill over 123.45, and the application as a merchant of the sandbox."""
    who = household_of("alice")
    who.bill = builders.make_bill(who.household, 12345)
    who.client = merchant.test_client()
    return who


def place(who, bill_ids, key="key-0000-0001", **more):
    headers = {**who.headers, "Idempotency-Key": key} if key else who.headers
    body = {"bill_ids": bill_ids, "channel": "wechat", "way": "mini", **more}
    return who.client.post("/api/v1/orders", json=body, headers=headers)


def test_a_bill_is_paid_and_seen_paid(payer, phone, hook):
    made = place(payer, [payer.bill.id])
    assert made.status_code == 201
    assert OrderCreated().validate(made.json) == {}
    order = made.json["order"]
    assert (order["state"], order["amount_fen"], order["bill_ids"]) == (
        "paying",
        12345,
        [payer.bill.id],
    )
    phone.pay(made.json["client_pay"])
    headers, body = hook.wait()
    notice = payer.client.post("/webhooks/wechatpay", data=body, headers=_signed(headers))
    assert (notice.status_code, notice.data) == (204, b"")
    seen = payer.client.get(f"/api/v1/orders/{order['out_trade_no']}", headers=payer.headers).json
    assert (seen["state"], seen["paid_at"]) == ("paid", "2026-11-20T04:00:00+00:00")
    bill = payer.client.get(f"/api/v1/bills/{payer.bill.id}", headers=payer.headers).json
    assert (bill["state"], bill["paid_fen"]) == ("paid", 12345)
    home = payer.client.get(
        f"/api/v1/households/{payer.household.id}/home", headers=payer.headers
    ).json
    assert home["owed"]["amount_fen"] == 0


def _signed(headers):
    """What of a notice's headers is the channel's own."""
    return {k: v for k, v in headers.items() if k.startswith("Wechatpay") or k == "Content-Type"}


def test_a_payment_whose_notice_never_comes_is_found_by_asking(payer, phone):
    phone.behave("payment_notice", "never")
    made = place(payer, [payer.bill.id]).json
    phone.pay(made["client_pay"])
    path = f"/api/v1/orders/{made['order']['out_trade_no']}"
    assert payer.client.get(path, headers=payer.headers).json["state"] == "paid"


def test_the_same_key_and_body_are_answered_once(payer, phone):
    first = place(payer, [payer.bill.id])
    again = place(payer, [payer.bill.id])
    assert (again.status_code, again.json) == (201, first.json)
    assert db.session.query(PaymentOrder).count() == 1
    assert phone.calls("/v3/pay/transactions/jsapi") == 1


def test_the_same_key_for_something_else_is_refused(payer):
    place(payer, [payer.bill.id])
    other = builders.make_bill(payer.household, 500)
    answer = place(payer, [other.id])
    assert problem(answer) == (422, "idempotency_key_reused")


def test_a_key_belongs_to_one_resident(payer):
    place(payer, [payer.bill.id])
    bob = builders.make_resident("bob-openid")
    other = builders.make_household(payer.building, "102")
    builders.bind(bob, other)
    bill = builders.make_bill(other, 700)
    payer.headers = builders.headers_for(bob)
    assert place(payer, [bill.id]).json["order"]["amount_fen"] == 700


def test_an_order_wants_a_key(payer):
    answer = place(payer, [payer.bill.id], key=None)
    assert problem(answer) == (400, "idempotency_key_missing")
    assert db.session.query(PaymentOrder).count() == 0


def test_a_refusal_is_not_kept_so_the_same_key_may_try_again(payer, phone):
    phone.behave("answer", "error", params={"status": 500, "code": "SYSTEM_ERROR"}, count=20)
    refused = place(payer, [payer.bill.id])
    assert problem(refused) == (502, "channel_unavailable")
    assert db.session.query(IdempotencyKey).count() == 0


def test_while_the_first_is_at_work_the_second_waits_its_turn(payer):
    body = {"bill_ids": [payer.bill.id], "channel": "wechat", "way": "mini"}
    _claimed(payer, body, age_s=60)
    assert problem(place(payer, [payer.bill.id])) == (409, "request_in_progress")


def test_a_claim_whose_process_died_is_taken_over(payer):
    body = {"bill_ids": [payer.bill.id], "channel": "wechat", "way": "mini"}
    _claimed(payer, body, age_s=121)
    assert place(payer, [payer.bill.id]).status_code == 201


def _claimed(who, body, age_s):
    """A key that was claimed a while ago and never answered."""
    db.session.execute(
        db.text(
            "INSERT INTO idempotency_key (principal, key, body_hash, created_at) VALUES "
            "(:who, 'key-0000-0001', :hash, now() - make_interval(secs => :age))"
        ),
        {"who": f"resident:{who.resident.id}", "hash": _digest(body), "age": age_s},
    )
    db.session.commit()


def test_a_double_tap_makes_one_order(payer, merchant, phone):
    barrier, answers = threading.Barrier(4), []

    def tap():
        client = merchant.test_client()
        body = {"bill_ids": [payer.bill.id]}
        barrier.wait(10)
        headers = {**payer.headers, "Idempotency-Key": "key-double-tap"}
        answers.append(client.post("/api/v1/orders", json=body, headers=headers))

    threads = [threading.Thread(target=tap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {a.status_code for a in answers} <= {201, 409}
    assert len({a.json["order"]["out_trade_no"] for a in answers if a.status_code == 201}) == 1
    assert {a.json["code"] for a in answers if a.status_code == 409} <= {"request_in_progress"}
    assert db.session.query(PaymentOrder).count() == 1


def test_a_strangers_bill_cannot_be_ordered_nor_the_order_seen(payer):
    number = place(payer, [payer.bill.id]).json["order"]["out_trade_no"]
    payer.headers = builders.headers_for(builders.make_resident("charlie"))
    assert problem(place(payer, [payer.bill.id])) == (404, "not_found")
    for seen in (number, "N0", "x" * 64, "%00", "号"):
        answer = payer.client.get(f"/api/v1/orders/{seen}", headers=payer.headers)
        assert problem(answer) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"bill_ids": []}, "validation"),
        ({"bill_ids": [0]}, "validation"),
        ({"bill_ids": [2**63]}, "validation"),
        ({"bill_ids": ["1"]}, "validation"),
        ({"bill_ids": [True]}, "validation"),
        ({"bill_ids": list(range(1, 22))}, "validation"),
        ({"bill_ids": [1], "way": "barter"}, "validation"),
        ({"bill_ids": [10**9]}, "not_found"),
        ({"bill_ids": [1], "channel": "barter"}, "channel_unknown"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(payer, body, code):
    answer = place(payer, body.pop("bill_ids"), **body)
    assert problem(answer)[1] == code


def test_a_paid_bill_is_not_payable_again(payer):
    payer.bill.state, payer.bill.paid_fen = "paid", payer.bill.amount_fen
    db.session.commit()
    assert problem(place(payer, [payer.bill.id])) == (409, "bill_not_payable")


# --- the notice -------------------------------------------------------------------------------


def test_a_notice_nobody_signed_is_kept_and_refused(payer):
    answer = payer.client.post("/webhooks/wechatpay", data=b'{"id": "x"}')
    assert problem(answer) == (400, "notice_rejected")
    kept = db.session.scalars(db.select(RawNotice)).one()
    assert (bytes(kept.body), kept.outcome) == (b'{"id": "x"}', "rejected")


def test_a_notice_changed_on_its_way_is_refused(payer, phone, hook):
    made = place(payer, [payer.bill.id]).json
    phone.pay(made["client_pay"])
    headers, body = hook.wait()
    changed = payer.client.post(
        "/webhooks/wechatpay",
        data=body.replace(b"TRANSACTION", b"TRANSACTIOM"),
        headers=_signed(headers),
    )
    assert problem(changed) == (400, "notice_rejected")
    assert db.session.get(Bill, payer.bill.id).state == "issued"


def test_a_notice_too_large_to_be_one_is_not_even_read(payer):
    answer = payer.client.post("/webhooks/wechatpay", data=b"x" * (64 * 1024 + 1))
    assert problem(answer) == (413, "too_large")
    assert db.session.query(RawNotice).count() == 0


def test_a_notice_that_comes_late_is_answered_quickly_and_once_only_counts(payer, phone, hook):
    made = place(payer, [payer.bill.id]).json
    phone.pay(made["client_pay"])
    headers, body = hook.wait()
    for _ in range(2):
        answer = payer.client.post("/webhooks/wechatpay", data=body, headers=_signed(headers))
        assert answer.status_code == 204
    db.session.expire_all()
    assert db.session.get(Bill, payer.bill.id).paid_fen == 12345
    assert db.session.query(RawNotice).count() == 2
