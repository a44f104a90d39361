"""An independent decoder (pyMeterBus) reads the same numbers out of frames Nuan writes."""

import meterbus
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collectors.frames.mbus import decode
from collectors.frames.mbus_encode import encode_variable_response, record_bcd, record_int

# The main table up to pressure; dates and names are not numbers, 7C.. are special.
MEASURED = st.integers(0x00, 0x6B).map(lambda code: bytes((code,)))
RECORDS = st.one_of(
    st.builds(
        record_int,
        MEASURED,
        st.integers(-(2**31) + 1, 2**31 - 1),
        storage=st.integers(0, 500),
        tariff=st.integers(0, 3),
    ),
    st.builds(record_bcd, MEASURED, st.integers(0, 99_999_999), subunit=st.integers(0, 3)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=15))
def test_two_decoders_agree_on_every_record(records):
    frame = encode_variable_response(9, "12345678", "NUA", 3, 4, 200, 0, records)
    # pyMeterBus takes any frame whose second byte is 44 for a wireless one.
    assume(frame[1] != 0x44)
    mine, other = decode(frame)[0], meterbus.load(frame)
    assert len(mine.records) == len(other.records) == len(records)
    for a, b in zip(mine.records, other.records, strict=True):
        told = b.interpreted
        assert a.value == pytest.approx(float(told["value"]))
        assert a.header.storage == told["storage_number"]
        assert a.header.tariff == (told.get("tariff") or 0)
        assert a.header.subunit == (told.get("device") or 0)
