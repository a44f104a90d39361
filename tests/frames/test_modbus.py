"""The Modbus codec: PDUs, the three framings, noise, echoes, damage."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.frames import FrameError, modbus
from collectors.frames import modbus_pdu as pdus
from collectors.frames.modbus import decode_ascii, decode_rtu, decode_tcp, encode_rtu, encode_tcp

ANSWER = encode_rtu(17, pdus.answer_registers(3, (141, 142)))
QUESTION = encode_rtu(17, pdus.request_read(3, 124, 2))
UNITS = st.integers(0, 255)
WORDS = st.integers(0, 0xFFFF)
READS = st.sampled_from((1, 2, 3, 4))
FLAGS = st.lists(st.booleans(), min_size=1, max_size=1968)
REGISTERS = st.lists(WORDS, min_size=1, max_size=123)
TEXTS = st.dictionaries(st.integers(0, 6), st.binary(max_size=20), max_size=6)
REQUESTS = st.one_of(
    st.builds(pdus.request_read, READS, st.integers(0, 65_000), st.integers(1, 125)),
    st.builds(pdus.request_write_coil, WORDS, st.booleans()),
    st.builds(pdus.request_write_register, WORDS, WORDS),
    st.builds(pdus.request_write_coils, st.integers(0, 60_000), FLAGS),
    st.builds(pdus.request_write_registers, st.integers(0, 65_000), REGISTERS),
    st.builds(pdus.request_mask_write, WORDS, WORDS, WORDS),
    st.builds(
        pdus.request_read_write,
        st.integers(0, 65_000),
        st.integers(1, 125),
        st.integers(0, 65_000),
        st.lists(WORDS, min_size=1, max_size=121),
    ),
    st.builds(pdus.request_device_id, st.integers(1, 4), st.integers(0, 255)),
)
ANSWERS = st.one_of(
    st.builds(pdus.answer_bits, st.sampled_from((1, 2)), FLAGS),
    st.builds(
        pdus.answer_registers,
        st.sampled_from((3, 4, 23)),
        st.lists(WORDS, min_size=1, max_size=125),
    ),
    st.builds(pdus.answer_written, st.sampled_from((15, 16)), WORDS, WORDS),
    st.builds(pdus.answer_exception, st.sampled_from((1, 3, 16, 43)), st.integers(1, 255)),
    st.builds(pdus.answer_device_id, st.integers(1, 4), TEXTS),
)
SIDED = st.one_of(st.tuples(st.just("request"), REQUESTS), st.tuples(st.just("response"), ANSWERS))


def walk(data, decode=decode_rtu, **options):
    """All good messages of a stream, bad candidates stepped over as a session does it."""
    found = []
    while data:
        try:
            message, consumed = decode(data, **options)
        except FrameError as error:
            assert error.consumed > 0
            data = data[error.consumed :]
            continue
        if message is None:
            assert 0 <= consumed <= len(data)
            break
        found.append(message)
        data = data[consumed:]
    return found


def refusal(data, decode=decode_rtu):
    with pytest.raises(FrameError) as caught:
        decode(data)
    return caught.value


class TestChecks:
    def test_crc_and_lrc_are_those_of_the_standard(self):
        assert modbus.crc16(bytes.fromhex("0207")) == 0x1241  # serial line §6.2.2: 41 12 sent
        assert modbus.lrc(bytes.fromhex("0003007C0002")) == 0x7F

    def test_the_crc_sees_every_flipped_bit_and_every_burst_of_sixteen(self):
        for frame in (ANSWER, QUESTION, encode_rtu(1, pdus.answer_registers(3, range(125)))):
            for start in range(len(frame) * 8):
                for burst in (1, 0b11, 0x8001, 0xFFFF):
                    number = int.from_bytes(frame, "big") ^ burst << start
                    if number.bit_length() <= len(frame) * 8:
                        with pytest.raises(FrameError, match="CRC"):
                            modbus.parse_rtu(number.to_bytes(len(frame), "big"))

    def test_no_single_flipped_bit_lets_a_stream_decoder_give_a_value(self):
        for frame in (ANSWER, QUESTION, encode_rtu(9, pdus.answer_exception(3, 2))):
            for bit in range(len(frame) * 8):
                spoilt = bytearray(frame)
                spoilt[bit // 8] ^= 1 << bit % 8
                assert walk(bytes(spoilt)) == []


class TestRtu:
    @pytest.mark.parametrize("noise", range(256))
    def test_one_noise_byte_costs_nothing_but_itself(self, noise):
        (message,) = walk(bytes((noise,)) + ANSWER)
        assert message.raw == ANSWER

    def test_an_echo_is_a_frame_of_its_own_and_the_answer_follows(self):
        first, second = walk(QUESTION + ANSWER)
        assert (first.pdu.kind, second.pdu.kind) == ("request", "response")
        assert second.pdu.registers == (141, 142)

    def test_whoever_waits_for_answers_does_not_see_the_echo(self):
        (message,) = walk(QUESTION + ANSWER, side="response")
        assert message.pdu.registers == (141, 142)

    @pytest.mark.parametrize("kept", range(len(ANSWER)))
    def test_half_a_frame_asks_for_more_and_drops_nothing(self, kept):
        assert decode_rtu(ANSWER[:kept], side="response") == (None, 0)

    def test_bytes_that_begin_no_frame_are_dropped_at_once(self):
        assert decode_rtu(b"\x00\x00\x00\x00\x00") == (None, 4)

    def test_a_whole_frame_behind_a_cut_off_one_is_found_at_once(self):
        cut = encode_rtu(1, pdus.answer_registers(3, range(100)))[:50]
        message, consumed = decode_rtu(cut + ANSWER, side="response")
        assert (message.raw, consumed) == (ANSWER, len(cut + ANSWER))

    def test_behind_an_unfinished_frame_only_the_unit_asked_is_believed(self):
        cut = encode_rtu(1, pdus.answer_registers(3, range(100)))[:50]
        assert decode_rtu(cut + ANSWER, side="response", unit=1) == (None, 0)
        assert decode_rtu(cut + ANSWER, side="response", unit=17)[0].raw == ANSWER

    def test_a_wrong_crc_is_refused_and_says_where(self):
        spoilt = ANSWER[:-1] + bytes((ANSWER[-1] ^ 1,))
        error = refusal(spoilt)
        assert (error.code, error.at, error.consumed) == ("checksum", len(ANSWER) - 2, 1)

    def test_a_frame_behind_a_damaged_one_is_found(self):
        spoilt = ANSWER[:-1] + bytes((ANSWER[-1] ^ 1,))
        assert [m.raw for m in walk(spoilt + ANSWER)] == [ANSWER]

    def test_it_never_waits_for_more_than_a_frame_can_hold(self):
        # Longer than any frame and never the right CRC: everything is given up in the end.
        rng = random.Random(1)
        data = bytes(rng.choices((1, 3, 0x10, 0x0F, 0xFA), k=4_000))
        while data:
            try:
                message, consumed = decode_rtu(data)
            except FrameError as error:
                consumed = error.consumed
            else:
                assert message is None
                if not consumed:
                    break
            data = data[consumed:]
        assert len(data) < modbus.MAX_RTU

    @settings(deadline=None)
    @given(st.binary(max_size=40), UNITS, SIDED, st.binary(max_size=20))
    def test_a_good_frame_is_found_behind_any_noise(self, noise, unit, sided, tail):
        side, pdu = sided
        frame = encode_rtu(unit, pdu)
        assert frame in [m.raw for m in walk(noise + frame + tail, side=side)]

    def test_a_vendors_function_is_read_where_silence_has_cut_it_out(self):
        frame = encode_rtu(5, b"\x65\x01\x02")
        message = modbus.parse_rtu(frame)
        assert (message.pdu.kind, message.pdu.function, message.pdu.data) == (
            "unknown",
            0x65,
            b"\x01\x02",
        )
        assert walk(frame) == []

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            (b"", "short"),
            (b"\x01\x03\x00", "short"),
            (bytes(257), "length"),
            (encode_rtu(1, b"\x03\x05abcde"), "structure"),
            (encode_rtu(1, b"\x83\x00"), "structure"),
            (encode_rtu(1, b"\x10\x00\x01\x00\x02\x02\x00\x01"), "structure"),
        ],
    )
    def test_a_cut_out_frame_that_contradicts_itself_is_refused(self, frame, code):
        assert refusal(frame, modbus.parse_rtu).code == code

    def test_a_request_for_more_than_a_meter_may_answer_is_still_read(self):
        assert modbus.parse_rtu(bytes.fromhex("0103014802038541")).pdu.count == 515


class TestTcp:
    FRAME = encode_tcp(3077, 17, pdus.answer_registers(3, (141, 142)))

    def test_a_frame_has_its_transaction_and_unit(self):
        message, consumed = decode_tcp(self.FRAME + b"\x01")
        assert (message.transaction, message.unit, consumed) == (3077, 17, len(self.FRAME))

    @pytest.mark.parametrize("kept", range(13))
    def test_half_a_frame_asks_for_more(self, kept):
        assert decode_tcp(self.FRAME[:kept]) == (None, 0)

    @given(st.lists(st.tuples(WORDS, UNITS, SIDED), max_size=5))
    def test_glued_frames_come_out_one_after_the_other(self, frames):
        data = b"".join(encode_tcp(t, unit, pdu) for t, unit, (_, pdu) in frames)
        found = walk(data, decode_tcp)
        assert [(m.transaction, m.unit, m.pdu.raw) for m in found] == [
            (t, unit, pdu) for t, unit, (_, pdu) in frames
        ]

    def test_noise_before_a_header_is_dropped(self):
        assert [m.raw for m in walk(b"\x55\xaa\x77" + self.FRAME, decode_tcp)] == [self.FRAME]

    def test_a_pdu_that_does_not_fit_its_header_is_refused_whole(self):
        bad = encode_tcp(1, 1, b"\x03\x06abcd")
        error = refusal(bad + self.FRAME, decode_tcp)
        assert (error.code, error.consumed) == ("structure", len(bad))

    def test_a_function_nobody_knows_is_still_a_message(self):
        assert decode_tcp(encode_tcp(1, 1, b"\x65abc"))[0].pdu.kind == "unknown"


class TestAscii:
    def test_a_frame_behind_noise_reads_and_writes_back(self):
        text = b"abc:0003007C00027F\r\n"
        message, consumed = decode_ascii(text)
        assert (message.offset, message.pdu.count, consumed) == (3, 2, len(text))
        assert modbus.encode_ascii(message.unit, message.pdu.raw) == message.raw

    @pytest.mark.parametrize(
        ("text", "code", "consumed"),
        [
            (b":0003007C000280\r\n", "checksum", 17),
            (b":0003007C00027\r\n", "structure", 16),
            (b":00 3007C00027F\r\n", "structure", 17),
            (b":00\r\n", "length", 5),
            (b":0003:0003007C00027F\r\n", "start", 5),
            (b":" + b"0" * 600, "length", 1),
        ],
    )
    def test_a_bad_frame_is_refused_and_the_next_is_found(self, text, code, consumed):
        error = refusal(text, decode_ascii)
        assert (error.code, error.consumed) == (code, consumed)
        good = b":0003007C00027F\r\n"
        assert walk(text + good, decode_ascii)[-1].raw == good

    @pytest.mark.parametrize("text", [b"", b":", b":0003007C", b":0003007C00027F\r"])
    def test_half_a_frame_asks_for_more(self, text):
        assert decode_ascii(text) == (None, 0)


@settings(deadline=None)
@given(st.sampled_from(("rtu", "tcp", "ascii")), UNITS, SIDED)
def test_what_is_written_reads_back(framing, unit, sided):
    side, pdu = sided
    write = {
        "rtu": encode_rtu,
        "tcp": lambda unit, pdu: encode_tcp(7, unit, pdu),
        "ascii": modbus.encode_ascii,
    }[framing]
    frame = write(unit, pdu)
    message, consumed = modbus.decode(frame, framing=framing, side=side)
    assert (message.raw, consumed, message.framing) == (frame, len(frame), framing)
    assert (message.unit, message.pdu.raw) == (unit, pdu)
    assert message.pdu.kind in ((side,) if side == "request" else ("response", "exception"))


@given(FLAGS)
def test_coils_go_into_bytes_and_come_back(flags):
    assert pdus.flags_of(pdus.bits_of(flags), len(flags)) == flags


def test_what_a_request_says_is_read_field_by_field():
    written = pdus.parse(pdus.request_read_write(1, 2, 3, [4, 5]), side="request")
    assert (written.address, written.count, written.write_address) == (1, 2, 3)
    assert written.registers == (4, 5)
    masked = pdus.parse(pdus.request_mask_write(9, 0xF0, 0x0F))
    assert (masked.address, masked.masks) == (9, (0xF0, 0x0F))
    named = pdus.parse(pdus.answer_device_id(1, {0: b"Maker", 2: b"V1"}), side="response")
    assert named.objects == {0: b"Maker", 2: b"V1"}
    coils = pdus.parse(pdus.request_write_coils(7, [True, False, True]))
    assert (coils.address, coils.count, coils.bits) == (7, 3, b"\x05")


def test_five_bytes_that_fit_both_sides_are_read_as_the_side_asked_for():
    pdu = bytes.fromhex("0103000800")
    assert pdus.parse(pdu, side="response").bits == bytes.fromhex("000800")
    assert pdus.parse(pdu, side="request").address == 0x0300
    assert pdus.parse(pdu).kind == "response"  # 2048 coils are more than can be asked for
    assert pdus.parse(bytes.fromhex("0103000001")).kind == "request"


@pytest.mark.parametrize(
    "write",
    [
        lambda: pdus.request_read(3, 0, 126),
        lambda: pdus.request_read(3, 65_535, 2),
        lambda: pdus.request_read(5, 0, 1),
        lambda: pdus.request_read(1, 0, 0),
        lambda: pdus.request_write_registers(0, [0] * 124),
        lambda: pdus.request_write_coils(0, []),
        lambda: pdus.request_read_write(0, 1, 0, [0] * 122),
        lambda: pdus.answer_device_id(1, {n: bytes(100) for n in range(3)}),
        lambda: encode_rtu(256, b"\x03"),
        lambda: encode_rtu(1, b""),
        lambda: encode_rtu(1, bytes(254)),
    ],
)
def test_what_no_frame_can_carry_is_not_written(write):
    with pytest.raises(ValueError, match=r"\d"):
        write()


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=600),
    st.sampled_from((decode_rtu, decode_tcp, decode_ascii)),
    st.sampled_from(("any", "request", "response")),
)
def test_any_bytes_give_messages_or_frame_errors_and_always_move_on(data, decode, side):
    walk(data, decode, side=side)


def test_twenty_thousand_mutated_frames_raise_nothing_but_frame_errors():
    rng = random.Random(20261120)
    good = [
        ANSWER,
        QUESTION,
        TestTcp.FRAME,
        b":0003007C00027F\r\n",
        encode_rtu(3, pdus.answer_device_id(1, {0: b"Maker"})),
        encode_rtu(3, pdus.request_read_write(1, 2, 3, [4, 5])),
    ]
    for _ in range(20_000):
        frame = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        cut = bytes(frame[: rng.randint(1, len(frame))])
        for decode in (decode_rtu, decode_tcp, decode_ascii):
            walk(cut, decode)
        for parse in (modbus.parse_rtu, pdus.parse):
            try:
                parse(cut)
            except FrameError as error:
                assert error.consumed > 0
