"""The counter over the API: a shift, a household by 户号, money taken once, and strangers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from backend.base.db import db
from backend.cashier import shifts
from backend.cashier.models import CounterPayment
from backend.ledger import service as ledger
from tests import builders
from tests.api.conftest import problem

ROOT = "/api/v1/staff/counter"


@pytest.fixture
def hall(app):
    """A drawer, a terminal, a household with a bill, and the headers of some staff."""
    household = builders.make_household(builders.make_building(), owner="张三丰")
    drawer, terminal = shifts.add_drawer("D1", "一号台"), shifts.add_terminal("T1", "POS", "icbc")
    db.session.commit()
    people = {
        login: builders.headers_for(builders.make_staff(login, roles=[role]))
        for login, role in (("zhou", "finance"), ("li", "finance"), ("boss", "manager"))
    }
    bill = builders.make_bill(household, 12345)
    return SimpleNamespace(
        household=household, drawer=drawer, terminal=terminal, bill=bill, people=people
    )


@pytest.fixture
def ask(app, hall):
    """Somebody's request; POSTs carry a key."""

    def send(method, path, body=None, who="zhou", key="tap-00000001"):
        headers = {**hall.people[who], **({"Idempotency-Key": key} if key else {})}
        return app.test_client().open(ROOT + path, method=method, json=body, headers=headers)

    return send


def opening(hall, **more):
    return {"drawer_id": hall.drawer.id, "counts": {"10000": 2}, "issued_fen": 20000, **more}


def payment(hall, **more):
    return {
        "household_id": hall.household.id,
        "bill_ids": [hall.bill.id],
        "amount_fen": 12345,
        "method": "cash",
        "tendered_fen": 13000,
        **more,
    }


def test_a_day_at_the_counter(ask, hall):
    shift = ask("POST", "/shifts", opening(hall))
    assert (shift.status_code, shift.json["expected_fen"]) == (201, 20000), shift.text
    found = ask("GET", f"/household?account_no={hall.household.account_no}").json
    assert (found["owner"], found["bills"][0]["open_fen"]) == ("张**", 12345)
    assert found["bills"][0]["title"].endswith("热费")
    taken = ask("POST", "/payments", payment(hall))
    assert (taken.status_code, taken.json["change_fen"]) == (201, 655), taken.text
    again = ask("POST", "/payments", payment(hall))
    assert again.json == taken.json
    mine = ask("GET", "/shift").json
    assert (mine["cash_fen"], mine["expected_fen"], len(mine["payments"])) == (12345, 32345, 1)
    body = {"counts": {"10000": 3, "2000": 1, "100": 3, "10": 4, "5": 1}, "left_fen": 20000}
    shut = ask("POST", f"/shifts/{mine['id']}/close", body)
    assert shut.status_code == 200, shut.text
    assert (shut.json["difference_fen"], shut.json["deposited_fen"]) == (0, 12345)
    assert problem(ask("GET", "/shift")) == (409, "shift_missing")
    assert ledger.check() == []


def test_a_payment_wants_a_key_and_a_used_key_takes_no_other_body(ask, hall):
    ask("POST", "/shifts", opening(hall))
    refused = ask("POST", "/payments", payment(hall), key=None)
    assert problem(refused) == (400, "idempotency_key_missing")
    ask("POST", "/payments", payment(hall))
    other = ask("POST", "/payments", payment(hall, tendered_fen=20000))
    assert problem(other) == (422, "idempotency_key_reused")
    assert db.session.query(CounterPayment).count() == 1


def test_a_second_person_signs_a_large_void_by_own_password(ask, hall):
    big = builders.make_bill(hall.household, 60000)
    ask("POST", "/shifts", opening(hall))
    body = payment(hall, bill_ids=[big.id], amount_fen=60000, tendered_fen=60000)
    path = f"/payments/{ask('POST', '/payments', body).json['receipt_no']}/void"
    for signer, expected in (
        ({}, (409, "approval_needed")),
        ({"second_login": "boss", "second_password": "wrong"}, (401, "sign_in_failed")),
        ({"second_login": "zhou", "second_password": "correct horse"}, (409, "second_person")),
    ):
        assert problem(ask("POST", path, {"reason": "收错户", **signer})) == expected
    signer = {"second_login": "boss", "second_password": "correct horse"}
    answer = ask("POST", path, {"reason": "收错户", **signer})
    assert (answer.status_code, answer.json["void_reason"]) == (200, "收错户")


def test_strangers_void_and_close_nothing(ask, hall):
    shift = ask("POST", "/shifts", opening(hall)).json
    made = ask("POST", "/payments", payment(hall)).json
    void = ask("POST", f"/payments/{made['receipt_no']}/void", {"reason": "不认"}, who="li")
    assert problem(void) == (409, "shift_missing")
    close = ask("POST", f"/shifts/{shift['id']}/close", {"counts": {}}, who="li")
    assert problem(close) == (403, "forbidden")
    assert problem(ask("POST", "/payments", payment(hall), who="boss"))[0] == 403
    assert problem(ask("POST", "/shifts", opening(hall), who="li")) == (409, "shift_open")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "cheque"},
        {"tendered_fen": "13000"},
        {"amount_fen": 0},
        {"bill_ids": [1] * 21},
        {"method": "pos", "tendered_fen": 12345},
    ],
)
def test_a_payment_that_makes_no_sense_is_refused(ask, hall, change):
    ask("POST", "/shifts", opening(hall))
    assert problem(ask("POST", "/payments", payment(hall, **change))) == (422, "validation")


@pytest.mark.parametrize("counts", [{"300": 1}, {"100": -1}, {"100": 1.5}, {"100": "2"}, None])
def test_counts_that_are_none_are_refused(ask, hall, counts):
    answer = ask("POST", "/shifts", opening(hall, counts=counts))
    assert problem(answer) == (422, "validation")


def test_an_account_number_nobody_has(ask, hall):
    assert problem(ask("GET", "/household?account_no=none")) == (404, "not_found")
