"""Who is asking: sign-in of residents and staff, their tokens, and the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert
from werkzeug.security import check_password_hash, generate_password_hash

from backend.base import logs
from backend.base.db import db
from backend.base.errors import Problem
from backend.people import rules
from backend.people.models import AccessToken, AuditEvent, Resident, Staff
from backend.people.wechat_sign_in import session_of

# Compared against where the login is unknown, so that the answer takes as long as a real one.
_NOBODY = generate_password_hash("nobody has this password")


@dataclass(frozen=True)
class Principal:
    """Who a request comes from: kind is "resident" or "staff"; residents have no roles."""

    kind: str
    id: int
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class IssuedToken:
    """A new bearer token; the text is shown once and never kept."""

    text: str
    expires_at: datetime


def token_of_resident(resident_id: int, now: datetime) -> IssuedToken:
    """A new token of a resident."""
    return _issue(now, resident_id=resident_id)


def token_of_staff(staff_id: int, now: datetime) -> IssuedToken:
    """A new token of a member of staff."""
    return _issue(now, staff_id=staff_id)


def _issue(now: datetime, **owner: int) -> IssuedToken:
    text = rules.new_token()
    expires_at = now + timedelta(days=current_app.extensions["nuan_settings"].token_days)
    db.session.add(
        AccessToken(
            token_hash=rules.token_hash(text), created_at=now, expires_at=expires_at, **owner
        )
    )
    db.session.flush()
    return IssuedToken(text, expires_at)


def resident_of(openid: str, unionid: str | None, now: datetime) -> Resident:
    """The resident of an openid, made on the first visit; safe when two requests race.

    A unionid is kept as soon as WeChat tells one: it may come only after the first visit.
    """
    values = {"openid": openid, "unionid": unionid, "created_at": now}
    made = insert(Resident).values(values)
    told = made.excluded.unionid
    news = told.is_not(None) & Resident.unionid.is_distinct_from(told)
    db.session.execute(
        made.on_conflict_do_update(index_elements=["openid"], set_={"unionid": told}, where=news)
    )
    found: Resident = db.session.scalars(db.select(Resident).filter_by(openid=openid)).one()
    return found


def sign_in_wechat(code: str, via: str, now: datetime) -> tuple[IssuedToken, Resident]:
    """A token for whoever WeChat says the code belongs to; `via` as wechat_sign_in.VIA.

    Problem wechat_code_invalid or wechat_unavailable.
    """
    found = session_of(code, via)
    resident = resident_of(found["openid"], found.get("unionid"), now)
    return token_of_resident(resident.id, now), resident


def check_password(login: str, password: str, now: datetime) -> Staff:
    """The member of staff whose password this is.

    Problem sign_in_failed (same for an unknown login, a wrong password and a closed account) or
    account_locked.  The count of failures is committed here: it must outlive the refusal.
    """
    if "\0" in login:  # which PostgreSQL cannot even be asked for
        raise Problem("sign_in_failed")
    staff: Staff | None = db.session.scalars(
        db.select(Staff).filter_by(login=login).with_for_update()
    ).one_or_none()
    right = check_password_hash(staff.password_hash if staff else _NOBODY, password)
    if staff is None or not staff.active:
        raise Problem("sign_in_failed")
    if staff.locked_until and staff.locked_until > now:
        raise Problem("account_locked")
    if not right:
        _count_failure(staff, now)
        raise Problem("sign_in_failed")
    staff.failed_logins, staff.locked_until = 0, None
    return staff


def _count_failure(staff: Staff, now: datetime) -> None:
    staff.failed_logins += 1
    staff.locked_until = rules.locked_until(staff.failed_logins, now)
    if staff.locked_until:
        staff.failed_logins = 0
        audit("staff.locked", "staff", staff.id, None, now=now)
    db.session.commit()


def sign_in_staff(login: str, password: str, now: datetime) -> tuple[IssuedToken, Staff]:
    """A token for a member of staff; problems as `check_password`."""
    staff = check_password(login, password, now)
    token = token_of_staff(staff.id, now)
    audit("staff.signed_in", "staff", staff.id, Principal("staff", staff.id), now=now)
    return token, staff


def sign_out(token_text: str, now: datetime) -> None:
    """Revoke a token; a token that is none already stays so."""
    db.session.execute(
        db.update(AccessToken)
        .where(AccessToken.token_hash == rules.token_hash(token_text))
        .where(AccessToken.revoked_at.is_(None))
        .values(revoked_at=now)
    )


# Asked with every request, so it is one statement by unique index and not the ORM.
_PRINCIPAL = sa.text("""
SELECT t.resident_id, t.staff_id, t.expires_at, t.revoked_at, s.roles, s.active
  FROM access_token t LEFT JOIN staff s ON s.id = t.staff_id
 WHERE t.token_hash = :token_hash
""")


def principal_of(token_text: str, now: datetime) -> Principal | None:
    """Whose token this is.

    None for a token never issued, revoked, or of staff who left; Problem session_expired for one
    that was good until it expired.
    """
    if len(token_text) > rules.MAX_TOKEN_CHARS:
        return None
    asked = {"token_hash": rules.token_hash(token_text)}
    row = db.session.connection().execute(_PRINCIPAL, asked).first()
    if row is None or row.revoked_at is not None or row.active is False:
        return None
    if row.expires_at <= now:
        raise Problem("session_expired")
    if row.resident_id is not None:
        return Principal("resident", row.resident_id)
    return Principal("staff", row.staff_id, frozenset(row.roles))


def audit(
    action: str,
    subject_kind: str,
    subject_id: Any,
    actor: Principal | None,
    *,
    now: datetime | None = None,
    **detail: Any,
) -> None:
    """Write down who did what to which thing, in the caller's transaction.

    `actor` None is the system itself; `now` defaults to the application's clock.
    """
    db.session.add(
        AuditEvent(
            at=now or current_app.extensions["nuan_clock"].now(),
            actor_kind=actor.kind if actor else "system",
            actor_id=actor.id if actor else None,
            action=action,
            subject_kind=subject_kind,
            subject_id=str(subject_id),
            detail=detail,
            request_id=logs.request_id.get(),
        )
    )
