"""What one M-Bus record says, exactly, in the units Nuan counts in."""

import struct
from datetime import date, datetime

import pytest

from collectors.frames import FrameError, mbus_record
from collectors.frames.mbus_encode import record_date, record_datetime
from collectors.frames.mbus_record import read_records
from collectors.frames.mbus_vif import FB, FD, FIXED, MAIN


def one(hex_bytes):
    data = bytes.fromhex(hex_bytes)
    (record,) = read_records(data, 0, len(data))
    return record


@pytest.mark.parametrize(
    ("hex_bytes", "wh"),
    [
        ("04 06 01000000", 1000),
        ("04 00 DC050000", 2),  # 1.5 Wh, half up
        ("04 00 F3010000", 0),
        ("0C 07 78563412", 123_456_780_000),
        ("04 0E 24000000", 10_000),  # 36 MJ
        ("04 0F 01000000", 2778),  # 10 MJ
        ("04 FB00 05000000", 500_000),
        ("04 FB09 01000000", 277_778),  # 1 GJ
        ("05 06 0000203F", 625),
        ("02 06 FFFF", -1000),
        ("04 8674 64000000", 1000),  # kWh with a factor of 10^-2
        ("04 867D 01000000", 1_000_000),
    ],
)
def test_energy_is_whole_watt_hours(hex_bytes, wh):
    assert one(hex_bytes).as_wh() == wh


@pytest.mark.parametrize(
    ("hex_bytes", "method", "value"),
    [
        ("0C 13 34120000", "as_litres", 1234),
        ("0C 16 34120000", "as_litres", 1_234_000),
        ("04 10 DC050000", "as_litres", 2),
        ("0A 5A 3402", "as_cdeg", 2340),
        ("02 59 38FF", "as_cdeg", -200),
        ("05 5B 2B4BAC41", "as_cdeg", 2154),
        ("02 60 1700", "as_cdeg", 2),
        ("04 2B 10270000", "as_watts", 10_000),
        ("04 36 24000000", "as_watts", 10_000),
        ("04 3B 2B000000", "as_litres_per_hour", 43),
        ("04 47 01000000", "as_litres_per_hour", 60_000),
        ("04 4E 01000000", "as_litres_per_hour", 3600),
    ],
)
def test_other_quantities_are_whole_in_their_unit(hex_bytes, method, value):
    assert getattr(one(hex_bytes), method)() == value


@pytest.mark.parametrize(
    "hex_bytes",
    [
        "04 13 01000000",  # a volume
        "34 06 01000000",  # during an error state
        "04 867F 01000000",  # bent by the maker
        "04 8615 01000000",  # "no data available"
        "04 8622 01000000",  # per hour
        "04 8679 01000000",  # with an offset
        "0C 06 BDEBDDDD",
        "0C 06 FFFFFFFF",
        "0C 06 EEEEEEEE",
        "04 06 00000080",
        "05 06 0000C07F",
        "00 06",
        "0D 06 03 414243",
    ],
)
def test_what_is_no_trusted_energy_never_becomes_one(hex_bytes):
    assert one(hex_bytes).as_wh() is None


@pytest.mark.parametrize(
    ("hex_bytes", "problem"),
    [
        ("0C 06 BDEBDDDD", "not_bcd"),
        ("0A 5A FFFF", "not_bcd"),
        ("02 59 0080", "fill_value"),
        ("05 5B 0000807F", "not_a_number"),
        ("04 6D FFFFFFFF", "bad_date"),
        ("04 6D 8A0C0116", "bad_date"),  # the meter marks its time invalid
        ("42 6C 0000", "bad_date"),
        ("0D 06 C2 FA00", "bad_variable_data"),
        ("04 8618 01000000", "meter_error_18"),
    ],
)
def test_a_value_not_to_be_believed_is_flagged(hex_bytes, problem):
    record = one(hex_bytes)
    assert record.problem == problem
    if not problem.startswith("meter_error"):
        assert record.value is None


@pytest.mark.parametrize(
    ("hex_bytes", "value"),
    [
        ("0A 5A 34F2", -23.4),  # F in the first digit is the minus sign
        ("09 5B F5", -5),
        ("07 03 FFFFFFFFFFFFFF7F", 2**63 - 1),
        ("06 03 FFFFFFFFFFFF", -1),
        ("0E 03 563412907856", 567890123456),
        ("01 FD17 80", -128),  # bits, not a fill value
        ("04 78 FFFFFFFF", 4294967295),  # a number that names is never negative
        ("0D FD0E 03 312E34", "4.1"),
        ("0D 13 C2 3412", 1.234),
        ("0D 13 D2 3412", -1.234),
        ("0D 13 E2 FFFF", -0.001),
        ("0D FD16 F0 000102030405060708090A0B0C0D0E0F",
         "0F 0E 0D 0C 0B 0A 09 08 07 06 05 04 03 02 01 00"),
        ("02 FC 03 485225 74 2215", 54.10),
        ("03 6D 1E0F17", "23:15:30"),
        ("06 6D 1E0F17 0C13 00", "2008-03-12T23:15:30"),
        ("08 06", None),
    ],
)  # fmt: skip
def test_every_data_field_is_read(hex_bytes, value):
    record = one(hex_bytes)
    assert record.value == value
    assert record.problem is None


def test_storage_tariff_and_subunit_are_put_together_low_bits_first():
    header = one("D4FF23 06 00000000").header
    assert (header.function, header.storage, header.tariff, header.subunit) == (1, 127, 11, 1)


def test_extensions_name_phase_direction_and_limit():
    told = [
        tuple(q.name for q in one(hex_bytes).header.qualifiers)
        for hex_bytes in ("02 FDC8FC01 E600", "04 863C 00000000", "02 DE40 3200", "02 ED6F 0000")
    ]
    assert told[:3] == [("phase L1",), ("only negative contributions",), ("lower limit",)]
    assert told[3] == ("end of last",)


def test_an_extension_can_turn_a_quantity_into_a_time_a_count_or_a_duration():
    assert one("02 BB42 3F0C").value == "2001-12-31"
    assert (one("02 BB49 0500").value, one("02 BB49 0500").header.unit) == (5, "")
    assert (one("02 BB55 0500").value, one("02 BB55 0500").header.unit) == (300, "s")
    assert one("02 BB55 0500").as_litres_per_hour() is None


def test_idle_fillers_are_skipped_and_a_makers_block_takes_the_rest():
    data = bytes.fromhex("2F2F 0406 01000000 2F 0F 0102030405")
    energy, block = read_records(data, 0, len(data))
    assert energy.as_wh() == 1000
    assert (block.value, block.problem) == ("01 02 03 04 05", None)


@pytest.mark.parametrize(
    ("hex_bytes", "at"),
    [
        ("04", 1),
        ("84", 1),
        ("04 86", 2),
        ("04 06 000000", 5),
        ("0D 78", 2),
        ("0D 78 05 31", 4),
        ("0D 78 F7", 2),
        ("3F 06 00", 0),
        ("8F01 06 00", 0),
        ("04 7C", 2),
        ("04 7C 09 4142", 2),
        ("2F 0406 00", 4),
        ("04 FB", 2),
    ],
)
def test_records_that_do_not_add_up_are_refused_at_their_byte(hex_bytes, at):
    data = bytes.fromhex(hex_bytes)
    with pytest.raises(FrameError) as refused:
        read_records(data, 0, len(data))
    assert refused.value.at == at


def test_ten_extensions_are_read_and_eleven_refused():
    assert one("84" + "80" * 9 + "00" + "06" + "01000000").value == 1000
    assert one("04" + "86" + "BA" * 9 + "3A" + "01000000").value == 1000
    for eleven in ("84" + "80" * 10 + "00" + "06", "04" + "86" + "BA" * 10 + "3A"):
        with pytest.raises(FrameError, match="more than ten"):
            one(eleven + "01000000")


def test_noise_can_not_fill_the_memory_with_headers():
    for n in range(mbus_record._CACHE_LIMIT + 50):
        vib = b"\xfc\x02" + struct.pack("<H", n) + b"\x00"
        read_records(b"\x00" + vib, 0, 6)
    assert len(mbus_record._LONG) <= mbus_record._CACHE_LIMIT


def test_two_digit_years_belong_to_this_century_until_eighty():
    for year in (1999, 2000, 2026, 2080, 1981):
        moment = datetime(year, 2, 28, 23, 59)
        assert one(record_datetime(moment).hex()).raw == moment
        assert one(record_date(date(year, 2, 28)).hex()).raw == date(year, 2, 28)


def test_hundred_year_bits_are_read():
    assert one("04 6D 0020A115").value == "2013-05-01T00:00:00"
    assert one("04 6D 0000A115").value == "2013-05-01T00:00:00"


def test_the_tables_have_every_code_and_a_chinese_name_for_it():
    for table in (MAIN, FD, FB):
        assert len(table) == 128
        assert all(vif.zh for code, vif in enumerate(table) if code not in (0x7B, 0x7C, 0x7D))
    assert [label for _, label in FIXED[0x02:0x08]] == [
        "Wh", "10 Wh", "100 Wh", "kWh", "10 kWh", "100 kWh",
    ]  # fmt: skip
    assert (FIXED[0x29][1], FIXED[0x29][0].exponent) == ("l", -3)


@pytest.mark.parametrize("hex_bytes", ["00 7E", "00 7F", "00 FD17", "8000 06", "00 FC 01 41 3A"])
def test_a_header_reads_the_same_the_second_time_even_at_the_very_end(hex_bytes):
    assert one(hex_bytes) == one(hex_bytes) == one(hex_bytes)
    data = bytes.fromhex(hex_bytes)
    assert len(read_records(data + data, 0, 2 * len(data))) == 2
    with pytest.raises(FrameError):
        read_records(data + data, 0, len(data) - 1)
