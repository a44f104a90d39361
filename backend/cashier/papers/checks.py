"""What must hold of papers: numbers without a gap, sums that add up, money invoiced once."""

from __future__ import annotations

from backend.ledger.checks import found

_VALID = "NOT EXISTS (SELECT 1 FROM paper_void v WHERE v.paper_id = p.id)"
_CHECKS: tuple[tuple[str, str], ...] = (
    (
        "series {0} {1} {2}: last number {3}, papers {4} ({5} to {6})",
        """SELECT i.code, s.kind, s.year, s.last_no, count(p.id), min(p.number), max(p.number)
           FROM paper_series s JOIN paper_issuer i ON i.id = s.issuer_id
           LEFT JOIN paper p ON p.issuer_id = s.issuer_id AND p.kind = s.kind AND p.year = s.year
           GROUP BY i.id, s.kind, s.year, s.last_no
           HAVING count(p.id) <> s.last_no OR min(p.number) <> 1 OR max(p.number) <> s.last_no
           ORDER BY 1, 2, 3""",
    ),
    (
        "paper {0}: {1} fen with {2} fen tax, its lines say {3} and {4}",
        """SELECT p.paper_no, p.amount_fen, p.tax_fen, coalesce(sum(l.amount_fen), 0),
                  coalesce(sum(l.tax_fen), 0)
           FROM paper p LEFT JOIN paper_line l ON l.paper_id = p.id GROUP BY p.id
           HAVING coalesce(sum(l.amount_fen), 0) <> p.amount_fen
               OR coalesce(sum(l.tax_fen), 0) <> p.tax_fen ORDER BY p.id""",
    ),
    (
        "paper {0}: {1} fen, taken back by {2} fen",
        f"""SELECT o.paper_no, o.amount_fen, sum(p.amount_fen)
            FROM paper o JOIN paper p ON p.about_id = o.id WHERE {_VALID}
            GROUP BY o.id HAVING o.amount_fen + sum(p.amount_fen) < 0 ORDER BY o.id""",
    ),
    (
        "paper {0}: voided, and taken back by {1} as well",
        """SELECT o.paper_no, p.paper_no FROM paper o JOIN paper p ON p.about_id = o.id
           JOIN paper_void v ON v.paper_id = o.id ORDER BY p.id""",
    ),
    (
        "counter payment {0}: given back, and its receipt {1} still counts",
        f"""SELECT c.receipt_no, p.paper_no
            FROM counter_payment c JOIN counter_void g ON g.payment_id = c.id
            JOIN paper p ON p.business_key = 'receipt:counter:' || c.receipt_no
            WHERE {_VALID} AND p.amount_fen + (SELECT coalesce(sum(r.amount_fen), 0)
                FROM paper r WHERE r.about_id = p.id) > 0 ORDER BY c.id""",
    ),
    (
        "counter payment {0}: {1} fen, its receipt {2} says {3} fen",
        """SELECT c.receipt_no, c.amount_fen, coalesce(p.paper_no, '-'), coalesce(p.amount_fen, 0)
           FROM counter_payment c
           LEFT JOIN paper p ON p.business_key = 'receipt:counter:' || c.receipt_no
           WHERE p.amount_fen IS DISTINCT FROM c.amount_fen AND c.taken_at >= (
               SELECT min(issued_at) FROM paper WHERE business_key LIKE 'receipt:counter:%')
           ORDER BY c.id""",
    ),
    (
        "deduction {0} {1} {2}: {3} fen, invoices say {4} fen",
        f"""SELECT h.account_no, d.utility, d.day, d.deduction_fen, sum(p.amount_fen)
            FROM paper_deduction p
            JOIN prepaid_day d USING (household_id, utility, day)
            JOIN household h ON h.id = d.household_id
            WHERE {_VALID.replace("p.id", "p.paper_id")}
            GROUP BY h.account_no, d.utility, d.day, d.deduction_fen
            HAVING sum(p.amount_fen) NOT BETWEEN 0 AND greatest(0, d.deduction_fen)
            ORDER BY 1, 2, 3""",
    ),
    (
        "paper {0} line {1}: {2} fen over deductions of {3} fen",
        """SELECT o.paper_no, l.seq, l.amount_fen, sum(p.amount_fen)
           FROM paper_deduction p JOIN paper_line l USING (paper_id, seq)
           JOIN paper o ON o.id = l.paper_id GROUP BY o.paper_no, l.seq, l.amount_fen
           HAVING sum(p.amount_fen) <> l.amount_fen ORDER BY 1, 2""",
    ),
)


def breaks() -> list[str]:
    """Every break, with its origin.  (What is invoiced beyond what is kept is a person's work,
    not a break: `worklist.waiting`.)"""
    return [sentence for text, query in _CHECKS for sentence in found(text, query)]
