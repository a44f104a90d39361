"""A sample that comes in while its day is being closed is seen by it, or reopens the day."""

import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.allocation import service
from backend.allocation.tasks import close_building_day, close_day
from backend.base.db import db
from backend.metering import series
from backend.metering.models import ClosedDay, CondensedDay
from backend.metering.rules import pack_day
from tests.allocation import stored
from tests.builders import NOON

pytestmark = pytest.mark.faults
DAY = stored.FIRST


@pytest.fixture
def house(app):
    building, flats = stored.house("three_temperature")
    for flat in flats.values():
        stored.climate(flat, 4500, 3500, 2000)
        stored.thermal(flat, "0.4", "1.3")
    return building, flats


def late_sample(app, flat, stored_at):
    """Another process's transaction: a room temperature at 00:00, committed."""
    with app.app_context():
        sensor = db.session.scalar(
            sa.text("SELECT id FROM meter WHERE kind = 'room' AND household_id = :flat"),
            {"flat": flat},
        )
        series.store({(sensor, "room_cdeg", DAY): pack_day([(0, 2500)], series.INTERVAL_S)})
        db.session.commit()
        stored_at.append(time.monotonic())


@pytest.mark.parametrize("first_time", [True, False])
def test_a_sample_between_reading_and_closing_waits_and_reopens_the_day(
    app, house, monkeypatch, first_time
):
    building, flats = house
    if not first_time:
        close_building_day(building.id, DAY, NOON)
        db.session.commit()
    stored_at, other = [], []
    condense = service.condense

    def with_a_late_sample(building_id, day):
        found = condense(building_id, day)  # has read the samples; now one more comes in
        arguments = (app, flats["101"].id, stored_at)
        other.append(threading.Thread(target=late_sample, args=arguments))
        other[0].start()
        time.sleep(0.5)
        assert not stored_at, "it must wait for the closing"
        return found

    monkeypatch.setattr(service, "condense", with_a_late_sample)
    _run_task(building.id)
    other[0].join(20)
    db.session.rollback()
    row = db.session.get_one(ClosedDay, (building.id, DAY), populate_existing=True)
    assert stored_at
    assert row.reopened_at is not None
    monkeypatch.setattr(service, "condense", condense)
    before = _nodes(flats["101"])
    close_building_day(building.id, DAY, NOON)
    db.session.commit()
    assert _nodes(flats["101"]) != before


def _nodes(flat):
    return db.session.get_one(CondensedDay, (flat.id, DAY), populate_existing=True).nodes


def _run_task(building_id):
    """The very task, as a worker runs it."""
    close_day.func(building_id=building_id, day=DAY.isoformat())


def test_the_days_after_are_left_alone(app, house):
    building, flats = house
    for day in (DAY, DAY + timedelta(days=1)):
        close_building_day(building.id, day, NOON)
    db.session.commit()
    late_sample(app, flats["101"].id, [])
    reopened = sa.select(ClosedDay.day).where(ClosedDay.reopened_at.is_not(None))
    assert db.session.scalars(reopened).all() == [DAY]
