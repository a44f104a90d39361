"""DL/T 645-2007 data items: what a meter says becomes a value exactly, or none at all."""

from datetime import date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import dlt645
from collectors.frames import dlt645_words as words
from collectors.frames.dlt645_di import layout_of
from collectors.frames.dlt645_frame import encode
from collectors.frames.dlt645_load import write_record
from collectors.frames.dlt645_value import MOMENTS

ADDRESS = "201709320072"
WHEN = datetime(2026, 1, 15, 8, 30, 15)


def only(data):
    message, consumed = dlt645.decode(data)
    assert consumed == len(data)
    return message


def answer(di, payload, control=0x91):
    return only(encode(ADDRESS, control, di.to_bytes(4, "little") + payload))


def asked(di, values):
    """The message a meter's answer to a read of `di` decodes to."""
    request = only(dlt645.encode_read(ADDRESS, di))
    return only(dlt645.encode_answer(request, values, address=ADDRESS))


def read_in_parts(di, pieces):
    """A long answer asked for frame by frame, as a collector does."""
    request = only(dlt645.encode_read(ADDRESS, di))
    parts = []
    for number, piece in enumerate(pieces):
        if number:
            request = only(dlt645.encode_read_next(ADDRESS, di, number))
        more = number + 1 < len(pieces)
        parts.append(only(dlt645.encode_part(request, piece, address=ADDRESS, more=more)))
    return dlt645.join(parts)


class TestItems:
    def test_an_energy_is_exact_in_watt_hours(self):
        message = answer(0x00010000, bytes.fromhex("56341200"))
        value = message.reading.find("forward_active_energy")
        assert (value.raw, value.field.exponent, value.field.unit) == (123456, -2, "kWh")
        assert (value.number, value.as_wh()) == (Decimal("1234.56"), 1_234_560)
        assert (value.as_varh(), value.as_watts(), value.as_fen()) == (None, None, None)

    def test_a_block_holds_the_total_and_as_many_tariffs_as_the_meter_has(self):
        payload = bytes.fromhex("79010000 25000000 62000000 66000000 25000000")
        reading = answer(0x0001FF00, payload).reading
        found = [reading.find("forward_active_energy", tariff=t).as_wh() for t in range(5)]
        assert found == [1790, 250, 620, 660, 250]

    @pytest.mark.parametrize("back", range(13))
    def test_settlement_days_are_told_apart(self, back):
        value = asked(0x00010000 | back, [12345]).reading.values[0]
        assert (value.field.back, value.as_wh()) == (back, 123_450)

    def test_all_settlement_days_come_in_one_block(self):
        reading = asked(0x000100FF, list(range(13))).reading
        assert [v.field.back for v in reading.values] == list(range(13))
        assert reading.find("forward_active_energy", back=12).as_wh() == 120

    @pytest.mark.parametrize(
        ("di", "name", "unit"),
        [
            (0x00150000, "forward_active_energy_a", "kWh"),
            (0x00290000, "forward_active_energy_b", "kWh"),
            (0x00440000, "quadrant_4_reactive_energy_c", "kvarh"),
            (0x00090000, "forward_apparent_energy", "kVAh"),
            (0x00BC0000, "associated_energy_c", "kWh"),
            (0x00010300, "forward_active_energy", "kWh"),
        ],
    )
    def test_kinds_phases_and_tariffs_of_energy(self, di, name, unit):
        value = asked(di, [4242]).reading.values[0]
        assert (value.field.name, value.field.unit, value.raw) == (name, unit, 4242)

    @pytest.mark.parametrize("raw", [-79_999_999, -1, 0, 79_999_999])
    def test_a_combined_energy_has_a_sign(self, raw):
        assert asked(0x00000000, [raw]).reading.values[0].as_wh() == raw * 10

    @pytest.mark.parametrize(
        ("di", "raw", "method", "amount"),
        [
            (0x02010100, 2319, "as_centivolts", 23_190),
            (0x02020200, -4999, "as_milliamperes", -4999),
            (0x02030000, 123_400, "as_watts", 12_340),
            (0x02030000, 2512, "as_watts", 251),
            (0x02030000, -5, "as_watts", 0),
            (0x02040100, -20_000, "as_vars", -2000),
            (0x00900200, 19_856, "as_fen", 19_856),
            (0x00900100, 19_856, "as_wh", 198_560),
        ],
    )
    def test_instantaneous_values_and_balances_as_integers(self, di, raw, method, amount):
        value = asked(di, [raw]).reading.values[0]
        assert value.raw == raw
        assert getattr(value, method)() == amount

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_power_factor_has_a_sign_and_no_unit(self, sign):
        value = asked(0x02060000, [sign * 998]).reading.values[0]
        assert (value.number, value.field.unit) == (sign * Decimal("0.998"), "")

    def test_a_demand_comes_with_its_time(self):
        message = asked(0x01010000, [12345, WHEN])
        demand, moment = message.reading.values
        assert (demand.as_watts(), moment.raw) == (1235, WHEN.replace(second=0))

    def test_a_demand_that_never_was_has_no_time_and_is_no_fault(self):
        demand, moment = asked(0x01010000, [0, None]).reading.values
        assert (demand.as_watts(), moment.raw, moment.fault) == (0, None, "")

    def test_the_clock(self):
        assert asked(0x04000101, [date(2026, 1, 15)]).reading.values[0].raw == date(2026, 1, 15)
        assert asked(0x04000102, [time(8, 30, 15)]).reading.values[0].raw == time(8, 30, 15)
        assert asked(0x0400010C, [WHEN]).reading.values[0].raw == WHEN

    @pytest.mark.parametrize(
        ("word", "is_open"), [(0x0000, False), (0x0050, True), (0x0010, True), (0x0040, False)]
    )
    def test_the_relay_is_read_back_from_status_word_three(self, word, is_open):
        value = asked(0x04000503, [word]).reading.values[0]
        assert (value.raw, words.relay_is_open(value.raw)) == (word, is_open)

    def test_numbers_that_name_something_keep_their_zeros(self):
        assert asked(0x04000402, ["000012345678"]).reading.values[0].raw == "000012345678"
        assert asked(0x04000404, ["220V"]).reading.values[0].raw == "220V"

    @pytest.mark.parametrize("number", [0, 1, 4, 6])
    def test_a_daily_freeze_of_one_item(self, number):
        di, values = {
            0: (0x05060001, [WHEN]),
            1: (0x05060101, [100, 40, 30, 20, 10]),
            4: (0x05060403, [-100]),
            6: (0x05060904, [12345, WHEN]),
        }[number]
        reading = asked(di, values).reading
        assert len(reading.values) == len(values)
        assert {v.field.back for v in reading.values} == {di & 0xFF}

    @pytest.mark.parametrize("registers", [1, 2, 5])
    def test_a_whole_freeze_tells_its_tariffs_by_its_size(self, registers):
        energies = [registers * 10 + n for n in range(8 * registers)]
        values = [WHEN, *energies, *([1, WHEN] * (2 * registers)), *range(8)]
        payload = dlt645.EDITION.items(0x0506FF01, values)
        parts = dlt645.split(payload)
        reading = read_in_parts(0x0506FF01, parts).reading
        assert reading.values[0].raw == WHEN.replace(second=0)
        assert [v.raw for v in reading.values if v.field.name.endswith("energy")] == energies
        tariffs = {v.field.tariff for v in reading.values}
        assert tariffs == set(range(registers))

    def test_an_hourly_freeze_has_two_totals(self):
        reading = asked(0x0504FF01, [WHEN, 100, 20]).reading
        assert [v.raw for v in reading.values][1:] == [100, 20]

    @pytest.mark.parametrize("di", [0x0506013F, 0x05060100, 0x00018000, 0x0001000D, 0x02010000])
    def test_an_id_outside_the_tables_never_becomes_a_value(self, di):
        message = answer(di, bytes(4))
        assert (message.reading, message.problem) == (None, "unknown_di")

    @pytest.mark.parametrize("size", [0, 1, 3, 5, 8])
    def test_a_register_of_another_size_is_no_value(self, size):
        message = answer(0x00010000, bytes(size))
        assert (message.reading, message.problem) == (None, "length")


class TestUnbelievable:
    @pytest.mark.parametrize("fill", [0xEE, 0xFF])
    @pytest.mark.parametrize("di", [0x00000000, 0x00010000, 0x02010100, 0x02020100, 0x04000101])
    def test_fill_is_never_a_number(self, di, fill):
        size = layout_of(di).fields[0].size
        message = answer(di, bytes((fill,)) * size)
        assert message.problem == "fill_value"
        assert not message.reading.is_readable
        assert message.reading.values[0].raw is None

    @given(st.sampled_from([0x00000000, 0x00010000]), st.binary(min_size=4, max_size=4))
    def test_only_decimal_digits_make_an_energy(self, di, payload):
        value = answer(di, payload).reading.values[0]
        digits = payload[::-1].hex()
        if di == 0 and payload[3] & 0x80:
            digits = f"{payload[3] & 0x7F:02x}{digits[2:]}"
        filled = payload in (b"\xee" * 4, b"\xff" * 4)
        assert (value.raw is None) == (filled or not digits.isdecimal())

    def test_a_phase_the_meter_does_not_have_leaves_the_others(self):
        reading = answer(0x0201FF00, bytes.fromhex("1923 FFFF FFFF")).reading
        assert reading.is_readable
        assert [v.as_centivolts() for v in reading.values] == [23_190, None, None]

    def test_a_digit_above_nine_spoils_its_whole_block(self):
        message = answer(0x0201FF00, bytes.fromhex("1923 1A23 1923"))
        assert message.problem == "not_bcd"

    @pytest.mark.parametrize(
        ("payload", "problem"),
        [("05C8552C", "not_bcd"), ("05321326", "time"), ("09150126", "time")],
    )
    def test_an_impossible_date_is_no_date(self, payload, problem):
        assert answer(0x04000101, bytes.fromhex(payload)).problem == problem

    def test_bytes_that_are_no_text_are_no_text(self):
        assert answer(0x04000404, b"\x01\x02\x03\x04\x05\x06").problem == "text"


class TestLoadRecords:
    CLASSES = {
        1: [2200, 2201, 2202, 100, 200, -300, 5000],
        3: [998, -998, 1000, 0],
        6: [12345, -1],
    }

    def message(self, record, di=0x06000002):
        return answer(di, record)

    def test_a_record_holds_the_classes_the_meter_keeps(self):
        reading = self.message(write_record(WHEN, self.CLASSES)).reading
        assert reading.find("record_time").raw == WHEN.replace(second=0)
        assert [v.raw for v in reading.values[1:]] == [
            n for numbers in self.CLASSES.values() for n in numbers
        ]
        assert reading.find("frequency").number == Decimal("50.00")

    def test_a_record_of_one_class_may_come_alone(self):
        body = bytes.fromhex("A0A0") + b"\x0d" + bytes.fromhex("3008150126") + bytes(8)
        record = body + b"\xaa"
        reading = self.message(record + bytes((sum(record) & 0xFF, 0xE5)), 0x06030002).reading
        assert [v.raw for v in reading.values[1:]] == [0, 0, 0, 0]

    @pytest.mark.parametrize("at", range(30))
    def test_no_flipped_bit_in_a_record_passes(self, at):
        record = bytearray(write_record(WHEN, self.CLASSES))
        record[at] ^= 0x01
        message = self.message(bytes(record))
        assert message.reading is None
        assert message.problem in ("checksum", "structure")


ITEMS = (
    0x00000000, 0x0001FF00, 0x00150000, 0x000100FF, 0x01010000, 0x0102FF01, 0x0201FF00,
    0x0202FF00, 0x0203FF00, 0x0206FF00, 0x02800002, 0x02800007, 0x020A01FF, 0x03010000,
    0x03110001, 0x03300D00, 0x03300D01, 0x03100000, 0x04000106, 0x04000102, 0x04000B01,
    0x04000503, 0x040005FF, 0x04000402, 0x04000404, 0x04010000, 0x04010001, 0x04030005,
    0x04050101, 0x05060001, 0x05060101, 0x05060901, 0x05061001, 0x0504FF01,
)  # fmt: skip


def raws(field):
    """Any raw value the field can carry."""
    form, size = field.form, field.size
    if form == "unsigned":
        return st.integers(0, 100**size - 1)
    if form == "signed":
        return st.integers(-(80 * 100 ** (size - 1)) + 1, 80 * 100 ** (size - 1) - 1)
    if form == "bits":
        return st.integers(0, 256**size - 1)
    if form == "digits":
        return st.integers(0, 100**size - 1).map(lambda n: f"{n:0{2 * size}d}")
    if form == "text":
        return st.text("ABCdef0189.-/", min_size=1, max_size=size)
    if form in ("hms",):
        return st.times().map(lambda t: t.replace(microsecond=0))
    moments = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(
        lambda t: t.replace(microsecond=0, second=t.second if "s" in form else 0)
    )
    if form in ("YMD", "YMDW"):
        return moments.map(datetime.date)
    if "Y" in form:
        return moments
    text = {"MDhm": "%m-%d %H:%M", "MD": "%m-%d", "Dh": "%d %H", "hm": "%H:%M"}[form]
    return moments.map(lambda t: t.strftime(text))


@given(st.sampled_from(ITEMS), st.data())
def test_whatever_a_meter_can_say_reads_back_to_the_last_digit(di, data):
    layout = layout_of(di)
    fields = layout.fields if layout else dlt645.EDITION.fields_of_count(di, 3)
    if layout and layout.is_block:
        most = min(len(fields) // layout.step, 8)
        fields = fields[: layout.step * data.draw(st.integers(1, most))]
    values = [data.draw(raws(field)) for field in fields]
    message = asked(di, values)
    assert not message.problem or message.problem == "fill_value"
    for field, sent, value in zip(fields, values, message.reading.values, strict=True):
        assert value.field.name == field.name
        if value.fault != "fill_value":
            assert value.raw == sent or (value.raw is None and field.form in MOMENTS)


@pytest.mark.parametrize(
    ("di", "values"),
    [
        (0x00010000, [100_000_000]),
        (0x00010000, [-1]),
        (0x00000000, [80_000_000]),
        (0x00010000, []),
        (0x00010000, [1, 2]),
        (0x07000000, [1]),
        (0x00010000, ["x"]),
        (0x00010000, [WHEN]),
        (0x04000101, [5]),
        (0x04000101, [time(1, 2, 3)]),
        (0x04000101, [date(1999, 12, 31)]),
        (0x04000404, ["a text too long"]),
    ],
)
def test_what_does_not_fit_is_not_cut(di, values):
    with pytest.raises(ValueError):
        asked(di, values)
