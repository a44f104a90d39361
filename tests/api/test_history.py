"""Temperatures and consumption, day by day."""

from datetime import date, timedelta

import pytest

from backend.api.schemas import ConsumptionOut, TemperatureOut
from backend.base.db import db
from backend.metering import rules
from backend.metering.models import DailyUsage, DaySeries
from tests import builders
from tests.api.conftest import problem
from tests.api.test_home import share_days, shared

DAY = date(2026, 11, 18)


def series(meter, quantity, day, samples, interval_s=600):
    packed = rules.pack_day(samples, interval_s)
    db.session.add(
        DaySeries(
            meter_id=meter.id, quantity=quantity, day=day, interval_s=interval_s, samples=packed
        )
    )
    db.session.commit()


def ask(client, who, what, **query):
    return client.get(
        f"/api/v1/households/{who.household.id}/{what}", query_string=query, headers=who.headers
    )


@pytest.fixture
def room(alice):
    return builders.make_meter(alice.building, alice.household, kind="room")


def test_a_day_has_144_slots_and_gaps_are_null(client, alice, room):
    heat = builders.make_meter(alice.building, alice.household, kind="heat")
    series(room, "room_cdeg", DAY, [(0, 2000), (600, 1700), (86_399, 2100)])
    series(heat, "supply_cdeg", DAY, [(1200, 4500)])
    found = ask(client, alice, "temperature", day_from=DAY, day_to=DAY + timedelta(1)).json
    assert TemperatureOut().validate(found) == {}
    assert (found["interval_s"], found["target_cdeg"]) == (600, 1800)
    first, second = found["days"]
    assert first["room_cdeg"][:3] == [2000, 1700, None]
    assert first["room_cdeg"][143] == 2100
    assert first["supply_cdeg"][2] == 4500
    assert {len(first[q]) for q in ("room_cdeg", "supply_cdeg", "return_cdeg")} == {144}
    assert second == {
        "day": "2026-11-19",
        "room_cdeg": [None] * 144,
        "supply_cdeg": [None] * 144,
        "return_cdeg": [None] * 144,
    }
    assert found["stats"] == {
        "min_cdeg": 1700,
        "max_cdeg": 2100,
        "mean_cdeg": 1933,
        "below_target_s": 600,
    }


def test_a_sensor_of_another_interval_is_read_every_ten_minutes(client, alice, room):
    series(room, "room_cdeg", DAY, [(0, 2000), (3600, 2200)], interval_s=3600)
    slots = ask(client, alice, "temperature", day_from=DAY, day_to=DAY).json["days"][0]["room_cdeg"]
    assert slots[:12] == [2000] * 6 + [2200] * 6


def test_a_replaced_sensor_fills_where_the_other_is_silent(client, alice, room):
    other = builders.make_meter(alice.building, alice.household, kind="room")
    series(room, "room_cdeg", DAY, [(0, 2000), (600, 2000)])
    series(other, "room_cdeg", DAY, [(600, 2100), (1200, 2100)])
    slots = ask(client, alice, "temperature", day_from=DAY, day_to=DAY).json["days"][0]["room_cdeg"]
    assert slots[:4] == [2000, 2100, 2100, None]


def test_no_samples_have_no_mean(client, alice):
    found = ask(client, alice, "temperature", day_from=DAY, day_to=DAY).json
    assert found["stats"]["mean_cdeg"] is None


def test_shares_of_the_building_are_provisional(client, alice):
    shared(alice.building)
    share_days(alice.building, {alice.household: 5_000}, DAY - timedelta(3), DAY)
    found = ask(client, alice, "consumption", day_from=DAY - timedelta(1), day_to=DAY).json
    assert ConsumptionOut().validate(found) == {}
    assert (found["utility"], found["unit"], found["provisional"]) == ("heat", "wh", True)
    assert (found["total"], found["previous_total"]) == (10_000, 10_000)
    assert found["days"][1] == {"day": "2026-11-18", "used": 5_000, "flags": []}


def test_totals_stand_side_by_side_only_where_every_day_of_both_is_known(client, alice):
    shared(alice.building)
    share_days(alice.building, {alice.household: 5_000}, DAY - timedelta(5), DAY)

    def previous(day_from, day_to):
        query = {"day_from": day_from, "day_to": day_to}
        return ask(client, alice, "consumption", **query).json["previous_total"]

    assert previous(DAY - timedelta(2), DAY) == 15_000
    assert previous(DAY - timedelta(3), DAY) is None  # the first of the days before is not known
    # Tomorrow is not over: three days stand beside three, not beside four.
    assert previous(DAY - timedelta(2), DAY + timedelta(1)) == 15_000


def test_a_meters_days_carry_why_one_is_not_known(client, alice):
    water = builders.make_meter(alice.building, alice.household, kind="water")
    rows = [(DAY, 120, ["stale_boundary"]), (DAY - timedelta(1), None, ["negative_delta"])]
    for day, used, flags in rows:
        db.session.add(DailyUsage(meter_id=water.id, day=day, usage=used, flags=flags))
    db.session.commit()
    query = {"utility": "water", "day_from": DAY - timedelta(2), "day_to": DAY}
    found = ask(client, alice, "consumption", **query).json
    assert (found["unit"], found["provisional"], found["total"]) == ("l", False, 120)
    assert found["previous_total"] is None
    assert [(d["used"], d["flags"]) for d in found["days"]] == [
        (None, ["not_closed"]),
        (None, ["negative_delta"]),
        (120, ["stale_boundary"]),
    ]


@pytest.mark.parametrize("what", ["temperature", "consumption"])
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "validation"),
        ({"day_from": "2026-11-18"}, "validation"),
        ({"day_from": "2026-11-31", "day_to": "2026-12-01"}, "validation"),
        ({"day_from": "18.11.2026", "day_to": "2026-11-19"}, "validation"),
        ({"day_from": "0001-01-01", "day_to": "0001-01-02"}, "validation"),
        ({"day_from": "9999-12-30", "day_to": "9999-12-31"}, "validation"),
        ({"day_from": "2026-11-19", "day_to": "2026-11-18"}, "validation"),
        ({"day_from": "2020-01-01", "day_to": "2026-11-18"}, "range_too_long"),
    ],
)
def test_a_period_that_is_none_is_refused(client, alice, what, query, code):
    assert problem(ask(client, alice, what, **query)) == (422, code)


def test_the_limits_are_31_and_400_days(client, alice):
    for what, most in (("temperature", 31), ("consumption", 400)):
        first = DAY - timedelta(most - 1)
        assert ask(client, alice, what, day_from=first, day_to=DAY).status_code == 200
        answer = ask(client, alice, what, day_from=first - timedelta(1), day_to=DAY)
        assert problem(answer) == (422, "range_too_long")


def test_only_known_utilities_have_consumption(client, alice):
    answer = ask(client, alice, "consumption", utility="steam", day_from=DAY, day_to=DAY)
    assert (answer.status_code, answer.json["field"]) == (422, "utility")


@pytest.mark.parametrize("what", ["temperature", "consumption"])
def test_a_stranger_sees_no_history(client, alice, charlie, what):
    answer = client.get(
        f"/api/v1/households/{alice.household.id}/{what}",
        query_string={"day_from": DAY, "day_to": DAY},
        headers=charlie,
    )
    assert problem(answer) == (404, "not_found")


def test_a_month_costs_as_many_statements_as_a_day(client, alice, room, queries):
    for n in range(31):
        series(room, "room_cdeg", DAY - timedelta(n), [(0, 2000)])
    counts = []
    for first in (DAY, DAY - timedelta(30)):
        queries.clear()
        ask(client, alice, "temperature", day_from=first, day_to=DAY)
        counts.append(len(queries))
    assert counts == [3, 3]
