"""The banks' movements and the acquirers' settlements as pages and programs see them: by pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem

PAGE = 200
RECENT = 20
_STATEMENTS = """
SELECT s.id, a.code, a.name, s.day, s.rows, s.received_at, s.name AS file_name, s.sha256,
       count(l.seq) FILTER (WHERE l.direction = 'credit')::int AS credits,
       coalesce(sum(l.amount_fen) FILTER (WHERE l.direction = 'credit'), 0)::bigint AS credit_fen,
       count(l.seq) FILTER (WHERE l.direction = 'credit' AND l.matched IS NULL)::int AS unknown
  FROM bank_statement s JOIN bank_account a ON a.id = s.account_id
  LEFT JOIN bank_line l ON l.statement_id = s.id
 WHERE {which} GROUP BY s.id, a.id ORDER BY s.day DESC, s.id DESC LIMIT :most
"""
_SETTLEMENTS = """
SELECT s.id, a.code, a.name, s.number, s.day, s.rows, s.received_at, s.name AS file_name, s.sha256,
       coalesce(sum(r.amount_fen), 0)::bigint AS amount_fen,
       coalesce(sum(r.fee_fen), 0)::bigint AS fee_fen,
       count(r.seq) FILTER (WHERE r.payment_id IS NULL)::int AS unknown
  FROM acquirer_settlement s JOIN acquirer a ON a.id = s.acquirer_id
  LEFT JOIN acquirer_row r ON r.settlement_id = s.id
 WHERE {which} GROUP BY s.id, a.id ORDER BY s.day DESC, s.id DESC LIMIT :most
"""
_LINES = sa.text("""
SELECT seq, serial, booked_on, direction, amount_fen, fee_fen, counterparty, summary, matched
  FROM bank_line WHERE statement_id = :of AND seq > :after ORDER BY seq LIMIT :most
""")
_ROWS = sa.text("""
SELECT r.seq, r.terminal_no, r.reference, r.traded_on, r.amount_fen, r.fee_fen, p.receipt_no
  FROM acquirer_row r LEFT JOIN counter_payment p ON p.id = r.payment_id
 WHERE r.settlement_id = :of AND r.seq > :after ORDER BY r.seq LIMIT :most
""")


def statements(code: str = "", before: int | None = None) -> list[dict[str, Any]]:
    """The newest statements, with how many credits nobody knows; of one account where asked."""
    return _newest(_STATEMENTS, "bank_statement", code, before)


def settlements(code: str = "", before: int | None = None) -> list[dict[str, Any]]:
    """The newest settlements, with how many rows are not ours; of one acquirer where asked."""
    return _newest(_SETTLEMENTS, "acquirer_settlement", code, before)


def _newest(query: str, table: str, code: str, before: int | None) -> list[dict[str, Any]]:
    which = ["true"]
    if code:
        which.append("a.code = :code")
    if before is not None:
        which.append(f"(s.day, s.id) < (SELECT day, id FROM {table} WHERE id = :before)")
    values = {"code": code, "before": before, "most": RECENT}
    rows = db.session.execute(sa.text(query.format(which=" AND ".join(which))), values)
    return [dict(row._mapping) for row in rows]


def statement(statement_id: int) -> dict[str, Any]:
    """One statement; Problem not_found."""
    return _one(_STATEMENTS, statement_id)


def settlement(settlement_id: int) -> dict[str, Any]:
    """One settlement; Problem not_found."""
    return _one(_SETTLEMENTS, settlement_id)


def _one(query: str, number: int) -> dict[str, Any]:
    found = db.session.execute(
        sa.text(query.format(which="s.id = :id")), {"id": number, "most": 1}
    ).first()
    if found is None:
        raise Problem("not_found")
    return dict(found._mapping)


def lines(statement_id: int, after: int = 0) -> Sequence[dict[str, Any]]:
    """A page of a statement's movements and what each was found to be."""
    return _page(_LINES, statement_id, after)


def rows(settlement_id: int, after: int = 0) -> Sequence[dict[str, Any]]:
    """A page of a settlement's rows and the receipt each was found to be."""
    return _page(_ROWS, settlement_id, after)


def _page(query: sa.TextClause, of: int, after: int) -> list[dict[str, Any]]:
    found = db.session.execute(query, {"of": of, "after": after, "most": PAGE})
    return [dict(row._mapping) for row in found]
