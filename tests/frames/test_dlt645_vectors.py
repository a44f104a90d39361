"""Every public DL/T 645 frame reads as its source says, or is refused where it must be."""

import json
from pathlib import Path

import pytest

from collectors.decode import answer_line

DATA = Path(__file__).parent / "data"
ROWS = [
    json.loads(line)
    for name in ("dlt645_2007.jsonl", "dlt645_1997.jsonl")
    for line in (DATA / name).read_text("utf-8").splitlines()
]
# Prose of the source, not something the frame says in these words.
NOT_READ = {"function", "note", "result", "count"}


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_public_frame_reads_as_its_source_says(row):
    out = answer_line(json.dumps(row))
    expect = row["expect"]
    if "reject" in expect:
        assert out["reject"]
        return
    assert {key: out["frame"].get(key) for key in expect["frame"] if key != "error"} == {
        key: value for key, value in expect["frame"].items() if key != "error"
    }
    values = {k: v for k, v in expect.get("values", {}).items() if k not in NOT_READ}
    assert {key: out["values"].get(key) for key in values} == values


TWICE = [row for row in ROWS if "values" in row["expect"].get("standard_layout", {})]


@pytest.mark.parametrize("row", TWICE, ids=[row["id"] for row in TWICE])
def test_a_frame_read_twice_agrees_with_the_second_reading(row):
    second = row["expect"]["standard_layout"]
    assert answer_line(json.dumps(row))["values"]["values"] == second["values"]


GOOD = [row for row in ROWS if "reject" not in row["expect"] and not row.get("input")]


@pytest.mark.parametrize("row", GOOD, ids=[row["id"] for row in GOOD])
def test_no_public_frame_survives_a_flipped_bit(row):
    data = bytes.fromhex(row["hex"])
    start = data.index(0x68)
    for at in range(start, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            answer = answer_line(json.dumps({**row, "hex": flipped.hex()}))
            assert "reject" in answer, f"byte {at} bit {bit}"


def test_the_public_set_is_whole():
    assert len(ROWS) == 73
