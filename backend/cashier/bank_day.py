"""The banks' part in the proof of a day: what they collected, and what reached the accounts.

`bank`: results of the day = orders paid = what the ledger cleared.  `account:<code>`: payouts that
arrived = what the ledger says arrived = what was owed by then.  `acquirer:<code>`: the cards of the
day as the acquirer, the ledger and the counter have them.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from backend.base.clock import day_bounds
from backend.base.db import db
from backend.cashier import acquirers, bank_accounts, mandates, proofs
from backend.cashier.collection_models import BankAccount
from backend.cashier.matching import Difference, Sums
from backend.cashier.models import FinanceDay, Reconciliation
from backend.cashier.rules import BANK

_COLLECTED = sa.text("""
SELECT (SELECT coalesce(sum(p.amount_fen), 0) FROM entry e JOIN posting p ON p.entry_id = e.id
         WHERE e.day = :day AND e.kind = 'payment'
           AND p.account_id = (SELECT id FROM account WHERE code = 'clearing:bank')) AS ledger_fen,
       (SELECT coalesce(sum(l.amount_fen), 0) FROM payment_order o
          JOIN collection_line l ON l.order_id = o.id AND l.state = 'success'
         WHERE o.channel = 'bank' AND o.paid_at >= :start AND o.paid_at < :end) AS channel_fen,
       sum(o.received_fen) AS orders_fen, count(o.id) AS payments
  FROM payment_order o WHERE o.channel = 'bank' AND o.paid_at >= :start AND o.paid_at < :end
""")
_ARRIVED = sa.text("""
SELECT coalesce(sum(l.amount_fen) FILTER (WHERE l.matched NOT LIKE 'deposit:%'), 0)::bigint
           AS channel_fen,
       coalesce(sum(l.fee_fen), 0)::bigint AS fee_fen,
       count(*) FILTER (WHERE l.matched NOT LIKE 'deposit:%')::int AS payments,
       (SELECT coalesce(sum(p.amount_fen), 0)::bigint FROM entry e
          JOIN posting p ON p.entry_id = e.id JOIN account a ON a.id = p.account_id
         WHERE e.day = :day AND e.kind = 'payout' AND a.code = :code) AS ledger_fen
  FROM bank_line l WHERE l.account_id = :account AND l.booked_on = :day
""")
_UNKNOWN = sa.text("""
SELECT direction || '_unknown', serial, amount_fen FROM bank_line
 WHERE account_id = :account AND booked_on = :day AND matched IS NULL ORDER BY seq LIMIT 1000
""")


def examine_all(day: date, now: datetime) -> list[Reconciliation]:
    """Match and write down what the banks say of a day; a closed day is left as it was."""
    closed = db.session.get(FinanceDay, day) is not None
    found = [_collected(day, now, closed)] if mandates.banks() else []
    wanted = [account for account in bank_accounts.accounts() if account.since <= day]
    for nth, account in enumerate(wanted):
        kept = proofs.kept(_name(account), day)
        found.append(kept if closed and kept else _arrived(account, day, now, first=nth == 0))
    for acquirer in acquirers.in_use():
        if acquirer.since <= day:
            kept = proofs.kept(f"acquirer:{acquirer.code}", day)
            found.append(kept if closed and kept else acquirers.examine(acquirer, day, now))
    db.session.flush()
    return found


def _name(account: BankAccount) -> str:
    return f"account:{account.code}"


def _collected(day: date, now: datetime, closed: bool) -> Reconciliation:
    kept = proofs.kept(BANK, day)
    if closed and kept is not None:
        return kept
    start, end = day_bounds(day)
    row = db.session.execute(_COLLECTED, {"day": day, "start": start, "end": end}).one()
    sums = Sums(
        int(row.ledger_fen), int(row.channel_fen), int(row.orders_fen or 0), 0, row.payments, 0
    )
    return proofs.keep(BANK, day, sums, [], now)


def _arrived(account: BankAccount, day: date, now: datetime, *, first: bool) -> Reconciliation:
    """An account's day; what was owed and did not come stands with the first account."""
    statement = bank_accounts.statement_of(account.id, day)
    differences: list[Difference] = []
    if statement is None:
        differences.append(Difference("statement_missing", account.code, None, None))
    else:
        bank_accounts.match(statement.id, account, now)
    values = {"account": account.id, "day": day, "code": f"bank:{account.code}"}
    row = db.session.execute(_ARRIVED, values).one()
    differences += [
        Difference(kind, serial, None, amount_fen)
        for kind, serial, amount_fen in db.session.execute(_UNKNOWN, values)
    ]
    short = _short(day) if first else []
    differences += short
    missing_fen = sum((one.ours_fen or 0) - (one.theirs_fen or 0) for one in short)
    sums = Sums(
        row.ledger_fen, row.channel_fen, row.channel_fen + missing_fen, row.fee_fen, row.payments, 0
    )
    return proofs.keep(_name(account), day, sums, differences, now)


def _short(day: date) -> list[Difference]:
    """Payouts of which not all came that should have come by this day."""
    found = []
    for payout in bank_accounts.payouts_due(day):
        if payout.left_fen:
            kind = "payout_amount" if payout.credited_fen else "payout_missing"
            owed_fen = payout.credited_fen + payout.due_fen
            found.append(Difference(kind, payout.key, owed_fen, payout.credited_fen or None))
    return found


_SIDES = sa.text("""
SELECT 1 AS nth, 'bank' AS side, '银行代扣' AS title
 WHERE EXISTS (SELECT 1 FROM collecting_bank WHERE active)
UNION ALL SELECT 2, 'account:' || code, name FROM bank_account WHERE active AND since <= :day
UNION ALL SELECT 3, 'acquirer:' || code, name FROM acquirer WHERE active AND since <= :day
 ORDER BY 1, 2
""")
_FIGURES = ("ledger_fen", "channel_fen", "orders_fen", "fee_fen", "payments", "refunds")


def summary(day: date) -> list[dict[str, Any]]:
    """What was found of a day, for the page; nothing is examined here."""
    titles = {row.side: row.title for row in db.session.execute(_SIDES, {"day": day})}
    if not titles:
        return []
    query = sa.select(Reconciliation).where(
        Reconciliation.day == day, Reconciliation.channel.in_(titles)
    )
    found = {row.channel: row for row in db.session.scalars(query)}
    return [_view(name, title, found.get(name)) for name, title in titles.items()]


def _view(name: str, title: str, kept: Reconciliation | None) -> dict[str, Any]:
    return {
        "channel": name,
        "title": title,
        "state": kept.state if kept else "unchecked",
        "checked_at": kept.checked_at if kept else None,
        **{figure: getattr(kept, figure, 0) for figure in _FIGURES},
        "breaks": proofs.breaks_view(kept.id) if kept else [],
    }


def frozen(row: dict[str, Any]) -> dict[str, Any]:
    """The figures a closed day keeps."""
    return {k: v for k, v in row.items() if k not in ("breaks", "channel", "title", "checked_at")}
