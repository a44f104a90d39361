"""The DL/T 645-2007 codec: framing, items, requests, answers, refusals."""

from datetime import date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import FrameError, dlt645
from collectors.frames import dlt645_words as words
from collectors.frames.dlt645_di import layout_of
from collectors.frames.dlt645_frame import encode, find
from collectors.frames.dlt645_load import write_record
from collectors.frames.dlt645_value import MOMENTS

ADDRESS = "201709320072"
WHEN = datetime(2026, 1, 15, 8, 30, 15)
WHO = dlt645.Credentials("02", "123456", "87654321")


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


def refusal(data):
    with pytest.raises(FrameError) as caught:
        dlt645.decode(data)
    return caught.value


FRAME = dlt645.encode_read(ADDRESS, 0x00010000)


class TestFraming:
    def test_noise_and_preambles_before_a_frame_are_stepped_over(self):
        message, consumed = dlt645.decode(b"\x00\x13" + FRAME + b"\x99")
        assert (message.offset, message.preamble) == (6, 4)
        assert consumed == 2 + len(FRAME)

    @pytest.mark.parametrize("kept", range(1, 16))
    def test_half_a_frame_asks_for_more_and_drops_nothing_of_it(self, kept):
        assert dlt645.decode(FRAME[4:][:kept]) == (None, 0)

    def test_two_glued_frames_come_out_one_after_the_other(self):
        first, consumed = dlt645.decode(FRAME * 2)
        second, rest = dlt645.decode((FRAME * 2)[consumed:])
        assert first.raw == second.raw
        assert consumed + rest == 2 * len(FRAME)

    def test_a_whole_frame_behind_a_cut_off_one_is_found_at_once(self):
        cut = dlt645.encode_relay(ADDRESS, words.RELAY_OPEN, WHEN)[:15]
        message, consumed = dlt645.decode(cut + FRAME[4:])
        assert message.raw == FRAME[4:]
        assert consumed == len(cut + FRAME) - 4

    def test_pure_noise_is_dropped_but_not_a_preamble_at_its_end(self):
        assert dlt645.decode(b"\x01\x02\x03\xfe\xfe") == (None, 3)

    @pytest.mark.parametrize(
        ("at", "byte", "code"),
        [(7, 0x69, "start"), (9, 0xC9, "length"), (-2, 0x00, "checksum"), (-1, 0x17, "stop")],
    )
    def test_what_is_wrong_with_a_frame_is_said_with_its_byte(self, at, byte, code):
        data = bytearray(FRAME[4:])
        data[at] = byte
        error = refusal(data)
        assert (error.code, error.at, error.consumed) == (code, at % len(data), 1)

    def test_a_doubled_start_byte_costs_one_byte(self):
        data = b"\x68" + FRAME[4:]
        error = refusal(data)
        message, _ = dlt645.decode(data[error.consumed :])
        assert message.address == ADDRESS

    @given(st.binary(max_size=250))
    def test_any_bytes_give_a_message_or_an_error_and_always_move_on(self, data):
        while data:
            try:
                message, consumed = dlt645.decode(data)
            except FrameError as error:
                consumed = error.consumed
                assert consumed > 0
            else:
                if message is None:
                    return
            data = data[consumed:]

    @given(st.integers(0, 255), st.binary(max_size=200))
    def test_any_data_under_any_control_code_raise_nothing(self, control, data):
        message = only(encode(ADDRESS, control, data))
        assert message.data == data
        assert message.reading is None or message.reading.values

    @given(st.sampled_from([0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06]), st.binary(max_size=190))
    def test_any_items_of_any_data_id_raise_nothing(self, di3, data):
        frame = encode(
            ADDRESS, 0x91, (data[:3] or b"\x00").ljust(3, b"\x00") + bytes((di3,)) + data
        )
        message = only(frame)
        for value in message.reading.values if message.reading else ():
            assert (value.number is None) or not value.fault

    @given(st.binary(max_size=60), st.binary(max_size=20))
    def test_a_good_frame_is_found_behind_any_noise(self, noise, tail):
        noise = noise.replace(b"\x68", b"\x00")
        message, consumed = dlt645.decode(noise + FRAME + tail)
        assert message.raw == FRAME[4:]
        assert consumed == len(noise + FRAME)

    @given(st.integers(0, 255), st.binary(max_size=40), st.data())
    def test_no_single_bit_flip_between_the_ends_passes_for_the_same_frame(
        self, control, body, data
    ):
        frame = encode(ADDRESS, control, body, preamble=0)
        at = data.draw(st.integers(0, len(frame) - 1))
        bad = bytearray(frame)
        bad[at] ^= 1 << data.draw(st.integers(0, 7))
        try:
            found, _ = find(bad)
        except FrameError:
            return
        assert found is None or (found.raw != frame and len(found.raw) < len(frame))

    def test_wildcards_and_broadcast_name_the_meters_they_mean(self):
        assert dlt645.addressed_to("AAAAAAAAAAAA", ADDRESS)
        assert dlt645.addressed_to("AAAAAA320072", ADDRESS)
        assert not dlt645.addressed_to("AAAAAA320073", ADDRESS)
        assert dlt645.addressed_to("999999999999", ADDRESS)
        assert not dlt645.addressed_to("201709320071", ADDRESS)

    @pytest.mark.parametrize("address", ["2017093200", "20170932007200", "xx1709320072"])
    def test_an_address_of_another_length_is_not_sent(self, address):
        with pytest.raises(ValueError):
            dlt645.encode_read(address, 0)


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


class TestFollowUp:
    VALUES = list(range(64))

    def pieces(self):
        return dlt645.split(dlt645.EDITION.items(0x0001FF00, self.VALUES))

    def test_a_long_block_is_joined_from_its_frames(self):
        assert len(self.pieces()) == 2
        message = read_in_parts(0x0001FF00, self.pieces())
        assert [v.raw for v in message.reading.values] == self.VALUES

    def test_the_frames_carry_their_number_and_say_that_more_follows(self):
        request = only(dlt645.encode_read_next(ADDRESS, 0x03300001, 2))
        assert (request.di, request.sequence, request.control) == (0x03300001, 2, 0x12)
        part = only(dlt645.encode_part(request, b"\x01", address=ADDRESS, more=True))
        assert (part.control, part.has_more, part.sequence) == (0xB2, True, 2)
        assert part.payload == b"\x01"

    @pytest.mark.parametrize("fault", ["missing", "swapped", "other id", "unfinished"])
    def test_parts_that_do_not_belong_together_are_refused(self, fault):
        di, pieces = 0x0001FF00, [b"\x00" * 8] * 3
        request = only(dlt645.encode_read(ADDRESS, di))
        parts = [only(dlt645.encode_part(request, pieces[0], address=ADDRESS, more=True))]
        for number in (1, 2):
            nxt = only(dlt645.encode_read_next(ADDRESS, di, number))
            more = number == 1
            parts.append(only(dlt645.encode_part(nxt, pieces[0], address=ADDRESS, more=more)))
        assert dlt645.join(parts).reading is not None
        other = only(dlt645.encode_read_next(ADDRESS, 0x0002FF00, 1))
        broken = {
            "missing": [parts[0], parts[2]],
            "swapped": [parts[0], parts[2], parts[1]],
            "other id": [
                parts[0],
                only(dlt645.encode_part(other, b"", address=ADDRESS, more=True)),
                parts[2],
            ],
            "unfinished": parts[:2],
        }[fault]
        with pytest.raises(FrameError):
            dlt645.join(broken)


class TestCommands:
    def test_reading_the_address_of_a_lone_meter(self):
        request = only(dlt645.encode_read_address())
        assert (request.address, request.control, request.data) == ("A" * 12, 0x13, b"")
        reply = only(dlt645.encode_answer(request, address=ADDRESS))
        assert (reply.control, reply.named) == (0x93, ADDRESS)

    def test_giving_a_meter_its_address(self):
        request = only(dlt645.encode_write_address(ADDRESS))
        assert (request.address, request.control, request.named) == ("A" * 12, 0x15, ADDRESS)
        reply = only(dlt645.encode_answer(request, address=ADDRESS))
        assert (reply.control, reply.data) == (0x95, b"")

    def test_broadcast_time_has_no_weekday(self):
        request = only(dlt645.encode_broadcast_time(WHEN))
        assert (request.address, request.control) == ("9" * 12, 0x08)
        assert (request.when, request.data.hex()) == (WHEN, "153008150126")

    @pytest.mark.parametrize("data", ["ffffffffffff", "000000000000", "605959311226", "00"])
    def test_a_broadcast_that_is_no_time_says_so(self, data):
        message = only(encode("9" * 12, 0x08, bytes.fromhex(data)))
        assert message.when is None
        assert message.problem

    @pytest.mark.parametrize("pattern", ["99999999", "99990000", "99010000", "01150830"])
    def test_freezing(self, pattern):
        request = only(dlt645.encode_freeze(pattern))
        assert (request.control, request.pattern) == (0x16, pattern)

    @pytest.mark.parametrize("n1", [words.RELAY_OPEN, words.RELAY_ALLOW_CLOSE, words.RELAY_CLOSE])
    def test_a_relay_order_says_who_what_and_until_when(self, n1):
        request = only(dlt645.encode_relay(ADDRESS, n1, WHEN, WHO))
        assert (request.control, len(request.data)) == (0x1C, 16)
        assert request.credentials == WHO
        assert (request.relay.n1, request.relay.expiry) == (n1, WHEN)
        reply = only(dlt645.encode_answer(request, address=ADDRESS))
        assert (reply.control, reply.data) == (0x9C, b"")

    def test_a_relay_order_travels_as_the_public_one_did(self):
        until = datetime(2099, 12, 31, 23, 59, 59)
        data = dlt645.encode_relay("260305510009", words.RELAY_OPEN, until, n2=1)
        public = "FEFEFEFE68090051050326681C1035333333333333334D348C8C566445CC8216"
        assert data.hex().upper() == public

    def test_an_order_without_a_date_never_expires_by_mistake(self):
        public = bytes.fromhex("68061024051920681C1035333333333333334D33333333333333C016")
        assert only(public).relay.expiry is None

    @pytest.mark.parametrize(("size", "level"), [(28, "98"), (28, "99"), (15, "02")])
    def test_a_ciphered_or_cut_order_is_no_order(self, size, level):
        message = only(encode(ADDRESS, 0x1C, bytes.fromhex(level) + bytes(size - 1)))
        assert message.relay is None
        assert message.problem == ("length" if level == "02" else "encrypted")

    def test_writing_an_item(self):
        request = only(dlt645.encode_write(ADDRESS, 0x04000B01, ["01 00"], WHO))
        assert (request.di, request.credentials, request.payload.hex()) == (
            0x04000B01,
            WHO,
            "0001",
        )
        assert request.reading.values[0].raw == "01 00"

    @pytest.mark.parametrize(
        ("control", "events"), [(0x19, None), (0x1A, None), (0x1B, 0x0330FFFF), (0x1B, None)]
    )
    def test_clearing_names_who_orders_it(self, control, events):
        request = only(dlt645.encode_clear(ADDRESS, control, WHO, events=events))
        assert (request.control, request.credentials) == (control, WHO)
        if control == 0x1B:
            assert request.di == (0xFFFFFFFF if events is None else events)

    def test_changing_speed_and_password_echo_what_was_set(self):
        request = only(dlt645.encode_speed(ADDRESS, 9600))
        assert request.data == b"\x20"
        assert only(dlt645.encode_answer(request, address=ADDRESS)).data == b"\x20"
        request = only(dlt645.encode_password(ADDRESS, 0x04000C03, WHO, dlt645.Credentials("04")))
        assert (request.di, request.data[4:].hex()) == (0x04000C03, "0256341204000000")
        assert only(dlt645.encode_answer(request, address=ADDRESS)).data.hex() == "04000000"

    @pytest.mark.parametrize("bit", range(8))
    def test_a_refusal_says_why_in_words(self, bit):
        request = only(dlt645.encode_read(ADDRESS, 0x00010000))
        reply = only(dlt645.encode_refusal(request, 1 << bit, address=ADDRESS))
        assert (reply.control, reply.is_refusal, reply.error) == (0xD1, True, 1 << bit)
        assert reply.error_words == [words.ERRORS_2007[bit]]
        assert reply.reading is None

    def test_load_records_are_asked_for_by_number_and_time(self):
        request = only(dlt645.encode_read(ADDRESS, 0x06000001, count=4, since=WHEN))
        assert request.payload.hex() == "043008150126"


class TestMatching:
    """Address, control and data id make an answer the answer."""

    def test_an_answer_belongs_to_its_request_only(self):
        request = only(dlt645.encode_read(ADDRESS, 0x00010000))
        good = asked(0x00010000, [1])
        assert good.answers(request)
        assert not request.answers(request)
        assert not good.answers(only(dlt645.encode_read("201709320073", 0x00010000)))
        assert not good.answers(only(dlt645.encode_read(ADDRESS, 0x00020000)))
        assert not good.answers(only(dlt645.encode_read_next(ADDRESS, 0x00010000, 1)))
        assert good.answers(only(dlt645.encode_read(dlt645.WILDCARD, 0x00010000)))

    def test_a_refusal_and_an_acknowledgement_name_no_data_id_and_still_belong(self):
        request = only(dlt645.encode_write(ADDRESS, 0x04000B01, ["01 00"]))
        assert only(dlt645.encode_answer(request, address=ADDRESS)).answers(request)
        assert only(dlt645.encode_refusal(request, 4, address=ADDRESS)).answers(request)

    def test_a_follow_up_of_another_number_does_not_belong(self):
        one, two = (only(dlt645.encode_read_next(ADDRESS, 0x0001FF00, n)) for n in (1, 2))
        reply = only(dlt645.encode_part(one, b"\x00" * 4, address=ADDRESS))
        assert reply.answers(one)
        assert not reply.answers(two)

    def test_the_address_of_a_lone_meter_answers_the_wildcard(self):
        request = only(dlt645.encode_read_address())
        assert only(dlt645.encode_answer(request, address=ADDRESS)).answers(request)

    def test_nothing_can_not_be_joined(self):
        with pytest.raises(FrameError):
            dlt645.join([])


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
