"""Late samples reopen just their day, once; a season reads closed days and no samples."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.allocation import seasons, service
from backend.allocation.tasks import close_building_day, defer_close
from backend.base.db import db
from backend.metering import series
from backend.metering.models import ClosedDay, CondensedDay, DaySeries
from backend.metering.rules import pack_day
from tests import paper18
from tests.allocation.stored import shares_of
from tests.builders import NOON

FIRST = NOON.date() - timedelta(days=3)
LAST = FIRST + timedelta(days=2)


@pytest.fixture
def building(app):
    house, flats = paper18.load(FIRST)
    for day in (FIRST, FIRST + timedelta(days=1)):
        close_building_day(house.id, day, NOON)
    db.session.commit()
    return house, flats


def waiting_closings():
    return (
        db.session.execute(
            sa.text(
                "SELECT args->>'day' FROM procrastinate_jobs "
                "WHERE task_name = 'metering.close_day' AND status = 'todo'"
            )
        )
        .scalars()
        .all()
    )


def late_sample(flats, day, cdeg=1500):
    sensor = db.session.scalar(
        sa.text("SELECT id FROM meter WHERE kind = 'room' AND household_id = :flat"),
        {"flat": flats["101"].id},
    )
    series.store({(sensor, "room_cdeg", day): pack_day([(0, cdeg)], series.INTERVAL_S)})


def test_a_season_of_closed_days_comes_out_as_from_its_samples(building):
    house, flats = building
    run = service.allocate(house.id, FIRST, LAST, "billing", NOON)
    assert run.inputs["read"] == "condensed"
    by_id = {home.id: unit for unit, home in flats.items()}
    got = {by_id[key]: value for key, value in shares_of(run).items()}
    assert got == paper18.case()["expected"]["units"]


def test_settlement_never_reads_the_samples(building):
    house, _ = building
    before = shares_of(service.allocate(house.id, FIRST, LAST, "billing", NOON))
    db.session.execute(sa.delete(DaySeries))
    db.session.commit()
    assert shares_of(service.allocate(house.id, FIRST, LAST, "billing", NOON)) == before


def test_a_late_sample_reopens_its_day_and_no_other(building):
    _house, flats = building
    late_sample(flats, FIRST)
    db.session.commit()
    open_days = db.session.scalars(
        sa.select(ClosedDay.day).where(ClosedDay.reopened_at.is_not(None))
    )
    assert open_days.all() == [FIRST]
    assert waiting_closings() == [FIRST.isoformat()]


def test_more_late_samples_reopen_nothing_more(building):
    _house, flats = building
    for _ in range(3):
        late_sample(flats, FIRST)
        db.session.commit()
    assert waiting_closings() == [FIRST.isoformat()]


def test_samples_taken_back_reopen_nothing(building):
    _house, flats = building
    late_sample(flats, FIRST)
    db.session.rollback()
    assert waiting_closings() == []


def test_a_sample_of_today_asks_nothing(building, queries):
    _house, flats = building
    queries.clear()
    late_sample(flats, NOON.date())
    assert not any("closed_day" in text for text in queries)


def test_until_it_is_closed_again_the_samples_count(building):
    house, flats = building
    late_sample(flats, FIRST)
    run = service.allocate(house.id, FIRST, LAST, "billing", NOON)
    assert run.inputs["read"] == "samples"


def test_closing_again_condenses_the_late_sample_and_settles_the_day(building):
    house, flats = building
    nodes = db.session.get_one(CondensedDay, (flats["101"].id, FIRST)).nodes
    late_sample(flats, FIRST)
    db.session.commit()
    assert defer_close(FIRST) == 1
    close_building_day(house.id, FIRST, NOON)
    db.session.commit()
    db.session.expire_all()
    assert db.session.get_one(CondensedDay, (flats["101"].id, FIRST)).nodes != nodes
    assert db.session.get_one(ClosedDay, (house.id, FIRST)).reopened_at is None
    assert defer_close(FIRST) == 0


def test_a_ragged_day_is_read_from_its_samples(building):
    house, flats = building
    ids = sorted(home.id for home in flats.values())
    before = shares_of(service.allocate(house.id, FIRST, LAST, "billing", NOON))
    db.session.execute(
        sa.text(
            "UPDATE condensed_day SET nodes = ARRAY[1,1,1,1,1,1,1,1]::float8[], "
            "outcome = outcome || '{\"error\": 0.5}' WHERE household_id = :flat AND day = :day"
        ),
        {"flat": ids[0], "day": FIRST},
    )
    db.session.commit()
    run = service.allocate(house.id, FIRST, LAST, "billing", NOON)
    assert run.inputs["read"] == "condensed"
    assert shares_of(run) == before


def test_a_season_is_one_statement_whatever_its_length(building, queries):
    _house, flats = building
    ids = [home.id for home in flats.values()]
    season = seasons.load_season(ids, FIRST, LAST)
    assert season.known.all()
    assert season.nodes.shape == (len(ids), 2, 8)
