"""Properties of the allocation that no example can show: sums, order, monotony, gaps, rules."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.allocation import kernel
from backend.allocation.inputs import Building, Household, Refused, Rules
from backend.allocation.rules import allocate, allocate_scalar

NAN = float("nan")
CDEG = st.integers(min_value=1500, max_value=7000)


def building(tg, th, tn, *, total=1_000_003, dt_s=None, rules=None, **changes):
    """Flats 1, 2, ... of 60, 70, ... m2 with the given samples [households x samples] in C."""
    arrays = {
        name: np.array(rows, dtype=float) for name, rows in (("tg", tg), ("th", th), ("tn", tn))
    }
    count, samples = arrays["tn"].shape
    flats = [
        Household(n + 1, 60 + 10 * n, {"gamma": 0.3 + 0.1 * n, "B": 1.2 + 0.05 * n})
        for n in range(count)
    ]
    return Building(
        "three_temperature",
        total,
        changes.pop("households", flats),
        np.full(samples, 600.0) if dt_s is None else np.array(dt_s, dtype=float),
        arrays,
        rules=rules or Rules(),
        **changes,
    )


def steady(count, samples, tn=20.0):
    """Flats of equal, unchanging temperatures."""
    return [np.full((count, samples), value) for value in (45.0, 35.0, tn)]


@st.composite
def buildings(draw, gaps=True):
    count, samples = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    sample = st.one_of(st.none(), CDEG) if gaps else CDEG
    rows = st.lists(
        st.lists(sample, min_size=samples, max_size=samples), min_size=count, max_size=count
    )
    arrays = [
        np.array([[NAN if v is None else v / 100 for v in row] for row in draw(rows)])
        for _ in range(3)
    ]
    rule = draw(st.sampled_from(["time_scale", "building_profile", "zero"]))
    return building(*arrays, total=draw(st.integers(0, 10**10)), rules=Rules(gap_rule=rule))


@settings(deadline=None)
@given(buildings())
def test_units_always_add_up_to_the_building(case):
    result = allocate(case)
    assert sum(result.units.values()) == case.total_units
    assert min(result.units.values()) >= 0
    assert sum(map(Fraction, result.shares.values())) == pytest.approx(1, abs=1e-12)


@settings(deadline=None)
@given(buildings(), st.randoms())
def test_neither_the_order_of_flats_nor_of_samples_matters(case, random):
    rows = list(range(len(case.households)))
    columns = list(range(len(case.dt_s)))
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = replace(
        case,
        households=[case.households[row] for row in rows],
        series={name: array[rows][:, columns] for name, array in case.series.items()},
    )
    expected, got = allocate(case), allocate(shuffled)
    assert got.flags == expected.flags
    if expected.rounding_margin > 1e-6:
        assert got.units == expected.units


@settings(deadline=None)
@given(buildings(gaps=False), st.integers(0, 5), st.floats(0.01, 10))
def test_warmer_water_never_lowers_a_share(case, row, rise):
    row %= len(case.households)
    warmer = case.series["tg"].copy()
    warmer[row] += rise
    before, after = allocate(case), allocate(replace(case, series={**case.series, "tg": warmer}))
    key = case.households[row].id
    if before.building_flag is None:
        assert after.units[key] >= before.units[key]


def test_equation_10_by_hand():
    tg, th, tn = [[26.0], [31.0], [38.0], [47.0]], [[22.0], [27.0], [34.0], [43.0]], [[20.0]] * 4
    flats = [Household(n, 1, {"gamma": 1, "B": 1.5}) for n in range(4)]
    result = allocate(building(tg, th, tn, total=224, households=flats))
    assert result.units == {0: 8, 1: 27, 2: 64, 3: 125}


def test_water_no_warmer_than_the_room_weighs_nothing_however_floats_round():
    tg, th, tn = [[40.1], [40.3], [45.0]], [[39.9], [39.7], [35.0]], [[40.0], [40.0], [20.0]]
    result = allocate(building(tg, th, tn))
    assert [result.units[key] for key in (1, 2)] == [0, 0]
    only_cold = building(tg[:2], th[:2], tn[:2])
    assert allocate(only_cold).building_flag == "all_zero_weights_by_area"


def test_a_long_season_on_two_threads_equals_numpy_in_one_line():
    rng = np.random.default_rng(18)
    tg, tn = 45 + rng.normal(0, 6, (40, 6000)), 21 + rng.normal(0, 6, (40, 6000))
    tg[rng.random(tg.shape) < 0.01] = NAN
    assert tg.size >= kernel.THREAD_FROM
    case = building(tg, tg - 8, tn)
    dt = case.dt_s * (1 + np.arange(6000) % 3)
    for seconds in (case.dt_s, dt):
        result = allocate(replace(case, dt_s=seconds))
        exponents = np.array([[flat.constants["B"]] for flat in case.households])
        excess = np.clip(np.nan_to_num(tg - 4 - tn, nan=0.0), 0, None)
        covered = (~np.isnan(tg) * seconds).sum(axis=1)
        weights = (excess**exponents * seconds).sum(axis=1) / covered
        weights *= [flat.constants["gamma"] * flat.area_m2 for flat in case.households]
        shares = [float(result.shares[flat.id]) for flat in case.households]
        np.testing.assert_allclose(shares, weights / weights.sum(), rtol=1e-11)


def test_flats_with_equal_data_tie_wherever_they_stand():
    rng = np.random.default_rng(3)
    row = 20 + rng.normal(0, 1, 7001)
    tn = np.tile(row, (7, 1))
    flats = [Household(n, 60, {"gamma": 0.5, "B": 1.37}) for n in range(7)]
    result = allocate(building(tn + 25, tn + 15, tn, total=10, households=flats))
    assert list(result.units.values()) == [2, 2, 2, 1, 1, 1, 1]


def test_time_scale_bills_a_gap_like_the_time_around_it():
    tg, th, tn = steady(3, 4)
    tn[0, 1] = NAN
    whole, gappy = allocate(building(*steady(3, 4))), allocate(building(tg, th, tn))
    assert gappy.units == whole.units
    assert {key: str(part) for key, part in gappy.coverage.items()} == {1: "0.75"}


def test_building_profile_bills_a_gap_like_the_complete_flats_in_it():
    tg, th, tn = steady(3, 4)
    tg[:, 1] += 30
    whole = allocate(building(tg, th, tn))
    gappy = tn.copy()
    gappy[0, 1] = NAN
    flats = [Household(n, 60, {"gamma": 0.5, "B": 1.3}) for n in (1, 2, 3)]
    shares = {
        rule: allocate(
            building(tg, th, gappy, rules=Rules(gap_rule=rule), households=flats)
        ).shares[1]
        for rule in ("building_profile", "time_scale", "zero")
    }
    assert float(shares["building_profile"]) == pytest.approx(1 / 3, rel=1e-12)
    assert shares["zero"] < shares["time_scale"] < shares["building_profile"]
    assert len(whole.units) == 3


def test_a_flat_covered_exactly_half_counts_and_less_does_not():
    tg, th, tn = steady(5, 2)
    tn[0, 0] = NAN
    assert allocate(building(tg, th, tn, dt_s=[500, 500])).flags == {}
    flags = allocate(building(tg, th, tn, dt_s=[501, 499])).flags
    assert flags == {1: ["substituted:building_mean_per_area"]}


def missing_first(areas, rules=None, **changes):
    tg, th, tn = steady(len(areas), 1)
    tn[0] = NAN
    flats = [
        Household(n, area, {"gamma": 0.5 + n / 10, "B": 1.3})
        for n, area in enumerate(areas, start=1)
    ]
    flats[-1] = replace(flats[-1], **changes)
    return allocate(building(tg, th, tn, households=flats, rules=rules))


def test_exactly_a_quarter_missing_is_still_substituted_and_more_goes_by_area():
    assert missing_first([50, 50, 50, 50]).flags == {1: ["substituted:building_mean_per_area"]}
    by_area = missing_first([50.01, 50, 50, 50])
    assert set(map(tuple, by_area.flags.values())) == {("whole_building_by_area",)}
    assert len(by_area.flags) == 4
    assert by_area.shares[2] == by_area.shares[4]


def test_a_suspended_flat_is_out_of_every_rule_and_its_area_too():
    result = missing_first([50, 50, 50, 50], suspended=True)
    assert result.units[4] == 0
    assert all("whole_building_by_area" in flags for flags in result.flags.values())
    assert 4 not in result.flags


def test_time_not_lived_there_counts_neither_as_area_nor_as_a_gap():
    result = missing_first([50, 50, 50, 50], active_from_s=300.0)
    assert len(result.flags) == 4  # 50 of 175 m2 is more than a quarter
    tg, th, tn = steady(2, 2)
    tn[1, 0] = NAN
    flats = [Household(n, 60, {"gamma": 0.5, "B": 1.3}) for n in (1, 2)]
    flats[1] = replace(flats[1], active_from_s=600.0)
    joined = allocate(building(tg, th, tn, total=900, households=flats))
    assert joined.units == {1: 600, 2: 300}
    assert joined.coverage == {}


def test_neighbours_stand_in_by_their_mean_per_area():
    rules = Rules(missing_rule="neighbours_mean", neighbours={1: [2, 3, 1, 99]})
    result = missing_first([60, 60, 120, 90, 90], rules)
    assert result.flags == {1: ["substituted:neighbours_mean"]}
    assert result.weights[1] == (result.weights[2] + result.weights[3]) / 3


def test_last_period_gives_a_flat_the_share_it_had():
    rules = Rules(missing_rule="last_period", last_shares={1: Fraction(1, 8)})
    result = missing_first([60, 80, 80, 80], rules)
    assert result.flags == {1: ["substituted:last_period"]}
    assert str(result.shares[1]) == "0.125"
    rest = [result.weights[n] for n in (2, 3, 4)]
    assert result.weights[1] == sum(rest) / 7


def test_a_flat_without_last_period_gets_the_mean():
    result = missing_first([60, 80, 80, 80], Rules(missing_rule="last_period"))
    assert result.flags == {1: ["substituted:building_mean_per_area"]}


def test_a_fixed_common_fraction_goes_by_area():
    rules = Rules(common="fixed_fraction", common_fraction=Fraction(1, 5))
    flats = [Household(1, 100, {"heat": 0}), Household(2, 100, {"heat": 70})]
    result = allocate_scalar("heat_meter", 1000, flats, rules)
    assert result.units == {1: 100, 2: 900}


def test_the_metered_loss_goes_by_area_and_a_surplus_is_shared_pro_rata():
    rules = Rules(common="metered_loss")
    flats = [Household(1, 100, {"heat": 5000}), Household(2, 50, {"heat": 4000})]
    assert allocate_scalar("heat_meter", 10_000, flats, rules).units == {1: 5667, 2: 4333}
    assert allocate_scalar("heat_meter", 4_500, flats, rules).units == {1: 2500, 2: 2000}


def test_a_position_correction_makes_equivalent_heat_of_metered_heat():
    flats = [Household(1, 80, {"heat": 1000, "alpha": 0.25}), Household(2, 80, {"heat": 750})]
    assert allocate_scalar("heat_meter", 100, flats).units == {1: 50, 2: 50}


def test_an_allocator_counts_only_above_its_least_difference():
    radiator = {"KQ": 1000, "n": 1.3, "t_heater": [23, 60], "t_room": [20, 20]}
    flats = [
        Household(1, 80, {"radiators": [{**radiator, "dT_min": 5}]}),
        Household(2, 80, {"radiators": [radiator]}),
    ]
    result = allocate_scalar("hca_electronic", 10**6, flats, dt_s=[600, 600])
    ratio = result.weights[1] / result.weights[2]
    assert float(ratio) == pytest.approx(40**1.3 / (40**1.3 + 3**1.3), rel=1e-11)


def test_a_valve_open_longer_than_the_supply_is_a_fault():
    flats = [Household(n, 80, {"on_s": on}) for n, on in enumerate([101, 100, 50, 50, 50])]
    result = allocate_scalar("on_time_area", 1000, flats, period_s=100)
    assert result.flags == {0: ["substituted:building_mean_per_area"]}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"total_units": -1}, "negative"),
        ({"dt_s": np.array([600.0, NAN])}, "dt_s"),
        ({"method": "temperature_area"}, "outdoor"),
        ({"series": {}}, "tg"),
        ({"households": [Household(1, 60), Household(2, 60)]}, "B must be a number"),
    ],
)
def test_what_cannot_be_allocated_is_refused(changes, word):
    with pytest.raises(Refused, match=word):
        allocate(replace(building(*steady(2, 2)), **changes))


def test_an_infinite_temperature_is_refused_anywhere():
    for name in ("tg", "th", "tn"):
        for value in (np.inf, -np.inf):
            arrays = dict(zip(("tg", "th", "tn"), steady(2, 3), strict=True))
            arrays[name][1, 2] = value
            with pytest.raises(Refused):
                allocate(replace(building(*steady(2, 3)), series=arrays))


@settings(deadline=None, max_examples=25)
@given(buildings())
def test_allocating_leaves_its_input_as_it_was(case):
    before = {name: array.copy() for name, array in case.series.items()}
    allocate(case)
    for name, array in case.series.items():
        np.testing.assert_array_equal(array, before[name])
