"""The plain case of a payment: told in time, of the right amount, its bills all still owed.

Nearly every notice is one, so the order, its bills, the ledger's entry and what came of the notice
are written by one statement and reach the disk together.  The statement takes only what
`rules.judge` would post and does nothing at all in every other case; those are decided by
`confirm`, row by row.
"""

from __future__ import annotations

import json
from datetime import datetime

from backend.base.clock import business_day
from backend.base.db import Driver, db
from backend.billing import service as billing
from backend.cashier import books, rules
from backend.ledger import chart
from backend.ledger import service as ledger
from payments.channel import TradeState

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
UPDATE raw_notice SET outcome = 'posted', out_trade_no = %(out_trade_no)s
FROM fresh WHERE raw_notice.id = %(notice_id)s RETURNING raw_notice.id
"""


def post(driver: Driver, notice_id: int, channel: str, trade: TradeState, now: datetime) -> bool:
    """Post a paid trade that a kept notice tells of; False where it is not plain.

    `driver` is `base.db.alone`'s: the statement is a transaction of its own.  False leaves
    everything as it was.
    """
    paid_at = trade.paid_at
    if paid_at is None or rules.day_is_over(business_day(paid_at), now):
        return False  # may be closed already: `books.posting_time` says when it is posted
    if db.session().in_transaction():
        db.session.commit()
    done = driver.execute(_POST, _values(notice_id, channel, trade, paid_at)).rowcount == 1
    if done:
        db.session.expire_all()
    return done


def _values(
    notice_id: int, channel: str, trade: TradeState, paid_at: datetime
) -> dict[str, object]:
    detail = {"out_trade_no": trade.out_trade_no, "amount_fen": trade.amount_fen}
    return {
        "notice_id": notice_id,
        "channel": channel,
        "out_trade_no": trade.out_trade_no,
        "transaction_id": trade.transaction_id,
        "received_fen": trade.amount_fen,
        "paid_at": paid_at,
        "paid_on": business_day(paid_at),
        "business_key": rules.payment_key(channel, trade.transaction_id or ""),
        "kind": books.PAYMENT,
        "detail": json.dumps(detail),
        "clearing": chart.clearing(channel).code,
        "receivable": chart.receivable("%s", "%s").code,  # type: ignore[arg-type]
    }
