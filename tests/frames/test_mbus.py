"""Finding M-Bus frames in a stream of bytes, and refusing what is not one."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.frames import FrameError
from collectors.frames.mbus import Ack, ApplicationError, Fixed, Long, Short, Variable, decode
from collectors.frames.mbus_encode import (
    ACK,
    encode_application_error,
    encode_long,
    encode_req_ud2,
    encode_select,
    encode_snd_nke,
)

DATA = Path(__file__).parent / "data"
FRAMES = [
    bytes.fromhex(json.loads(line)["hex"])
    for line in (DATA / "mbus.jsonl").read_text("utf-8").splitlines()
]
HEAT_METER = FRAMES[0]
FIXED = next(frame for frame in FRAMES if frame[6] == 0x73)


def long_frame(ci, data):
    return encode_long(0x08, 1, ci, bytes.fromhex(data))


def test_a_frame_is_waited_for_until_its_last_byte():
    for have in range(len(HEAT_METER)):
        assert decode(HEAT_METER[:have]) == (None, 0)
    message, consumed = decode(HEAT_METER)
    assert isinstance(message, Variable)
    assert consumed == len(HEAT_METER)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind):
    message, _ = decode(kind(HEAT_METER))
    assert (message.manufacturer, message.id, message.access_no) == ("TCH", "21519982", 133)


def test_noise_before_a_frame_is_skipped_and_dropped():
    noise = b"\xfe\xfe\x00\x55"
    message, consumed = decode(noise + HEAT_METER + b"\x00")
    assert message.id == "21519982"
    assert consumed == len(noise) + len(HEAT_METER)
    assert decode(noise) == (None, len(noise))
    assert decode(noise + HEAT_METER[:5]) == (None, len(noise))


def test_frames_in_a_row_come_out_one_by_one():
    stream = ACK + HEAT_METER + encode_snd_nke(5) + FIXED + ACK
    found = []
    while stream:
        message, consumed = decode(stream)
        found.append(type(message))
        stream = stream[consumed:]
    assert found == [Ack, Variable, Short, Fixed, Ack]


def test_an_acknowledgement_inside_noise_is_not_believed():
    assert decode(b"\xe5") == (Ack(), 1)
    assert decode(b"\x00\xe5") == (Ack(), 2)
    assert decode(b"\x00\xe5\x01") == (None, 3)


@pytest.mark.parametrize(
    ("hex_bytes", "code", "at"),
    [
        ("6802026808011116", "length", 1),
        ("680304680801", "length", 2),
        ("6803036908", "start", 3),
        ("6803036808017A8317", "stop", 8),
        ("6803036808017A8416", "checksum", 7),
        ("1040014216", "checksum", 3),
        ("1040014117", "stop", 4),
    ],
)
def test_a_bad_candidate_names_the_byte(hex_bytes, code, at):
    with pytest.raises(FrameError) as refused:
        decode(bytes.fromhex(hex_bytes))
    assert (refused.value.code, refused.value.at) == (code, at)
    assert 1 <= refused.value.consumed <= len(hex_bytes) // 2


def test_the_byte_is_counted_from_the_start_of_the_buffer():
    bad = bytearray(b"\xfe\xfe" + HEAT_METER)
    bad[20] ^= 1
    with pytest.raises(FrameError) as refused:
        decode(bad)
    assert refused.value.at == len(bad) - 2
    assert refused.value.consumed == len(bad)


def test_a_good_frame_behind_a_bad_one_is_found():
    bad = bytearray(HEAT_METER)
    bad[30] ^= 4
    stream = bytes(bad) + FIXED
    with pytest.raises(FrameError) as refused:
        decode(stream)
    message, _ = decode(stream[refused.value.consumed :])
    assert message.id == "90919293"


def test_no_flipped_bit_in_the_checked_bytes_passes():
    for at in range(4, len(HEAT_METER) - 1):
        for bit in range(8):
            bad = bytearray(HEAT_METER)
            bad[at] ^= 1 << bit
            with pytest.raises(FrameError, match="checksum"):
                decode(bad)


def test_no_flipped_bit_anywhere_still_gives_the_reading():
    for at in (0, 1, 2, 3, len(HEAT_METER) - 1):
        for bit in range(8):
            bad = bytearray(HEAT_METER)
            bad[at] ^= 1 << bit
            try:
                message, _ = decode(bad)
            except FrameError:
                continue
            assert not isinstance(message, Variable)


@settings(max_examples=150, deadline=None)
@given(
    frame=st.sampled_from(FRAMES),
    edits=st.lists(st.tuples(st.integers(0, 259), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 260),
)
def test_damaged_application_data_raises_nothing_but_frame_error(frame, edits, cut):
    """The damage is under a good checksum, so it reaches the record reader."""
    body = bytearray(frame[7:-2])
    for at, byte in edits:
        body[at % len(body)] = byte
    damaged = encode_long(frame[4], frame[5], frame[6], bytes(body[:cut]))
    try:
        message, consumed = decode(damaged)
    except FrameError as error:
        assert error.consumed == len(damaged)
        assert error.at <= len(damaged)
        return
    assert consumed == len(damaged)
    for record in message.records:
        assert record.value is None or isinstance(record.value, (int, float, str))
        assert isinstance(record.as_wh(), (int, type(None)))
        assert record.raw is not None or record.problem or not record.header.length


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_noise_never_stalls_the_reader(noise):
    """However bad the bytes: each step drops some or waits for a frame they could still become."""
    left = noise
    for _ in range(len(noise) + 1):
        try:
            message, consumed = decode(left)
        except FrameError as error:
            assert 1 <= error.consumed <= len(left)
            left = left[error.consumed :]
            continue
        left = left[consumed:]
        if message is None:
            break
        assert consumed >= 1
    assert len(left) < 261
    assert not left or left[0] in (0x68, 0x10)


def test_the_secondary_selection_is_a_command_with_its_mask():
    message, _ = decode(encode_select("1234FFFF", "TCH", medium=4))
    assert isinstance(message, Long)
    assert (message.control, message.address, message.ci) == (0x53, 0xFD, 0x52)
    assert message.data.hex() == "ffff34126850ff04"


def test_a_request_toggles_only_its_frame_count_bit():
    even, odd = decode(encode_req_ud2(7, False))[0], decode(encode_req_ud2(7, True))[0]
    assert (even.control, odd.control) == (0x5B, 0x7B)
    assert even.address == odd.address == 7


def test_a_slave_says_why_it_has_no_answer():
    message, _ = decode(encode_application_error(3, 8))
    assert isinstance(message, ApplicationError)
    assert message.meaning() == "Application busy"
    assert decode(long_frame(0x70, ""))[0].meaning() == "Unspecified error"
    assert "0x63" in decode(long_frame(0x70, "63"))[0].meaning()


def test_fixed_data_counts_in_the_units_of_its_table():
    message, _ = decode(FIXED)
    energy, volume = message.records
    assert (message.id, message.access_no, message.medium_name) == ("90919293", 16, "Heat")
    assert (energy.as_wh(), volume.as_litres()) == (6_531_000, 69)
    assert message.labels == ("kWh", "l")
    assert not message.stored


def test_a_high_byte_first_meter_reads_the_same():
    low = decode(long_frame(0x72, "7856341250682604850000000C06000012340259D204"))[0]
    high = decode(long_frame(0x76, "1234567868502604850000000C0634120000025904D2"))[0]
    assert low[3:10] == high[3:10]
    assert [r.value for r in low.records] == [r.value for r in high.records]
    assert high.records[0].as_wh() == 34_120_000_000


def test_a_short_header_and_none_at_all():
    short = decode(long_frame(0x7A, "2A0000000C1427048502"))[0]
    bare = decode(long_frame(0x78, "0C1427048502"))[0]
    assert (short.access_no, short.id) == (0x2A, None)
    assert (bare.access_no, bare.status) == (None, None)
    assert short.records == bare.records


def test_encrypted_data_is_refused_not_guessed():
    with pytest.raises(FrameError, match="encrypted") as refused:
        decode(long_frame(0x7A, "2A001005" + "A5" * 16))
    assert refused.value.code == "unsupported"


def test_more_telegrams_are_announced():
    assert decode(long_frame(0x78, "1F"))[0].more_follows
    assert not decode(long_frame(0x78, "0F"))[0].more_follows


def test_a_plain_record_is_found_and_a_qualified_one_is_not():
    message = decode(long_frame(0x78, "04867F0100000004863C020000004406 03000000"))[0]
    assert message.find("Energy") is None
    assert message.find("Energy", storage=1).as_wh() == 3000


def test_a_command_to_a_meter_is_named_even_where_only_its_maker_reads_it():
    write = decode(encode_long(0x53, 0xFE, 0x51, bytes.fromhex("017A08")))[0]
    readout = decode(encode_long(0x53, 0xFE, 0x51, bytes.fromhex("7F")))[0]
    assert (write.records[0].header.quantity, write.records[0].value) == ("Bus Address", 8)
    assert isinstance(readout, Long)
    assert readout.meaning() == "SND_UD address 254: CI 51 data send, data 7F"
