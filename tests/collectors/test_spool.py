"""What was read waits on disk in order, within bounds, and survives what a crash leaves."""

import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.metering.refused import Refusal
from backend.metering.service import NewReading
from collectors.reading import Outcome
from collectors.spool import HEADER, Spool, SpoolInUse
from collectors.storing import pack, unpack

AT = datetime(2026, 11, 20, 4, 0, 0, 123456, tzinfo=UTC)


_opened = []


@pytest.fixture(autouse=True)
def _closed():
    yield
    while _opened:
        _opened.pop().close()


def spool_in(directory, max_bytes=1_000_000, **more):
    """A spool the test need not close."""
    _opened.append(Spool(Path(directory), max_bytes, **more))
    return _opened[-1]


def take_all(spool):
    found = []
    while (record := spool.first()) is not None:
        found.append(record)
        spool.done()
    return found


def last_segment(directory):
    return max(Path(directory).glob("*.spool"))


def test_records_come_out_in_the_order_they_went_in_and_leave_nothing_behind(tmp_path):
    spool = spool_in(tmp_path, segment_bytes=100)
    records = [bytes([n]) * 40 for n in range(20)]
    assert all(spool.append(r) for r in records)
    assert len(list(tmp_path.glob("*.spool"))) > 5
    assert take_all(spool) == records
    assert list(tmp_path.glob("*.spool")) == []
    assert spool.size_bytes == 0


def test_a_record_stays_until_it_is_said_to_be_stored(tmp_path):
    spool = spool_in(tmp_path)
    spool.append(b"one")
    assert spool.first() == spool.first() == b"one"
    spool.close()
    again = spool_in(tmp_path)
    assert take_all(again) == [b"one"]


@given(
    records=st.lists(st.binary(max_size=60), min_size=1, max_size=8),
    cut=st.integers(min_value=1, max_value=80),
    segment_bytes=st.sampled_from([1, 90, 100_000]),
)
@settings(max_examples=80, deadline=None)
def test_a_torn_end_loses_only_the_records_it_tore(records, cut, segment_bytes):
    """Whatever is cut off the end of the last file, every record before it is there again."""
    with tempfile.TemporaryDirectory() as directory:
        spool = spool_in(directory, segment_bytes=segment_bytes)
        for record in records:
            assert spool.append(record)
        spool.close()
        path = last_segment(directory)
        data = path.read_bytes()
        path.write_bytes(data[: max(0, len(data) - cut)])
        kept = spool_in(directory)
        found = take_all(kept)
        kept.close()
        assert found == records[: len(found)]
        torn = sum(len(r) + HEADER.size for r in records[len(found) :])
        assert torn < cut + HEADER.size + 60 and len(found) < len(records)


def test_a_torn_record_is_logged_and_new_ones_follow_the_sound_ones(tmp_path, caplog):
    spool = spool_in(tmp_path)
    spool.append(b"first")
    spool.append(b"second")
    spool.close()
    path = last_segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with caplog.at_level(logging.WARNING, "nuan.spool"):
        again = spool_in(tmp_path)
    assert "torn record is dropped" in caplog.text
    again.append(b"third")
    assert take_all(again) == [b"first", b"third"]


def test_a_flipped_bit_costs_one_record_and_not_those_behind_it(tmp_path):
    spool = spool_in(tmp_path)
    for record in (b"first", b"second", b"third"):
        spool.append(record)
    spool.close()
    path = last_segment(tmp_path)
    data = bytearray(path.read_bytes())
    data[HEADER.size + len(b"first") + 5] ^= 0x40  # in the second record's length
    path.write_bytes(bytes(data))
    assert take_all(spool_in(tmp_path)) == [b"first", b"third"]


def test_a_full_spool_keeps_the_oldest_and_refuses_the_newest(tmp_path):
    spool = spool_in(tmp_path, max_bytes=3 * (HEADER.size + 10))
    assert [spool.append(bytes([n]) * 10) for n in range(4)] == [True, True, True, False]
    spool.first()
    assert take_all(spool) == [bytes([n]) * 10 for n in range(3)]
    assert spool.append(b"room again")


def test_the_number_of_records_is_bounded_too(tmp_path):
    spool = spool_in(tmp_path, max_records=2)
    assert [spool.append(b"") for _ in range(3)] == [True, True, False]


def test_a_disk_that_refuses_is_no_end_and_no_broken_record(tmp_path, monkeypatch, caplog):
    spool = spool_in(tmp_path)
    spool.append(b"first")

    def no_space(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr("collectors.spool.os.fsync", no_space)
        assert not spool.append(b"not kept")
    assert "cannot be written" in caplog.text
    assert spool.append(b"second")
    assert take_all(spool) == [b"first", b"second"]


def test_two_collectors_cannot_share_a_spool(tmp_path):
    first = spool_in(tmp_path)
    with pytest.raises(SpoolInUse, match="another collector"):
        spool_in(tmp_path)
    first.close()
    spool_in(tmp_path)


small = st.integers(min_value=-(2**31), max_value=2**31 - 1)
instants = st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1))
readings = st.builds(
    NewReading,
    meter_id=st.integers(1, 10**12),
    read_at=instants,
    source=st.just("collector"),
    kind=st.sampled_from(["current", "freeze"]),
    register=st.none() | st.integers(0, 10**15),
    supply_cdeg=st.none() | small,
    flags=st.lists(st.text(max_size=8), max_size=3),
    frame=st.none() | st.binary(max_size=64),
)
outcomes = st.builds(
    Outcome,
    readings=st.lists(readings, max_size=4),
    failures=st.lists(st.tuples(st.integers(1, 99), instants, st.text(max_size=9)), max_size=3),
    refused=st.lists(
        st.builds(
            Refusal,
            st.none() | st.integers(1, 9),
            st.text(max_size=5),
            st.text(max_size=9),
            st.binary(max_size=40),
            instants,
        ),
        max_size=2,
    ),
)


@given(st.lists(st.tuples(st.integers(1, 99), instants, outcomes), max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_batch_comes_back_from_disk_as_it_was(batch):
    assert unpack(pack(batch)) == batch
