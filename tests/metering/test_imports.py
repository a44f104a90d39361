"""Readings from a file go in all or not at all, and every bad row is named."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from backend.base.clock import SHANGHAI
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import import_rows, imports, service, tables
from backend.metering.file_layouts import layouts
from backend.metering.models import Reading
from backend.metering.service import NewReading
from backend.people.models import AuditEvent
from tests import builders
from tests.builders import NOON

HEAD = ["表地址", "抄表时间", "读数", "单位"]
AT = NOON - timedelta(hours=3)
LOCAL = AT.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")


@pytest.fixture
def staff(app):
    return builders.make_staff(roles=("operator",))


@pytest.fixture
def water(app):
    house = builders.make_building()
    return builders.make_meter(
        house, builders.make_household(house), "water", address="00000012345678"
    )


@pytest.fixture
def heat(water):
    house = db.session.get(builders.Building, water.building_id)
    return builders.make_meter(house, builders.make_household(house, "102"), address="77")


def as_csv(*rows, head=HEAD, encoding="utf-8"):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([head, *rows])
    return io.BytesIO(text.getvalue().encode(encoding))


def as_xlsx(*rows, head=HEAD):
    book = Workbook()
    for row in [head, *rows]:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    book.close()
    return file


def take(file, staff, *, dry_run=False):
    return imports.import_readings(file, "十一月.csv", staff.id, NOON, dry_run=dry_run)


def stored():
    rows = db.session.execute(
        sa.select(Reading.meter_id, Reading.read_at, Reading.register).order_by(Reading.id)
    )
    return [tuple(row) for row in rows]


def errors(report):
    return [(note.line, note.field, note.code) for note in report.errors]


@pytest.mark.parametrize("make", [as_csv, lambda *rows: as_csv(*rows, encoding="gb18030"), as_xlsx])
def test_a_file_is_taken_in_whatever_it_was_written_with(water, heat, staff, make):
    file = make(["00000012345678", LOCAL, "12.345", "m³"], ["77", LOCAL, "1.5", "GJ"])
    report = take(file, staff)
    assert (report.rows, report.stored, report.error_count) == (2, 2, 0)
    assert stored() == [(water.id, AT, 12_345), (heat.id, AT, 416_667)]
    row = db.session.scalars(sa.select(Reading)).first()
    assert (row.source, row.kind, row.author_id) == ("import", "manual", staff.id)
    assert db.session.scalars(sa.select(AuditEvent.action)).one() == "readings.imported"


def test_a_spreadsheets_own_numbers_and_times_are_understood(water, staff):
    """Excel turns the address into a number (its zeros gone) and the time into a date."""
    file = as_xlsx([12345678, AT.astimezone(SHANGHAI).replace(tzinfo=None), 12.345, "m3"])
    assert take(file, staff).stored == 1
    assert stored() == [(water.id, AT, 12_345)]


def test_one_bad_row_keeps_all_others_out_and_every_bad_one_is_named(water, heat, staff):
    future = (NOON + timedelta(days=1)).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
    report = take(
        as_csv(
            ["12345678", LOCAL, "1", "m3"],
            ["99999999", LOCAL, "1", "m3"],
            ["12345678", LOCAL, "1", "kWh"],
            ["12345678", LOCAL, "eins", "m3"],
            ["12345678", LOCAL, "-1", "m3"],
            ["12345678", LOCAL, "1E999999", "m3"],
            ["12345678", LOCAL, "NaN", "m3"],
            ["12345678", future, "1", "m3"],
            ["12345678", "2019-01-01 00:00", "1", "m3"],
            ["12345678", "morgen", "1", "m3"],
            ["12345678", LOCAL, "", "m3"],
            ["12345678", LOCAL, "2", "m3"],
        ),
        staff,
    )
    assert sorted(errors(report)) == [
        (3, "address", "unknown_meter"),
        (4, "unit", "wrong_unit"),
        (5, "register", "not_a_number"),
        (6, "register", "impossible"),
        (7, "register", "impossible"),
        (8, "register", "not_a_number"),
        (9, "read_at", "in_future"),
        (10, "read_at", "too_old"),
        (11, "read_at", "bad_time"),
        (12, "register", "missing"),
        (13, "register", "conflict_in_file"),
    ]
    assert all(note.sentence for note in report.errors)
    assert (report.stored, stored()) == (0, [])


def test_an_error_in_a_late_chunk_takes_back_the_early_ones(water, staff, monkeypatch):
    monkeypatch.setattr(imports, "CHUNK", 2)
    rows = [["12345678", f"2026-11-19 0{n}:00", str(n), "m3"] for n in range(7)]
    report = take(as_csv(*rows, ["12345678", LOCAL, "x", "m3"]), staff)
    assert (report.error_count, stored()) == (1, [])
    assert take(as_csv(*rows), staff).stored == 7


def test_a_dry_run_tells_the_same_and_stores_nothing(water, staff):
    rows = [["12345678", LOCAL, "1", "m3"]]
    report = take(as_csv(*rows), staff, dry_run=True)
    assert (report.stored, stored()) == (1, [])
    assert take(as_csv(*rows), staff).stored == 1


def test_a_file_taken_in_twice_is_all_duplicates_and_a_different_value_is_refused(water, staff):
    row = ["12345678", LOCAL, "1", "m3"]
    take(as_csv(row, row), staff)
    again = take(as_csv(row, row), staff)
    assert (again.stored, again.duplicates, again.error_count) == (0, 2, 0)
    other = take(as_csv(["12345678", LOCAL, "2", "m3"]), staff)
    assert errors(other) == [(2, "register", "conflict_stored")]
    assert len(stored()) == 1


def test_a_falling_register_is_kept_but_pointed_at(water, staff):
    service.record([NewReading(water.id, AT - timedelta(hours=1), "collector", register=5_000)])
    report = take(as_csv(["12345678", LOCAL, "1", "m3"]), staff)
    assert [(n.line, n.code) for n in report.doubtful] == [(2, "reverse")]
    assert report.stored == 1


def test_an_address_on_two_buses_needs_its_bus(water, staff):
    house = db.session.get(builders.Building, water.building_id)
    twin = builders.make_meter(
        house, builders.make_household(house, "103"), "water", address=water.address
    )
    row = [water.address, LOCAL, "1", "m3"]
    assert errors(take(as_csv(row), staff)) == [(2, "address", "ambiguous_meter")]
    code = db.session.get(builders.Bus, twin.bus_id).code
    take(as_csv([*row, code], head=[*HEAD, "总线"]), staff)
    assert stored() == [(twin.id, AT, 1000)]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (lambda: io.BytesIO(b""), "import_columns"),
        (lambda: as_csv(head=["表地址", "读数"]), "import_columns"),
        (lambda: io.BytesIO(b"PK\x03\x04 no zip"), "import_unreadable"),
        (lambda: io.BytesIO('表地址,"'.encode()), "import_unreadable"),
        (lambda: io.BytesIO(b"\xff\xff\xff\xff"), "import_unreadable"),
        (lambda: io.BytesIO(bytes(tables.MAX_BYTES + 1)), "import_too_large"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_sentence(staff, file, code):
    with pytest.raises(Problem) as refused:
        take(file(), staff)
    assert refused.value.code == code


@pytest.mark.parametrize("make", [as_csv, as_xlsx])
def test_more_rows_than_allowed_are_refused(water, staff, make, monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROWS", 3)
    with pytest.raises(Problem) as refused:
        take(make(*[["12345678", LOCAL, "1", "m3"]] * 4), staff)
    assert refused.value.code == "import_too_large"
    db.session.rollback()
    assert stored() == []


@given(
    readings=st.dictionaries(
        st.integers(0, 80_000), st.integers(0, 10**12), min_size=1, max_size=12
    ),
    spreadsheet=st.booleans(),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_goes_into_a_file_comes_out_as_readings(app, readings, spreadsheet):
    """Minutes ago -> litres, written as m3 with three places: stored to the litre and minute."""
    house = builders.make_building(f"R{next(builders._numbers)}")
    meter = builders.make_meter(house, builders.make_household(house), "water")
    person = builders.make_staff(f"r{next(builders._numbers)}")
    minute = NOON.replace(second=0, microsecond=0)
    wanted = {minute - timedelta(minutes=ago): litres for ago, litres in readings.items()}
    rows = [
        [
            meter.address,
            at.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M"),
            str(Decimal(litres).scaleb(-3)),
            "m3",
        ]
        for at, litres in wanted.items()
    ]
    assert take((as_xlsx if spreadsheet else as_csv)(*rows), person).stored == len(wanted)
    found = db.session.execute(
        sa.select(Reading.read_at, Reading.register).where(Reading.meter_id == meter.id)
    )
    assert {at.astimezone(UTC): register for at, register in found} == wanted


@given(st.binary(max_size=300))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_at_all_end_in_a_report_or_a_problem(app, junk):
    head = ",".join(HEAD).encode() + b"\n"
    for data in (junk, head + junk, b"PK\x03\x04" + junk):
        try:
            report = imports.import_readings(io.BytesIO(data), "x", 1, NOON, dry_run=True)
        except Problem as problem:
            assert problem.code.startswith("import_")
        else:
            assert report.stored == 0
        db.session.rollback()


def test_the_moment_in_a_file_is_shanghais_unless_it_says_otherwise():
    at = datetime(2026, 11, 20, 0, 30, tzinfo=UTC)
    formats = layouts()["table"].formats
    assert import_rows._moment("2026-11-20 08:30", formats, "read_at") == at
    assert import_rows._moment("2026-11-20T00:30:00+00:00", formats, "read_at") == at
