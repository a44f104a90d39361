"""Homes like one: medians of groups large enough, by region, class and size."""

from datetime import date, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from backend.archive.models import Region
from backend.base.db import db
from backend.billing import peers
from backend.billing.models import PeerUsage
from tests import builders
from tests.builders import NOON

BEGIN = date(2026, 10, 1)


def homes(building, *amounts, utility="water", begin=BEGIN, **more):
    """A household a usage, each with its bill."""
    made = []
    for n, used in enumerate(amounts):
        home = builders.make_household(building, f"{begin:%m}{n:03}", **more)
        bill = builders.make_bill(home, 100, utility=utility, period_from=begin)
        bill.basis, bill.issued_at = {"used": used}, NOON
        made.append((home, bill))
    db.session.commit()
    return made


def beside(made):
    home, bill = made
    return peers.beside(bill, home)


def test_the_median_and_the_middle_half_of_ten_homes(app):
    made = homes(builders.make_building(), *range(1_000, 11_000, 1_000))
    assert peers.count(NOON) == 1
    found = beside(made[2])
    assert (found.mine, found.median, found.low, found.high) == (3_000, 5_500, 3_250, 7_750)
    assert (found.homes, found.unit) == (10, "l")
    assert found.of_zh.endswith("3 口之家")


def test_nine_homes_are_too_few_to_say_anything(app):
    made = homes(builders.make_building(), *range(9))
    assert peers.count(NOON) == 0
    assert beside(made[0]) is None


def test_a_setting_raised_later_silences_what_was_counted_before(app):
    made = homes(builders.make_building(), *range(10))
    peers.count(NOON)
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(similar_homes=11)
    assert beside(made[0]) is None


def test_a_district_with_too_few_homes_asks_the_one_above(app):
    city = builders.make_region()
    parts = [builders.make_region() for _ in range(2)]
    db.session.execute(
        sa.update(Region).where(Region.id.in_([p.id for p in parts])).values(parent_id=city.id)
    )
    near, far = (builders.make_building(code, part) for code, part in zip("AB", parts, strict=True))
    made = homes(near, *[1_000] * 4)
    homes(far, *[3_000] * 8)
    peers.count(NOON)
    found = beside(made[0])
    assert (found.homes, found.median) == (12, 3_000)
    assert found.of_zh.startswith(city.name)


def test_only_like_is_counted_with_like(app):
    building = builders.make_building()
    made = homes(building, *[1_000] * 10)
    homes(building, *[9_000] * 10, begin=date(2026, 8, 1), persons=5)
    homes(building, *[8_000] * 10, begin=date(2026, 9, 1))
    shops = homes(building, *[7_000] * 10, begin=date(2026, 7, 1), customer_class="commercial")
    shops[0][1].period_from, shops[0][1].period_to = BEGIN, made[0][1].period_to
    peers.count(NOON)
    found = beside(made[0])
    assert (found.homes, found.median) == (10, 1_000)


def test_heat_is_compared_by_the_square_metre_among_flats_of_like_size(app):
    building = builders.make_building()
    made = homes(building, *[640_000] * 10, utility="heat", area_dm2=6_400)
    homes(building, *[1] * 10, utility="heat", area_dm2=9_000, begin=date(2026, 11, 1))
    peers.count(NOON)
    found = beside(made[0])
    assert (found.mine, found.median, found.unit) == (10_000, 10_000, "wh_per_m2")
    assert "60–90 平方米" in found.of_zh


def test_suspended_and_reversed_bills_are_nobodys_measure(app):
    made = homes(builders.make_building(), *[1_000] * 12)
    made[0][1].state = "reversed"
    made[1][1].basis = {"used": 0, "facts": {"suspended": True}}
    db.session.commit()
    peers.count(NOON)
    assert beside(made[5]).homes == 10


def test_a_bill_taken_back_the_next_day_leaves_a_group_of_nine_unsaid(app):
    made = homes(builders.make_building(), *[1_000] * 10)
    peers.count(NOON)
    made[0][1].state = "reversed"
    db.session.commit()
    peers.count(NOON)
    assert db.session.scalars(sa.select(PeerUsage)).all() == []


def test_counting_costs_the_same_for_a_few_homes_and_many(app, queries):
    building = builders.make_building()
    counts = []
    for begin, number in ((BEGIN, 10), (date(2026, 9, 1), 30)):
        homes(building, *range(number), begin=begin)
        queries.clear()
        peers.count(NOON)
        counts.append(len(queries))
    assert counts == [3, 3]


def test_old_periods_are_not_counted_again_every_night(app):
    homes(builders.make_building(), *range(10))
    assert peers.count(NOON) == 1
    assert peers.count(NOON + timedelta(days=30)) == 0
    assert len(db.session.scalars(sa.select(PeerUsage)).all()) == 1


@pytest.fixture(scope="module")
def sizes():
    return np.array(peers.AREAS_DM2)


@given(st.integers(1, 30_000))
def test_a_flats_size_is_where_its_area_falls(sizes, area):
    from backend.archive.models import Household

    size = peers.size_of("heat", Household(area_dm2=area))
    assert size == np.searchsorted(sizes, area, side="right")
    assert peers.size_zh("heat", size)
