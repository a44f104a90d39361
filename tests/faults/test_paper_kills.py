"""A process that issues papers is killed at any moment: no number is missing, none doubled."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.cashier.papers import checks, numbering
from backend.cashier.papers.models import Paper
from tests import builders
from tests.cashier.papers.conftest import Hall
from tests.faults.processes import environment, process, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

BILLS = 40
KILLS = 4
# Every bill that has no invoice yet gets one, a transaction each.
ISSUER = """
import sys
from datetime import UTC, datetime
from backend import app_from_environment
from backend.base.db import db
from backend.billing.models import Bill
from backend.cashier.papers import invoices
from backend.people.service import Principal

with app_from_environment(web_pages=False).app_context():
    clerk = Principal("staff", int(sys.argv[1]), frozenset({"finance"}))
    for bill_id, household_id in db.session.query(Bill.id, Bill.household_id).order_by(Bill.id):
        now = datetime(2026, 11, 20, 4, tzinfo=UTC)
        wanted = invoices.Wanted(household_id, (bill_id,), "invoice", None, f"bill-{bill_id}")
        invoices.issue(wanted, clerk, now)
        db.session.commit()
"""


def issued() -> int:
    db.session.rollback()
    query = sa.select(sa.func.count()).select_from(Paper).where(Paper.kind == "invoice")
    return db.session.scalar(query) or 0


def test_a_killed_issuer_leaves_no_gap_and_the_next_goes_on(app, clock, database, tmp_path):
    hall = Hall(clock)
    for n in range(BILLS // 10):
        household = builders.make_household(hall.building, f"{2001 + n}")
        bills = [builders.make_bill(household, 1000 + k, utility="water") for k in range(10)]
        hall.pay(*bills, household=household)
    words = ["-c", ISSUER, str(hall.cashier.id)]
    env, log = environment(app, database), tmp_path / "issuer.log"
    chance = random.Random(20261120)
    for _ in range(KILLS):
        goal = min(BILLS, issued() + chance.randint(1, 8))
        with process(words, env, log):  # killed with its block, wherever it is by then
            until(lambda goal=goal: issued() >= goal, f"{goal} invoices")
        assert checks.breaks() == []
    with process(words, env, log) as last:
        until(lambda: last.poll() is not None, "the last issuer to end", 60)
    assert last.returncode == 0, log.read_text()
    series = [row for row in numbering.report() if row["kind"] == "invoice"]
    assert [(row["last_no"], row["papers"], row["gapless"]) for row in series] == [
        (BILLS, BILLS, True)
    ]
    assert checks.breaks() == []
