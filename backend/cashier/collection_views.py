"""Batches and their results as pages and programs see them: masked, counted, paged."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.collection_models import CollectionBatch, CollectionLine, CollectionResult
from backend.people.models import Staff

LINE_STATES = ("waiting", "success", "failed", "unknown", "withdrawn")
PAGE = 100
RECENT = 50
_COUNTS = """
SELECT k.name AS bank, k.code AS bank_code, b.*,
       coalesce(s.lines, 0) AS lines, coalesce(s.total_fen, 0) AS total_fen,
       coalesce(s.waiting, 0) AS waiting, coalesce(s.success, 0) AS success,
       coalesce(s.success_fen, 0) AS success_fen, coalesce(s.failed, 0) AS failed,
       coalesce(s.unknown, 0) AS unknown, coalesce(s.withdrawn, 0) AS withdrawn
  FROM (SELECT id, batch_no, bank_id, day, state, chosen, drafted_by, drafted_at, approved_by,
               approved_at, exported_by, exported_at, file_name, sha256, ended_by, ended_at,
               end_reason FROM collection_batch) b
  JOIN collecting_bank k ON k.id = b.bank_id
  LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE l.state <> 'withdrawn') AS lines,
           sum(l.amount_fen) FILTER (WHERE l.state <> 'withdrawn')::bigint AS total_fen,
           count(*) FILTER (WHERE l.state = 'waiting') AS waiting,
           count(*) FILTER (WHERE l.state = 'success') AS success,
           sum(l.amount_fen) FILTER (WHERE l.state = 'success')::bigint AS success_fen,
           count(*) FILTER (WHERE l.state = 'failed') AS failed,
           count(*) FILTER (WHERE l.state = 'unknown') AS unknown,
           count(*) FILTER (WHERE l.state = 'withdrawn') AS withdrawn
      FROM collection_line l WHERE l.batch_id = b.id) s ON true
"""


def batches(before: int | None = None) -> list[dict[str, Any]]:
    """The newest batches with what became of their lines."""
    query = f"{_COUNTS} WHERE CAST(:before AS bigint) IS NULL OR b.id < :before"
    rows = db.session.execute(
        sa.text(f"{query} ORDER BY b.id DESC LIMIT :most"), {"before": before, "most": RECENT}
    )
    return [dict(row._mapping) for row in rows]


def batch(batch_no: str) -> dict[str, Any]:
    """One batch, who did what to it, and its result files; Problem not_found."""
    row = db.session.execute(
        sa.text(f"{_COUNTS} WHERE b.batch_no = :number"), {"number": batch_no}
    ).first()
    if row is None:
        raise Problem("not_found")
    found = dict(row._mapping)
    people = {f"{verb}_name": found[f"{verb}_by"] for verb in _VERBS}
    names = _names([staff_id for staff_id in people.values() if staff_id])
    results = db.session.execute(_RESULTS, {"batch": found["id"]}).all()
    return {
        **found,
        **{key: names.get(staff_id) for key, staff_id in people.items()},
        "results": [dict(result._mapping) for result in results],
    }


_VERBS = ("drafted", "approved", "exported", "ended")
_RESULTS = sa.text("""
SELECT id, name, sha256, received_at, outcome, problems, success_count, success_fen,
       failed_count, unknown_count FROM collection_result
 WHERE batch_id = :batch ORDER BY id DESC LIMIT 50
""")


def _names(ids: list[int]) -> dict[int, str]:
    rows = db.session.execute(sa.select(Staff.id, Staff.name).where(Staff.id.in_(ids)))
    return {row.id: row.name for row in rows}


_LINES = """
SELECT l.seq, l.order_no, h.account_no, m.card_tail, l.amount_fen, l.state, l.code, l.reason,
       l.serial, l.settled_on
  FROM collection_line l JOIN household h ON h.id = l.household_id
  JOIN mandate m ON m.id = l.mandate_id
 WHERE l.batch_id = :batch AND l.seq > :after
   AND (CAST(:state AS text) IS NULL OR l.state = :state)
 ORDER BY l.seq LIMIT :most
"""


def lines(batch_id: int, after: int = 0, state: str | None = None) -> list[dict[str, Any]]:
    """A page of a batch's lines, of one state where asked."""
    values = {"batch": batch_id, "after": after, "state": state or None, "most": PAGE}
    return [dict(row._mapping) for row in db.session.execute(sa.text(_LINES), values)]


def refused(before: int | None = None) -> list[dict[str, Any]]:
    """Result files that were refused, newest first, with their reasons."""
    query = sa.select(
        CollectionResult.id,
        CollectionResult.name,
        CollectionResult.received_at,
        CollectionResult.problems,
        CollectionBatch.batch_no,
    ).outerjoin(CollectionBatch, CollectionBatch.id == CollectionResult.batch_id)
    query = query.where(CollectionResult.outcome == "refused")
    if before is not None:
        query = query.where(CollectionResult.id < before)
    rows = db.session.execute(query.order_by(CollectionResult.id.desc()).limit(10))
    return [dict(row._mapping) for row in rows]


def result(result_id: int) -> dict[str, Any]:
    """A result file's counts; Problem not_found."""
    found = db.session.get(CollectionResult, result_id)
    if found is None:
        raise Problem("not_found")
    names = (
        *("id", "name", "sha256", "received_at", "outcome"),
        *("success_count", "success_fen", "failed_count", "unknown_count"),
    )
    waiting = sa.select(sa.func.count()).where(
        CollectionLine.batch_id == found.batch_id, CollectionLine.state == "waiting"
    )
    return {
        **{name: getattr(found, name) for name in names},
        "still_waiting": int(db.session.scalar(waiting) or 0),
    }
