"""The CJ/T 188 codec: framing, registers, refusals, makers' departures."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import FrameError, cjt188
from collectors.frames import cjt188_profiles as tables
from collectors.frames.cjt188_payload import read, read_time, write
from collectors.frames.cjt188_profiles import PROFILES, unit_before_value
from collectors.frames.cjt188_units import UNITS

ADDRESS = "11110018439066"
WHEN = datetime(2024, 12, 1, 8, 30, 15)
HEAT = {
    "settlement_heat": 274_110,
    "current_heat": 54_427_880,
    "heat_power": 3_210,
    "flow": 182,
    "cumulative_volume": 7_156_080,
    "supply_temp": 4_157,
    "return_temp": 3_513,
    "working_hours": 74_766,
    "meter_time": WHEN,
    "status": b"\x04\x00",
}


def answer(layout=tables.HEAT_2004, amounts=HEAT, meter_type=0x20, di=0x901F):
    request, _ = cjt188.decode(cjt188.encode_read(ADDRESS, meter_type, di=di, serial=7))
    return cjt188.encode_answer(request, layout, amounts, address=ADDRESS, meter_type=meter_type)


def only(data, profile=cjt188.DEFAULT):
    message, consumed = cjt188.decode(data, profile)
    assert consumed == len(data)
    return message


def refusal(data):
    with pytest.raises(FrameError) as caught:
        cjt188.decode(data)
    return caught.value


def repaired(data, at, chunk):
    """The frame (after two preambles) with bytes replaced and its checksum made good again."""
    body = bytearray(data[2:-2])
    body[at : at + len(chunk)] = chunk
    return bytes(body) + bytes((sum(body) & 0xFF, 0x16))


class TestFraming:
    def test_noise_and_preambles_before_a_frame_are_stepped_over(self):
        message, consumed = cjt188.decode(b"\x00\x13" + answer() + b"\x99")
        assert (message.offset, message.preamble) == (4, 2)
        assert consumed == 2 + len(answer())

    @pytest.mark.parametrize("kept", range(1, 61))
    def test_half_a_frame_asks_for_more_and_drops_nothing_of_it(self, kept):
        data = answer()[2:]
        assert cjt188.decode(data[: min(kept, len(data) - 1)]) == (None, 0)

    def test_two_glued_frames_come_out_one_after_the_other(self):
        data = answer() * 2
        first, consumed = cjt188.decode(data)
        second, rest = cjt188.decode(data[consumed:])
        assert first.raw == second.raw
        assert consumed + rest == len(data)

    def test_a_whole_frame_behind_a_cut_off_one_is_found_at_once(self):
        cut = answer()[:14]
        short = answer(tables.ROOM_SENSOR, {"room_temp": 2068}, 0x2A)
        message, consumed = cjt188.decode(cut + short)
        assert message.reading.amount("room_temp") == 2068
        assert consumed == len(cut + short)

    def test_pure_noise_is_dropped_but_not_a_preamble_at_its_end(self):
        assert cjt188.decode(b"\x01\x02\x03\xfe\xfe") == (None, 3)

    def test_a_wrong_checksum_is_refused_and_says_where(self):
        data = bytearray(answer())
        data[-2] ^= 1
        error = refusal(data)
        assert (error.code, error.at, error.consumed) == ("checksum", len(data) - 2, 3)

    def test_a_wrong_stop_byte_is_refused_and_the_next_frame_is_found(self):
        data = answer()[:-1] + b"\x00" + answer()
        error = refusal(data)
        assert error.code == "stop"
        while True:
            data = data[error.consumed :]
            try:
                message, _ = cjt188.decode(data)
                break
            except FrameError as again:
                error = again
        assert message.address == ADDRESS

    @given(st.binary(max_size=200))
    def test_any_bytes_give_a_message_or_an_error_and_always_move_on(self, data):
        while data:
            try:
                message, consumed = cjt188.decode(data)
            except FrameError as error:
                consumed = error.consumed
                assert consumed > 0
            else:
                if message is None:
                    return
            data = data[consumed:]

    @given(st.binary(max_size=60), st.binary(max_size=20))
    def test_a_good_frame_is_found_behind_any_noise(self, noise, tail):
        noise = noise.replace(b"\x68", b"\x00")
        message, consumed = cjt188.decode(noise + answer() + tail)
        assert message.raw == answer()[2:]
        assert consumed == len(noise + answer())


class TestHeatMeters:
    def test_registers_are_integers_in_base_units(self):
        message = only(answer())
        assert {v.name: v.amount for v in message.reading.values} == {
            k: v for k, v in HEAT.items() if isinstance(v, int)
        }
        assert message.reading.meter_time == WHEN
        assert message.status == b"\x04\x00"

    @pytest.mark.parametrize(
        ("code", "wh"),
        [
            (0x01, 0),
            (0x02, 12),
            (0x05, 12_340),
            (0x08, 12_340_000),
            (0x0A, 1_234_000_000),
            (0x0B, 3),
            (0x0E, 3_428),
            (0x11, 3_427_778),
            (0x13, 342_777_778),
        ],
    )
    def test_every_heat_unit_of_the_standard_becomes_wh_half_up(self, code, wh):
        frame = repaired(answer(), 11 + 3 + 5, bytes.fromhex("34120000") + bytes((code,)))
        assert only(frame).reading.amount("current_heat") == wh
        assert UNITS[code].quantity == "heat"

    def test_an_unplugged_sensor_has_no_temperature_and_the_energy_still_counts(self):
        frame = repaired(answer(), 11 + 3 + 25, b"\xff\xff\xff")
        reading = only(frame).reading
        assert reading.amount("supply_temp") is None
        assert reading.faults == {"supply_temp": "fill_value"}
        assert reading.amount("current_heat") == 54_427_880

    @pytest.mark.parametrize("fill", [0xEE, 0xFF])
    def test_a_filled_register_is_no_reading(self, fill):
        reading = only(repaired(answer(), 11 + 3 + 5, bytes((fill,)) * 5)).reading
        assert not reading.is_readable
        assert reading.amount("current_heat") is None
        assert reading.faults["current_heat"] == "fill_value"

    @pytest.mark.parametrize("position", range(4))
    @pytest.mark.parametrize("byte", [0x0A, 0xA0, 0xEE, 0xFF])
    def test_a_digit_above_nine_is_never_a_number(self, position, byte):
        reading = only(repaired(answer(), 11 + 3 + 5 + position, bytes((byte,)))).reading
        assert reading.faults["current_heat"] == "not_bcd"
        assert reading.amount("current_heat") is None

    def test_a_unit_of_another_quantity_is_no_reading(self):
        message = only(repaired(answer(), 11 + 3 + 9, b"\x2c"))
        assert message.reading is None

    def test_a_meter_that_counts_cold_never_shows_it_as_heat(self):
        reading = only(answer(meter_type=0x21)).reading
        assert reading.amount("current_heat") is None
        assert reading.amount("current_cooling") == 54_427_880

    @pytest.mark.parametrize(
        "layout",
        [
            tables.HEAT_2018,
            unit_before_value(tables.HEAT_2004),
            unit_before_value(tables.HEAT_2018),
        ],
    )
    def test_departures_are_recognised_by_their_units(self, layout):
        reading = only(answer(layout)).reading
        assert reading.layout == layout
        assert reading.amount("current_heat") == 54_427_880
        assert reading.amount("return_temp") == 3_513

    def test_heat_and_cooling_come_together_under_911f(self):
        amounts = {**HEAT, "current_cooling": 1_230, "supply_pressure": 60}
        reading = only(answer(tables.HEAT_COOLING_2018, amounts, di=0x911F)).reading
        assert reading.amount("current_heat") == 54_427_880
        assert reading.amount("current_cooling") == 1_230
        assert reading.amount("supply_pressure") == 60

    def test_a_cold_register_in_the_first_slot_needs_its_profile(self):
        profile = tables.PROFILES["cooling-first"]
        reading = only(answer(), profile).reading
        assert reading.amount("current_cooling") == 274_110
        assert reading.amount("settlement_heat") is None

    def test_bytes_after_the_layout_are_kept_apart(self):
        payload = write(tables.HEAT_2004, HEAT) + b"\x01\x02"
        reading = read(payload, tables.DEFAULT.current["heat"])
        assert reading.trailing == b"\x01\x02"
        assert reading.amount("current_heat") == 54_427_880


class TestOtherMeters:
    @pytest.mark.parametrize(
        ("meter_type", "layout", "register"),
        [
            (0x10, tables.VOLUME_METER, "cumulative_volume"),
            (0x30, tables.VOLUME_METER, "cumulative_volume"),
            (0x40, tables.ENERGY_METER, "current_energy"),
            (0x10, tables.SHORT_VOLUME, "cumulative_volume"),
        ],
    )
    def test_water_gas_and_electricity_registers(self, meter_type, layout, register):
        reading = only(answer(layout, {register: 123_450}, meter_type)).reading
        assert reading.amount(register) == 123_450

    @pytest.mark.parametrize("cdeg", [2068, 0, -1, -1234, 7999, -7999])
    def test_a_room_sensor_gives_hundredths_of_a_degree_with_sign(self, cdeg):
        reading = only(answer(tables.ROOM_SENSOR, {"room_temp": cdeg}, 0x2A)).reading
        assert reading.amount("room_temp") == cdeg

    def test_a_room_sensor_without_its_probe_is_no_reading(self):
        reading = only(answer(tables.ROOM_SENSOR, {}, 0x2A)).reading
        assert reading.faults == {"room_temp": "fill_value"}
        assert not reading.is_readable

    @pytest.mark.parametrize("di", [0xD120, 0xD12B, 0xD200])
    def test_settlement_day_history(self, di):
        frame = answer(tables.HISTORY_VOLUME, {"settlement_volume": 5_000}, 0x10, di)
        reading = only(frame).reading
        assert reading.amount("settlement_volume") == 5_000

    def test_frozen_registers_of_the_2018_edition(self):
        amounts = {
            "meter_time": WHEN,
            "cumulative_volume": 70,
            "flow": 12,
            "water_temp": 1234,
            "pressure": 33,
        }
        reading = only(answer(tables.FREEZE_VOLUME, amounts, 0x10, 0xD305)).reading
        assert reading.meter_time == WHEN
        assert reading.amount("water_temp") == 1234


class TestCommands:
    @pytest.mark.parametrize("profile", [tables.DEFAULT, tables.LOW_FIRST])
    def test_the_data_id_is_read_in_both_orders(self, profile):
        message = only(cjt188.encode_read(ADDRESS, 0x20, serial=5, profile=profile))
        assert (message.di, message.serial) == (0x901F, 5)
        assert message.di_high_first == profile.di_high_first

    def test_reading_the_address_of_a_lone_meter(self):
        request = only(cjt188.encode_read_address())
        assert (request.address, request.control, request.di) == ("A" * 14, 0x03, 0x810A)
        reply = only(cjt188.encode_answer(request, None, {}, address=ADDRESS, meter_type=0x20))
        assert (reply.address, reply.control, reply.di) == (ADDRESS, 0x83, 0x810A)

    @pytest.mark.parametrize(("is_open", "order"), [(True, "55"), (False, "99")])
    def test_a_valve_order_and_its_acknowledgement(self, is_open, order):
        request = only(cjt188.encode_valve(ADDRESS, 0x10, is_open=is_open))
        assert (request.control, request.di, request.payload.hex()) == (0x04, 0xA017, order)
        reply = cjt188.encode_answer(
            request, tables.STATUS_ONLY, {"status": b"\x01\x00"}, address=ADDRESS, meter_type=0x10
        )
        assert only(reply).status == b"\x01\x00"

    def test_a_refusal_carries_status_and_no_value(self):
        request = only(cjt188.encode_read(ADDRESS, 0x20, serial=9))
        reply = only(
            cjt188.encode_refusal(request, address=ADDRESS, meter_type=0x20, status=b"\x02\x00")
        )
        assert reply.is_refusal
        assert (reply.control, reply.serial, reply.status) == (0xC1, 9, b"\x02\x00")
        assert reply.reading is None


class TestTime:
    def test_century_first_is_read_where_the_usual_order_is_no_date(self):
        assert read_time(bytes.fromhex("20250903175211")) == datetime(2025, 9, 3, 17, 52, 11)

    @pytest.mark.parametrize("data", ["00000000000000", "ffffffffffffff", "60000001132520"])
    def test_an_unset_or_impossible_clock_is_no_time(self, data):
        assert read_time(bytes.fromhex(data)) is None


@given(
    st.sampled_from([tables.HEAT_2004, tables.HEAT_2018, unit_before_value(tables.HEAT_2004)]),
    st.integers(0, 99_999_999),
    st.integers(0, 99_999_999),
    st.integers(0, 9_999),
    st.integers(0, 9_999),
    st.integers(0, 999_999),
    st.datetimes(datetime(2000, 1, 1), datetime(2098, 12, 31)),
    st.binary(min_size=2, max_size=2),
)
def test_a_written_heat_answer_reads_back_to_the_last_digit(
    layout, heat, volume, supply, back, hours, when, status
):
    amounts = {
        "settlement_heat": heat // 2 * 10,
        "current_heat": heat * 10,
        "cumulative_volume": volume * 10,
        "supply_temp": supply,
        "return_temp": back,
        "working_hours": hours,
        "heat_power": 0,
        "flow": 0,
        "meter_time": when.replace(microsecond=0),
        "status": status,
    }
    reading = read(write(layout, amounts), tables.DEFAULT.current["heat"])
    assert reading.layout == layout
    assert {v.name: v.amount for v in reading.values} == {
        k: v for k, v in amounts.items() if isinstance(v, int)
    }
    assert (reading.meter_time, reading.status) == (amounts["meter_time"], status)


def test_a_register_too_large_for_its_digits_is_not_cut():
    with pytest.raises(ValueError, match="does not fit"):
        write(tables.HEAT_2004, {"current_heat": 1_000_000_000})


class TestUnits:
    @pytest.mark.parametrize(
        ("code", "symbol", "quantity", "amount"),
        [
            (0x03, "Wh*10", "heat", 12_300),
            (0x06, "kWh*10", "heat", 12_300_000),
            (0x09, "MWh*10", "heat", 12_300_000_000),
            (0x0D, "kJ*100", "heat", 34_167),
            (0x0F, "MJ*10", "heat", 3_416_667),
            (0x12, "GJ*10", "heat", 3_416_666_667),
            (0x18, "kW*10", "power", 12_300_000),
            (0x43, "kJ/h", "power", 342),
            (0x49, "GJ/h", "power", 341_666_667),
            (0x2A, "L*10", "volume", 12_300),
            (0x2E, "m3*100", "volume", 123_000_000),
            (0x34, "L/h*100", "flow", 123_000),
        ],
    )
    def test_multiples_of_every_unit(self, code, symbol, quantity, amount):
        """1230 counts of a register without decimals, in its base unit."""
        unit = UNITS[code]
        assert (unit.symbol, unit.quantity) == (symbol, quantity)
        assert (2 * 1230 * unit.numerator + unit.denominator) // (2 * unit.denominator) == amount

    def test_a_code_the_standard_reserves_is_none(self):
        assert not {0x00, 0x1D, 0x28, 0x2F, 0x31, 0x38, 0x41, 0x42, 0x4C} & UNITS.keys()


class TestParameters:
    """What is set up in a meter: data ids 8102 to 8106 and A010 to A018."""

    ADDRESS = "00000024170567"

    def answered(self, control, di, data):
        frame = cjt188.encode(0x10, self.ADDRESS, control | 0x80, di + b"\x05" + data)
        return cjt188.decode(frame)[0]

    @pytest.mark.parametrize("di", [b"\x81\x03", b"\x03\x81"])
    def test_a_settlement_day(self, di):
        reading = self.answered(cjt188.READ, di, b"\x25").reading
        assert reading.amount("settlement_day") == 25

    def test_a_reading_day_that_is_no_number_is_none(self):
        reading = self.answered(cjt188.READ, b"\x81\x04", b"\x2f").reading
        assert not reading.is_readable

    def test_a_key_s_version(self):
        message = self.answered(cjt188.READ_KEY, b"\x81\x06", b"\x03")
        assert message.reading.amount("key_version") == 3

    def test_prices_are_fen_and_volumes_litres(self):
        data = bytes.fromhex("950200 180000 750300 250000 000500")
        reading = self.answered(cjt188.READ, b"\x81\x02", data).reading
        names = ("price_1", "volume_1", "price_2", "volume_2", "price_3")
        assert [reading.amount(n) for n in names] == [295, 18_000, 375, 25_000, 500]

    def test_what_was_bought_and_is_left(self):
        data = bytes.fromhex("07 00500000 00500100 00200000 0000")
        reading = self.answered(cjt188.READ, b"\x81\x05", data).reading
        assert reading.amount("purchase_no") == 7
        assert reading.amount("balance") == 2_000
        assert reading.status == b"\x00\x00"

    def test_a_new_address_goes_out_low_byte_first(self):
        frame = cjt188.encode_write_address(self.ADDRESS, 0x10, "10010100000101")
        message, _ = cjt188.decode(frame)
        assert (message.control, message.di) == (0x15, 0xA018)
        assert message.payload == bytes.fromhex("01010000010110")
        with pytest.raises(ValueError):
            cjt188.encode_write_address(self.ADDRESS, 0x10, "1001")

    def test_the_version_of_the_key_is_asked_for(self):
        message, _ = cjt188.decode(cjt188.encode_read_key_version(self.ADDRESS, 0x10))
        assert (message.control, message.di, message.payload) == (0x09, 0x8106, b"")


def test_what_a_cooling_meter_settled_is_cold_and_never_heat():
    frame = cjt188.encode(0x21, ADDRESS, 0x81, b"\xd1\x20\x00" + bytes.fromhex("3412000005"))
    reading = only(frame).reading
    assert reading.amount("settlement_cooling") == 12_340
    assert reading.amount("settlement_heat") is None


class TestKeptByMakersWithTheUnitFirst:
    DATA = b"\xd1\x20\x00" + bytes.fromhex("0534120100")

    @pytest.mark.parametrize("name", ["default", "unit-first"])
    def test_the_digits_that_are_no_unit_tell(self, name):
        """05 34 12 01 00: as the standard has it the unit code would be 00, which is none."""
        frame = cjt188.encode(0x20, ADDRESS, 0x81, self.DATA)
        message, _ = cjt188.decode(frame, PROFILES[name])
        assert message.reading.amount("settlement_heat") == 112_340

    def test_the_profile_decides_where_both_ways_could_be(self):
        data = b"\xd1\x20\x00" + bytes.fromhex("0534120005")
        frame = cjt188.encode(0x20, ADDRESS, 0x81, data)
        amounts = [
            cjt188.decode(frame, PROFILES[name])[0].reading.amount("settlement_heat")
            for name in ("default", "unit-first")
        ]
        assert amounts == [1_234_050, 50_012_340]
