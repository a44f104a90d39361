"""A statement against the ledger and our orders, whole sets at a time.

Every query returns (kind, reference, ours_fen, theirs_fen, gap_fen), kinds as in rules.SUGGESTIONS.
What a payment's or refund's entry moved on the clearing account is what the ledger says of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import sqlalchemy as sa

from backend.base.clock import day_bounds
from backend.base.db import db, unprepared
from backend.cashier.books import PAYMENT, REFUND
from backend.cashier.channels import day_ends_early
from backend.cashier.rules import MAX_FEE_RATE
from backend.ledger import chart
from backend.ledger import service as ledger


@dataclass(frozen=True, slots=True)
class Difference:
    """Something the ledger, the orders and the channel do not agree on.

    `gap_fen` is what the channel has more than the ledger, on whatever day either has it: 0 where
    no money stands wrong (cross_day), or it lies in suspense already (duplicate).
    """

    kind: str
    reference: str
    ours_fen: int | None
    theirs_fen: int | None
    gap_fen: int = 0


@dataclass(frozen=True, slots=True)
class Sums:
    """The same day told three times, before fees: payments less refunds, in fen."""

    ledger_fen: int
    channel_fen: int
    orders_fen: int
    fee_fen: int
    payments: int
    refunds: int

    @property
    def equal(self) -> bool:
        """Whether all three say the same."""
        return self.ledger_fen == self.channel_fen == self.orders_fen


# A refund's own number and a payment's are its business key in the ledger (rules.payment_key).
_KEY = """CASE l.kind WHEN 'payment' THEN :channel || ':' || l.transaction_id
                     ELSE :channel || ':refund:' || l.out_refund_no END"""
# A fee as it should be: between nothing and the most that is agreed, given back with a refund.
_FEE_MOST = "ceil(l.amount_fen * CAST(:rate AS numeric))::bigint"
_FEE_FITS = f"""CASE l.kind WHEN 'payment' THEN l.fee_fen ELSE -l.fee_fen END
               BETWEEN 0 AND {_FEE_MOST}"""

# One pass over the day: whatever ledger, orders and statement do not plainly agree on, as the
# line's number or, where the statement has none, the ledger's key.  A second payment of one order
# never agrees plainly: an order keeps the transaction that paid it.
_SUSPECTS = f"""
WITH cleared AS (
  SELECT e.business_key, p.amount_fen FROM entry e JOIN posting p ON p.entry_id = e.id
   WHERE e.day BETWEEN :day - 1 AND :day AND e.at >= :start AND e.at < :end
     AND e.kind IN ('payment', 'refund') AND p.account_id = :clearing),
lines AS (
  SELECT l.*, {_KEY} AS key FROM statement_line l WHERE l.statement_id = :statement)
SELECT l.seq, c.business_key
FROM cleared c
FULL JOIN (lines l LEFT JOIN payment_order o
             ON o.out_trade_no = l.out_trade_no AND o.channel = :channel
                AND o.paid_at >= :start AND o.paid_at < :end) ON l.key = c.business_key
WHERE ({_FEE_FITS} AND CASE l.kind
         WHEN 'payment' THEN c.amount_fen = l.amount_fen AND o.amount_fen = l.amount_fen
                             AND o.transaction_id = l.transaction_id
         ELSE -c.amount_fen = l.amount_fen END) IS NOT TRUE
"""

# The suspects, and what the ledger cleared on any day, by business key.
_CLEARED = """
lines AS (SELECT * FROM statement_line WHERE statement_id = :statement AND seq = ANY(:suspects)),
cleared AS (SELECT e.business_key, e.kind, e.detail, p.amount_fen,
                   (e.at AT TIME ZONE 'Asia/Shanghai' + :early)::date AS day
            FROM entry e JOIN posting p ON p.entry_id = e.id
            WHERE p.account_id = :clearing AND e.kind IN ('payment', 'refund'))
"""

_PAYMENTS = f"""
WITH {_CLEARED}
SELECT CASE WHEN c.business_key IS NULL OR o.id IS NULL THEN 'missing_here'
            WHEN c.amount_fen <> l.amount_fen OR o.amount_fen <> l.amount_fen THEN 'amount'
            ELSE 'cross_day' END,
       l.out_trade_no,
       CASE WHEN c.amount_fen <> l.amount_fen THEN c.amount_fen ELSE o.amount_fen END,
       l.amount_fen, l.amount_fen - coalesce(c.amount_fen, 0)
FROM lines l
LEFT JOIN payment_order o ON o.out_trade_no = l.out_trade_no AND o.channel = :channel
LEFT JOIN cleared c ON c.business_key = :channel || ':' || l.transaction_id
WHERE l.kind = 'payment'
  AND (c.business_key IS NULL OR o.id IS NULL OR c.day <> :day
       OR c.amount_fen <> l.amount_fen
       OR (o.amount_fen <> l.amount_fen AND NOT EXISTS (
             SELECT 1 FROM money_case m WHERE m.kind = 'order' AND m.state = 'done'
             AND m.reference = c.business_key)))
"""

_REFUNDS = f"""
WITH {_CLEARED}
SELECT CASE WHEN c.day <> :day AND -c.amount_fen = l.amount_fen
            THEN 'cross_day' ELSE 'refund' END,
       l.out_refund_no, coalesce(r.amount_fen, -c.amount_fen), l.amount_fen,
       -l.amount_fen - coalesce(c.amount_fen, 0)
FROM lines l
LEFT JOIN refund r ON r.out_refund_no = l.out_refund_no
LEFT JOIN cleared c ON c.business_key = :channel || ':refund:' || l.out_refund_no
WHERE l.kind = 'refund'
  AND (c.business_key IS NULL OR c.day <> :day OR -c.amount_fen <> l.amount_fen)
"""

# What the ledger has on this day and the statement has not: on another day's, or nowhere.
_ONLY_HERE = f"""
WITH {_CLEARED}
SELECT CASE WHEN elsewhere.found THEN 'cross_day'
            WHEN c.kind = 'refund' THEN 'refund' ELSE 'missing_there' END,
       coalesce(c.detail->>'out_refund_no', c.detail->>'out_trade_no'), abs(c.amount_fen),
       NULL::bigint, CASE WHEN elsewhere.found THEN 0 ELSE -c.amount_fen END
FROM cleared c, LATERAL (
  SELECT EXISTS (SELECT 1 FROM statement_line x JOIN statement s ON s.id = x.statement_id
                 WHERE s.channel = :channel AND s.id <> :statement
                   AND x.out_trade_no = c.detail->>'out_trade_no' AND x.kind = c.kind
                   AND x.amount_fen = abs(c.amount_fen)) AS found) elsewhere
WHERE c.business_key = ANY(:only_here)
"""

_FEES = f"""
WITH {_CLEARED}
SELECT 'fee', coalesce(l.out_refund_no, l.out_trade_no), NULL::bigint, l.fee_fen,
       CASE l.kind WHEN 'payment' THEN greatest(0, least(l.fee_fen, {_FEE_MOST})) - l.fee_fen
                   ELSE least(0, greatest(l.fee_fen, -{_FEE_MOST})) - l.fee_fen END
FROM lines l WHERE NOT {_FEE_FITS}
"""

# Paid twice as the statement has it and nobody decided on, or as the ledger put it by and nobody
# gave back.
_DUPLICATES = f"""
WITH {_CLEARED}
SELECT 'duplicate', coalesce(a.number, b.number), a.ours, coalesce(a.theirs, b.kept), 0
FROM (SELECT l.out_trade_no AS number, max(o.amount_fen) AS ours,
             sum(l.amount_fen)::bigint AS theirs
      FROM statement_line l LEFT JOIN payment_order o ON o.out_trade_no = l.out_trade_no
      LEFT JOIN money_case m ON m.kind = 'order' AND m.state = 'done'
                            AND m.reference = :channel || ':' || l.transaction_id
      WHERE l.statement_id = :statement AND l.kind = 'payment'
        AND l.out_trade_no IN (SELECT out_trade_no FROM lines WHERE kind = 'payment')
      GROUP BY l.out_trade_no HAVING count(*) > 1 AND count(*) - count(m.id) > 1) a
FULL JOIN (SELECT o.out_trade_no AS number, -sum(p.amount_fen)::bigint AS kept
      FROM posting p
      JOIN entry e ON e.id = p.entry_id AND e.kind = 'payment'
      JOIN payment_order o ON o.out_trade_no = e.detail->>'out_trade_no'
      WHERE p.account_id = :suspense
        AND e.day BETWEEN :day - 1 AND :day AND e.at >= :start AND e.at < :end
        AND o.channel = :channel AND o.state = 'paid' AND NOT EXISTS (
          SELECT 1 FROM refund r WHERE r.order_id = o.id
            AND r.state IN ('created', 'processing', 'done', 'paid_out'))
        AND NOT EXISTS (SELECT 1 FROM money_case m WHERE m.kind = 'order' AND m.state = 'done'
                        AND m.reference = e.business_key)
      GROUP BY o.out_trade_no) b ON b.number = a.number
"""

_SUMS = """
SELECT
  (SELECT coalesce(sum(p.amount_fen), 0) FROM entry e JOIN posting p ON p.entry_id = e.id
   WHERE e.day BETWEEN :day - 1 AND :day AND e.at >= :start AND e.at < :end
     AND e.kind IN ('payment', 'refund') AND p.account_id = :clearing),
  told.amount_fen,
  (SELECT coalesce(sum(received_fen), 0) FROM payment_order
   WHERE channel = :channel AND paid_at >= :start AND paid_at < :end)
  - (SELECT coalesce(sum(r.amount_fen), 0) FROM refund r JOIN payment_order o ON o.id = r.order_id
     WHERE o.channel = :channel
       AND r.done_at >= :start AND r.done_at < :end),
  told.fee_fen, told.payments, told.refunds
FROM (SELECT coalesce(sum(CASE kind WHEN 'payment' THEN amount_fen ELSE -amount_fen END), 0)
               AS amount_fen,
             coalesce(sum(fee_fen), 0) AS fee_fen,
             count(*) FILTER (WHERE kind = 'payment') AS payments,
             count(*) FILTER (WHERE kind = 'refund') AS refunds
        FROM statement_line WHERE statement_id = :statement) AS told
"""

_LOST = f"""
SELECT DISTINCT l.kind, l.out_trade_no, l.out_refund_no FROM statement_line l
LEFT JOIN entry e ON e.business_key = {_KEY}
WHERE l.statement_id = :statement AND e.id IS NULL
  AND (EXISTS (SELECT 1 FROM payment_order o WHERE o.out_trade_no = l.out_trade_no
               AND o.channel = :channel AND o.transaction_id IS NULL AND l.kind = 'payment')
    OR EXISTS (SELECT 1 FROM refund r WHERE r.out_refund_no = l.out_refund_no))
ORDER BY 1, 2 LIMIT 500
"""

assert (PAYMENT, REFUND) == ("payment", "refund"), "the queries name them"


def differences(channel: str, day: date, statement_id: int) -> list[Difference]:
    """Everything that does not agree, each (kind, reference) once."""
    values = _values(channel, day, statement_id)
    suspects = _run(_SUSPECTS, values)
    values["suspects"] = [row.seq for row in suspects if row.seq is not None]
    values["only_here"] = [row.business_key for row in suspects if row.seq is None]
    found: dict[tuple[str, str], Difference] = {}
    with unprepared(db.session.connection()):
        for query in (_PAYMENTS, _REFUNDS, _ONLY_HERE, _FEES, _DUPLICATES):
            for row in _run(query, values):
                one = Difference(*row)
                key = (one.kind, one.reference)
                found[key] = _together(found[key], one) if key in found else one
    return list(found.values())


def _together(one: Difference, other: Difference) -> Difference:
    """Two of a kind about one number, as where a stranger paid twice."""
    return replace(
        one,
        ours_fen=_added(one.ours_fen, other.ours_fen),
        theirs_fen=_added(one.theirs_fen, other.theirs_fen),
        gap_fen=one.gap_fen + other.gap_fen,
    )


def _added(one_fen: int | None, other_fen: int | None) -> int | None:
    return other_fen if one_fen is None else one_fen + (other_fen or 0)


def sums(channel: str, day: date, statement_id: int) -> Sums:
    """The three sums of a day, its fees and its counts; statement 0 is none."""
    (row,) = _run(_SUMS, _values(channel, day, statement_id))
    return Sums(*map(int, row))


def lost(channel: str, day: date, statement_id: int) -> list[tuple[str, str, str | None]]:
    """(kind, out_trade_no, out_refund_no) of ours the statement has and the ledger has not."""
    return [tuple(row) for row in _run(_LOST, _values(channel, day, statement_id))]


def _values(channel: str, day: date, statement_id: int) -> dict[str, Any]:
    early = day_ends_early(channel)
    start, end = (moment - early for moment in day_bounds(day))
    clearing, suspense = chart.clearing(channel).code, chart.suspense(channel).code
    accounts = ledger.account_ids([clearing, suspense])
    return {
        "channel": channel,
        "day": day,
        "early": early,
        "statement": statement_id,
        "clearing": accounts.get(clearing),
        "suspense": accounts.get(suspense),
        "rate": MAX_FEE_RATE,
        "start": start,
        "end": end,
    }


def _run(query: str, values: dict[str, Any]) -> list[Any]:
    return list(db.session.execute(sa.text(query), values))
