"""A season's settlement: every building once, resumable, with its refusals said."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.allocation import service, settling
from backend.allocation.models import AllocationRun, SettlementItem
from backend.allocation.tasks import close_building_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.people.service import Principal
from tests import builders
from tests.allocation import stored
from tests.allocation.stored import FIRST, LAST, shares_of
from tests.builders import NOON


@pytest.fixture
def operator(app):
    return Principal("staff", builders.make_staff("op", ["operator"]).id)


@pytest.fixture
def house(app):
    building, flats = stored.house("heat_meter")
    for no, used in (("101", 100_000), ("102", 100_000), ("201", 200_000)):
        stored.counter(flats[no], "heat", used)
    close(building)
    return building


def close(building, days=(FIRST, FIRST + timedelta(days=1))):
    for day in days:
        close_building_day(building.id, day, NOON)
    db.session.commit()


def begin(operator, region_id=None):
    settlement = settling.start(region_id, FIRST, LAST, operator, NOON)
    db.session.commit()
    return settlement


def settle(settlement, building):
    return settling.settle(settlement.id, building.id, NOON)


def refused(work):
    with pytest.raises(Problem) as problem:
        work()
    db.session.rollback()
    return problem.value


def queued():
    return db.session.execute(
        sa.text(
            "SELECT count(*) FROM procrastinate_jobs "
            "WHERE task_name = 'allocation.settle' AND status = 'todo'"
        )
    ).scalar()


def test_every_building_is_settled_and_then_it_is_over(house, operator):
    settlement = begin(operator)
    assert queued() == 1
    item = settle(settlement, house)
    assert item.state == "done"
    assert sum(shares_of(db.session.get(AllocationRun, item.run_id)).values()) == stored.TOTAL_WH
    assert settlement.state == "done"
    assert settling.progress(settlement.id) == settling.Progress(1, 0, 1, 0, 0)


def test_a_task_that_comes_twice_settles_once(house, operator):
    settlement = begin(operator)
    first = settle(settlement, house).run_id
    assert settle(settlement, house).run_id == first
    runs = sa.select(sa.func.count()).where(AllocationRun.purpose == "billing")
    assert db.session.scalar(runs) == 1


def test_what_was_billed_already_keeps_its_run(house, operator):
    run = service.allocate(house.id, FIRST, LAST, "billing", NOON)
    service.lock(run, NOON)
    db.session.commit()
    assert settle(begin(operator), house).run_id == run.id


def test_a_season_that_is_not_over_is_refused(house, operator):
    problem = refused(
        lambda: settling.start(None, FIRST, NOON.date() + timedelta(days=1), operator, NOON)
    )
    assert problem.code == "period_not_over"
    assert "2026-11-21" in problem.detail


@pytest.mark.parametrize(
    ("until", "code"), [(FIRST, "range_reversed"), (date(2028, 1, 1), "range_too_long")]
)
def test_a_period_turned_round_or_endless_is_refused(house, operator, until, code):
    assert refused(lambda: settling.start(None, FIRST, until, operator, NOON)).code == code


def test_a_region_without_rules_has_nothing_to_settle(house, operator):
    other = builders.make_region("别处")
    assert refused(lambda: begin(operator, other.id)).code == "nothing_to_settle"


def test_a_region_means_everything_below_it(house, operator):
    company = builders.make_region("公司", kind="company")
    house.region.parent_id = company.id
    db.session.commit()
    settlement = begin(operator, company.id)
    assert settlement.title == "公司"
    assert settling.progress(settlement.id).total == 1


def test_open_days_are_refused_by_name_and_tried_again_when_closed(app, operator):
    building, flats = stored.house("heat_meter")
    for flat in flats.values():
        stored.counter(flat, "heat", 100_000)
    close(building, [FIRST])
    settlement = begin(operator)
    item = settle(settlement, building)
    assert (item.state, item.code) == ("refused", "days_not_closed")
    assert str(FIRST + timedelta(days=1)) in item.detail
    (row,) = settling.refusals(settlement.id)
    assert (row.building_code, row.code) == ("H3", "days_not_closed")
    close(building)
    settling.resume(settlement.id, operator, NOON)
    db.session.commit()
    assert settle(settlement, building).state == "done"
    assert settlement.state == "done"


def test_a_cancelled_settlement_stops_and_can_go_on(house, operator):
    settlement = begin(operator)
    settling.cancel(settlement.id, operator, NOON)
    db.session.commit()
    assert settle(settlement, house).state == "cancelled"
    assert refused(lambda: settling.cancel(settlement.id, operator, NOON)).code == (
        "settlement_ended"
    )
    settling.resume(settlement.id, operator, NOON)
    db.session.commit()
    assert settle(settlement, house).state == "done"


def test_a_settlement_all_done_has_nothing_to_resume(house, operator):
    settlement = begin(operator)
    settle(settlement, house)
    assert refused(lambda: settling.resume(settlement.id, operator, NOON)).code == (
        "settlement_ended"
    )


def test_one_buildings_refusal_does_not_hold_up_the_others(house, operator):
    other = builders.make_building("X9", house.region)
    db.session.execute(
        sa.text(
            "INSERT INTO allocation_rule (building_id, effective_from, method)"
            " VALUES (:id, '2026-01-01', 'area')"
        ),
        {"id": other.id},
    )
    db.session.commit()
    close(other)
    settlement = begin(operator)
    assert settle(settlement, other).code == "building_meter_missing"
    assert settle(settlement, house).state == "done"
    assert settlement.state == "done"
    states = db.session.scalars(sa.select(SettlementItem.state)).all()
    assert sorted(states) == ["done", "refused"]
