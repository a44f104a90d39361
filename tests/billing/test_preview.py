"""A draft is tried on bills already made: totals, spread, households; nothing is kept."""

from datetime import date, timedelta

import pytest

from backend.base.errors import Problem
from backend.billing import preview, service, tariffs
from backend.people.service import Principal
from tests import builders, paper18
from tests.builders import NOON

FIRST = date(2026, 11, 17)
LAST = FIRST + timedelta(days=2)
HARBIN = {"k1": "16.5", "k2": "44.41", "season_days": 183}


@pytest.fixture
def house(app):
    builders.make_tariff("heat", "two_part", HARBIN)
    building, _ = paper18.load(FIRST)
    service.issue(building.id, "heat", FIRST, LAST, NOON)
    return building


def draft(kind="two_part", **params):
    author = Principal("staff", builders.make_staff(f"a{kind}{len(params)}").id)
    return tariffs.draft(
        author,
        NOON,
        name="新热价",
        utility="heat",
        customer_class="residential",
        kind=kind,
        params=params,
        effective_from=date(2026, 12, 1),
    )


def test_the_same_price_changes_nothing(house):
    found = preview.preview(draft(**HARBIN).id, FIRST, LAST)
    assert (found["bills"], found["same"], found["would_fen"]) == (18, 18, found["was_fen"])
    assert sum(row["bills"] for row in found["spread"]) == 18


def test_by_area_those_who_used_little_pay_more_and_the_others_less(house):
    found = preview.preview(draft("area", price="38.32", season_days=183).id, FIRST, LAST)
    assert found["more"] + found["less"] + found["same"] == 18
    # 62.40 m2 x 38.32 x 2/183 = 26.13 yuan instead of 85.28
    one = next(a for rows in found["samples"].values() for a in rows)
    assert one.would_fen - one.was_fen == one.change_fen


def test_the_draft_of_a_region_elsewhere_touches_no_bill_here(house):
    made = draft(**HARBIN)
    made.region_id = builders.make_region("别处").id
    with pytest.raises(Problem) as refused:
        preview.preview(made.id, FIRST, LAST)
    assert refused.value.code == "no_bills"


def test_more_bills_than_can_be_priced_at_once_are_refused_and_not_left_out(house, monkeypatch):
    monkeypatch.setattr(preview, "MAX_BILLS", 17)
    with pytest.raises(Problem) as refused:
        preview.preview(draft(**HARBIN).id, FIRST, LAST)
    assert refused.value.code == "too_many_bills"
