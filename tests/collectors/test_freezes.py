"""What a meter has kept is asked for by its day, and stored as a freeze of that moment."""

from datetime import UTC, date, datetime

import pytest

from collectors.dialects import CannotAsk, Freeze
from collectors.reading import Asked, Outcome
from collectors.session import Failed, Read, Target

HEAT, WATER = "20010100000101", "10010100000101"
NOON = datetime(2024, 12, 1, 4, 0, tzinfo=UTC)


def utc(*when):
    return datetime(*when, tzinfo=UTC)


class TestCountingBack:
    @pytest.mark.parametrize(
        ("on", "back"), [(date(2024, 12, 1), 1), (date(2024, 11, 30), 2), (date(2024, 11, 1), 31)]
    )
    def test_days(self, on, back):
        assert Freeze("day", on).back(NOON, 31) == back

    @pytest.mark.parametrize(
        ("on", "back"),
        [
            (date(2024, 12, 1), 1),
            (date(2024, 11, 1), 2),
            (date(2024, 1, 1), 12),
            (date(2024, 11, 15), 1),
        ],
    )
    def test_months_by_their_settlement_day(self, on, back):
        assert Freeze("month", on).back(NOON, 12) == back

    @pytest.mark.parametrize(
        "freeze",
        [
            Freeze("day", date(2024, 12, 2)),
            Freeze("day", date(2024, 10, 31)),
            Freeze("month", date(2025, 1, 1)),
            Freeze("month", date(2023, 12, 1)),
            Freeze("month", date(2024, 12, 15)),
        ],
    )
    def test_what_is_to_come_or_long_gone_is_out_of_reach(self, freeze):
        with pytest.raises(CannotAsk) as caught:
            freeze.back(NOON, 31 if freeze.period == "day" else 12)
        assert caught.value.reason == "no_freeze"

    def test_the_day_is_that_of_shanghai(self):
        just_after_midnight = utc(2024, 11, 30, 16, 0)
        assert Freeze("day", date(2024, 12, 1)).back(just_after_midnight, 31) == 1
        assert Freeze("day", date(2024, 12, 1)).at == just_after_midnight


class TestCjt188:
    @pytest.mark.parametrize(("month", "litres"), [(12, 12_000), (2, 2_000), (1, 1_000)])
    async def test_a_settlement_month_is_the_register_of_that_day(self, bench, month, litres):
        bus = await bench.cjt_bus()
        bus.meter(WATER).source = lambda now: {"volume_l": 1_000 * (now.month)}
        target = Target("cjt188", WATER, 0x10, freeze=Freeze("month", date(2024, month, 1)))
        read = await bench.session(bus).read(target)
        assert read.values == {"volume_l": litres}
        assert read.frozen_at == Freeze("month", date(2024, month, 1)).at

    async def test_days_are_not_kept_and_nothing_is_sent(self, bench):
        bus = await bench.cjt_bus()
        target = Target("cjt188", HEAT, freeze=Freeze("day", date(2024, 12, 1)))
        failed = await bench.session(bus, retries=3).read(target)
        assert (failed.reason, failed.tries, bus.asked) == ("no_freeze", 0, 0)


def stored(result):
    outcome = Outcome()
    outcome.add(Asked(7, "water", Target("cjt188", WATER, 0x10)), result)
    return outcome


def test_a_frozen_reading_is_stored_as_a_freeze_of_its_moment():
    target = Target("cjt188", WATER, 0x10, freeze=Freeze("month", date(2024, 12, 1)))
    at = target.freeze.at
    read = Read(target, {"volume_l": 5}, b"\x68\x16", NOON, frozen_at=at)
    reading = stored(read).readings[0]
    assert (reading.kind, reading.read_at, reading.register) == ("freeze", at, 5)
    assert reading.frame == b"\x68\x16"


def test_a_freeze_that_could_not_be_had_is_a_failure_and_no_reading():
    target = Target("cjt188", WATER, 0x10, freeze=Freeze("day", date(2024, 12, 1)))
    outcome = stored(Failed(target, "no_freeze", "", NOON))
    assert (outcome.readings, outcome.failures) == ([], [(7, NOON, "no_freeze")])
