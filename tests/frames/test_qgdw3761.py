"""Q/GDW 376.1: whole frames, missing values, and both sides' frames written and read back."""

import random
from datetime import date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.frames import FrameError, qgdw3761
from collectors.frames import qgdw3761_encode as write
from collectors.frames.bcd import checksum
from collectors.frames.qgdw3761_encode import Address
from collectors.frames.qgdw3761_tables import _FROZEN, CLASS_1, CLASS_2, QUERY, layout_for

HERE = Address("0171", 2082, 2)
LOGIN = bytes.fromhex("683200320068C97101220800027800000100E016")
MONTH = bytes.fromhex(
    "68BE01BE01688871012208020DE90101010207185923310718040001000000"
    + "EE" * 80
    + "0948431628004316"
)


def read(frame):
    message, consumed = qgdw3761.decode(frame)
    assert message is not None
    assert consumed == len(frame)
    return message


def resum(frame):
    """The frame with its checksum put right, so that only what is inside can be wrong."""
    out = bytearray(frame)
    out[-2] = checksum(out[6:-2])
    return bytes(out)


# --- frames in a stream -------------------------------------------------------------------------


def test_a_frame_is_found_behind_noise_and_before_the_next():
    message, consumed = qgdw3761.decode(b"\x00\xff" + LOGIN + LOGIN)
    assert (message.offset, consumed) == (2, 2 + len(LOGIN))


@pytest.mark.parametrize("size", range(len(LOGIN)))
def test_half_a_frame_waits_for_the_rest(size):
    assert qgdw3761.decode(LOGIN[:size]) == (None, 0)


def test_a_frame_that_was_cut_off_does_not_hold_up_the_next():
    message, consumed = qgdw3761.decode(MONTH[:50] + LOGIN)
    assert (message.raw, consumed) == (LOGIN, 50 + len(LOGIN))


def test_a_frame_within_a_broken_one_is_found_by_dropping_what_the_errors_say():
    data, message = LOGIN[:-3] + LOGIN, None
    for _ in range(3):
        try:
            message, _ = qgdw3761.decode(data)
        except FrameError as error:
            data = data[error.consumed :]
    assert message.raw == LOGIN


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [
        (1, 0x36, "length"),
        (5, 0x69, "start"),
        (18, 0x00, "checksum"),
        (19, 0x17, "stop"),
    ],
)
def test_a_broken_frame_is_refused_with_where_and_why(at, value, code):
    bad = bytearray(LOGIN)
    bad[at] = value
    with pytest.raises(FrameError) as caught:
        qgdw3761.decode(bytes(bad))
    assert caught.value.code == code
    assert caught.value.consumed == 1


@pytest.mark.parametrize("version", [0, 3])
def test_versions_the_standard_does_not_know_are_refused(version):
    bad = bytearray(LOGIN)
    bad[1] = bad[3] = 0x30 | version
    with pytest.raises(FrameError) as caught:
        qgdw3761.decode(bytes(bad))
    assert caught.value.code == "unsupported"


def test_a_length_too_short_for_a_header_is_refused():
    with pytest.raises(FrameError) as caught:
        qgdw3761.decode(bytes.fromhex("681E001E0068") + bytes(9))
    assert caught.value.code == "length"


def test_a_time_stamp_that_has_no_room_is_refused():
    with pytest.raises(FrameError) as caught:
        qgdw3761.decode(write.encode(HERE, 0x88, 0x0C, 0xE1, b"\x00\x00"))
    assert caught.value.code == "structure"


# --- points and functions -----------------------------------------------------------------------


@given(st.integers(0, 2040), st.integers(1, 248))
def test_a_point_and_a_function_survive_their_bits(pn, fn):
    head = qgdw3761.unit_id(pn, fn)
    assert qgdw3761.points_of(head[:2]) == (pn,)
    assert qgdw3761.functions_of(head[2:]) == (fn,)


def test_bits_of_one_identifier_name_several_points_and_functions():
    assert qgdw3761.points_of(b"\x05\x02") == (9, 11)
    assert qgdw3761.functions_of(b"\x81\x01") == (9, 16)
    assert qgdw3761.points_of(b"\xff\x00") == (qgdw3761.ALL_POINTS,)


@pytest.mark.parametrize("da", [b"\x00\x01", b"\x01\x00"])
def test_an_identifier_that_names_no_point_gives_no_unit(da):
    frame = write.encode(HERE, 0x88, 0x0C, 0x61, da + b"\x02\x00" + bytes(6))
    message = read(frame)
    assert message.items == ()
    assert message.trailing == message.data


def test_points_go_first_and_functions_within_them():
    frame = write.encode(HERE, 0x4B, CLASS_1, 0x61, bytes.fromhex("03010108"))
    assert [(item.pn, item.fn) for item in read(frame).items] == [(1, 65), (2, 65)]
    frame = write.encode(HERE, 0x4B, CLASS_1, 0x61, bytes.fromhex("03010300"))
    pairs = [(item.pn, item.fn) for item in read(frame).items]
    assert pairs == [(1, 1), (1, 2), (2, 1), (2, 2)]


# --- values, and what is none ------------------------------------------------------------------


def test_a_month_gives_its_total_and_nothing_for_what_is_missing():
    (item,) = read(MONTH).items
    assert item.values["freeze_month"] == "2018-07"
    assert item.values["reading_time"] == datetime(2018, 7, 31, 23, 59)
    assert item.values["forward_active_kwh"] == (Decimal("0.01"), None, None, None, None)
    assert item.values["forward_reactive_kvarh"] == (None,) * 5
    assert not item.is_missing


def test_fill_that_was_widened_by_a_zero_byte_is_still_missing():
    frame = bytearray(MONTH)
    frame[26:31] = bytes.fromhex("00EEEEEEEE")
    (item,) = read(resum(frame)).items
    assert item.values["forward_active_kwh"][0] is None
    assert item.is_missing


@pytest.mark.parametrize("bad", ["0001EE0000", "EE00000000", "FFFFFFFFFF", "0A00000000"])
def test_digits_that_are_none_never_become_a_number(bad):
    frame = bytearray(MONTH)
    frame[26:31] = bytes.fromhex(bad)
    (item,) = read(resum(frame)).items
    assert item.values["forward_active_kwh"][0] is None
    assert list(item.faults) == ["forward_active_kwh[0]"]
    assert not item.is_missing


def test_a_body_whose_lengths_do_not_add_up_gives_no_values():
    frame = bytearray(MONTH)
    frame[25] = 5  # one tariff more than there are bytes for
    (item,) = read(resum(frame)).items
    assert item.values is None
    assert "body" in item.faults


def test_an_impossible_date_is_no_date():
    frame = bytearray(MONTH)
    frame[18] = 0x13  # the thirteenth month
    (item,) = read(resum(frame)).items
    assert item.values["freeze_month"] is None
    assert "freeze_month" in item.faults


def test_a_function_without_a_layout_keeps_its_bytes():
    frame = write.encode(HERE, 0x88, CLASS_1, 0x61, qgdw3761.unit_id(0, 11) + b"\x01\x02\x03")
    (item,) = read(frame).items
    assert (item.values, item.body) == (None, b"\x01\x02\x03")


def test_widths_of_2009_are_not_read_into_frames_of_2005():
    power = qgdw3761.unit_id(1, 25) + bytes(67)
    old = read(write.encode(HERE, 0x88, CLASS_1, 0x61, power, version=1))
    new = read(write.encode(HERE, 0x88, CLASS_1, 0x61, power))
    assert old.items[0].values is None
    assert new.items[0].faults == {"reading_time": "no such moment: month must be in 1..12"}


def test_a_sign_is_the_highest_bit():
    layout = layout_for(CLASS_1, 25, is_up=True)
    names = [field.name for field in layout]
    values = {name: Decimal(0) for name in names} | {"reading_time": datetime(2026, 1, 5, 8, 15)}
    values |= {"active_power_total_kw": Decimal("-12.3456"), "voltage_a_v": Decimal("220.4")}
    request = read(write.encode_read_current(HERE, [(1, 25)], number=1))
    (item,) = read(write.encode_answer(request, [(1, 25, values)])).items
    assert item.values == values


# --- both sides -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("function", [write.LOGIN, write.LOGOUT, write.HEARTBEAT])
def test_a_terminal_that_reports_is_confirmed(function, version):
    report = read(write.encode_link(HERE, function, number=9, version=version))
    assert report.is_up and report.is_started and report.wants_confirm
    answer = read(write.encode_confirm(report))
    assert answer.answers(report)
    assert (answer.afn, answer.functions, answer.version) == (0, (1,), version)
    assert not answer.is_up


def test_the_public_login_is_what_the_encoder_writes():
    assert write.encode_link(Address("0171", 2082), write.LOGIN, number=8) == LOGIN


def test_a_confirmation_unit_by_unit_names_function_and_result():
    report = read(LOGIN)
    answer = read(write.encode_confirm_each(report, {(0, 1): 0}))
    (item,) = answer.items
    assert item.values == {"of_afn": 2, "results": [{"da_dt": "00000100", "error": 0}]}


METER = {
    "index": 1, "point": 1, "port_rate": 0x62, "protocol": 30, "address": "000012345678",
    "password": "000000000000", "tariffs": 4, "digits": 0x09, "collector": "000000000000",
    "user_class": 0,
}  # fmt: skip


def test_meter_addresses_are_set_and_read_back():
    order = read(write.encode_set_meters(HERE, [METER, METER | {"index": 2}], number=3))
    assert order.items[0].values == {"meters": [METER, METER | {"index": 2}]}
    assert order.password == bytes(16) and order.wants_confirm
    question = read(write.encode_query_meters(HERE, [1, 2], number=4))
    assert question.items[0].values == {"indices": [{"index": 1}, {"index": 2}]}
    answer = read(write.encode_answer(question, [(0, 10, {"meters": [METER]})]))
    assert answer.items[0].values == {"meters": [METER]}
    assert answer.answers(question) and not answer.answers(order)


def test_an_order_without_its_password_is_still_read():
    body = write.encode_units(0x04, [(0, 10, {"meters": [METER]})], is_up=False)
    order = read(write.encode(HERE, 0x4A, 0x04, 0x71, body))
    assert order.password is None
    assert order.items[0].values == {"meters": [METER]}


PLAN = {
    "ports": [{
        "port": 2, "control": "0100", "reading_days": "FFFFFF7F", "reading_time": time(0, 5),
        "interval_min": 60, "broadcast_time": "01 03:30",
        "periods": [{"start": time(0, 0), "end": time(23, 59)}],
    }]
}  # fmt: skip
TASK = {
    "period": 0x81, "base_time": datetime(2026, 11, 1), "every": 1,
    "items": [{"da_dt": qgdw3761.unit_id(1, 161).hex().upper()}],
}  # fmt: skip


@pytest.mark.parametrize(("pn", "fn", "values"), [(0, 33, PLAN), (3, 66, TASK)])
def test_reading_plans_are_set_and_read_back(pn, fn, values):
    order = read(write.encode_request(HERE, 0x04, [(pn, fn, values)], number=5, confirm=True))
    assert order.items[0].values == values
    units = [(pn, fn, {"ports": [{"port": 2}]} if fn == 33 else None)]
    question = read(write.encode_request(HERE, QUERY, units, number=6))
    answer = read(write.encode_answer(question, [(pn, fn, values)]))
    assert (answer.items[0].pn, answer.items[0].values) == (pn, values)


def test_the_clock_is_set_with_its_weekday():
    order = read(write.encode_set_clock(HERE, datetime(2015, 3, 17, 7, 39), number=1))
    assert order.data[4:10] == bytes.fromhex("003907174315")
    assert order.items[0].values == {"clock": datetime(2015, 3, 17, 7, 39)}


def test_a_meters_frame_goes_through_and_its_answer_comes_back():
    stamp = write.time_stamp(5, datetime(2026, 11, 22, 0, 5, 34), 5)
    order = read(write.encode_forward(HERE, b"\x68\x10\x16", number=5, port=31, stamp=stamp))
    assert order.items[0].values["inner"] == b"\x68\x10\x16"
    assert order.stamp.sent == (22, 0, 5, 34)
    units = [(0, 1, {"port": 31, "inner": b"\x68\x90\x16"})]
    answer = read(write.encode_answer(order, units, events=(0x4F, 0)))
    assert answer.items[0].values == {"port": 31, "inner": b"\x68\x90\x16"}
    assert (answer.events, answer.stamp) == ((0x4F, 0), order.stamp)


STAMPS = {
    "freeze_day": date(2026, 11, 19),
    "freeze_month": "2026-10",
    "start": datetime(2026, 11, 19, 0, 0),
    "density": 2,
    "points": 3,
}


@pytest.mark.parametrize("fn", sorted(_FROZEN))
def test_every_frozen_function_is_asked_and_answered(fn):
    stamp = {field.name: STAMPS[field.name] for field in layout_for(CLASS_2, fn, is_up=False)}
    question = read(write.encode_read_frozen(HERE, [(7, fn, stamp)], number=2))
    assert question.items[0].values == stamp
    values = sample(layout_for(CLASS_2, fn, is_up=True))
    (item,) = read(write.encode_answer(question, [(7, fn, values)])).items
    assert (item.values, item.faults) == (values, {})


def sample(layout):
    """Values for a layout: what is missing, and numbers that are told apart."""
    values = dict(STAMPS) | {"reading_time": datetime(2026, 11, 20, 0, 10), "tariffs": 2}
    out = {field.name: values[field.name] for field in layout if field.name in values}
    for n, field in enumerate(layout):
        if field.name in out:
            continue
        one = Decimal(n) / 10 if field.format.is_quantity else "11-19 08:15"
        out[field.name] = (one, None, one)
    return out


def test_more_units_than_a_frame_can_mean_are_refused():
    heads = bytes.fromhex("FF01FF00") * 300
    with pytest.raises(FrameError) as caught:
        qgdw3761.decode(write.encode(HERE, 0x4B, CLASS_1, 0x61, heads))
    assert caught.value.code == "structure"


@pytest.mark.parametrize("value", ["1.23456", "-1", "1000000"])
def test_a_value_that_does_not_fit_is_not_written(value):
    values = {"reading_time": datetime(2026, 1, 1), "tariffs": 0}
    values["forward_active_kwh"] = (Decimal(value),)
    with pytest.raises(ValueError):
        write.encode_units(CLASS_1, [(1, 129, values)], is_up=True)


# --- whatever comes over the wire -----------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_any_content_under_a_good_checksum_is_read_or_refused(data, control, afn, seq):
    try:
        message = read(write.encode(HERE, control, afn, seq, data))
    except FrameError as error:
        assert error.consumed >= 1
        return
    kept = sum(len(item.body) for item in message.items) + len(message.trailing)
    assert kept <= len(data)


def test_mutated_frames_raise_nothing_but_frame_error_and_always_move_on():
    rng = random.Random(3761)
    for _ in range(20_000):
        frame = bytearray(rng.choice((LOGIN, MONTH)))
        for _ in range(rng.randint(1, 4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        data = resum(frame) if rng.random() < 0.7 else bytes(frame)
        try:
            message, consumed = qgdw3761.decode(data)
        except FrameError as error:
            assert 1 <= error.consumed <= len(data)
        else:
            assert message is None or consumed >= len(message.raw)
