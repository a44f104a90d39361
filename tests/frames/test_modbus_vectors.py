"""Every public Modbus frame reads as its source says, or is refused where it must be."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.cli import decode
from collectors.frames import modbus_map
from collectors.frames import modbus_pdu as pdus
from collectors.frames.modbus_describe import describe
from collectors.frames.modbus_field import Field
from collectors.register_maps import shipped

DATA = Path(__file__).parent / "data" / "modbus.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
FRAMES = [row for row in ROWS if row.get("input") != "register-block"]
BLOCKS = [row for row in ROWS if row.get("input") == "register-block"]
GOOD = [row for row in FRAMES if "reject" not in row["expect"]]


def ids(rows):
    return [row["id"] for row in rows]


@pytest.mark.parametrize("row", FRAMES, ids=ids(FRAMES))
def test_a_public_frame_reads_as_its_source_says(row):
    out, expect = describe(row), row["expect"]
    if "reject" in expect:
        assert out["reject"].startswith("checksum")
        return
    assert "reject" not in out
    frame = {"exception": out["code"] if expect["kind"] == "exception" else None}
    assert out["frame"].items() >= {**frame, **expect.get("frame", {})}.items()
    keys = ("kind", "address", "count", "registers", "coils", "code", "transport")
    stated = {key: expect[key] for key in keys if key in expect}
    assert {key: out.get(key) for key in stated} == stated


def test_a_good_frame_behind_a_damaged_one_is_told_with_it():
    (row,) = [row for row in FRAMES if row.get("input") == "stream"]
    out = describe(row)
    assert out["reject"].startswith("checksum")
    assert out["second_frame"] == row["expect"]["second_frame"]
    assert (out["kind"], out["code"]) == ("exception", 2)


@pytest.mark.parametrize("row", BLOCKS, ids=ids(BLOCKS))
def test_a_dump_of_a_tuf_2000_reads_as_its_source_says(row):
    registers = describe(row)["registers"]
    assert registers == row["expect"].get("registers_1_to_100", registers)
    types = {"float32": "f32", "int32": "s32"}
    for span, stated in row["expect"]["values"].items():
        first = int(span.split("-")[0]) if "-" in span else 0
        if stated.get("type") in types:
            field = Field(first - 1, types[stated["type"]], 2, order="CDAB")
            value = float(field.read(registers[first - 1 : first + 1]))
            assert value == pytest.approx(stated["value"], rel=1e-7)
        if "clock" in stated:
            found = {(3, n): word for n, word in enumerate(registers)}
            when = modbus_map.read(shipped("tuf-2000"), found).meter_time
            assert str(when) == stated["clock"]
    assert registers[91] & 0xFF == 38  # signal quality


def test_the_shipped_map_reads_the_dump_into_whole_numbers():
    registers = {(3, n): word for n, word in enumerate(describe(BLOCKS[0])["registers"])}
    # Multiplier and unit are not in the dump: cubic metres by 1, gigajoules by 1.
    registers |= {(3, 1437): 0, (3, 1438): 3, (3, 1439): 4, (3, 1440): 0}
    reading = modbus_map.read(shipped("tuf-2000"), registers)
    assert reading.faults == {}
    assert reading.values == {
        "flow_lph": -860,
        "power_w": -2409,
        "volume_l": 216,
        "energy_wh": 24_406_631,
        "negative_energy_wh": -15_801_428,
        "supply_cdeg": 710,
        "return_cdeg": 470,
    }


def transport(row):
    return row["expect"].get("transport") or row["expect"]["frame"]["transport"]


# MBAP has no checksum.
CHECKED = [row for row in GOOD if transport(row) != "tcp"]


@pytest.mark.parametrize("row", CHECKED, ids=ids(CHECKED))
def test_no_public_rtu_or_ascii_frame_survives_a_flipped_bit(row):
    data = bytes.fromhex(row["hex"])
    good = describe(row)
    for bit in range(len(data) * 8):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        out = describe({"hex": spoilt.hex()})
        # In ASCII a digit in small letters is the same digit, and what comes before is noise.
        assert "reject" in out or (transport(row) == "ascii" and out == good)


@pytest.mark.parametrize("row", GOOD, ids=ids(GOOD))
def test_the_command_shows_an_installer_each_frame_in_chinese(row):
    done = CliRunner().invoke(decode, ["modbus", row["hex"]])
    assert done.exit_code == 0
    assert "从站地址" in done.output and "功能码" in done.output


def test_the_command_says_in_chinese_what_an_exception_is():
    done = CliRunner().invoke(decode, ["modbus", "0C0500000003118302"])
    assert "02 非法数据地址" in done.output
    bad = CliRunner().invoke(decode, ["modbus", "0083029121"])
    assert (bad.exit_code, "校验和不符" in bad.output) == (1, True)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "not hexadecimal"),
        ({"hex": "zz"}, "not hexadecimal"),
        ({"hex": ""}, "short"),
        ({"hex": "0103"}, "short"),
        ({"hex": "0000000000060003007C00"}, "short"),
        ({"hex": "0C05000000030083020"}, "not hexadecimal"),
        ({"hex": "0C050000000300830200"}, ""),
        ({"hex": "", "input": "stream"}, "short"),
        ({"hex": "001122334455", "input": "stream"}, ""),
        ({"hex": "00", "input": "register-block"}, "length"),
    ],
)
def test_what_is_no_frame_is_refused_with_a_reason(row, says):
    assert says in describe(row)["reject"]


def test_preambles_and_glued_frames_are_let_pass():
    one = "01030000002EC5D6"
    assert describe({"hex": "FEFEFE" + one})["count"] == 46
    both = describe({"hex": one + "110304008D008EFBBD"})
    assert both["count"] == 46
    assert both["more"][0]["registers"] == [141, 142]


def test_noise_before_a_frame_in_a_stream_is_stepped_over():
    out = describe({"hex": "0055AA110304008D008EFBBD", "input": "stream"})
    assert out["registers"] == [141, 142]
    assert out["frame"]["offset"] == 3
    assert pdus.EXCEPTIONS[2] == "illegal data address"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from((None, "stream", "register-block")))
def test_any_bytes_are_described_or_refused(data, kind):
    out = describe({"hex": data.hex(), "input": kind})
    assert "reject" in out or "frame" in out or "registers" in out
