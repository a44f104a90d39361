"""What must hold between the counter's payments, shifts and the ledger."""

from __future__ import annotations

from backend.cashier import counter_day
from backend.ledger.checks import found

_CHECKS: tuple[tuple[str, str], ...] = (
    (
        "counter payment {0}: {1} fen, the ledger took {2} fen",
        """SELECT c.receipt_no, c.amount_fen, coalesce(sum(p.amount_fen), 0)
           FROM counter_payment c
           LEFT JOIN entry e ON e.business_key = 'counter:' || c.receipt_no
           LEFT JOIN (posting p JOIN account a ON a.id = p.account_id
                      AND (a.code LIKE 'cash:%' OR a.code LIKE 'pos:%')) ON p.entry_id = e.id
           GROUP BY c.id HAVING coalesce(sum(p.amount_fen), 0) <> c.amount_fen ORDER BY c.id""",
    ),
    (
        "counter payment {0}: {1} fen, its bills and top-up add up to {2} fen",
        """SELECT c.receipt_no, c.amount_fen, c.topup_fen + coalesce(sum(i.amount_fen), 0)
           FROM counter_payment c LEFT JOIN counter_item i ON i.payment_id = c.id
           GROUP BY c.id HAVING c.topup_fen + coalesce(sum(i.amount_fen), 0) <> c.amount_fen
           ORDER BY c.id""",
    ),
    (
        "counter payment {0}: its void and its reversal do not go together",
        """SELECT c.receipt_no FROM counter_payment c
           LEFT JOIN counter_void v ON v.payment_id = c.id
           LEFT JOIN entry e ON e.business_key = 'counter:void:' || c.receipt_no
           WHERE (v.payment_id IS NULL) <> (e.id IS NULL) ORDER BY c.id""",
    ),
    (
        "entry {0}: a counter payment that no row names",
        """SELECT e.business_key FROM entry e WHERE e.kind = 'counter' AND NOT EXISTS (
             SELECT 1 FROM counter_payment c
             WHERE e.business_key = 'counter:' || c.receipt_no) ORDER BY e.id""",
    ),
)
_MOVED = "account {0} on {1}: {2} fen by the counter's rows, {3} fen by the ledger"


def breaks() -> list[str]:
    """Every break between the counter's rows and the ledger, with its origin."""
    told = [sentence for text, query in _CHECKS for sentence in found(text, query)]
    return told + [
        _MOVED.format(*row) for row in counter_day.moves(None) if row.rows_fen != row.ledger_fen
    ]
