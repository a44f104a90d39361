"""Register maps: types and orders, units, planning of reads, refusal of bad maps."""

import struct
from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import FrameError
from collectors.frames.modbus_field import ORDERS, Field, half_up
from collectors.frames.modbus_map import MapError, kept, parse, plan, read, write
from collectors.register_maps import names, shipped

HEAD = 'name = "m"\nprimary = "energy_wh"\n'
ENERGY = '[[register]]\nname = "energy_wh"\naddress = 0\ntype = "u32"\nunit = "kWh"\n'
HEAT = {
    "energy_wh": 54_427_880,
    "volume_l": 7_156_080,
    "flow_lph": 182,
    "power_w": 3_210,
    "supply_cdeg": 4_157,
    "return_cdeg": -35,
}


def register(name="energy_wh", type_="u32", address=0, **keys):
    """A register's TOML; values are written as they are."""
    lines = {"name": f'"{name}"', "type": f'"{type_}"', "address": address, **keys}
    return "[[register]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def amounts(text, registers, primary="energy_wh"):
    found = parse(f'name = "m"\nprimary = "{primary}"\n{text}')
    words = {(f, n): word for f in (3, 4) for n, word in enumerate(registers)}
    return read(found, words)


def flaws(text):
    with pytest.raises(MapError) as caught:
        parse(text)
    return str(caught.value)


class TestTypes:
    @pytest.mark.parametrize(
        ("order", "words"),
        [
            ("ABCD", (0x0A0B, 0x0C0D)),
            ("CDAB", (0x0C0D, 0x0A0B)),
            ("BADC", (0x0B0A, 0x0D0C)),
            ("DCBA", (0x0D0C, 0x0B0A)),
        ],
    )
    def test_the_four_orders_of_words_and_bytes(self, order, words):
        assert Field(0, "u32", 2, order=order).read(words) == 0x0A0B0C0D

    @pytest.mark.parametrize(
        ("type_", "data", "value"),
        [
            ("u16", "FFFE", 65_534),
            ("s16", "FFFE", -2),
            ("u32", "FFFFFFFE", 4_294_967_294),
            ("s32", "FFFFFFFE", -2),
            ("u64", "00000001000000FF", 2**32 + 255),
            ("s64", "FFFFFFFFFFFFFFFE", -2),
            ("bcd", "00123456", 123_456),
            ("f32", "40E33CD0", Fraction(struct.unpack(">f", bytes.fromhex("40E33CD0"))[0])),
            ("f64", "3FB999999999999A", Fraction(0.1)),
            ("string", "4E75616E20000000", "Nuan"),
            ("raw", "0102", "0102"),
        ],
    )
    def test_a_value_of_each_type_is_exact(self, type_, data, value):
        words = [int(data[n : n + 4], 16) for n in range(0, len(data), 4)]
        assert Field(0, type_, len(words)).read(words) == value

    @pytest.mark.parametrize(
        ("type_", "data", "code"),
        [
            ("bcd", "000A", "not_bcd"),
            ("bcd", "EEEE", "not_bcd"),
            ("bcd", "FFFF", "not_bcd"),
            ("f32", "7FC00000", "fill_value"),
            ("f32", "FF800000", "fill_value"),
            ("f64", "7FF0000000000000", "fill_value"),
        ],
    )
    def test_what_is_no_number_never_becomes_one(self, type_, data, code):
        words = [int(data[n : n + 4], 16) for n in range(0, len(data), 4)]
        with pytest.raises(FrameError) as caught:
            Field(0, type_, len(words)).read(words)
        assert caught.value.code == code

    @pytest.mark.parametrize(
        ("type_", "words", "code"),
        [
            ("bcd_clock", (0x2412, 0x0112, 0x3045), None),
            ("bcd_clock", (0x241A, 0x0112, 0x3045), "not_bcd"),
            ("bcd_clock", (0x2413, 0x0112, 0x3045), "structure"),
            ("bcd_clock", (0x0000, 0x0000, 0x0000), "structure"),
            ("clock", (0x180C, 0x010C, 0x1E2D), None),
        ],
    )
    def test_a_clock_is_a_time_or_nothing(self, type_, words, code):
        field = Field(0, type_, 3, layout="YMDhms")
        if code is None:
            assert field.read(words) == datetime(2024, 12, 1, 12, 30, 45)
            return
        with pytest.raises(FrameError) as caught:
            field.read(words)
        assert caught.value.code == code

    @given(
        st.sampled_from(ORDERS),
        st.sampled_from(("u16", "s16", "u32", "s32", "u64", "s64", "f64", "bcd")),
        st.integers(0, 9_999),
    )
    def test_what_is_written_reads_back(self, order, type_, number):
        count = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "bcd": 2}.get(type_, 4)
        field = Field(0, type_, count, order=order)
        assert field.read(field.write(Fraction(number))) == number

    @given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)), st.sampled_from(ORDERS))
    def test_a_written_clock_reads_back(self, when, order):
        field = Field(0, "bcd_clock", 4, order=order, layout="CYMDhms-")
        assert field.read(field.write(when)) == when.replace(microsecond=0)

    @pytest.mark.parametrize(
        ("type_", "value"), [("u16", 65_536), ("u16", -1), ("bcd", 10_000), ("f32", 10**40)]
    )
    def test_what_does_not_fit_is_not_written(self, type_, value):
        with pytest.raises(ValueError, match="fit"):
            Field(0, type_, 2 if type_ == "f32" else 1).write(Fraction(value))

    def test_a_half_goes_up(self):
        assert [half_up(Fraction(n, 2)) for n in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


class TestUnits:
    @pytest.mark.parametrize(
        ("unit", "scale", "wh"),
        [
            ("Wh", "1", 36),
            ("kWh", "0.1", 3_600),
            ("MWh", "0.001", 36_000),
            ("GJ", "1", 10_000_000),
            ("GJ", "0.01", 100_000),
            ("MJ", "1", 10_000),
            ("kJ", "100", 1_000),
            ("Gcal", "1", 41_868_000),
        ],
    )
    def test_energy_in_every_unit_becomes_wh_exactly(self, unit, scale, wh):
        text = register(unit=f'"{unit}"', scale=f'"{scale}"')
        assert amounts(text, (0, 36)).values == {"energy_wh": wh}

    def test_a_float_is_scaled_exactly_and_rounded_once(self):
        words = struct.unpack(">HH", struct.pack(">f", 41.57))
        text = register("supply_cdeg", "f32", unit='"C"')
        assert amounts(text, words, "supply_cdeg").values == {"supply_cdeg": 4_157}

    def test_an_offset_makes_kelvin_celsius(self):
        text = register("supply_cdeg", "u16", unit='"C"', scale='"0.01"', offset='"-273.15"')
        assert amounts(text, (31_472,), "supply_cdeg").values == {"supply_cdeg": 4_157}

    def test_a_fraction_an_exponent_and_a_unit_register_make_one_value(self):
        text = register(
            type_="s32",
            fraction='{address = 2, type = "f32"}',
            exponent='{address = 4, type = "s16", bias = -4}',
            unit='{address = 5, type = "u16", units = {0 = "GJ", 2 = "kWh"}}',
        )
        half = struct.unpack(">HH", struct.pack(">f", 0.5))
        assert amounts(text, (0, 87, *half, 5, 2)).values == {"energy_wh": 875_000}
        assert amounts(text, (0, 36, 0, 0, 4, 0)).values == {"energy_wh": 10_000_000}
        assert amounts(text, (0, 36, 0, 0, 4, 1)).faults == {"energy_wh": "unsupported"}
        assert amounts(text, (0, 36, 0, 0, 11, 0)).faults == {"energy_wh": "unsupported"}
        assert amounts(text, (0, 36, 0, 0, 4)).faults == {"energy_wh": "short"}

    def test_an_absent_pattern_is_no_value_and_the_rest_still_counts(self):
        text = register(unit='"Wh"') + register("volume_l", "u16", 2, unit='"L"', absent='["FFFF"]')
        reading = amounts(text, (0, 5, 0xFFFF))
        assert (reading.values, reading.faults) == ({"energy_wh": 5}, {"volume_l": "fill_value"})
        assert reading.is_readable

    def test_without_its_primary_register_nothing_was_read(self):
        text = register(type_="f32", unit='"Wh"')
        assert not amounts(text, (0x7FC0, 0)).is_readable


class TestPlan:
    def spans(self, *spans, **keys):
        head = "".join(f"{key} = {value}\n" for key, value in keys.items())
        rows = "".join(register(f"n{a}", "raw", a, count=n, function=f) for f, a, n in spans)
        return [(r.function, r.address, r.count) for r in plan(parse(HEAD + head + ENERGY + rows))]

    def test_neighbours_are_read_together_over_small_gaps(self):
        assert self.spans((3, 2, 2), (3, 12, 1)) == [(3, 0, 13)]
        assert self.spans((3, 13, 1)) == [(3, 0, 2), (3, 13, 1)]
        assert self.spans((3, 3, 1), max_gap=0) == [(3, 0, 2), (3, 3, 1)]

    def test_no_read_is_longer_than_the_meter_allows_and_no_value_is_torn(self):
        assert self.spans((3, 2, 122), (3, 124, 2)) == [(3, 0, 124), (3, 124, 2)]
        assert self.spans((3, 2, 9), (3, 11, 4), max_read=10) == [(3, 0, 2), (3, 2, 9), (3, 11, 4)]

    def test_holding_and_input_registers_are_asked_apart(self):
        assert self.spans((4, 2, 1)) == [(3, 0, 2), (4, 2, 1)]

    @given(
        st.lists(
            st.tuples(st.sampled_from((3, 4)), st.integers(2, 600), st.integers(1, 20)),
            max_size=20,
            unique_by=lambda span: span[1],
        ),
        st.integers(20, 125),
        st.integers(0, 30),
    )
    def test_every_register_is_in_exactly_the_reads_it_needs(self, spans, max_read, max_gap):
        reads = self.spans(*spans, max_read=max_read, max_gap=max_gap)
        assert all(count <= max_read for _, _, count in reads)
        for function, address, count in spans:
            assert any(
                f == function and a <= address and address + count <= a + n for f, a, n in reads
            )


class TestShipped:
    @pytest.mark.parametrize("name", names())
    def test_a_map_that_comes_with_nuan_is_good_and_bears_its_name(self, name):
        found = shipped(name)
        assert (found.name, bool(found.title), bool(found.source)) == (name, True, True)

    @pytest.mark.parametrize("name", names())
    def test_no_two_of_its_reads_have_answers_of_one_length(self, name):
        # An RTU answer does not say which registers it holds: a late one must not pass for
        # another's.
        counts = [(r.function, r.count) for r in plan(shipped(name))]
        assert len(set(counts)) == len(counts)

    @pytest.mark.parametrize("name", names())
    def test_what_a_simulated_meter_writes_reads_back(self, name):
        when = datetime(2024, 12, 1, 12, 30)
        shown = {**HEAT, "meter_time": when, "status": "0004"}
        reading = read(shipped(name), write(shipped(name), shown))
        assert reading.values.items() >= HEAT.items()
        assert (reading.meter_time, reading.status) == (when, b"\x00\x04")

    def test_a_tuf_2000_is_read_in_two_questions(self):
        assert [(r.address, r.count) for r in plan(shipped("tuf-2000"))] == [(0, 72), (1437, 4)]

    @pytest.mark.parametrize(("unit", "multiplier"), [(0, 4), (0, 2), (2, 4), (2, 1), (1, 7)])
    def test_a_tuf_2000_counts_in_whatever_unit_it_is_set_to(self, unit, multiplier):
        settings = {(3, 1440): unit, (3, 1439): multiplier}
        registers = write(shipped("tuf-2000"), HEAT, settings)
        assert read(shipped("tuf-2000"), registers).values["energy_wh"] == HEAT["energy_wh"]

    def test_a_name_nobody_has_is_refused_with_the_names_there_are(self):
        with pytest.raises(ValueError, match="tuf-2000"):
            shipped("../heat")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name =", "not TOML"),
        ("", "name is missing"),
        (HEAD, "needs [[register]] tables"),
        (HEAD + "register = 3", "needs [[register]] tables"),
        (HEAD + 'colour = "red"\n' + ENERGY, "unknown key 'colour'"),
        (HEAD + "max_read = 126\n" + ENERGY, "max_read must be an integer from 1 to 125"),
        (HEAD + 'order = "DABC"\n' + ENERGY, "order 'DABC' is none of ABCD"),
        (HEAD + "function = 6\n" + ENERGY, "function must be an integer from 3 to 4"),
        (HEAD + register("volume_l", unit='"L"'), "primary 'energy_wh' is none"),
        (HEAD + ENERGY + ENERGY, "the name is used twice"),
        (HEAD + register(unit='"m3"'), "unit 'm3' is none of Wh"),
        (HEAD + register(), "unit None is none of Wh"),
        (HEAD + register("warmth", unit='"Wh"'), "'warmth' does not end in one of"),
        (HEAD + register(type_="u24", unit='"Wh"'), "type 'u24' is none of u16"),
        (
            HEAD + register(address=65_535, unit='"Wh"'),
            "address must be an integer from 0 to 65534",
        ),
        (HEAD + register(address="true", unit='"Wh"'), "address must be an integer"),
        (HEAD + register(unit='"Wh"', scale=0.1), "scale must be a decimal in quotes"),
        (HEAD + register(unit='"Wh"', scale='"1/3"'), "scale must be a decimal in quotes"),
        (HEAD + register(unit='"Wh"', scale='"0"'), "scale must not be 0"),
        (HEAD + register(unit='"Wh"', count=3), "type u32 has count 2, not 3"),
        (HEAD + register(unit='"Wh"', absent='["FFFF"]'), "absent must be a list of 8"),
        (HEAD + register(unit='"Wh"', layout='"YMD"'), "layout is for clocks"),
        (HEAD + register(type_="bcd", unit='"Wh"'), "type bcd needs count"),
        (HEAD + register("when", "bcd_clock", count=3, layout='"YMDhms"'), "is called meter_time"),
        (HEAD + register("meter_time", "clock", count=3, layout='"YMDhmm"'), "each letter once"),
        (HEAD + register("meter_time", "clock", count=3, layout='"YMD"'), "needs 6 letters"),
        (HEAD + register("status", "string", count=1), "status must be raw"),
        (HEAD + register("serial", "string", count=4, scale='"2"'), "scale has no meaning"),
        (HEAD + register(unit='"Wh"', fraction=4), "fraction must be a table"),
        (
            HEAD + register(unit='"Wh"', fraction='{address = 1, type = "raw", count = 1}'),
            "energy_wh fraction: type raw is no number",
        ),
        (HEAD + register(unit='"Wh"', exponent='{type = "u16"}'), "exponent: address is missing"),
        (HEAD + register(unit='{address = 1, type = "u16"}'), "unit needs units"),
        (
            HEAD + register(unit='{address = 1, type = "u16", units = {0 = "m3"}}'),
            "units 0 = 'm3' is none of Wh",
        ),
        (HEAD + "max_read = 1\n" + ENERGY, "2 exceed max_read"),
    ],
)
def test_a_map_with_a_flaw_is_refused_and_the_flaw_named(text, says):
    assert says in flaws(text)


def test_all_flaws_of_a_map_are_told_at_once():
    told = flaws(HEAD + register(unit='"m3"', scale=2) + register("x_l", unit='"L"', colour=1))
    assert len(told.splitlines()) == 3


@given(st.text(max_size=60))
def test_any_text_is_a_map_or_a_map_error(text):
    with pytest.raises(MapError):
        parse(text)


class TestFreezes:
    """Blocks of what a meter has frozen by the day or the month."""

    MONTH = """
[month]
count = 3
stride = 10
[[month.register]]
name = "energy_wh"
address = 100
type = "u32"
unit = {address = 5, type = "u16", units = {0 = "kWh", 1 = "MWh"}}
fraction = {address = 102, type = "u16"}
"""

    def test_a_block_lies_so_many_strides_on_and_what_stands_outside_is_common(self):
        map_ = parse(HEAD + ENERGY + self.MONTH)
        block = kept(map_, "month", 3)
        assert [(r.address, r.count) for r in plan(block)] == [(5, 1), (120, 3)]
        registers = {(3, 5): 1, (3, 120): 0, (3, 121): 7, (3, 122): 0}
        assert read(block, registers).values == {"energy_wh": 7_000_000}

    @pytest.mark.parametrize(("period", "back"), [("month", 0), ("month", 4), ("day", 1)])
    def test_what_is_not_kept_has_no_map(self, period, back):
        assert kept(parse(HEAD + ENERGY + self.MONTH), period, back) is None

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('month = "yes"\n', "must be a table"),
            ("[day]\ncount = 3\nstride = 4\n", "needs [[register]] tables"),
            (MONTH.replace("count = 3", "count = 3\nsize = 4"), "unknown key 'size'"),
            (MONTH.replace("count = 3", "count = 999"), "count"),
            (MONTH.replace("stride = 10", "stride = 40000"), "beyond the last register"),
            (MONTH.replace('"energy_wh"', '"volume_l"').replace('"kWh"', '"L"').replace(
                '"MWh"', '"m3"'), "primary 'energy_wh' is none"),
        ],
    )  # fmt: skip
    def test_a_flaw_in_a_block_is_named(self, text, says):
        text = text + HEAD + ENERGY if text.startswith("month =") else HEAD + ENERGY + text
        assert says in flaws(text)
