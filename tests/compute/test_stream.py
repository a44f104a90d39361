"""`nuan compute --jsonl` as a stream: whole seasons, bad lines, one answer a line."""

import json
from decimal import Decimal

import pytest
from click.testing import CliRunner

from backend.compute import compute
from tests import paper18
from tests.compute import oracle

GOOD = b'{"id":"good","kind":"largest_remainder","input":{"total":1,"weights":{"a":1}}}'


def stream(*lines):
    done = CliRunner().invoke(compute, ["--jsonl"], input=b"\n".join(lines))
    assert done.exit_code == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "id_", "said"),
    [
        (b'{"id":"n","kind":"series","input":{"dt_s":[NaN]}}', "n", "NaN"),
        (b'{"id":"i","kind":"series","input":{"total_units":-Infinity}}', "i", "Infinity"),
        (b'{"input":{"total":NaN},"kind":"largest_remainder","id":7}', 7, "NaN"),
        (b'{"id":"u","kind":"components","input":{"usage":1,"components":{},"x":NaN}}', "u", "NaN"),
        (b'{"id":"\\ud800","kind":"guess","input":{}}', "\ud800", "kind"),
        (b'{"id":{"a":1},"kind":"meter","input":null}', {"a": 1}, "input"),
        (b'{"id":"big","kind":"heat_bill","input":{"area":1e400}}', "big", "range"),
        (b'{"id":"cut","kind":"ser', None, "JSON"),
    ],
)
def test_a_bad_line_is_one_error_by_its_id_and_the_next_goes_on(line, id_, said):
    bad, good = stream(line, GOOD)
    assert bad["id"] == id_
    assert said in bad["error"]
    assert "result" not in bad
    assert good == {"id": "good", "result": {"parts": {"a": 1}}}


def test_a_line_of_every_kind_without_input_is_an_error_each():
    from backend.compute.jsonl import KINDS

    lines = [json.dumps({"id": kind, "kind": kind, "input": {}}).encode() for kind in KINDS]
    answers = stream(*lines)
    assert [said["id"] for said in answers] == list(KINDS)
    assert all(said["error"] and "result" not in said for said in answers)


def season(times):
    """The published building's two days, over and over: shares stay those of the two days."""
    source = paper18.case()["input"]
    flats = [
        {**flat, **{name: flat[name] * times for name in ("tg", "th", "tn")}}
        for flat in source["households"]
    ]
    total_wh = 350_123_457
    return {**source, "dt_s": source["dt_s"] * times, "households": flats, "total_units": total_wh}


def test_a_season_of_eighteen_flats_in_one_line_is_right_to_the_wh():
    two_days = season(1)
    weights = {
        flat["id"]: oracle.q(flat["gamma"]) * oracle.q(flat["area"]) * _integral(flat)
        for flat in two_days["households"]
    }
    units, margin = oracle.shared(two_days["total_units"], weights)
    assert margin > Decimal("1e-6")
    whole = season(90)
    assert len(whole["dt_s"]) == 180 * 144
    (said,) = stream(json.dumps({"id": "s", "kind": "series", "input": whole}).encode())
    assert said["result"]["units"] == units


def _integral(flat):
    rows = zip(flat["tg"], flat["th"], flat["tn"], strict=True)
    exponent = oracle.q(flat["B"])
    return sum(
        oracle.power((oracle.q(g) + oracle.q(h)) / 2 - oracle.q(n), exponent) for g, h, n in rows
    )
