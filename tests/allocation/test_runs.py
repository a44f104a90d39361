"""A billed run stays as it was; it is corrected by a new one that names it."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.allocation import service
from backend.allocation.models import AllocationRule, AllocationShare
from backend.base.db import db
from backend.base.errors import Problem
from backend.people.service import Principal
from tests import builders
from tests.allocation import stored
from tests.allocation.stored import FIRST, LAST, TOTAL_WH, shares_of
from tests.builders import NOON


@pytest.fixture
def finance(app):
    return Principal("staff", builders.make_staff("finance", ["finance"]).id)


@pytest.fixture
def house(app):
    building, flats = stored.house("heat_meter")
    for no, used in (("101", 100_000), ("102", 100_000), ("201", 200_000)):
        stored.counter(flats[no], "heat", used)
    return building, flats


def billed(building):
    run = service.allocate(building.id, FIRST, LAST, "billing", NOON)
    service.lock(run, NOON)
    db.session.commit()
    return run


def refused(work):
    with pytest.raises(Problem) as problem:
        work()
    db.session.rollback()
    return problem.value.code


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE allocation_run SET total_wh = 1",
        "DELETE FROM allocation_run",
        "UPDATE allocation_share SET energy_wh = 1",
        "DELETE FROM allocation_share",
        "INSERT INTO allocation_share SELECT run_id, household_id + 1000, period_to, energy_wh,"
        " weight, share, coverage, flags, basis FROM allocation_share LIMIT 1",
    ],
)
def test_the_database_refuses_any_change_of_a_billed_run(house, statement):
    billed(house[0])
    with pytest.raises(IntegrityError, match="is billed"):
        db.session.execute(sa.text(statement))
    db.session.rollback()


def test_a_billed_run_is_corrected_by_a_new_one_that_names_it(house, finance):
    building, flats = house
    old = billed(building)
    before = shares_of(old)
    stored.factor(flats["201"], "alpha", "0.5")
    new = service.supersede(old.id, "补录位置修正系数", finance, NOON)
    db.session.commit()
    assert (new.corrects_id, old.superseded_by) == (old.id, new.id)
    assert (new.reason, new.locked_at) == ("补录位置修正系数", None)
    assert shares_of(old) == before
    assert shares_of(new)[flats["201"].id] == round(TOTAL_WH / 3)
    assert sum(shares_of(new).values()) == TOTAL_WH


def test_a_run_is_corrected_once(house, finance):
    old = billed(house[0])
    service.supersede(old.id, "更正", finance, NOON)
    db.session.commit()
    assert refused(lambda: service.supersede(old.id, "更正", finance, NOON)) == "run_superseded"


def test_an_unbilled_run_is_simply_run_again(house, finance):
    run = service.allocate(house[0].id, FIRST, LAST, "billing", NOON)
    db.session.commit()
    assert refused(lambda: service.supersede(run.id, "更正", finance, NOON)) == "run_not_billed"


def test_a_correction_wants_its_reason(house, finance):
    old = billed(house[0])
    assert refused(lambda: service.supersede(old.id, "  ", finance, NOON)) == "reason_missing"


def test_the_same_inputs_give_the_same_bytes_in_any_order_of_runs(house):
    building, _ = house
    first = service.allocate(building.id, FIRST, LAST, "billing", NOON)
    again = service.allocate(building.id, FIRST, LAST, "billing", NOON + timedelta(days=9))
    assert first.result_sha256 == again.result_sha256
    assert service.replay(first.id).result == service.replay(again.id).result


def test_a_run_keeps_what_it_stood_on(house):
    building, flats = house
    run = service.allocate(building.id, FIRST, LAST, "billing", NOON)
    own = db.session.get_one(AllocationShare, (run.id, flats["101"].id))
    (meter,) = own.basis["sources"]["meters"]
    assert meter["close"] - meter["open"] == 100_000
    assert meter["open_reading_id"]
    assert own.basis["measured"] == {"weight": "100000", "active_s": "172800", "coverage": "1"}
    assert run.parameters["rules"]["min_coverage"] == "1/2"


def test_the_last_periods_share_stands_in_and_is_kept_with_the_run(house):
    building, flats = house
    rule = db.session.scalars(sa.select(AllocationRule)).one()
    service.allocate(building.id, FIRST, FIRST + timedelta(days=1), "billing", NOON)
    rule.options = {"rules": {"missing_rule": "last_period"}}
    db.session.execute(
        sa.text("UPDATE meter SET kind = 'water' WHERE household_id = :flat"),
        {"flat": flats["101"].id},
    )
    db.session.commit()
    run = service.allocate(building.id, FIRST + timedelta(days=1), LAST, "billing", NOON)
    assert shares_of(run)[flats["101"].id] == round(run.total_wh / 4)
    own = db.session.get_one(AllocationShare, (run.id, flats["101"].id))
    assert own.flags == ["substituted:last_period"]
    assert service.replay(run.id).equal


def test_neighbours_are_the_floor_and_the_flats_above_and_below(house):
    _building, flats = house
    ids = {no: home.id for no, home in flats.items()}
    assert service.neighbours_of(list(flats.values())) == {
        ids["101"]: [ids["102"], ids["201"]],
        ids["102"]: [ids["101"]],
        ids["201"]: [ids["101"]],
    }


def test_a_common_share_and_a_loss_go_by_area(house):
    building, flats = house
    rule = db.session.scalars(sa.select(AllocationRule)).one()
    rule.options = {"rules": {"common": "fixed_fraction", "common_fraction": "0.5"}}
    db.session.commit()
    run = service.allocate(building.id, FIRST, LAST, "billing", NOON)
    got = shares_of(run)
    assert got[flats["102"].id] == TOTAL_WH // 2 // 4 + TOTAL_WH // 2 // 2
    assert sum(got.values()) == TOTAL_WH


def test_more_than_a_quarter_missing_goes_by_area_and_says_so(house):
    building, flats = house
    db.session.execute(
        sa.text("UPDATE meter SET kind = 'water' WHERE household_id = :flat"),
        {"flat": flats["102"].id},
    )
    db.session.commit()
    run = service.allocate(building.id, FIRST, LAST, "billing", NOON)
    assert shares_of(run) == {
        flats["101"].id: 100_000,
        flats["102"].id: 200_000,
        flats["201"].id: 100_000,
    }
    flags = db.session.scalars(
        sa.select(AllocationShare.flags).where(AllocationShare.run_id == run.id)
    )
    assert set(map(tuple, flags)) == {("whole_building_by_area",)}
