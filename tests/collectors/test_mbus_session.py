"""M-Bus meters in several telegrams, by selection, in the fixed structure, and their past."""

from datetime import date, datetime, timedelta

import pytest

from collectors.dialects import Freeze, dialect_for, mbus
from collectors.dialects.base import LOCAL
from collectors.frames import mbus as codec
from collectors.frames import mbus_encode as mb
from collectors.session import Read, Target, Told
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.mbus_meter import MbusFixedMeter, MbusHeatMeter

METER = Target("mbus", "5")
FULL = "24120001A13A0104"  # id, NUA, version 1, medium 04


def counting(now):
    """Registers that show by their value when they were taken."""
    hours = int((now - datetime(2023, 1, 1, tzinfo=LOCAL)).total_seconds()) // 3_600
    return {
        "energy_wh": hours * 1_000,
        "volume_l": hours,
        "flow_lph": 182,
        "power_w": 3_210,
        "supply_cdeg": 4_157,
        "return_cdeg": 3_513,
    }


def at(*when):
    return datetime(*when, tzinfo=LOCAL)


async def meter_of(bench, **options):
    bus = await bench.bus(MbusHeatMeter("5", counting, id="24120001", **options))
    return bus, bus.meters[0]


def day(*when, **options):
    return Target("mbus", "5", freeze=Freeze("day", date(*when)), **options)


def month(*when, **options):
    return Target("mbus", "5", freeze=Freeze("month", date(*when)), **options)


class TestFrameCount:
    async def test_only_the_first_read_resets_the_link(self, bench):
        bus, meter = await meter_of(bench)
        session = bench.session(bus)
        for minute in range(4):
            bench.clock.set_time(at(2024, 12, 1, 12 + minute))
            read = await session.read(METER)
            assert read.values["energy_wh"] == counting(bench.clock.now())["energy_wh"]
        assert (meter.resets, bus.asked) == (1, 5)

    async def test_after_a_failure_the_link_is_reset_and_nothing_old_is_read(self, bench):
        """The answer is lost and the meter keeps it for a repeat: not for the next read."""
        bus, meter = await meter_of(bench)
        session = bench.session(bus)
        await session.read(METER)
        meter.faults = FaultPlan([Fault.SILENCE])
        assert (await session.read(METER)).reason == "silent"
        bench.clock.set_time(at(2024, 12, 2))
        read = await session.read(METER)
        assert read.values["energy_wh"] == counting(at(2024, 12, 2))["energy_wh"]
        assert meter.resets == 2

    async def test_a_meter_that_is_silent_on_a_reset_is_read_all_the_same(self, bench):
        bus, meter = await meter_of(bench)
        meter.faults = FaultPlan([Fault.SILENCE])
        read = await bench.session(bus).read(METER)
        assert (read.values["power_w"], read.tries) == (3_210, 1)

    async def test_the_meter_s_clock_comes_with_the_reading(self, bench):
        bus, _ = await meter_of(bench, clock_error=timedelta(minutes=7))
        assert (await bench.session(bus).read(METER)).meter_time == datetime(2024, 12, 1, 12, 7)

    async def test_current_values_need_no_second_telegram(self, bench):
        bus, _ = await meter_of(bench, months=12)
        session = bench.session(bus)
        for _ in range(3):
            assert isinstance(await session.read(METER), Read)
        assert bus.asked == 6  # a reset and a question each: the rest was never fetched


class TestThePast:
    @pytest.mark.parametrize("on", [(2024, 12, 1), (2024, 6, 1), (2024, 1, 1)])
    async def test_a_month_is_the_stored_value_dated_to_it(self, bench, on):
        bus, _ = await meter_of(bench, months=12, days=31)
        read = await bench.session(bus).read(month(*on))
        assert read.frozen_at == at(*on)
        assert read.values == {k: counting(at(*on))[k] for k in ("energy_wh", "volume_l")}

    @pytest.mark.parametrize("on", [(2024, 12, 1), (2024, 11, 20), (2024, 11, 1)])
    async def test_a_day_is_looked_for_in_all_telegrams(self, bench, on):
        bus, _ = await meter_of(bench, months=12, days=31)
        read = await bench.session(bus).read(day(*on))
        assert read.values["energy_wh"] == counting(at(*on))["energy_wh"]

    async def test_all_frames_of_the_answer_are_kept(self, bench):
        bus, _ = await meter_of(bench, months=12)
        read = await bench.session(bus).read(month(2024, 3, 1))
        frames = read.raw
        lengths = []
        while frames:
            lengths.append(frames[1] + 6)
            frames = frames[lengths[-1] :]
        assert len(lengths) == 3

    async def test_a_lost_telegram_costs_a_new_beginning_and_no_value(self, bench):
        bus, meter = await meter_of(bench, months=12)
        meter.faults = FaultPlan([None, None, Fault.BAD_CHECKSUM])
        read = await bench.session(bus, retries=1).read(month(2024, 1, 1))
        assert (read.values["energy_wh"], read.tries) == (
            counting(at(2024, 1, 1))["energy_wh"],
            2,
        )

    async def test_dates_that_name_the_day_that_ended(self, bench):
        bus, _ = await meter_of(bench, months=12, dates_ends=True)
        session = bench.session(bus)
        read = await session.read(month(2024, 3, 1, profile="end-of-day"))
        assert read.frozen_at == at(2024, 3, 1)
        assert read.values["energy_wh"] == counting(at(2024, 3, 1))["energy_wh"]

    async def test_a_past_of_an_application_of_its_own_is_selected_and_left_again(self, bench):
        bus, meter = await meter_of(bench, months=12, past_in=0x20)
        session = bench.session(bus)
        assert (await session.read(month(2024, 3, 1))).reason == "no_freeze"
        read = await session.read(month(2024, 3, 1, profile="billing"))
        assert read.values["energy_wh"] == counting(at(2024, 3, 1))["energy_wh"]
        assert meter.application == 0
        assert (await session.read(METER)).values["power_w"] == 3_210

    @pytest.mark.parametrize("target", [day(2024, 11, 29), month(2023, 11, 1), month(2025, 1, 1)])
    async def test_what_the_meter_does_not_keep_is_no_value(self, bench, target):
        bus, _ = await meter_of(bench, months=12)
        failed = await bench.session(bus, retries=3).read(target)
        assert failed.reason == "no_freeze"
        assert failed.tries <= 1

    async def test_a_meter_that_pays_no_heed_to_the_frame_count_is_not_asked_for_ever(self, bench):
        bus, _ = await meter_of(bench, months=12, has_fcb=False)
        failed = await bench.session(bus).read(month(2024, 3, 1))
        assert (failed.reason, bus.asked) == ("no_freeze", 3)


class TestSelection:
    async def test_a_wildcard_is_deselected_afterwards_and_a_whole_address_need_not_be(self, bench):
        bus, meter = await meter_of(bench)
        session = bench.session(bus)
        await session.read(Target("mbus", FULL))
        assert meter.is_selected
        await session.read(Target("mbus", "2412FFFF"))
        assert not meter.is_selected

    async def test_several_telegrams_of_a_selected_meter(self, bench):
        bus, _ = await meter_of(bench, months=12)
        target = Target("mbus", FULL, freeze=Freeze("month", date(2024, 1, 1)))
        read = await bench.session(bus).read(target)
        assert read.values["energy_wh"] == counting(at(2024, 1, 1))["energy_wh"]

    async def test_a_meter_tells_its_whole_secondary_address(self, bench):
        bus, meter = await meter_of(bench)
        session = bench.session(bus)
        assert (await session.run(mbus.identify("2FFFFFFF"))).value == FULL
        assert not meter.is_selected
        assert (await session.run(mbus.identify("3FFFFFFF"))).reason == "silent"


class TestFixedStructure:
    @pytest.mark.parametrize("is_binary", [False, True])
    async def test_a_water_meter(self, bench, is_binary):
        bus = await bench.bus(MbusFixedMeter("5", counting, id="00001234", is_binary=is_binary))
        read = await bench.session(bus).read(METER)
        assert read.values == {"volume_l": counting(bench.clock.now())["volume_l"]}

    async def test_a_heat_meter_by_its_id(self, bench):
        bus = await bench.bus(MbusFixedMeter("5", counting, id="00001234", medium=0x04))
        read = await bench.session(bus).read(Target("mbus", "00001234"))
        assert read.values == {"energy_wh": counting(bench.clock.now())["energy_wh"]}

    async def test_it_has_no_dated_past(self, bench):
        bus = await bench.bus(MbusFixedMeter("5", counting, id="00001234"))
        failed = await bench.session(bus).read(month(2024, 12, 1))
        assert failed.reason == "no_freeze"


class TestMedia:
    async def test_a_water_meter_s_register_is_its_volume(self, bench):
        bus, _ = await meter_of(bench, medium=0x07)
        read = await bench.session(bus).read(METER)
        assert read.values["volume_l"] == counting(bench.clock.now())["volume_l"]

    async def test_cold_is_never_heat(self, bench):
        bus, _ = await meter_of(bench, medium=0x0A)
        values = (await bench.session(bus).read(METER)).values
        assert "energy_wh" not in values
        assert values["cooling_wh"] == counting(bench.clock.now())["energy_wh"]


def answer(medium, *records):
    """What a meter of a medium says in one telegram, as a dialect is shown it."""
    frame = mb.encode_variable_response(5, "24120001", "NUA", 1, medium, 0, 0, records)
    return codec.decode(frame)[0]


KWH, NEGATIVE_KWH, POSITIVE_KWH = b"\x06", b"\x86\x3c", b"\x86\x3b"


class TestHeatAndCooling:
    """One meter counts both; cold stands in tariff 1, or as what was counted backwards."""

    @pytest.mark.parametrize(
        ("records", "values"),
        [
            (
                [mb.record_int(KWH, 12), mb.record_int(KWH, 5, tariff=1)],
                {"energy_wh": 12_000, "cooling_wh": 5_000},
            ),
            (
                [mb.record_int(NEGATIVE_KWH, 5), mb.record_int(KWH, 12)],
                {"energy_wh": 12_000, "cooling_wh": 5_000},
            ),
            (
                [mb.record_int(POSITIVE_KWH, 12), mb.record_int(NEGATIVE_KWH, 5)],
                {"energy_wh": 12_000, "cooling_wh": 5_000},
            ),
            (
                [mb.record_int(POSITIVE_KWH, 9), mb.record_int(KWH, 12)],
                {"energy_wh": 12_000},
            ),
        ],
    )
    def test_each_is_counted_for_itself(self, records, values):
        meaning = dialect_for(METER).meaning([answer(0x0D, *records)])
        assert meaning.values == values

    def test_a_tariff_of_a_heat_meter_is_no_cold(self):
        records = [mb.record_int(KWH, 12), mb.record_int(KWH, 5, tariff=1)]
        assert dialect_for(METER).meaning([answer(0x04, *records)]).values == {"energy_wh": 12_000}


class TestErrands:
    async def test_the_clock_is_set_and_read(self, bench):
        bus, _ = await meter_of(bench, clock_error=timedelta(hours=3))
        session = bench.session(bus)
        assert isinstance(await session.run(mbus.set_clock(METER, bench.clock.now())), Told)
        told = await session.run(mbus.read_clock(METER))
        assert told.value == datetime(2024, 12, 1, 12, 0)

    async def test_a_new_primary_address(self, bench):
        bus, meter = await meter_of(bench)
        session = bench.session(bus)
        assert isinstance(await session.run(mbus.write_address(METER, "17")), Told)
        assert meter.address == "17"
        assert isinstance(await session.read(Target("mbus", "17")), Read)

    @pytest.mark.parametrize("address", ["5", FULL])
    async def test_another_speed_is_acknowledged_at_the_old(self, bench, address):
        bus, meter = await meter_of(bench)
        told = await bench.session(bus).run(mbus.switch_baud(Target("mbus", address), 9_600))
        assert isinstance(told, Told)
        assert meter.baud == 9_600

    def test_a_speed_without_a_code_is_refused(self):
        with pytest.raises(ValueError):
            mbus.switch_baud(METER, 1_800)

    async def test_an_application_is_chosen_and_begun_anew(self, bench):
        bus, meter = await meter_of(bench)
        session = bench.session(bus)
        await session.run(mbus.reset_application(METER, 0x50))
        assert meter.application == 0x50
        await session.run(mbus.reset_application(METER))
        assert meter.application == 0

    async def test_all_links_are_reset_and_nobody_answers(self, bench):
        bus, meter = await meter_of(bench)
        assert isinstance(await bench.session(bus).run(mbus.reset_all(METER)), Told)
        assert meter.resets == 1

    async def test_an_order_repeated_is_carried_out_once(self, bench):
        """The acknowledgement is lost; the meter has done it all the same, and does it again only
        after a reset of its link, which is harmless for all of these."""
        bus, meter = await meter_of(bench)
        meter.faults = FaultPlan([None, Fault.SILENCE])
        told = await bench.session(bus, retries=1).run(mbus.reset_application(METER, 0x50))
        assert isinstance(told, Told) and meter.application == 0x50


@pytest.mark.parametrize(("error", "words"), [(8, "Application busy"), (3, "Too many records")])
async def test_an_application_error_is_told_in_words(bench, error, words):
    bus, meter = await meter_of(bench)
    meter.error = error
    failed = await bench.session(bus, retries=3).read(METER)
    assert (failed.reason, failed.detail, failed.tries) == ("refused", words, 1)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.SILENCE, "silent"),
        (Fault.HALF_FRAME, "garbled"),
        (Fault.BAD_CHECKSUM, "checksum"),
        (Fault.WRONG_ADDRESS, "wrong_address"),
        (Fault.DISCONNECT, "link_down"),
    ],
)
async def test_a_fault_in_a_later_telegram_is_a_counted_failure(bench, fault, reason):
    bus, meter = await meter_of(bench, months=12)
    meter.faults = FaultPlan([None, None, fault])
    session = bench.session(bus)
    assert (await session.read(month(2024, 1, 1))).reason == reason
    assert session.counts == {reason: 1}


@pytest.mark.parametrize("fault", [Fault.NOISE, Fault.ECHO, Fault.DRIP])
async def test_noise_and_echoes_cost_no_telegram(bench, fault):
    bus, meter = await meter_of(bench, months=12)
    # A lone acknowledgement amid noise is believed by nobody, so the reset's is clean.
    meter.faults = FaultPlan([None, *[fault] * 9])
    read = await bench.session(bus, timeout_s=3, idle_s=1).read(month(2024, 1, 1))
    assert read.values["energy_wh"] == counting(at(2024, 1, 1))["energy_wh"]
