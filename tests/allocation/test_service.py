"""A building's heat is shared from stored rows, and what was billed stays as it was."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.allocation import service
from backend.allocation.models import AllocationRun, AllocationShare
from backend.allocation.tasks import close_building_day
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering.models import ClosedDay, CondensedDay
from backend.metering.service import NewReading, record
from tests import paper18
from tests.builders import NOON

FIRST = date(2026, 11, 17)
LAST = FIRST + timedelta(days=2)


@pytest.fixture
def building(app):
    return paper18.load(FIRST)


def shares_of(run, flats):
    by_id = {home.id: unit for unit, home in flats.items()}
    rows = db.session.scalars(sa.select(AllocationShare).where(AllocationShare.run_id == run.id))
    return {by_id[row.household_id]: row.energy_wh for row in rows}


def test_the_published_two_days_come_out_to_the_watt_hour(building):
    house, flats = building
    run = service.allocate(house.id, FIRST, LAST, "billing", NOON)
    assert shares_of(run, flats) == paper18.case()["expected"]["units"]
    assert run.total_wh == paper18.case()["input"]["total_units"]


def test_a_run_costs_the_same_statements_however_many_days(building, queries):
    house, _ = building
    service.allocate(house.id, FIRST, FIRST + timedelta(days=1), "daily", NOON)
    one = len(queries)
    queries.clear()
    service.allocate(house.id, FIRST, LAST, "daily", NOON)
    assert len(queries) == one


def test_a_daily_run_is_replaced_and_the_new_one_is_the_live_one(building):
    house, flats = building
    first = service.allocate(house.id, FIRST, LAST, "daily", NOON)
    second = service.allocate(house.id, FIRST, LAST, "daily", NOON)
    assert first.superseded_by == second.id
    assert shares_of(first, flats) == shares_of(second, flats)


def test_a_locked_run_is_never_replaced(building):
    house, _ = building
    service.lock(service.allocate(house.id, FIRST, LAST, "billing", NOON), NOON)
    db.session.commit()
    with pytest.raises(Problem) as refused:
        service.allocate(house.id, FIRST, LAST, "billing", NOON)
    assert refused.value.code == "run_locked"


def test_a_building_without_a_known_register_is_not_shared_out_from_a_guess(building):
    house, _ = building
    with pytest.raises(Problem) as refused:
        service.allocate(
            house.id, FIRST - timedelta(days=9), FIRST - timedelta(days=8), "daily", NOON
        )
    assert refused.value.code == "building_meter_missing"


def test_closing_a_day_condenses_it_and_shares_it_provisionally(building):
    house, flats = building
    summary = close_building_day(house.id, FIRST, NOON).summary
    close_building_day(house.id, FIRST, NOON)  # again: the same rows
    assert summary["complete_flats"] == len(flats)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(CondensedDay)) == len(flats)
    live = db.session.scalars(sa.select(AllocationRun).where(AllocationRun.superseded_by.is_(None)))
    assert [run.purpose for run in live] == ["daily"]


def test_a_day_that_cannot_be_shared_closes_and_says_why(building):
    house, _ = building
    day = FIRST + timedelta(days=40)
    summary = close_building_day(house.id, day, NOON + timedelta(days=60)).summary
    assert summary["not_allocated"] == "building_meter_missing"
    assert db.session.get(ClosedDay, (house.id, day)) is not None


def test_a_falling_building_register_is_refused_not_credited(building):
    house, _ = building
    meter_id = db.session.scalar(sa.text("SELECT id FROM meter WHERE scope = 'building'"))
    record([NewReading(meter_id, day_start(LAST + timedelta(days=1)), "collector", register=5)])
    with pytest.raises(Problem) as refused:
        service.allocate(house.id, LAST, LAST + timedelta(days=1), "daily", NOON)
    assert refused.value.code == "building_meter_missing"
