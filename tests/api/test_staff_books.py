"""Collection and months over the API: a batch from its mandate to its result, and strangers."""

from __future__ import annotations

import base64

import pytest

from backend.base.db import db
from backend.cashier import mandates
from payments.sandbox import bank_desk
from tests import builders
from tests.api.conftest import problem
from tests.cashier.collecting import LAYOUT, TODAY

ROOT = "/api/v1/staff"


@pytest.fixture
def home(app):
    household = builders.make_household(builders.make_building())
    builders.make_bill(household, 12345, TODAY)
    mandates.add_bank("icbc", "工行", "collection-fixed", "M1")
    db.session.commit()
    return household


@pytest.fixture
def ask(app, home):
    """Somebody's request."""
    people = {
        login: builders.headers_for(builders.make_staff(login, roles=[role]))
        for login, role in (("zhou", "finance"), ("li", "finance"), ("wang", "reader"))
    }

    def send(method, path, body=None, who="zhou"):
        return app.test_client().open(ROOT + path, method=method, json=body, headers=people[who])

    return send


def test_from_the_mandate_to_the_result(ask, home):
    agreed = {
        "account_no": home.account_no,
        "bank": "icbc",
        "contract_no": "C1",
        "holder": "张三丰",
        "card_no": "6222020200011112222",
        "valid_from": TODAY.isoformat(),
    }
    made = ask("POST", "/collection/mandates", agreed)
    assert (made.status_code, made.json["card"], made.json["holder"]) == (201, "**** 2222", "张**")
    again = {**agreed, "contract_no": "C2"}
    assert problem(ask("POST", "/collection/mandates", again)) == (409, "mandate_standing")
    day = TODAY.isoformat()
    batch = ask("POST", "/collection/batches", {"bank": "icbc", "day": day, "due_by": day})
    assert (batch.status_code, batch.json["total_fen"]) == (201, 12345), batch.text
    path = f"/collection/batches/{batch.json['batch_no']}"
    assert problem(ask("POST", f"{path}/approve")) == (409, "second_person")
    assert ask("POST", f"{path}/approve", who="li").json["state"] == "approved"
    assert ask("POST", f"{path}/export").json["state"] == "exported"
    file = ask("GET", f"{path}/file")
    assert file.headers["Cache-Control"] == "no-store"
    answer = bank_desk.answer(LAYOUT, file.data, TODAY)
    body = {"bank": "icbc", "name": "回盘.txt", "file": base64.b64encode(answer).decode()}
    first, again = (ask("POST", "/collection/results", body).json for _ in range(2))
    assert (first["success_fen"], first["new"], again["new"]) == (12345, True, False)
    assert first["id"] == again["id"] and first["still_waiting"] == 0
    (line,) = ask("GET", f"{path}/lines?state=success").json["items"]
    assert (line["card_tail"], line["amount_fen"]) == ("2222", 12345)
    query = f"?code=clearing:bank&day_from={day}&day_to={day}"
    found = ask("GET", f"/ledger/statement{query}").json
    assert (found["closing_fen"], found["postings"][0]["amount_fen"]) == (12345, 12345)


def test_a_result_that_is_no_file_is_refused(ask):
    body = {"bank": "icbc", "name": "x", "file": "%%%"}
    assert problem(ask("POST", "/collection/results", body)) == (422, "validation")
    body["file"] = base64.b64encode(b"\xff").decode()
    assert problem(ask("POST", "/collection/results", body)) == (422, "result_refused")
    assert problem(ask("POST", "/collection/results", {**body, "bank": "no"})) == (404, "not_found")


def test_a_month_says_what_blocks_it(ask):
    found = ask("GET", "/ledger/months/2026-11").json
    assert found["blocked"][0] == "month_not_over" and found["state"] == "open"
    assert problem(ask("POST", "/ledger/months/2026-11/close", {})) == (409, "month_not_over")
    assert problem(ask("GET", "/ledger/months/2026-13")) == (404, "not_found")


def test_who_reads_meters_sees_no_cards(ask):
    for path in ("/collection/mandates", "/collection/batches", "/ledger/months/2026-11"):
        assert problem(ask("GET", path, who="wang"))[0] == 403
