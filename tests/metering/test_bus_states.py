"""Buses as their collectors report them: state, since when, last cycle, last heard, signal."""

from datetime import timedelta

import pytest

from backend.base.db import db
from backend.metering import bus_states, meter_notes, service
from backend.metering.bus_states import Heard
from backend.metering.meter_notes import Signal
from backend.metering.models import MeterState, Reading
from backend.metering.service import NewReading
from tests import builders
from tests.conftest import NOON

MINUTE = timedelta(minutes=1)


@pytest.fixture
def bus(app):
    return builders.make_bus(builders.make_building("A"))


def note(*heard):
    bus_states.note(heard)
    db.session.commit()
    db.session.expire_all()


def test_a_state_keeps_the_moment_it_began(bus):
    note(Heard(bus.id, NOON, 0, 5.0, {"silent": 2}))
    note(Heard(bus.id, NOON + MINUTE, 0, 5.0, {"silent": 2}))
    assert (bus.state, bus.state_since, bus.last_seen_at) == ("silent", NOON, None)
    assert bus.cycle["ended_at"] == (NOON + MINUTE).isoformat()
    note(Heard(bus.id, NOON + 2 * MINUTE, 1, 5.0, {"garbled": 1}))
    assert (bus.state, bus.state_since) == ("idle", NOON + 2 * MINUTE)
    assert (bus.cycle["asked"], bus.cycle["answered"], bus.cycle["garbled"]) == (2, 1, 1)
    assert bus.last_seen_at == NOON + 2 * MINUTE


def test_an_answer_by_itself_moves_only_when_the_bus_was_heard(bus):
    note(Heard(bus.id, NOON, 0, 5.0, {"silent": 2}))
    note(Heard(bus.id, NOON + MINUTE, 1))
    assert (bus.state, bus.cycle["answered"]) == ("silent", 0)
    assert bus.last_seen_at == NOON + MINUTE


def test_many_buses_are_noted_in_two_statements(bus, queries):
    others = [builders.make_bus(builders.make_building(f"B{n}")) for n in range(5)]
    heard = [Heard(b.id, NOON, 1, 601.0) for b in (bus, *others)]
    queries.clear()
    bus_states.note([*heard, Heard(0, NOON, 0)])
    assert len(queries) == 2
    db.session.commit()
    db.session.expire_all()
    assert {b.state for b in (bus, *others)} == {"overload"}


def test_a_bus_is_reading_while_its_collector_says_so_and_a_fault_shows_through(bus):
    faulty = builders.make_bus(builders.make_building("B"))
    note(Heard(faulty.id, NOON, 0, 5.0, {"silent": 1}))
    owned = [bus.id, faulty.id]
    bus_states.mark_reading(owned, owned, NOON)
    db.session.expire_all()
    assert (bus.state, bus.state_since, faulty.state) == ("reading", NOON, "silent")
    bus_states.mark_reading([], owned, NOON + MINUTE)
    db.session.expire_all()
    assert (bus.state, bus.state_since, faulty.state) == ("idle", NOON + MINUTE, "silent")


def test_a_collector_marks_no_bus_of_another(bus):
    bus_states.mark_reading([bus.id], [bus.id], NOON)
    bus_states.mark_reading([], [], NOON)
    db.session.expire_all()
    assert bus.state == "reading"


def test_a_pushed_bus_falls_silent_by_itself_and_comes_back(app):
    building = builders.make_building("A")
    bus = builders.make_bus(building, link="push://ctwing")
    assert bus_states.sweep_pushed(NOON) == 1
    db.session.expire_all()
    assert bus.state == "no_load"
    builders.make_meter(building, bus=bus)
    note(Heard(bus.id, NOON, 1))
    later = NOON + timedelta(hours=27)
    for now, state in ((NOON, "idle"), (later, "silent")):
        assert bus_states.sweep_pushed(now) == 1
        db.session.expire_all()
        assert (bus.state, bus.state_since) == (state, now)
    assert bus_states.sweep_pushed(later) == 0


def test_an_old_signal_never_replaces_a_newer_one(bus):
    for dbm, at in ((-71, NOON), (-99, NOON - MINUTE)):
        bus_states.note_signal(bus.id, dbm, at)
    db.session.commit()
    db.session.expire_all()
    assert (bus.signal_dbm, bus.signal_at) == (-71, NOON)


def state_of(meter):
    db.session.expire_all()
    return db.session.get(MeterState, meter.id)


def test_readings_tell_their_meters_clock_and_a_far_clock_is_flagged(bus):
    good, bad = (builders.make_meter(builders.make_building(c), bus=bus) for c in "XY")
    service.record(
        [
            NewReading(good.id, NOON, "collector", register=1, clock_drift_s=300),
            NewReading(bad.id, NOON, "collector", register=1, clock_drift_s=-301),
            NewReading(bad.id, NOON - MINUTE, "collector", register=1, clock_drift_s=0),
        ]
    )
    db.session.commit()
    assert state_of(good).clock_drift_s == 300
    assert (state_of(bad).clock_drift_s, state_of(bad).clock_at) == (-301, NOON)
    flags = {r.meter_id: r.flags for r in db.session.query(Reading).filter_by(read_at=NOON)}
    assert flags == {good.id: [], bad.id: ["clock_drift"]}


def test_what_is_not_told_stays_and_what_is_older_changes_nothing(bus):
    meter = builders.make_meter(builders.make_building("X"), bus=bus)
    service.record([NewReading(meter.id, NOON, "push", clock_drift_s=5)])
    service.record([NewReading(meter.id, NOON - MINUTE, "push", clock_drift_s=9)])
    meter_notes.keep_signals(
        [Signal(meter.id, NOON, signal_dbm=-90), Signal(meter.id, NOON, None, 75)]
    )
    meter_notes.keep_signals([Signal(meter.id, NOON + MINUTE, battery_percent=80)])
    meter_notes.keep_signals([Signal(meter.id, NOON - MINUTE, signal_dbm=-1, battery_mv=3_600)])
    meter_notes.keep_signals([])
    db.session.commit()
    state = state_of(meter)
    assert (state.clock_drift_s, state.clock_at) == (5, NOON)
    assert (state.signal_dbm, state.snr_ddb, state.signal_at) == (-90, 75, NOON + MINUTE)
    assert (state.battery_percent, state.battery_mv) == (80, None)


def test_a_clock_can_be_compared_without_a_reading(bus):
    meter = builders.make_meter(builders.make_building("X"), bus=bus)
    meter_notes.keep_clocks([(meter.id, -12, NOON)])
    meter_notes.keep_clocks([])
    db.session.commit()
    assert (state_of(meter).clock_drift_s, state_of(meter).last_ok_at) == (-12, None)
