"""Months of the books: frozen with their trial balance, carried over, looked at.

A closed month takes no entry any more: the ledger refuses (Problem month_closed) and so does the
database.  What belongs to it and comes later is posted in the open month by whoever posts, with the
number of what it is about in the entry's detail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from backend.base.clock import add_months, month_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.ledger.models import Account, Entry, LedgerMonth, MonthBalance

LOCK = 20045  # first half of an advisory lock, as in the trigger; the second is the month
_EPOCH = date(2000, 1, 1)
PAGE = 100
_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Trial:
    """An account's (or a group's) line of a trial balance; debit positive."""

    code: str
    opening_fen: int
    debit_fen: int
    credit_fen: int
    closing_fen: int


def month_of(month: date) -> LedgerMonth | None:
    """The month as it was closed, if it ever was."""
    return db.session.get(LedgerMonth, month, populate_existing=True)


def is_closed(day: date) -> bool:
    """Whether the books of a day's month are closed."""
    found = month_of(month_start(day))
    return found is not None and found.state == "closed"


def last_closed() -> date | None:
    """The newest closed month."""
    query = sa.select(sa.func.max(LedgerMonth.month)).where(LedgerMonth.state == "closed")
    return db.session.scalar(query)


def first_month() -> date | None:
    """The month of the very first entry."""
    first = db.session.scalar(sa.select(sa.func.min(Entry.day)))
    return month_start(first) if first else None


def lock(month: date) -> None:
    """Hold a month until commit: nobody posts into it, and whoever has is waited for."""
    number = (month - _EPOCH).days
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK, number)))


_MOVED = """
SELECT p.account_id, sum(p.amount_fen) FILTER (WHERE p.amount_fen > 0)::bigint AS debit_fen,
       (-sum(p.amount_fen) FILTER (WHERE p.amount_fen < 0))::bigint AS credit_fen
  FROM entry e JOIN posting p ON p.entry_id = e.id
 WHERE e.day >= :month AND e.day < :next GROUP BY p.account_id
"""
# Carried over: what the month before was closed with, or all there was before.
_CARRIED = """
SELECT account_id, closing_fen AS opening_fen FROM month_balance
 WHERE month = :before AND closing_fen <> 0
UNION ALL
SELECT p.account_id, sum(p.amount_fen)::bigint FROM entry e JOIN posting p ON p.entry_id = e.id
 WHERE e.day < :month AND NOT EXISTS (SELECT 1 FROM ledger_month
       WHERE month = :before AND state = 'closed')
 GROUP BY p.account_id HAVING sum(p.amount_fen) <> 0
"""
_TRIAL = f"""
SELECT coalesce(c.account_id, m.account_id) AS account_id,
       coalesce(c.opening_fen, 0) AS opening_fen,
       coalesce(m.debit_fen, 0) AS debit_fen, coalesce(m.credit_fen, 0) AS credit_fen,
       coalesce(c.opening_fen, 0) + coalesce(m.debit_fen, 0) - coalesce(m.credit_fen, 0)
           AS closing_fen
  FROM ({_CARRIED}) c FULL JOIN ({_MOVED}) m ON m.account_id = c.account_id
"""
_FREEZE = f"""
INSERT INTO month_balance (account_id, opening_fen, debit_fen, credit_fen, closing_fen, month)
SELECT t.*, :month FROM ({_TRIAL}) t
"""
_COUNT = "SELECT count(*) FROM entry WHERE day >= :month AND day < :next"
_DEBIT = "SELECT coalesce(sum(debit_fen), 0)::bigint FROM month_balance WHERE month = :month"


def _values(month: date) -> dict[str, date]:
    return {"month": month, "next": add_months(month, 1), "before": add_months(month, -1)}


def freeze(month: date, staff_id: int, reason: str | None, now: datetime) -> LedgerMonth:
    """Close a month under `lock`: store its trial balance and what it hashes to.

    Whoever calls has asked whether it may be closed; the caller commits.
    """
    values = _values(month)
    kept = {
        "state": "closed",
        "closed_at": now,
        "closed_by": staff_id,
        "reason": reason,
        "entries": db.session.scalar(sa.text(_COUNT), values),
        "debit_fen": 0,
        "sha256": "",
        "reopen_asked_by": None,
        "reopen_asked_at": None,
        "reopen_reason": None,
        "reopened_by": None,
        "reopened_at": None,
    }
    statement = insert(LedgerMonth).values(month=month, **kept)
    statement = statement.on_conflict_do_update(
        index_elements=["month"], set_={**kept, "runs": LedgerMonth.runs + 1}
    )
    db.session.execute(statement)
    db.session.execute(sa.text(_FREEZE), values)
    found = month_of(month)
    assert found is not None
    found.debit_fen = db.session.scalar(sa.text(_DEBIT), values)
    found.sha256 = digest(month)
    db.session.flush()
    return found


def thaw(found: LedgerMonth, staff_id: int, now: datetime) -> None:
    """Open a month again; what it was closed with is no longer there.  The caller commits."""
    db.session.execute(sa.delete(MonthBalance).where(MonthBalance.month == found.month))
    found.state, found.reopened_by, found.reopened_at = "reopened", staff_id, now
    db.session.flush()


def line(row: Trial) -> str:
    """An account's line as it is hashed."""
    return f"{row.code}|{row.opening_fen}|{row.debit_fen}|{row.credit_fen}|{row.closing_fen}\n"


def frozen(month: date) -> Iterator[Trial]:
    """A closed month's trial balance by code, streamed."""
    query = (
        sa.select(
            Account.code,
            MonthBalance.opening_fen,
            MonthBalance.debit_fen,
            MonthBalance.credit_fen,
            MonthBalance.closing_fen,
        )
        .join(Account, Account.id == MonthBalance.account_id)
        .where(MonthBalance.month == month)
        .order_by(sa.collate(Account.code, "C"))
    )
    rows = db.session.execute(query, execution_options={"yield_per": _CHUNK})
    for row in rows:
        yield Trial(*row)


def digest(month: date) -> str:
    """SHA-256 of a closed month's trial balance."""
    found = hashlib.sha256()
    for row in frozen(month):
        found.update(line(row).encode())
    return found.hexdigest()


# One group for every household's account of a kind; the others stand for themselves.
_MANY = "^(receivable:[^:]+|wallet|prepaid:[^:]+|payable:[^:]+):.*"
GROUP = f"regexp_replace(a.code, '{_MANY}', '\\1')"


def groups(month: date) -> list[Trial]:
    """A month's trial balance by group of accounts: as frozen, or as it stands now."""
    if is_closed(month):
        source = (
            "SELECT account_id, opening_fen, debit_fen, credit_fen, closing_fen"
            " FROM month_balance WHERE month = :month"
        )
    else:
        source = _TRIAL
    query = f"""
    SELECT {GROUP} AS code, sum(t.opening_fen)::bigint, sum(t.debit_fen)::bigint,
           sum(t.credit_fen)::bigint, sum(t.closing_fen)::bigint
      FROM ({source}) t JOIN account a ON a.id = t.account_id GROUP BY 1 ORDER BY 1
    """
    return [Trial(*row) for row in db.session.execute(sa.text(query), _values(month))]


def accounts(prefix: str, after: str = "") -> list[tuple[str, int]]:
    """(code, balance now) of a page of accounts whose code begins so."""
    rows = db.session.execute(_ACCOUNTS, {"like": f"{prefix}%", "after": after, "most": PAGE})
    return [(row.code, row.balance_fen) for row in rows]


_ACCOUNTS = sa.text("""
SELECT a.code, coalesce(b.balance_fen, 0) AS balance_fen FROM account a
  LEFT JOIN balance b ON b.account_id = a.id
 WHERE a.code LIKE :like AND a.code > :after ORDER BY a.code LIMIT :most
""")


def statement(
    code: str, day_from: date, day_to: date, after: tuple[date, int] | None = None
) -> dict[str, Any]:
    """An account's statement (对账单) of days, both ends in: opening, a page of postings, closing.

    `after` is the (day, posting id) the page follows; `more` names the next page's, or is None.
    Problem not_found where there is no such account.
    """
    account_id = db.session.scalar(sa.select(Account.id).where(Account.code == code))
    if account_id is None:
        raise Problem("not_found")
    values = {"account": account_id, "from": day_from, "to": day_to, "most": PAGE + 1}
    opening_fen = int(db.session.scalar(_BEFORE, {**values, "day": day_from, "id": 0}) or 0)
    day, posting_id = after or (day_from, 0)
    running_fen = int(db.session.scalar(_BEFORE, {**values, "day": day, "id": posting_id}) or 0)
    rows = db.session.execute(_PAGE, {**values, "day": day, "id": posting_id}).all()
    shown = []
    for row in rows[:PAGE]:
        running_fen += row.amount_fen
        shown.append({**row._mapping, "balance_fen": running_fen})
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    return {
        "code": code,
        "day_from": day_from,
        "day_to": day_to,
        "opening_fen": opening_fen,
        "closing_fen": int(db.session.scalar(_UNTIL, values) or 0),
        "postings": shown,
        "more": (last.day, last.id) if last else None,
    }


_BEFORE = sa.text("""
SELECT sum(p.amount_fen) FROM posting p JOIN entry e ON e.id = p.entry_id
 WHERE p.account_id = :account AND (e.day < :day OR (e.day = :day AND p.id <= :id))
""")
_UNTIL = sa.text("""
SELECT sum(p.amount_fen) FROM posting p JOIN entry e ON e.id = p.entry_id
 WHERE p.account_id = :account AND e.day <= :to
""")
_PAGE = sa.text("""
SELECT p.id, e.day, e.at, e.kind, e.business_key, e.memo, p.amount_fen
  FROM posting p JOIN entry e ON e.id = p.entry_id
 WHERE p.account_id = :account AND e.day <= :to AND (e.day, p.id) > (:day, :id)
 ORDER BY e.day, p.id LIMIT :most
""")
