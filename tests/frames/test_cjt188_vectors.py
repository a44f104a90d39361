"""Every public CJ/T 188 frame reads as its source says, or is refused where it must be."""

import json
from pathlib import Path

import pytest

from collectors.frames.cjt188_describe import describe

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "cjt188.jsonl").read_text().splitlines()
]
FRAME_KEYS = (
    "meter_type",
    "address",
    "ctrl",
    "di",
    "di_wire",
    "di_order",
    "ser",
    "data",
    "length",
    "offset",
)
# These are prose or belong to the collector's header, not to the frame.
NOT_READ = {
    "function",
    "meter_no",
    "manufacturer_code",
    "valid",
    "dtu_total_length",
    "dtu_bytes_after_id",
    "dtu_prefix",
    "dtu_id",
}


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_public_frame_reads_as_its_source_says(row):
    out = describe(row)
    expect = row["expect"]
    if "reject" in expect:
        assert out["reject"].startswith(expect["reject"])
        return
    stated = {key: expect["frame"][key] for key in FRAME_KEYS if key in expect["frame"]}
    assert {key: out["frame"][key] for key in stated} == stated
    values = {k: v for k, v in expect.get("values", {}).items() if k not in NOT_READ}
    assert {key: out["values"].get(key) for key in values} == pytest.approx(values)


# A stream may hold a second good frame.
LONE = [row for row in ROWS if "reject" not in row["expect"] and not row.get("input")]


@pytest.mark.parametrize("row", LONE, ids=[row["id"] for row in LONE])
def test_no_public_frame_survives_a_flipped_bit(row):
    data = bytearray.fromhex(row["hex"])
    middle = data.index(0x68) + 5
    data[middle] ^= 0x04
    assert "reject" in describe({"hex": data.hex()})
