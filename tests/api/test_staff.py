"""Operators read meters and order valves over the API."""

from datetime import timedelta

import pytest

from backend.base.db import db
from backend.metering import commands, runs
from backend.metering.models import MeterCommand, ReadingRun
from backend.metering.service import NewReading, record
from tests import builders
from tests.api.conftest import problem
from tests.conftest import NOON


@pytest.fixture
def house(app):
    building = builders.make_building()
    building.meters = [
        builders.make_meter(building, builders.make_household(building, unit), kind="gas")
        for unit in ("101", "102")
    ]
    return building


@pytest.fixture
def ask(client):
    """Send a request as somebody new of a role, or as one asked for before by the same name."""
    known = {}

    def send(method, path, body=None, *, role="operator", name="a"):
        if (role, name) not in known:
            staff = builders.make_staff(f"{role}-{name}", [role])
            known[role, name] = builders.headers_for(staff)
        url = f"/api/v1/staff{path}"
        return client.open(url, method=method, json=body, headers=known[role, name])

    return send


def test_a_run_is_started_watched_and_cancelled(ask, house):
    started = ask("POST", "/runs", {"scope": "building", "ids": [house.id]})
    assert started.status_code == 201
    assert (started.json["title"], started.json["progress"]["waiting"]) == (house.name, 2)
    path = f"/runs/{started.json['id']}"
    assert ask("GET", path, role="manager").json == started.json
    stopped = ask("POST", f"{path}/cancel").json
    assert (stopped["state"], stopped["progress"]["cancelled"]) == ("cancelled", 2)
    assert problem(ask("POST", f"{path}/cancel")) == (409, "run_ended")


def test_a_meter_that_gives_trouble_is_named(ask, house):
    run = ask("POST", "/runs", {"scope": "batch", "ids": [m.id for m in house.meters]}).json
    for meter in house.meters:
        (claim,) = runs.take([meter.bus_id], NOON)
        runs.settle([runs.Settled(claim, "silent" if meter is house.meters[0] else "")], NOON)
    db.session.commit()
    shown = ask("GET", f"/runs/{run['id']}").json
    assert shown["progress"]["read"] == 1
    (trouble,) = shown["troubles"]
    assert (trouble["address"], trouble["error"]) == (house.meters[0].address, "silent")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"scope": "town", "ids": [1]}, (422, "validation")),
        ({"scope": "meter", "ids": []}, (422, "validation")),
        ({"scope": "meter", "ids": [1, 2]}, (422, "validation")),
        ({"scope": "batch", "ids": [1] * 1001}, (422, "validation")),
        ({"scope": "meter", "ids": ["1"]}, (422, "validation")),
        ({"scope": "meter", "ids": [999]}, (404, "not_found")),
        ({"scope": "batch", "ids": [999]}, (422, "no_meters")),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_and_leaves_nothing(ask, app, body, expected):
    assert problem(ask("POST", "/runs", body)) == expected
    db.session.rollback()
    assert db.session.query(ReadingRun).count() == 0


@pytest.mark.parametrize("role", ["reader", "finance", "manager"])
def test_only_operators_start_runs_and_order_valves(ask, house, role):
    meter = house.meters[0]
    tries = [
        ("/runs", {"scope": "meter", "ids": [meter.id]}),
        (f"/meters/{meter.id}/commands", {"action": "open", "reason": "已缴费"}),
    ]
    assert {problem(ask("POST", *one, role=role)) for one in tries} == {(403, "forbidden")}
    assert db.session.query(MeterCommand).count() == db.session.query(ReadingRun).count() == 0


def test_a_valve_is_closed_by_two_persons(ask, house):
    order = {"action": "close", "reason": "欠费停气"}
    asked = ask("POST", f"/meters/{house.meters[0].id}/commands", order)
    assert (asked.status_code, asked.json["state"]) == (201, "queued")
    path = f"/commands/{asked.json['id']}"
    assert problem(ask("POST", f"{path}/approve")) == (409, "second_person")
    assert ask("POST", f"{path}/approve", name="b").json["state"] == "approved"
    assert problem(ask("POST", f"{path}/approve", role="manager")) == (409, "command_moved_on")
    (sent,) = commands.take([house.meters[0].bus_id], NOON)
    db.session.commit()
    assert ask("GET", path, role="manager").json["state"] == "sent"
    assert problem(ask("POST", f"{path}/withdraw")) == (409, "command_moved_on")
    assert sent.command_id == asked.json["id"]


def test_one_order_at_a_time_and_a_withdrawn_one_makes_room(ask, house):
    path = f"/meters/{house.meters[0].id}/commands"
    first = ask("POST", path, {"action": "close", "reason": "欠费停气"}).json
    again = ask("POST", path, {"action": "open", "reason": "已缴费"}, name="b")
    assert problem(again) == (409, "command_open")
    taken_back = ask("POST", f"/commands/{first['id']}/withdraw", role="manager").json
    assert taken_back["state"] == "withdrawn"
    assert ask("POST", path, {"action": "open", "reason": "已缴费"}).status_code == 201


@pytest.mark.parametrize(
    "body",
    [{"action": "explode", "reason": "没有"}, {"action": "open"}, {"action": "open", "reason": ""}],
)
def test_an_order_that_makes_no_sense_is_refused(ask, house, body):
    answer = ask("POST", f"/meters/{house.meters[0].id}/commands", body)
    assert problem(answer) == (422, "validation")


def test_a_meter_without_a_valve_is_told_so(ask, house):
    room = builders.make_meter(house, kind="heat")
    order = {"action": "open", "reason": "已缴费"}
    assert problem(ask("POST", f"/meters/{room.id}/commands", order)) == (422, "no_supply")


def test_a_meters_plan_is_set_and_taken_away(ask, house):
    meter = house.meters[0]
    assert ask("PUT", f"/meters/{meter.id}/plan", {"plan": "hourly"}).status_code == 204
    db.session.refresh(meter)
    assert meter.options == {"plan": "hourly"}
    assert problem(ask("PUT", f"/meters/{meter.id}/plan", {"plan": "yearly"}))[0] == 422
    assert ask("PUT", f"/meters/{meter.id}/plan", {"plan": None}).status_code == 204
    db.session.refresh(meter)
    assert meter.options == {}


def test_odd_readings_are_listed_by_flag_with_what_to_do(ask, house):
    meter = house.meters[0]
    for hours, register in ((3, 5000), (2, 4000)):
        at = NOON - timedelta(hours=hours)
        record([NewReading(meter.id, at, "collector", register=register, frame=b"\x68\x16")])
    db.session.commit()
    answer = ask("GET", "/anomalies?flag=reverse", role="manager")
    assert answer.status_code == 200, answer.text
    (row,) = answer.json["rows"]
    assert (row["flag"], row["meter_id"], row["register"], row["previous"], row["frame"]) == (
        "reverse", meter.id, 4000, 5000, "6816"
    )  # fmt: skip
    assert row["to_do"] and answer.json["counts"] == {"reverse": 1}
    assert ask("GET", "/anomalies?flag=odd").status_code == 422
    assert ask("GET", "/anomalies", role="reader").status_code == 403


def test_a_frozen_day_is_asked_for_within_its_reach_only(ask, house):
    body = {"scope": "building", "ids": [house.id], "what": "day"}
    begun = ask("POST", "/runs", {**body, "frozen_on": "2026-11-19"})
    assert begun.status_code == 201, begun.text
    assert (begun.json["what"], begun.json["frozen_on"]) == ("day", "2026-11-19")
    refused = ask("POST", "/runs", {**body, "frozen_on": "2026-10-20"})
    assert (refused.status_code, refused.json["code"]) == (422, "freeze_out_of_reach")
    assert "2026-10-21 至 2026-11-20" in refused.json["detail"]
    assert ask("POST", "/runs", {**body, "frozen_on": "never"}).status_code == 422


def test_a_plan_may_ask_for_freezes_where_the_meter_keeps_them(ask, house):
    path = f"/meters/{house.meters[0].id}/plan"
    assert ask("PUT", path, {"plan": "monthly", "frozen": True}).status_code == 204
    refused = ask("PUT", path, {"plan": "hourly", "frozen": True})
    assert (refused.status_code, refused.json["code"]) == (422, "no_freeze")
