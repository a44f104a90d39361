"""Whatever comes over a wire, a codec raises nothing but FrameError, goes on, and never waits for
more than a frame can hold; and no single flipped bit that a checksum can see passes.

`make fuzz` does the same with ten million frames (scripts/fuzz.py).
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frames.fuzzing import CODECS, PREAMBLES, follow, mutated

NAMES = [codec.name for codec in CODECS]
STREAMS = [codec for codec in CODECS if not codec.whole]
BY_NAME = dict(zip(NAMES, CODECS, strict=True))


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
def test_spoilt_frames_end_in_messages_or_refusals(codec):
    dice = random.Random(f"2026/{codec.name}")
    for _ in range(60 * codec.weight):
        data = mutated(dice, codec)
        try:
            follow(codec, data)
        except Exception as error:
            raise AssertionError(f"{codec.name}: {data.hex()}") from error


@pytest.mark.parametrize("codec", CODECS, ids=NAMES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_bytes_of_any_kind_around_a_good_frame_do_no_harm(codec, data):
    noise = st.binary(max_size=40)
    frame = data.draw(st.sampled_from(codec.seeds))
    cut = data.draw(st.integers(0, len(frame)))
    follow(codec, data.draw(noise) + frame[:cut] + data.draw(noise) + frame[cut:])


@pytest.mark.parametrize("codec", STREAMS, ids=[codec.name for codec in STREAMS])
@pytest.mark.parametrize("byte", [b"\xfe", b"\x68", b"\x10", b"\x00", b"\xff", b":", b"\xe5"])
def test_a_line_stuck_on_one_byte_fills_no_memory(codec, byte):
    """`follow` holds what is kept against the longest frame there is."""
    follow(codec, byte * (codec.holds + PREAMBLES + 1))


@pytest.mark.parametrize("name", ["cjt188", "dlt645_2007", "dlt645_1997", "modbus rtu", "mbus"])
@given(noise=st.binary(max_size=20).map(lambda b: bytes(x for x in b if x not in b"\x10\x68\xe5")))
@settings(max_examples=40, deadline=None)
def test_a_good_frame_behind_noise_is_found(name, noise):
    """Noise that begins no frame; what Modbus takes for the beginning of one costs a wait."""
    codec = BY_NAME[name]
    for seed in codec.seeds[:5]:
        plain = [message for _, _, message in follow(codec, seed)]
        found = [message for _, _, message in follow(codec, noise + seed)]
        assert len(found) >= len(plain) or name == "modbus rtu"


# --- flipped bits -------------------------------------------------------------------------------


CHECKED = ("cjt188", "dlt645_2007", "dlt645_1997", "mbus", "modbus rtu", "qgdw3761")


@pytest.mark.parametrize("name", CHECKED)
def test_no_flipped_bit_that_the_checksum_can_see_passes(name):
    """Every bit of every public frame: no message may cover a byte that was changed."""
    codec, tried = BY_NAME[name], 0
    for data in codec.seeds:
        good = [(begin, end) for begin, end, _ in follow(codec, data)]
        for begin, end in good:
            for bit in range(8 * begin, 8 * end):
                spoilt = bytearray(data)
                spoilt[bit // 8] ^= 1 << bit % 8
                for first, last, message in follow(codec, bytes(spoilt)):
                    assert not first <= bit // 8 < last, (data.hex(), bit, message)
                tried += 1
    assert tried >= 1_000


# What `make fuzz` has found, mended since.
FOUND = [
    # A load curve whose number of points is EE.
    (
        "qgdw3761",
        "68be01be01688871012208020de90101b30a07185923310718040001000000eeeeeeeeeeeeeeeeeeeaeeee"
        "eeeeeeeeeeeeeeeeeeeeeeeeeee6eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeefeeeaeeeeee"
        "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee094843162800ee16",
    ),
    # A list of Modbus objects that goes on past the end of any PDU.
    (
        "modbus rtu",
        "20ac93a50fce3be33081b6fa31bfba282da26ad29aa562992b0e9dd5c01e84f4073eccc4a42c5b4c3fea46"
        "c620a930cdd6503046de3e5177bfce09f309b24ca768a69c371e35a58a7e70d94e0fee6e1ef013512ee58e"
        "1228033006be4c8fa144e4b338741c8706fdf0a2a7a6a8c3008cc1ad7e23d65787a5895bb0b5e40b5840f5"
        "e54f64e067e8f8fbfc549dff0225a1ba466d85d0b3ba22bbe397a3c9ba92de036cf1d233b4ccd5bad2cf17"
        "fa20f3ee324776284a465827b8e36658d5cd348633512ce11e0142adcc78c5d222b3081ebeaedbaa538f7a"
        "d177e870d18cf4ebb9d383f48a4c57e9b02d51b621c4d075cf3e34d0cdde573cca53e944f924fe8af97c41"
        "65b040d152b0afdf56b5c31a0b5a841b93f75a49cb14f7dbfcd4c4eaabdb641ac892e8537f67ab45b922",
    ),
]


@pytest.mark.parametrize(("name", "text"), FOUND)
def test_what_was_once_found_is_not_found_again(name, text):
    data = bytes.fromhex(text)
    follow(BY_NAME[name], data)
