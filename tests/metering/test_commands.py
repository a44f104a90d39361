"""Orders to valves: who may let them go, and that none is carried out twice or never ended."""

from datetime import timedelta

import pytest

from backend.archive.models import Bus
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import commands
from backend.metering.models import MeterCommand
from backend.people.models import AuditEvent
from backend.people.service import Principal
from tests import builders
from tests.conftest import NOON

SETTLED = NOON + commands.SETTLE


def staff(login):
    return Principal("staff", builders.make_staff(login, ["operator"]).id, frozenset({"operator"}))


@pytest.fixture
def asker(app):
    return staff("asker")


@pytest.fixture
def other(app):
    return staff("other")


@pytest.fixture
def gas(app):
    building = builders.make_building()
    return builders.make_meter(building, builders.make_household(building), kind="gas")


@pytest.fixture
def approved(gas, asker, other):
    """A valve to be closed, let go by a second person."""
    command = commands.ask(gas.id, "close", "欠费停气", asker, NOON)
    commands.approve(command.id, other, NOON)
    db.session.commit()
    return command


def take(gas, now=NOON):
    orders = commands.take([gas.bus_id], now)
    db.session.commit()
    return orders


def taken(gas, now=NOON):
    (order,) = take(gas, now)
    return order


def state(command):
    db.session.commit()
    return commands.command_of(command.id).state


def steps():
    rows = db.session.query(AuditEvent).order_by(AuditEvent.id)
    return [(e.action, e.actor_id) for e in rows if e.action.startswith("command.")]


def test_closing_waits_for_a_second_person_and_opening_does_not(gas, asker):
    command = commands.ask(gas.id, "close", "欠费停气", asker, NOON)
    assert (state(command), take(gas)) == ("queued", [])
    commands.withdraw(command.id, asker, NOON)
    assert state(commands.ask(gas.id, "open", "已缴费", asker, NOON)) == "approved"
    assert taken(gas).is_open


def test_nobody_approves_what_he_has_asked_for_himself(gas, asker):
    command = commands.ask(gas.id, "close", "欠费停气", asker, NOON)
    with pytest.raises(Problem, match="second_person"):
        commands.approve(command.id, asker, NOON)
    assert (state(command), take(gas)) == ("queued", [])


def test_the_database_itself_refuses_one_person_in_both_parts(gas, asker):
    command = commands.ask(gas.id, "close", "欠费停气", asker, NOON)
    with pytest.raises(Exception, match="ck_meter_command_second_person"):
        db.session.execute(
            db.update(MeterCommand)
            .where(MeterCommand.id == command.id)
            .values(approved_by=asker.id, state="approved")
        )


def test_a_meter_has_one_open_order_at_a_time(gas, asker, approved):
    with pytest.raises(Problem, match="command_open"):
        commands.ask(gas.id, "open", "又缴费了", asker, NOON)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "mbus"},
        {"kind": "room"},
        {"kind": "heat"},
        {"options": {"valve": False}},
        {"scope": "building", "household_id": None},
    ],
)
def test_what_has_no_valve_or_relay_is_not_ordered(gas, asker, change):
    for name, value in change.items():
        setattr(gas, name, value)
    db.session.commit()
    with pytest.raises(Problem, match="no_supply"):
        commands.ask(gas.id, "open", "已缴费", asker, NOON)


@pytest.mark.parametrize(
    ("protocol", "kind", "options", "supply"),
    [
        ("cjt188", "water", {}, "valve"),
        ("cjt188", "electricity", {}, "relay"),
        ("dlt645_2007", "electricity", {}, "relay"),
        ("dlt645_2007", "electricity", {"relay": False}, None),
        ("dlt645_1997", "electricity", {}, None),
        ("dlt645_2007", "water", {}, None),
        ("modbus", "electricity", {"relay": True}, None),
    ],
)
def test_what_can_be_ordered_is_by_protocol_kind_and_options(gas, protocol, kind, options, supply):
    gas.protocol, gas.kind, gas.options = protocol, kind, options
    assert commands.supply_of(gas) == supply


def test_a_relay_takes_two_persons_to_trip_and_one_to_close(gas, asker, other):
    gas.protocol, gas.kind = "dlt645_2007", "electricity"
    command = commands.ask(gas.id, "close", "欠费停电", asker, NOON)
    assert (command.supply, state(command), take(gas)) == ("relay", "queued", [])
    commands.approve(command.id, other, NOON)
    assert not taken(gas).is_open
    commands.seen(taken(gas, NOON + commands.LEASE), False, 1, NOON + commands.LEASE)
    assert state(command) == "done"
    assert state(commands.ask(gas.id, "open", "已缴费", asker, NOON)) == "approved"


def test_a_meter_whose_platform_pushes_is_never_ordered(gas, asker):
    db.session.get(Bus, gas.bus_id).link = "push://ctwing"
    db.session.commit()
    with pytest.raises(Problem, match="no_supply"):
        commands.ask(gas.id, "open", "已缴费", asker, NOON)


def test_a_heat_meter_said_to_have_a_valve_is_ordered(gas, asker):
    gas.kind, gas.options = "heat", {"valve": True}
    db.session.commit()
    assert state(commands.ask(gas.id, "open", "已缴费", asker, NOON)) == "approved"


def test_a_meter_that_is_gone_is_not_ordered(gas, asker):
    gas.removed_on = NOON.date()
    db.session.commit()
    with pytest.raises(Problem, match="not_found"):
        commands.ask(gas.id, "open", "已缴费", asker, NOON)


def test_it_is_done_only_once_the_valve_has_been_seen(gas, approved, asker, other):
    order = taken(gas)
    assert order.is_new and not order.is_open and state(approved) == "sent"
    assert commands.acknowledged(order, NOON)
    assert state(approved) == "acknowledged"
    assert commands.seen(order, True, 1, NOON) == "acknowledged"  # it still stands open
    again = taken(gas, NOON + commands.VERIFY_EVERY)
    assert not again.is_new
    assert commands.seen(again, False, 2, NOON + commands.VERIFY_EVERY) == "done"
    db.session.commit()
    done = commands.command_of(approved.id)
    assert (done.reading_id, done.sends) == (2, 1)
    assert steps() == [
        ("command.asked", asker.id),
        ("command.approved", other.id),
        ("command.done", None),
    ]


def test_a_collector_dying_after_the_order_went_out_leads_to_a_look_and_not_to_a_second(
    gas, approved
):
    dead = taken(gas)
    assert take(gas, NOON + commands.LEASE - timedelta(seconds=1)) == []
    heir = taken(gas, NOON + commands.LEASE)
    assert not heir.is_new
    assert commands.seen(heir, False, 5, NOON + commands.LEASE) == "done"
    assert not commands.acknowledged(dead, NOON + commands.LEASE)  # the dead one comes back
    assert state(approved) == "done"


def test_an_order_that_never_arrived_goes_out_again_after_a_look(gas, approved):
    order = taken(gas)
    assert commands.seen(order, True, 1, NOON) == "sent"  # too early to say
    later = taken(gas, SETTLED)
    assert commands.seen(later, True, 2, SETTLED) == "approved"
    second = taken(gas, SETTLED)
    assert second.is_new and commands.command_of(approved.id).sends == 2


def test_it_goes_out_no_more_than_so_often_and_then_has_failed(gas, approved):
    now, sent = NOON, 0
    for _ in range(200):
        for order in take(gas, now):
            sent += order.is_new
            commands.seen(order, True, None, now)
            db.session.commit()
        now += timedelta(seconds=5)
    assert sent == commands.MAX_SENDS
    ended = commands.command_of(approved.id)
    assert (ended.state, ended.error) == ("failed", "not_moved")


def test_an_acknowledged_order_is_never_sent_again(gas, approved):
    order = taken(gas)
    commands.acknowledged(order, NOON)
    assert commands.seen(order, True, 1, SETTLED) == "acknowledged"
    assert not taken(gas, SETTLED + commands.VERIFY_EVERY).is_new


def test_a_valve_that_cannot_be_seen_is_failed_in_the_end_and_not_sent_again(gas, approved):
    order = taken(gas)
    assert commands.seen(order, None, None, SETTLED) == "sent"
    over = NOON + commands.VERIFY_FOR
    assert commands.seen(taken(gas, over), None, None, over) == "failed"
    assert commands.command_of(approved.id).error == "no_answer"


def test_a_meter_that_says_no_ends_it(gas, approved):
    order = taken(gas)
    assert commands.refused(order, "refused", NOON)
    assert state(approved) == "failed" and steps()[-1] == ("command.failed", None)


@pytest.mark.parametrize("is_approved", [True, False])
def test_what_was_not_sent_in_time_is_never_sent(gas, asker, other, is_approved):
    command = commands.ask(gas.id, "close", "欠费停气", asker, NOON)
    if is_approved:
        commands.approve(command.id, other, NOON)
    late = NOON + commands.EXPIRES_AFTER
    assert take(gas, late) == []
    with pytest.raises(Problem, match="command_moved_on"):
        commands.approve(command.id, other, late)
    assert commands.sweep(late) == 1
    assert state(command) == "expired" and steps()[-1] == ("command.expired", None)


def test_an_order_nobody_could_verify_does_not_stay_open_for_ever(gas, approved):
    taken(gas)
    assert commands.sweep(NOON + commands.VERIFY_FOR) == 0
    assert commands.sweep(NOON + commands.VERIFY_FOR + commands.LEASE) == 1
    assert state(approved) == "failed"
    assert commands.command_of(approved.id).error == "not_verified"


def test_an_order_on_its_way_cannot_be_withdrawn(gas, approved, asker):
    taken(gas)
    with pytest.raises(Problem, match="command_moved_on"):
        commands.withdraw(approved.id, asker, NOON)
    assert state(approved) == "sent"


def test_a_withdrawn_order_is_never_sent_and_frees_the_meter(gas, approved, asker):
    commands.withdraw(approved.id, asker, NOON)
    assert take(gas) == []
    assert state(commands.ask(gas.id, "close", "再次申请", asker, NOON)) == "queued"
