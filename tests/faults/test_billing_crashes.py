"""A billing worker killed at any moment: the bills come out as those of an undisturbed run."""

import random
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.base import tasks
from backend.base.clock import SystemClock, business_day, day_start
from backend.base.db import db
from backend.billing import service
from backend.billing.models import Bill
from backend.ledger import service as ledger
from backend.metering.service import NewReading, record
from tests import builders
from tests.faults.processes import WORKER, environment, process, until

pytestmark = pytest.mark.faults

BUILDINGS, HOMES, KILLS = 12, 6, 3


@pytest.fixture
def clock() -> SystemClock:
    """Processes of their own have no other clock."""
    return SystemClock()


@pytest.fixture
def period(clock):
    """Two days that are over."""
    end = business_day(clock.now()) - timedelta(1)
    return end - timedelta(2), end


@pytest.fixture
def town(app, period):
    """Buildings with water meters read at both ends."""
    builders.make_tariff("water", "flat", {"unit": "m3", "price": "2.07"})
    made, readings = [], []
    for number in range(BUILDINGS):
        building = builders.make_building(f"B{number:02}")
        bus = builders.make_bus(building)
        for home in range(HOMES):
            household = builders.make_household(building, f"{home + 1}01")
            meter = builders.make_meter(building, household, "water", bus=bus)
            for at, register in zip(period, (0, 100 * number + 7 * home + 1), strict=True):
                readings.append(NewReading(meter.id, day_start(at), "collector", register=register))
        made.append(building.id)
    record(readings)
    db.session.commit()
    return made


def bills():
    """Every bill of this transaction, number -> (household, fen)."""
    rows = db.session.execute(sa.select(Bill.bill_no, Bill.household_id, Bill.amount_fen))
    return {row[0]: (row[1], row[2]) for row in rows}


def count():
    """How many bills are committed."""
    db.session.rollback()
    return len(bills())


def test_killed_three_times_the_same_bills_are_there_once_each(
    app, database, clock, town, period, tmp_path
):
    for building_id in town:
        service.issue(building_id, "water", *period, clock.now())
    undisturbed = bills()
    db.session.rollback()
    assert len(undisturbed) == BUILDINGS * HOMES
    assert bills() == {}  # taken back: now the same by a worker that keeps being killed

    for building_id in town:
        tasks.defer(
            "billing.issue",
            building_id=building_id,
            utility="water",
            period_from=period[0].isoformat(),
            period_to=period[1].isoformat(),
        )
    db.session.commit()
    env, log = environment(app, database), tmp_path / "worker.log"
    chance = random.Random(4)
    for _ in range(KILLS):
        with process(WORKER, env, log) as worker:
            before = count()
            until(
                lambda seen=before: count() > seen or count() == len(undisturbed),
                "a building is billed",
            )
            time.sleep(chance.uniform(0, 0.1))
            worker.kill()
        time.sleep(1.1)
        tasks.recover_stalled(older_than_s=1)
    with process(WORKER, env, log):
        until(lambda: count() == len(undisturbed), "every building is billed")
    assert bills() == undisturbed
    assert ledger.check() == []
