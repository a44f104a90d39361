"""What may be searched for, findings against the archive, and taking a found meter in."""

from datetime import timedelta

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import bus_jobs, bus_searches, closing, service
from backend.metering.bus_searches import Adoption
from backend.metering.models import Reading
from backend.metering.service import NewReading
from backend.people.models import AuditEvent
from backend.people.service import Principal
from tests import builders
from tests.conftest import NOON

NEW, KNOWN, FAR = "20010100000101", "20010100000102", "20010100000103"


@pytest.fixture
def operator(app):
    return Principal("staff", builders.make_staff("op", ["operator"]).id, frozenset({"operator"}))


@pytest.fixture
def house(app):
    building = builders.make_building("A")
    building.bus = builders.make_bus(building, "A-1")
    building.flat = builders.make_household(building, "101")
    return building


def found(address, protocol="cjt188", names=()):
    return {"protocol": protocol, "address": address, "names": [address, *names], "kind": "heat"}


def searched(bus, operator, *finds, protocol="cjt188", how="wildcard", **more):
    asked = bus_searches.parameters(protocol, how) | more
    job = bus_jobs.ask(bus.id, "search", asked, operator, NOON)
    (held,) = bus_jobs.take([bus.id], NOON)
    bus_jobs.settle(held, {"found": list(finds), "conflicts": []}, None, NOON)
    db.session.commit()
    return bus_jobs.job_of(job.id)


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (("cjt188", "wildcard", {}), {}),
        (("mbus", "primary", {}), {}),
        (("mbus", "primary", {"first": "3"}), {"first": "3", "last": "250"}),
        (("modbus", "scan", {"first": "3", "last": "9"}), {"first": "3", "last": "9"}),
        (
            ("cjt188", "range", {"first": NEW, "last": KNOWN, "meter_type": 16, "wait_ms": 500}),
            {"first": NEW, "last": KNOWN, "meter_type": 16, "wait_ms": 500},
        ),
    ],
)
def test_a_search_that_makes_sense_has_parameters(asked, made):
    protocol, how, more = asked
    expected = {"protocol": protocol, "how": how, **made}
    assert bus_searches.parameters(protocol, how, **more) == expected


@pytest.mark.parametrize(
    ("protocol", "how", "more", "field"),
    [
        ("smoke", "wildcard", {}, "how"),
        ("cjt188", "primary", {}, "how"),
        ("cjt188", "range", {}, "first"),
        ("cjt188", "range", {"first": "12", "last": "13"}, "first"),
        ("cjt188", "range", {"first": "9" * 14, "last": "0" * 14}, "last"),
        ("cjt188", "range", {"first": "0" * 14, "last": f"{2000:014d}"}, "last"),
        ("cjt188", "range", {"first": NEW, "last": NEW, "meter_type": 256}, "meter_type"),
        ("mbus", "primary", {"last": "251"}, "last"),
        ("modbus", "scan", {"first": "²", "last": "9"}, "first"),
        ("modbus", "scan", {"wait_ms": 49}, "wait_ms"),
        ("modbus", "scan", {"wait_ms": 10_001}, "wait_ms"),
    ],
)
def test_a_search_that_makes_none_names_the_field(protocol, how, more, field):
    with pytest.raises(Problem) as refused:
        bus_searches.parameters(protocol, how, **more)
    assert (refused.value.code, refused.value.field) == ("validation", field)


def test_findings_say_what_is_known_here_known_elsewhere_new_and_missing(house, operator, queries):
    here = builders.make_meter(house, house.flat, bus=house.bus, address=KNOWN)
    builders.make_meter(builders.make_building("B"), address=FAR)
    lost = builders.make_meter(house, bus=house.bus, address="111122", protocol="dlt645_2007")
    gone = builders.make_meter(house, bus=house.bus, address=NEW)
    gone.removed_on = NOON.date()
    job = searched(house.bus, operator, found(NEW), found(KNOWN), found(FAR))
    queries.clear()
    result = bus_searches.findings(job)
    assert [f.status for f in result.found] == ["new", "here", "elsewhere"]
    assert result.found[1].meter_id == here.id and len(queries) == 1
    assert result.missing == []  # a wildcard does not hear those that take none
    job = searched(house.bus, operator, protocol="dlt645_2007")
    assert [m.id for m in bus_searches.findings(job).missing] == [lost.id]


def test_an_mbus_meter_is_known_by_any_of_its_addresses_but_a_primary_only_on_its_bus(
    house, operator
):
    other = builders.make_building("B")
    builders.make_meter(other, address="3", protocol="mbus")
    one = found("2412000136EA0104", "mbus", ["24120001", "3"])
    args = {"protocol": "mbus", "how": "secondary"}
    job = searched(house.bus, operator, one, **args)
    assert bus_searches.findings(job).found[0].status == "new"
    builders.make_meter(house, bus=house.bus, address="3", protocol="mbus")
    assert bus_searches.findings(job).found[0].status == "here"
    assert bus_searches.findings(job).missing == []


def test_a_part_of_the_addresses_tells_of_nobody_that_he_is_missing(house, operator):
    builders.make_meter(house, bus=house.bus, address="9", protocol="mbus")
    args = {"protocol": "mbus", "how": "primary"}
    job = searched(house.bus, operator, **args, first="1", last="5")
    assert bus_searches.findings(job).missing == []
    job = searched(house.bus, operator, **args)
    assert len(bus_searches.findings(job).missing) == 1


def adopt(job, operator, address=NEW, kind="heat", account_no="A-101", first_register=5_000_000):
    new = Adoption(address, kind, account_no, first_register)
    meter = bus_searches.adopt(job.id, new, operator, NOON)
    db.session.commit()
    return meter


def test_a_new_meter_is_taken_in_on_its_bus_with_the_register_it_shows(house, operator):
    job = searched(house.bus, operator, found(NEW))
    meter = adopt(job, operator)
    assert (meter.bus_id, meter.household_id, meter.scope) == (
        house.bus.id,
        house.flat.id,
        "household",
    )
    assert (meter.protocol, meter.address, meter.first_register) == ("cjt188", NEW, 5_000_000)
    first = db.session.query(Reading).one()
    assert (first.meter_id, first.read_at, first.register) == (meter.id, NOON, 5_000_000)
    event = db.session.query(AuditEvent).filter_by(action="meter.adopted").one()
    assert event.detail["job"] == job.id
    assert bus_searches.findings(job).found[0].status == "here"


def test_a_meter_is_asked_with_the_type_it_has_told(house, operator):
    hot_water = {**found(NEW), "meter_type": 0x11}
    meter = adopt(searched(house.bus, operator, hot_water), operator, kind="water")
    assert meter.options["meter_type"] == 0x11


def test_nothing_of_what_an_adopted_meter_had_counted_before_is_used(house, operator):
    meter = adopt(searched(house.bus, operator, found(NEW)), operator)
    midnight = NOON + timedelta(hours=12)
    service.record([NewReading(meter.id, midnight, "collector", register=5_000_700)])
    (span,) = closing.spans([meter], NOON - timedelta(hours=12), midnight)
    assert span.usage == 700


def test_a_room_sensor_has_no_register_and_a_building_meter_no_household(house, operator):
    job = searched(house.bus, operator, found(NEW), found(FAR))
    room = adopt(job, operator, kind="room", first_register=None)
    total = adopt(job, operator, FAR, account_no=None)
    assert (room.first_register, room.scope, total.scope) == (0, "household", "building")
    assert db.session.query(Reading).count() == 1


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"address": FAR}, "not_found", None),
        ({"kind": "smoke"}, "validation", "kind"),
        ({"first_register": None}, "validation", "first_register"),
        ({"first_register": -1}, "register_impossible", "first_register"),
        ({"account_no": "B-101"}, "household_unknown", "account_no"),
    ],
)
def test_what_cannot_be_taken_in_is_refused_and_leaves_nothing(
    house, operator, changes, code, field
):
    builders.make_household(builders.make_building("B"), "101")
    job = searched(house.bus, operator, found(NEW))
    with pytest.raises(Problem) as refused:
        adopt(job, operator, **changes)
    assert (refused.value.code, refused.value.field) == (code, field)
    db.session.rollback()
    assert house.bus.id not in [m.bus_id for m in db.session.query(builders.Meter)]


def test_a_meter_is_taken_in_once(house, operator):
    job = searched(house.bus, operator, found(NEW))
    adopt(job, operator)
    with pytest.raises(Problem, match="address_taken"):
        adopt(job, operator)


def test_of_two_who_take_a_meter_in_this_instant_one_does(house, operator, monkeypatch):
    job = searched(house.bus, operator, found(NEW))
    unseen = bus_searches.findings(job)
    adopt(job, operator)
    monkeypatch.setattr(bus_searches, "findings", lambda _job: unseen)
    with pytest.raises(Problem, match="address_taken"):
        adopt(job, operator)
