"""Every public M-Bus frame reads as its source says, and what must be refused is refused."""

import json
from pathlib import Path

import pytest

from collectors.frames import FrameError
from collectors.frames.mbus_describe import describe

DATA = Path(__file__).parent / "data"


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


FRAMES, ERRORS = rows("mbus.jsonl"), rows("mbus_errors.jsonl")
BCD_FIELDS = {0x9, 0xA, 0xB, 0xC, 0xE}


def not_decimal(record):
    """A BCD record whose digits, but for a leading F, are not decimal."""
    if not record.get("data") or int(record["dib"][:2], 16) & 0x0F not in BCD_FIELDS:
        return False
    digits = bytes.fromhex(record["data"])[::-1].hex()
    return not (digits.isdecimal() or (digits[0] == "f" and digits[1:].isdecimal()))


@pytest.mark.parametrize("row", FRAMES, ids=[row["id"] for row in FRAMES])
def test_a_public_frame_reads_as_its_source_says(row):
    out, expect = describe(row), row["expect"]
    for key in ("manufacturer", "version", "access_no", "ci", "primary_address", "status"):
        assert out.get(key) == expect[key], key
    assert out["id"] == expect.get("id_hex", expect["id"])
    assert len(out["records"]) == len(expect["records"])
    for got, want in zip(out["records"], expect["records"], strict=True):
        check_record(got, want)


def check_record(got, want):
    assert (got["function"], got["storage"]) == (want["function"], want["storage"])
    for key in ("dib", "vib", "data", "tariff", "device"):
        if key in want and want["vib"]:
            # Upstream leaves the LVAR byte out of what it prints.
            assert str(got[key]).endswith(str(want[key])), key
    if not_decimal(want):
        assert (got["value"], got["problem"]) == (None, "not_bcd")
    elif isinstance(want["value"], (int, float)):
        assert got["value"] == pytest.approx(want["value"], rel=1e-6, abs=1e-6)
    elif want.get("timestamp", "").startswith("2000-00-00"):
        assert (got["value"], got["problem"]) == (None, "bad_date")
    elif want.get("timestamp"):
        assert got["value"] == want["timestamp"].removesuffix("Z")
    else:
        assert got["value"].strip() == want["value"].strip()


@pytest.mark.parametrize("row", ERRORS, ids=[row["id"] for row in ERRORS])
def test_a_bad_frame_is_refused_and_a_plain_one_named(row):
    expect = row["expect"]
    if "reject" in expect:
        with pytest.raises(FrameError) as refused:
            describe(row)
        assert 0 <= refused.value.at <= len(row["hex"]) // 2
        return
    out = describe(row)
    assert out.get("application_error") == expect.get("application_error")
    assert out["frame"] == expect.get("frame", "long")
    if "values" in expect:
        stated = [value for value in expect["values"] if value is not None]
        read = [r["value"] for r in out["records"]]
        assert [v for v, w in zip(read, expect["values"], strict=True) if w is not None] == stated
        assert [r.get("problem") for r in out["records"]].count("not_bcd") == 2


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("mbusunsup-manual_frame4", "SND_UD address 254: data send"),
        ("pmb-test_serial--nke", "SND_NKE address 0"),
    ],
)
def test_commands_are_named_as_a_technician_would(name, starts):
    row = next(row for row in ERRORS if row["id"] == name)
    assert describe(row)["meaning"].startswith(starts)


def test_most_public_records_were_really_compared():
    compared = [
        record
        for row in FRAMES
        for record in row["expect"]["records"]
        if isinstance(record.get("value"), (int, float)) and not not_decimal(record)
    ]
    assert len(FRAMES) == 38
    assert len(compared) > 350
