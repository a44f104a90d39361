"""Every public Q/GDW 376.1 frame reads as its source says, and none survives a flipped bit."""

import json
from pathlib import Path

import pytest

from collectors.decode import explain
from collectors.frames import FrameError, qgdw3761
from collectors.frames.qgdw3761_describe import describe

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "qgdw3761.jsonl").read_text("utf-8").splitlines()
]
IDS = [row["id"] for row in ROWS]
CHECKED = {"lengths_equal", "length_ok", "checksum_ok"}  # what decode refuses, not what it says
# What the inner meter frame means is its own codec's to say; the rest is prose or in the frame.
NOT_READ = {"inner_function", "function", "note", "weekday", "protocol_version"}
NOT_READ |= {"afn", "fn", "pn", "a1", "a2", "con", "fir", "fin"}


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_public_frame_reads_as_its_source_says(row):
    out = describe(row)
    stated = {k: v for k, v in row["expect"]["frame"].items() if k not in CHECKED}
    assert {key: out["frame"].get(key) for key in stated} == stated
    values = {k: v for k, v in row["expect"]["values"].items() if k not in NOT_READ}
    assert {key: out["values"].get(key) for key in values} == pytest.approx(values)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_login_logout_and_orders_are_called_what_the_source_calls_them(row):
    said = row["expect"]["values"].get("function")
    named = {"login", "logout", "heartbeat", "hardware reset", "terminal clock", "confirm"}
    if said in named:
        assert describe(row)["values"]["function"] == said


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_no_single_flipped_bit_passes(row):
    frame = bytes.fromhex(row["hex"])
    for bit in range(8 * len(frame)):
        bad = bytearray(frame)
        bad[bit // 8] ^= 1 << bit % 8
        try:
            message, _ = qgdw3761.decode(bad)
        except FrameError:
            continue
        assert message is None


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_an_installer_sees_every_frame_in_chinese(row):
    rows = explain("qgdw3761", bytes.fromhex(row["hex"]))
    assert rows[0][0] == "规约"
    assert all(isinstance(cell, str) and cell for one in rows for cell in one[:2])
