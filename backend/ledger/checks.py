"""What must hold of the ledger, looked for in what is stored: every break, with its origin.

The triggers make most of these impossible; a restored backup or a person with psql does not ask
them.  Rooms above keep their own checks, found by name, for they know what must follow the ledger.
"""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa

from backend.base.db import db
from backend.ledger.chart import KINDS

# Each has `breaks() -> list[str]`.
ABOVE = (
    "backend.cashier.checks",
    "backend.cashier.counter_checks",
    "backend.cashier.collection_checks",
    "backend.cashier.papers.checks",
    "backend.billing.checks",
)
MAX_SHOWN = 1000

_SIDES = " ".join(f"WHEN '{family}' THEN '{kind}'" for family, kind in KINDS.items())

_OWN: tuple[tuple[str, str], ...] = (
    (
        "entry {0} ({1}): {2} postings add up to {3} fen",
        """SELECT e.id, e.business_key, count(p.id), coalesce(sum(p.amount_fen), 0)
           FROM entry e LEFT JOIN posting p ON p.entry_id = e.id GROUP BY e.id
           HAVING count(p.id) < 2 OR sum(p.amount_fen) <> 0 ORDER BY e.id""",
    ),
    (
        "account {0}: balance {1} fen, its postings add up to {2} fen",
        """SELECT a.code, coalesce(b.balance_fen, 0), coalesce(p.total, 0)
           FROM account a LEFT JOIN balance b ON b.account_id = a.id
           LEFT JOIN (SELECT account_id, sum(amount_fen) AS total FROM posting
                      GROUP BY account_id) p ON p.account_id = a.id
           WHERE coalesce(b.balance_fen, 0) <> coalesce(p.total, 0) ORDER BY a.code""",
    ),
    (
        "account {0}: kept as {1}, its code says otherwise",
        f"""SELECT code, kind FROM account
            WHERE kind IS DISTINCT FROM CASE split_part(code, ':', 1) {_SIDES} END
            ORDER BY code""",
    ),
    (
        "account {0}: {1} fen on the wrong side",
        """SELECT a.code, b.balance_fen FROM account a JOIN balance b ON b.account_id = a.id
           WHERE (a.code LIKE 'receivable:%' AND b.balance_fen < 0)
              OR (a.code LIKE 'cash:%' AND b.balance_fen < 0)
              OR (a.code LIKE 'wallet:%' AND b.balance_fen > 0)
              OR (a.code LIKE 'suspense:%' AND b.balance_fen > 0) ORDER BY a.code""",
    ),
    (
        "month {0}: account {1} was closed with {2} fen, its postings say {3} fen",
        """SELECT m.month, a.code, m.closing_fen, coalesce(sum(p.amount_fen), 0)
           FROM month_balance m JOIN account a ON a.id = m.account_id
           LEFT JOIN (SELECT p.account_id, p.amount_fen, e.day FROM posting p
                      JOIN entry e ON e.id = p.entry_id) p
             ON p.account_id = a.id AND p.day < m.month + interval '1 month'
           GROUP BY m.month, a.code, m.closing_fen
           HAVING m.closing_fen <> coalesce(sum(p.amount_fen), 0) ORDER BY 1, 2""",
    ),
    (
        "entry {0} ({1}): on day {2}, but it happened on {3}",
        """SELECT id, business_key, day, (at AT TIME ZONE 'Asia/Shanghai')::date FROM entry
           WHERE day <> (at AT TIME ZONE 'Asia/Shanghai')::date ORDER BY id""",
    ),
)


def own_breaks() -> list[str]:
    """Breaks inside the ledger: unbalanced entries, balances that do not follow postings, …"""
    return [sentence for text, query in _OWN for sentence in found(text, query)]


def others_breaks() -> list[str]:
    """Breaks between the ledger and the rooms above it."""
    return [sentence for module in ABOVE for sentence in import_module(module).breaks()]


def found(text: str, query: str) -> list[str]:
    """One sentence a row of `query` (at most 1000), `text` filled with its columns."""
    rows = db.session.execute(sa.text(query)).fetchmany(MAX_SHOWN)
    return [text.format(*row) for row in rows]
