"""月结: a month of the books is closed when its days are, and opened again by two persons."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from backend.base.clock import add_months, business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.models import Break, FinanceDay, Reconciliation
from backend.ledger import periods
from backend.ledger.models import LedgerMonth
from backend.people.service import Principal, audit

MIN_REASON = 4


def open_days(month: date) -> list[date]:
    """The days of a month that are not closed, from the first entry there is."""
    rows = db.session.scalars(_OPEN_DAYS, {"month": month, "next": add_months(month, 1)})
    return list(rows)


_OPEN_DAYS = sa.text("""
SELECT d::date FROM generate_series(
    greatest(CAST(:month AS date), (SELECT min(day) FROM entry)),
    CAST(:next AS date) - 1, interval '1 day') d
 WHERE NOT EXISTS (SELECT 1 FROM finance_day f WHERE f.day = d::date) ORDER BY 1
""")


def checklist(month: date, now: datetime) -> dict[str, Any]:
    """What still blocks a month, and what should be looked at before it is closed.

    `blocked`: problem codes nobody can sign away; `open_days` want a signed reason.
    """
    blocked = []
    if business_day(now) < add_months(month, 1):
        blocked.append("month_not_over")
    first, last = periods.first_month(), periods.last_closed()
    expected = add_months(last, 1) if last else first
    if expected is None or month < (first or month):
        blocked.append("month_empty")
    elif month > expected:
        blocked.append("month_before_open")
    return {
        "month": month,
        "blocked": blocked,
        "expected": expected,
        "open_days": open_days(month),
        "signed_days": _count(
            sa.select(sa.func.count())
            .select_from(FinanceDay)
            .where(*_within(FinanceDay.day, month), FinanceDay.reason.is_not(None))
        ),
        "open_breaks": _count(
            sa.select(sa.func.count())
            .select_from(Break)
            .join(Reconciliation, Reconciliation.id == Break.reconciliation_id)
            .where(*_within(Reconciliation.day, month), Break.resolved_at.is_(None))
        ),
    }


def _within(column: Any, month: date) -> tuple[Any, Any]:
    return column >= month, column < add_months(month, 1)


def _count(query: Any) -> int:
    return int(db.session.scalar(query) or 0)


def close_month(month: date, reason: str | None, actor: Principal, now: datetime) -> LedgerMonth:
    """Freeze a month; again it is the one already closed.  The caller commits.

    Problems: month_not_over, month_before_open, month_empty, month_days_open where a day of it is
    not closed and no reason is given.
    """
    month = month.replace(day=1)
    periods.lock(month)
    found = periods.month_of(month)
    if found is not None and found.state == "closed":
        return found
    checks = checklist(month, now)
    if checks["blocked"]:
        raise Problem(checks["blocked"][0])
    days: list[date] = checks["open_days"]
    if days and len(reason or "") < MIN_REASON:
        shown = "、".join(f"{day.month}月{day.day}日" for day in days[:5])
        detail = f"还有 {len(days)} 天没有日结（{shown}），先日结，或写明原因并签字后月结。"
        raise Problem("month_days_open", detail, days=[day.isoformat() for day in days])
    made = periods.freeze(month, actor.id, reason or None, now)
    audit(
        "ledger.month_closed", "ledger_month", month, actor, now=now,
        reason=reason, sha256=made.sha256, open_days=len(days),
    )  # fmt: skip
    return made


def ask_reopen(month: date, reason: str, actor: Principal, now: datetime) -> LedgerMonth:
    """Ask for the last closed month to be opened again; the caller commits.

    Problems: month_not_closed, month_not_last, reason_missing.
    """
    found = _closed(month)
    if len(reason) < MIN_REASON:
        raise Problem("reason_missing", field="reason")
    found.reopen_asked_by, found.reopen_asked_at, found.reopen_reason = actor.id, now, reason
    audit("ledger.reopen_asked", "ledger_month", month, actor, now=now, reason=reason)
    return found


def reopen(month: date, actor: Principal, now: datetime) -> LedgerMonth:
    """Another person opens it; the caller commits.

    Problems: month_not_closed, month_not_last, reopen_not_asked, second_person.
    """
    found = _closed(month)
    if found.reopen_asked_by is None:
        raise Problem("reopen_not_asked")
    if found.reopen_asked_by == actor.id:
        raise Problem("second_person", "须由另一位同事同意，不能自己同意自己的申请。")
    periods.thaw(found, actor.id, now)
    audit(
        "ledger.month_reopened", "ledger_month", month, actor, now=now, reason=found.reopen_reason
    )
    return found


def _closed(month: date) -> LedgerMonth:
    periods.lock(month)
    found = periods.month_of(month)
    if found is None or found.state != "closed":
        raise Problem("month_not_closed")
    if periods.last_closed() != month:
        raise Problem("month_not_last")
    return found


def revenue(trial: list[periods.Trial]) -> list[dict[str, Any]]:
    """What was recognised as revenue (when billed), by utility, of a month's groups."""
    return [
        {
            "utility": row.code.partition(":")[2],
            "billed_fen": row.credit_fen,
            "taken_back_fen": row.debit_fen,
            "net_fen": row.credit_fen - row.debit_fen,
        }
        for row in trial
        if row.code.startswith("revenue:")
    ]


def prepaid(trial: list[periods.Trial]) -> dict[str, int]:
    """What residents have paid ahead: carried into the month, and carried over from it."""
    rows = [row for row in trial if row.code == "wallet" or row.code.startswith("prepaid:")]
    return {
        "opening_fen": -sum(row.opening_fen for row in rows),
        "closing_fen": -sum(row.closing_fen for row in rows),
    }


def newest(now: datetime) -> date:
    """The month a page begins with: the one that could be closed next."""
    last = periods.last_closed()
    over = add_months(business_day(now).replace(day=1) - timedelta(days=1), 0)
    return min(add_months(last, 1), over) if last else over
