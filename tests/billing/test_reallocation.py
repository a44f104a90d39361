"""A billed run is put right by two persons: bills reversed, heat shared anew, bills made again."""

from datetime import date

import pytest
import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.allocation.models import AllocationRun
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import reallocation, requests, service
from backend.billing.models import Bill
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.allocation import stored
from tests.allocation.stored import FIRST, LAST, TOTAL_WH, shares_of
from tests.builders import NOON


@pytest.fixture
def people(app):
    clerk = builders.make_staff("clerk", roles=["finance"])
    boss = builders.make_staff("boss", roles=["manager"])
    return (
        Principal("staff", clerk.id, frozenset({"finance"})),
        Principal("staff", boss.id, frozenset({"manager"})),
    )


@pytest.fixture
def billed(app):
    """Three flats billed by their heat meters, and the run behind it."""
    building, flats = stored.house("heat_meter")
    for no, used in (("101", 100_000), ("102", 100_000), ("201", 200_000)):
        stored.counter(flats[no], "heat", used)
    builders.make_tariff("heat", effective_from=date(2020, 1, 1))
    assert len(service.issue(building.id, "heat", FIRST, LAST, NOON).bills) == 3
    db.session.commit()
    return building, flats, db.session.scalars(sa.select(AllocationRun)).one()


def standing():
    return db.session.scalars(
        sa.select(Bill).where(Bill.kind == "usage", Bill.state != "reversed").order_by(Bill.id)
    ).all()


def test_the_bills_of_a_corrected_run_stand_on_the_new_one(billed, people):
    _building, flats, old = billed
    stored.factor(flats["201"], "alpha", "0.5")
    request = reallocation.ask(old.id, "补录位置修正系数", people[0], NOON)
    assert request.params["bills"] == 3
    requests.approve(request.id, people[1], NOON)
    db.session.commit()
    new = db.session.get_one(AllocationRun, request.result["run_id"])
    assert (new.corrects_id, old.superseded_by) == (old.id, new.id)
    assert new.locked_at is not None
    assert {bill.run_id for bill in standing()} == {new.id}
    assert len(standing()) == 3
    assert sum(shares_of(new).values()) == TOTAL_WH
    assert shares_of(new)[flats["201"].id] < shares_of(old)[flats["201"].id]
    assert ledger.check() == []


def test_nobody_corrects_a_run_alone(billed, people):
    request = reallocation.ask(billed[2].id, "更正", people[1], NOON)
    with pytest.raises(Problem):
        requests.approve(request.id, people[1], NOON)
    db.session.rollback()
    assert len(standing()) == 3
    assert db.session.scalars(sa.select(AllocationRun.superseded_by)).one() is None


def test_a_run_that_is_not_billed_needs_no_correction(app, people):
    building, _flats = stored.house("area")
    run = allocation.allocate(building.id, FIRST, LAST, "billing", NOON)
    with pytest.raises(Problem) as refused:
        reallocation.ask(run.id, "更正", people[0], NOON)
    assert refused.value.code == "run_not_billed"
