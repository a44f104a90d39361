"""What must hold between prepaid accounts, adjustments, reversals and the ledger."""

from __future__ import annotations

from backend.ledger.checks import found

_CHECKS: tuple[tuple[str, str], ...] = (
    (
        "prepaid {0}:{1}: {2} fen by its nights, {3} fen by the ledger",
        """SELECT a.utility, a.household_id, a.balance_fen - a.counted_fen,
                  coalesce(-sum(p.amount_fen) FILTER (
                    WHERE e.kind IN ('prepaid', 'prepaid_out')), 0)
           FROM prepaid_account a
           LEFT JOIN account c ON c.code = 'prepaid:' || a.utility || ':' || a.household_id
           LEFT JOIN posting p ON p.account_id = c.id LEFT JOIN entry e ON e.id = p.entry_id
           GROUP BY a.utility, a.household_id
           HAVING a.balance_fen - a.counted_fen <>
                  coalesce(-sum(p.amount_fen) FILTER (
                    WHERE e.kind IN ('prepaid', 'prepaid_out')), 0)
           ORDER BY 1, 2""",
    ),
    (
        "adjustment {0}: {1} fen, without a ledger entry of that sum",
        """SELECT j.business_key, j.credit_fen FROM adjustment j
           WHERE NOT EXISTS (
             SELECT 1 FROM entry e JOIN posting p ON p.entry_id = e.id
             JOIN account a ON a.id = p.account_id
             WHERE e.business_key = 'adjustment:' || j.business_key
               AND a.code = 'wallet:' || j.household_id AND p.amount_fen = -j.credit_fen)
           ORDER BY j.id""",
    ),
    (
        "bill {0}: {1}, but its reversal says otherwise",
        """SELECT b.bill_no, b.state FROM bill b
           LEFT JOIN bill r ON r.about_id = b.id AND r.kind = 'reversal'
           WHERE b.kind <> 'reversal'
             AND ((b.state = 'reversed') <> (r.id IS NOT NULL)
                  OR coalesce(r.amount_fen + b.amount_fen, 0) <> 0) ORDER BY b.id""",
    ),
)


def breaks() -> list[str]:
    """Every break between billing's own books and the ledger, with its origin."""
    return [sentence for text, query in _CHECKS for sentence in found(text, query)]
