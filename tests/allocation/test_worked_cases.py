"""The worked cases, through the very door `nuan compute --jsonl` reads by."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from backend.compute import compute
from backend.compute.jsonl import KINDS, answer

CASES = [
    case
    for path in sorted((Path(__file__).parents[1] / "data" / "cases").glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
]
# Other ways of rounding, and remarks: a case's answer may leave them out.
OPTIONAL = {
    "fee_fen_once",
    "once_fen",
    "fee_fen_cumulative",
    "year_fen_exact_rounded_once",
    "rounding_margin",
}


def agrees(want, got):
    """Whole numbers and text equal, exact decimals (given as text) and floats within 1e-9."""
    if isinstance(want, dict):
        return isinstance(got, dict) and all(
            agrees(value, got[key]) if key in got else key in OPTIONAL
            for key, value in want.items()
        )
    if isinstance(want, list):
        return len(want) == len(got) and all(map(agrees, want, got))
    if isinstance(want, str) and isinstance(got, str):
        return want == got or _near(want, got)
    if isinstance(want, float):
        return isinstance(got, float) and _near(want, got)
    return type(want) is type(got) and want == got


def _near(want, got):
    try:
        return float(got) == pytest.approx(float(want), rel=1e-9, abs=1e-9)
    except ValueError:
        return False


def ask(request):
    return json.loads(answer(json.dumps(request).encode()))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_worked_case_comes_out(case):
    got = ask({key: case[key] for key in ("id", "kind", "input")})
    assert got["id"] == case["id"]
    assert agrees(case["expected"], got.get("result")), got


def test_every_kind_has_a_worked_case():
    assert {case["kind"] for case in CASES} == set(KINDS)


def test_the_published_building_comes_out_to_the_wh():
    case = next(case for case in CASES if case["id"] == "paper18-2day-b-plus-1")
    assert ask(case)["result"]["units"] == case["expected"]["units"]


FLAT = {"id": "A", "area": 60, "gamma": 0.5, "B": 1.3, "tg": [45], "th": [35], "tn": [20]}
GOOD = {"method": "three_temperature", "total_units": 1000, "dt_s": [600], "households": [FLAT]}


def with_flat(**changes):
    return {**GOOD, "households": [{**FLAT, **changes}]}


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ({**GOOD, "total_units": -1}, "negative"),
        ({**GOOD, "total_units": 1.5}, "whole"),
        ({**GOOD, "total_units": True}, "number"),
        ({**GOOD, "method": "guess"}, "method"),
        ({**GOOD, "households": []}, "active"),
        ({**GOOD, "households": [FLAT, FLAT]}, "same id"),
        ({**GOOD, "gap_rule": "hope"}, "gap_rule"),
        ({**GOOD, "min_coverage": 2}, "min_coverage"),
        ({**GOOD, "dt_s": [-600]}, "dt_s"),
        ({**GOOD, "dt_s": [None]}, "dt_s"),
        ({**GOOD, "dt_s": [600, 600]}, "samples"),
        (with_flat(area=0), "area"),
        (with_flat(B=0), "B"),
        (with_flat(B=None), "B"),
        (with_flat(gamma=-1), "gamma"),
        (with_flat(gamma="0.5"), "gamma"),
        (with_flat(tn=["20"]), "tn"),
        (with_flat(tn=[1e308], B=1.9), "range"),
        (with_flat(status="asleep"), "status"),
        (with_flat(status="suspended"), "active"),
        (with_flat(active_from="2024-12-01T00:00:00+08:00"), "start"),
        ({key: value for key, value in GOOD.items() if key != "households"}, "households"),
        ([], "object"),
    ],
)
def test_bad_input_is_refused_with_the_reason(source, word):
    got = ask({"id": 1, "kind": "series", "input": source})
    assert "result" not in got
    assert word in got["error"]


def test_nan_is_refused_where_null_is_missing():
    line = b'{"id":1,"kind":"series","input":{"tn":[NaN]}}'
    assert "NaN" in json.loads(answer(line))["error"]
    one_of_two = {**GOOD, "households": [with_flat()["households"][0], {**FLAT, "id": "B"}]}
    one_of_two["households"][0]["tn"] = [None]
    assert "result" in ask({"id": 1, "kind": "series", "input": one_of_two})


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("meter", {"digits": 10**9, "max_per_day": 1, "events": []}),
        ("tou", {"schedule": [], "prices": {}, "intervals": [["2025-01-01T00:00", 1e30, 1]]}),
        ("tiered", {"tariff": {"tiers": []}, "usages": [1]}),
        ("late_fee", {"principal_fen": 1, "due": "2025-02-30", "as_of": "2025-03-01", "rate": 1}),
        ("prepaid", {"tariff": {}, "opening_fen": 0, "daily_usage": [1]}),
        ("heat_bill", {"area": 80, "heat_gj": -1, "k1": 1, "k2": 1}),
        ("heat_bill", {"area": 80, "mode": "by_feeling"}),
        ("split_cost", {"total_fen": 1.5, "base_ratio": 1, "households": []}),
        ("scalar", {**GOOD, "method": "area", "common": {"kind": "fixed_fraction"}}),
        ("timestamped", {**GOOD, "start": "now", "end": "later", "max_hold_s": 1}),
        ("components", {"usage": "13", "components": {}}),
    ],
)
def test_other_kinds_refuse_bad_input_too(kind, source):
    got = ask({"id": 1, "kind": kind, "input": source})
    assert got["error"]
    assert "result" not in got


def test_a_register_that_could_not_be_read_is_not_a_reading():
    events = [
        {"t": "2024-11-01T08:00:00+08:00", "value": 10},
        {"t": "2024-11-02T08:00:00+08:00", "value": None},
        {"t": "2024-11-03T08:00:00+08:00", "value": 30},
    ]
    source = {"digits": 8, "max_per_day": 20, "unit_in_wh": 1000, "events": events}
    got = ask({"id": 1, "kind": "meter", "input": source})["result"]
    assert (got["consumption"], got["consumption_wh"]) == ("20", "20000")


def test_a_bad_line_never_stops_the_stream():
    lines = [
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'"text"',
        b'{"id": 3}',
        b'{"id": 4, "kind": "identify", "input": {}}',
        b'{"id": 5, "kind": "components", "input": {"usage": 1e999999999, "components": {}}}',
        b"",
        b'{"id": 6, "kind": "largest_remainder", "input": {"total": 1, "weights": {"a": 1}}}',
    ]
    done = CliRunner().invoke(compute, ["--jsonl"], input=b"\n".join(lines))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert [found["id"] for found in answers] == [None, None, None, None, 3, 4, 5, 6]
    assert ["error" in found for found in answers] == [True] * 7 + [False]
