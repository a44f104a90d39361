"""The DL/T 645-1997 codec: other ids, other control codes, the same frame."""

from datetime import date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import FrameError, dlt645_1997
from collectors.frames import dlt645_words as words
from collectors.frames.dlt645_1997_di import ITEMS, layout_of
from collectors.frames.dlt645_frame import encode

ADDRESS = "010003635927"
WHEN = datetime(2026, 1, 15, 8, 30, 15)


def only(data):
    message, consumed = dlt645_1997.decode(data)
    assert consumed == len(data)
    return message


def answer(di, payload, control=0x81):
    return only(encode(ADDRESS, control, di.to_bytes(2, "little") + payload))


def asked(di, values):
    request = only(dlt645_1997.encode_read(ADDRESS, di))
    return only(dlt645_1997.encode_answer(request, values, address=ADDRESS))


class TestItems:
    @pytest.mark.parametrize(
        ("di", "name", "tariff", "back", "unit"),
        [
            (0x9010, "forward_active_energy", 0, 0, "kWh"),
            (0x9014, "forward_active_energy", 4, 0, "kWh"),
            (0x9020, "reverse_active_energy", 0, 0, "kWh"),
            (0x9110, "forward_reactive_energy", 0, 0, "kvarh"),
            (0x9130, "quadrant_1_reactive_energy", 0, 0, "kvarh"),
            (0x9140, "quadrant_4_reactive_energy", 0, 0, "kvarh"),
            (0x9410, "forward_active_energy", 0, 1, "kWh"),
            (0x9811, "forward_active_energy", 1, 2, "kWh"),
            (0xA010, "forward_active_demand", 0, 0, "kW"),
            (0xA510, "forward_reactive_demand", 0, 1, "kvar"),
            (0xB611, "voltage_a", 0, 0, "V"),
            (0xB623, "current_c", 0, 0, "A"),
            (0xB630, "active_power_total", 0, 0, "kW"),
            (0xB640, "reactive_power_total", 0, 0, "kvar"),
            (0xB652, "power_factor_b", 0, 0, ""),
        ],
    )
    def test_an_id_says_kind_tariff_and_month(self, di, name, tariff, back, unit):
        (value,) = asked(di, [1234]).reading.values
        field = value.field
        assert (field.name, field.tariff, field.back, field.unit) == (name, tariff, back, unit)
        assert value.raw == 1234

    @pytest.mark.parametrize(
        ("di", "method", "amount"),
        [
            (0x9010, "as_wh", 12_340),
            (0xB611, "as_centivolts", 123_400),
            (0xB621, "as_milliamperes", 12_340),
            (0xB630, "as_watts", 123),
            (0xB640, "as_vars", 12_340),
        ],
    )
    def test_amounts_are_integers(self, di, method, amount):
        assert getattr(asked(di, [1234]).reading.values[0], method)() == amount

    def test_a_demand_time_and_the_clock(self):
        assert asked(0xB010, ["01-15 08:30"]).reading.values[0].raw == "01-15 08:30"
        assert asked(0xC010, [date(2026, 1, 15)]).reading.values[0].raw == date(2026, 1, 15)
        assert asked(0xC011, [time(8, 30, 15)]).reading.values[0].raw == time(8, 30, 15)
        assert asked(0xC032, ["000000123456"]).reading.values[0].raw == "000000123456"

    @pytest.mark.parametrize("ending", [b"", b"\xaa"])
    def test_a_block_may_be_ended_by_its_separator(self, ending):
        payload = dlt645_1997.EDITION.items(0x901F, [10, 4, 3, 2, 1]) + ending
        reading = answer(0x901F, payload).reading
        assert [v.as_wh() for v in reading.values] == [100, 40, 30, 20, 10]
        assert [v.field.tariff for v in reading.values] == [0, 1, 2, 3, 4]

    def test_a_block_of_blocks_is_told_apart_by_separators(self):
        items = dlt645_1997.EDITION.items
        payload = items(0xB61F, [220, 221, 222]) + b"\xaa" + items(0xB62F, [1, 2, 3]) + b"\xaa"
        payload += items(0xB63F, [1, 2, 3, 4, 5, 6]) + b"\xaa" + items(0xB64F, [7]) + b"\xaa"
        payload += items(0xB65F, [1000]) + b"\xaa"
        reading = answer(0xB6FF, payload).reading
        assert [v.field.name for v in reading.values][:4] == [
            "voltage_a",
            "voltage_b",
            "voltage_c",
            "current_a",
        ]
        assert reading.values[-1].field.name == "power_factor_total"
        assert answer(0xB6FF, payload[:-1]).reading is None

    def test_a_separator_is_never_read_as_a_digit(self):
        message = answer(0x9010, b"\xaa\x00\x00\x00")
        assert message.problem == "not_bcd"

    @pytest.mark.parametrize("fill", [0xEE, 0xFF])
    @pytest.mark.parametrize("di", [0x9010, 0xA010, 0xB611, 0xB630, 0xC010, 0xC032])
    def test_fill_is_never_a_number(self, di, fill):
        message = answer(di, bytes((fill,)) * layout_of(di).fields[0].size)
        assert message.problem == "fill_value"
        assert message.reading.values[0].raw is None

    @pytest.mark.parametrize("di", [0x9C10, 0x9000, 0x9070, 0xB614, 0xD010, 0x0000, 0xFFFF])
    def test_an_id_outside_the_tables_never_becomes_a_value(self, di):
        message = answer(di, bytes(4))
        assert (message.reading, message.problem) == (None, "unknown_di")

    def test_every_single_item_of_the_table_round_trips_zero_or_an_unset_moment(self):
        for di, (field,) in ITEMS.items():
            value = {"digits": "000000000000", "hms": time(0)}.get(field.form)
            if field.is_number or field.form == "bits":
                value = 0
            assert asked(di, [value]).reading.values[0].raw == value


class TestCommands:
    def test_the_control_codes_of_this_edition(self):
        first, second = dlt645_1997.Credentials("00", "123456"), dlt645_1997.Credentials("01")
        sent = {
            0x01: dlt645_1997.encode_read(ADDRESS, 0x9010),
            0x02: dlt645_1997.encode_read_next(ADDRESS, 0x901F),
            0x03: dlt645_1997.encode_read_again(ADDRESS),
            0x04: dlt645_1997.encode_write(ADDRESS, 0xC117, ["01 00"], first),
            0x08: dlt645_1997.encode_broadcast_time(WHEN),
            0x0A: dlt645_1997.encode_write_address(ADDRESS),
            0x0C: dlt645_1997.encode_speed(ADDRESS, 0x10),
            0x0F: dlt645_1997.encode_password(ADDRESS, first, second),
            0x10: dlt645_1997.encode_clear_demand(ADDRESS),
        }
        for control, frame in sent.items():
            message = only(frame)
            assert message.control == control
            assert message.function_words == words.CONTROLS_1997[control]
        assert only(sent[0x0F]).data.hex() == "0056341201000000"

    def test_writing_names_level_and_password(self):
        who = dlt645_1997.Credentials("00", "123456", "")
        message = only(dlt645_1997.encode_write(ADDRESS, 0xC117, ["01 00"], who))
        assert (message.di, message.credentials) == (0xC117, who)
        assert message.reading.values[0].raw == "01 00"

    @pytest.mark.parametrize("control", [0x04, 0x0A, 0x0C, 0x0F, 0x10])
    def test_acknowledgements_carry_what_the_standard_gives(self, control):
        request = only(encode(ADDRESS, control, bytes(range(8))))
        reply = only(dlt645_1997.encode_answer(request, address=ADDRESS))
        assert reply.control == control | 0x80
        assert reply.data == {0x0C: bytes(range(8)), 0x0F: bytes(range(4, 8))}.get(control, b"")

    def test_a_refusal_says_why_in_this_editions_words(self):
        request = only(dlt645_1997.encode_read(ADDRESS, 0x9010))
        reply = only(dlt645_1997.encode_refusal(request, 0x03, address=ADDRESS))
        assert (reply.control, reply.error) == (0xC1, 3)
        assert [zh for _, zh in reply.error_words] == ["非法数据", "数据标识错"]

    def test_a_long_answer_is_joined_from_its_frames(self):
        request = only(dlt645_1997.encode_read(ADDRESS, 0x901F))
        following = only(dlt645_1997.encode_read_next(ADDRESS, 0x901F))
        payload = dlt645_1997.EDITION.items(0x901F, list(range(15)))
        parts = [
            only(dlt645_1997.encode_part(r, p, address=ADDRESS, more=more))
            for r, p, more in ((request, payload[:30], True), (following, payload[30:], False))
        ]
        assert parts[0].control == 0xA1
        assert parts[0].reading is None
        whole = dlt645_1997.join(parts)
        assert [v.raw for v in whole.reading.values] == list(range(15))
        with pytest.raises(FrameError):
            dlt645_1997.join(parts[:1])


@given(st.integers(0, 255), st.binary(max_size=60))
def test_any_data_under_any_control_code_raise_nothing(control, data):
    message = only(encode(ADDRESS, control, data))
    assert message.data == data
    for value in message.reading.values if message.reading else ():
        assert value.number is None or not value.fault


@given(st.integers(0, 0xFFFF), st.binary(max_size=60))
def test_any_items_of_any_data_id_raise_nothing(di, data):
    reading = answer(di, data).reading
    assert reading is None or sum(len(v.data) for v in reading.values) <= len(data)


@given(st.binary(max_size=250))
def test_any_bytes_give_a_message_or_an_error_and_always_move_on(data):
    while data:
        try:
            message, consumed = dlt645_1997.decode(data)
        except FrameError as error:
            consumed = error.consumed
            assert consumed > 0
        else:
            if message is None:
                return
        data = data[consumed:]
