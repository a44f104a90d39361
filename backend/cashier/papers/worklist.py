"""待冲红: papers that say more than was paid and kept, each with what to take back.

A bill is reversed, a payment given back, a credit granted after the invoice: money went, and the
paper over it stands.  A person takes it back, or (NUAN_PAPER_AUTO_RED) it is done by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import current_app

from backend.base.db import db, hold
from backend.cashier.papers import invoices, undoing
from backend.cashier.papers.models import Paper

log = logging.getLogger("nuan.cashier")

MOST = 200

# Invoices over a bill beyond what is paid on it (nothing, where it is reversed).
_BILLS = """
SELECT b.household_id, b.utility, b.id AS bill_id, b.bill_no,
       sum(l.amount_fen)::bigint
           - CASE WHEN b.state = 'reversed' THEN 0 ELSE b.paid_fen END AS over_fen
  FROM paper_line l JOIN paper p ON p.id = l.paper_id JOIN bill b ON b.id = l.bill_id
 WHERE p.kind IN ('invoice', 'special')
   AND NOT EXISTS (SELECT 1 FROM paper_void v WHERE v.paper_id = p.id)
 GROUP BY b.id
HAVING sum(l.amount_fen) > CASE WHEN b.state = 'reversed' THEN 0 ELSE b.paid_fen END
 ORDER BY b.id LIMIT 200
"""
# What is left of each invoice that stands for a bill or a utility, the newest first.
_LEFT = """
SELECT p.id, p.paper_no, p.kind, h.account_no, (
           SELECT sum(l.amount_fen) FROM paper_line l JOIN paper r ON r.id = l.paper_id
            WHERE r.id = p.id OR r.about_id = p.id)::bigint AS left_fen
  FROM paper p JOIN household h ON h.id = p.household_id
 WHERE p.household_id = :household AND p.kind IN ('invoice', 'special') AND p.about_id IS NULL
   AND NOT EXISTS (SELECT 1 FROM paper_void v WHERE v.paper_id = p.id)
   AND EXISTS (SELECT 1 FROM paper_line l WHERE l.paper_id = p.id AND l.utility = :utility
               AND (CAST(:bill AS bigint) IS NULL OR l.bill_id = :bill))
 ORDER BY p.id DESC
"""
# Receipts of channel payments that were given back afterwards.  (A surplus never was received.)
_RECEIPTS = """
SELECT * FROM (
    SELECT p.paper_no, p.kind, h.account_no, p.household_id,
           least(p.amount_fen, (SELECT coalesce(sum(f.amount_fen), 0) FROM refund f
               WHERE f.order_id = o.id AND f.state = 'done'
                 AND NOT starts_with(f.business_key, 'surplus:'))::bigint)
           + (SELECT coalesce(sum(r.amount_fen), 0) FROM paper r WHERE r.about_id = p.id)::bigint
               AS over_fen
      FROM payment_order o JOIN paper p ON p.business_key = 'receipt:order:' || o.out_trade_no
      JOIN household h ON h.id = p.household_id
     WHERE EXISTS (SELECT 1 FROM refund f WHERE f.order_id = o.id AND f.state = 'done')
       AND NOT EXISTS (SELECT 1 FROM paper_void v WHERE v.paper_id = p.id)) found
 WHERE over_fen > 0 ORDER BY paper_no LIMIT 200
"""


@dataclass(frozen=True, slots=True)
class Task:
    """A paper, what of it to take back, and why."""

    paper_no: str
    kind: str
    account_no: str
    household_id: int
    over_fen: int
    why: str


def waiting() -> list[Task]:
    """Every paper that says too much, at most some hundreds."""
    found = [*_bills(), *_utilities(), *_refunded()]
    merged: dict[str, Task] = {}
    for task in found:
        known = merged.get(task.paper_no)
        if known is None or known.over_fen < task.over_fen:
            merged[task.paper_no] = task
    return list(merged.values())[:MOST]


def _bills() -> Iterator[Task]:
    for row in db.session.execute(sa.text(_BILLS)).all():
        why = f"账单 {row.bill_no} 已冲销或退款"
        yield from _over(row.household_id, row.utility, row.bill_id, row.over_fen, why)


def _utilities() -> Iterator[Task]:
    for row in invoices.sums(None, too_much=True):
        over_fen = row.invoiced_fen - max(0, row.paid_fen - row.credited_fen)
        why = "开票之后又有退费或冲销"
        yield from _over(row.household_id, row.utility, None, over_fen, why)


def _over(
    household_id: int, utility: str, bill_id: int | None, over_fen: int, why: str
) -> Iterator[Task]:
    """Which invoices to take it from: the newest first."""
    values = {"household": household_id, "utility": utility, "bill": bill_id}
    for row in db.session.execute(sa.text(_LEFT), values).all():
        part_fen = min(over_fen, row.left_fen)
        if part_fen > 0:
            yield Task(row.paper_no, row.kind, row.account_no, household_id, part_fen, why)
            over_fen -= part_fen


def _refunded() -> Iterator[Task]:
    for row in db.session.execute(sa.text(_RECEIPTS)).all():
        why = "这笔收款已退款"
        yield Task(row.paper_no, row.kind, row.account_no, row.household_id, row.over_fen, why)


def put_right(now: datetime) -> int:
    """Take back by itself what is within the limit; how many papers.  Commits each.

    Done again it does nothing more: each household is held and its work looked up anew.
    """
    settings = current_app.extensions["nuan_settings"]
    if not settings.paper_auto_red:
        return 0
    done = 0
    for told in waiting():
        hold(f"papers:{told.household_id}")
        task = next((t for t in waiting() if t.paper_no == told.paper_no), None)
        if task is not None and task.over_fen <= settings.paper_limit_fen:
            paper: Paper = undoing.held(task.paper_no)
            undoing.keep_red(paper, task.over_fen, task.why, None, None, now)
            done += 1
        db.session.commit()
    return done
