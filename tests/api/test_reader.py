"""A meter reader's round."""

import uuid
from datetime import timedelta

import pytest

from backend.api.schemas import ReaderToday
from backend.archive.models import Household, Meter
from backend.base.db import db
from backend.metering.models import ManualEntry, MeterState, Reading
from tests import builders
from tests.api.conftest import problem
from tests.builders import NOON


@pytest.fixture
def reader(app):
    return builders.headers_for(builders.make_staff())


@pytest.fixture
def meters(app):
    """Heat, water and gas of 2号楼 301, and the building's own meter."""
    building = builders.make_building("2")
    flat = builders.make_household(building, "301")
    builders.make_meter(building, kind="heat", protocol="mbus")
    builders.make_meter(building, flat, kind="room")
    return {k: builders.make_meter(building, flat, kind=k) for k in ("heat", "water", "gas")}


def state(meter, **values):
    db.session.add(MeterState(meter_id=meter.id, **values))
    db.session.commit()


def today(client, headers):
    answer = client.get("/api/v1/reader/today", headers=headers)
    assert answer.status_code == 200
    assert ReaderToday().validate(answer.json) == {}
    return answer.json


def type_in(client, headers, meter, register=100_000, **more):
    body = {
        "client_id": str(uuid.uuid4()),
        "meter_id": meter.id,
        "register": register,
        "read_at": "2026-11-20T03:30:00Z",
        **more,
    }
    return client.post("/api/v1/reader/readings", json=body, headers=headers)


def test_the_round_is_what_has_not_answered_today(client, reader, meters):
    state(meters["heat"], last_ok_at=NOON - timedelta(hours=1), register=5)
    state(
        meters["water"],
        last_ok_at=NOON - timedelta(days=1),
        last_error_at=NOON - timedelta(hours=1),
        last_error="timeout",
        register=7,
    )
    builders.make_bill(_flat(meters), 500)
    found = today(client, reader)
    assert (found["day"], found["total"], found["read"], found["missing"]) == (
        "2026-11-20",
        3,
        1,
        2,
    )
    gas, water = sorted(found["meters"], key=lambda m: m["kind"])
    assert gas == {
        "id": meters["gas"].id,
        "kind": "gas",
        "address": meters["gas"].address,
        "place": "2号楼 301",
        "account_no": "2-301",
        "state": "missing",
        "last_read_at": None,
        "register": None,
        "unit": "l",
        "error": None,
        "owes_fen": 500,
    }
    assert (water["state"], water["error"], water["register"]) == ("failed", "timeout", 7)


def _flat(meters):
    return db.session.get(Household, meters["gas"].household_id)


def test_yesterdays_failure_is_not_todays(client, reader, meters):
    state(meters["gas"], last_error_at=NOON - timedelta(days=1), last_error="timeout")
    gas = next(m for m in today(client, reader)["meters"] if m["kind"] == "gas")
    assert (gas["state"], gas["error"]) == ("missing", None)


def test_a_reading_typed_in_is_kept_and_stays_on_the_round_as_read(client, reader, meters):
    answer = type_in(client, reader, meters["gas"], 123_456, note="表在门后")
    assert answer.status_code == 201
    assert answer.json["usage_since_last"] is None
    kept = db.session.scalars(db.select(Reading)).one()
    assert (kept.id, kept.register, kept.source) == (answer.json["reading_id"], 123_456, "reader")
    gas = next(m for m in today(client, reader)["meters"] if m["kind"] == "gas")
    assert (gas["state"], gas["register"]) == ("read", 123_456)


def test_a_colleagues_reading_leaves_my_round(client, reader, meters):
    type_in(client, reader, meters["gas"])
    colleague = builders.headers_for(builders.make_staff("li", name="李师傅"))
    kinds = [m["kind"] for m in today(client, colleague)["meters"]]
    assert kinds == ["heat", "water"]


def test_resending_gives_the_first_answer_and_keeps_one_reading(client, reader, meters):
    client_id = str(uuid.uuid4())
    first = type_in(client, reader, meters["gas"], client_id=client_id)
    again = type_in(client, reader, meters["gas"], client_id=client_id)
    assert again.status_code == 201
    assert again.json["reading_id"] == first.json["reading_id"]
    assert db.session.query(ManualEntry).count() == 1
    assert db.session.query(Reading).count() == 1


def test_a_register_below_the_last_wants_a_word(client, reader, meters):
    type_in(client, reader, meters["gas"], 100_000, read_at="2026-11-20T02:00:00Z")
    lower = type_in(client, reader, meters["gas"], 90_000)
    assert problem(lower) == (422, "register_decreased")
    assert lower.json["field"] == "register"
    only_confirmed = type_in(client, reader, meters["gas"], 90_000, confirm=True)
    assert problem(only_confirmed) == (422, "register_decreased")
    said = type_in(client, reader, meters["gas"], 90_000, confirm=True, note="换过表")
    assert said.status_code == 201
    assert "reverse" in [flag["code"] for flag in said.json["flags"]]
    assert all(flag["text"] != flag["code"] for flag in said.json["flags"])


def test_tomorrows_reading_is_refused(client, reader, meters):
    answer = type_in(client, reader, meters["gas"], read_at="2026-11-21T04:00:00Z")
    assert problem(answer) == (422, "reading_in_future")


def test_last_years_reading_is_refused(client, reader, meters):
    answer = type_in(client, reader, meters["gas"], read_at="2025-11-21T04:00:00Z")
    assert problem(answer) == (422, "reading_too_old")


def test_only_a_households_meter_can_be_read_by_hand(client, reader, meters):
    for meter in db.session.scalars(
        db.select(Meter).where(db.or_(Meter.scope == "building", Meter.kind == "room"))
    ):
        assert problem(type_in(client, reader, meter)) == (404, "not_your_meter")
    body = {"client_id": str(uuid.uuid4()), "meter_id": 10**9, "register": 1}
    answer = client.post(
        "/api/v1/reader/readings",
        json={**body, "read_at": "2026-11-20T03:30:00Z"},
        headers=reader,
    )
    assert problem(answer) == (404, "not_your_meter")


def test_a_meter_that_is_gone_has_no_new_readings(client, reader, meters):
    meters["gas"].removed_on = NOON.date() - timedelta(days=1)
    db.session.commit()
    assert problem(type_in(client, reader, meters["gas"])) == (404, "not_your_meter")
    assert "gas" not in [m["kind"] for m in today(client, reader)["meters"]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"client_id": "x"}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"register": -1}, "register"),
        ({"register": 1.5}, "register"),
        ({"register": "100"}, "register"),
        ({"register": True}, "register"),
        ({"register": 10**16}, "register"),
        ({"read_at": "2026-11-20T03:30:00"}, "read_at"),
        ({"read_at": "yesterday"}, "read_at"),
        ({"read_at": "0001-01-01T00:00:00Z"}, "read_at"),
        ({"read_at": "9999-12-31T23:59:59Z"}, "read_at"),
        ({"note": "a\0b"}, "note"),
        ({"note": "x" * 201}, "note"),
        ({"confirm": "yes"}, "confirm"),
        ({"meter_id": 0}, "meter_id"),
    ],
)
def test_what_cannot_be_a_reading_is_refused_by_field(client, reader, meters, change, field):
    answer = type_in(client, reader, meters["gas"], **change)
    assert problem(answer) == (422, "validation")
    assert answer.json["field"] == field


def test_a_long_round_costs_as_many_statements_as_a_short_one(client, reader, meters, queries):
    counts = []
    for n in range(2):
        flat = builders.make_household(_flat(meters).building, f"40{n}")
        for _ in range(5):
            builders.make_meter(flat.building, flat, kind="water")
        queries.clear()
        today(client, reader)
        counts.append(len(queries))
    assert counts == [3, 3]
