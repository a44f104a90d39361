"""Reading runs: who is chosen, who holds what, and how a run comes to its end."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import psycopg
import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import plans, runs
from backend.metering.models import ReadingRun, ReadingRunItem
from backend.metering.runs import Settled
from backend.people.models import AuditEvent
from backend.people.service import Principal
from tests import builders
from tests.conftest import NOON


@pytest.fixture
def operator(app):
    return Principal("staff", builders.make_staff("op", ["operator"]).id, frozenset({"operator"}))


@pytest.fixture
def house(app):
    """A building with one bus, two flats with a heat meter each, and a building meter."""
    building = builders.make_building("A", builders.make_region("城东"))
    building.bus = builders.make_bus(building)
    building.meters = [
        builders.make_meter(building, builders.make_household(building, unit), bus=building.bus)
        for unit in ("101", "102")
    ]
    building.meters.append(builders.make_meter(building, bus=building.bus))
    return building


def begin(scope, ids, operator, now=NOON):
    run = runs.start(scope, ids, operator, now)
    db.session.commit()
    return run


def commit():
    """Commit, and see what plain SQL has changed."""
    db.session.commit()
    db.session.expire_all()


def take(bus, now=NOON, **options):
    claims = runs.take([bus.id], now, **options)
    db.session.commit()
    return claims


def states(run):
    db.session.expire_all()
    return {k: v for k, v in runs.progress(run.id).items() if v and k != "total"}


def test_a_region_is_all_live_meters_of_all_buildings_below_it(house, operator):
    company = builders.make_region("公司", "company")
    db.session.get(type(company), house.region_id).parent_id = company.id
    builders.make_meter(builders.make_building("B"))  # in another region
    house.meters[0].removed_on = NOON.date()
    run = begin("region", [company.id], operator)
    assert runs.progress(run.id)["total"] == 2
    assert run.title == "公司"


@pytest.mark.parametrize("scope", ["region", "building", "meter"])
def test_what_is_not_there_cannot_be_read(app, operator, scope):
    with pytest.raises(Problem, match="not_found"):
        runs.start(scope, [999], operator, NOON)


def test_a_run_without_meters_is_refused_and_leaves_nothing(app, operator):
    with pytest.raises(Problem, match="no_meters"):
        runs.start("building", [builders.make_building("B").id], operator, NOON)
    db.session.rollback()
    assert db.session.query(ReadingRun).count() == 0


def test_a_batch_counts_each_meter_once_and_the_start_is_on_record(house, operator):
    first, second = (m.id for m in house.meters[:2])
    run = begin("batch", [first, second, first], operator)
    assert (run.title, runs.progress(run.id)["total"]) == ("所选 2 块表", 2)
    event = db.session.query(AuditEvent).filter_by(action="run.started").one()
    assert (event.actor_id, event.detail["meters"]) == (operator.id, 2)


def test_two_collectors_never_hold_the_same_meter(house, operator, database):
    run = begin("building", [house.id], operator)
    with psycopg.connect(database) as other:
        other.execute(
            "SELECT 1 FROM reading_run_item WHERE meter_id = %s FOR UPDATE", (house.meters[0].id,)
        )
        held = {claim.meter_id for claim in take(house.bus)}
    assert held == {m.id for m in house.meters[1:]}
    assert [c.meter_id for c in take(house.bus)] == [house.meters[0].id]
    assert take(house.bus) == [] and states(run) == {"taken": 3}


def test_many_collectors_at_once_share_the_items_out(app, house, operator):
    for unit in range(2, 42):
        builders.make_meter(house, builders.make_household(house, f"{unit}01"), bus=house.bus)
    begin("building", [house.id], operator)
    taken = []

    def collect():
        with app.app_context():
            while claims := runs.take([house.bus.id], NOON, batch=3):
                db.session.commit()
                taken.extend(c.meter_id for c in claims)

    threads = [Thread(target=collect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 43


def test_every_bus_gets_its_own_share(house, operator):
    other = builders.make_bus(house)
    builders.make_meter(house, bus=other)
    begin("building", [house.id], operator)
    claims = runs.take([house.bus.id, other.id], NOON, batch=1)
    assert {c.bus_id for c in claims} == {house.bus.id, other.id}


def test_one_meter_now_goes_before_a_whole_region(house, operator):
    begin("region", [house.region_id], operator)
    begin("meter", [house.meters[2].id], operator, NOON + timedelta(seconds=1))
    (first,) = take(house.bus, NOON + timedelta(seconds=2), batch=1)
    assert first.meter_id == house.meters[2].id


def test_what_is_read_ends_the_run_and_names_the_reading(house, operator):
    run = begin("meter", [house.meters[0].id], operator)
    assert runs.settle([Settled(take(house.bus)[0], reading_id=7)], NOON) == 1
    assert runs.sweep(NOON) == 1
    commit()
    item = db.session.query(ReadingRunItem).one()
    assert (run.state, run.ended_at, item.state, item.reading_id) == ("done", NOON, "read", 7)


def test_a_silent_meter_is_asked_again_later_and_later_until_the_deadline(house, operator):
    run = begin("building", [house.id], operator)
    now, tried = NOON, []
    while run.state == "running" and len(tried) < 99:
        claims = take(house.bus, now)
        if claims:
            tried.append(round((now - NOON).total_seconds() / 60))
            runs.settle([Settled(c, "silent") for c in claims], now)
        runs.sweep(now)
        commit()
        now += timedelta(minutes=1)
    assert tried[:8] == [0, 1, 3, 7, 15, 31, 63, 123]
    assert states(run) == {"missed": 3} and run.ended_at <= run.deadline_at
    assert [row.error for row in runs.troubles(run.id)] == ["silent"] * 3


def test_a_collector_that_died_gives_its_meters_back_and_comes_too_late_itself(house, operator):
    run = begin("meter", [house.meters[0].id], operator)
    (dead,) = take(house.bus)
    assert take(house.bus, NOON + runs.LEASE - timedelta(seconds=1)) == []
    (heir,) = take(house.bus, NOON + runs.LEASE)
    assert runs.settle([Settled(dead, reading_id=1)], NOON + runs.LEASE) == 0
    assert runs.settle([Settled(heir, reading_id=2)], NOON + runs.LEASE) == 1
    commit()
    item = db.session.query(ReadingRunItem).one()
    assert (item.reading_id, item.attempts, states(run)) == (2, 2, {"read": 1})


def test_what_was_taken_and_not_asked_waits_again_without_a_try_counted(house, operator):
    run = begin("building", [house.id], operator)
    claims = take(house.bus)
    assert runs.give_back(claims[1:], NOON) == 2
    db.session.commit()
    assert states(run) == {"taken": 1, "waiting": 2}
    again = take(house.bus)
    assert {c.meter_id for c in again} == {c.meter_id for c in claims[1:]}
    assert {item.attempts for item in db.session.query(ReadingRunItem)} == {1}


def test_a_cancelled_run_asks_nobody_more_and_no_late_answer_changes_it(house, operator):
    run = begin("building", [house.id], operator)
    held = take(house.bus, batch=1)
    runs.cancel(run.id, operator, NOON)
    commit()
    assert runs.settle([Settled(held[0], reading_id=1)], NOON) == 0
    assert take(house.bus, NOON + runs.LEASE) == [] and runs.sweep(NOON) == 0
    assert (run.state, states(run)) == ("cancelled", {"cancelled": 3})
    with pytest.raises(Problem, match="run_ended"):
        runs.cancel(run.id, operator, NOON)


@pytest.mark.parametrize(
    ("plan", "first", "last"),
    [
        ("hourly", "2026-11-20T04:00", "2026-11-20T05:00"),
        ("daily", "2026-11-19T16:00", "2026-11-20T16:00"),
        ("weekly", "2026-11-15T16:00", "2026-11-22T16:00"),
        ("monthly", "2026-10-31T16:00", "2026-11-30T16:00"),
    ],
)
def test_a_plans_period_is_shanghais(plan, first, last):
    period = tuple(datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, last))
    assert plans.period_of(plan, NOON + timedelta(minutes=7)) == period


def test_each_meter_is_read_by_its_own_plan_once_a_period(house, operator):
    hourly, daily, _ = house.meters
    plans.set_plan(hourly.id, "hourly", operator, NOON)
    plans.set_plan(daily.id, "daily", operator, NOON)
    db.session.commit()
    started = [plans.start_planned(NOON + timedelta(minutes=m)) for m in (0, 1, 59, 60, 61)]
    db.session.commit()
    assert started == [2, 0, 0, 1, 0]
    items = db.session.query(ReadingRunItem).all()
    assert sorted(i.meter_id for i in items) == [hourly.id, hourly.id, daily.id]
    deadlines = {r.plan: r.deadline_at for r in db.session.query(ReadingRun)}
    assert deadlines["hourly"] == NOON + timedelta(hours=2)


def test_a_meter_whose_plan_is_taken_away_is_planned_no_more(house, operator):
    house.meters[0].options = {"valve": True}
    plans.set_plan(house.meters[0].id, "hourly", operator, NOON)
    assert house.meters[0].options == {"valve": True, "plan": "hourly"}
    plans.set_plan(house.meters[0].id, None, operator, NOON)
    db.session.commit()
    assert house.meters[0].options == {"valve": True}
    assert plans.start_planned(NOON) == 0


def test_an_hour_nobody_collected_in_is_missed_and_the_next_begins(house, operator):
    plans.set_plan(house.meters[0].id, "hourly", operator, NOON)
    plans.start_planned(NOON)
    late = NOON + timedelta(hours=1)
    assert (plans.start_planned(late), runs.sweep(late)) == (1, 1)
    commit()
    states = {(i.state, i.error) for i in db.session.query(ReadingRunItem)}
    assert states == {("missed", "not_reached"), ("waiting", None)}
