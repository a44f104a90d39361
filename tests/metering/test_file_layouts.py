"""Files of handhelds by their layouts: columns by title or number, fixed widths, GBK, freezes."""

import io
from datetime import UTC, date, datetime, time, timedelta

import pytest
import sqlalchemy as sa
from openpyxl import Workbook

from backend.base.clock import SHANGHAI
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import file_layouts, imports, rounds, service
from backend.metering.file_layouts import LayoutError, layouts
from backend.metering.models import Reading
from backend.metering.service import NewReading
from tests import builders
from tests.builders import NOON

AT = NOON - timedelta(hours=3)
LOCAL = AT.astimezone(SHANGHAI)
ADDRESS = "00000012345678"


@pytest.fixture
def staff(app):
    return builders.make_staff(roles=("operator",))


@pytest.fixture
def water(app):
    house = builders.make_building()
    return builders.make_meter(house, builders.make_household(house), "water", address=ADDRESS)


def take(data, staff, layout, **options):
    layout = layouts()[layout] if isinstance(layout, str) else layout
    options.setdefault("dry_run", False)
    return imports.import_readings(
        io.BytesIO(data), "文件", staff.id, NOON, layout=layout, **options
    )


def stored():
    rows = db.session.execute(
        sa.select(Reading.meter_id, Reading.read_at, Reading.kind, Reading.register)
    )
    return [(m, at.astimezone(UTC), kind, register) for m, at, kind, register in rows]


def notes(report):
    return [(n.line, n.field, n.code) for n in report.errors]


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("handheld-txt", f"{ADDRESS}\t{LOCAL:%Y%m%d%H%M%S}\t12.345\tm3\r\n"),
        (
            "handheld-columns",
            f"序号,表号,抄表日期,抄表时间,本次读数,单位\n1,{ADDRESS},{LOCAL:%Y-%m-%d},{LOCAL:%H:%M},12.345,吨\n",
        ),
        ("table", f"表号,时间,表底,单位\n12345678,{LOCAL:%Y/%m/%d %H:%M},12.345,立方米\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_makers_file_is_read_by_its_layout(water, staff, layout, text, encoding):
    report = take(text.encode(encoding), staff, layout)
    assert (notes(report), report.stored) == ([], 1)
    assert stored() == [(water.id, AT.replace(second=0, microsecond=0), "manual", 12_345)]


def test_fixed_records_are_cut_by_width_and_their_decimals_put_back(water, staff):
    record = f"{ADDRESS}{LOCAL:%Y%m%d%H%M%S}{1234567:010d}\r\n"
    report = take(record.encode() + b"\x1a", staff, "handheld-fixed")
    assert (notes(report), report.stored, report.rows) == ([], 1, 1)
    assert stored()[0][3] == 12_345_670  # 12345.67 m3


def test_what_is_cut_off_or_wrong_in_a_fixed_record_is_named_by_its_line(water, staff):
    good = f"{ADDRESS}{LOCAL:%Y%m%d%H%M%S}{1:010d}"
    bad = [good[:20], good[:30] + "x" * 8, "9" * 14 + good[14:], good]
    report = take("\n".join(bad).encode(), staff, "handheld-fixed")
    assert sorted(notes(report)) == [
        (1, "register", "missing"),
        (2, "register", "not_a_number"),
        (3, "address", "unknown_meter"),
    ]
    assert (report.stored, stored()) == (0, [])


def test_a_spreadsheets_day_and_clock_in_two_cells_are_one_moment(water, staff):
    book = Workbook()
    book.active.append(["表号", "抄表日期", "抄表时间", "本次读数", "单位"])
    book.active.append([12345678, LOCAL.date(), time(LOCAL.hour, LOCAL.minute), 1.5, "m3"])
    file = io.BytesIO()
    book.save(file)
    assert take(file.getvalue(), staff, "handheld-columns").stored == 1
    assert stored()[0][1] == AT.replace(second=0, microsecond=0)


def test_frozen_values_are_taken_in_beside_the_current_ones(water, staff):
    midnight = datetime(2026, 11, 18, 16, tzinfo=UTC)  # 2026-11-19 00:00 in Shanghai
    text = f"表号,冻结日期,冻结读数,单位\n{ADDRESS},2026-11-19,7,m3\n{ADDRESS},2026-01-01,1,m3\n"
    service.record([NewReading(water.id, midnight, "collector", register=9_000)])
    report = take(text.encode(), staff, "freeze")
    assert (notes(report), report.stored) == ([], 2)
    kinds = {(at, kind): register for _, at, kind, register in stored()}
    assert kinds[midnight, "freeze"] == 7_000
    assert kinds[midnight, "current"] == 9_000
    assert kinds[datetime(2025, 12, 31, 16, tzinfo=UTC), "freeze"] == 1_000  # months back
    again = take(text.encode(), staff, "freeze")
    assert (again.stored, again.duplicates) == (0, 2)
    other = take(text.replace(",7,", ",8,").encode(), staff, "freeze")
    assert notes(other) == [(2, "register", "conflict_stored")]


def test_a_column_may_say_which_rows_are_frozen(water, staff):
    text = (
        "表号,时间,读数,单位,类型\n"
        f"{ADDRESS},2026-11-19 00:00,7,m3,日冻结\n"
        f"{ADDRESS},2026-11-19 00:00,7,m3,抄表\n"
        f"{ADDRESS},2026-11-19 08:00,7,m3,冻结\n"
        f"{ADDRESS},2026-11-19 08:00,7,m3,估计\n"
    )
    report = take(text.encode(), staff, "table")
    assert notes(report) == [(4, "read_at", "no_midnight"), (5, "kind", "unknown_kind")]
    assert take("\n".join(text.splitlines()[:3]).encode(), staff, "table").stored == 2
    assert {kind for _, _, kind, _ in stored()} == {"freeze", "manual"}


def test_a_round_comes_back_filled_in_and_what_was_not_read_is_left_out(water, staff):
    house = db.session.get(builders.Building, water.building_id)
    builders.make_meter(house, builders.make_household(house, "102"), address="77")
    builders.make_meter(house, kind="room", address="room")
    gone = builders.make_meter(house, builders.make_household(house, "103"), "gas", address="88")
    gone.removed_on = date(2026, 11, 1)
    service.record([NewReading(water.id, AT, "collector", register=5_004)])
    db.session.commit()
    title, rows = rounds.round_of("region", house.region_id)
    data = b"".join(rounds.as_csv(rows, "gbk"))
    lines = data.decode("gb18030").splitlines()
    assert title and len(lines) == 3  # the titles, the water meter, the heat meter
    cells = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert (cells["表地址"], cells["上次读数"], cells["单位"]) == (ADDRESS, "5.004", "m3")
    assert cells["上次时间"] == f"{LOCAL:%Y-%m-%d %H:%M}"
    filled = lines[1].replace(",,,m3", f",{LOCAL:%Y-%m-%d %H:%M},5.5,m3")
    assert filled != lines[1]
    back = "\n".join([lines[0], filled, lines[2]]).encode("gb18030")
    report = take(back, staff, "table")
    assert (notes(report), report.stored, report.blank) == ([], 1, 1)


def test_a_name_that_is_a_formula_is_none_in_a_round(water):
    house = db.session.get(builders.Building, water.building_id)
    house.code = '=HYPERLINK("x")'
    db.session.commit()
    _, rows = rounds.round_of("building", house.id)
    assert list(rows)[1][0].startswith("'=")


def test_a_round_is_asked_of_the_database_once_however_long(app, queries):
    house = builders.make_building()
    for n in range(1, 31):
        builders.make_meter(house, builders.make_household(house, f"{n}01"), "water")
    db.session.commit()
    before = len(queries)
    _, rows = rounds.round_of("building", house.id)
    assert len(list(rows)) == 31
    assert len(queries) - before <= 4


BROKEN = """
name = "x"
title = "y"
separator = "; "
header = false
formats = []
kind = "guess"
scale = 0.1
colour = "red"
[columns]
address = ["表号"]
read_at = 2
quantity = 3
register = 99
"""


def test_every_flaw_of_a_layout_is_named_at_once():
    with pytest.raises(LayoutError) as caught:
        file_layouts.parse(BROKEN)
    for flaw in (
        "unknown key 'colour'",
        "column 'quantity' is none of",
        "column register must be a list of titles or a number",
        "formats must be a list",
        "scale must be a decimal in quotes",
        "kind 'guess' is none of manual, freeze",
        "separator must be one character",
        "column unit is missing",
        "column address must be a number",
    ):
        assert flaw in str(caught.value)


def test_a_directory_of_ones_own_stands_over_the_shipped(tmp_path, water, staff):
    (tmp_path / "ours.toml").write_text(
        'name = "ours"\ntitle = "本公司"\nseparator = "|"\nheader = false\nunit = "m3"\n'
        'formats = ["%d.%m.%Y %H:%M"]\n[columns]\naddress = 3\nread_at = 1\nregister = 2\n',
        "utf-8",
    )
    ours = layouts(str(tmp_path))["ours"]
    assert take(f"{LOCAL:%d.%m.%Y %H:%M}|4|{ADDRESS}\n".encode(), staff, ours).stored == 1
    assert set(layouts()) < set(layouts(str(tmp_path)))
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(LayoutError, match=r"bad\.toml"):
        layouts(str(tmp_path))
    with pytest.raises(LayoutError, match="no directory"):
        layouts(str(tmp_path / "none"))


@pytest.mark.parametrize("layout", ["handheld-txt", "handheld-fixed", "freeze", "handheld-columns"])
def test_any_bytes_at_all_end_in_a_report_or_a_problem(app, layout):
    for data in (b"", b"\x00" * 100, b"\xff\xfe\x00", b"a" * 10_000, b'"', b"\t\t\t\n" * 10):
        try:
            report = take(
                data, builders.make_staff(f"s{next(builders._numbers)}"), layout, dry_run=True
            )
        except Problem as problem:
            assert problem.code.startswith("import_")
        else:
            assert report.stored == 0
        db.session.rollback()
