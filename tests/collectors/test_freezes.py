"""What a meter has kept is asked for by its day, and stored as a freeze of that moment."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.dialects import CannotAsk, Freeze, cjt188
from collectors.dialects.base import LOCAL, is_of, look_next
from collectors.reading import Asked, Outcome
from collectors.session import Failed, Read, Target, Told
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.meters import CjtHeatMeter, CjtUtilityMeter

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


HOURS = datetime(2024, 1, 1, tzinfo=LOCAL)


def litres(now):
    """A register that shows when it was taken: ten litres an hour."""
    return {"volume_l": int((now - HOURS).total_seconds()) // 360}


def local(*when):
    return datetime(*when, tzinfo=LOCAL)


class TestCjt188Of2018:
    """The edition of 2018: months with their volume, and days where a meter freezes by plan."""

    async def water(self, bench, **options):
        return await bench.bus(CjtUtilityMeter("water", WATER, litres, is_2018=True, **options))

    def day(self, *when):
        freeze = Freeze("day", date(*when))
        return Target("cjt188", WATER, 0x10, profile="2018", freeze=freeze)

    @pytest.mark.parametrize("on", [(2024, 12, 1), (2024, 11, 30), (2024, 11, 1)])
    @pytest.mark.parametrize("hourly", [False, True])
    async def test_a_day_is_found_whatever_the_plan_of_freezes(self, bench, on, hourly):
        bus = await self.water(bench, days=31, freezes_hourly=hourly)
        if hourly and on == (2024, 11, 1):
            pytest.skip("256 hours reach back ten days")
        read = await bench.session(bus).read(self.day(*on))
        assert read.frozen_at == local(*on)
        assert read.values == {"volume_l": litres(local(*on))["volume_l"], "flow_lph": 0}

    async def test_a_day_beyond_what_it_keeps_is_refused_once(self, bench):
        bus = await self.water(bench, days=5)
        failed = await bench.session(bus, retries=3).read(self.day(2024, 11, 20))
        assert (failed.reason, failed.tries, bus.asked) == ("no_freeze", 1, 1)

    async def test_a_clock_a_day_off_gives_no_wrong_day(self, bench):
        """It says of which day its freeze is, and that is what counts."""
        bus = await self.water(bench, days=31)
        meter, honest = bus.meters[0], bus.meters[0]._frozen
        meter._frozen = lambda number, now: honest(number, now - timedelta(days=2))
        read = await bench.session(bus).read(self.day(2024, 11, 25))
        assert read.values["volume_l"] == litres(local(2024, 11, 25))["volume_l"]
        assert (await bench.session(bus).read(self.day(2024, 12, 1))).reason == "no_freeze"

    async def test_a_month_of_a_heat_meter_comes_with_its_volume(self, bench):
        def source(now):
            return {"energy_wh": now.month * 10_000, "volume_l": now.month * 1_000}

        bus = await bench.bus(CjtHeatMeter(HEAT, source, is_2018=True))
        freeze = Freeze("month", date(2024, 11, 1))
        read = await bench.session(bus).read(Target("cjt188", HEAT, profile="2018", freeze=freeze))
        assert read.values == {"energy_wh": 110_000, "volume_l": 11_000, "cooling_wh": 0}

    async def test_a_heat_meter_keeps_no_days(self, bench):
        bus = await bench.bus(CjtHeatMeter(HEAT, litres, is_2018=True))
        freeze = Freeze("day", date(2024, 12, 1))
        failed = await bench.session(bus).read(
            Target("cjt188", HEAT, profile="2018", freeze=freeze)
        )
        assert (failed.reason, bus.asked) == ("no_freeze", 0)


class TestLookingElsewhere:
    @settings(max_examples=1000)
    @example({22, 23, 26}, 24)
    @given(
        st.sets(st.integers(1, 40), max_size=4),
        st.integers(1, 25),
    )
    def test_whatever_nights_a_meter_skipped_the_day_it_has_is_found(self, skipped, wanted):
        """Its freezes are those of the nights not skipped, newest first."""
        first = date(2024, 12, 1)
        kept = [first - timedelta(days=n) for n in range(80) if n not in skipped]
        on, looks, back = first - timedelta(days=wanted), [], wanted + 1
        while back is not None:
            moment = datetime.combine(kept[back - 1], time())
            if is_of(moment, on):
                break
            looks.append((back, moment))
            back = look_next(looks, on, 62)
        assert (back is not None) == (on in kept)

    def test_a_meter_whose_freezes_do_not_move_is_given_up(self):
        stuck = datetime(2024, 11, 1)
        assert look_next([(1, stuck), (30, stuck)], date(2024, 11, 20), 62) is None


class TestCjt188Errands:
    TARGET = Target("cjt188", WATER, 0x10)

    async def test_a_lone_meter_tells_its_address_and_takes_a_new_one(self, bench):
        bus = await bench.bus(CjtUtilityMeter("water", WATER, litres))
        session = bench.session(bus)
        assert (await session.run(cjt188.read_address())).value == WATER
        assert isinstance(await session.run(cjt188.write_address(self.TARGET, HEAT)), Told)
        assert bus.meters[0].address == HEAT

    @pytest.mark.parametrize("which", ["settlement", "reading"])
    async def test_the_day_of_the_month_is_written_and_read_back(self, bench, which):
        bus = await bench.bus(CjtUtilityMeter("water", WATER, litres))
        session = bench.session(bus)
        assert (await session.run(cjt188.read_day(self.TARGET, which))).value == 1
        assert isinstance(await session.run(cjt188.write_day(self.TARGET, which, 15)), Told)
        assert (await session.run(cjt188.read_day(self.TARGET, which))).value == 15

    @pytest.mark.parametrize("day", [0, 29, 31])
    def test_a_day_some_months_lack_is_refused(self, day):
        with pytest.raises(ValueError):
            cjt188.write_day(self.TARGET, "settlement", day)

    async def test_the_version_of_the_key(self, bench):
        bus = await bench.bus(CjtUtilityMeter("water", WATER, litres, key_version=7))
        assert (await bench.session(bus).run(cjt188.read_key_version(self.TARGET))).value == 7

    async def test_a_silent_and_a_strange_answer_are_failures(self, bench):
        bus = await bench.bus(CjtUtilityMeter("water", WATER, litres))
        bus.meters[0].faults = FaultPlan([Fault.SILENCE, Fault.WRONG_ADDRESS])
        session = bench.session(bus)
        assert (await session.run(cjt188.read_key_version(self.TARGET))).reason == "silent"
        assert (await session.run(cjt188.read_key_version(self.TARGET))).reason == "wrong_address"

    async def test_the_wildcard_is_no_target(self, bench):
        bus = await bench.bus(CjtUtilityMeter("water", WATER, litres))
        failed = await bench.session(bus).read(Target("cjt188", "A" * 14))
        assert (failed.reason, bus.asked) == ("bad_target", 0)


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
