"""A platform's own values by a map: exactly as written, believed only where they can be."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import field_map, json_path
from collectors.frames.errors import FrameError
from collectors.frames.field_map import NAMES
from collectors.frames.map_flaws import MapError
from collectors.map_files import field_maps, shipped_fields

WATER = """
name = "w"
primary = "volume_l"
[time]
path = "at"
format = "text"
[[field]]
name = "volume_l"
path = "data.total"
unit = "m3"
absent = ["-1"]
[[field]]
name = "signal_dbm"
path = "data.csq"
unit = "dBm"
scale = "2"
offset = "-113"
absent = ["99"]
"""


def said(tree, text=WATER):
    (reading,) = field_map.read(field_map.parse(text), tree)
    return reading


class TestPaths:
    TREE = {"a": {"b.c": [1, {"id": 7, "v": "x"}]}, "list": [{"id": "222", "v": "1"}]}

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("", TREE),
            ('a."b.c"[0]', 1),
            ('a."b.c"[1].v', "x"),
            ("list[id=222].v", "1"),
            ("list[0].id", "222"),
            ("list[9].v", None),
            ("list[id=3].v", None),
            ("list.id", None),
            ("a[0]", None),
            ("nothing.at.all", None),
        ],
    )
    def test_a_path_finds_what_stands_there_or_nothing(self, path, value):
        assert json_path.parse(path).find(self.TREE) == value

    @pytest.mark.parametrize(
        "path", [".", "a.", "a..b", "a[", "a[-1]", "a]", "[", 'a."', "a" + ".b" * 12]
    )
    def test_what_is_no_path_says_where(self, path):
        with pytest.raises(ValueError, match="is no path at character"):
            json_path.parse(path)


class TestValues:
    def test_units_scales_and_times_become_ours(self):
        found = said({"at": "2026-11-20 12:00:00", "data": {"total": 12.345, "csq": 20}})
        assert found.values == {"volume_l": 12_345, "signal_dbm": -73}
        assert found.time == datetime(2026, 11, 20, 4, tzinfo=UTC)
        assert found.faults == {}

    @pytest.mark.parametrize(
        ("total", "litres"),
        [(0.0005, 1), ("0.0004", 0), ("12.3", 12_300), (7, 7_000), (1e3, 10**6)],
    )
    def test_numbers_and_texts_are_rounded_once(self, total, litres):
        assert said({"data": {"total": total}}).values["volume_l"] == litres

    @given(st.decimals(min_value=0, max_value=10**9, places=3))
    def test_every_digit_that_was_written_counts(self, cubic_metres):
        tree = json.loads(json.dumps({"data": {"total": str(cubic_metres)}}))
        assert said(tree).values["volume_l"] == int(cubic_metres * Decimal(1000))

    @pytest.mark.parametrize(
        "total", [True, "12,3", "NaN", "0x10", float("inf"), [1], {}, "1" * 40, -3, 10**18]
    )
    def test_what_is_no_believable_number_is_a_fault_and_no_value(self, total):
        found = said({"data": {"total": total}})
        assert "volume_l" not in found.values
        assert "volume_l" in found.faults or total in ([1], {}, True)

    @pytest.mark.parametrize("total", [None, "", -1, "-1"])
    def test_what_is_absent_is_neither_value_nor_fault(self, total):
        found = said({"data": {"total": total, "csq": 99}})
        assert (found.values, found.faults) == ({}, {})

    @pytest.mark.parametrize(
        ("format_", "at"),
        [
            ("ms", 1795147200000),
            ("ms", "1795147200000"),
            ("s", 1795147200),
            ("text", "20261120120000"),
            ("text", "2026-11-20T04:00:00Z"),
            ("text", "2026/11/20 12:00:00"),
            ("text", "2026-11-20T05:00:00.250+01:00"),
        ],
    )
    def test_a_time_is_understood_in_the_formats_there_are(self, format_, at):
        text = WATER.replace('format = "text"', f'format = "{format_}"')
        noon = datetime(2026, 11, 20, 4, tzinfo=UTC)
        assert said({"at": at}, text).time == noon

    @pytest.mark.parametrize("at", ["20261340120000", "gestern", 10**30, {}, True])
    def test_a_time_that_is_none_is_a_fault(self, at):
        found = said({"at": at, "data": {"total": 1}})
        assert found.time is None
        assert "time" in found.faults

    def test_a_list_of_readings_is_one_a_row(self):
        text = 'rows = "list"\naddress = "no"\n' + WATER.replace("data.", "")
        tree = {"list": [{"no": " a1 ", "total": 1}, {"no": 17, "total": 2}, "rubbish"]}
        rows = field_map.read(field_map.parse(text), tree)
        assert [r.address for r in rows] == ["A1", "17", ""]
        assert [r.values.get("volume_l") for r in rows] == [1000, 2000, None]

    @pytest.mark.parametrize("tree", [{}, {"list": 3}, {"list": [{}] * 257}, None, 7])
    def test_rows_that_are_none_are_refused(self, tree):
        with pytest.raises(FrameError):
            field_map.read(field_map.parse('rows = "list"\n' + WATER), tree)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["data", "total", "csq", "at"]), inner)
            ),
            max_leaves=12,
        )
    )
    def test_whatever_a_platform_sends_no_value_is_beyond_what_can_be(self, tree):
        found = said(tree)
        for name, value in found.values.items():
            low, high = NAMES[name]
            assert low <= value <= high


class TestMaps:
    def test_those_that_come_with_nuan_are_whole(self):
        maps = shipped_fields()
        assert {"ctwing-water", "onenet-heat", "oceanconnect-water", "chirpstack-heat"} <= set(maps)
        for name, map_ in maps.items():
            assert map_.name == name
            assert map_.title and map_.source

    def test_every_flaw_is_named_at_once(self):
        text = (
            WATER.replace('primary = "volume_l"', 'primary = "energy_wh"\ncolour = "red"')
            .replace('unit = "m3"', 'unit = "GJ"')
            .replace('scale = "2"', "scale = 2.0")
            .replace('path = "data.csq"', 'path = "data..csq"')
            .replace('format = "text"', 'format = "unix"\nzone = "CST"')
            .replace('name = "signal_dbm"', 'name = "signal"')
        )
        with pytest.raises(MapError) as caught:
            field_map.parse(text)
        flaws = str(caught.value)
        for flaw in (
            "map: unknown key 'colour'",
            "primary 'energy_wh' is none of the fields",
            "field volume_l: unit 'GJ' is none of",
            "field signal: scale must be a decimal in quotes",
            "field signal: path: 'data..csq' is no path at character 5",
            "time: format 'unix' is none of ms, s, text",
            'time: zone must be such as "+08:00"',
            "field signal: name 'signal' is none of",
        ):
            assert flaw in flaws

    def test_a_directory_of_ones_own_stands_over_the_shipped(self, tmp_path):
        (tmp_path / "ctwing-water.toml").write_text(WATER, "utf-8")
        (tmp_path / "notes.txt").write_text("not a map", "utf-8")
        maps = field_maps(str(tmp_path))
        assert maps["ctwing-water"].name == "w"
        assert maps["onenet-heat"] is shipped_fields()["onenet-heat"]

    def test_a_bad_file_is_named_with_all_its_flaws(self, tmp_path):
        (tmp_path / "a.toml").write_text("name = 3", "utf-8")
        (tmp_path / "b.toml").write_bytes(b"\xff")
        with pytest.raises(MapError) as caught:
            field_maps(str(tmp_path))
        assert "a.toml: map: name must be a text" in str(caught.value)
        assert "b.toml: " in str(caught.value)
        with pytest.raises(MapError, match="is no directory"):
            field_maps(str(tmp_path / "none"))
