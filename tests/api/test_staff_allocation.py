"""Rules, settlements and calibrations over the API."""

import pytest

from tests import builders
from tests.allocation import stored
from tests.allocation.stored import FIRST, LAST
from tests.api.conftest import problem


@pytest.fixture
def ask(client):
    """Send a request as somebody of a role."""
    known = {}

    def send(method, path, body=None, role="manager"):
        if role not in known:
            known[role] = builders.headers_for(builders.make_staff(role, [role]))
        return client.open(f"/api/v1/staff{path}", method=method, json=body, headers=known[role])

    return send


def test_a_rule_is_set_listed_ended_and_followed_by_another(app, ask):
    building = builders.make_building()
    path = f"/buildings/{building.id}/allocation-rules"
    rule = {
        "method": "temperature_area",
        "effective_from": "2026-10-20",
        "options": {"base": 10, "rules": {"missing_rule": "neighbours_mean"}},
    }
    made = ask("POST", path, rule)
    assert made.status_code == 201
    assert problem(ask("POST", path, {**rule, "effective_from": "2027-01-01"})) == (
        409,
        "rule_overlap",
    )
    ended = ask("POST", f"/allocation-rules/{made.json['id']}/end", {"day": "2027-01-01"})
    assert ended.json["effective_to"] == "2027-01-01"
    next_one = {"method": "area", "effective_from": "2027-01-01", "effective_to": "2027-04-20"}
    assert ask("POST", path, next_one).status_code == 201
    methods = [row["method"] for row in ask("GET", path).json["rules"]]
    assert methods == ["temperature_area", "area"]


def test_a_rule_with_an_unknown_option_names_the_field(app, ask):
    building = builders.make_building()
    answer = ask(
        "POST",
        f"/buildings/{building.id}/allocation-rules",
        {"method": "area", "effective_from": "2026-10-20", "options": {"rules": []}},
    )
    assert (answer.json["code"], answer.json["field"]) == ("rule_invalid", "rules")


def test_a_building_nobody_knows_has_no_rules(app, ask):
    assert problem(ask("GET", "/buildings/77/allocation-rules")) == (404, "not_found")


def test_a_settlement_is_started_stopped_and_taken_up(app, ask):
    stored.house("area")
    period = {"period_from": str(FIRST), "period_to": str(LAST)}
    made = ask("POST", "/settlements", period)
    assert (made.status_code, made.json["progress"]["waiting"]) == (201, 1)
    path = f"/settlements/{made.json['id']}"
    assert ask("POST", f"{path}/cancel").json["state"] == "cancelled"
    assert ask("POST", f"{path}/resume").json["progress"]["waiting"] == 1
    assert ask("GET", path, role="finance").json["state"] == "running"


def test_a_season_to_come_is_refused(app, ask):
    stored.house("area")
    answer = ask("POST", "/settlements", {"period_from": str(FIRST), "period_to": "2027-04-20"})
    assert (problem(answer), answer.json["field"]) == ((409, "period_not_over"), "period_to")


def test_a_calibration_is_asked_for_seen_and_decided(app, ask):
    home = builders.make_household(builders.make_building())
    window = {"window_from": "2026-10-21", "window_to": "2026-11-20"}
    asked = ask("POST", "/calibrations", {"building_id": home.building_id, **window}, "operator")
    assert asked.json["state"] == "refused"
    assert "室温" in asked.json["report"]["refused"][0]["text"]
    waiting = builders.make_calibration(home, builders.make_staff("second", ["operator"]))
    path = f"/calibrations/{waiting.id}"
    approved = ask("POST", f"{path}/approve", {"effective_from": "2026-11-20"})
    assert approved.json["state"] == "approved"
    assert problem(ask("POST", f"{path}/reject")) == (409, "calibration_decided")
