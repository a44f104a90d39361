"""The plain case of a payment: told in time, of the right amount, its bills all still owed.

Nearly every notice is one, so the notice, the order, its bills and the ledger's entry are written
by one statement and reach the disk together.  The statement takes only what `rules.judge` would
post and does nothing at all in every other case; those are decided by `confirm`, row by row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from backend.base.clock import business_day
from backend.base.db import db
from backend.billing import service as billing
from backend.cashier import books, rules
from backend.ledger import chart
from backend.ledger import service as ledger
from payments.channel import TradeState


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice as it came."""

    channel: str
    received_at: datetime
    headers: dict[str, str]
    body: bytes


# Everything hangs on `fresh`: the entry is made where it balances, that is where every bill is held
# and owes its whole part, and the accounts are there; where it is not made, nothing is done.
_POST = f"""
WITH claimed AS (
    SELECT id FROM payment_order
    WHERE out_trade_no = %(out_trade_no)s AND channel = %(channel)s
      AND transaction_id IS NULL AND amount_fen = %(received_fen)s
      AND topup_into IS NULL AND expires_at >= %(paid_at)s
    FOR UPDATE
), part AS (
    SELECT bill_id, amount_fen FROM claimed JOIN order_item ON order_id = claimed.id
), {billing.HELD}, line AS (
    SELECT %(business_key)s AS business_key, %(clearing)s AS code, %(received_fen)s AS amount_fen
    UNION ALL
    SELECT %(business_key)s, format(%(receivable)s, utility, household_id), -sum(amount_fen)
    FROM held GROUP BY utility, household_id
), event AS (
    SELECT %(business_key)s AS business_key, %(kind)s AS kind, %(paid_at)s AS at,
           %(paid_on)s AS day, '' AS memo, %(detail)s::jsonb AS detail, NULL::bigint AS reverses_id
    WHERE (SELECT sum(amount_fen) FROM line JOIN account USING (code)) = 0
), {ledger.NEW_ENTRIES}, due AS (
    SELECT held.* FROM held, fresh
), {billing.COUNTED}, {ledger.THEIR_POSTINGS}, released AS (
    UPDATE order_item SET open = false
    WHERE order_id = (SELECT claimed.id FROM claimed, fresh) AND open
), taken AS (
    UPDATE payment_order SET transaction_id = %(transaction_id)s, paid_at = %(paid_at)s,
        received_fen = %(received_fen)s, state = 'paid'
    WHERE id = (SELECT claimed.id FROM claimed, fresh)
)
INSERT INTO raw_notice (channel, received_at, headers, body, outcome, out_trade_no)
SELECT %(channel)s, %(received_at)s, %(headers)s::jsonb, %(body)s, 'posted', %(out_trade_no)s
FROM fresh RETURNING id
"""


def post(letter: Letter, trade: TradeState, now: datetime) -> int | None:
    """Post a paid trade and keep its notice; the notice's id, or None where it is not plain.

    Commits.  None leaves everything as it was.
    """
    paid_at = trade.paid_at
    if paid_at is None or rules.day_is_over(business_day(paid_at), now):
        return None  # a day that may be closed already: `books.posting_time` says when it is posted
    if db.session().in_transaction():
        db.session.commit()
    # One statement is a transaction of its own: neither BEGIN nor COMMIT goes over the wire.
    with db.engine.connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        kept: int | None = alone.exec_driver_sql(_POST, _values(letter, trade, paid_at)).scalar()
    if kept is not None:
        db.session.expire_all()
    return kept


def _values(letter: Letter, trade: TradeState, paid_at: datetime) -> dict[str, object]:
    detail = {"out_trade_no": trade.out_trade_no, "amount_fen": trade.amount_fen}
    return {
        "channel": letter.channel,
        "received_at": letter.received_at,
        "headers": json.dumps(letter.headers),
        "body": letter.body,
        "out_trade_no": trade.out_trade_no,
        "transaction_id": trade.transaction_id,
        "received_fen": trade.amount_fen,
        "paid_at": paid_at,
        "paid_on": business_day(paid_at),
        "business_key": rules.payment_key(letter.channel, trade.transaction_id or ""),
        "kind": books.PAYMENT,
        "detail": json.dumps(detail),
        "clearing": chart.clearing(letter.channel).code,
        "receivable": chart.receivable("%s", "%s").code,  # type: ignore[arg-type]
    }
