"""Who may look after a household."""

import threading

import pytest

from backend.archive import owner, service
from backend.archive.models import Binding, Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.people.models import AuditEvent
from tests import builders
from tests.builders import NOON


@pytest.fixture
def flat(app):
    return builders.make_household(builders.make_building())


@pytest.fixture
def alice(app):
    return builders.make_resident("alice")


def bind(resident, account_no="A-101", name="张三", last4="1234"):
    found = service.bind(resident.id, account_no, name, last4, NOON)
    db.session.commit()
    return found


def test_the_right_proof_binds_and_is_written_down(flat, alice):
    assert bind(alice).id == flat.id
    assert [h.id for h in service.households_of(alice.id)] == [flat.id]
    event = db.session.scalars(db.select(AuditEvent)).one()
    assert (event.action, event.actor_id, event.subject_id) == (
        "household.bound",
        alice.id,
        str(flat.id),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"account_no": "A-999"},
        {"name": "李四"},
        {"last4": "0000"},
        {"name": "张"},
        {"name": "张三丰"},
        {"last4": "1380"},
    ],
)
def test_whatever_is_wrong_the_refusal_is_the_same(flat, alice, wrong):
    with pytest.raises(Problem) as refusal:
        bind(alice, **wrong)
    assert (refusal.value.code, refusal.value.field) == ("bind_mismatch", None)
    assert not service.households_of(alice.id)


def test_blanks_around_what_was_typed_do_no_harm(flat, alice):
    assert bind(alice, account_no=" A-101 ", name="张三 ").id == flat.id


def test_a_household_is_bound_once_by_one_and_also_by_another(flat, alice):
    bind(alice)
    with pytest.raises(Problem, match="already_bound"):
        bind(alice)
    db.session.rollback()
    bind(builders.make_resident("bob"))


def test_ten_households_are_the_most(alice):
    building = builders.make_building()
    for n in range(11):
        builders.make_household(building, unit_no=str(101 + n))
    for n in range(10):
        bind(alice, account_no=f"A-{101 + n}")
    with pytest.raises(Problem, match="too_many_households"):
        bind(alice, account_no="A-111")


def test_two_bindings_at_once_do_not_pass_the_limit_together(app, alice):
    building = builders.make_building()
    for n in range(12):
        builders.make_household(building, unit_no=str(101 + n))
    for n in range(9):
        bind(alice, account_no=f"A-{101 + n}")
    barrier, codes = threading.Barrier(3), []

    def attempt(number):
        with app.app_context():
            barrier.wait(10)
            try:
                bind(alice, account_no=f"A-{number}")
                codes.append("bound")
            except Problem as problem:
                codes.append(problem.code)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=attempt, args=(n,)) for n in (110, 111, 112)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(codes) == ["bound", "too_many_households", "too_many_households"]


def test_a_stranger_is_told_nothing(flat, alice):
    bind(alice)
    charlie = builders.make_resident("charlie")
    for number in (flat.id, flat.id + 1):
        with pytest.raises(Problem, match="not_found"):
            service.household_for(charlie.id, number)
    with pytest.raises(Problem, match="not_found"):
        service.unbind(charlie.id, flat.id, NOON)


def test_unbinding_ends_it_and_keeps_the_history(flat, alice):
    bind(alice)
    service.unbind(alice.id, flat.id, NOON)
    db.session.commit()
    with pytest.raises(Problem, match="not_found"):
        service.household_for(alice.id, flat.id)
    assert db.session.scalars(db.select(Binding)).one().ended_at == NOON
    bind(alice)
    assert len(service.households_of(alice.id)) == 1


def test_the_owner_is_sealed_at_rest(flat):
    db.session.expire_all()
    row = db.session.get(Household, flat.id)
    assert "张三".encode() not in bytes(row.owner_name_sealed)
    assert (owner.name_of(row), owner.phone_of(row)) == ("张三", "13800001234")


def test_a_resident_with_many_households_costs_one_statement(alice, queries):
    building = builders.make_building()
    for n in range(5):
        builders.bind(alice, builders.make_household(building, unit_no=str(101 + n)))
    resident_id = alice.id
    db.session.expire_all()
    queries.clear()
    addresses = [service.address(h) for h in service.households_of(resident_id)]
    assert addresses[0] == "学府路暖阳小区 A号楼 101"
    assert len(queries) == 1
