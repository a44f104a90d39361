"""Signing in, staying signed in, and what is written down about it."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.people import rules, service
from backend.people.models import AccessToken, AuditEvent, Resident
from tests import builders
from tests.builders import NOON


def refused(code):
    return pytest.raises(Problem, match=code)


def test_a_token_tells_whose_it_is(app):
    alice, staff = builders.make_resident(), builders.make_staff(roles=["reader", "finance"])
    assert service.principal_of(builders.token_for(alice), NOON) == service.Principal(
        "resident", alice.id
    )
    found = service.principal_of(builders.token_for(staff), NOON)
    assert found == service.Principal("staff", staff.id, frozenset({"reader", "finance"}))


def test_only_a_digest_of_a_token_is_kept(app):
    token = builders.token_for(builders.make_resident())
    kept = db.session.scalars(db.select(AccessToken)).one()
    assert bytes(kept.token_hash) == rules.token_hash(token)
    assert token.encode() not in bytes(kept.token_hash)


def test_a_token_nobody_was_given_is_nobodys(app):
    assert service.principal_of("x" * 43, NOON) is None
    assert service.principal_of("x" * 100_000, NOON) is None
    assert service.principal_of("не\udcff", NOON) is None


def test_a_token_ends_after_its_days(app):
    token = builders.token_for(builders.make_resident())
    assert service.principal_of(token, NOON + timedelta(days=29, hours=23))
    with refused("session_expired"):
        service.principal_of(token, NOON + timedelta(days=30))


def test_signing_out_ends_one_token_and_not_the_other(app):
    alice = builders.make_resident()
    phone, tablet = builders.token_for(alice), builders.token_for(alice)
    service.sign_out(phone, NOON)
    service.sign_out(phone, NOON)
    assert service.principal_of(phone, NOON) is None
    assert service.principal_of(tablet, NOON)


def test_staff_who_left_are_nobody(app):
    staff = builders.make_staff()
    token = builders.token_for(staff)
    staff.active = False
    db.session.commit()
    assert service.principal_of(token, NOON) is None
    with refused("sign_in_failed"):
        service.check_password("reader", "correct horse", NOON)


@pytest.mark.parametrize(
    ("login", "password"),
    [("reader", "wrong"), ("nobody", "correct horse"), ("reader\0", "correct horse"), ("", "")],
)
def test_whatever_is_wrong_the_refusal_is_the_same(app, login, password):
    builders.make_staff()
    with refused("sign_in_failed"):
        service.sign_in_staff(login, password, NOON)


def test_five_wrong_passwords_lock_the_account_for_a_quarter_of_an_hour(app):
    builders.make_staff()
    for _ in range(5):
        with refused("sign_in_failed"):
            service.check_password("reader", "wrong", NOON)
        db.session.rollback()  # as the error handler does: the count outlives it
    with refused("account_locked"):
        service.check_password("reader", "correct horse", NOON)
    with refused("account_locked"):
        service.check_password("reader", "correct horse", NOON + timedelta(minutes=14))
    assert service.check_password("reader", "correct horse", NOON + timedelta(minutes=15))


def test_a_right_password_forgets_the_wrong_ones(app):
    builders.make_staff()
    for password in ["wrong"] * 4 + ["correct horse"] + ["wrong"] * 4:
        try:
            service.check_password("reader", password, NOON)
            db.session.commit()
        except Problem:
            db.session.rollback()
    assert service.check_password("reader", "correct horse", NOON)


def test_a_lock_is_written_down(app):
    staff = builders.make_staff()
    for _ in range(5):
        with refused("sign_in_failed"):
            service.check_password("reader", "wrong", NOON)
    event = db.session.scalars(db.select(AuditEvent)).one()
    assert (event.action, event.subject_id, event.actor_kind) == (
        "staff.locked",
        str(staff.id),
        "system",
    )


def test_a_resident_is_made_once_however_often_they_come(app):
    first = service.resident_of("openid-a", None, NOON)
    assert service.resident_of("openid-a", "union", NOON).id == first.id
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Resident)) == 1


def test_the_audit_trail_cannot_be_rewritten(app):
    service.audit("day.closed", "finance_day", "2026-11-19", None, reason="为什么")
    db.session.commit()
    event = db.session.scalars(db.select(AuditEvent)).one()
    assert (event.at, event.detail) == (NOON, {"reason": "为什么"})
    event.action = "nothing"
    with pytest.raises(sa.exc.IntegrityError, match="append-only"):
        db.session.commit()
    db.session.rollback()


def test_the_role_shown_first_is_the_errand_done_most():
    assert rules.shown_role(["manager", "reader"]) == "reader"
    assert rules.shown_role(["manager", "finance"]) == "finance"
    assert rules.shown_role([]) is None
