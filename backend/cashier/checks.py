"""What must hold between bills, payment orders, refunds and the ledger."""

from __future__ import annotations

from backend.ledger.checks import found

_CHECKS: tuple[tuple[str, str], ...] = (
    (
        "bill {0}: {1} fen, its ledger entry debits {2} fen",
        """SELECT b.bill_no, b.amount_fen, coalesce(sum(p.amount_fen), 0)
           FROM bill b LEFT JOIN entry e ON e.business_key = 'bill:' || b.bill_no
           LEFT JOIN account a ON a.code = 'receivable:' || b.utility || ':' || b.household_id
           LEFT JOIN posting p ON p.entry_id = e.id AND p.account_id = a.id
           GROUP BY b.id HAVING coalesce(sum(p.amount_fen), 0) <> b.amount_fen ORDER BY b.id""",
    ),
    (
        "account {0}: {1} fen owed by its bills, {2} fen by the ledger",
        """SELECT coalesce(o.code, l.code), coalesce(o.owed, 0), coalesce(l.balance_fen, 0)
           FROM (SELECT 'receivable:' || utility || ':' || household_id AS code,
                        sum(amount_fen - paid_fen) AS owed
                 FROM bill WHERE state <> 'reversed' GROUP BY 1) o
           FULL JOIN (SELECT a.code, b.balance_fen FROM account a
                      JOIN balance b ON b.account_id = a.id
                      WHERE a.code LIKE 'receivable:%') l ON l.code = o.code
           WHERE coalesce(o.owed, 0) <> coalesce(l.balance_fen, 0) ORDER BY 1""",
    ),
    (
        "bill {0}: state {1} with {2} of {3} fen paid",
        """SELECT bill_no, state, paid_fen, amount_fen FROM bill
           WHERE state IN ('issued', 'paid') AND (state = 'paid') <> (paid_fen = amount_fen)
           ORDER BY id""",
    ),
    (
        "order {0}: {1}, without a ledger entry {2}:{3}",
        """SELECT o.out_trade_no, o.state, o.channel, coalesce(o.transaction_id, '?')
           FROM payment_order o LEFT JOIN entry e
             ON e.business_key = o.channel || ':' || o.transaction_id
           WHERE o.state IN ('paid', 'parked') AND e.id IS NULL ORDER BY o.id""",
    ),
    (
        "order {0}: received {1} fen, the ledger cleared {2} fen",
        """SELECT o.out_trade_no, o.received_fen, sum(p.amount_fen)
           FROM payment_order o
           JOIN entry e ON e.business_key = o.channel || ':' || o.transaction_id
           JOIN account a ON a.code = 'clearing:' || o.channel
           LEFT JOIN posting p ON p.entry_id = e.id AND p.account_id = a.id
           WHERE o.transaction_id IS NOT NULL GROUP BY o.id
           HAVING sum(p.amount_fen) IS DISTINCT FROM o.received_fen ORDER BY o.id""",
    ),
    (
        "order {0}: its bills add up to {1} fen, it says {2} fen",
        """SELECT o.out_trade_no, coalesce(sum(i.amount_fen), 0), o.amount_fen
           FROM payment_order o LEFT JOIN order_item i ON i.order_id = o.id
           WHERE o.topup_into IS NULL AND o.household_id IS NOT NULL
           GROUP BY o.id HAVING coalesce(sum(i.amount_fen), 0) <> o.amount_fen ORDER BY o.id""",
    ),
    (
        "refund {0}: done, without a ledger entry",
        """SELECT r.out_refund_no FROM refund r JOIN payment_order o ON o.id = r.order_id
           LEFT JOIN entry e ON e.business_key = o.channel || ':refund:' || r.out_refund_no
           WHERE r.state = 'done' AND e.id IS NULL ORDER BY r.id""",
    ),
    (
        "channel {0}: {1} fen in suspense, {2} fen by what waits in cases and refunds",
        """SELECT coalesce(s.channel, w.channel), coalesce(s.held, 0), coalesce(w.waits, 0)
           FROM (SELECT split_part(a.code, ':', 2) AS channel, -b.balance_fen AS held
                 FROM account a JOIN balance b ON b.account_id = a.id
                 WHERE a.code LIKE 'suspense:%') s
           FULL JOIN (SELECT channel, sum(fen) AS waits FROM (
                 SELECT channel, left_fen AS fen FROM money_case WHERE kind = 'order'
                 UNION ALL
                 SELECT o.channel, r.amount_fen
                 FROM refund r JOIN payment_order o ON o.id = r.order_id
                 WHERE r.state NOT IN ('paid_out', 'withdrawn', 'done')) each
                 GROUP BY 1) w ON w.channel = s.channel
           WHERE coalesce(s.held, 0) <> coalesce(w.waits, 0)
             AND EXISTS (SELECT 1 FROM payment_order o
                         WHERE o.channel = coalesce(s.channel, w.channel)) ORDER BY 1""",
    ),
    (
        "entry {0}: a {1} that no order or refund names",
        """SELECT e.business_key, e.kind FROM entry e
           WHERE (e.kind = 'payment' AND NOT EXISTS (SELECT 1 FROM payment_order o
                    WHERE o.out_trade_no = e.detail->>'out_trade_no'))
              OR (e.kind = 'refund' AND NOT EXISTS (SELECT 1 FROM refund r
                    WHERE r.out_refund_no = e.detail->>'out_refund_no')) ORDER BY e.id""",
    ),
)


def breaks() -> list[str]:
    """Every break between bills, orders, refunds and the ledger, with its origin."""
    return [sentence for text, query in _CHECKS for sentence in found(text, query)]
