"""Registers roll over, are replaced and lie; days of samples are packed and unpacked."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.metering.rules import (
    MISSING,
    Limits,
    Reading,
    Register,
    Replacement,
    interval_of,
    merge,
    pack_day,
    quality_flags,
    unpack_day,
    usage,
)

START = datetime(2024, 11, 1, tzinfo=UTC)
REGISTER = Register.of_digits(8, max_per_day=200)


def at(days):
    return START + timedelta(days=days)


def read(*values, register=REGISTER):
    return usage([Reading(at(day), value) for day, value in enumerate(values)], register)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=30), st.integers(0, 10**8 - 1))
def test_steps_add_up_over_any_number_of_rollovers(steps, first):
    values = [first]
    for step in steps:
        values.append((values[-1] + step) % 10**8)
    assert read(*values).amount == sum(steps)


@given(st.lists(st.integers(0, 10**8 - 1), min_size=2, max_size=8), st.permutations(range(8)))
def test_the_order_readings_arrive_in_does_not_matter(values, order):
    events = [Reading(at(day), value) for day, value in enumerate(values)]
    shuffled = [events[index] for index in order if index < len(events)]
    assert usage(shuffled, REGISTER) == usage(events, REGISTER)


@given(st.lists(st.integers(0, 10**8 - 1), min_size=2, max_size=8))
def test_usage_is_never_negative(values):
    amount = read(*values).amount
    assert amount is None or amount >= 0


def test_a_rollover_must_be_plausible_in_the_time_it_took():
    assert read(99_999_900, 99) == usage_of(199, "rollover")
    assert read(99_999_900, 101).flags == ("negative_delta",)
    late = [Reading(at(0), 99_999_900), Reading(at(2), 101)]
    assert usage(late, REGISTER) == usage_of(201, "rollover")


def usage_of(amount, *flags):
    return type(read(0, 0))(Fraction(amount), flags)


def test_a_decrease_that_is_no_rollover_cannot_be_billed_whatever_follows():
    assert read(5300, 260, 300, 340).amount is None


def test_a_decimal_register_is_exact():
    register = Register.of_digits(8, max_per_day=10, resolution=Decimal("0.01"))
    assert read(Decimal("999999.9"), Decimal("0.2"), register=register) == usage_of(
        Fraction(3, 10), "rollover"
    )


def test_a_replacement_closes_the_old_register_and_opens_the_new():
    events = [
        Reading(at(0), 500),
        Replacement(at(1), old_final=520, new_initial=7),
        Reading(at(2), 27),
        Replacement(at(3), old_final=30, new_initial=0),
    ]
    assert usage(events, REGISTER) == usage_of(20 + 20 + 3, "meter_replaced")


def test_an_old_register_closing_below_its_last_reading_is_a_fault():
    events = [Reading(at(0), 500), Replacement(at(1), 490, 0), Reading(at(2), 20)]
    assert usage(events, REGISTER).amount is None


def test_one_reading_is_no_usage():
    assert read(5).amount is None
    assert read().flags == ("fewer_than_two_readings",)


@pytest.mark.parametrize("value", [-1, 10**8, Decimal("100000000.5"), float("nan")])
def test_what_the_display_cannot_show_is_refused(value):
    with pytest.raises(ValueError, match=r"cannot show|finite"):
        read(0, value)


HEAT = Limits(lowest=0, highest=10**9, register=REGISTER, stuck_after_s=3 * 86_400)
ROOM = Limits(lowest=-2000, highest=6000, max_step=500)


@pytest.mark.parametrize(
    ("limits", "before", "after", "days", "flags"),
    [
        (HEAT, 1000, 1100, 1, []),
        (HEAT, 1000, 1201, 1, ["jump"]),
        (HEAT, 1000, 1400, 2, []),
        (HEAT, 1000, 999, 1, ["reverse"]),
        (HEAT, 99_999_990, 50, 1, []),
        (HEAT, 1000, 1000, 1, []),
        (HEAT, 1000, 1000, 3, ["stuck"]),
        (HEAT, 1000, -5, 1, ["impossible"]),
        (HEAT, 1000, 10**8, 1, ["impossible"]),
        (HEAT, 1000, 1000, 0, ["duplicate"]),
        (HEAT, 1000, 900, -1, ["out_of_order"]),
        (ROOM, 2000, 2500, 1, []),
        (ROOM, 2000, 2501, 1, ["jump"]),
        (ROOM, 2000, 1499, 1, ["jump"]),
        (ROOM, 2000, 6001, 1, ["impossible"]),
        (ROOM, 2000, 2000, 90, []),
    ],
)
def test_a_reading_says_what_is_odd_about_it(limits, before, after, days, flags):
    assert quality_flags(Reading(at(days), after), Reading(at(0), before), limits) == flags


def test_a_first_reading_can_only_be_impossible():
    assert quality_flags(Reading(at(0), 5), None, HEAT) == []
    assert quality_flags(Reading(at(0), -5), None, HEAT) == ["impossible"]


def test_a_register_read_often_is_stuck_since_it_last_moved():
    new, previous = Reading(at(4), 9), Reading(at(3.9), 9)
    assert quality_flags(new, previous, HEAT) == []
    assert quality_flags(new, previous, HEAT, unchanged_since=at(0)) == ["stuck"]


SAMPLES = st.dictionaries(st.integers(0, 143), st.integers(-32767, 32767))


@given(SAMPLES)
def test_a_packed_day_holds_every_sample_and_nothing_else(samples):
    packed = pack_day([(slot * 600 + 599, value) for slot, value in samples.items()], 600)
    slots = unpack_day(packed)
    assert len(packed) == 288
    assert interval_of(packed) == 600
    found = {int(slot): int(slots[slot]) for slot in np.flatnonzero(slots != MISSING)}
    assert found == samples


@given(SAMPLES, SAMPLES)
def test_merging_keeps_what_only_one_has_and_prefers_the_newer(older, newer):
    packed = [pack_day([(s * 600, v) for s, v in day.items()], 600) for day in (older, newer)]
    both = pack_day([(s * 600, v) for s, v in {**older, **newer}.items()], 600)
    assert merge(*packed) == both


def test_bytes_are_little_endian_and_a_later_sample_of_a_slot_replaces():
    packed = pack_day([(0, 1), (599, 258)], 600)
    assert packed[:2] == b"\x02\x01"
    assert packed[2:4] == b"\x00\x80"


@pytest.mark.parametrize(
    ("samples", "interval_s", "word"),
    [
        ([(86_400, 1)], 600, "day"),
        ([(-1, 1)], 600, "day"),
        ([(0, 32768)], 600, "16 bits"),
        ([(0, MISSING)], 600, "16 bits"),
        ([], 7, "divide"),
        ([], 0, "divide"),
    ],
)
def test_what_does_not_fit_into_a_day_is_refused(samples, interval_s, word):
    with pytest.raises(ValueError, match=word):
        pack_day(samples, interval_s)


def test_days_of_different_intervals_cannot_be_merged_nor_rubbish_unpacked():
    with pytest.raises(ValueError, match="intervals"):
        merge(pack_day([], 600), pack_day([], 300))
    for rubbish in (b"", b"\x00", b"\x00" * 14):
        with pytest.raises(ValueError, match="packed day"):
            unpack_day(rubbish)
