"""B and gamma from closed days: found, refused with reasons, used once a second person agrees."""

from datetime import date, timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from backend.allocation import calibration, service
from backend.allocation.models import AllocationRule
from backend.allocation.seasons import condense
from backend.archive.models import HouseholdThermal
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing, series
from backend.metering.models import DaySeries
from backend.metering.rules import pack_day
from backend.metering.service import NewReading, record
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON

DAYS = 20
FIRST = NOON.date() - timedelta(days=DAYS)
END = NOON.date()
KAPPA = 1.5
FLATS = {"101": (5000, 0.9, 1.25), "102": (8000, 0.5, 1.4), "201": (6000, 0.7, 1.3)}


def balanced(spread=0.3):
    """A building in balance, day by day: its flats by number, and the building."""
    rng = np.random.default_rng(5)
    building = builders.make_building("C3")
    bus = builders.make_bus(building)
    homes = {no: builders.make_household(building, no, row[0]) for no, row in FLATS.items()}
    areas = np.array([row[0] / 100 for row in FLATS.values()])
    tn = np.round(20 + rng.normal(0, 0.8, (3, DAYS)), 2)
    load = 35 * np.exp(rng.normal(0, spread, DAYS))
    y = load + KAPPA * (tn - areas @ tn / areas.sum())
    gamma, exponent = (np.array([[row[n]] for row in FLATS.values()]) for n in (1, 2))
    dt = (y / gamma) ** (1 / exponent)
    for index, home in enumerate(homes.values()):
        pipes = builders.make_meter(building, home, "heat", bus)
        room = builders.make_meter(building, home, "room", bus)
        days = {}
        for n in range(DAYS):
            tp = tn[index, n] + dt[index, n]
            for meter, quantity, value in (
                (pipes, "supply_cdeg", tp + 4),
                (pipes, "return_cdeg", tp - 4),
                (room, "room_cdeg", tn[index, n]),
            ):
                samples = [(slot * 600, round(value * 100)) for slot in range(series.SLOTS)]
                days[meter.id, quantity, FIRST + timedelta(days=n)] = pack_day(samples, 600)
        series.store(days)
    _heat(building, bus, load * areas.sum())
    for n in range(DAYS):
        closing.close_usage(building.id, FIRST + timedelta(days=n))
        condense(building.id, FIRST + timedelta(days=n))
    db.session.commit()
    return building, homes


def _heat(building, bus, q0_w):
    meter = builders.make_meter(building, None, "heat", bus)
    registers = np.concatenate([[0], np.cumsum(np.round(q0_w * 24))]).astype(int)
    record(
        [
            NewReading(
                meter.id, day_start(FIRST + timedelta(days=n)), "collector", register=int(wh)
            )
            for n, wh in enumerate(registers)
        ]
    )
    db.session.commit()


@pytest.fixture
def people(app):
    return [
        Principal("staff", builders.make_staff(role, [role]).id) for role in ("operator", "manager")
    ]


def propose(building, operator, **more):
    row = calibration.propose(building.id, FIRST, END, operator, NOON, **more)
    db.session.commit()
    return row


def refused(work):
    with pytest.raises(Problem) as problem:
        work()
    db.session.rollback()
    return problem.value.code


def test_closed_days_give_b_and_gamma_back_without_reading_a_sample(people):
    building, _ = balanced()
    db.session.execute(sa.delete(DaySeries))
    row = propose(building, people[0])
    assert row.state == "proposed"
    for flat in row.report["flats"]:
        _, gamma, exponent = FLATS[flat["unit_no"]]
        assert flat["B"] == pytest.approx(exponent, abs=0.02)
        assert flat["gamma25"] == pytest.approx(gamma * 25**exponent, rel=0.01)
        assert flat["residual"] < 0.01


def test_days_are_averaged_in_blocks(people):
    building, _ = balanced(spread=0.5)
    row = propose(building, people[0], block_days=2)
    assert row.report["block_days"] == 2
    assert {flat["blocks"] for flat in row.report["flats"]} == {DAYS // 2}


def test_nothing_is_used_before_a_second_person_agrees(people):
    building, homes = balanced()
    operator, manager = people
    row = propose(building, operator)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(HouseholdThermal)) == 0
    assert refused(lambda: calibration.approve(row.id, END, operator, NOON)) == "second_person"
    calibration.approve(row.id, END, manager, NOON)
    db.session.commit()
    used = db.session.scalars(sa.select(HouseholdThermal)).all()
    assert {thermal.household_id for thermal in used} == {home.id for home in homes.values()}
    assert {thermal.effective_from for thermal in used} == {END}
    assert {thermal.source for thermal in used} == {f"calibration:{row.id}"}


def test_a_proposal_is_decided_once(people):
    building, _ = balanced()
    operator, manager = people
    row = propose(building, operator)
    calibration.reject(row.id, manager, NOON)
    db.session.commit()
    assert refused(lambda: calibration.approve(row.id, END, manager, NOON)) == "calibration_decided"
    assert db.session.scalar(sa.select(sa.func.count()).select_from(HouseholdThermal)) == 0


def test_one_proposal_waits_at_a_time(people):
    building, _ = balanced()
    propose(building, people[0])
    assert refused(lambda: propose(building, people[0])) == "calibration_open"


def test_a_load_that_never_varies_is_kept_as_refused_with_what_to_do(people):
    building, _ = balanced(spread=0.02)
    row = propose(building, people[0])
    assert row.state == "refused"
    assert {why["code"] for why in row.report["refused"]} == {"load_constant"}
    assert "请选冷暖变化更大的时段" in row.report["refused"][0]["text"]
    assert refused(lambda: calibration.approve(row.id, END, people[1], NOON)) == (
        "calibration_decided"
    )


def test_a_building_never_read_is_refused_for_want_of_rooms(people):
    building = builders.make_building("EMPTY")
    builders.make_household(building)
    row = propose(building, people[0])
    assert [why["code"] for why in row.report["refused"]] == ["no_room"]


@pytest.mark.parametrize(
    ("first", "end", "code"),
    [
        (END - timedelta(days=13), END, "range_too_long"),
        (END - timedelta(days=91), END, "range_too_long"),
        (FIRST, END + timedelta(days=1), "period_not_over"),
    ],
)
def test_a_window_of_the_wrong_length_or_of_days_to_come_is_refused(people, first, end, code):
    building = builders.make_building("W")
    assert refused(lambda: calibration.propose(building.id, first, end, people[0], NOON)) == code


def test_what_has_been_billed_keeps_its_parameters(people):
    building, _ = balanced()
    operator, manager = people
    db.session.add(
        AllocationRule(
            building_id=building.id, effective_from=date(2026, 1, 1), method="area", options={}
        )
    )
    row = propose(building, operator)
    service.lock(service.allocate(building.id, FIRST, END, "billing", NOON), NOON)
    db.session.commit()
    assert refused(lambda: calibration.approve(row.id, FIRST, manager, NOON)) == "run_locked"
    calibration.approve(row.id, END, manager, NOON)


def test_a_stranger_of_a_calibration_is_told_there_is_none(people):
    assert refused(lambda: calibration.calibration_of(1)) == "not_found"
