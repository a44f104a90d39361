"""Electricity meters on DL/T 645, both editions, read and ordered over real sockets."""

from datetime import UTC, date, datetime, timedelta

import pytest

from collectors.dialects import Freeze, dlt645, supply_is_open
from collectors.dialects.base import LOCAL
from collectors.frames.dlt645_message import Credentials
from collectors.session import Failed, Read, Target, Told
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.faults import Fault, FaultPlan

ADDRESS, OTHER = "000012345678", "000012345679"
METER = Target("dlt645_2007", ADDRESS)
METER_1997 = Target("dlt645_1997", ADDRESS)
CREDENTIALS = Credentials("02", "123456", "00000001")


def counting(now):
    """A register that shows by its value when it was taken: 10 Wh an hour since 2024."""
    return {"energy_wh": int((now - datetime(2024, 1, 1, tzinfo=LOCAL)).total_seconds()) // 360}


def at(*when):
    return datetime(*when, tzinfo=LOCAL)


async def bus_of(bench, **options):
    return await bench.bus(
        Dlt645Meter(ADDRESS, counting, credentials=CREDENTIALS, **options),
        Dlt645Meter(OTHER, lambda now: {"energy_wh": 70}, is_1997=options.get("is_1997", False)),
    )


def day(*when, **options):
    return Target("dlt645_2007", ADDRESS, freeze=Freeze("day", date(*when)), **options)


def month(protocol, *when):
    return Target(protocol, ADDRESS, freeze=Freeze("month", date(*when)))


class TestReading:
    @pytest.mark.parametrize("target", [METER, METER_1997])
    async def test_the_register_of_now(self, bench, target):
        session = bench.session(await bus_of(bench, is_1997=target is METER_1997))
        read = await session.read(target)
        assert isinstance(read, Read)
        assert read.values == {"energy_wh": counting(bench.clock.now())["energy_wh"]}
        assert (read.raw[0], read.raw[-1], read.frozen_at) == (0x68, 0x16, None)

    @pytest.mark.parametrize("protocol", ["dlt645_2007", "dlt645_1997"])
    async def test_the_total_and_its_tariffs_where_the_profile_wants_them(self, bench, protocol):
        session = bench.session(await bus_of(bench, is_1997=protocol == "dlt645_1997"))
        read = await session.read(Target(protocol, ADDRESS, profile="tariffs"))
        tariffs = [read.values[f"energy_t{n}_wh"] for n in range(1, 5)]
        assert read.values["energy_wh"] - 40 < sum(tariffs) <= read.values["energy_wh"]

    @pytest.mark.parametrize("protocol", ["dlt645_2007", "dlt645_1997"])
    async def test_an_answer_in_follow_up_frames_is_put_together(self, bench, protocol):
        session = bench.session(await bus_of(bench, is_1997=protocol == "dlt645_1997", part=6))
        read = await session.read(Target(protocol, ADDRESS, profile="tariffs"))
        assert len(read.values) == 5
        assert read.raw.count(b"\x16\x68") == 3  # twenty bytes of items, six a frame

    async def test_a_lost_follow_up_frame_is_asked_for_again_from_the_first(self, bench):
        bus = await bus_of(bench, part=6)
        bus.meters[0].faults = FaultPlan([None, None, Fault.SILENCE])
        read = await bench.session(bus, retries=1).read(
            Target("dlt645_2007", ADDRESS, profile="tariffs")
        )
        assert (len(read.values), read.tries) == (5, 2)

    async def test_a_water_meter_with_this_protocol_counts_litres(self, bench):
        session = bench.session(await bus_of(bench))
        read = await session.read(Target("dlt645_2007", ADDRESS, profile="volume"))
        assert read.values == {"volume_l": counting(bench.clock.now())["energy_wh"]}

    async def test_a_register_of_fill_bytes_is_unreadable(self, bench):
        bus = await bus_of(bench)
        bus.meters[0]._registers = lambda moment: [None] * 5
        failed = await bench.session(bus).read(METER)
        assert (failed.reason, failed.detail) == (
            "unreadable",
            "forward_active_energy: fill_value",
        )

    async def test_the_error_word_of_a_refusal_is_told(self, bench):
        session = bench.session(await bus_of(bench), retries=3)
        failed = await session.read(Target("dlt645_2007", ADDRESS, profile="reverse"))
        assert (failed.reason, failed.detail, failed.tries) == ("refused", "no such data", 1)

    @pytest.mark.parametrize("address", ["A" * 12, "9" * 12, "AAAA12345678", "123", "x" * 12])
    async def test_the_wildcard_and_nonsense_are_no_target(self, bench, address):
        bus = await bus_of(bench)
        failed = await bench.session(bus).read(Target("dlt645_2007", address))
        assert (failed.reason, bus.asked) == ("bad_target", 0)


class TestFreezes:
    @pytest.mark.parametrize("on", [(2024, 12, 1), (2024, 11, 30), (2024, 11, 1)])
    async def test_a_day_is_the_register_of_its_midnight(self, bench, on):
        read = await bench.session(await bus_of(bench)).read(day(*on))
        assert read.frozen_at == at(*on)
        assert read.values["energy_wh"] == counting(at(*on))["energy_wh"]

    async def test_tariffs_are_frozen_too(self, bench):
        read = await bench.session(await bus_of(bench)).read(day(2024, 11, 30, profile="tariffs"))
        assert set(read.values) == {"energy_wh", *(f"energy_t{n}_wh" for n in range(1, 5))}

    async def test_a_meter_that_skipped_a_night_still_gives_the_right_day(self, bench):
        bus = await bus_of(bench, skipped=frozenset((at(2024, 11, 30), at(2024, 11, 28))))
        session = bench.session(bus)
        read = await session.read(day(2024, 11, 27))
        assert read.frozen_at == at(2024, 11, 27)
        assert read.values["energy_wh"] == counting(at(2024, 11, 27))["energy_wh"]

    async def test_the_night_it_skipped_is_not_there(self, bench):
        bus = await bus_of(bench, skipped=frozenset((at(2024, 11, 30),)))
        failed = await bench.session(bus, retries=3).read(day(2024, 11, 30))
        assert (failed.reason, failed.tries) == ("no_freeze", 1)

    @pytest.mark.parametrize("protocol", ["dlt645_2007", "dlt645_1997"])
    async def test_a_month_is_the_register_of_its_settlement_day(self, bench, protocol):
        session = bench.session(await bus_of(bench, is_1997=protocol == "dlt645_1997"))
        read = await session.read(month(protocol, 2024, 11, 1))
        assert read.frozen_at == at(2024, 11, 1)
        assert read.values == {"energy_wh": counting(at(2024, 11, 1))["energy_wh"]}

    @pytest.mark.parametrize(
        "target",
        [
            month("dlt645_1997", 2024, 10, 1),
            Target("dlt645_1997", ADDRESS, freeze=Freeze("day", date(2024, 12, 1))),
            month("dlt645_2007", 2023, 12, 1),
            day(2024, 12, 2),
            day(2024, 9, 30),
            day(2024, 12, 1, profile="combined"),
        ],
    )
    async def test_what_no_meter_keeps_is_not_asked_for(self, bench, target):
        bus = await bus_of(bench)
        failed = await bench.session(bus).read(target)
        assert (failed.reason, bus.asked) == ("no_freeze", 0)

    async def test_a_meter_that_keeps_less_says_so_once(self, bench):
        session = bench.session(await bus_of(bench, days=3), retries=3)
        failed = await session.read(day(2024, 11, 20))
        assert (failed.reason, failed.detail, failed.tries) == ("no_freeze", "no such data", 1)


class TestRelay:
    def order(self, bench, session, is_open, **options):
        until = bench.clock.now() + timedelta(seconds=30)
        return session.order_supply(METER, is_open=is_open, not_after=until, **options)

    @pytest.mark.parametrize("is_open", [False, True])
    async def test_it_trips_and_closes_and_the_state_is_read_back(self, bench, is_open):
        bus = await bus_of(bench)
        bus.meters[0].is_relay_closed = not is_open
        session = bench.session(bus, credentials=CREDENTIALS)
        assert isinstance(await self.order(bench, session, is_open), Read)
        read = await session.read(Target("dlt645_2007", ADDRESS, with_supply=True))
        assert supply_is_open(read) is is_open is bus.meters[0].is_relay_closed
        assert read.values == {"energy_wh": counting(bench.clock.now())["energy_wh"]}

    async def test_an_ordinary_reading_says_nothing_of_the_relay(self, bench):
        read = await bench.session(await bus_of(bench)).read(METER)
        assert supply_is_open(read) is None

    async def test_without_a_password_nothing_is_sent(self, bench):
        bus = await bus_of(bench)
        failed = await self.order(bench, bench.session(bus), False)
        assert (failed.reason, bus.asked) == ("no_credentials", 0)

    async def test_a_wrong_password_is_refused_in_words(self, bench):
        bus = await bus_of(bench)
        session = bench.session(bus, credentials=Credentials("02", "000000"))
        failed = await self.order(bench, session, False)
        assert failed.reason == "refused"
        assert failed.detail == "wrong password or not authorised"
        assert bus.meters[0].relay_orders == 0

    async def test_an_order_goes_out_once_whatever_comes_back(self, bench):
        bus = await bus_of(bench)
        bus.meters[0].faults = FaultPlan([Fault.HALF_FRAME])
        session = bench.session(bus, credentials=CREDENTIALS, retries=5)
        failed = await self.order(bench, session, False)
        assert (failed.reason, bus.meters[0].relay_orders) == ("garbled", 1)

    async def test_an_order_that_came_late_is_void(self, bench):
        """Held up by a modem for ten minutes: the meter refuses it by its own clock."""
        bus = await bus_of(bench, clock_error=timedelta(minutes=10))
        session = bench.session(bus, credentials=CREDENTIALS)
        failed = await self.order(bench, session, False)
        assert (failed.reason, bus.meters[0].is_relay_closed) == ("refused", True)

    async def test_the_older_edition_has_no_relay(self, bench):
        bus = await bus_of(bench, is_1997=True)
        session = bench.session(bus, credentials=CREDENTIALS)
        failed = await session.order_supply(METER_1997, is_open=False, not_after=bench.clock.now())
        assert (failed.reason, bus.asked) == ("no_supply", 0)


class TestErrands:
    @pytest.mark.parametrize("target", [METER, METER_1997])
    async def test_the_clock_is_read(self, bench, target):
        bus = await bus_of(bench, is_1997=target is METER_1997, clock_error=timedelta(minutes=3))
        told = await bench.session(bus).run(dlt645.read_clock(target))
        assert told.value == datetime(2024, 12, 1, 12, 3)

    @pytest.mark.parametrize("target", [METER, METER_1997])
    async def test_a_broadcast_sets_all_clocks_and_nobody_answers(self, bench, target):
        bus = await bus_of(bench, is_1997=target is METER_1997, clock_error=timedelta(minutes=3))
        session = bench.session(bus)
        told = await session.run(dlt645.broadcast_time(target, bench.clock.now()))
        assert isinstance(told, Told) and told.raw == b""
        told = await session.run(dlt645.read_clock(target))
        assert told.value == datetime(2024, 12, 1, 12, 0)

    async def test_a_clock_far_off_is_not_moved_by_a_broadcast(self, bench):
        bus = await bus_of(bench, clock_error=timedelta(hours=1))
        session = bench.session(bus)
        await session.run(dlt645.broadcast_time(METER, bench.clock.now()))
        told = await session.run(dlt645.read_clock(METER))
        assert told.value == datetime(2024, 12, 1, 13, 0)

    @pytest.mark.parametrize("is_1997", [False, True])
    async def test_a_lone_meter_tells_its_address(self, bench, is_1997):
        bus = await bench.bus(Dlt645Meter(ADDRESS, counting, is_1997=is_1997))
        protocol = "dlt645_1997" if is_1997 else "dlt645_2007"
        told = await bench.session(bus).run(dlt645.read_address(protocol))
        assert told.value == ADDRESS

    @pytest.mark.parametrize("is_1997", [False, True])
    async def test_a_lone_meter_takes_a_new_address(self, bench, is_1997):
        bus = await bench.bus(Dlt645Meter(ADDRESS, counting, is_1997=is_1997))
        session = bench.session(bus)
        target = METER_1997 if is_1997 else METER
        assert isinstance(await session.run(dlt645.write_address(target, OTHER)), Told)
        assert bus.meters[0].address == OTHER

    async def test_a_meter_freezes_at_once_when_told(self, bench):
        bus = await bus_of(bench)
        assert isinstance(await bench.session(bus).run(dlt645.freeze_now(METER)), Told)
        assert bus.meters[0].frozen_now == [bench.clock.now()]

    async def test_a_silent_meter_is_a_failure(self, bench):
        bus = await bus_of(bench)
        bus.meters[0].faults = FaultPlan([Fault.SILENCE], for_ever=True)
        failed = await bench.session(bus).run(dlt645.read_clock(METER))
        assert isinstance(failed, Failed) and failed.reason == "silent"


class TestFaults:
    @pytest.mark.parametrize("target", [METER, METER_1997])
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
    async def test_a_fault_is_a_counted_failure_and_no_value(self, bench, target, fault, reason):
        bus = await bus_of(bench, is_1997=target is METER_1997)
        bus.meters[0].faults = FaultPlan([fault], for_ever=True)
        session = bench.session(bus)
        assert (await session.read(target)).reason == reason
        assert session.counts == {reason: 1}

    @pytest.mark.parametrize("fault", [Fault.NOISE, Fault.ECHO, Fault.DRIP])
    async def test_noise_echo_and_a_dripping_line_cost_nothing(self, bench, fault):
        bus = await bus_of(bench)
        bus.meters[0].faults = FaultPlan([fault], for_ever=True)
        read = await bench.session(bus, timeout_s=2, idle_s=1).read(METER)
        assert (read.values["energy_wh"], read.tries) == (
            counting(bench.clock.now())["energy_wh"],
            1,
        )

    async def test_the_answer_to_another_question_is_not_this_ones(self, bench):
        """A meter that sends what it likes: the data id is compared."""
        bus = await bus_of(bench)
        meter = bus.meters[0]
        honest = meter._read

        def dishonest(request, address, now):
            from dataclasses import replace

            return honest(replace(request, di=0x0001FF00), address, now)

        meter._read = dishonest
        failed = await bench.session(bus).read(METER)
        assert failed.reason == "wrong_answer"


class TestCredentials:
    def test_the_settings_digits_are_level_password_and_operator(self):
        assert dlt645.credentials_of("02123456", "00000001") == CREDENTIALS
        assert dlt645.credentials_of("02123456", "") == Credentials("02", "123456", "00000000")
        assert dlt645.credentials_of("", "00000001") is None

    @pytest.mark.parametrize("password", ["123456", "0212345x", "021234567"])
    def test_other_widths_are_refused(self, password):
        with pytest.raises(ValueError):
            dlt645.credentials_of(password, "")


def test_the_moment_stays_utc():
    assert Freeze("day", date(2024, 12, 1)).at == datetime(2024, 11, 30, 16, tzinfo=UTC)
