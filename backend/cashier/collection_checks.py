"""What must hold between banks' results, acquirers' settlements and what was paid."""

from __future__ import annotations

from backend.ledger.checks import found

_CHECKS: tuple[tuple[str, str], ...] = (
    (
        "collection line {0}: {1}, its order is {2}",
        """SELECT l.order_no, l.state, o.state FROM collection_line l
           JOIN payment_order o ON o.id = l.order_id
           WHERE (l.state = 'success') <> (o.state = 'paid') ORDER BY l.batch_id, l.seq""",
    ),
    (
        "card slip {0} {1}: settled by its acquirer, but given back at the counter",
        """SELECT r.terminal_no, r.reference FROM acquirer_row r
           JOIN counter_void v ON v.payment_id = r.payment_id ORDER BY 1, 2""",
    ),
)


def breaks() -> list[str]:
    """Every break, with its origin."""
    return [sentence for text, query in _CHECKS for sentence in found(text, query)]
