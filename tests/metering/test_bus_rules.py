"""What state a bus is in after a cycle, and when a clock is off."""

from datetime import datetime, timedelta

import pytest

from backend.metering import bus_rules
from backend.metering.bus_rules import Cycle
from tests.conftest import NOON


@pytest.mark.parametrize(
    ("cycle", "state"),
    [
        (Cycle(16, 16, 40, 600), "idle"),
        (Cycle(16, 1, 40, 600, {"silent": 15}), "idle"),  # the others are the meters' trouble
        (Cycle(16, 16, 601, 600), "overload"),
        (Cycle(16, 16, 600, 600), "idle"),
        (Cycle(16, 0, 40, 600, {"silent": 16}), "silent"),
        (Cycle(16, 0, 40, 600, {"garbled": 16}), "silent"),  # noise says nothing
        (Cycle(16, 0, 700, 600, {"link_down": 16}), "silent"),  # worse than slow
        (Cycle(0, 0, 0, 600), "no_load"),
    ],
)
def test_a_cycle_leaves_its_bus_in_a_state(cycle, state):
    assert bus_rules.state_of(cycle) == state


def test_noise_and_collisions_are_told_from_silence():
    cycle = Cycle(9, 2, 40, 600, {"silent": 3, "garbled": 2, "checksum": 1, "refused": 1})
    assert cycle.garbled == 3


@pytest.mark.parametrize(
    ("meters", "hours_ago", "state"),
    [(0, 0, "no_load"), (3, None, "silent"), (3, 1, "idle"), (3, 26, "idle"), (3, 27, "silent")],
)
def test_a_bus_that_is_pushed_for_is_silent_when_nothing_came_for_a_day(meters, hours_ago, state):
    seen = None if hours_ago is None else NOON - timedelta(hours=hours_ago)
    assert bus_rules.push_state_of(meters, seen, NOON) == state


@pytest.mark.parametrize(
    ("age_s", "took_s", "stale"),
    [(1800, 10, False), (1801, 10, True), (2500, 900, False), (2701, 900, True)],
)
def test_a_bus_nobody_reports_on_for_three_cycles_has_no_collector(age_s, took_s, stale):
    ended = NOON - timedelta(seconds=age_s)
    cycle = {"ended_at": ended.isoformat(), "took_s": took_s}
    assert bus_rules.is_stale(cycle, 600, NOON) is stale


def test_a_bus_that_was_never_read_is_not_stale():
    assert not bus_rules.is_stale({}, 600, NOON)


def test_a_clock_is_off_beyond_a_limit_either_way():
    here = datetime(2026, 11, 20, 12, 0)
    ahead = bus_rules.drift_s(here + timedelta(seconds=301), here)
    behind = bus_rules.drift_s(here - timedelta(seconds=301), here)
    assert (ahead, behind) == (301, -301)
    assert bus_rules.is_drifted(ahead, 300) and bus_rules.is_drifted(behind, 300)
    assert not bus_rules.is_drifted(300, 300) and not bus_rules.is_drifted(None, 300)


def test_a_clock_that_has_lost_its_date_still_fits_its_column():
    lost = bus_rules.drift_s(datetime(2000, 1, 1), datetime(2099, 1, 1))
    assert lost == -bus_rules.MOST_DRIFT_S and lost >= -(2**31)
