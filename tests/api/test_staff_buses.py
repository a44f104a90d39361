"""Buses over the API: states, a search from asking to adopting, clocks, refused frames."""

import pytest

from backend.base.db import db
from backend.metering import bus_jobs, bus_states, refused
from backend.metering.bus_states import Heard
from backend.metering.refused import Refusal
from tests import builders
from tests.builders import NOON

BASE = "/api/v1/staff"
NEW = "20010100000101"
FOUND = {
    "protocol": "cjt188",
    "address": NEW,
    "names": [NEW],
    "kind": "heat",
    "maker": "厂商代码 2001",
    "type_zh": "热量表（计热量）",
    "meter_type": 32,
}


@pytest.fixture
def bus(app):
    building = builders.make_building("A")
    bus = builders.make_bus(building, "A-1")
    bus.flat = builders.make_household(building, "101")
    bus.meter = builders.make_meter(building, bus.flat, bus=bus)
    return bus


@pytest.fixture
def operator(app):
    return builders.headers_for(builders.make_staff("op", roles=["operator"]))


def test_buses_come_with_state_cycle_and_success(client, bus, operator):
    bus_states.note([Heard(bus.id, NOON, 0, 9.0, {"silent": 1})])
    db.session.commit()
    body = client.get(f"{BASE}/buses?state=silent", headers=operator).json
    (one,) = body["buses"]
    assert (one["state"], one["state_since"], one["is_stale"]) == (
        "silent",
        "2026-11-20T04:00:00+00:00",
        False,
    )
    assert one["cycle"]["reasons"] == {"silent": 1} and body["states"] == {"silent": 1}
    assert (body["page"], body["has_next"]) == (1, False)
    assert client.get(f"{BASE}/buses?state=idle", headers=operator).json["buses"] == []


def test_a_bus_never_read_has_no_cycle_and_shows_its_meters(client, bus, operator):
    body = client.get(f"{BASE}/buses/{bus.id}", headers=operator).json
    assert body["cycle"] is None and [m["id"] for m in body["meter_rows"]] == [bus.meter.id]
    assert client.get(f"{BASE}/buses/99999", headers=operator).status_code == 404


def test_a_search_is_asked_watched_and_its_find_adopted(client, bus, operator):
    asked = {"protocol": "cjt188", "how": "range", "first": NEW, "last": NEW, "wait_ms": 500}
    answer = client.post(f"{BASE}/buses/{bus.id}/search", json=asked, headers=operator)
    assert (answer.status_code, answer.json["state"]) == (201, "queued")
    job_id = answer.json["id"]
    (held,) = bus_jobs.take([bus.id], NOON)
    assert held.parameters == asked
    bus_jobs.settle(held, {"found": [FOUND], "conflicts": []}, None, NOON)
    db.session.commit()
    body = client.get(f"{BASE}/bus-jobs/{job_id}", headers=operator).json
    assert [(f["address"], f["status"]) for f in body["findings"]] == [(NEW, "new")]
    adoption = {"address": NEW, "kind": "heat", "account_no": "A-101", "first_register": 7}
    path = f"{BASE}/bus-jobs/{job_id}/adopt"
    answer = client.post(path, json=adoption, headers=operator)
    assert answer.status_code == 201
    meter = db.session.get(builders.Meter, answer.json["meter_id"])
    assert (meter.bus_id, meter.address, meter.first_register) == (bus.id, NEW, 7)
    again = client.post(path, json=adoption, headers=operator)
    assert (again.status_code, again.json["code"]) == (409, "address_taken")
    body = client.get(f"{BASE}/bus-jobs?bus_id={bus.id}", headers=operator).json
    assert [j["id"] for j in body["jobs"]] == [job_id]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "protocol"),
        ({"protocol": "cjt188", "how": "primary"}, "how"),
        ({"protocol": "cjt188", "how": "range"}, "first"),
        ({"protocol": "mbus", "how": "secondary", "wait_ms": 1}, "wait_ms"),
    ],
)
def test_a_search_that_makes_no_sense_names_the_field(client, bus, operator, body, field):
    answer = client.post(f"{BASE}/buses/{bus.id}/search", json=body, headers=operator)
    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_clocks_are_asked_for_once_and_can_be_cancelled_once(client, bus, operator):
    path = f"{BASE}/buses/{bus.id}/clock"
    answer = client.post(path, json={"action": "set"}, headers=operator)
    assert answer.json["parameters"] == {"action": "set", "beyond_s": 60}
    again = client.post(path, json={"action": "read"}, headers=operator)
    assert (again.status_code, again.json["code"]) == (409, "job_open")
    cancel = f"{BASE}/bus-jobs/{answer.json['id']}/cancel"
    assert client.post(cancel, headers=operator).json["state"] == "cancelled"
    assert client.post(cancel, headers=operator).json["code"] == "job_ended"


def test_a_pushed_bus_takes_no_jobs(client, operator):
    bus = builders.make_bus(builders.make_building("A"), link="push://ctwing")
    answer = client.post(f"{BASE}/buses/{bus.id}/clock", json={"action": "read"}, headers=operator)
    assert (answer.status_code, answer.json["code"]) == (422, "bus_not_asked")


def test_refused_frames_come_with_hex_explanation_and_counts(client, bus, operator):
    one = Refusal(bus.id, "checksum", "bad", b"\x68\x16", NOON, bus.meter.id, "cjt188")
    refused.keep([one, one], lambda _: [["错误", "checksum", "校验和不符"]])
    db.session.commit()
    body = client.get(f"{BASE}/refused-frames?bus_id={bus.id}", headers=operator).json
    assert [f["hex"] for f in body["frames"]] == ["6816", "6816"]
    assert body["frames"][0]["explained"] == [["错误", "checksum", "校验和不符"]]
    assert body["week"] == [{"code": "checksum", "days": [0, 0, 0, 0, 0, 0, 2], "total": 2}]
    assert body["days"][-1] == "2026-11-20"
    other = client.get(f"{BASE}/refused-frames?code=silent", headers=operator).json
    assert other["frames"] == []


@pytest.mark.parametrize("role", ["reader", "finance"])
def test_other_staff_are_strangers_here(client, bus, role):
    headers = builders.headers_for(builders.make_staff(role, roles=[role]))
    for path in ("buses", f"buses/{bus.id}", "bus-jobs", "refused-frames"):
        assert client.get(f"{BASE}/{path}", headers=headers).status_code == 403
