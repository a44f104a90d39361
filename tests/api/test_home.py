"""The home screen in one call, and what it costs the database."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from flask import current_app

from backend.allocation import heat_summary
from backend.allocation.models import AllocationRule, AllocationRun, AllocationShare
from backend.api.schemas import Home
from backend.base.clock import business_day
from backend.base.db import db
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.metering.models import DailyUsage, MeterState
from tests import builders
from tests.api.conftest import problem
from tests.builders import NOON

TODAY = date(2026, 11, 20)


def path(household):
    return f"/api/v1/households/{household.id}/home"


def get(client, who):
    answer = client.get(path(who.household), headers=who.headers)
    assert answer.status_code == 200, answer.text
    assert Home().validate(answer.json) == {}
    return answer.json


def state(meter, **values):
    db.session.add(MeterState(meter_id=meter.id, **values))
    db.session.commit()


def share_days(building, day_wh, first, last):
    """A daily run for each day; `day_wh`: {household: Wh a day}."""
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    for day in days:
        run = AllocationRun(
            building_id=building.id,
            purpose="daily",
            period_from=day,
            period_to=day + timedelta(1),
            method="temperature_area",
            total_wh=sum(day_wh.values()),
        )
        db.session.add(run)
        db.session.flush()
        for household, wh in day_wh.items():
            db.session.add(
                AllocationShare(
                    run_id=run.id,
                    household_id=household.id,
                    period_to=run.period_to,
                    energy_wh=wh,
                    weight=1.0,
                    share=Decimal("0.1"),
                )
            )
    heat_summary.refresh(building.id, business_day(clock_now()))
    db.session.commit()


def clock_now():
    return current_app.extensions["nuan_clock"].now()


def shared(building):
    db.session.add(
        AllocationRule(
            building_id=building.id, effective_from=date(2020, 1, 1), method="temperature_area"
        )
    )
    db.session.commit()


@pytest.fixture
def neighbours(alice):
    """Three flats more of 50 m2 in Alice's building."""
    return [builders.make_household(alice.building, f"20{n}", area_dm2=5000) for n in (1, 2, 3)]


def test_a_household_with_nothing_yet_is_told_so(client, alice):
    home = get(client, alice)
    assert home["household"]["address"] == "学府路暖阳小区 A号楼 101"
    assert home["warmth"] == {
        "room_cdeg": None,
        "at": None,
        "state": "unknown",
        "text": "暂无室温数据",
    }
    assert home["season"]["used_wh"] == 0
    assert home["compare"] == {"last_month": None, "last_year": None, "similar": None}
    assert home["owed"]["amount_fen"] == 0
    assert home["latest_bill"] is None


def test_warm_now_is_the_newest_room_temperature(client, alice):
    old = builders.make_meter(alice.building, alice.household, kind="room")
    new = builders.make_meter(alice.building, alice.household, kind="room")
    state(old, last_ok_at=NOON - timedelta(hours=5), room_cdeg=1500)
    state(new, last_ok_at=NOON - timedelta(minutes=5), room_cdeg=2144)
    assert get(client, alice)["warmth"] == {
        "room_cdeg": 2144,
        "at": "2026-11-20T03:55:00+00:00",
        "state": "warm",
        "text": "室内 21.4 °C，暖和",
    }


def test_the_season_sums_the_shares_of_the_buildings_heat(client, alice, neighbours):
    shared(alice.building)
    builders.make_tariff("heat")
    flats = {alice.household: 40_000, **dict.fromkeys(neighbours, 50_000)}
    share_days(alice.building, flats, date(2026, 10, 10), date(2026, 11, 19))
    home = get(client, alice)
    assert home["season"]["used_wh"] == 31 * 40_000  # from 20 October
    assert home["season"]["as_of"] == "2026-11-19"
    assert (home["season"]["day_from"], home["season"]["day_to"]) == ("2026-10-20", "2027-04-20")
    # 62.40 m2 x 7.98 x 31/183 days + 1.24 MWh x 0.0036 GJ/kWh x 44.41
    basic, metered = 8435, 19825
    assert home["season"]["cost_fen"] == basic + metered
    assert home["season"]["cost_note"].startswith("暂估")
    similar = home["compare"]["similar"]
    assert similar == {
        "used_wh_per_m2": 30_000,
        "mine_wh_per_m2": 19_231,
        "pct": -36,
        "homes": 3,
    }


def test_this_month_stands_beside_as_many_days_of_the_last(client, alice):
    shared(alice.building)
    share_days(alice.building, {alice.household: 10_000}, date(2026, 10, 1), date(2026, 10, 31))
    share_days(alice.building, {alice.household: 12_000}, date(2026, 11, 1), date(2026, 11, 19))
    assert get(client, alice)["compare"]["last_month"] == {
        "used_wh": 19 * 12_000,
        "previous_wh": 19 * 10_000,
        "pct": 20,
    }


def test_months_are_not_compared_where_a_day_of_either_is_not_known(client, alice):
    shared(alice.building)
    share_days(alice.building, {alice.household: 10_000}, date(2026, 10, 2), date(2026, 10, 31))
    share_days(alice.building, {alice.household: 12_000}, date(2026, 11, 1), date(2026, 11, 19))
    assert get(client, alice)["compare"]["last_month"] is None
    share_days(alice.building, {alice.household: 10_000}, date(2026, 10, 1), date(2026, 10, 1))
    assert get(client, alice)["compare"]["last_month"]["pct"] == 20


def test_the_first_of_a_month_still_compares_the_two_before(client, alice, clock):
    clock.advance(days=11)  # 1 December; the last closed day is 30 November
    shared(alice.building)
    share_days(alice.building, {alice.household: 10_000}, date(2026, 10, 1), date(2026, 10, 31))
    share_days(alice.building, {alice.household: 9_000}, date(2026, 11, 1), date(2026, 11, 30))
    assert get(client, alice)["compare"]["last_month"] == {
        "used_wh": 30 * 9_000,
        "previous_wh": 30 * 10_000,
        "pct": -10,
    }


def test_a_longer_month_is_compared_as_far_as_the_shorter_goes(client, alice, clock):
    clock.advance(days=132)  # 1 April 2027; the last closed day is 31 March
    alice.headers = builders.headers_for(alice.resident, clock.now())
    shared(alice.building)
    share_days(alice.building, {alice.household: 10_000}, date(2027, 2, 1), date(2027, 2, 28))
    share_days(alice.building, {alice.household: 10_000}, date(2027, 3, 1), date(2027, 3, 31))
    assert get(client, alice)["compare"]["last_month"]["pct"] == 0


def test_this_season_stands_beside_the_same_days_of_the_last(client, alice):
    shared(alice.building)
    share_days(alice.building, {alice.household: 10_000}, date(2025, 10, 20), date(2025, 12, 31))
    share_days(alice.building, {alice.household: 9_000}, date(2026, 10, 20), date(2026, 11, 19))
    assert get(client, alice)["compare"]["last_year"] == {
        "used_wh": 31 * 9_000,
        "previous_wh": 31 * 10_000,
        "pct": -10,
    }


def test_two_neighbours_are_too_few_to_be_compared_with(client, alice, neighbours):
    shared(alice.building)
    flats = {alice.household: 40_000, **dict.fromkeys(neighbours[:2], 50_000)}
    share_days(alice.building, flats, date(2026, 11, 1), date(2026, 11, 19))
    assert get(client, alice)["compare"]["similar"] is None


def test_a_superseded_run_counts_no_more(client, alice):
    shared(alice.building)
    share_days(alice.building, {alice.household: 99_000}, date(2026, 11, 19), date(2026, 11, 19))
    run = db.session.scalars(db.select(AllocationRun)).one()
    run.superseded_by = run.id
    share_days(alice.building, {alice.household: 7_000}, date(2026, 11, 19), date(2026, 11, 19))
    assert get(client, alice)["season"]["used_wh"] == 7_000


def test_a_flat_with_its_own_meters_sees_them(client, alice):
    heat = builders.make_meter(alice.building, alice.household, kind="heat")
    water = builders.make_meter(alice.building, alice.household, kind="water")
    state(water, last_ok_at=NOON, register=123_456)
    for day, wh, litres in ((1, 30_000, 100), (2, None, 200), (3, 20_000, 300)):
        day_of = date(2026, 11, day)
        db.session.add(DailyUsage(meter_id=heat.id, day=day_of, usage=wh))
        db.session.add(DailyUsage(meter_id=water.id, day=day_of, usage=litres))
    db.session.add(DailyUsage(meter_id=water.id, day=date(2026, 10, 31), usage=9999))
    heat_summary.refresh(alice.building.id, TODAY)
    db.session.commit()
    home = get(client, alice)
    assert home["season"]["used_wh"] == 50_000
    assert home["utilities"] == [
        {"utility": "heat", "register": None, "month_used": 50_000, "unit": "wh"},
        {"utility": "water", "register": 123_456, "month_used": 600, "unit": "l"},
    ]


def test_what_is_owed_what_is_overdue_and_the_latest_bill(client, alice):
    builders.make_bill(alice.household, 1000, due_on=date(2026, 11, 19))
    builders.make_bill(alice.household, 200, due_on=TODAY, utility="water")
    latest = builders.make_bill(
        alice.household, 30, due_on=date(2026, 12, 1), issued_at=NOON - timedelta(days=1)
    )
    home = get(client, alice)
    assert home["owed"] == {
        "amount_fen": 1230,
        "bills": 3,
        "overdue_fen": 1000,
        "overdue_bills": 1,
        "next_due_on": "2026-11-19",
    }
    listed = client.get(f"/api/v1/bills/{latest.id}", headers=alice.headers).json
    assert home["latest_bill"] == {k: v for k, v in listed.items() if k != "lines"}


def test_the_balance_is_what_we_hold_for_the_household(client, alice):
    lines = [(chart.bank("icbc"), 5000), (chart.wallet(alice.household.id), -5000)]
    ledger.post("topup:1", "topup", NOON, lines)
    db.session.commit()
    assert get(client, alice)["balance_fen"] == 5000


def test_a_stranger_is_told_there_is_no_such_household(client, alice, charlie):
    nobody = alice.household.id + 1
    for number in (alice.household.id, nobody):
        answer = client.get(f"/api/v1/households/{number}/home", headers=charlie)
        assert problem(answer) == (404, "not_found")


def test_who_has_unbound_sees_nothing_more(client, alice):
    client.delete(f"/api/v1/me/households/{alice.household.id}", headers=alice.headers)
    answer = client.get(path(alice.household), headers=alice.headers)
    assert problem(answer) == (404, "not_found")


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 19, "9" * 400, "1.0"])
def test_a_number_that_can_be_no_households_is_not_found(client, alice, number):
    answer = client.get(f"/api/v1/households/{number}/home", headers=alice.headers)
    assert problem(answer) == (404, "not_found")


def test_it_takes_two_statements_however_much_there_is(client, alice, neighbours, queries):
    shared(alice.building)
    flats = {alice.household: 40_000, **dict.fromkeys(neighbours, 50_000)}
    share_days(alice.building, flats, date(2026, 11, 1), date(2026, 11, 19))
    for n in range(5):
        builders.make_bill(alice.household, 100 + n)
        builders.make_meter(alice.building, alice.household, kind="water")
    queries.clear()
    get(client, alice)
    assert len(queries) == 2, queries


def test_its_statement_stays_prepared_and_planned_from_one_request_to_the_next(client, alice):
    """psycopg forgets it at a ROLLBACK; PostgreSQL plans anew what it takes for cheaper so."""
    db.session.remove()
    for _ in range(16):  # psycopg prepares what it has seen five times, PostgreSQL tries five plans
        get(client, alice)
    prepared = (
        "SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE '%FROM binding%'"
    )
    with db.engine.connect() as connection:
        assert connection.execute(db.text(prepared)).scalar_one() > 0
