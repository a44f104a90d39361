"""`nuan compute` against brute force, over inputs made to be nasty."""

import json
from datetime import date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.compute.jsonl import answer
from tests.compute import oracle

START = "2024-02-28T18:00:00+08:00"  # the next day's morrow is 29 February
ordinary = settings(max_examples=150, deadline=None)


def ask(kind, source):
    said = json.loads(answer(json.dumps({"id": "x", "kind": kind, "input": source}).encode()))
    assert said["id"] == "x"
    assert set(said) in ({"id", "result"}, {"id", "error"})
    return said


def agree(kind, source, expected, slack=0):
    """The answer is what brute force says (or as it, a refusal)."""
    try:
        want = expected()
    except oracle.Refusal:
        assert ask(kind, source).get("error")
        return
    said = ask(kind, source)
    assert "result" in said, said
    close(want, said["result"], slack)


def close(want, got, slack):
    if isinstance(want, dict):
        assert want.keys() == got.keys()
        for key, value in want.items():
            close(value, got[key], slack)
    elif isinstance(want, list):
        assert len(want) == len(got)
        for one, other in zip(want, got, strict=True):
            close(one, other, slack)
    elif isinstance(want, Fraction):
        assert abs(Fraction(str(got)) - want) <= Fraction(1, 10**9) * max(1, abs(want))
    elif isinstance(want, int) and not isinstance(want, bool):
        assert abs(want - got) <= slack
    else:
        assert want == got


def numbers(low, high, step="0.1"):
    """Decimals on a grid, so that ties and zeros are common."""
    unit = Fraction(step)
    whole = st.integers(int(low / unit), int(high / unit))
    return whole.map(lambda n: float(n * unit))


maybe = st.sampled_from([0, 0, 0, 1])


RADIATORS = ("three_temperature", "radiator", "radiator_corrected")
SERIES = (*RADIATORS, "temperature_area", "degree_day", "flow_temperature")


@st.composite
def series_source(draw):
    method = draw(st.sampled_from(SERIES))
    count = draw(st.integers(1, 5))
    temperature = st.one_of(st.sampled_from([20.0, 30.0]), numbers(15, 50, "0.01"))
    row = st.lists(
        st.one_of(temperature, temperature, temperature, st.none()), min_size=count, max_size=count
    )
    instant = st.integers(0, 40).map(
        lambda h: (datetime.fromisoformat(START) + timedelta(hours=h)).isoformat()
    )
    flats = []
    for name in draw(st.permutations("ABCDE"))[: draw(st.integers(0, 5))]:
        flat = {"id": name, "area": draw(st.sampled_from([20, 25, 50, 62.4, 100]))}
        flat |= {"gamma": draw(st.sampled_from([0.3, 0.5, 0.911])), "a": 2.426, "Fn": 9.6}
        flat |= {"beta": [0.95, 1, 1.02, 1], "alpha": draw(st.sampled_from([-0.1, 0, 0.3]))}
        flat |= {"room_constant": 90.5, "flow_fraction": draw(st.sampled_from([0, 0.25]))}
        if method in RADIATORS:
            flat["B"] = draw(st.sampled_from([1, 1.262, 1.5, 1.943]))
        flat |= {n: draw(row) for n in ("tg", "th", "tn")}
        if draw(maybe):
            flat["status"] = "suspended"
        if draw(maybe):
            flat["active_from"] = draw(instant)
        elif draw(maybe):
            flat["active_to"] = draw(instant)
        flats.append(flat)
    source = {
        "method": method,
        "start": START,
        "total_units": draw(st.sampled_from([0, 1, 7, 1000, 99991, 10_530_000, -5])),
        "dt_s": draw(
            st.lists(st.sampled_from([1, 600, 3600, 43200]), min_size=count, max_size=count)
        ),
        "outdoor": draw(st.lists(numbers(-25, 25), min_size=count, max_size=count)),
        "households": flats,
    }
    if method == "temperature_area":
        source["base"] = draw(st.sampled_from([0, 18, "outdoor"]))
    if draw(maybe):
        source["gap_rule"] = draw(st.sampled_from(["time_scale", "zero"]))
    if draw(maybe):
        source["min_coverage"] = draw(st.sampled_from([0, 0.25, 0.5, 1]))
    if draw(maybe):
        ids = st.lists(st.sampled_from("ABCDEZ"), max_size=3)
        source["missing_rule"] = {
            "kind": "neighbours_mean",
            "neighbours": draw(st.dictionaries(st.sampled_from("ABCDE"), ids)),
        }
    if draw(maybe):
        source["common"] = {"kind": "fixed_fraction", "fraction": draw(numbers(0, 1))}
    return source


@settings(max_examples=400, deadline=None)
@given(series_source())
def test_a_building_of_samples(source):
    margin = Fraction(1)

    def expected():
        nonlocal margin
        result, margin = oracle.building(source, "series")
        return result

    try:
        expected()
    except oracle.Refusal:
        margin = Fraction(1)
    agree("series", source, expected, int(margin < Fraction(1, 10**6)))


def flat_of(name, area, tn, **more):
    return {
        "id": name,
        "area": area,
        "gamma": 0.5,
        "B": 1.3,
        "tg": [45, 45],
        "th": [35, 35],
        "tn": tn,
        **more,
    }


EDGES = {
    "coverage exactly at the least": [flat_of("A", 50, [None, 20]), flat_of("B", 50, [20, 21])],
    "missing exactly a quarter": [flat_of("A", 50, [None, None]), flat_of("B", 150, [20, 21])],
    "missing a little over a quarter": [
        flat_of("A", 50.01, [None, None]),
        flat_of("B", 150, [20, 21]),
    ],
    "one household": [flat_of("A", 50, [20, 21])],
    "one household, nothing known": [flat_of("A", 50, [None, None])],
    "tp is tn": [flat_of("A", 50, [40, 40]), flat_of("B", 50, [40, 39.99])],
    "nobody": [],
    "all suspended": [flat_of("A", 50, [20, 21], status="suspended")],
    "joined as the window ends": [
        flat_of("A", 50, [20, 21], active_from="2024-02-29T18:00:00+08:00"),
        flat_of("B", 50, [20, 21]),
    ],
    "left as it begins": [flat_of("A", 50, [20, 21], active_to=START), flat_of("B", 50, [20, 21])],
    "twenty-one equals": [flat_of(f"{n:02}", 50, [20, 21]) for n in range(21)],
    "an area of zero": [flat_of("A", 0, [20, 21]), flat_of("B", 50, [20, 21])],
}


@pytest.mark.parametrize("name", EDGES)
def test_the_edge_of_a_rule(name):
    source = {
        "method": "three_temperature",
        "start": START,
        "total_units": 100_000,
        "dt_s": [43200, 43200],
        "households": EDGES[name],
    }
    agree("series", source, lambda: oracle.building(source, "series")[0])


@st.composite
def timestamped_source(draw):
    begin = datetime.fromisoformat(START)
    flats = []
    for name in "ABC"[: draw(st.integers(1, 3))]:
        value = st.one_of(st.none(), st.sampled_from([20, 40]), numbers(18, 50))
        samples = draw(
            st.lists(st.tuples(st.integers(-30, 130), value, value, st.just(20)), max_size=8)
        )
        flat = {"id": name, "area": 60, "gamma": 0.5, "B": 1.5}
        flat["samples"] = [
            [(begin + timedelta(minutes=at)).isoformat(), *values] for at, *values in samples
        ]
        if draw(maybe):
            flat["active_from"] = (begin + timedelta(minutes=draw(st.integers(0, 99)))).isoformat()
        flats.append(flat)
    return {
        "method": "three_temperature",
        "start": START,
        "end": (begin + timedelta(minutes=100)).isoformat(),
        "max_hold_s": draw(st.sampled_from([60, 600, 1200, 86400])),
        "total_units": draw(st.sampled_from([1000, 99991])),
        "households": flats,
    }


@ordinary
@given(timestamped_source())
def test_samples_with_their_instants(source):
    result, margin = oracle.building(source, "timestamped")
    agree("timestamped", source, lambda: result, int(margin < Fraction(1, 10**6)))


reading = st.one_of(st.none(), st.just(0), numbers(-5, 9000))
radiator_of = {
    "valve_time_radiator": st.fixed_dictionaries(
        {"rating": st.sampled_from([800, 1200]), "on_s": reading}
    ),
    "hca_units": st.fixed_dictionaries({"units": reading, "K": numbers(0, 2)}),
    "hca_evaporative": st.fixed_dictionaries(
        {
            "reading_start": st.one_of(st.none(), numbers(0, 10)),
            "reading_end": reading,
            "cold_evaporation": numbers(0, 5),
            "KQ": numbers(0, 3),
            "KC": numbers(0, 2),
        }
    ),
}
SAMPLES = 3
heat = st.lists(
    st.one_of(st.none(), numbers(15, 80), numbers(15, 80)), min_size=SAMPLES, max_size=SAMPLES
)
radiator_of["hca_electronic"] = st.fixed_dictionaries(
    {
        "KQ": st.sampled_from([800, 1000.5]),
        "KC": numbers(0, 2),
        "n": st.sampled_from([1, 1.3, 1.5]),
        "t_heater": heat,
        "t_room": heat,
    },
    optional={"dT_min": st.sampled_from([0, 5])},
)


@st.composite
def scalar_source(draw):
    methods = ["area", "heat_meter", "hot_water_meter", "on_off_time_area", *radiator_of]
    method = draw(st.sampled_from(methods))
    flats = []
    for name in draw(st.permutations("ABCDE"))[: draw(st.integers(0, 5))]:
        flat = {"id": name, "area": draw(st.sampled_from([20, 50, 62.4, 80]))}
        flat |= {n: draw(reading) for n in ("heat", "volume", "on_s")}
        if method in radiator_of:
            flat["radiators"] = draw(st.lists(radiator_of[method], max_size=2))
        if draw(maybe):
            flat["status"] = "suspended"
        flats.append(flat)
    source = {
        "method": method,
        "total_units": draw(st.sampled_from([0, 1, 10, 100_000, 20_000, -1])),
        "supply_s": 8640,
        "households": flats,
    }
    if method == "hca_electronic":
        source["dt_s"] = [3600, 7200, 600]
    if draw(maybe):
        source["common"] = {"kind": "metered_loss"}
    return source


@settings(max_examples=400, deadline=None)
@given(scalar_source())
def test_a_building_of_readings(source):
    try:
        result, margin = oracle.building(source, "scalar")
    except oracle.Refusal:
        assert ask("scalar", source).get("error")
        return
    agree("scalar", source, lambda: result, int(margin < Fraction(1, 10**6)))


@ordinary
@given(st.integers(-2, 200), st.dictionaries(st.text(max_size=2), numbers(0, 3), max_size=9))
def test_largest_remainder(total, weights):
    source = {"total": total, "weights": weights}
    exact = {key: oracle.q(weight) for key, weight in weights.items()}
    agree("largest_remainder", source, lambda: {"parts": oracle.shared(total, exact)[0]})


@st.composite
def meter_source(draw):
    digits = draw(st.sampled_from([2, 3]))
    resolution = draw(st.sampled_from([1, 0.1]))
    value = numbers(0, (10**digits - 1) * Fraction(str(resolution)), str(resolution))
    at = datetime.fromisoformat("2023-12-30T08:00:00+08:00")
    events = []
    for _ in range(draw(st.integers(2, 6))):
        at += timedelta(hours=draw(st.sampled_from([1, 24, 24, 60])))
        event = {"t": at.isoformat(), "value": draw(value)}
        if draw(maybe):
            change = {"old_final": draw(value), "new_initial": draw(value)}
            event = {"t": at.isoformat(), "replaced": change}
        events.append(event)
    return {
        "digits": digits,
        "max_per_day": draw(st.sampled_from([0, 10, 50, 2000])),
        "resolution": resolution,
        "unit_in_wh": 1000,
        "events": draw(st.permutations(events)),
    }


@ordinary
@given(meter_source())
def test_a_register(source):
    agree("meter", source, lambda: oracle.meter(source))


@pytest.mark.parametrize(("least", "known"), [(20, True), (19.999, False)])
def test_a_rollover_is_plausible_up_to_the_most_a_day(least, known):
    events = [
        {"t": "2024-02-28T08:00:00+08:00", "value": 990},
        {"t": "2024-03-01T08:00:00+08:00", "value": 30},  # 40 in two days, one of them the 29th
    ]
    source = {"digits": 3, "max_per_day": least, "resolution": 1, "unit_in_wh": 1, "events": events}
    assert (ask("meter", source)["result"]["consumption"] == "40") is known


GRAIN = Fraction(1, 24)
halves = st.integers(0, 120).map(lambda n: n / 2)
tiers = st.sampled_from(
    [
        [{"upto": None, "price": 0.4883}],
        [{"upto": 60, "per_extra_person": 10, "price": 5}, {"upto": None, "price": 9.005}],
        [
            {"upto": 20, "price": 0},
            {"upto": 60, "per_extra_person": 5, "price": 0.05},
            {"upto": None, "price": 0.3},
        ],
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    tiers,
    st.lists(st.one_of(halves, halves.map(lambda n: -n / 2 if n == int(n) else -n)), max_size=4),
    st.integers(0, 8),
    st.integers(1, 12),
    halves,
)
def test_tiers(steps, usages, persons, months, prior):
    source = {
        "tariff": {"base_persons": 4, "tiers": steps},
        "usages": usages,
        "persons": persons,
        "months": months,
        "prior_cumulative": prior,
    }
    agree("tiered", source, lambda: oracle.tiered(source, GRAIN))


SCHEDULE = [
    {"period": "sharp", "from": "18:00", "to": "21:00", "months": [1, 7, 8, 12]},
    {"period": "peak", "from": "10:00", "to": "21:00"},
    {"period": "valley", "from": "23:00", "to": "07:00", "months": [1, 2, 12]},
    {"period": "deep", "from": "23:00", "to": "05:30"},
    {"period": "flat", "from": "05:30", "to": "23:00"},
]
moments = st.integers(-4000, 100_000).map(
    lambda m: (datetime(2023, 12, 31, 22) + timedelta(minutes=m)).isoformat()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(moments, st.integers(1, 3000), numbers(-1, 50)), max_size=3))
def test_time_of_use(intervals):
    source = {
        "schedule": SCHEDULE,
        "prices": {"sharp": 1.2, "peak": 1.005, "valley": 0.3, "deep": 0.1, "flat": 0.6},
        "intervals": [list(one) for one in intervals],
    }
    agree("tou", source, lambda: oracle.tou(source))


@ordinary
@given(
    st.integers(0, 20_000),
    st.integers(-10, 500),
    st.lists(st.tuples(st.integers(-5, 400), st.integers(0, 15_000)), max_size=4),
    st.sampled_from([0, 0.0005, 0.01]),
    st.sampled_from([0, 0.5, 1]),
    st.sampled_from([0, 100]),
    st.sampled_from(["principal_first", "penalty_first"]),
)
def test_a_late_fee(principal, later, payments, rate, cap, least, order):
    due = date(2024, 2, 20)
    source = {
        "principal_fen": principal,
        "due": due.isoformat(),
        "as_of": (due + timedelta(later)).isoformat(),
        "rate": rate,
        "cap_ratio": cap,
        "min_fen": least,
        "order": order,
        "payments": [
            {"date": (due + timedelta(day)).isoformat(), "fen": fen} for day, fen in payments
        ],
    }
    agree("late_fee", source, lambda: oracle.late_fee(source))


@settings(max_examples=60, deadline=None)
@given(
    tiers,
    st.lists(st.integers(0, 20).map(lambda n: n / 2), min_size=1, max_size=9),
    st.dictionaries(st.integers(1, 9), st.integers(0, 9000), max_size=3),
    st.sampled_from([0, 500, 10**12 + 7]),
    st.sampled_from([None, {"total_fen": 10**12 + 1, "days": 7}, {"total_fen": 100, "days": 3}]),
    st.integers(1, 3),
)
def test_a_prepaid_account(steps, usages, topups, opening, instalment, close_after):
    source = {
        "warn_fen": 1000,
        "close_after_days": close_after,
        "opening_fen": opening,
        "tariff": {"tiers": steps},
        "daily_usage": usages,
        "topups": {str(day): fen for day, fen in topups.items() if day <= len(usages)},
    }
    if instalment:
        source["instalment"] = instalment
    agree("prepaid", source, lambda: oracle.prepaid(source, Fraction(1, 2)))


@ordinary
@given(st.data())
def test_a_total_over_periods(data):
    first, days = date(2023, 12, 20), data.draw(st.integers(1, 80))
    cuts = data.draw(st.lists(st.integers(0, days), max_size=4))
    source = {
        "total": data.draw(st.sampled_from([0, 1, 30, 100_000])),
        "from": first.isoformat(),
        "to": (first + timedelta(days)).isoformat(),
        "cuts": [(first + timedelta(cut)).isoformat() for cut in cuts],
    }
    if data.draw(maybe):
        weight = st.sampled_from([0, 0, 1, 22.5])
        source["by"] = "degree_days"
        source["degree_days"] = data.draw(st.lists(weight, min_size=days, max_size=days))
    agree("split_over_periods", source, lambda: oracle.split_over_periods(source))


@ordinary
@given(
    st.integers(0, 100_001),
    numbers(0, 1, "0.05"),
    st.lists(
        st.tuples(st.sampled_from([50, 62.4, 0]), st.sampled_from([0, 0, 12.5, 30])), max_size=5
    ),
)
def test_a_cost_in_two_parts(total, ratio, flats):
    households = [
        {"id": f"{n}", "area": area, "weight": weight} for n, (area, weight) in enumerate(flats)
    ]
    source = {"total_fen": total, "base_ratio": ratio, "households": households}
    agree("split_cost", source, lambda: oracle.split_cost(source))


@ordinary
@given(numbers(-20, 20, "0.005"), st.dictionaries(st.sampled_from("abc"), numbers(0, 3, "0.01")))
def test_components(usage, prices):
    source = {"usage": usage, "components": prices}
    agree("components", source, lambda: oracle.components(source))


@ordinary
@given(
    numbers(0, 120, "0.005"),
    numbers(0, 90, "0.005"),
    numbers(0, 40, "0.01"),
    st.sampled_from([0.8, 1]),
    st.integers(0, 500_000),
)
def test_a_heat_bill(area, heat_gj, area_price, cap, prepaid_fen):
    source = {
        "k1": 16.5,
        "k2": 44.41,
        "area": area,
        "heat_gj": heat_gj,
        "area_price": area_price,
        "cap_ratio": cap,
        "prepaid_fen": prepaid_fen,
    }
    agree("heat_bill", source, lambda: oracle.heat_bill(source))
