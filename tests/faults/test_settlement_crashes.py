"""A worker killed at any moment of a settlement: the shares come out as undisturbed."""

import random
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.allocation import settling
from backend.allocation.models import AllocationRun, AllocationShare, Settlement
from backend.allocation.tasks import close_building_day
from backend.base import tasks
from backend.base.clock import SystemClock
from backend.base.db import db
from tests.allocation import stored
from tests.faults.processes import WORKER, environment, process, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

BUILDINGS, KILLS = 12, 3


@pytest.fixture
def clock() -> SystemClock:
    """Processes of their own have no other clock."""
    return SystemClock()


@pytest.fixture
def town(app, clock):
    """Buildings by heat meters, both days closed."""
    made = []
    for number in range(BUILDINGS):
        building, flats = stored.house("heat_meter", code=f"T{number:02}")
        for index, flat in enumerate(flats.values()):
            stored.counter(flat, "heat", 10_000 * (number + 1) * (index + 1) + 7)
        for day in range(stored.DAYS):
            close_building_day(building.id, stored.FIRST + timedelta(days=day), clock.now())
        made.append(building)
    db.session.commit()
    return made


def shares():
    """Every live billing share, (building, household) -> Wh; a building has one run."""
    live = sa.and_(AllocationRun.purpose == "billing", AllocationRun.superseded_by.is_(None))
    rows = db.session.execute(
        sa.select(
            AllocationRun.building_id, AllocationShare.household_id, AllocationShare.energy_wh
        )
        .join(AllocationShare, AllocationShare.run_id == AllocationRun.id)
        .where(live)
    ).all()
    found = {(row[0], row[1]): row[2] for row in rows}
    assert len(found) == len(rows)
    return found


def test_killed_three_times_it_ends_with_the_shares_of_an_undisturbed_run(
    app, database, clock, town, tmp_path, monkeypatch
):
    monkeypatch.setattr("tests.faults.processes.PATIENCE_S", 60)
    for building in town:
        settling.service.allocate(building.id, stored.FIRST, stored.LAST, "billing", clock.now())
    undisturbed = shares()
    db.session.rollback()
    assert shares() == {}

    settlement = settling.start(None, stored.FIRST, stored.LAST, None, clock.now())
    db.session.commit()
    env, log = environment(app, database), tmp_path / "worker.log"
    chance = random.Random(4)
    for _ in range(KILLS):
        with process(WORKER, env, log) as worker:
            done = settling.progress(settlement.id).done
            until(
                lambda before=done: _progress(settlement).done > before or _over(settlement),
                "a building is settled",
            )
            time.sleep(chance.uniform(0, 0.1))
            worker.kill()
        time.sleep(1.1)
        tasks.recover_stalled(older_than_s=1)
    with process(WORKER, env, log):
        # What a killed worker's fetch still committed is given back by the living one.
        until(lambda: _over(settlement), "the settlement ends")
    db.session.expire_all()
    assert shares() == undisturbed
    assert _progress(settlement) == settling.Progress(BUILDINGS, 0, BUILDINGS, 0, 0)
    assert "task failed" not in log.read_text()
    runs = sa.select(sa.func.count()).where(AllocationRun.purpose == "billing")
    assert db.session.scalar(runs) == BUILDINGS


def _progress(settlement):
    db.session.rollback()
    return settling.progress(settlement.id)


def _over(settlement):
    db.session.rollback()
    return db.session.get_one(Settlement, settlement.id, populate_existing=True).state == "done"
