"""Numbers without a gap, whoever asks at once, dies or forgets."""

import threading

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import counter
from backend.cashier.papers import (
    checks,
    invoices,
    numbering,
)
from backend.cashier.papers.invoices import Wanted
from backend.cashier.papers.models import Paper, PaperSeries, PaperVoid
from tests import builders
from tests.cashier.papers.conftest import invoice


def test_a_branch_issues_under_its_own_code(hall):
    region = builders.make_region("城西分公司")
    db.session.execute(
        sa.text("INSERT INTO paper_issuer (code, region_id, name) VALUES ('02', :r, '城西热力')"),
        {"r": region.id},
    )
    db.session.commit()
    west = builders.make_household(builders.make_building("W", region))
    hall.pay(builders.make_bill(west, 500), household=west)
    hall.pay(hall.bill())
    assert sorted(db.session.scalars(sa.select(Paper.paper_no))) == [
        "SJ01202600000001",
        "SJ02202600000001",
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE paper SET amount_fen = 1",
        "DELETE FROM paper_line",
        "UPDATE paper_line SET title = 'x'",
        "UPDATE paper_void SET reason = 'x'",
        "DELETE FROM paper_void",
        "TRUNCATE paper CASCADE",
        "UPDATE paper_series SET last_no = last_no + 2",
        "UPDATE paper_series SET last_no = last_no + 1",  # a number that is no paper
        "DELETE FROM paper_series",
        "UPDATE paper_template SET source = 'x' WHERE version = 1",
        "DELETE FROM paper_template",
        """INSERT INTO paper_line (paper_id, seq, utility, title, amount_fen, treatment, tax_fen)
           SELECT min(id), 9, '', 'x', 1, 'none', 0 FROM paper""",
    ],
)
def test_no_statement_gets_past_the_guards(hall, statement):
    done = hall.pay(hall.bill())
    counter.void(hall.cashier, done.receipt_no, "收错户", None, hall.clock.now())
    db.session.commit()
    with pytest.raises(DBAPIError):
        db.session.execute(sa.text(statement))
        db.session.commit()
    db.session.rollback()
    assert checks.breaks() == []


def test_the_database_itself_refuses_a_second_invoice_over_the_same_money(hall, monkeypatch):
    bill = hall.bill()
    hall.pay(bill)
    invoice(hall, bill)
    monkeypatch.setattr(invoices, "_invoiced", lambda _ids: {})  # a program that forgets
    monkeypatch.setattr(invoices, "_discounts", lambda _household, _lines: [])
    with pytest.raises(DBAPIError, match="invoices of 24690 fen over 12345 fen paid"):
        invoice(hall, bill, key="again")
    db.session.rollback()
    assert [row["last_no"] for row in numbering.report() if row["kind"] == "invoice"] == [1]


def test_fifty_at_once_are_numbered_one_to_fifty_and_the_rolled_back_leave_no_gap(hall, in_threads):
    households = [builders.make_household(hall.building, f"{n}") for n in range(1001, 1051)]
    bills = [builders.make_bill(one, 1000) for one in households]
    for one, bill in zip(households, bills, strict=True):
        hall.pay(bill, household=one)
    start = threading.Barrier(50)

    def one(n):
        start.wait(30)
        wanted = Wanted(households[n].id, (bills[n].id,), "invoice", None, "k")
        made = invoices.issue(wanted, hall.cashier, hall.clock.now())
        if n % 5 == 0:
            db.session.rollback()
            return None
        db.session.commit()
        return made.number

    numbers = [n for n in in_threads(50, one) if n is not None]
    assert sorted(numbers) == list(range(1, 41))
    assert checks.breaks() == []


def test_fifty_requests_over_one_bill_issue_one_invoice(hall, in_threads):
    bill = hall.bill()
    hall.pay(bill)

    def one(n):
        wanted = Wanted(hall.household.id, (bill.id,), "invoice", None, f"k{n}")
        try:
            made = invoices.issue(wanted, hall.cashier, hall.clock.now())
            db.session.commit()
            return made.paper_no
        except Problem as problem:
            db.session.rollback()
            return problem.code

    came = in_threads(50, one)
    assert sorted(came)[0] == "FP01202600000001"
    assert sorted(came)[1:] == ["nothing_to_invoice"] * 49
    assert checks.breaks() == []


def test_a_connection_cut_in_the_middle_of_issuing_leaves_no_gap(hall, app, database):
    bill = hall.bill()
    hall.pay(bill)
    wanted = Wanted(hall.household.id, (bill.id,), "invoice", None, "k")
    for _ in range(3):
        invoices.issue(wanted, hall.cashier, hall.clock.now())
        pid = db.session.scalar(sa.text("SELECT pg_backend_pid()"))
        with psycopg.connect(database, autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(DBAPIError):
            db.session.commit()
        db.session.rollback()
    made = invoices.issue(wanted, hall.cashier, hall.clock.now())
    db.session.commit()
    assert made.number == 1
    assert db.session.get(PaperSeries, (made.issuer_id, "invoice", 2026)).last_no == 1
    assert checks.breaks() == []


def test_issuing_asks_a_fixed_number_of_questions_however_many_bills(hall, queries):
    def statements(count, key):
        bills = [hall.bill(100 + n) for n in range(count)]
        hall.pay(*bills)
        wanted = Wanted(hall.household.id, tuple(b.id for b in bills), "invoice", None, key)
        db.session.expunge_all()
        queries.clear()
        invoices.issue(wanted, hall.cashier, hall.clock.now())
        db.session.commit()
        return len(queries)

    statements(1, "warm")
    assert statements(2, "two") == statements(12, "twelve")
    assert db.session.query(PaperVoid).count() == 0
