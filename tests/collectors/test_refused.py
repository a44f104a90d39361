"""Frames a collector refuses: kept with whose they were and what the codec makes of them."""

from datetime import UTC, datetime

import pytest

from backend.metering.refused import Refusal
from collectors.frames import cjt188
from collectors.reading import Asked, Outcome, explained
from collectors.session import Failed, Target

NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
GOOD = cjt188.encode_read("00000024170567", 0x20, serial=7)


def refusal(frame, protocol):
    return Refusal(None, "wrong_answer", "not the answer", frame, NOON, None, protocol)


def test_a_good_frame_that_was_not_the_answer_is_taken_apart():
    rows = explained(refusal(GOOD, "cjt188"))
    assert ["表类型", "meter_type"] in [row[:2] for row in rows]
    assert all(len(row) == 3 for row in rows)


def test_a_spoilt_frame_says_what_is_wrong_with_it_and_where():
    ((zh, code, words),) = explained(refusal(GOOD[:-2] + b"\x00\x16", "cjt188"))
    assert (zh, code) == ("错误", "checksum") and "校验和不符" in words and "byte" in words


@pytest.mark.parametrize("protocol", [None, "carrier_pigeon"])
def test_a_frame_of_no_known_protocol_breaks_nothing(protocol):
    rows = explained(refusal(b"\x00\xff", protocol))
    assert rows == [] or rows[0][0] == "错误"


@pytest.mark.parametrize(
    "protocol", ["cjt188", "mbus", "dlt645_2007", "dlt645_1997", "modbus", "modbus_tcp"]
)
@pytest.mark.parametrize("frame", [b"", b"\x68", b"\xfe" * 40, b"\x68" * 40, bytes(range(256))])
def test_whatever_came_is_explained_or_refused_in_words(protocol, frame):
    for row in explained(refusal(frame, protocol)):
        assert len(row) == 3 and all(isinstance(cell, str) for cell in row)


def test_what_a_meter_answered_wrongly_is_kept_with_the_meter_and_its_protocol():
    target = Target("cjt188", "00000024170567")
    outcome = Outcome()
    outcome.add(Asked(7, "heat", target), Failed(target, "checksum", "bad", NOON, b"\x68"), 3)
    (kept,) = outcome.refused
    assert (kept.bus_id, kept.meter_id, kept.protocol) == (3, 7, "cjt188")
