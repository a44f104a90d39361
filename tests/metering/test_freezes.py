"""Runs of frozen registers, plans that ask for them, and midnights re-read by themselves."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import freezes, missed, plans, runs
from backend.metering.models import ReadingRun, ReadingRunItem
from backend.metering.runs import Settled
from backend.metering.service import NewReading, record
from backend.people.service import Principal
from tests import builders
from tests.conftest import NOON

TODAY = date(2026, 11, 20)


def back(days):
    return TODAY - timedelta(days=days)


@pytest.fixture
def operator(app):
    return Principal("staff", builders.make_staff("op", ["operator"]).id, frozenset({"operator"}))


@pytest.fixture
def meter(app):
    """An electricity meter that keeps days and months, up since the first of November."""
    building = builders.make_building("A")
    flat = builders.make_household(building)
    return builders.make_meter(
        building, flat, "electricity", protocol="dlt645_2007", installed_on=date(2026, 11, 1)
    )


def take(meter, now=NOON, batch=99):
    claims = runs.take([meter.bus_id], now, batch=batch)
    db.session.commit()
    return claims


@pytest.mark.parametrize(
    ("what", "on", "until"),
    [
        ("day", TODAY, "2026-12-21"),
        ("day", date(2026, 10, 21), "2026-11-21"),
        ("month", date(2026, 11, 1), "2027-11-01"),
        ("month", date(2025, 12, 1), "2026-12-01"),
    ],
)
def test_a_freeze_is_asked_for_until_it_is_out_of_reach(meter, operator, what, on, until):
    run = runs.start("meter", [meter.id], operator, NOON, what=what, frozen_on=on)
    db.session.commit()
    assert run.deadline_at == day_start(date.fromisoformat(until))
    (claim,) = take(meter)
    assert (claim.what, claim.frozen_on) == (what, on)


@pytest.mark.parametrize(
    ("what", "on", "code"),
    [
        ("day", date(2026, 10, 20), "freeze_out_of_reach"),
        ("day", date(2026, 11, 21), "freeze_out_of_reach"),
        ("month", date(2025, 11, 1), "freeze_out_of_reach"),
        ("month", date(2026, 12, 1), "freeze_out_of_reach"),
        ("day", None, "validation"),
        ("current", TODAY, "validation"),
    ],
)
def test_what_no_meter_keeps_any_more_is_refused_and_begins_nothing(
    meter, operator, what, on, code
):
    with pytest.raises(Problem) as refused:
        runs.start("meter", [meter.id], operator, NOON, what=what, frozen_on=on)
    assert (refused.value.code, refused.value.field) == (code, "frozen_on")
    db.session.rollback()
    assert db.session.query(ReadingRun).count() == 0


def test_the_reach_moves_on_at_midnight_in_shanghai():
    just_before = datetime(2026, 11, 20, 15, 59, 59, tzinfo=UTC)
    freezes.check("day", date(2026, 10, 21), just_before)
    with pytest.raises(Problem):
        freezes.check("day", date(2026, 10, 21), just_before + timedelta(seconds=1))


def test_a_silent_meter_is_asked_for_its_freeze_again_at_growing_distances_for_weeks(
    meter, operator
):
    run = runs.start("meter", [meter.id], operator, NOON, what="day", frozen_on=back(28))
    db.session.commit()
    now, hours = NOON, []
    while run.state == "running":
        if claims := take(meter, now):
            hours.append((now - NOON) / timedelta(hours=1))
            runs.settle([Settled(c, "silent") for c in claims], now)
        runs.sweep(now)
        db.session.commit()
        db.session.expire_all()
        now += timedelta(minutes=30)
    gaps = [b - a for a, b in pairwise(hours)]
    assert gaps[-1] == max(gaps) == 6
    assert run.ended_at <= run.deadline_at == day_start(back(-3))
    assert runs.progress(run.id)["missed"] == 1


@pytest.mark.parametrize("reason", ["no_freeze", "removed"])
def test_a_meter_that_cannot_have_it_ends_with_the_reason_and_is_not_asked_again(
    meter, operator, reason
):
    run = runs.start("meter", [meter.id], operator, NOON, what="day", frozen_on=back(1))
    db.session.commit()
    runs.settle([Settled(take(meter)[0], reason)], NOON)
    runs.sweep(NOON)
    db.session.commit()
    db.session.expire_all()
    item = db.session.query(ReadingRunItem).one()
    assert (run.state, item.state, item.error, item.attempts) == ("done", "missed", reason, 1)


def test_a_current_reading_refused_as_silent_is_still_asked_again(meter, operator):
    runs.start("meter", [meter.id], operator, NOON)
    db.session.commit()
    runs.settle([Settled(take(meter)[0], "silent")], NOON)
    db.session.commit()
    assert db.session.query(ReadingRunItem).one().state == "waiting"


def test_a_daily_plan_asks_for_this_mornings_freeze_and_a_monthly_one_for_the_months(
    meter, operator
):
    plans.set_plan(meter.id, "daily", operator, NOON, frozen=True)
    assert plans.start_planned(NOON) == 1
    assert plans.start_planned(NOON) == 0
    plans.set_plan(meter.id, "monthly", operator, NOON, frozen=True)
    assert plans.start_planned(NOON) == 1
    found = db.session.query(ReadingRun).order_by(ReadingRun.id).all()
    assert [(r.plan, r.what, r.frozen_on) for r in found] == [
        ("daily", "day", TODAY),
        ("monthly", "month", date(2026, 11, 1)),
    ]
    assert found[0].deadline_at == freezes.kept_until("day", TODAY)


def test_current_and_frozen_plans_of_one_period_are_runs_of_their_own(meter, operator):
    other = builders.make_meter(builders.make_building("B"))
    plans.set_plan(meter.id, "daily", operator, NOON, frozen=True)
    plans.set_plan(other.id, "daily", operator, NOON)
    assert plans.start_planned(NOON) == 2
    taken = {c.meter_id: c.what for m in (meter, other) for c in take(m)}
    assert taken == {meter.id: "day", other.id: "current"}


@pytest.mark.parametrize(
    ("protocol", "plan", "options"),
    [
        ("dlt645_2007", "hourly", {}),
        ("dlt645_2007", "weekly", {}),
        ("cjt188", "daily", {}),
        ("dlt645_2007", "daily", {"freezes": ["month"]}),
    ],
)
def test_a_plan_without_such_a_freeze_is_refused(meter, operator, protocol, plan, options):
    meter.protocol, meter.options = protocol, options
    with pytest.raises(Problem, match="no_freeze"):
        plans.set_plan(meter.id, plan, operator, NOON, frozen=True)


def at_midnight(meter, days_back, minutes=0, **more):
    at = day_start(back(days_back)) + timedelta(minutes=minutes)
    values = {"register": 1000 * (30 - days_back), "kind": "current", **more}
    record([NewReading(meter.id, at, "collector", **values)])


def test_midnights_without_a_register_are_found_and_asked_for_one_run_each(meter):
    for days in range(18, -1, -1):
        if days not in (3, 5):
            at_midnight(meter, days, minutes=10, kind="freeze" if days == 7 else "current")
    assert missed.find(NOON) == 2
    assert missed.find(NOON + timedelta(days=1)) == 1  # the next midnight; not the two again
    found = db.session.query(ReadingRun).order_by(ReadingRun.frozen_on).all()
    assert [(r.scope, r.what, r.frozen_on) for r in found] == [
        ("missed", "day", back(5)),
        ("missed", "day", back(3)),
        ("missed", "day", back(-1)),
    ]
    assert [r.deadline_at for r in found] == [freezes.kept_until("day", r.frozen_on) for r in found]
    assert {c.frozen_on for c in take(meter, NOON + timedelta(days=1))} == {
        back(5),
        back(3),
        back(-1),
    }


def test_a_register_too_far_from_midnight_or_not_believed_does_not_count_as_one(meter):
    for days in range(18, -1, -1):
        at_midnight(meter, days)
    db.session.commit()
    assert missed.find(NOON) == 0
    meter.installed_on = back(20)  # now the nineteenth midnight back is wanted too
    at_midnight(meter, 19, minutes=16, register=500)
    assert missed.find(NOON) == 1


def test_finding_costs_one_statement_whatever_it_finds(meter, queries):
    assert missed.find(NOON) == 19
    assert len(queries) == 1


def test_what_keeps_no_days_pushes_or_measures_rooms_is_left_in_peace(app):
    building = builders.make_building("A")
    since = {"installed_on": date(2026, 11, 1)}
    builders.make_meter(building, kind="heat", protocol="cjt188", **since)
    builders.make_meter(
        building, builders.make_household(building, "101"), "room", protocol="dlt645_2007", **since
    )
    pushing = builders.make_bus(building, link="push://ctwing")
    builders.make_meter(building, protocol="dlt645_2007", bus=pushing, **since)
    builders.make_meter(building, protocol="dlt645_2007", options={"freezes": []}, **since)
    assert missed.find(NOON) == 0
    assert db.session.query(ReadingRun).count() == 0


def test_a_meter_that_says_it_keeps_none_is_asked_no_further_for_a_week(meter):
    for days in range(18, 0, -1):
        at_midnight(meter, days)
    assert missed.find(NOON) == 1
    runs.settle([Settled(take(meter)[0], "no_freeze")], NOON)
    db.session.commit()
    assert [missed.find(NOON + timedelta(days=n)) for n in (1, 6)] == [0, 0]
    assert missed.find(NOON + timedelta(days=8)) > 0


def test_a_cancelled_midnight_stays_cancelled_and_a_finished_one_opens_again(meter, operator):
    for days in range(18, 0, -1):
        at_midnight(meter, days)
    missed.find(NOON)
    run = db.session.query(ReadingRun).one()
    runs.settle([Settled(c, "", 1) for c in take(meter)], NOON)
    runs.sweep(NOON)
    builders.make_meter(builders.make_building("B"), protocol="dlt645_2007", installed_on=back(1))
    db.session.expire_all()
    assert (run.state, missed.find(NOON)) == ("done", 1)
    db.session.expire_all()
    assert run.state == "running"
    runs.cancel(run.id, operator, NOON)
    builders.make_meter(builders.make_building("C"), protocol="dlt645_2007", installed_on=back(1))
    assert missed.find(NOON) == 0
    assert runs.progress(run.id)["cancelled"] == 1
