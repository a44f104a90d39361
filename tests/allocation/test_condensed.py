"""A condensed day stands for its samples; raw timestamps become a grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.allocation.condensed import (
    NODE_B,
    CondensedDays,
    condense_day,
    weights_from_condensed,
)
from backend.allocation.inputs import Building, Household, Refused, Rules
from backend.allocation.rules import allocate, allocate_condensed
from backend.allocation.timestamped import hold_samples
from backend.metering.rules import MISSING

SAMPLES = 144


def direct(tg, th, tn, dt_s, exponent):
    """sum max(0, tp - tn)^B dtau, the long way."""
    whole = (tg != MISSING) & (th != MISSING) & (tn != MISSING)
    excess = (tg.astype(float) + th) / 200 - tn / 100
    return (np.clip(excess[whole], 0, None) ** exponent).sum() * dt_s


@st.composite
def days(draw):
    """A day as flats have it: water 30-55 C, room 15-26 C, gaps, and a valve sometimes shut."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    room, water = draw(st.integers(1500, 2600)), draw(st.integers(3000, 5500))
    tn = room + rng.normal(0, 40, SAMPLES).cumsum() / 12
    tg = water + rng.normal(0, 150, SAMPLES)
    shut = rng.random(SAMPLES) < draw(st.floats(0, 0.5))
    tg[shut] = tn[shut] - 50
    th = np.where(shut, tn, tg - draw(st.integers(100, 1200)))
    arrays = [np.round(values).astype(np.int16) for values in (tg, th, tn)]
    for values in arrays:
        values[rng.random(SAMPLES) < draw(st.sampled_from([0, 0.05]))] = MISSING
    return arrays


@settings(deadline=None)
@given(days(), st.floats(1.0, 1.6))
def test_any_exponent_comes_back_from_eight_numbers(day, exponent):
    condensed = condense_day(*day, 600.0)
    weight = weights_from_condensed(condensed.nodes[np.newaxis], exponent)[0]
    if condensed.is_smooth:
        assert weight == pytest.approx(direct(*day, 600.0, exponent), rel=1.5e-9)


@settings(deadline=None)
@given(days())
def test_an_ordinary_day_is_smooth(day):
    tg, _, tn = day
    if np.median(tg.astype(int) - tn) > 1000:
        assert condense_day(*day, 600.0).error < 1e-7


def test_a_day_too_ragged_for_eight_numbers_says_so():
    tg = np.full(SAMPLES, 2020, dtype=np.int16)
    tg[0] = 4900
    tn = np.full(SAMPLES, 2000, dtype=np.int16)
    condensed = condense_day(tg, tg, tn, 600.0)
    assert not condensed.is_smooth
    guess = weights_from_condensed(condensed.nodes[np.newaxis], 1.0)[0]
    truth = direct(tg, tg, tn, 600.0, 1.0)
    assert abs(guess / truth - 1) <= condensed.error * (1 + 1e-6)


def test_the_nodes_themselves_are_exact():
    tg, th, tn = (np.full(SAMPLES, value, dtype=np.int16) for value in (4500, 3500, 2000))
    condensed = condense_day(tg, th, tn, 600.0)
    for node, exponent in zip(condensed.nodes, NODE_B, strict=True):
        got = weights_from_condensed(condensed.nodes[np.newaxis], float(exponent))[0]
        assert got == node
        assert node == pytest.approx(20.0**exponent * 86_400, rel=1e-13)
    assert condensed.room_k_s == 20.0 * 86_400
    assert condensed.covered_s == condensed.room_s == 86_400


def test_a_day_without_heat_or_without_data_weighs_nothing():
    cold = np.full(SAMPLES, 1800, dtype=np.int16)
    warm = np.full(SAMPLES, 2200, dtype=np.int16)
    gone = np.full(SAMPLES, MISSING, dtype=np.int16)
    shut, lost = condense_day(cold, cold, warm, 600.0), condense_day(gone, warm, gone, 600.0)
    assert weights_from_condensed(np.stack([shut.nodes, lost.nodes]), 1.3).tolist() == [0, 0]
    assert (shut.covered_s, lost.covered_s, lost.room_s) == (86_400, 0, 0)


def test_extremes_of_sixteen_bits_do_not_wrap_around():
    hot = np.full(SAMPLES, 32767, dtype=np.int16)
    cold = np.full(SAMPLES, -32767, dtype=np.int16)
    condensed = condense_day(hot, hot, cold, 600.0)
    assert weights_from_condensed(condensed.nodes[np.newaxis], 1.0)[0] == pytest.approx(
        655.34 * 86_400
    )


@pytest.mark.parametrize("exponent", [0.99, 1.61, float("nan")])
def test_outside_the_interval_nothing_is_invented(exponent):
    with pytest.raises(Refused, match="outside"):
        weights_from_condensed(np.ones((1, 8)), exponent)


def test_a_day_whose_series_differ_in_length_is_refused():
    short, long = np.zeros(3, dtype=np.int16), np.zeros(4, dtype=np.int16)
    with pytest.raises(Refused, match="same number"):
        condense_day(short, short, long, 600.0)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(days(), min_size=3, max_size=3), min_size=2, max_size=4))
def test_a_season_from_condensed_days_equals_one_from_samples(flats):
    households = [
        Household(n, 60 + n, {"gamma": 0.4 + n / 10, "B": 1.1 + n / 10}) for n in range(len(flats))
    ]
    condensed = {n: [condense_day(*day, 600.0) for day in flat] for n, flat in enumerate(flats)}
    if not all(day.is_smooth for flat in condensed.values() for day in flat):
        return
    series = {
        name: np.array([np.concatenate([day[i] for day in flat]) for flat in flats]) / 100
        for i, name in enumerate(("tg", "th", "tn"))
    }
    for array in series.values():
        array[array == MISSING / 100] = np.nan
    dt_s = np.full(3 * SAMPLES, 600.0)
    wanted = allocate(Building("three_temperature", 10**6, households, dt_s, series))
    got = allocate_condensed(
        10**6,
        {
            n: CondensedDays(
                np.stack([day.nodes for day in flat]), np.array([day.covered_s for day in flat])
            )
            for n, flat in condensed.items()
        },
        households,
        seconds=3 * 86_400,
    )
    assert got.coverage == wanted.coverage
    for key, share in wanted.shares.items():
        assert float(got.shares[key]) == pytest.approx(float(share), rel=3e-9)


def test_a_flat_without_condensed_days_is_missing():
    day = CondensedDays(np.full((1, 8), 5.0), np.array([86_400.0]))
    flats = [Household(n, 60, {"gamma": 0.5, "B": 1.3}) for n in range(5)]
    days = dict.fromkeys(range(1, 5), day)
    result = allocate_condensed(1000, days, flats, seconds=86_400)
    assert result.flags == {0: ["substituted:building_mean_per_area"]}
    assert set(result.units.values()) == {200}
    with pytest.raises(Refused, match="samples"):
        profile = Rules(gap_rule="building_profile")
        allocate_condensed(1000, days, flats, profile, seconds=86_400)


def test_a_sample_stands_until_the_next_for_so_long_and_no_longer():
    grid = hold_samples([[(600.0, [20.0]), (0.0, [10.0])]], 1, 3600, 1200)
    assert grid.dt_s.tolist() == [600, 1200, 1800]
    np.testing.assert_array_equal(grid.series[0], [[10, 20, np.nan]])


def test_time_before_the_first_sample_is_a_gap_but_one_from_before_reaches_in():
    grid = hold_samples([[(300.0, [1.0])], [(-300.0, [2.0])], []], 1, 600, 1000)
    np.testing.assert_array_equal(grid.series[0], [[np.nan, 1], [2, 2], [np.nan, np.nan]])


def test_a_later_duplicate_replaces_and_an_incomplete_sample_is_not_there():
    samples = [(0.0, [1.0, 1.0]), (0.0, [2.0, 2.0]), (10.0, [3.0, None])]
    grid = hold_samples([samples], 2, 20, 100)
    assert [array.tolist() for array in grid.series] == [[[2.0]], [[2.0]]]


@given(
    st.lists(
        st.tuples(st.integers(-100, 500).map(float), st.integers(0, 9).map(lambda v: [float(v)])),
        max_size=12,
        unique_by=lambda sample: sample[0],
    ),
    st.randoms(),
)
def test_the_order_of_samples_does_not_matter(samples, random):
    shuffled = list(samples)
    random.shuffle(shuffled)
    first, second = (hold_samples([rows], 1, 400, 50) for rows in (samples, shuffled))
    np.testing.assert_array_equal(first.dt_s, second.dt_s)
    np.testing.assert_array_equal(first.series[0], second.series[0])
    assert first.dt_s.sum() == 400


def test_an_empty_window_is_refused():
    with pytest.raises(Refused, match="window"):
        hold_samples([], 1, 0, 600)
