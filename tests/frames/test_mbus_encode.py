"""What Nuan writes onto an M-Bus it also reads back, to the last digit."""

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.frames.mbus import Long, Short, decode
from collectors.frames.mbus_encode import (
    encode_long,
    encode_req_ud2,
    encode_select,
    encode_short,
    encode_snd_nke,
    encode_variable_response,
    record_bcd,
    record_datetime,
    record_int,
    record_real,
    record_text,
    vif,
)
from collectors.frames.mbus_vif import FB, FD, MAIN

BYTE = st.integers(0, 255)
PLACES = st.fixed_dictionaries(
    {},
    optional={
        "storage": st.integers(0, 2**41 - 1),
        "tariff": st.integers(0, 2**20 - 1),
        "subunit": st.integers(0, 2**10 - 1),
        "function": st.integers(0, 3),
    },
)
ENERGY_KWH, VOLUME_L = vif("Energy", "Wh", 3), vif("Volume", "m^3", -3)


def answer(*records, **changes):
    header = {"address": 5, "id": "12345678", "manufacturer": "NUA", "version": 1, "medium": 4,
              "access_no": 7, "status": 0} | changes  # fmt: skip
    message, consumed = decode(frame := encode_variable_response(records=records, **header))
    assert consumed == len(frame)
    return message


@given(control=BYTE, address=BYTE)
def test_short_frames_come_back(control, address):
    assert decode(encode_short(control, address)) == (Short(control, address), 5)


@given(control=BYTE, address=BYTE, data=st.binary(max_size=252))
def test_long_frames_come_back(control, address, data):
    frame = encode_long(control, address, 0x50, data)
    assert decode(frame) == (Long(control, address, 0x50, data), len(frame))


@settings(max_examples=60)
@given(
    address=BYTE, id=st.from_regex(r"[0-9]{8}", fullmatch=True), version=BYTE, medium=BYTE,
    manufacturer=st.from_regex(r"[A-Z]{3}", fullmatch=True), access_no=BYTE, status=BYTE,
)  # fmt: skip
def test_the_header_comes_back(**header):
    message = answer(record_int(ENERGY_KWH, 1), **header)
    assert {key: getattr(message, key) for key in header} == header


@given(
    length=st.sampled_from([1, 2, 3, 4, 6, 8]),
    millionths=st.integers(-(10**6), 10**6),
    where=PLACES,
)
def test_integers_come_back_with_their_place(length, millionths, where):
    value = (2 ** (8 * length - 1) - 1) * millionths // 10**6
    (record,) = answer(record_int(ENERGY_KWH, value, length=length, **where)).records
    assert record.raw == value
    header = record.header
    for key, number in where.items():
        assert getattr(header, key) == number
    assert record.as_wh() == (None if header.function == 3 else value * 1000)


@given(length=st.sampled_from([1, 2, 3, 4, 6]), share=st.floats(-1, 1, width=32))
def test_bcd_comes_back_negative_too(length, share):
    digits = 2 * length - (share < 0)
    value = int(share * (10**digits - 1))
    (record,) = answer(record_bcd(VOLUME_L, value, length=length)).records
    assert (record.raw, record.as_litres()) == (value, value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_real_numbers_come_back(value):
    (record,) = answer(record_real(ENERGY_KWH, value)).records
    assert record.raw == value


@given(st.text(st.characters(max_codepoint=255), max_size=191))
def test_texts_come_back(text):
    (record,) = answer(record_text(vif("Customer", ""), text)).records
    assert record.value == text


@given(st.datetimes(datetime(1981, 1, 1), datetime(2080, 12, 31)))
def test_moments_come_back_to_the_minute(moment):
    (record,) = answer(record_datetime(moment)).records
    assert record.raw == moment.replace(second=0, microsecond=0)


def test_every_decimal_code_of_the_tables_can_be_written_and_means_the_same():
    written = 0
    for table in (MAIN, FD, FB):
        for row in table:
            if row.kind == "number" and row.factor == 1:
                (record,) = answer(record_int(vif(row.quantity, row.unit, row.exponent), 7)).records
                assert record.header.vif == row
                assert record.value == pytest.approx(7 * 10.0**row.exponent)
                written += 1
    assert written > 150


def test_many_records_stay_in_order_and_announce_more():
    records = [record_int(ENERGY_KWH, n, storage=n) for n in range(20)]
    message = answer(*records, more_follows=True)
    assert [r.as_wh() for r in message.records[:-1]] == [1000 * n for n in range(20)]
    assert message.more_follows


def test_known_frames_are_written_as_the_standard_shows_them():
    assert encode_snd_nke(0).hex() == "1040004016"
    assert encode_req_ud2(1, True).hex() == "107b017c16"
    assert encode_req_ud2(1, False).hex() == "105b015c16"
    assert encode_select("12345678").hex() == "680b0b6853fd5278563412ffffffffb216"


@pytest.mark.parametrize(
    "impossible",
    [
        lambda: encode_long(8, 1, 0x72, bytes(253)),
        lambda: encode_select("1234567"),
        lambda: encode_select("1234567A"),
        lambda: record_bcd(ENERGY_KWH, 100, length=1),
        lambda: record_bcd(ENERGY_KWH, -10, length=1),
        lambda: record_text(ENERGY_KWH, "x" * 192),
        lambda: record_int(ENERGY_KWH, 1, storage=2**41),
        lambda: record_datetime(datetime(1970, 1, 1)),
        lambda: vif("Energy", "Wh", 9),
        lambda: answer(manufacturer="nuan"),
    ],
)
def test_what_does_not_fit_is_not_written(impossible):
    with pytest.raises(ValueError):
        impossible()


def test_an_integer_too_large_for_its_field_is_not_written():
    with pytest.raises(OverflowError):
        record_int(ENERGY_KWH, 2**31)
