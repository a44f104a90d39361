"""The DL/T 645-2007 codec: framing, requests, follow-up frames, answers, refusals."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import FrameError, dlt645
from collectors.frames import dlt645_words as words
from collectors.frames.dlt645_frame import encode, find

ADDRESS = "201709320072"
WHEN = datetime(2026, 1, 15, 8, 30, 15)
WHO = dlt645.Credentials("02", "123456", "87654321")


def only(data):
    message, consumed = dlt645.decode(data)
    assert consumed == len(data)
    return message


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
