"""A resident's receipts, invoices and titles over the API: once a key, and nobody else's."""

from datetime import date

import pytest

from backend import create_app
from backend.api.schemas_papers import InvoiceableOut, PaperDetailOut, PapersOut, TitlesOut
from backend.base.db import db
from backend.billing import handover
from backend.cashier import counter, shifts
from backend.cashier.counter import Taking, Tender
from backend.cashier.papers import issuing, receipts, tax, titles
from backend.cashier.papers.models import Paper
from backend.people.service import Principal
from tests import builders
from tests.api.conftest import household_of, problem
from tests.conftest import settings_for

COMPANY = {"kind": "company", "name": "样张公司", "tax_id": "91110108551385082Q"}


@pytest.fixture
def paid(alice):
    """Alice, whose two bills were paid at the counter; `receipt` is its number."""
    return pays(alice)


def pays(alice):
    staff = builders.make_staff("clerk", roles=("finance",))
    clerk = Principal("staff", staff.id, frozenset({"finance"}))
    tax.begin()
    drawer = shifts.add_drawer("D1", "一号台")
    shifts.open_shift(clerk, drawer.id, {}, builders.NOON)
    heat = builders.make_bill(alice.household, 12345)
    water = builders.make_bill(alice.household, 6400, utility="water")
    taking = Taking(alice.household.id, (heat.id, water.id), 0, 18745, Tender("cash", 18745))
    taken = counter.take(clerk, "tap-1", taking, builders.NOON)
    db.session.commit()
    alice.clerk, alice.bills = clerk, [heat.id, water.id]
    alice.receipt = issuing.known(receipts.counter_key(taken.receipt_no)).paper_no
    alice.path = f"/api/v1/households/{alice.household.id}"
    return alice


def ask(client, who, key="invoice-key-1", headers=None, **changes):
    """An invoice over both bills, unless told otherwise."""
    return client.post(
        f"{who.path}/invoices",
        json={"bill_ids": who.bills, **changes},
        headers={**(headers or who.headers), "Idempotency-Key": key},
    )


def test_the_same_request_is_the_same_invoice_and_another_one_under_its_key_is_refused(
    client, paid
):
    first = ask(client, paid)
    assert (first.status_code, first.json["amount_fen"]) == (201, 18745)
    assert PaperDetailOut().validate(first.json) == {}
    again = ask(client, paid, bill_ids=paid.bills[::-1])
    assert (again.status_code, again.json) == (201, first.json)
    title = client.post(f"{paid.path}/titles", json=COMPANY, headers=paid.headers).json
    for other in (
        {"bill_ids": paid.bills[:1]},
        {"kind": "special"},
        {"title_id": title["id"]},
        {"remark": "另一张"},
    ):
        answer = ask(client, paid, **other)
        assert problem(answer) == (422, "idempotency_key_reused"), other
    assert problem(ask(client, paid, key="invoice-key-2")) == (409, "nothing_to_invoice")
    assert db.session.query(Paper).filter_by(kind="invoice").count() == 1


def test_a_refused_request_may_try_again_under_its_key(client, paid):
    headers = {**paid.headers, "Idempotency-Key": "invoice-key-1"}
    bare = client.post(f"{paid.path}/invoices", json={"bill_ids": paid.bills}, headers=paid.headers)
    assert problem(bare) == (400, "idempotency_key_missing")
    refused = ask(client, paid, kind="special")
    assert problem(refused) == (422, "special_refused")
    assert refused.json["field"] == "title_id"
    made = client.post(f"{paid.path}/invoices", json={"bill_ids": paid.bills}, headers=headers)
    assert made.status_code == 201


def test_two_residents_of_a_household_do_not_share_a_key(client, paid):
    bob = builders.make_resident("bob-openid")
    builders.bind(bob, paid.household)
    first = ask(client, paid, bill_ids=paid.bills[:1]).json
    theirs = builders.headers_for(bob)
    second = ask(client, paid, headers=theirs, bill_ids=paid.bills[1:])
    assert second.status_code == 201
    assert second.json["paper_no"] != first["paper_no"]


def test_pages_of_papers_and_what_is_left_to_invoice(client, paid):
    left = client.get(f"{paid.path}/invoiceable", headers=paid.headers).json
    assert InvoiceableOut().validate(left) == {}
    assert sum(bill["left_fen"] for bill in left["bills"]) == 18745
    number = ask(client, paid).json["paper_no"]
    left = client.get(f"{paid.path}/invoiceable", headers=paid.headers).json
    assert left == {"bills": [], "months": []}
    page = client.get(f"{paid.path}/papers?limit=1", headers=paid.headers).json
    assert PapersOut().validate(page) == {}
    assert [one["paper_no"] for one in page["papers"]] == [number]
    more = f"{paid.path}/papers?limit=1&before={page['next_before']}"
    rest = client.get(more, headers=paid.headers).json
    assert ([one["paper_no"] for one in rest["papers"]], rest["next_before"]) == (
        [paid.receipt],
        None,
    )


def test_a_title_is_written_anew_in_place_and_stays_the_default(client, paid):
    first = client.post(f"{paid.path}/titles", json=COMPANY, headers=paid.headers).json
    other = {"kind": "person", "name": "李四"}
    second = client.post(f"{paid.path}/titles", json=other, headers=paid.headers).json
    path = f"{paid.path}/titles/{first['id']}"
    wrong = client.put(path, json={**COMPANY, "phone": "?"}, headers=paid.headers)
    assert problem(wrong) == (422, "validation") and wrong.json["field"] == "phone"
    edited = client.put(path, json={**COMPANY, "phone": "010-5555000"}, headers=paid.headers).json
    assert (edited["phone"], edited["is_default"]) == ("010-5555000", True)
    shown = client.get(f"{paid.path}/titles", headers=paid.headers).json
    assert TitlesOut().validate(shown) == {}
    assert [one["id"] for one in shown["titles"]] == [edited["id"], second["id"]]
    gone = client.put(path, json=COMPANY, headers=paid.headers)
    assert problem(gone) == (404, "not_found")


def test_the_twenty_first_title_is_refused_but_the_twentieth_can_be_edited(client, paid):
    for n in range(titles.MAX_TITLES):
        body = {"kind": "person", "name": f"住户{n:02d}"}
        made = client.post(f"{paid.path}/titles", json=body, headers=paid.headers)
        assert made.status_code == 201
    body = {"kind": "person", "name": "住户二十一"}
    more = client.post(f"{paid.path}/titles", json=body, headers=paid.headers)
    assert problem(more) == (409, "too_many_titles")
    path = f"{paid.path}/titles/{made.json['id']}"
    assert client.put(path, json=body, headers=paid.headers).status_code == 200
    shown = client.get(f"{paid.path}/titles", headers=paid.headers).json["titles"]
    assert len(shown) == titles.MAX_TITLES


def test_a_stranger_sees_nothing_and_gets_nothing(client, paid, charlie):
    number = ask(client, paid).json["paper_no"]
    title = client.post(f"{paid.path}/titles", json=COMPANY, headers=paid.headers).json
    for path in (
        f"{paid.path}/papers",
        f"{paid.path}/invoiceable",
        f"{paid.path}/titles",
        *(f"/api/v1/papers/{no}{end}" for no in (number, paid.receipt) for end in ("", "/pdf")),
    ):
        assert problem(client.get(path, headers=charlie)) == (404, "not_found"), path
    assert problem(ask(client, paid, headers=charlie)) == (404, "not_found")
    edited = client.put(f"{paid.path}/titles/{title['id']}", json=COMPANY, headers=charlie)
    assert problem(edited) == (404, "not_found")
    dropped = client.delete(f"{paid.path}/titles/{title['id']}", headers=charlie)
    assert problem(dropped) == (404, "not_found")


def test_the_next_owner_sees_nothing_of_the_one_before(client, paid, clock):
    number = ask(client, paid, bill_ids=paid.bills[:1]).json["paper_no"]
    client.post(f"{paid.path}/titles", json=COMPANY, headers=paid.headers)
    clock.advance(days=3)
    found = handover.begin(paid.household.id, date(2026, 11, 22), paid.clerk, clock.now())
    handover.complete(found.id, "李四", "13900005678", paid.clerk, clock.now())
    db.session.commit()
    bob = builders.make_resident("bob-openid")
    builders.bind(bob, paid.household)
    new = builders.headers_for(bob)
    assert client.get(f"{paid.path}/papers", headers=new).json["papers"] == []
    assert client.get(f"{paid.path}/invoiceable", headers=new).json == {"bills": [], "months": []}
    assert client.get(f"{paid.path}/titles", headers=new).json == {"titles": []}
    for no in (number, paid.receipt):
        for end in ("", "/pdf"):
            answer = client.get(f"/api/v1/papers/{no}{end}", headers=new)
            assert problem(answer) == (404, "not_found")
    wanted = ask(client, paid, headers=new, bill_ids=paid.bills[1:])
    assert problem(wanted) == (409, "nothing_to_invoice")


@pytest.fixture
def limited(database, clock):
    """The application with its rate limits on."""
    application = create_app(settings_for(database).replace(rate_limits=True), clock=clock)
    with application.app_context():
        yield application.test_client()
        db.session.remove()
        db.engine.dispose()


def stopped_after(send):
    """How many are answered before one is refused; a minute may begin in between."""
    for answered in range(61):
        answer = send()
        if answer.status_code == 429:
            assert problem(answer) == (429, "too_many_attempts")
            return answered
    raise AssertionError("never stopped")


def test_thirty_papers_a_minute_are_enough_for_a_resident_and_bother_no_other(limited):
    alice = pays(household_of("alice"))
    bob = builders.make_resident("bob-openid")
    builders.bind(bob, alice.household)
    path = "/api/v1/papers/SJ01202699999999/pdf"
    assert 30 <= stopped_after(lambda: limited.get(path, headers=alice.headers)) <= 60
    assert limited.get(path, headers=builders.headers_for(bob)).status_code == 404
    assert 30 <= stopped_after(lambda: ask(limited, alice, kind="special")) <= 60
    assert db.session.query(Paper).filter_by(kind="invoice").count() == 0
