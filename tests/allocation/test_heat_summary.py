"""What the home screen says of its heat is counted with the day's close, and again with each."""

from datetime import timedelta

import sqlalchemy as sa

from backend.allocation.models import HeatSummary
from backend.allocation.tasks import close_building_day
from backend.base.db import db
from backend.metering.models import DailyUsage
from tests.allocation import stored
from tests.allocation.stored import FIRST
from tests.builders import NOON


def summary(flat):
    db.session.expire_all()
    return db.session.get(HeatSummary, flat.id)


def test_closing_a_day_counts_every_home_up_to_it(app):
    building, flats = stored.house("heat_meter")
    for no, used in (("101", 100_000), ("102", 100_000), ("201", 200_000)):
        stored.counter(flats[no], "heat", used)
    for day in (FIRST, FIRST + timedelta(1)):
        close_building_day(building.id, day, NOON)
    own = summary(flats["201"])
    assert own.as_of == FIRST + timedelta(1)
    assert own.season_wh == own.recent_wh == stored.TOTAL_WH // 2
    assert (own.others, own.others_wh) == (2, stored.TOTAL_WH // 2)
    assert own.others_dm2 == flats["101"].area_dm2 + flats["102"].area_dm2


def test_a_day_closed_again_is_counted_as_it_is_now(app):
    building, flats = stored.house("heat_meter")
    meters = {flat: stored.counter(flat, "heat", 50_000) for flat in flats.values()}
    close_building_day(building.id, FIRST, NOON)
    assert sum(summary(flat).season_wh for flat in flats.values()) > 3 * 50_000
    db.session.execute(sa.text("DELETE FROM allocation_rule"))  # now by their own meters
    close_building_day(building.id, FIRST, NOON)
    for flat, meter in meters.items():
        assert summary(flat).season_wh == db.session.get(DailyUsage, (meter.id, FIRST)).usage
