"""What is odd about a reading: kept raw with its flag, and never usage, series or state."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from backend.base.db import db
from backend.metering import quality, rules, service
from backend.metering.batch import Batch
from backend.metering.corrections import correct
from backend.metering.models import DaySeries, MeterState, Reading, RefusedFrame
from backend.metering.rules import is_usable, stands_still
from backend.metering.service import NewReading, record
from collectors.reading import Asked, Outcome
from collectors.session import Read, Target
from tests import builders
from tests.builders import NOON

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)


@pytest.fixture
def house(app):
    return builders.make_building()


@pytest.fixture
def meter(house):
    """A water meter that may count 5,000 l a day, last seen at 1,000 l."""
    made = builders.make_meter(house, builders.make_household(house), "water")
    read(made, NOON, 1000)
    return made


def read(meter, at, register=None, **more):
    record([NewReading(meter.id, at, "collector", register=register, **more)])


def flags_at(at):
    return db.session.scalars(sa.select(Reading.flags).where(Reading.read_at == at)).one()


def state(meter):
    db.session.expire_all()
    return db.session.get(MeterState, meter.id)


@pytest.mark.parametrize(
    ("register", "flag"),
    [(999, "reverse"), (9_000, "jump"), (10**15, "impossible"), (-1, "impossible")],
)
def test_a_bad_register_is_kept_raw_and_does_not_become_the_meters_state(meter, register, flag):
    read(meter, NOON + HOUR, register, frame=b"\x68\x16")
    row = db.session.scalars(sa.select(Reading).where(Reading.read_at == NOON + HOUR)).one()
    assert (row.register, row.flags, row.frame) == (register, [flag], b"\x68\x16")
    assert (state(meter).register, state(meter).last_ok_at) == (1000, NOON)
    read(meter, NOON + 2 * HOUR, 1010)  # held against the last believed one
    assert flags_at(NOON + 2 * HOUR) == []


def test_within_a_batch_too_the_next_is_held_against_the_last_believed_one(meter):
    record(
        [
            NewReading(meter.id, NOON + n * HOUR, "collector", register=register)
            for n, register in ((1, 1010), (2, 9_999_999), (3, 1020), (4, 5), (5, 1030))
        ]
    )
    found = db.session.execute(sa.select(Reading.read_at, Reading.flags))
    flagged = {row.read_at: row.flags for row in found}
    assert [flagged[NOON + n * HOUR] for n in range(6)] == [[], [], ["jump"], [], ["reverse"], []]
    assert state(meter).register == 1030


def test_a_leap_is_believed_once_so_much_time_has_passed_that_it_is_none(meter):
    read(meter, NOON + timedelta(days=1), 9_000)
    read(meter, NOON + timedelta(days=2), 9_100)
    assert flags_at(NOON + timedelta(days=1)) == ["jump"]
    assert flags_at(NOON + timedelta(days=2)) == []


def test_what_a_person_has_confirmed_counts_again(meter):
    staff = builders.make_staff()
    service.typed_reading(
        meter.id, 10, NOON + HOUR, staff.id, "c-1", confirm=True, note="换过表头", now=NOON + HOUR
    )
    assert flags_at(NOON + HOUR) == ["reverse"]
    assert state(meter).register == 10
    read(meter, NOON + 2 * HOUR, 12)
    assert flags_at(NOON + 2 * HOUR) == []


def test_a_correction_takes_the_flags_away_that_kept_the_reading_out(meter):
    read(meter, NOON + HOUR, 9)
    wrong = db.session.scalars(sa.select(Reading).where(Reading.read_at == NOON + HOUR)).one()
    made = correct(wrong.id, 1009, builders.make_staff().id, "少一位", NOON + HOUR)
    row = db.session.scalars(sa.select(Reading).where(Reading.id == made.reading_id)).one()
    assert row.flags == [] or row.flags == ["out_of_order"]
    assert state(meter).register == 1009


def test_a_late_reading_is_held_against_its_own_neighbours(meter):
    read(meter, NOON + 2 * HOUR, 1100)
    for minutes, register in ((30, 1050), (60, 900), (90, 1200)):
        read(meter, NOON + timedelta(minutes=minutes), register)
    assert flags_at(NOON + timedelta(minutes=30)) == ["out_of_order"]
    assert flags_at(NOON + timedelta(minutes=60)) == ["reverse", "out_of_order"]
    assert flags_at(NOON + timedelta(minutes=90)) == ["reverse", "out_of_order"]


def test_a_late_freeze_is_nothing_odd(meter):
    read(meter, NOON - HOUR, 990, kind="freeze")
    assert flags_at(NOON - HOUR) == []


def test_the_same_moment_with_another_value_is_no_reading_and_what_was_said_is_kept(meter):
    for _ in range(2):
        read(meter, NOON, 1000, frame=b"\x68")  # said again: nothing new
    assert db.session.query(RefusedFrame).count() == 0
    read(meter, NOON, 1500, frame=b"\x68\x15")
    assert db.session.scalars(sa.select(Reading.register)).one() == 1000
    kept = db.session.query(RefusedFrame).one()
    assert (kept.code, kept.meter_id, kept.frame) == ("duplicate", meter.id, b"\x68\x15")
    assert "1500" in kept.reason


def test_of_two_values_for_a_moment_in_one_batch_the_first_stands(meter):
    at = NOON + HOUR
    batch = [NewReading(meter.id, at, "collector", register=r) for r in (1001, 1002, 1001)]
    assert record(batch).stored == 1
    assert db.session.query(RefusedFrame).one().code == "duplicate"


# Of another kind than the archive says.


def asked(meter, **values):
    target = Target("cjt188", meter.address, 0x10)
    outcome = Outcome()
    outcome.add(Asked(meter.id, meter.kind, target), Read(target, values, b"\x68", NOON + HOUR))
    record(outcome.readings)


def test_an_answer_of_another_kind_is_kept_and_goes_nowhere(meter):
    asked(meter, energy_wh=5_000_000, supply_cdeg=4500)
    assert flags_at(NOON + HOUR) == ["wrong_type"]
    assert state(meter).register == 1000
    assert db.session.scalar(sa.select(sa.func.count()).select_from(DaySeries)) == 0


def test_an_answer_of_its_own_kind_may_say_more_than_is_asked(meter):
    asked(meter, volume_l=1001, energy_wh=1)
    assert flags_at(NOON + HOUR) == []


# Stuck.


@pytest.mark.parametrize(
    ("days", "flow", "moving", "neighbours", "stuck"),
    [
        (7, 120, 0, 0, True),  # water flows and nothing is counted
        (7, 0, 0, 0, False),  # nobody home, and nobody to compare with
        (7, None, 1, 2, True),  # half of the neighbours have moved
        (7, None, 1, 3, False),  # the whole house stands still: it is summer
        (6.99, 120, 3, 3, False),
    ],
)
def test_a_register_is_stuck_where_something_moves_and_it_does_not(
    days, flow, moving, neighbours, stuck
):
    assert stands_still(days * 86_400, flow, moving, neighbours, 7 * 86_400) is stuck


def test_a_meter_that_stands_while_its_neighbours_move_is_flagged_until_it_moves(meter, house):
    others = [
        builders.make_meter(house, builders.make_household(house, unit), "water")
        for unit in ("102", "103")
    ]
    for other in others:
        read(other, NOON, 500)
        read(other, NOON + WEEK - HOUR, 900)
    for days in (1, 6):
        read(meter, NOON + timedelta(days=days), 1000)
        assert flags_at(NOON + timedelta(days=days)) == []
    read(meter, NOON + WEEK, 1000)
    assert flags_at(NOON + WEEK) == ["stuck"]
    assert state(meter).last_ok_at == NOON + WEEK  # it has answered, and what it says is its state
    read(meter, NOON + WEEK + HOUR, 1001)
    assert flags_at(NOON + WEEK + HOUR) == []
    assert state(meter).register_since == NOON + WEEK + HOUR


def test_how_long_is_a_setting(app, meter):
    app.extensions["nuan_settings"] = app.extensions["nuan_settings"].replace(stuck_days=2)
    read(meter, NOON + timedelta(days=2), 1000, flow_lph=40)
    assert flags_at(NOON + timedelta(days=2)) == ["stuck"]


def test_a_clock_that_is_off_is_flagged_and_the_reading_counts_all_the_same(meter):
    read(meter, NOON + HOUR, 1001, clock_drift_s=-301)
    read(meter, NOON + 2 * HOUR, 1002, clock_drift_s=300)
    assert flags_at(NOON + HOUR) == ["clock_drift"]
    assert flags_at(NOON + 2 * HOUR) == []
    assert state(meter).register == 1002


# The arithmetic over arrays lets through exactly what the rules find nothing odd about.

steps = st.lists(
    st.tuples(st.integers(0, 200_000), st.integers(-50, 6_000)), min_size=1, max_size=12
)


@given(steps, st.booleans())
def test_the_quick_way_and_the_rules_agree(moves, has_state):
    register = rules.Register(10**6, 5_000)
    known = quality.Known(
        "water", "household", 1, register, NOON if has_state else None,
        500 if has_state else None, NOON if has_state else None,
    )  # fmt: skip
    at, shown, batch = NOON, 500, []
    for seconds, step in moves:
        at, shown = at + timedelta(seconds=seconds + 1), shown + step
        batch.append(NewReading(1, at, "collector", register=shown))
    odd = quality._odd_registers(Batch.of(batch), {1: known}, quality.Thresholds())
    look = quality._Look(known, {}, {}, quality.Thresholds())
    flagged = [look.at(reading).flags for reading in batch]
    if not odd:
        assert not any(flagged)


@given(st.lists(st.sampled_from(["reverse", "jump", "impossible", "wrong_type", "stuck"])))
def test_sql_and_rule_agree_on_what_may_become_usage(flags):
    by_machine, by_person = is_usable(flags), is_usable(flags, 7)
    assert by_person or not by_machine
    assert by_person == ({"impossible", "wrong_type"}.isdisjoint(flags))


@pytest.mark.parametrize("author", [None, 7])
@pytest.mark.parametrize(
    "flags", [[], ["stuck"], ["jump"], ["reverse", "stuck"], ["impossible"], ["wrong_type", "jump"]]
)
def test_the_database_sorts_out_the_same_rows(app, flags, author):
    found = db.session.scalar(
        sa.text(
            f"SELECT {quality.USABLE} FROM (SELECT CAST(:flags AS text[]) AS flags, "
            "CAST(:author AS bigint) AS author_id) r"
        ),
        {"flags": flags, "author": author},
    )
    assert found is is_usable(flags, author)
