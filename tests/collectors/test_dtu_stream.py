"""Who a DTU says it is, and what of its bytes are the meters'."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.links.dtu_stream import Stripper, is_heartbeat, registration

PHONE = "13800138000"
IMEI = "490154203237518"  # with a right check digit, as 3GPP gives it
KNOWN = {PHONE, "201810000001696", IMEI, "BOILER-7", "013800138000"}
# A real heat answer behind a modem that says its id before every packet (a public collector's).
WRAPPED = bytes.fromhex(
    "4354524C3A52323031383130303030303031363936FEFE682766904318001111812E1F90000000000008270100000"
    "800000000170000000035071900002C603600982200660100493514011118200800CB16"
)
FRAME = WRAPPED[21:]


class TestRegistration:
    @pytest.mark.parametrize(
        ("packet", "device_id"),
        [
            (b"13800138000", PHONE),
            (b"13800138000\r\n", PHONE),
            (b"13800138000\0", PHONE),
            (b"REG:13800138000;", PHONE),
            (b"id=13800138000", PHONE),
            (b"$IMEI,490154203237518#", IMEI),
            (b'{"imei": "490154203237518"}', IMEI),
            (b"boiler-7", "BOILER-7"),
            (bytes.fromhex("013800138000"), "013800138000"),
            (b"\xfe\xfe13800138000", PHONE),
            (b"ping13800138000", PHONE),
            (bytes.fromhex("0490154203237518"), IMEI),
            (bytes.fromhex("89860012345678901234"), "89860012345678901234"),
        ],
    )
    def test_the_usual_forms_are_understood(self, packet, device_id):
        found = registration(packet, KNOWN)
        assert (found.device_id, found.rest) == (device_id, b"")

    def test_a_control_header_names_the_dtu_and_its_packet_follows(self):
        found = registration(WRAPPED, KNOWN)
        assert (found.device_id, found.rest) == ("201810000001696", FRAME)

    @pytest.mark.parametrize(
        "glued", [b"ping", b"\xfe\xfe\x68\x20", b"h \x11", b"h\x1f\x1fh", b"pingping\r\n"]
    )
    def test_what_is_glued_to_a_known_id_is_kept_apart(self, glued):
        found = registration(PHONE.encode() + glued, KNOWN)
        assert (found.device_id, found.rest) == (PHONE, glued)

    def test_an_id_said_twice_is_one(self):
        assert registration(b"1380013800013800138000", KNOWN).device_id == PHONE

    @pytest.mark.parametrize("stranger", [b"138001380001", b"13800138000X", b"99999998"])
    def test_an_id_that_only_begins_like_a_known_one_is_another(self, stranger):
        assert registration(stranger, KNOWN).device_id == stranger.decode()

    def test_modems_that_want_answers_in_frames_of_their_own_are_not_taken_on(self):
        ddp = bytes.fromhex("7B010016") + PHONE.encode() + bytes(6) + b"\x7b"
        assert registration(ddp, KNOWN) is None

    @pytest.mark.parametrize("packet", [b"", b"\x68\x20\x11", bytes(16), b"!!", b"\xff" * 20])
    def test_what_names_nobody_is_none(self, packet):
        assert registration(packet, KNOWN) is None

    @given(st.binary(max_size=256))
    def test_no_bytes_at_all_raise_anything(self, packet):
        registration(packet, KNOWN)
        registration(PHONE.encode() + packet, KNOWN)
        is_heartbeat(packet)


class TestStripper:
    @pytest.mark.parametrize("beat", [b"ping", b"PING\r\n", b"heartbeat", b"13800138000"])
    def test_heartbeats_before_between_and_after_are_taken_out(self, beat):
        stripper = Stripper(PHONE, PHONE.encode())
        got = stripper.feed(beat + FRAME[:20]) + stripper.feed(beat)
        got += stripper.feed(FRAME[20:] + beat) + stripper.release()
        assert got == FRAME
        assert stripper.stripped == 3

    def test_a_header_before_every_packet_is_taken_out_whatever_its_length_byte(self):
        first = registration(WRAPPED, KNOWN)
        stripper = Stripper(first.device_id, first.raw)
        other = WRAPPED[:5] + b"\x1a" + WRAPPED[6:]
        assert stripper.feed(WRAPPED + other) == 2 * FRAME

    def test_a_short_registration_is_taken_only_from_the_front(self):
        stripper = Stripper("DTU1", b"DTU1")
        assert stripper.feed(b"DTU1" + FRAME + b"DTU1") == FRAME + b"DTU1"

    def test_what_only_began_like_a_heartbeat_is_given_back(self):
        stripper = Stripper(PHONE, PHONE.encode())
        assert stripper.feed(FRAME + b"pi") == FRAME
        assert stripper.is_holding
        assert stripper.release() == b"pi"

    @given(st.lists(st.integers(0, len(FRAME)), max_size=6))
    def test_wherever_the_network_tears_the_stream_the_frame_comes_out_whole(self, cuts):
        stream = PHONE.encode() + FRAME + b"ping" + FRAME + b"heartbeat"
        stripper, got, last = Stripper(PHONE, PHONE.encode()), b"", 0
        for cut in [*sorted(cuts), len(stream)]:
            got += stripper.feed(stream[last:cut])
            last = cut
        assert got + stripper.release() == 2 * FRAME


@pytest.mark.parametrize("packet", [b"", b"\0", b"\xfe\xfe", b"HB", b"ping", b"Heartbeat\r\nping"])
def test_heartbeats_are_known_in_all_their_forms(packet):
    assert is_heartbeat(packet)


def test_a_frame_is_no_heartbeat():
    assert not is_heartbeat(FRAME)
