"""Rules hold for a time; what overlaps, leaves a gap or changes within a period is refused."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.allocation import ruling, service
from backend.allocation.models import AllocationRule
from backend.base.db import db
from backend.base.errors import Problem
from backend.people.models import AuditEvent
from backend.people.service import Principal
from tests import builders
from tests.allocation import stored
from tests.allocation.stored import FIRST, LAST
from tests.builders import NOON

OCTOBER, NEW_YEAR = date(2026, 10, 20), date(2027, 1, 1)


@pytest.fixture
def manager(app):
    return Principal("staff", builders.make_staff("boss", ["manager"]).id)


@pytest.fixture
def building(app):
    return builders.make_building("R")


def version(building, manager, begin, end=None, method="area", **options):
    return ruling.set_rule(building.id, begin, end, method, options, manager, NOON)


def code_of(work):
    with pytest.raises(Problem) as refused:
        work()
    db.session.rollback()
    return refused.value


def test_versions_follow_one_another_and_each_holds_for_its_days(building, manager):
    version(building, manager, OCTOBER, NEW_YEAR)
    version(building, manager, NEW_YEAR, method="heat_meter")
    assert ruling.rule_of(building.id, NEW_YEAR - timedelta(days=1)).method == "area"
    assert ruling.rule_of(building.id, NEW_YEAR).method == "heat_meter"
    assert ruling.rule_of(building.id, OCTOBER - timedelta(days=1)) is None


def test_a_version_that_overlaps_is_refused_with_what_to_do(building, manager):
    version(building, manager, OCTOBER)
    db.session.commit()
    refused = code_of(lambda: version(building, manager, NEW_YEAR))
    assert refused.code == "rule_overlap"
    assert "2026-10-20" in refused.detail
    assert "先结束" in refused.detail


def test_the_database_itself_refuses_an_overlap(building):
    for begin in (OCTOBER, NEW_YEAR):
        db.session.add(
            AllocationRule(building_id=building.id, effective_from=begin, method="area", options={})
        )
    with pytest.raises(IntegrityError, match="ex_allocation_rule_overlap"):
        db.session.commit()
    db.session.rollback()


def test_another_buildings_rule_is_no_overlap(building, manager):
    version(building, manager, OCTOBER)
    version(builders.make_building("S"), manager, OCTOBER)


def test_a_gap_names_its_days(building, manager):
    version(building, manager, OCTOBER, date(2026, 11, 1))
    version(building, manager, date(2026, 11, 5))
    refused = code_of(lambda: ruling.rule_over(building.id, OCTOBER, NEW_YEAR))
    assert refused.code == "rule_gap"
    assert "2026-11-01 至 2026-11-04" in refused.detail


def test_a_period_longer_than_its_rule_is_a_gap_at_the_end(building, manager):
    version(building, manager, OCTOBER, date(2026, 11, 1))
    refused = code_of(lambda: ruling.rule_over(building.id, OCTOBER, NEW_YEAR))
    assert "2026-11-01 至 2026-12-31" in refused.detail


def test_a_change_within_the_period_names_the_day(building, manager):
    version(building, manager, OCTOBER, NEW_YEAR)
    version(building, manager, NEW_YEAR, method="heat_meter")
    refused = code_of(lambda: ruling.rule_over(building.id, OCTOBER, date(2027, 2, 1)))
    assert refused.code == "rule_changes"
    assert "2027-01-01" in refused.detail


def test_no_rule_at_all_is_said(building):
    assert code_of(lambda: ruling.rule_over(building.id, OCTOBER, NEW_YEAR)).code == "rule_missing"


def test_an_ended_version_makes_room_for_the_next_and_both_are_audited(building, manager):
    old = version(building, manager, OCTOBER)
    ruling.end_rule(old.id, NEW_YEAR, manager, NOON)
    version(building, manager, NEW_YEAR, method="heat_meter")
    db.session.commit()
    said = db.session.scalars(sa.select(AuditEvent.action).order_by(AuditEvent.id)).all()
    assert said == ["allocation.rule_set", "allocation.rule_ended", "allocation.rule_set"]


def test_what_has_been_billed_is_not_ruled_anew(app, manager):
    building, _flats = stored.house("area")
    service.lock(service.allocate(building.id, FIRST, LAST, "billing", NOON), NOON)
    rule = ruling.rule_of(building.id, FIRST)
    db.session.commit()
    inside = FIRST + timedelta(days=1)
    assert code_of(lambda: ruling.end_rule(rule.id, inside, manager, NOON)).code == "run_locked"
    assert ruling.end_rule(rule.id, LAST, manager, NOON).effective_to == LAST


@pytest.mark.parametrize(
    ("method", "options", "field"),
    [
        ("magic", {}, "method"),
        ("area", {"colour": "red"}, "options"),
        ("temperature_area", {"base": "warm"}, "base"),
        ("temperature_area", {"source": "guess"}, "source"),
        ("area", {"rules": {"gap_rule": "ignore"}}, "rules"),
        ("area", {"rules": {"min_coverage": "2"}}, "rules"),
        ("area", {"rules": {"min_coverage": "half"}}, "rules"),
        ("area", {"rules": {"common": "fixed_fraction"}}, "rules"),
        ("area", {"rules": {"neighbours": []}}, "rules"),
    ],
)
def test_a_method_or_option_nobody_knows_is_refused_by_field(
    building, manager, method, options, field
):
    refused = code_of(
        lambda: ruling.set_rule(building.id, OCTOBER, None, method, options, manager, NOON)
    )
    assert (refused.code, refused.field) == ("rule_invalid", field)


def test_rules_come_back_exactly_as_they_were_kept():
    options = {
        "gap_rule": "zero",
        "min_coverage": "1/3",
        "missing_rule": "neighbours_mean",
        "missing_limit": "0.2",
        "neighbours": {"7": [8, 9]},
        "last_shares": {"7": "0.125"},
        "common": "fixed_fraction",
        "common_fraction": "0.3",
    }
    rules = ruling.rules_of({"rules": options})
    assert ruling.rules_of({"rules": ruling.rules_json(rules)}) == rules
    assert rules.neighbours == {7: [8, 9]}
