"""What a modem says of itself is told from what the meters behind it say."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.decode import explain
from collectors.frames import FrameError, dtu
from collectors.frames.dtu import Prefix, Profile
from collectors.frames.dtu_describe import describe

DATA = Path(__file__).parent / "data" / "dtu.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
IMEI = "862592051651472"
CJT = bytes.fromhex("6810670517240000008116901F01000300002C000300002C0000000000000000FFC316")
CONCENTRATOR = bytes.fromhex("683200320068C97101220800027800000100E016")
DDP = b"\x7b\x01\x00\x1613800138000\x0a\x0a\x0a\x0a\x05\x78\x7b"


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_public_packet_is_what_its_source_says(row):
    out = describe(row)
    assert (out["kind"], out["text"]) == (row["expect"]["kind"], row["expect"]["text"])


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        (IMEI.encode(), IMEI),
        (IMEI.encode() + b"\r\n", IMEI),
        (b"IMEI:" + IMEI.encode(), IMEI),
        (b"+LOGIN=" + IMEI.encode() + b",secret", IMEI),
        (b"##reg,DTU-0007##", "DTU-0007"),
        (b"AT+REG=13800138000\r\n", "13800138000"),
        (b"HEAT_0815", "HEAT_0815"),
        (IMEI.encode().hex().encode(), IMEI),
        (bytes.fromhex("0" + IMEI), IMEI),
        (bytes.fromhex(IMEI + "F"), IMEI),
        (bytes.fromhex("89860012345678901234"), "89860012345678901234"),
        (b"ZB" + bytes.fromhex("00124B0001020304"), "00124B0001020304"),
        (b'{"imei": "862592051651472", "iccid": "89860012345678901234"}', IMEI),
        (b'+login {"sn": "N-0042", "ver": 3}\r\n', "N-0042"),
        (b'{"cmd":"login","data":{"imei":"862592051651472"}}', IMEI),
        (DDP, "13800138000"),
        (bytes.fromhex("7E80D0B60A6C7E"), "D0B60A6C"),
        (b"\xfe\x80" + IMEI.encode() + b"\xfe", IMEI),
        (bytes.fromhex("7856341231333036363636383838380 0c0a8014200".replace(" ", "")), "12345678"),
    ],
)
def test_a_registration_names_the_modem(packet, name):
    found, consumed = dtu.decode(packet)
    assert (found.kind, found.id) == ("registration", name)
    assert (found.raw, found.payload, consumed) == (packet, b"", len(packet))


@pytest.mark.parametrize(
    "packet",
    [b"ping", b"PING\r\n", b"heartbeat", b"@HB#", b"hello", b"\xfe", b"\xfe\xfe\xfe", b"\x00",
     b"$", b'{"type":"heartbeat"}', b"\x7e\x81\x01\x7e", b"\xfe\x81\xfe", b"www.usr.cn"],
)  # fmt: skip
def test_a_heartbeat_is_no_data(packet):
    found = dtu.classify(packet)
    assert (found.kind, found.payload) == ("heartbeat", b"")


@pytest.mark.parametrize("packet", [b"hb," + IMEI.encode(), b'{"cmd":"ping","imei":"%s"}'])
def test_a_heartbeat_may_say_whose_it_is(packet):
    found = dtu.classify(packet.replace(b"%s", IMEI.encode()))
    assert (found.kind, found.id) == ("heartbeat", IMEI)


@pytest.mark.parametrize(
    "packet",
    [
        CJT,
        b"\xfe\xfe" + CJT,
        CONCENTRATOR,
        b"\xe5",
        bytes.fromhex("1040004016"),
        bytes.fromhex("01030200017984"),
        b"\x33\x33\x33\x33",
        CJT.hex().encode(),
        b"23.50",
        CJT[:7],
        CJT[5:],
        b"OK\r\n",
        bytes.fromhex("0" + IMEI[:-1] + "3"),  # an IMEI's check digit does not agree
    ],
)
def test_meters_bytes_are_handed_on_as_they_are(packet):
    found, consumed = dtu.decode(packet)
    assert (found.kind, found.id, found.payload) == ("data", None, packet)
    assert consumed == len(packet)


@pytest.mark.parametrize(
    ("head", "name"),
    [(IMEI.encode(), IMEI), (b"DTU0001", "DTU0001"), (bytes.fromhex("0" + IMEI), IMEI),
     (b"ping\r\n", None), (DDP, "13800138000"), (b'{"imei":"862592051651472"}', IMEI)],
)  # fmt: skip
@pytest.mark.parametrize("frame", [CJT, CONCENTRATOR], ids=["cjt188", "qgdw3761"])
def test_a_frame_glued_to_what_the_modem_says_is_left_for_the_next(head, name, frame):
    first, consumed = dtu.decode(head + frame)
    assert (first.id, consumed) == (name, len(head))
    second, _ = dtu.decode((head + frame)[consumed:])
    assert (second.kind, second.payload) == ("data", frame)


@pytest.mark.parametrize("packet", [b'{"imei":"8625920', b"{", b"CTRL:\x1f8625", DDP[:9]])
def test_half_a_packet_waits(packet):
    assert dtu.decode(packet) == (None, 0)
    with pytest.raises(FrameError) as caught:
        dtu.classify(packet)
    assert caught.value.code == "short"


def test_a_collectors_header_stands_before_every_packet():
    found = dtu.classify(b"CTRL:\x2f" + IMEI.encode() + CJT)
    assert (found.kind, found.id, found.payload) == ("data", IMEI, CJT)
    assert dtu.classify(b"CTRL:\x0f" + IMEI.encode()).kind == "registration"


def test_a_modems_own_settings_come_first():
    profile = Profile(
        registrations={b"\x01\x02boiler": "house 7"}, heartbeats=frozenset((b"\x55\xaa",))
    )
    assert dtu.classify(b"\x01\x02boiler", profile).id == "house 7"
    assert dtu.classify(b"\x55\xaa", profile).kind == "heartbeat"
    assert dtu.classify(b"ping", profile).kind == "heartbeat"


def test_a_transparent_modem_is_believed_in_nothing_else():
    profile = Profile(is_raw=True)
    assert dtu.classify(IMEI.encode(), profile).payload == IMEI.encode()


def test_a_binary_prefix_is_cut_off_and_told_in_hex():
    profile = Profile(prefix=Prefix(magic=b"\xa5", id_length=2, is_text=False))
    found = dtu.classify(b"\xa5\x12\x34" + CJT, profile)
    assert (found.id, found.payload) == ("1234", CJT)
    bare = Profile(prefix=Prefix(id_length=2, is_text=False))
    assert dtu.classify(b"\x12\x34" + CJT, bare).payload == CJT


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (bytes(5000), "length"),
        (b"CTRL:\x1f" + bytes(15), "structure"),
        (DDP[:-1] + b"\x00", "structure"),
        (b"\x7b\x02\x00\x1013800138000\x7b", "unsupported"),
    ],
)
def test_a_header_that_cannot_be_is_refused(packet, code):
    with pytest.raises(FrameError) as caught:
        dtu.classify(packet)
    assert caught.value.code == code


def test_an_installer_sees_the_modem_in_chinese():
    assert explain("dtu", IMEI.encode())[:2] == [
        ("报文种类", "kind", "注册包 (registration)"),
        ("模块编号", "id", IMEI),
    ]


@pytest.mark.parametrize(
    ("text", "is_one"), [(IMEI, True), (IMEI[:-1] + "3", False), ("0" * 15, False)]
)
def test_an_imei_has_its_check_digit(text, is_one):
    assert dtu.is_imei(text) is is_one


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8")))
def test_any_bytes_are_one_of_the_three_or_refused(data):
    try:
        packet, consumed = dtu.decode(data)
    except FrameError as error:
        assert error.consumed >= 1
        return
    assert (packet is None and consumed == 0) or 1 <= consumed <= len(data)
    if packet is not None and packet.kind == "data" and packet.form == "bytes":
        assert packet.payload == data


def test_mutated_packets_raise_nothing_but_frame_error():
    rng = random.Random(7)
    seeds = [DDP, b'+login {"sn": "N-0042", "ver": 3}\r\n', b"CTRL:\x2f" + IMEI.encode() + CJT, CJT]
    for _ in range(20_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            dtu.decode(bytes(data))
        except FrameError as error:
            assert error.consumed >= 1


@pytest.mark.parametrize(
    ("packet", "dbm"),
    [
        (b"+CSQ: 23,0", -67),
        (b'{"imei":"866000000000001","csq":31}', -51),
        (b"IMEI:866000000000001,CSQ=0", -113),
        (b"CSQ:99", None),
        (b"CSQ:32", None),
        (b"CSQ:123", None),
        (b"csq", None),
        (b"\x68\x20\x67\x05", None),
    ],
)
def test_a_signal_is_told_in_steps_of_two_decibels(packet, dbm):
    assert dtu.signal_dbm(packet) == dbm
