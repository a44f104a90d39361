"""Invoices over the API: what can be invoiced of bills and deductions, and by whom."""

from datetime import date

import pytest

from backend.api.schemas_papers import InvoiceableOut, PaperDetailOut
from tests import builders
from tests.api.conftest import problem
from tests.cashier.papers.conftest import Ahead, Hall


@pytest.fixture
def hall(app, clock):
    """A household that has paid a bill and pays ahead for water, and its resident's headers."""
    made = Hall(clock)
    resident = builders.make_resident("alice-openid")
    builders.bind(resident, made.household)
    made.headers = builders.headers_for(resident)
    made.paid = made.bill(12345)
    made.pay(made.paid)
    made.ahead = Ahead(made, date(2026, 11, 1))
    made.ahead.nights(300, 400)
    return made


def ask(client, hall, headers=None, key="k-0000-0001", **body):
    path = f"/api/v1/households/{hall.household.id}/invoices"
    mine = {**(headers or hall.headers), "Idempotency-Key": key}
    return client.post(path, json=body, headers=mine)


def test_bills_and_months_of_deductions_are_offered_and_invoiced_once(client, hall):
    path = f"/api/v1/households/{hall.household.id}/invoiceable"
    offer = client.get(path, headers=hall.headers).json
    assert InvoiceableOut().validate(offer) == {}
    assert [bill["left_fen"] for bill in offer["bills"]] == [12345]
    (month,) = offer["months"]
    assert (month["utility"], month["month"], month["left_fen"]) == ("water", "2026-11", 700)
    wanted = {
        "bill_ids": [hall.paid.id],
        "months": [{"utility": "water", "month": "2026-11"}],
    }
    made = ask(client, hall, **wanted)
    assert made.status_code == 201
    assert PaperDetailOut().validate(made.json) == {}
    assert made.json["amount_fen"] == 13045
    assert ask(client, hall, **wanted).json["paper_no"] == made.json["paper_no"]
    again = ask(client, hall, key="k-0000-0002", **wanted)
    assert problem(again) == (409, "nothing_to_invoice")
    other = ask(client, hall, bill_ids=[hall.paid.id])
    assert problem(other) == (422, "idempotency_key_reused")
    assert client.get(path, headers=hall.headers).json == {"bills": [], "months": []}


def test_bills_alone_are_asked_for_as_before(client, hall):
    assert ask(client, hall, bill_ids=[hall.paid.id]).json["amount_fen"] == 12345


def test_an_invoice_over_nothing_is_refused(client, hall):
    assert problem(ask(client, hall)) == (422, "validation")
    months = [{"utility": "water", "month": "2026-13"}]
    assert problem(ask(client, hall, months=months)) == (422, "validation")
    months = [{"utility": "heat", "month": "2026-11"}]
    assert problem(ask(client, hall, months=months)) == (409, "nothing_to_invoice")


def test_a_stranger_invoices_nothing(client, hall, charlie):
    months = [{"utility": "water", "month": "2026-11"}]
    assert problem(ask(client, hall, charlie, months=months)) == (404, "not_found")
    path = f"/api/v1/households/{hall.household.id}/invoiceable"
    assert problem(client.get(path, headers=charlie)) == (404, "not_found")
