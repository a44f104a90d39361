"""Answers of several frames, versions, events, plans: what set-up and bulk reading need."""

from datetime import date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.decode import explain
from collectors.frames import qgdw3761
from collectors.frames import qgdw3761_encode as write
from collectors.frames.qgdw3761_encode import Address
from collectors.frames.qgdw3761_events import EVENT_NAMES, event_name
from collectors.frames.qgdw3761_series import MAX_FRAMES, Answer
from collectors.frames.qgdw3761_tables import CLASS_1, CLASS_2, CLASS_3, QUERY, SET

HERE = Address("0171", 2082, 2)


def read(frame):
    message, consumed = qgdw3761.decode(frame)
    assert message is not None and consumed == len(frame)
    return message


def energy(point):
    values = {"reading_time": datetime(2026, 11, 20, 0, 10), "tariffs": 4}
    return point, 129, values | {"forward_active_kwh": (Decimal(point), *(None,) * 4)}


def answered(count, *, number=14, size=300):
    """A request for that many points, and its answer in frames."""
    points = range(1, count + 1)
    request = read(write.encode_read_current(HERE, [(p, 129) for p in points], number=number))
    frames = write.encode_answers(request, [energy(p) for p in points], size=size)
    return request, [read(frame) for frame in frames]


def joined(request, frames):
    answer = Answer(request)
    for frame in frames:
        answer.add(frame)
    return answer


# --- several frames ----------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(0, 15), st.integers(40, 900))
def test_frames_of_any_size_are_one_answer_again(count, number, size):
    request, frames = answered(count, number=number, size=size)
    answer = joined(request, frames)
    assert answer.is_whole
    assert [item.pn for item in answer.items] == list(range(1, count + 1))
    assert [item.values["forward_active_kwh"][0] for item in answer.items] == [
        Decimal(p) for p in range(1, count + 1)
    ]


def test_only_the_first_is_first_and_only_the_last_is_last():
    _, frames = answered(30)
    assert [bool(f.seq & qgdw3761.FIRST) for f in frames] == [True] + [False] * (len(frames) - 1)
    assert [bool(f.seq & qgdw3761.FINAL) for f in frames] == [False] * (len(frames) - 1) + [True]
    assert [f.number for f in frames] == [(14 + n) % 16 for n in range(len(frames))]


def test_a_frame_that_comes_twice_counts_once():
    request, frames = answered(30)
    twice = [frame for frame in frames for _ in range(2)]
    assert [i.pn for i in joined(request, twice).items] == list(range(1, 31))


def test_a_frame_left_out_leaves_the_answer_unfinished():
    request, frames = answered(30)
    assert not joined(request, frames[:1] + frames[2:]).is_whole
    assert not joined(request, frames[1:]).is_whole


def test_a_terminal_that_begins_anew_is_followed():
    request, frames = answered(30)
    _, longer = answered(30, size=500)
    answer = joined(request, frames[:2] + longer)
    assert answer.is_whole
    assert [i.pn for i in answer.items] == list(range(1, 31))


def test_a_terminal_that_does_not_count_its_frames_is_understood():
    request, frames = answered(30)
    kept = [
        write.encode(HERE, f.control, f.afn, f.seq & 0xF0 | request.number, f.data) for f in frames
    ]
    assert joined(request, [read(one) for one in kept]).is_whole


def test_a_unit_cut_between_two_frames_is_whole_again():
    request, _ = answered(3)
    data = write.encode_units(CLASS_1, [energy(p) for p in (1, 2, 3)], is_up=True)
    head = write.encode(HERE, 0x88, CLASS_1, 0x40 | 14, data[:50])
    tail = write.encode(HERE, 0x88, CLASS_1, 0x20 | 15, data[50:])
    answer = joined(request, [read(head), read(tail)])
    assert [i.values["forward_active_kwh"][0] for i in answer.items] == [1, 2, 3]


@pytest.mark.parametrize("other", ["terminal", "number", "function", "upload", "question"])
def test_a_frame_of_something_else_is_left_alone(other):
    request, (frame,) = answered(1)
    spoilt = {
        "terminal": lambda: write.encode(
            Address("0171", 2083, 2), frame.control, frame.afn, frame.seq, frame.data
        ),
        "number": lambda: answered(1, number=3)[1][0].raw,
        "function": lambda: write.encode(HERE, frame.control, CLASS_2, frame.seq, frame.data),
        "upload": lambda: write.encode_upload(HERE, CLASS_1, [energy(1)], number=14),
        "question": lambda: request.raw,
    }
    answer = Answer(request)
    assert not answer.add(read(spoilt[other]()))
    assert not answer.is_whole


def test_an_answer_without_end_is_given_up():
    request, (first, *_) = answered(30)
    answer = Answer(request)
    answer.add(first)
    for n in range(1, 2 * MAX_FRAMES):
        data = write.encode_units(CLASS_1, [energy(n)], is_up=True)
        answer.add(read(write.encode(HERE, 0x88, CLASS_1, (14 + n) & 0x0F, data)))
    assert len(answer.frames) == MAX_FRAMES


def test_yes_and_no_are_told_apart_also_unit_by_unit():
    order = read(write.encode_set_meters(HERE, [], number=3))
    yes, no = (read(write.encode_confirm(order, is_good=good)) for good in (True, False))
    good = read(write.encode_confirm_each(order, {(0, 10): 0}))
    bad = read(write.encode_confirm_each(order, {(0, 10): 1}))
    answers = [joined(order, [one]) for one in (yes, good, no, bad)]
    assert [a.is_confirmed for a in answers] == [True, True, False, False]
    assert [a.is_denied for a in answers] == [False, False, True, True]


# --- versions, plans, events ---------------------------------------------------------------------

VERSION = {
    "maker": "NUAN", "device": "00002082", "software": "V1.2", "software_day": date(2026, 1, 5),
    "capacity": "DJGZ221002R", "protocol": "3761", "hardware": "V1.0",
    "hardware_day": date(2025, 7, 1),
}  # fmt: skip


@pytest.mark.parametrize(("version", "size"), [(1, 30), (2, 41)])
def test_a_terminals_version_has_the_width_of_its_standard(version, size):
    request = read(write.encode_request(HERE, CLASS_1, [(0, 1, None)], number=1, version=version))
    (item,) = read(write.encode_answer(request, [(0, 1, VERSION)])).items
    assert len(item.body) == size
    assert item.values == {key: VERSION[key] for key in item.values}


def test_a_name_that_is_no_text_is_none():
    request = read(write.encode_read_current(HERE, [(0, 1)], number=1))
    frame = bytearray(write.encode_answer(request, [(0, 1, VERSION)]))
    frame[18] = 0x9C
    frame[-2] = sum(frame[6:-2]) & 0xFF
    (item,) = read(bytes(frame)).items
    assert item.values["maker"] is None and "maker" in item.faults


MODULES = {"ports": [{"port": 31, "port_control": 0x6B, "baud": 9600}]}
KEY_USERS = {"indices": [{"index": 1}, {"index": 300}]}


@pytest.mark.parametrize(("fn", "values"), [(34, MODULES), (35, KEY_USERS)])
def test_modules_and_key_users_are_set_and_read_back(fn, values):
    order = read(write.encode_request(HERE, SET, [(0, fn, values)], number=5, confirm=True))
    assert order.items[0].values == values
    asked = {"ports": [{"port": 31}]} if fn == 34 else None
    question = read(write.encode_request(HERE, QUERY, [(0, fn, asked)], number=6))
    assert read(write.encode_answer(question, [(0, fn, values)])).items[0].values == values


def test_events_are_asked_for_named_and_explained():
    question = read(
        write.encode_request(HERE, CLASS_3, [(0, 1, {"first": 3, "last": 5})], number=6)
    )
    assert question.items[0].values == {"first": 3, "last": 5}
    records = [{"code": 35, "record": b"\x01\x02"}, {"code": 14, "record": b""}]
    values = {"important_events": 5, "general_events": 0, "first": 3, "last": 5, "events": records}
    frame = write.encode_answer(question, [(0, 1, values)], events=(5, 0))
    assert read(frame).items[0].values == values
    shown = "\n".join(cell for row in explain("qgdw3761", frame) for cell in row)
    assert "发现未知电表" in shown and "终端停/上电" in shown
    assert event_name(35) == "发现未知电表" and event_name(99) == "ERC99"
    assert sorted(EVENT_NAMES) == list(range(1, 36))


def test_what_a_terminal_sends_by_itself_wants_a_confirmation():
    report = read(write.encode_upload(HERE, CLASS_1, [energy(7)], number=9, events=(1, 0)))
    assert report.is_up and report.is_started and report.wants_confirm
    assert report.items[0].pn == 7 and report.events == (1, 0)
    assert read(write.encode_confirm(report)).answers(report)


def test_the_time_of_day_of_a_plan_survives():
    plan = {
        "ports": [
            {
                "port": 31,
                "control": "0100",
                "reading_days": "FFFFFF7F",
                "reading_time": time(0, 5),
                "interval_min": 60,
                "broadcast_time": "01 03:30",
                "periods": [],
            }
        ]
    }
    order = read(write.encode_request(HERE, SET, [(0, 33, plan)], number=5, confirm=True))
    assert order.items[0].values == plan
