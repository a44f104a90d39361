"""The counter's part in the proof of a day: each drawer and card terminal against the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.cashier.models import Drawer, Shift
from backend.people.models import Staff

# What the counter's own rows say moved, by account and day, beside what the ledger says.  A null
# day is all of them.  Cash is compared whole: nothing else may touch a drawer.
_MOVES = sa.text("""
WITH said AS (
    SELECT 'cash:' || d.code AS code, p.day, p.amount_fen AS fen FROM counter_payment p
      JOIN shift s ON s.id = p.shift_id JOIN drawer d ON d.id = s.drawer_id
     WHERE p.method = 'cash' AND (CAST(:day AS date) IS NULL OR p.day = :day)
    UNION ALL
    SELECT 'cash:' || d.code, v.day, -p.amount_fen FROM counter_void v
      JOIN counter_payment p ON p.id = v.payment_id
      JOIN shift s ON s.id = p.shift_id JOIN drawer d ON d.id = s.drawer_id
     WHERE p.method = 'cash' AND (CAST(:day AS date) IS NULL OR v.day = :day)
    UNION ALL
    SELECT 'pos:' || t.code, p.day, p.amount_fen FROM counter_payment p
      JOIN pos_terminal t ON t.id = p.terminal_id
     WHERE CAST(:day AS date) IS NULL OR p.day = :day
    UNION ALL
    SELECT 'pos:' || t.code, v.day, -p.amount_fen FROM counter_void v
      JOIN counter_payment p ON p.id = v.payment_id JOIN pos_terminal t ON t.id = p.terminal_id
     WHERE CAST(:day AS date) IS NULL OR v.day = :day
    UNION ALL
    SELECT 'cash:' || d.code, s.day, s.issued_fen + s.opening_difference_fen FROM shift s
      JOIN drawer d ON d.id = s.drawer_id
     WHERE CAST(:day AS date) IS NULL OR s.day = :day
    UNION ALL
    SELECT 'cash:' || d.code, (s.closed_at AT TIME ZONE 'Asia/Shanghai')::date,
           s.difference_fen - s.deposited_fen FROM shift s JOIN drawer d ON d.id = s.drawer_id
     WHERE s.closed_at IS NOT NULL
       AND (CAST(:day AS date) IS NULL OR (s.closed_at AT TIME ZONE 'Asia/Shanghai')::date = :day)
), ours AS (SELECT code, day, sum(fen) AS fen FROM said GROUP BY code, day
), books AS (
    SELECT a.code, e.day, sum(p.amount_fen) AS fen FROM account a
      JOIN posting p ON p.account_id = a.id JOIN entry e ON e.id = p.entry_id
     WHERE (a.code LIKE 'cash:%' OR (a.code LIKE 'pos:%' AND e.business_key LIKE 'counter:%'))
       AND (CAST(:day AS date) IS NULL OR e.day = :day)
     GROUP BY a.code, e.day)
SELECT coalesce(o.code, b.code) AS code, coalesce(o.day, b.day) AS day,
       coalesce(o.fen, 0)::bigint AS rows_fen, coalesce(b.fen, 0)::bigint AS ledger_fen
  FROM ours o FULL JOIN books b ON b.code = o.code AND b.day = o.day
 ORDER BY 2, 1
""")
_TAKEN = sa.text("""
SELECT code, sum(fen)::bigint AS fen, count(*) FILTER (WHERE fen > 0) AS payments,
       count(*) FILTER (WHERE fen < 0) AS voids
  FROM (SELECT coalesce('pos:' || t.code, 'cash:' || d.code) AS code, m.fen
          FROM (SELECT id AS payment_id, day, amount_fen AS fen FROM counter_payment
                 WHERE day = :day
                UNION ALL
                SELECT v.payment_id, v.day, -p.amount_fen FROM counter_void v
                  JOIN counter_payment p ON p.id = v.payment_id WHERE v.day = :day) m
          JOIN counter_payment p ON p.id = m.payment_id JOIN shift s ON s.id = p.shift_id
          JOIN drawer d ON d.id = s.drawer_id LEFT JOIN pos_terminal t ON t.id = p.terminal_id) x
 GROUP BY code
""")


@dataclass(frozen=True, slots=True)
class OpenShift:
    """A shift that has not been closed."""

    id: int
    day: date
    drawer: str
    cashier: str


@dataclass(frozen=True, slots=True)
class CounterDay:
    """A finance day at the counter: accounts as (code, rows_fen, ledger_fen, …), open shifts."""

    accounts: list[dict[str, Any]]
    open_shifts: list[OpenShift]

    @property
    def unequal(self) -> list[str]:
        """The accounts whose rows and ledger differ."""
        return [a["code"] for a in self.accounts if a["rows_fen"] != a["ledger_fen"]]

    def frozen(self) -> dict[str, Any]:
        """What a closed day keeps of it."""
        return {"accounts": self.accounts, "open_shifts": [s.id for s in self.open_shifts]}


def moves(day: date | None) -> Sequence[sa.Row[Any]]:
    """(code, day, rows_fen, ledger_fen) of every drawer and terminal, of one day or of all."""
    return db.session.execute(_MOVES, {"day": day}).all()


def examine(day: date) -> CounterDay:
    """The counter's sums of a day and the shifts of that day, or before, still open."""
    taken = {row.code: row for row in db.session.execute(_TAKEN, {"day": day})}
    accounts = [
        {
            "code": row.code,
            "taken_fen": taken[row.code].fen if row.code in taken else 0,
            "payments": taken[row.code].payments if row.code in taken else 0,
            "voids": taken[row.code].voids if row.code in taken else 0,
            "rows_fen": row.rows_fen,
            "ledger_fen": row.ledger_fen,
        }
        for row in moves(day)
    ]
    return CounterDay(accounts, open_shifts(day))


def open_shifts(day: date) -> list[OpenShift]:
    """Shifts opened up to that day and not closed."""
    query = (
        sa.select(Shift.id, Shift.day, Drawer.name, Staff.name)
        .join(Drawer, Drawer.id == Shift.drawer_id)
        .join(Staff, Staff.id == Shift.cashier_id)
        .where(Shift.closed_at.is_(None), Shift.day <= day)
        .order_by(Shift.id)
    )
    return [OpenShift(*row) for row in db.session.execute(query)]
